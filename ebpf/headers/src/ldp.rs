//! Owns the delta header of LDP and the recognition of a lone keepalive. Never follows a session.

use crate::Bytes;

/// PDU header and one message without parameters (RFC 5036 §3.1, §3.5.4), bytes.
pub const LDP_KEEPALIVE_LEN: usize = 18;
/// LDP's version (RFC 5036 §3.1).
const VERSION: u16 = 1;

/// LDP message types (RFC 5036 §3.5), without the U bit.
pub mod ldp_type {
    /// Discovers neighbours.
    pub const HELLO: u16 = 0x0100;
    /// A sign of life.
    pub const KEEPALIVE: u16 = 0x0201;
}

/// The first message of an LDP PDU, in outline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LdpDelta {
    /// Bytes after the PDU length field.
    pub pdu_len: u16,
    /// See [`ldp_type`].
    pub message_type: u16,
    /// Bytes after the message length field.
    pub message_len: u16,
    /// The sender's router id.
    pub lsr_id: u32,
}

/// Reads the PDU at `offset`. `None` when none begins there or it is cut off.
///
/// ```text
/// version (2) | PDU length (2) | LSR id (4) | label space (2) | message type (2) | message length (2) | message id (4)
/// ```
#[inline(always)]
pub fn ldp_delta<B: Bytes + ?Sized>(bytes: &B, offset: usize) -> Option<LdpDelta> {
    const U_BIT: u16 = 0x8000;
    let head: [u8; 14] = bytes.octets(offset)?;
    let be16 = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    if be16(0) != VERSION {
        return None;
    }
    Some(LdpDelta {
        pdu_len: be16(2),
        message_type: be16(10) & !U_BIT,
        message_len: be16(12),
        lsr_id: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
    })
}

/// Whether the payload is exactly one PDU of one KeepAlive: a segment that changes nothing.
#[must_use]
#[inline(always)]
pub fn is_lone_ldp_keepalive<B: Bytes + ?Sized>(payload: &B) -> bool {
    const PDU_LEN: u16 = LDP_KEEPALIVE_LEN as u16 - 4;
    payload.length() == LDP_KEEPALIVE_LEN
        && ldp_delta(payload, 0).is_some_and(|delta| {
            delta.pdu_len == PDU_LEN
                && delta.message_type == ldp_type::KEEPALIVE
                && delta.message_len == 4
        })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::prelude::rust_2024::*;

    const KEEPALIVE: [u8; LDP_KEEPALIVE_LEN] =
        [0, 1, 0, 14, 192, 0, 2, 1, 0, 0, 0x02, 0x01, 0, 4, 0, 0, 0, 9];

    #[test]
    fn a_pdu_tells_its_first_message() {
        let delta = ldp_delta(&KEEPALIVE[..], 0).unwrap();
        assert_eq!((delta.pdu_len, delta.message_type, delta.message_len), (14, 0x0201, 4));
        assert_eq!(delta.lsr_id, 0xc000_0201);
        assert_eq!(ldp_delta(&KEEPALIVE[..13], 0), None, "cut off");
        assert_eq!(
            ldp_delta(&[0, 2, 0, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], 0),
            None,
            "version 2"
        );
    }

    #[test]
    fn only_a_keepalive_alone_is_a_lone_keepalive() {
        let twice = [KEEPALIVE, KEEPALIVE].concat();
        let changed = |at: usize, to: u8| {
            let mut bytes = KEEPALIVE;
            bytes[at] = to;
            bytes
        };
        for (name, bytes, expected) in [
            ("alone", &KEEPALIVE[..], true),
            ("another message id", &changed(17, 77)[..], true),
            ("twice", &twice[..], false),
            ("cut off", &KEEPALIVE[..17], false),
            ("another type", &changed(11, 0)[..], false),
            ("another PDU length", &changed(3, 15)[..], false),
            ("another message length", &changed(13, 5)[..], false),
        ] {
            assert_eq!(is_lone_ldp_keepalive(bytes), expected, "{name}");
        }
    }
}
