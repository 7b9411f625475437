//! A socket that the kernel's announcements come in on.
//!
//! Owns the multicast membership and the count of what the kernel dropped for want of buffer;
//! interprets no message.
//!
//! **Invariant:** what is lost is told in the place where it is missing: between what was announced
//! before and after.

use super::NetlinkError;
use super::message::{self, Header};
use super::socket::{Received, RouteSocket};
use crate::Clock;
use edgelore_model::Timestamp;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Datagrams read in one go before what they brought is handed over.
const DATAGRAMS_PER_READ_MAX: usize = 16_384;

/// What came in.
pub(super) enum Heard<'a> {
    /// A message.
    Message(Header, &'a [u8]),
    /// A datagram, or the rest of one, that has no netlink framing or came from another process.
    Undecodable,
    /// The receive buffer was full: at least so many messages are missing here.
    Lost(u64),
}

#[derive(Debug)]
pub(super) struct Subscription {
    clock: Clock,
    socket: RouteSocket,
    drops_seen: u32,
}

impl Subscription {
    /// Opens a socket in the calling thread's network namespace.
    pub(super) fn open(clock: Clock, receive_buffer_octets: usize) -> Result<Self, NetlinkError> {
        let socket = RouteSocket::open()?;
        socket.set_receive_buffer(receive_buffer_octets)?;
        Ok(Self { clock, socket, drops_seen: 0 })
    }

    /// Joins a group (`RTNLGRP_*`). One that the kernel does not know is an error only if it is
    /// `required`.
    pub(super) fn join(
        &mut self,
        group: u32,
        operation: &'static str,
        required: bool,
    ) -> Result<(), NetlinkError> {
        match self.socket.join(group) {
            Err(source) if required => Err(NetlinkError::Socket { operation, source }),
            _ => Ok(()),
        }
    }

    /// Waits until something came in or `timeout` is over.
    pub(super) fn wait(&self, timeout: Duration) -> Result<(), NetlinkError> {
        self.socket.wait(timeout)
    }

    /// Hands over what is pending, with the time at which it was read. Returns a moment at which
    /// nothing was pending, or `None` when the bound was reached first.
    pub(super) fn receive(
        &mut self,
        visit: &mut impl FnMut(Timestamp, Heard<'_>),
    ) -> Result<Option<Timestamp>, NetlinkError> {
        for _ in 0..DATAGRAMS_PER_READ_MAX {
            // Read before the call: a message that arrives right after an empty receive is newer.
            let asked = self.clock.now();
            match self.socket.receive()? {
                Received::Empty => return Ok(Some(asked)),
                Received::Overrun => visit(self.clock.now(), Heard::Lost(self.lost())),
                Received::Rejected => visit(self.clock.now(), Heard::Undecodable),
                Received::Datagram(length) => {
                    let at = self.clock.now();
                    for message in message::messages(self.socket.datagram(length)) {
                        let heard = message.map_or(Heard::Undecodable, |(header, payload)| {
                            Heard::Message(header, payload)
                        });
                        visit(at, heard);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Messages dropped since this was last asked; at least one, since the kernel said so.
    fn lost(&mut self) -> u64 {
        let drops = self.socket.drops();
        let lost = drops.map_or(1, |drops| drops.wrapping_sub(self.drops_seen).max(1));
        self.drops_seen = drops.unwrap_or(self.drops_seen);
        u64::from(lost)
    }
}

impl AsFd for Subscription {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
