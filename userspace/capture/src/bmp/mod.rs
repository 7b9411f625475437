//! BMP listener: monitored routers connect to this gateway and report (RFC 7854 §3.2).
//!
//! ```text
//! router ──TCP──► kernel's receive buffer ──► connection (cut into messages) ──► Signal{Bmp}
//! ```
//!
//! One thread reads all routers in turn. It stops reading when nobody takes its batches: then the
//! receive buffers fill, TCP closes the windows, and the routers keep what they have to say, so
//! nothing is lost here. Only the framing is looked at; what the messages say is the pipeline's.
//!
//! A router is let in when the configuration names its address, and sent away, with the reason
//! counted, when it is not named, when there are too many, or when its bytes are no BMP. One that
//! has gone without a word is found out by TCP keepalives within about a minute.
//!
//! **Invariant:** at most `routers_max` routers are read, each with less than
//! [`MESSAGE_LEN_MAX`] + [`READ_LEN`] octets waiting for the end of a message; nothing is ever
//! sent to a router.

mod connection;

pub use connection::MESSAGE_LEN_MAX;

use crate::Clock;
use connection::{Connection, End};
use edgelore_model::{Batch, BmpRouter, Prefix, Signal, SignalKind};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

/// Routers that may be configured at most.
pub const ROUTERS_MAX: usize = 1024;
/// Octets read from one router before it is another's turn.
pub const READ_LEN: usize = 256 * 1024;
/// A batch is handed over once it holds as many payload octets.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Connections accepted between two rounds of reading.
const ACCEPTS_MAX: usize = 64;
/// Idle seconds before TCP asks whether the router is still there.
const KEEPALIVE_IDLE_S: u32 = 30;
/// Seconds between such questions.
const KEEPALIVE_INTERVAL_S: u32 = 10;
/// Questions without an answer before the connection is given up.
const KEEPALIVE_PROBES: u32 = 3;

/// Why the listener cannot work.
#[derive(Debug, thiserror::Error)]
pub enum BmpError {
    /// The address is taken, not local, or not ours to use.
    #[error("listening for BMP on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The system has no descriptors or memory left.
    #[error("BMP listener: {operation}: {source}")]
    System {
        /// What was being done.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// What a listener does.
#[derive(Clone, Debug)]
pub struct BmpConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Routers connected at once, at most; from 1 to [`ROUTERS_MAX`].
    pub routers_max: usize,
    /// Addresses from which a router may connect.
    pub allow: Vec<Prefix>,
    /// The clock that stamps arrivals.
    pub clock: Clock,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BmpCounters {
    /// Connections taken in.
    pub accepted: u64,
    /// Connections from addresses that nobody named.
    pub refused_address: u64,
    /// Connections beyond the number of routers allowed.
    pub refused_full: u64,
    /// Whole messages.
    pub messages: u64,
    /// Octets of them.
    pub bytes: u64,
    /// Routers sent away because their bytes were no BMP.
    pub framing_errors: u64,
    /// Connections that ended in the middle of a message.
    pub cut_short: u64,
    /// Connections that ended by a reset or a timeout rather than in order.
    pub broken: u64,
}

impl BmpCounters {
    /// All counters by name.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("accepted", self.accepted),
            ("refused_address", self.refused_address),
            ("refused_full", self.refused_full),
            ("messages", self.messages),
            ("bytes", self.bytes),
            ("framing_errors", self.framing_errors),
            ("cut_short", self.cut_short),
            ("broken", self.broken),
        ]
    }
}

/// What one connected router sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterFigures {
    /// Its end of the connection.
    pub router: SocketAddr,
    /// Whole messages.
    pub messages: u64,
    /// Octets of them.
    pub bytes: u64,
    /// Octets that wait for the end of a message.
    pub waiting: u64,
}

/// Takes in monitored routers.
#[derive(Debug)]
pub struct BmpSource {
    config: BmpConfig,
    listener: TcpListener,
    connections: Vec<Connection>,
    counters: BmpCounters,
    /// Whose turn it is first.
    turn: usize,
    scratch: Box<[u8]>,
}

impl BmpSource {
    /// Begins to listen in the network namespace of this thread.
    ///
    /// # Errors
    /// [`BmpError::Listen`].
    pub fn open(config: BmpConfig) -> Result<Self, BmpError> {
        let listen = config.listen;
        let failed = |source| BmpError::Listen { listen, source };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let (connections, counters) = (Vec::new(), BmpCounters::default());
        let scratch = vec![0; READ_LEN].into_boxed_slice();
        Ok(Self { config, listener, connections, counters, turn: 0, scratch })
    }

    /// Where it listens: the configured address, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// [`BmpError::System`].
    pub fn local_address(&self) -> Result<SocketAddr, BmpError> {
        self.listener.local_addr().map_err(system("asking for the local address"))
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> BmpCounters {
        self.counters
    }

    /// The connected routers.
    pub fn routers(&self) -> impl Iterator<Item = RouterFigures> {
        self.connections.iter().map(Connection::figures)
    }

    /// Waits up to `timeout` for something to happen and appends it to `batch`; says how many
    /// signals that were.
    ///
    /// # Errors
    /// [`BmpError::System`] when the system has no descriptors or memory left; the connected
    /// routers have been read by then, and calling again is right.
    pub fn read(&mut self, timeout: Duration, batch: &mut Batch) -> Result<usize, BmpError> {
        let before = batch.signals.len();
        let ready = self.wait(timeout)?;
        self.read_ready(&ready.connections, batch);
        self.connections.retain(|connection| !connection.ended());
        if ready.listener {
            self.accept(batch)?;
        }
        Ok(batch.signals.len() - before)
    }

    fn wait(&self, timeout: Duration) -> Result<Ready, BmpError> {
        let listener = PollFd::new(self.listener.as_fd(), PollFlags::POLLIN);
        let mut fds = Vec::with_capacity(1 + self.connections.len());
        fds.push(listener);
        let streams = self.connections.iter();
        fds.extend(streams.map(|c| PollFd::new(c.stream().as_fd(), PollFlags::POLLIN)));
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(error) => return Err(system("waiting for routers")(error.into())),
        }
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        Ok(Ready { listener: ready(&fds[0]), connections: fds[1..].iter().map(ready).collect() })
    }

    /// Reads the routers that have something to say, beginning with another one each time, until
    /// the batch is full.
    fn read_ready(&mut self, ready: &[bool], batch: &mut Batch) {
        let count = self.connections.len();
        let first = self.turn.checked_rem(count).unwrap_or(0);
        for place in (first..count).chain(0..first) {
            if !ready[place] {
                continue;
            }
            if batch.bytes.len() >= BATCH_BYTES_MAX {
                self.turn = place;
                return;
            }
            let at = self.config.clock.now();
            let connection = &mut self.connections[place];
            let before = connection.figures();
            let end = connection.read(&mut self.scratch, at, batch);
            let after = connection.figures();
            self.counters.messages += after.messages - before.messages;
            self.counters.bytes += after.bytes - before.bytes;
            if let Some(end) = end {
                self.count_end(&end, after);
                batch.signals.push(Signal { at, link: 0, kind: router(after.router, false) });
            }
        }
        self.turn = first + 1;
    }

    fn count_end(&mut self, end: &End, figures: RouterFigures) {
        let router = figures.router;
        match end {
            End::Closed if figures.waiting == 0 => {
                tracing::info!(%router, "a BMP router has closed its connection");
                return;
            }
            End::Closed => self.counters.cut_short += 1,
            End::Broken(_) => self.counters.broken += 1,
            End::NoBmp(_) => self.counters.framing_errors += 1,
        }
        tracing::warn!(%router, reason = %end, "a BMP connection has ended");
    }

    fn accept(&mut self, batch: &mut Batch) -> Result<(), BmpError> {
        for _ in 0..ACCEPTS_MAX {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The router went away while it waited, or a signal came.
                Err(error) if gone(&error) => continue,
                Err(error) => return Err(system("accepting a router")(error)),
            };
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            if !self.config.allow.iter().any(|prefix| contains(*prefix, peer.ip())) {
                self.counters.refused_address += 1;
                tracing::warn!(router = %peer, "refused: no BMP router is expected there");
            } else if self.connections.len() >= self.config.routers_max {
                self.counters.refused_full += 1;
                tracing::warn!(router = %peer, "refused: too many BMP routers");
            } else if prepare(&stream).is_err() {
                // It was reset before it was looked at.
                self.counters.broken += 1;
            } else {
                self.counters.accepted += 1;
                tracing::info!(router = %peer, "a BMP router has connected");
                let at = self.config.clock.now();
                batch.signals.push(Signal { at, link: 0, kind: router(peer, true) });
                self.connections.push(Connection::new(stream, peer));
            }
        }
        Ok(())
    }
}

/// What can be read without waiting.
#[derive(Default)]
struct Ready {
    listener: bool,
    /// By place in the list of connections.
    connections: Vec<bool>,
}

fn system(operation: &'static str) -> impl Fn(io::Error) -> BmpError {
    move |source| BmpError::System { operation, source }
}

const fn router(router: SocketAddr, connected: bool) -> SignalKind {
    SignalKind::BmpRouter(BmpRouter { router, connected })
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_S)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_S)?;
    setsockopt(stream, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
    Ok(())
}

fn contains(prefix: Prefix, address: IpAddr) -> bool {
    Prefix::new(address, prefix.length()).is_ok_and(|cut| cut == prefix)
}

#[cfg(test)]
mod tests;
