//! BFD control packets: validated, counted, and observed when something in them changes
//! (RFC 5880 §4.1 and §6.8.6).
//!
//! ```text
//! |Vers | Diag    |Sta|P|F|C|A|D|M| Detect Mult   | Length        |
//! | My Discriminator              | Your Discriminator            |
//! | Desired Min TX Interval       | Required Min RX Interval      |
//! | Required Min Echo RX Interval | authentication, if A          |
//! ```
//!
//! Multihop (RFC 5883), seamless (RFC 7881) and micro-BFD (RFC 7130) have the same packets on
//! ports of their own; the authentication section is stepped over, for only the two ends have the
//! key. Echo packets are counted by the caller alone: their content is their sender's own affair.
//!
//! **Invariant:** keeps one state per speaker of a session and kind, for micro-BFD per member link
//! too, in a bounded table.

use super::pulse::{Beat, Pulse};
use super::table::Table;
use edgelore_headers::Pace;
use edgelore_model::{BfdChange, BfdCounts, BfdState, Heartbeat, LateHeartbeat, SessionKey};
use std::net::IpAddr;

const LEN_MIN: usize = 24;
/// With the authentication section's type and length.
const LEN_MIN_AUTHENTICATED: usize = 26;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// UDP ports, by which the kinds are told apart.
pub(super) mod port {
    /// Control packets of one hop (RFC 5881 §4).
    pub(crate) const SINGLE_HOP: u16 = 3784;
    /// Echo packets (RFC 5881 §4).
    pub(crate) const ECHO: u16 = 3785;
    /// Multihop (RFC 5883 §4).
    pub(crate) const MULTI_HOP: u16 = 4784;
    /// Members of an aggregate (RFC 7130 §2.2).
    pub(crate) const MICRO: u16 = 6784;
}

/// Why a packet is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BfdError {
    /// Shorter than the mandatory section, or than its own length field.
    #[error("in BFD control packet: at byte {there}: {needed} octets are needed")]
    Truncated {
        /// Octets there.
        there: usize,
        /// Octets needed.
        needed: usize,
    },
    /// Version other than 1.
    #[error("in BFD control packet: at byte 0: version {0} is not 1")]
    Version(u8),
    /// The length field is too small for what the packet says it holds.
    #[error("in BFD control packet: at byte 3: length {0} is too small")]
    Length(u8),
    /// Detect multiplier 0.
    #[error("in BFD control packet: at byte 2: detect multiplier is zero")]
    Multiplier,
    /// The multipoint bit, which RFC 5880 reserves.
    #[error("in BFD control packet: at byte 1: multipoint bit is set")]
    Multipoint,
    /// My Discriminator 0.
    #[error("in BFD control packet: at byte 4: my discriminator is zero")]
    MyDiscriminator,
    /// Your Discriminator 0 in a state that knows it.
    #[error("in BFD control packet: at byte 8: your discriminator is zero")]
    YourDiscriminator,
}

/// A control packet's mandatory section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlPacket {
    /// State.
    pub state: BfdState,
    /// Diagnostic, 0 to 31.
    pub diagnostic: u8,
    /// Detection time multiplier, never 0.
    pub detect_multiplier: u8,
    /// Never 0.
    pub my_discriminator: u32,
    /// 0 while unknown.
    pub your_discriminator: u32,
    /// Microseconds.
    pub desired_min_tx_us: u32,
    /// Microseconds.
    pub required_min_rx_us: u32,
    /// An authentication section follows.
    pub authenticated: bool,
    /// The sender wants no more packets than it asks for (RFC 5880 §6.6).
    pub demand: bool,
}

impl ControlPacket {
    /// Reads a UDP payload, with the checks of RFC 5880 §6.8.6 that need no state.
    ///
    /// # Errors
    /// [`BfdError`]: the packet would be discarded.
    pub fn parse(bytes: &[u8]) -> Result<Self, BfdError> {
        let short = |needed| BfdError::Truncated { there: bytes.len(), needed };
        let &[first, flags, multiplier, length, ref rest @ ..] = bytes else {
            return Err(short(LEN_MIN));
        };
        let authenticated = flags & AUTHENTICATION != 0;
        let needed = if authenticated { LEN_MIN_AUTHENTICATED } else { LEN_MIN };
        if first >> 5 != 1 {
            return Err(BfdError::Version(first >> 5));
        }
        if usize::from(length) < needed {
            return Err(BfdError::Length(length));
        }
        if bytes.len() < usize::from(length) {
            return Err(short(usize::from(length)));
        }
        let word = |at: usize| {
            rest.get(at..at + 4).map_or(0, |w| w.iter().fold(0, |n, &o| n << 8 | u32::from(o)))
        };
        let packet = Self {
            state: state(flags >> 6),
            diagnostic: first & 0x1f,
            detect_multiplier: multiplier,
            my_discriminator: word(0),
            your_discriminator: word(4),
            desired_min_tx_us: word(8),
            required_min_rx_us: word(12),
            authenticated,
            demand: flags & DEMAND != 0,
        };
        packet.check(flags).map(|()| packet)
    }

    fn check(&self, flags: u8) -> Result<(), BfdError> {
        let knows_peer = matches!(self.state, BfdState::Init | BfdState::Up);
        if self.detect_multiplier == 0 {
            Err(BfdError::Multiplier)
        } else if flags & MULTIPOINT != 0 {
            Err(BfdError::Multipoint)
        } else if self.my_discriminator == 0 {
            Err(BfdError::MyDiscriminator)
        } else if self.your_discriminator == 0 && knows_peer {
            Err(BfdError::YourDiscriminator)
        } else {
            Ok(())
        }
    }
}

const fn state(bits: u8) -> BfdState {
    match bits {
        0 => BfdState::AdminDown,
        1 => BfdState::Down,
        2 => BfdState::Init,
        _ => BfdState::Up,
    }
}

/// The kind of a session between two speakers: they may have one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    SingleHop,
    MultiHop,
    /// On one member, named by its interface index.
    Micro(u32),
    Seamless,
}

impl Kind {
    /// By the destination port and the link. What goes to none of the ports is a seamless
    /// reflector's answer, the only packet that goes to a port of the initiator's choice.
    pub(super) const fn of(port: u16, link: u32) -> Self {
        match port {
            port::MULTI_HOP => Self::MultiHop,
            port::MICRO => Self::Micro(link),
            port::SINGLE_HOP => Self::SingleHop,
            _ => Self::Seamless,
        }
    }
}

/// What a BFD speaker said last.
struct Said {
    change: BfdChange,
    demand: bool,
    pulse: Pulse,
}

/// The last word of every BFD speaker.
pub(super) struct Speakers {
    last: Table<(SessionKey, IpAddr, Kind), Said>,
}

impl Speakers {
    pub(super) fn new(max: usize) -> Self {
        Self { last: Table::new(max) }
    }

    /// Speakers forgotten because there were too many.
    pub(super) const fn evicted(&self) -> u64 {
        self.last.evicted()
    }

    /// What the packet says, if it differs from what its speaker said before; and whether it came
    /// late, which is known while both ends are up and send unasked.
    pub(super) fn hear(
        &mut self,
        kind: Kind,
        change: BfdChange,
        demand: bool,
        beat: Beat,
    ) -> (Option<BfdChange>, Option<LateHeartbeat>) {
        let BfdChange { session, speaker, .. } = change;
        let wanted_us = session.other(speaker).and_then(|other| self.wants(kind, session, other));
        let Some(place) = self.last.find(&(session, speaker, kind)) else {
            let said = Said { change, demand, pulse: Pulse::new(beat) };
            self.last.insert((session, speaker, kind), said);
            return (Some(change), None);
        };
        let said = self.last.at(place);
        let up = change.state == BfdState::Up && said.change.state == BfdState::Up;
        let pace = wanted_us.filter(|_| up).map(|wanted_us| {
            Pace::bfd(change.desired_min_tx_us.max(wanted_us), change.detect_multiplier)
        });
        let late = said.pulse.beat(beat, pace).map(|late| LateHeartbeat {
            heartbeat: Heartbeat::Bfd { session, speaker },
            interval: late.interval,
            gap: late.gap,
            count: late.count,
        });
        said.demand = demand;
        let before = std::mem::replace(&mut said.change, change);
        ((before != change).then_some(change), late)
    }

    /// How often, in µs, an end that is up wants to hear packets unasked.
    fn wants(&mut self, kind: Kind, session: SessionKey, end: IpAddr) -> Option<u32> {
        let place = self.last.find(&(session, end, kind))?;
        let said = self.last.at(place);
        let wants = said.change.state == BfdState::Up && !said.demand;
        wants.then_some(said.change.required_min_rx_us)
    }
}

/// Counts a packet by its state and kind.
pub(super) fn count(counts: &mut BfdCounts, packet: &ControlPacket, kind: Kind) {
    match packet.state {
        BfdState::AdminDown => counts.admin_down += 1,
        BfdState::Down => counts.down += 1,
        BfdState::Init => counts.init += 1,
        BfdState::Up => counts.up += 1,
    }
    match kind {
        Kind::SingleHop => {}
        Kind::MultiHop => counts.multihop += 1,
        Kind::Micro(_) => counts.micro += 1,
        Kind::Seamless => counts.seamless += 1,
    }
    counts.authenticated += u64::from(packet.authenticated);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Vec<u8> {
        let mut packet = vec![0x20 | 3, 0xc0, 5, 24];
        for word in [1u32, 2, 300_000, 50_000, 0] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
        packet
    }

    #[test]
    fn the_mandatory_section_is_read() {
        let read = ControlPacket::parse(&packet()).unwrap();
        assert_eq!((read.state, read.diagnostic, read.detect_multiplier), (BfdState::Up, 3, 5));
        assert_eq!((read.desired_min_tx_us, read.required_min_rx_us), (300_000, 50_000));
    }

    #[test]
    fn an_authentication_section_is_stepped_over() {
        let mut packet = packet();
        packet[1] |= AUTHENTICATION;
        packet[3] = 33;
        packet.extend_from_slice(&[1, 9, 2, b's', b'e', b'c', b'r', b'e', b't']);
        let read = ControlPacket::parse(&packet).unwrap();
        assert_eq!((read.authenticated, read.state), (true, BfdState::Up));
        assert!(ControlPacket::parse(&packet[..32]).is_err());
    }

    #[test]
    fn kinds_are_told_by_their_ports() {
        for (port, expected) in [
            (3784, Kind::SingleHop),
            (4784, Kind::MultiHop),
            (6784, Kind::Micro(5)),
            (7784, Kind::Seamless),
            (49_152, Kind::Seamless),
        ] {
            assert_eq!(Kind::of(port, 5), expected, "{port}");
        }
    }

    #[test]
    fn what_must_be_discarded_is() {
        let with = |at: usize, octets: &[u8]| {
            let mut packet = packet();
            packet[at..at + octets.len()].copy_from_slice(octets);
            ControlPacket::parse(&packet).unwrap_err()
        };
        assert_eq!(with(0, &[0x40]), BfdError::Version(2));
        assert_eq!(with(3, &[23]), BfdError::Length(23));
        assert_eq!(with(1, &[0xc4]), BfdError::Length(24), "authentication needs two more");
        assert_eq!(with(3, &[25]), BfdError::Truncated { there: 24, needed: 25 });
        assert_eq!(with(2, &[0]), BfdError::Multiplier);
        assert_eq!(with(1, &[0xc1]), BfdError::Multipoint);
        assert_eq!(with(4, &[0; 4]), BfdError::MyDiscriminator);
        assert_eq!(with(8, &[0; 4]), BfdError::YourDiscriminator);
        assert!(ControlPacket::parse(&packet()[..3]).is_err());
    }
}
