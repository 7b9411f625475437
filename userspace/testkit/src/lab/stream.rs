//! A light packet stream as users have it: sent, echoed, and its losses counted.
//!
//! Invariant: a packet is answered or it is lost; what was lost is decided only after the echo had
//! [`ECHO_WAIT`] to return.

use crate::{NetNs, now, pause};
use anyhow::{Context, Result, ensure};
use edgelore_model::{Span, Timestamp};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two packets.
pub const SPACING: Duration = Duration::from_millis(10);

/// The UDP port that echoes (RFC 862).
pub const ECHO_PORT: u16 = 7;

/// How long after it was sent an unanswered packet counts as lost.
pub const ECHO_WAIT: Duration = Duration::from_millis(500);

/// The most packets of one stream: about 100 minutes.
const PACKETS_MAX: usize = 600_000;

/// How often a blocked thread looks whether it should end.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// Sequence number, then filling up to a small voice packet.
const PAYLOAD_BYTES: usize = 64;

/// What the users of the network noticed of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the first lost packet was sent.
    pub from: Timestamp,
    /// When the first packet after it that was answered again was sent.
    pub until: Timestamp,
    /// Packets lost between the two.
    pub lost: usize,
}

impl Outage {
    /// How long it took.
    #[must_use]
    pub fn duration(&self) -> Span {
        self.until - self.from
    }
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Timestamp,
    answered: bool,
}

#[derive(Debug, Default)]
struct Shared {
    packets: Mutex<Vec<Sent>>,
    stop: AtomicBool,
}

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<Sent>) -> T) -> T {
        f(&mut self.packets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// A running stream and its echoes.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    /// Sends from `host` to `target`, which answers in every namespace of `echoes`.
    ///
    /// # Errors
    /// When a socket cannot be opened: `target` must be an address of each echo's namespace.
    pub fn start(host: &NetNs, target: Ipv4Addr, echoes: &[&NetNs]) -> Result<Self> {
        let to = SocketAddrV4::new(target, ECHO_PORT);
        let mut stream = Self { shared: Arc::default(), threads: Vec::new() };
        for namespace in echoes {
            let socket = namespace.run(|| open(to, None))?;
            stream.thread("echo", move |shared| echo(&socket, shared))?;
        }
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let socket = host.run(|| open(any, Some(to)))?;
        let receiver = socket.try_clone().context("share the sender's socket")?;
        stream.thread("replies", move |shared| receive(&receiver, shared))?;
        stream.thread("sender", move |shared| send(&socket, shared))?;
        Ok(stream)
    }

    fn thread(&mut self, name: &str, run: impl FnOnce(&Shared) + Send + 'static) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&shared))
            .with_context(|| format!("start the stream's {name}"))?;
        self.threads.push(thread);
        Ok(())
    }

    /// A packet sent at or after `since` was answered: the path carries packets.
    #[must_use]
    pub fn flows(&self, since: Timestamp) -> bool {
        self.shared.with(|packets| {
            packets.iter().rev().take_while(|p| p.at >= since).any(|packet| packet.answered)
        })
    }

    /// The outage that began at or after `since`, less one packet spacing; waits until the last
    /// packet sent so far had its time to return.
    ///
    /// # Errors
    /// When no packet was lost, or when none has come back since.
    pub fn outage(&self, since: Timestamp) -> Result<Outage> {
        pause(ECHO_WAIT, "the last echoes")?;
        let settled = now() - Span(i64::try_from(ECHO_WAIT.as_nanos()).unwrap_or(i64::MAX));
        let earliest = since - Span(i64::try_from(SPACING.as_nanos()).unwrap_or(0));
        self.shared.with(|packets| outage(packets, earliest, settled))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn outage(packets: &[Sent], earliest: Timestamp, settled: Timestamp) -> Result<Outage> {
    let from = packets.partition_point(|packet| packet.at < earliest);
    let until = packets.partition_point(|packet| packet.at < settled).max(from);
    let span = &packets[from..until];
    let first = span.iter().position(|packet| !packet.answered).context("no packet was lost")?;
    let lost = span[first..].iter().take_while(|packet| !packet.answered).count();
    let back = span.get(first + lost).context("no packet has come back yet")?;
    Ok(Outage { from: span[first].at, until: back.at, lost })
}

fn open(bind: SocketAddrV4, connect: Option<SocketAddrV4>) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(bind).with_context(|| format!("bind UDP {bind}"))?;
    socket.set_read_timeout(Some(STOP_CHECK)).context("set a receive timeout")?;
    if let Some(peer) = connect {
        socket.connect(peer).with_context(|| format!("connect UDP to {peer}"))?;
    }
    Ok(socket)
}

fn echo(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; PAYLOAD_BYTES];
    while !shared.stopped() {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            // An answer that cannot be sent is a lost packet, which is what is counted.
            let _ = socket.send_to(&buffer[..length], peer);
        }
    }
}

fn receive(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; PAYLOAD_BYTES];
    while !shared.stopped() {
        let Ok(PAYLOAD_BYTES) = socket.recv(&mut buffer) else { continue };
        let number = u64::from_be_bytes(buffer[..8].try_into().expect("eight bytes"));
        shared.with(|packets| {
            let sent = usize::try_from(number).ok().and_then(|number| packets.get_mut(number));
            if let Some(packet) = sent {
                packet.answered = true;
            }
        });
    }
}

/// Sends on a fixed schedule: a late packet does not delay the ones after it.
fn send(socket: &UdpSocket, shared: &Shared) {
    let start = Instant::now();
    for number in 0..PACKETS_MAX {
        let due = start + SPACING * u32::try_from(number).unwrap_or(u32::MAX);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if shared.stopped() {
            return;
        }
        let mut payload = [0; PAYLOAD_BYTES];
        payload[..8].copy_from_slice(&u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes());
        shared.with(|packets| packets.push(Sent { at: now(), answered: false }));
        // A pending ICMP error is reported instead of sending: the second attempt sends.
        if socket.send(&payload).is_err() {
            let _ = socket.send(&payload);
        }
    }
}

/// The outage and the FIB's convergence tell of the same failure: they differ by less than `bound`.
///
/// # Errors
/// When they do not.
pub fn agree(outage: Outage, truth: Span, bound: Span) -> Result<()> {
    let apart = Span((outage.duration().0 - truth.0).abs());
    ensure!(
        apart <= bound,
        "packets were lost for {} ms, but the FIB took {} ms",
        outage.duration().millis(),
        truth.millis()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(answered: &str) -> Vec<Sent> {
        let at = |index: usize| Timestamp(i64::try_from(index).unwrap() * 10);
        answered
            .chars()
            .enumerate()
            .map(|(index, c)| Sent { at: at(index), answered: c == '+' })
            .collect()
    }

    #[test]
    fn an_outage_spans_from_the_first_loss_to_the_first_return() {
        let found = |text, since, settled| {
            outage(&stream(text), Timestamp(since), Timestamp(settled)).map(|o| {
                let Outage { from, until, lost } = o;
                (from.0, until.0, lost)
            })
        };
        assert_eq!(found("+++----++", 0, 1000).unwrap(), (30, 70, 4));
        assert_eq!(found("-++----++", 10, 1000).unwrap(), (30, 70, 4), "an earlier loss");
        assert!(found("+++++++++", 0, 1000).is_err(), "no loss");
        assert!(found("+++------", 0, 1000).is_err(), "not back");
        assert!(found("+++---+++", 0, 50).is_err(), "not back among the settled ones");
    }
}
