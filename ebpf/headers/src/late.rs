//! Owns the rule when a heartbeat (a BFD packet, a hello, a keepalive) is late. Never remembers one.
//!
//! A late one came after more time than its sender may let pass, and before its receiver gives the
//! sender up: something was lost or held up, and the session lives.
//!
//! ```text
//!            interval     late after        given up after
//! BFD        I            5/4 of I          multiplier × I         (RFC 5880 §6.8.4, §6.8.7)
//! OSPF       I            3/2 of I          RouterDeadInterval     (RFC 2328 §9.5)
//! IS-IS, LDP holding/3    11/20 of holding  the holding time       (ISO 10589 §8.2, RFC 5036 §2.5.5)
//! BGP, LDP   hold/3       11/20 of hold     the hold time          (RFC 4271 §10, RFC 5036 §2.5.6)
//! ```
//!
//! IS-IS and LDP tell the holding time alone, as OPENs tell the hold time; a sender that sends but
//! two heartbeats in it is not late.
//!
//! **Invariant:** the kernel and userspace judge by this rule, so that what the kernel withholds as
//! in time is in time.

use crate::{Bytes, Kind};

const SECOND_NS: u64 = 1_000_000_000;
/// Common hello parameters (RFC 5036 §3.5.2).
const LDP_HELLO_PARAMETERS: u16 = 0x0400;
const LDP_TARGETED: u8 = 0x80;
/// OPEN (RFC 4271 §4.1).
const BGP_OPEN: u8 = 1;
/// Initialization, and its common session parameters (RFC 5036 §3.5.3).
const LDP_INITIALIZATION: u16 = 0x0200;
const LDP_SESSION_PARAMETERS: u16 = 0x0500;
/// What a hold time of zero stands for, in seconds (RFC 5036 §3.5.2).
const LDP_LINK_HOLD_S: u16 = 15;
const LDP_TARGETED_HOLD_S: u16 = 45;

/// How often a sender's heartbeats come. All times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The longest time that the sender lets pass.
    pub interval_ns: u64,
    /// One that comes after more than this is late.
    pub late_after_ns: u64,
    /// After this the receiver has given the sender up.
    pub dead_after_ns: u64,
}

impl Pace {
    /// BFD with this interval in µs: the larger of what the sender wants to keep and of what the
    /// receiver wants to get.
    #[inline(always)]
    #[must_use]
    pub const fn bfd(interval_us: u32, multiplier: u8) -> Self {
        let interval_ns = interval_us as u64 * 1_000;
        Self {
            interval_ns,
            late_after_ns: interval_ns + interval_ns / 4,
            dead_after_ns: interval_ns * multiplier as u64,
        }
    }

    /// OSPF with these intervals in s.
    #[inline(always)]
    #[must_use]
    pub const fn ospf(hello_interval_s: u16, dead_interval_s: u32) -> Self {
        let interval_ns = hello_interval_s as u64 * SECOND_NS;
        Self {
            interval_ns,
            late_after_ns: interval_ns + interval_ns / 2,
            dead_after_ns: dead_interval_s as u64 * SECOND_NS,
        }
    }

    /// A protocol that tells the holding time alone, in s.
    #[inline(always)]
    #[must_use]
    pub const fn holding(holding_time_s: u16) -> Self {
        let dead_after_ns = holding_time_s as u64 * SECOND_NS;
        Self {
            interval_ns: dead_after_ns / 3,
            late_after_ns: dead_after_ns / 20 * 11,
            dead_after_ns,
        }
    }

    /// An LDP hello's hold time, of which two values have a meaning of their own; `None` for one
    /// that holds for ever.
    #[inline(always)]
    #[must_use]
    pub const fn ldp_hello(hold_time_s: u16, targeted: bool) -> Option<Self> {
        match (hold_time_s, targeted) {
            (0, false) => Some(Self::holding(LDP_LINK_HOLD_S)),
            (0, true) => Some(Self::holding(LDP_TARGETED_HOLD_S)),
            (u16::MAX, _) => None,
            (hold_time_s, _) => Some(Self::holding(hold_time_s)),
        }
    }

    /// Whether a heartbeat is late that came so long after the one before.
    #[inline(always)]
    #[must_use]
    pub const fn is_late(&self, gap_ns: u64) -> bool {
        gap_ns > self.late_after_ns && gap_ns < self.dead_after_ns
    }
}

/// The hold time that a BGP OPEN, or the keepalive time that an LDP Initialization proposes, in
/// seconds; `None` of everything else. The payload begins with a message.
#[inline(always)]
pub fn proposed_hold_time_s<B: Bytes + ?Sized>(payload: &B, ldp: bool) -> Option<u16> {
    if !ldp {
        return if payload.u8(18)? == BGP_OPEN { payload.be16(22) } else { None };
    }
    let session =
        payload.be16(10)? == LDP_INITIALIZATION && payload.be16(18)? == LDP_SESSION_PARAMETERS;
    if session { payload.be16(24) } else { None }
}

/// The pace of a hello, which [`crate::hello`] recognised; `None` when the hello does not tell.
#[inline(always)]
pub fn hello_pace<B: Bytes + ?Sized>(payload: &B, kind: Kind) -> Option<Pace> {
    match kind {
        Kind::Ospf if payload.u8(0)? == 2 => Some(Pace::ospf(payload.be16(28)?, payload.be32(32)?)),
        Kind::Ospf => Some(Pace::ospf(payload.be16(24)?, u32::from(payload.be16(26)?))),
        Kind::Isis => Some(Pace::holding(payload.be16(15)?)),
        Kind::LdpHello if payload.be16(18)? == LDP_HELLO_PARAMETERS => {
            Pace::ldp_hello(payload.be16(22)?, payload.u8(24)? & LDP_TARGETED != 0)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const MS: u64 = 1_000_000;

    #[test]
    fn late_lies_between_the_interval_and_the_end() {
        for (name, pace, on_time, late, dead) in [
            ("BFD", Pace::bfd(300_000, 3), 375, 376, 900),
            ("BFD that may miss none", Pace::bfd(300_000, 1), 375, 0, 300),
            ("OSPF", Pace::ospf(10, 40), 15_000, 15_001, 40_000),
            ("IS-IS", Pace::holding(30), 16_500, 16_501, 30_000),
        ] {
            assert!(!pace.is_late(on_time * MS), "{name}");
            assert_eq!(pace.is_late(late * MS), late > 0, "{name}");
            assert!(!pace.is_late(dead * MS), "{name}");
            assert_eq!(pace.is_late(dead * MS - 1), late > 0, "{name}");
        }
    }

    fn payload(len: usize, at: usize, octets: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; len];
        payload[at..at + octets.len()].copy_from_slice(octets);
        payload
    }

    #[test]
    fn both_ends_propose_a_hold_time() {
        let mut open = payload(29, 22, &[0, 9]);
        open[18] = 1;
        let mut update = payload(29, 22, &[0, 9]);
        update[18] = 2;
        let mut session = payload(32, 18, &[5, 0, 0, 14, 0, 1, 0, 180]);
        session[10] = 2;
        for (name, ldp, payload, expected) in [
            ("OPEN", false, &open[..], Some(9)),
            ("UPDATE", false, &update[..], None),
            ("cut off", false, &open[..23], None),
            ("Initialization", true, &session[..], Some(180)),
            ("another message", true, &update[..], None),
            ("cut off", true, &session[..25], None),
        ] {
            assert_eq!(proposed_hold_time_s(payload, ldp), expected, "{name}");
        }
    }

    #[test]
    fn hellos_tell_their_pace() {
        let mut v2 = payload(44, 28, &[0, 10, 0, 1, 0, 0, 0, 40]);
        v2[0] = 2;
        let mut v3 = payload(36, 24, &[0, 10, 0, 40]);
        v3[0] = 3;
        let ldp = |hold: u16, flags: u8| {
            let [high, low] = hold.to_be_bytes();
            payload(42, 18, &[4, 0, 0, 4, high, low, flags, 0])
        };
        for (name, kind, payload, expected) in [
            ("OSPFv2", Kind::Ospf, v2, Some(Pace::ospf(10, 40))),
            ("OSPFv3", Kind::Ospf, v3, Some(Pace::ospf(10, 40))),
            ("IS-IS", Kind::Isis, payload(60, 15, &[0, 30]), Some(Pace::holding(30))),
            ("LDP", Kind::LdpHello, ldp(9, 0), Some(Pace::holding(9))),
            ("LDP's default", Kind::LdpHello, ldp(0, 0), Some(Pace::holding(15))),
            ("LDP's targeted default", Kind::LdpHello, ldp(0, 0x80), Some(Pace::holding(45))),
            ("LDP for ever", Kind::LdpHello, ldp(u16::MAX, 0), None),
            ("LDP with other parameters first", Kind::LdpHello, payload(42, 18, &[4, 1]), None),
            ("another protocol", Kind::Bgp, payload(60, 0, &[]), None),
            ("cut off", Kind::Isis, payload(16, 0, &[]), None),
        ] {
            assert_eq!(hello_pace(&payload[..], kind), expected, "{name}");
        }
    }
}
