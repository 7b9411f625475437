//! Hellos: who offers a session, for how long it is believed, and where its sessions end
//! (RFC 5036 §3.5.2, RFC 7552 §6).
//!
//! **Invariant:** one hello in, at most one change out; what was said before is kept in a bounded
//! table.

use super::talk::count;
use super::{LdpError, Message, Pdu, message_type, tlv_type};
use crate::decode::table::Table;
use edgelore_model::{Datagram, LdpChange, LdpCounts};
use std::net::{IpAddr, Ipv6Addr};

const TARGETED: u8 = 0x80;

/// An LDP speaker's name: its router and one of its label spaces (RFC 5036 §2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LdpIdentifier {
    /// The LSR's identifier.
    pub router: [u8; 4],
    /// The label space; 0 for the platform-wide one.
    pub label_space: u16,
}

/// What a hello says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Seconds; 0 stands for the default, 65535 for ever.
    pub hold_time_s: u16,
    /// The T bit: sent to one router rather than to all on the link.
    pub targeted: bool,
    /// Where its sessions end; `None` when that is the hello's own source.
    pub transport_address: Option<IpAddr>,
}

impl Hello {
    /// Reads a Hello message. Of several transport addresses the first counts (RFC 7552 §6.1).
    ///
    /// # Errors
    /// [`LdpError::Missing`] without common hello parameters, [`LdpError::Truncated`].
    pub fn parse(message: &Message<'_>) -> Result<Self, LdpError> {
        let value = message.tlv(tlv_type::COMMON_HELLO_PARAMETERS, "Hello")?;
        let &[high, low, flags, ..] = value else {
            let there = value.len();
            return Err(LdpError::Truncated { what: "common hello parameters", there, needed: 4 });
        };
        let mut transport_address = None;
        for tlv in message.tlvs() {
            let (kind, value) = tlv?;
            transport_address = transport_address.or_else(|| address(kind, value));
        }
        let hold_time_s = u16::from_be_bytes([high, low]);
        Ok(Self { hold_time_s, targeted: flags & TARGETED != 0, transport_address })
    }
}

fn address(kind: u16, value: &[u8]) -> Option<IpAddr> {
    match (kind, value) {
        (tlv_type::IPV4_TRANSPORT_ADDRESS, &[a, b, c, d]) => Some([a, b, c, d].into()),
        (tlv_type::IPV6_TRANSPORT_ADDRESS, value) => {
            <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// Who said it: sender, receiver (a targeted hello and one to the link differ), label space.
type Key = (IpAddr, IpAddr, LdpIdentifier);

/// The last hello of every speaker.
pub(in crate::decode) struct Hellos {
    last: Table<Key, Hello>,
}

impl Hellos {
    pub(in crate::decode) fn new(max: usize) -> Self {
        Self { last: Table::new(max) }
    }

    /// Speakers forgotten because there were too many.
    pub(in crate::decode) const fn evicted(&self) -> u64 {
        self.last.evicted()
    }

    /// Counts the messages of a datagram and hands out what its hellos say that their sender did
    /// not say before.
    ///
    /// # Errors
    /// The first fault; what stood before it has been handed out.
    pub(in crate::decode) fn read(
        &mut self,
        payload: &[u8],
        datagram: &Datagram,
        counts: &mut LdpCounts,
        mut emit: impl FnMut(LdpChange),
    ) -> Result<(), LdpError> {
        let pdu = Pdu::parse(payload)?;
        for message in pdu.messages() {
            let message = message?;
            count(counts, message.kind);
            if message.kind == message_type::HELLO {
                let key = (datagram.src, datagram.dst, pdu.identifier);
                self.change(key, Hello::parse(&message)?).into_iter().for_each(&mut emit);
            }
        }
        Ok(())
    }

    fn change(&mut self, key: Key, hello: Hello) -> Option<LdpChange> {
        match self.last.find(&key) {
            Some(place) if *self.last.at(place) == hello => return None,
            Some(place) => *self.last.at(place) = hello,
            None => {
                self.last.insert(key, hello);
            }
        }
        let Hello { hold_time_s, targeted, transport_address } = hello;
        Some(LdpChange::Hello { speaker: key.0, hold_time_s, targeted, transport_address })
    }
}
