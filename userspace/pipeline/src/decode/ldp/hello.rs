//! Hellos: who offers a session, for how long it is believed, and where its sessions end
//! (RFC 5036 §3.5.2, RFC 7552 §6).
//!
//! **Invariant:** one hello in, at most one change out; what was said before is kept in a bounded
//! table.

use super::talk::count;
use super::{LdpError, Message, Pdu, message_type, tlv_type};
use crate::decode::pulse::{Beat, Pulse};
use crate::decode::table::Table;
use edgelore_headers::Pace;
use edgelore_model::{Datagram, Heartbeat, LateHeartbeat, LdpChange, LdpCounts, Observed};
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
    last: Table<Key, (Hello, Pulse)>,
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
    /// not say before, and which came late.
    ///
    /// # Errors
    /// The first fault; what stood before it has been handed out.
    pub(in crate::decode) fn read(
        &mut self,
        payload: &[u8],
        datagram: &Datagram,
        beat: Beat,
        counts: &mut LdpCounts,
        mut emit: impl FnMut(Observed),
    ) -> Result<(), LdpError> {
        let pdu = Pdu::parse(payload)?;
        for message in pdu.messages() {
            let message = message?;
            count(counts, message.kind);
            if message.kind == message_type::HELLO {
                let key = (datagram.src, datagram.dst, pdu.identifier);
                self.hear(key, Hello::parse(&message)?, beat, &mut emit);
            }
        }
        Ok(())
    }

    fn hear(&mut self, key: Key, hello: Hello, beat: Beat, emit: &mut impl FnMut(Observed)) {
        let speaker = key.0;
        if let Some(place) = self.last.find(&key) {
            let (last, pulse) = self.last.at(place);
            let pace = Pace::ldp_hello(hello.hold_time_s, hello.targeted);
            if let Some(late) = pulse.beat(beat, pace) {
                emit(Observed::Late(LateHeartbeat {
                    heartbeat: Heartbeat::LdpHello { speaker },
                    interval: late.interval,
                    gap: late.gap,
                    count: late.count,
                }));
            }
            if std::mem::replace(last, hello) == hello {
                return;
            }
        } else {
            self.last.insert(key, (hello, Pulse::new(beat)));
        }
        let Hello { hold_time_s, targeted, transport_address } = hello;
        emit(Observed::Ldp(LdpChange::Hello { speaker, hold_time_s, targeted, transport_address }));
    }
}
