//! A node that watches no interface and listens to routers over BMP.

use edgelore_capture::Clock;
use edgelore_model::Observed;
use edgelore_node::config::{BmpConfig, CaptureConfig};
use edgelore_node::engine::{Engine, Output};
use edgelore_node::live::{LiveError, Sources};
use edgelore_node::status::StatusSource;
use edgelore_pipeline::decode::DecodeConfig;
use edgelore_pipeline::detect::DetectConfig;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> CaptureConfig {
    let allow = vec!["127.0.0.1".to_owned().try_into().expect("an address")];
    let listen = "127.0.0.1:0".parse().expect("an address and a port");
    CaptureConfig {
        bmp: Some(BmpConfig { listen, routers_max: 4, allow }),
        ..CaptureConfig::default()
    }
}

/// An Initiation whose system name is `r1`.
const INITIATION: [u8; 12] = [3, 0, 0, 0, 12, 4, 0, 2, 0, 2, b'r', b'1'];

#[test]
fn routers_are_heard_without_any_interface() {
    let clock = Clock::new();
    let status = StatusSource::new(clock);
    let sources = Sources::open(&config(), clock, &status).unwrap();
    let address = sources.bmp_address().unwrap();
    let (found, seen) = mpsc::channel();
    let engine = Engine::start(2, &DecodeConfig::default(), DetectConfig::default(), move |out| {
        if let Output::Observation(observation) = out
            && let Observed::Router(change) = &observation.what
        {
            let _ = found.send(change.clone());
        }
    });
    let stop = Arc::new(AtomicBool::new(false));
    let running = {
        let (stop, status) = (Arc::clone(&stop), status.clone());
        std::thread::spawn(move || sources.run(engine, &stop, &status))
    };
    let mut router = TcpStream::connect(address).unwrap();
    router.write_all(&INITIATION).unwrap();
    let came = seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!((came.connected, came.words.as_str()), (true, "r1"));
    let start = Instant::now();
    loop {
        let now = status.now();
        if let Some(figures) = now.bmp_routers.values().next()
            && figures.messages == 1
        {
            assert_eq!((figures.bytes, now.bmp["accepted"]), (12, 1));
            break;
        }
        assert!(start.elapsed() < PATIENCE, "the status does not show the router: {now:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(router);
    let gone = seen.recv_timeout(PATIENCE).unwrap();
    assert!(!gone.connected);
    stop.store(true, Ordering::Relaxed);
    let totals = running.join().unwrap().finish();
    assert_eq!((totals.summary.bmp.initiation, totals.summary.streams), (1, 1));
}

#[test]
fn a_node_without_any_source_says_what_to_set() {
    let clock = Clock::new();
    let status = StatusSource::new(clock);
    let refused = Sources::open(&CaptureConfig::default(), clock, &status).unwrap_err();
    assert!(matches!(refused, LiveError::NoInterfaces));
    assert!(refused.to_string().contains("capture.bmp"));
}
