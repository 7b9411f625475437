//! Owns the delta headers: the few fields of a BGP message or BFD packet that say what changes.
//!
//! It never decodes routes and never keeps state: comparing with the last packet is the caller's.

use crate::Bytes;

/// Marker, length and type (RFC 4271 §4.1), in bytes.
pub const BGP_HEADER_LEN: usize = 19;
/// A KEEPALIVE is a header alone (RFC 4271 §4.4), in bytes.
pub const KEEPALIVE_LEN: usize = BGP_HEADER_LEN;
/// A BFD control packet without authentication (RFC 5880 §4.1), in bytes.
pub const BFD_CONTROL_LEN: usize = 24;

/// BGP message types (RFC 4271 §4.1, RFC 2918 §3).
pub mod bgp_type {
    /// Parameters of the session.
    pub const OPEN: u8 = 1;
    /// Routes.
    pub const UPDATE: u8 = 2;
    /// An error; the session ends.
    pub const NOTIFICATION: u8 = 3;
    /// A sign of life.
    pub const KEEPALIVE: u8 = 4;
    /// Asks for the routes again.
    pub const ROUTE_REFRESH: u8 = 5;
}

/// The first BGP message of a payload, in outline.
///
/// ```text
/// marker (16) | length (2) | type (1) | UPDATE: withdrawn length (2) | … | attributes length (2) | … | NLRI
///                                     | NOTIFICATION: code (1) | subcode (1)
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BgpDelta {
    /// Message length in bytes, header included.
    pub message_len: u16,
    /// See [`bgp_type`].
    pub message_type: u8,
    /// NOTIFICATION's error code; 0 for other types or when cut off.
    pub notification_code: u8,
    /// NOTIFICATION's error subcode; 0 for other types or when cut off.
    pub notification_subcode: u8,
    /// The three lengths below were all read; otherwise those that were not are 0.
    pub lengths_known: bool,
    /// UPDATE's withdrawn routes, bytes.
    pub withdrawn_len: u16,
    /// UPDATE's path attributes, bytes.
    pub attributes_len: u16,
    /// UPDATE's NLRI, bytes.
    pub nlri_len: u16,
}

/// Reads the message that begins at `offset`. `None` when none begins there: no marker, an
/// impossible length, or fewer bytes than a header.
#[inline(always)]
pub fn bgp_delta<B: Bytes + ?Sized>(bytes: &B, offset: usize) -> Option<BgpDelta> {
    if !has_marker(bytes, offset) {
        return None;
    }
    let message_len = bytes.be16(offset + 16)?;
    if usize::from(message_len) < BGP_HEADER_LEN {
        return None;
    }
    let message_type = bytes.u8(offset + 18)?;
    let mut delta = BgpDelta { message_len, message_type, ..BgpDelta::default() };
    let body = offset + BGP_HEADER_LEN;
    if message_type == bgp_type::UPDATE {
        delta.lengths_known = update_lengths(bytes, body, &mut delta).is_some();
    } else if message_type == bgp_type::NOTIFICATION {
        delta.notification_code = bytes.u8(body).unwrap_or(0);
        delta.notification_subcode = bytes.u8(body + 1).unwrap_or(0);
    }
    Some(delta)
}

#[inline(always)]
fn update_lengths<B: Bytes + ?Sized>(bytes: &B, body: usize, delta: &mut BgpDelta) -> Option<()> {
    const FIXED_LEN: u16 = BGP_HEADER_LEN as u16 + 4;
    let withdrawn_len = bytes.be16(body)?;
    let left = delta.message_len.checked_sub(FIXED_LEN)?.checked_sub(withdrawn_len)?;
    delta.withdrawn_len = withdrawn_len;
    let attributes_len = bytes.be16(body + 2 + usize::from(withdrawn_len))?;
    delta.nlri_len = left.checked_sub(attributes_len)?;
    delta.attributes_len = attributes_len;
    Some(())
}

#[inline(always)]
fn has_marker<B: Bytes + ?Sized>(bytes: &B, offset: usize) -> bool {
    let quarter = |index: usize| bytes.be32(offset + 4 * index) == Some(u32::MAX);
    quarter(0) && quarter(1) && quarter(2) && quarter(3)
}

/// Whether the payload is exactly one KEEPALIVE and nothing else: a segment that changes nothing.
#[must_use]
#[inline(always)]
pub fn is_lone_keepalive<B: Bytes + ?Sized>(payload: &B) -> bool {
    payload.length() == KEEPALIVE_LEN
        && has_marker(payload, 0)
        && payload.be16(16) == Some(KEEPALIVE_LEN as u16)
        && payload.u8(18) == Some(bgp_type::KEEPALIVE)
}

/// The mandatory section of a BFD control packet (RFC 5880 §4.1).
///
/// ```text
/// Vers Diag | Sta P F C A D M | Detect Mult | Length | My Discriminator | Your Discriminator
/// Desired Min TX | Required Min RX | Required Min Echo RX
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BfdDelta {
    /// 0 AdminDown, 1 Down, 2 Init, 3 Up.
    pub state: u8,
    /// Why the session last went down (RFC 5880 §4.1).
    pub diag: u8,
    /// Packets that may be missed before the session counts as down.
    pub multiplier: u8,
    /// P, F, C, A, D, M: the low six bits of the second byte.
    pub flags: u8,
    /// The sender's name for the session.
    pub my_discriminator: u32,
    /// The receiver's name for it, 0 while unknown.
    pub your_discriminator: u32,
    /// Microseconds.
    pub desired_min_tx_us: u32,
    /// Microseconds.
    pub required_min_rx_us: u32,
    /// Microseconds; 0 when the sender does not take echo packets.
    pub required_min_echo_rx_us: u32,
}

/// Reads the control packet at `offset`. `None` when it is cut off, not version 1, or states a
/// length below [`BFD_CONTROL_LEN`].
#[inline(always)]
pub fn bfd_delta<B: Bytes + ?Sized>(bytes: &B, offset: usize) -> Option<BfdDelta> {
    let first = bytes.u8(offset)?;
    if first >> 5 != 1 || usize::from(bytes.u8(offset + 3)?) < BFD_CONTROL_LEN {
        return None;
    }
    let second = bytes.u8(offset + 1)?;
    Some(BfdDelta {
        state: second >> 6,
        diag: first & 0x1f,
        multiplier: bytes.u8(offset + 2)?,
        flags: second & 0x3f,
        my_discriminator: bytes.be32(offset + 4)?,
        your_discriminator: bytes.be32(offset + 8)?,
        desired_min_tx_us: bytes.be32(offset + 12)?,
        required_min_rx_us: bytes.be32(offset + 16)?,
        required_min_echo_rx_us: bytes.be32(offset + 20)?,
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn message(message_type: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xff; 16];
        bytes.extend_from_slice(&((BGP_HEADER_LEN + body.len()) as u16).to_be_bytes());
        bytes.push(message_type);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn bgp_deltas_say_what_changes() {
        let update = message(2, &[0, 3, 16, 10, 1, 0, 4, 0x40, 1, 1, 0, 24, 192, 0, 2]);
        let delta = bgp_delta(&update[..], 0).unwrap();
        assert_eq!((delta.withdrawn_len, delta.attributes_len, delta.nlri_len), (3, 4, 4));
        assert!(delta.lengths_known);

        let delta = bgp_delta(&update[..24], 0).unwrap();
        assert_eq!((delta.withdrawn_len, delta.lengths_known), (3, false), "attributes cut off");

        let notification = message(3, &[6, 9]);
        let delta = bgp_delta(&notification[..], 0).unwrap();
        assert_eq!((delta.notification_code, delta.notification_subcode), (6, 9));
    }

    #[test]
    fn lengths_that_contradict_each_other_are_not_known() {
        let mut update = message(2, &[0, 200, 16, 10, 1, 0, 4]);
        assert!(!bgp_delta(&update[..], 0).unwrap().lengths_known);
        update[0] = 0xfe;
        assert_eq!(bgp_delta(&update[..], 0), None, "no marker");
        assert_eq!(bgp_delta(&message(4, &[])[..18], 0), None, "cut off");
    }

    #[test]
    fn only_a_keepalive_alone_is_a_lone_keepalive() {
        let keepalive = message(4, &[]);
        let mut two = keepalive.clone();
        two.extend_from_slice(&keepalive);
        for (name, bytes, expected) in [
            ("alone", &keepalive[..], true),
            ("twice", &two[..], false),
            ("cut off", &keepalive[..18], false),
            ("another type", &message(5, &[])[..], false),
            ("empty", &[], false),
        ] {
            assert_eq!(is_lone_keepalive(bytes), expected, "{name}");
        }
    }

    #[test]
    fn bfd_deltas_hold_the_mandatory_section() {
        let mut packet = vec![0x20 | 7, 0xc0 | 0x20, 3, 24];
        for word in [1u32, 2, 300_000, 300_000, 50_000] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
        let delta = bfd_delta(&packet[..], 0).unwrap();
        assert_eq!((delta.state, delta.diag, delta.multiplier, delta.flags), (3, 7, 3, 0x20));
        assert_eq!((delta.my_discriminator, delta.your_discriminator), (1, 2));
        assert_eq!(delta.desired_min_tx_us, 300_000);
        assert_eq!(delta.required_min_echo_rx_us, 50_000);
        assert_eq!(bfd_delta(&packet[..23], 0), None, "cut off");
        packet[0] = 0x40;
        assert_eq!(bfd_delta(&packet[..], 0), None, "version 2");
    }
}
