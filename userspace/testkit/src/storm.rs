//! A storm of small UDP packets through the laboratory: traffic that is none of Edgelore's, as fast
//! as one thread can send it.
//!
//! Invariant: each thread ends with its guard; the datagrams go to a socket of the storm's own, so
//! that no host answers them, and the kernel drops them unless a [`Drain`] takes them.

use crate::NetNs;
use anyhow::{Context, Result};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use nix::time::{ClockId, clock_gettime};
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Datagrams handed over by one system call.
const BURST: usize = 64;

/// Packets that an interface has counted since it exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received.
    pub rx_packets: u64,
    /// Sent.
    pub tx_packets: u64,
}

/// What the sending thread tells.
#[derive(Debug, Default)]
struct Told {
    stop: AtomicBool,
    sent: AtomicU64,
    cpu_ns: AtomicU64,
}

/// A running storm.
#[derive(Debug)]
pub struct Storm {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
    sink: UdpSocket,
}

/// Takes the datagrams that arrive, without sleeping, until dropped.
#[derive(Debug)]
pub struct Drain {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    /// Sends datagrams of `payload_len` bytes from one namespace to an address of another until
    /// dropped. The gateways between them must forward.
    ///
    /// # Errors
    /// When a socket cannot be opened, or the target is not reachable.
    pub fn start(from: &NetNs, to: (&NetNs, IpAddr), payload_len: usize) -> Result<Self> {
        let sink = to.0.run(|| UdpSocket::bind((to.1, 0)).context("open the storm's target"))?;
        let target = sink.local_addr().context("find the storm's target")?;
        let source = from.run(|| {
            let any: IpAddr = if to.1.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
            let socket = UdpSocket::bind((any, 0)).context("open the storm's source")?;
            // The first one finds the way; afterwards neighbours are known.
            socket.send_to(&[0], target).context("send the storm's first datagram")?;
            Ok(socket)
        })?;
        let told = Arc::<Told>::default();
        let theirs = Arc::clone(&told);
        let thread = std::thread::Builder::new()
            .name("storm".to_owned())
            .spawn(move || blow(&source, target, &vec![0; payload_len], &theirs))
            .context("start the storm")?;
        Ok(Self { told, thread: Some(thread), sink })
    }

    /// Takes what arrives from now on.
    ///
    /// # Errors
    /// When the socket cannot be shared, or no thread be started.
    pub fn drain(&self) -> Result<Drain> {
        let sink = self.sink.try_clone().context("share the storm's target")?;
        sink.set_nonblocking(true).context("read the storm's target without waiting")?;
        let stop = Arc::<AtomicBool>::default();
        let told = Arc::clone(&stop);
        let drain = move || {
            let mut datagram = [0; 64];
            while !told.load(Ordering::Relaxed) {
                if sink.recv(&mut datagram).is_err() {
                    std::hint::spin_loop();
                }
            }
        };
        let thread = std::thread::Builder::new().name("drain".to_owned()).spawn(drain);
        Ok(Drain { stop, thread: Some(thread.context("start the drain")?) })
    }

    /// Datagrams that its socket has taken so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.told.sent.load(Ordering::Relaxed)
    }

    /// CPU time of the sending thread so far. A virtual link mostly hands a packet on within the
    /// sender's own time, so that the way through the gateways is in it; not so what the kernel
    /// leaves to its own threads under load, or accounts to interrupts apart.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.told.cpu_ns.load(Ordering::Relaxed))
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        end(&self.told.stop, &mut self.thread);
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        end(&self.stop, &mut self.thread);
    }
}

fn end(stop: &AtomicBool, thread: &mut Option<JoinHandle<()>>) {
    stop.store(true, Ordering::Relaxed);
    if let Some(thread) = thread.take() {
        let _ = thread.join();
    }
}

fn blow(socket: &UdpSocket, target: SocketAddr, payload: &[u8], told: &Told) {
    let slices = [[IoSlice::new(payload)]; BURST];
    let targets = [Some(SockaddrStorage::from(target)); BURST];
    let mut headers = MultiHeaders::preallocate(BURST, None);
    while !told.stop.load(Ordering::Relaxed) {
        let flags = MsgFlags::empty();
        let taken = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, targets, [], flags)
            .map_or(0, Iterator::count);
        told.sent.fetch_add(taken as u64, Ordering::Relaxed);
        if let Ok(used) = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID) {
            let used = Duration::from(used).as_nanos();
            told.cpu_ns.store(u64::try_from(used).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

/// What the interface has counted.
///
/// # Errors
/// When there is no such interface.
pub fn traffic(namespace: &NetNs, interface: &str) -> Result<Traffic> {
    // The files under /sys/class/net are those of the namespace that mounted it; this one follows
    // the thread.
    let table = namespace.run(|| {
        std::fs::read_to_string("/proc/thread-self/net/dev").context("read the counters")
    })?;
    counted(&table, interface).with_context(|| format!("find the counters of {interface}"))
}

/// One line of `/proc/net/dev`: name, eight counters of reception, eight of sending.
fn counted(table: &str, interface: &str) -> Option<Traffic> {
    let names = |line: &&str| line.split(':').next().is_some_and(|name| name.trim() == interface);
    let line = table.lines().find(names)?;
    let numbers: Vec<u64> =
        line.split_once(':')?.1.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    Some(Traffic { rx_packets: *numbers.get(1)?, tx_packets: *numbers.get(9)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_name() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 1 2 0 0 0 0 0 0 3 4 \
                     0 0 0 0 0 0\n  peer1:10 20 0 0 0 0 0 0 30 40 0 0 0 0 0 0\n";
        let expected = Traffic { rx_packets: 20, tx_packets: 40 };
        assert_eq!(counted(table, "peer1"), Some(expected));
        assert_eq!(counted(table, "peer"), None);
    }
}
