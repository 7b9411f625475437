//! The truth about the gateway's FIB: the kernel's own route notifications, read by a thread that
//! does nothing else.
//!
//! Invariant: a time stands for a route only when the notification was read at that time; after an
//! overrun of the socket the monitor refuses to answer.

use crate::{NetNs, now, rtnetlink};
use anyhow::{Context, Result, ensure};
use edgelore_model::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How often the thread looks whether it should end, in ms.
const STOP_CHECK_MS: u16 = 100;

/// The most routes that are kept; the laboratory's networks have a few hundred.
const ROUTES_MAX: usize = 100_000;

/// Socket receive buffer, bytes.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Where a route points and when that was read; the gateway is `None` once the route is gone.
type Routes = HashMap<(Ipv4Addr, u8), (Option<Ipv4Addr>, Timestamp)>;

#[derive(Debug, Default)]
struct Shared {
    routes: Mutex<Routes>,
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
            socket.set_rx_buf_sz(RECEIVE_BUFFER_BYTES).context("size the receive buffer")?;
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
        ensure!(
            !self.shared.overrun.load(Ordering::Acquire),
            "route notifications were lost: the FIB's truth is unknown"
        );
        let routes = self.shared.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = None;
        for prefix in prefixes {
            match routes.get(prefix) {
                Some((Some(via), at)) if *via == gateway => last = last.max(Some(*at)),
                _ => return Ok(None),
            }
        }
        Ok(last)
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
    for event in rtnetlink::route_events(datagram) {
        let known = routes.get(&event.prefix);
        // A repeated notification is not a change.
        if known.is_some_and(|(gateway, _)| *gateway == event.gateway) {
            continue;
        }
        if known.is_none() && routes.len() >= ROUTES_MAX {
            shared.overrun.store(true, Ordering::Release);
            return;
        }
        routes.insert(event.prefix, (event.gateway, at));
    }
}
