//! More than a link takes, and the queue that stands before it, read from `tc`.
//!
//! Invariant: the sender ends with its guard.

use crate::{NetNs, now};
use anyhow::{Context, Result, ensure};
use edgelore_model::Timestamp;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the shaped link takes.
const RATE: &str = "8mbit";
/// The queue's limit, bytes.
const LIMIT_BYTES: u64 = 60_000;
const PAYLOAD_BYTES: usize = 1_400;
/// Packets of one burst, and the pause between two: 34 Mbit/s.
const BURST: usize = 3;
const PAUSE: Duration = Duration::from_millis(1);

/// A sender at a steady rate, until dropped.
#[derive(Debug)]
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _sink: UdpSocket,
}

impl Flood {
    /// Sends from one namespace to an address of another.
    pub(super) fn start(from: &NetNs, to: (&NetNs, IpAddr)) -> Result<Self> {
        let sink = to.0.run(|| UdpSocket::bind((to.1, 0)).context("open the flood's target"))?;
        let target = sink.local_addr().context("find the flood's target")?;
        let source = from.run(|| {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).context("open the flood's source")?;
            socket.connect(target).context("aim the flood")?;
            Ok(socket)
        })?;
        let stop = Arc::<AtomicBool>::default();
        let theirs = Arc::clone(&stop);
        let blow = move || {
            let mut due = Instant::now();
            while !theirs.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    // A packet that the sender's own host refuses is one less in the queue.
                    let _ = source.send(&[0; PAYLOAD_BYTES]);
                }
                due += PAUSE;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        };
        let thread = std::thread::Builder::new()
            .name("flood".to_owned())
            .spawn(blow)
            .context("start the flood")?;
        Ok(Self { stop, thread: Some(thread), _sink: sink })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Puts a shaper with a short queue on an interface.
pub(super) fn shape(namespace: &NetNs, interface: &str) -> Result<()> {
    let mut command = namespace.command("tc");
    command.args(["qdisc", "replace", "dev", interface, "root", "tbf", "rate", RATE]);
    command.args(["burst", "16k", "limit", &LIMIT_BYTES.to_string()]);
    let output = command.output().context("start tc")?;
    ensure!(
        output.status.success(),
        "tc refused the shaper: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The shaper's backlog in bytes at a time: read between the two times.
pub(super) fn backlog(namespace: &NetNs, interface: &str) -> Result<(Timestamp, Timestamp, u64)> {
    let before = now();
    let mut command = namespace.command("tc");
    command.args(["-s", "-j", "qdisc", "show", "dev", interface]);
    let output = command.output().context("start tc")?;
    let after = now();
    let said: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("read what tc says of the queue")?;
    let backlog = said
        .as_array()
        .into_iter()
        .flatten()
        .find(|queue| queue["kind"] == "tbf")
        .and_then(|queue| queue["backlog"].as_u64())
        .context("find the shaper in what tc says")?;
    Ok((before, after, backlog))
}

/// The queue stands full from here on.
pub(super) const FULL_BYTES: u64 = LIMIT_BYTES / 2;
