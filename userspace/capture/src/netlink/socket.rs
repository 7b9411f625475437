//! The two netlink sockets' system calls: joining groups, receiving, dumping.
//!
//! Owns buffers and sequence numbers; interprets nothing but the framing of an answer.
//!
//! **Invariant:** only datagrams that the kernel itself sent are handed on, and no call blocks
//! longer than [`ANSWER_SECONDS_MAX`].

use super::NetlinkError;
use super::message::{self, Header, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Largest datagram read, in octets. The kernel builds dump answers of at most 32 KiB; single
/// notifications are smaller.
const DATAGRAM_OCTETS_MAX: usize = 64 * 1024;
/// How long a dump may take, in seconds.
pub(super) const ANSWER_SECONDS_MAX: u64 = 30;
/// How often a dump that was interrupted by changes is repeated.
const DUMP_ATTEMPTS_MAX: usize = 4;
/// Index of the drop counter in the array that SO_MEMINFO returns (`SK_MEMINFO_DROPS`).
const MEMINFO_DROPS: usize = 8;

/// What a receive call found.
pub(super) enum Received {
    /// A datagram of this many octets, now in the buffer.
    Datagram(usize),
    /// A datagram that did not fit the buffer, or came from another process: ignored.
    Rejected,
    /// Nothing is pending.
    Empty,
    /// The kernel dropped messages because the receive buffer was full.
    Overrun,
}

/// An rtnetlink socket with its receive buffer.
#[derive(Debug)]
pub(super) struct RouteSocket {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> NetlinkError {
    move |source| NetlinkError::Socket { operation, source }
}

impl RouteSocket {
    /// Opens a non-blocking socket in the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed("open socket"))?;
        socket.bind_auto().map_err(failed("bind socket"))?;
        socket.set_non_blocking(true).map_err(failed("set socket non-blocking"))?;
        // Kernels before 4.20 do not know strict checking; they answer unfiltered, and the reader
        // filters by itself.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self { socket, buffer: vec![0; DATAGRAM_OCTETS_MAX], sequence: 0 })
    }

    /// Asks for a receive buffer of `octets`, past the system-wide limit if that is allowed.
    pub(super) fn set_receive_buffer(&self, octets: usize) -> Result<(), NetlinkError> {
        setsockopt(&self.socket, sockopt::RcvBufForce, &octets)
            .or_else(|_| setsockopt(&self.socket, sockopt::RcvBuf, &octets))
            .map_err(|errno| failed("set receive buffer")(errno.into()))
    }

    /// Joins a multicast group.
    pub(super) fn join(&mut self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    /// Messages dropped on this socket since it was opened; `None` if the kernel does not say.
    pub(super) fn drops(&self) -> Option<u32> {
        let mut info = [0u32; 16];
        let mut length = size_of_val(&info) as libc::socklen_t;
        // SAFETY: the descriptor is open, `info` is writable for `length` octets, and the kernel
        // writes at most `length` octets to it.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let written = length as usize / size_of::<u32>();
        (result == 0 && written > MEMINFO_DROPS).then_some(info[MEMINFO_DROPS])
    }

    /// Waits until the socket is readable or `timeout` is over. Returns early on a signal.
    pub(super) fn wait(&self, timeout: Duration) -> Result<(), NetlinkError> {
        // Rounded up: a wait of less than a millisecond must not become a busy loop.
        let millis = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(failed("poll")(errno.into())),
        }
    }

    /// Receives one datagram without waiting.
    pub(super) fn receive(&mut self) -> Result<Received, NetlinkError> {
        let Self { socket, buffer, .. } = self;
        loop {
            let received = socket.recv_from(&mut &mut buffer[..], libc::MSG_TRUNC);
            return match received {
                Ok((length, sender)) if length <= buffer.len() && sender.port_number() == 0 => {
                    Ok(Received::Datagram(length))
                }
                Ok(_) => Ok(Received::Rejected),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => continue,
                    Some(libc::EAGAIN) => Ok(Received::Empty),
                    Some(libc::ENOBUFS) => Ok(Received::Overrun),
                    _ => Err(failed("receive")(error)),
                },
            };
        }
    }

    /// The first `length` octets of the buffer.
    pub(super) fn datagram(&self, length: usize) -> &[u8] {
        self.buffer.get(..length).unwrap_or_default()
    }

    /// A sequence number not used before.
    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends one or several requests to the kernel, which answers before this returns.
    pub(super) fn send(&self, requests: &[u8]) -> Result<(), NetlinkError> {
        let sent = self
            .socket
            .send_to(requests, &SocketAddr::new(0, 0), 0)
            .map_err(failed("send request"))?;
        if sent == requests.len() {
            Ok(())
        } else {
            Err(failed("send request")(io::Error::from(io::ErrorKind::WriteZero)))
        }
    }

    /// Dumps a kernel table: every message of the answer goes to `visit`. A table that does not
    /// exist, or a kind of table that this kernel does not know, is empty. Returns whether the
    /// answer is consistent; a dump that changes interrupted is repeated a few times
    /// (`restart` is called before each attempt).
    pub(super) fn dump<S>(
        &mut self,
        query: &Query,
        state: &mut S,
        restart: impl Fn(&mut S),
        visit: impl Fn(&mut S, Header, &[u8]),
    ) -> Result<bool, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS_MAX {
            restart(state);
            if self.dump_once(query, state, &visit)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn dump_once<S>(
        &mut self,
        query: &Query,
        state: &mut S,
        visit: &impl Fn(&mut S, Header, &[u8]),
    ) -> Result<bool, NetlinkError> {
        let sequence = self.next_sequence();
        let fixed = message::dump_header(query.kind, query.family);
        self.send(&message::request(query.kind, NLM_F_DUMP, sequence, &fixed, query.attribute))?;
        let deadline = Instant::now() + Duration::from_secs(ANSWER_SECONDS_MAX);
        let request = query.name;
        let undecodable = |source| NetlinkError::Undecodable { request, source };
        let mut consistent = true;
        loop {
            let length = match self.receive()? {
                Received::Datagram(length) => length,
                Received::Rejected => continue,
                // The rest of this answer, if any comes, carries an old sequence number.
                Received::Overrun => return Ok(false),
                Received::Empty => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(NetlinkError::Timeout { request, seconds: ANSWER_SECONDS_MAX });
                    }
                    self.wait(left)?;
                    continue;
                }
            };
            for message in message::messages(self.datagram(length)) {
                let (header, payload) = message.map_err(undecodable)?;
                if header.sequence != sequence {
                    continue;
                }
                consistent &= header.flags & NLM_F_DUMP_INTR == 0;
                match header.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return finished(request, message::error_number(payload))
                            .map(|()| consistent);
                    }
                    _ => visit(state, header, payload),
                }
            }
        }
    }
}

impl AsFd for RouteSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What to dump.
pub(super) struct Query {
    /// Message type.
    pub(super) kind: u16,
    /// Its name for error messages.
    pub(super) name: &'static str,
    /// Address family.
    pub(super) family: u8,
    /// A filter.
    pub(super) attribute: Option<(u16, u32)>,
}

/// ENOENT: the routing table asked for does not exist. EOPNOTSUPP and EAFNOSUPPORT: this kernel
/// has no next-hop objects, or no IPv6.
fn finished(request: &'static str, errno: i32) -> Result<(), NetlinkError> {
    match errno {
        0 | libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT => Ok(()),
        _ => Err(NetlinkError::Refused { request, source: io::Error::from_raw_os_error(errno) }),
    }
}
