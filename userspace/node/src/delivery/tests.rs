//! From a server to the operator: what is wanted, followed, kept, told and advised, through the
//! control socket of a node without capture.

use super::*;
use crate::config::AdviseConfig;
use crate::control;
use crate::journal::Journal;
use crate::maintenance::Board;
use crate::sharing::{Outlets, SharingConfig};
use crate::status::Status;
use crate::trust::{Trust, TrustConfig};
use edgelore_capture::Clock;
use edgelore_model::{Known, Outcome, Resolution, Situation, Span, Timestamp};
use edgelore_pipeline::distil::{DistilConfig, Site};
use edgelore_pipeline::packet::{self, Privacy, Sealed, SigningKey};
use edgelore_routing::embedded::EmbeddedConfig;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

const DEADLINE: Duration = Duration::from_secs(60);

fn sealed(topology_class: &str) -> Sealed {
    let now = Timestamp::from_secs_nanos(Clock::new().now().secs(), 0);
    let outcome = Outcome {
        situation: Situation {
            topology_class: topology_class.into(),
            protocol: "bgp".into(),
            event_type: "convergence".into(),
            severity: 340_000,
            affected_prefixes: 8_200,
            node_count: 96,
        },
        resolution: Resolution {
            pattern: "bfd_tuning".into(),
            steps: Vec::new(),
            known: Known::Measured,
        },
        before: Some(340_000),
        after: Some(800),
        convergence_delta_ms: 339_200,
        sample_size: 3,
        created: now,
        expires: now + Span::from_millis(86_400_000),
        method: [7; 8],
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    };
    let key = SigningKey::from_seed(&mut [1; 32]);
    packet::seal(&outcome, &key, &Space::default_definition()).unwrap()
}

fn embedded(directory: &Path) -> Arc<Embedded> {
    Arc::new(Embedded::open(EmbeddedConfig::in_directory(directory)).unwrap())
}

/// A node in a spine-leaf network that has met no incident yet.
fn context(directory: &Path, server: &Arc<Embedded>) -> Context {
    let (clock, space) = (Clock::new(), Space::default_definition());
    let journal = Arc::new(Journal::open(directory).unwrap());
    let keeper = Keeper::new(
        Site { topology_class: "spine_leaf".into(), node_count: 96 },
        [7; 8],
        DistilConfig::default(),
        Arc::clone(&journal),
        SigningKey::from_seed(&mut [2; 32]),
        space.clone(),
        Privacy::default(),
    );
    let server: Arc<dyn Backend> = Arc::<Embedded>::clone(server);
    let servers = vec![("server".to_owned(), server)];
    let now = Arc::new(move || clock.now());
    let trust = Trust::open(directory, TrustConfig::default(), now).unwrap();
    Context {
        maintenance: Arc::new(Mutex::new(Board::open(Arc::clone(&journal), Vec::new()).unwrap())),
        journal,
        keeper: Arc::new(Mutex::new(keeper.unwrap())),
        outlets: Outlets::new(&servers, &SharingConfig::default(), &trust),
        servers,
        trust,
        received: Some(embedded(&directory.join("received"))),
        limits: AdviseConfig::default(),
        space,
        status: StatusSource::new(clock),
        clock,
    }
}

/// Asks the control socket, and reads until the answer holds this.
async fn read_until(socket: &Path, request: &str, wanted: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!("GET {request}Host: node\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut read, mut buffer) = (String::new(), [0; 4_096]);
    while !read.contains(wanted) {
        let count = tokio::time::timeout(DEADLINE, stream.read(&mut buffer)).await;
        let count = count.unwrap_or_else(|_| panic!("'{wanted}' never comes: {read}")).unwrap();
        assert_ne!(count, 0, "the answer ended: {read}");
        read.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_near_here_reaches_the_operator() {
    let directory = tempfile::tempdir().unwrap();
    let server = embedded(&directory.path().join("server"));
    let context = context(directory.path(), &server);
    let (received, status) = (context.received.clone().unwrap(), context.status.clone());
    start(&context, 3_000);
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, control::router(context)).await });

    let (near, far) = (sealed("spine_leaf"), sealed("hub_spoke"));
    server.store(far.bytes).await.unwrap();
    server.store(near.bytes.clone()).await.unwrap();
    let events = "/received/v1/subscribe HTTP/1.1\r\nLast-Event-ID: 0\r\n";
    let told = read_until(&socket, events, &hex::encode(&near.bytes)).await;
    assert!(told.contains("event: packet") && told.contains("id: 1"), "{told}");
    assert_eq!(received.held().await.unwrap(), Some(1), "what is far away is not received");
    let asked = Instant::now();
    let told = |figures: &DeliveryStatus| figures.connected && figures.news == 1;
    while !status.now().delivery.get("server").is_some_and(told) {
        assert!(asked.elapsed() < DEADLINE, "it is never counted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = read_until(&socket, "/v1/status HTTP/1.1\r\n", r#""site_doubts":[]}"#).await;
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let status: Status = serde_json::from_str(body).unwrap();
    let figures = &status.delivery["server"];
    assert!(figures.connected && figures.cells == 1, "{figures:?}");
    let latest = figures.latest.as_ref().unwrap();
    assert_eq!((&*latest.topology_class, &*latest.pattern), ("spine_leaf", "bfd_tuning"));
    assert_eq!(latest.packet, hex::encode(near.id));
}
