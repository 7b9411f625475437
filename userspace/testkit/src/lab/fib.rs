//! The truth about the gateway's FIB: the kernel's own route notifications, read by a thread that
//! does nothing else.
//!
//! Invariant: a time stands for a route only when the notification was read at that time; after an
//! overrun of the socket the monitor refuses to answer.

use crate::{NetNs, now, rtnetlink};
use anyhow::{Context, Result, ensure};
use edgelore_model::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How often the thread looks whether it should end, in ms.
const STOP_CHECK_MS: u16 = 100;

/// The most routes that are kept; the laboratory's networks have a few hundred, and a table that
/// is transferred some ten thousand.
const ROUTES_MAX: usize = 200_000;

/// The most changes that are remembered.
const CHANGES_MAX: usize = 2_000_000;

/// Socket receive buffer, bytes.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// A destination and its length in bits.
type Destination = (Ipv4Addr, u8);

/// Where a route points, sorted, and when that was read; nowhere once the route is gone.
type Routes = HashMap<Destination, (Vec<Ipv4Addr>, Timestamp)>;

#[derive(Debug, Default)]
struct Shared {
    routes: Mutex<Routes>,
    /// Which route changed when, in the order in which it was read.
    changes: Mutex<Vec<(Timestamp, Destination)>>,
    overrun: AtomicBool,
    stop: AtomicBool,
}

/// Follows the main table's IPv4 routes of one namespace.
#[derive(Debug)]
pub struct FibMonitor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl FibMonitor {
    /// Starts following.
    ///
    /// # Errors
    /// When the netlink socket cannot be opened inside the namespace.
    pub fn start(namespace: &NetNs) -> Result<Self> {
        let socket = namespace.run(|| {
            let socket = rtnetlink::follow_routes()?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)
                .context("size the receive buffer")?;
            Ok(socket)
        })?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("fib-truth".to_owned())
            .spawn(move || follow(&socket, &theirs))
            .context("start the FIB monitor")?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// When the last of `prefixes` came to point to `gateway`, or `None` while one does not.
    ///
    /// # Errors
    /// When notifications were lost.
    pub fn all_via(
        &self,
        prefixes: &[(Ipv4Addr, u8)],
        gateway: Ipv4Addr,
    ) -> Result<Option<Timestamp>> {
        self.whole()?;
        let routes = self.shared.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = None;
        for prefix in prefixes {
            match routes.get(prefix) {
                Some((via, at)) if *via == [gateway] => last = last.max(Some(*at)),
                _ => return Ok(None),
            }
        }
        Ok(last)
    }

    /// Every one of `prefixes` points to exactly these gateways, given in ascending order; to
    /// none, when it is gone.
    ///
    /// # Errors
    /// When notifications were lost.
    pub fn all_point_to(&self, prefixes: &[(Ipv4Addr, u8)], gateways: &[Ipv4Addr]) -> Result<bool> {
        self.whole()?;
        let routes = self.shared.routes.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(prefixes.iter().all(|prefix| match routes.get(prefix) {
            Some((via, _)) => via == gateways,
            None => gateways.is_empty(),
        }))
    }

    /// When each change since `since` was read, and what changed, in order.
    ///
    /// # Errors
    /// When notifications were lost.
    pub fn changes_since(&self, since: Timestamp) -> Result<Vec<(Timestamp, (Ipv4Addr, u8))>> {
        self.whole()?;
        let changes = self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let from = changes.partition_point(|(at, _)| *at < since);
        Ok(changes[from..].to_vec())
    }

    fn whole(&self) -> Result<()> {
        ensure!(
            !self.shared.overrun.load(Ordering::Acquire),
            "route notifications were lost: the FIB's truth is unknown"
        );
        Ok(())
    }
}

impl Drop for FibMonitor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn follow(socket: &netlink_sys::Socket, shared: &Shared) {
    while !shared.stop.load(Ordering::Acquire) {
        let mut waited = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut waited, PollTimeout::from(STOP_CHECK_MS)), Ok(1..)) {
            continue;
        }
        let Ok((datagram, _)) = socket.recv_from_full() else {
            shared.overrun.store(true, Ordering::Release);
            continue;
        };
        apply(&datagram, now(), shared);
    }
}

fn apply(datagram: &[u8], at: Timestamp, shared: &Shared) {
    let mut routes = shared.routes.lock().unwrap_or_else(PoisonError::into_inner);
    let mut changes = shared.changes.lock().unwrap_or_else(PoisonError::into_inner);
    for event in rtnetlink::route_events(datagram) {
        let known = routes.get(&event.prefix);
        // A repeated notification is not a change.
        if known.is_some_and(|(gateways, _)| *gateways == event.gateways) {
            continue;
        }
        if (known.is_none() && routes.len() >= ROUTES_MAX) || changes.len() >= CHANGES_MAX {
            shared.overrun.store(true, Ordering::Release);
            return;
        }
        changes.push((at, event.prefix));
        routes.insert(event.prefix, (event.gateways, at));
    }
}
