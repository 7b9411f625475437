//! Owns the delta headers of the link-state protocols: the few fields of an OSPF packet or IS-IS
//! PDU that say what changes. Never keeps a database.

use crate::Bytes;

/// OSPF packet types (RFC 2328 §A.3.1).
pub mod ospf_type {
    /// Discovers and keeps neighbours.
    pub const HELLO: u8 = 1;
    /// Carries link-state advertisements.
    pub const LINK_STATE_UPDATE: u8 = 4;
}

/// IS-IS PDU types (ISO 10589 §9).
pub mod isis_type {
    /// Hello on a broadcast link, level 1.
    pub const LAN_HELLO_1: u8 = 15;
    /// Hello on a broadcast link, level 2.
    pub const LAN_HELLO_2: u8 = 16;
    /// Hello on a point-to-point link.
    pub const P2P_HELLO: u8 = 17;
    /// Link state, level 1.
    pub const LSP_1: u8 = 18;
    /// Link state, level 2.
    pub const LSP_2: u8 = 20;
}

/// An LSA of this age, in seconds, is withdrawn (RFC 2328 §B).
pub const OSPF_MAX_AGE_S: u16 = 3600;
/// OSPFv2's header up to the body, bytes (RFC 2328 §A.3.1).
const OSPF_V2_HEADER_LEN: usize = 24;
/// OSPFv3's header, bytes (RFC 5340 §A.3.1).
const OSPF_V3_HEADER_LEN: usize = 16;
/// The discriminator that every IS-IS PDU begins with (ISO 10589 §9).
const ISIS_DISCRIMINATOR: u8 = 0x83;
/// LSPDBOL, the overload bit, in an LSP's last fixed octet (ISO 10589 §9.8).
const OVERLOAD: u8 = 0x04;

/// An OSPF packet, in outline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OspfDelta {
    /// 2 or 3.
    pub version: u8,
    /// See [`ospf_type`].
    pub packet_type: u8,
    /// The first LSA of an update is withdrawn: its age is [`OSPF_MAX_AGE_S`].
    pub max_age: bool,
    /// Who sent it.
    pub router_id: u32,
    /// Seconds between a hello's and the next; 0 in other packets.
    pub hello_interval_s: u16,
    /// Seconds of silence after which a neighbour is down; 0 in other packets than hellos.
    pub dead_interval_s: u32,
    /// LSAs in an update; 0 in other packets.
    pub lsa_count: u32,
    /// LS age of an update's first LSA in seconds, without DoNotAge (RFC 1793 §2.2).
    pub lsa_age_s: u16,
    /// LS type of an update's first LSA: one octet in OSPFv2, two in OSPFv3.
    pub lsa_type: u16,
}

/// Reads the packet at `offset`. `None` when it is cut off or of no known version.
///
/// ```text
/// version (1) | type (1) | length (2) | router id (4) | area id (4) | checksum (2) | …
/// hello, v2: mask (4) | hello interval (2) | options, priority (2) | dead interval (4)
/// hello, v3: interface id (4) | priority, options (4) | hello interval (2) | dead interval (2)
/// update: number of LSAs (4) | LS age (2) | v2: options (1), LS type (1); v3: LS type (2)
/// ```
#[inline(always)]
pub fn ospf_delta<B: Bytes + ?Sized>(bytes: &B, offset: usize) -> Option<OspfDelta> {
    const DO_NOT_AGE: u16 = 0x8000;
    let [version, packet_type, _, _, a, b, c, d] = bytes.octets(offset)?;
    let header_len = header_len(version)?;
    let router_id = u32::from_be_bytes([a, b, c, d]);
    let mut delta = OspfDelta { version, packet_type, router_id, ..OspfDelta::default() };
    if packet_type != ospf_type::HELLO && packet_type != ospf_type::LINK_STATE_UPDATE {
        return Some(delta);
    }
    let body: [u8; 12] = bytes.octets(offset + header_len)?;
    if packet_type == ospf_type::LINK_STATE_UPDATE {
        delta.lsa_count = u32::from_be_bytes([body[0], body[1], body[2], body[3]]);
        delta.lsa_age_s = u16::from_be_bytes([body[4], body[5]]) & !DO_NOT_AGE;
        let low = u16::from(body[7]);
        delta.lsa_type = if version == 2 { low } else { u16::from(body[6]) << 8 | low };
        delta.max_age = delta.lsa_count > 0 && delta.lsa_age_s >= OSPF_MAX_AGE_S;
    } else if version == 2 {
        delta.hello_interval_s = u16::from_be_bytes([body[4], body[5]]);
        delta.dead_interval_s = u32::from_be_bytes([body[8], body[9], body[10], body[11]]);
    } else {
        delta.hello_interval_s = u16::from_be_bytes([body[8], body[9]]);
        delta.dead_interval_s = u16::from_be_bytes([body[10], body[11]]).into();
    }
    Some(delta)
}

#[inline(always)]
const fn header_len(version: u8) -> Option<usize> {
    match version {
        2 => Some(OSPF_V2_HEADER_LEN),
        3 => Some(OSPF_V3_HEADER_LEN),
        _ => None,
    }
}

/// An IS-IS PDU, in outline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IsisDelta {
    /// See [`isis_type`].
    pub pdu_type: u8,
    /// The overload bit of an LSP: its router takes no transit traffic.
    pub overload: bool,
    /// Seconds of silence after which a neighbour is down; 0 in other PDUs than hellos.
    pub holding_time_s: u16,
    /// Seconds until an LSP expires, 0 when it is withdrawn; 0 in other PDUs.
    pub remaining_lifetime_s: u16,
    /// An LSP's id (system, pseudonode, fragment), or a hello's system id and two zeros; zero in
    /// other PDUs.
    pub id: [u8; 8],
    /// An LSP's sequence number; 0 in other PDUs.
    pub sequence: u32,
}

/// Reads the PDU at `offset`. `None` when it is cut off or no IS-IS PDU with system ids of six
/// octets.
///
/// ```text
/// 0x83 | header length | 1 | id length (0 or 6) | type | 1 | reserved | areas   (1 octet each)
/// hello: circuit type (1) | system id (6) | holding time (2) | PDU length (2) | …
/// LSP: PDU length (2) | remaining lifetime (2) | LSP id (8) | sequence number (4) | checksum (2) | flags (1)
/// ```
#[inline(always)]
pub fn isis_delta<B: Bytes + ?Sized>(bytes: &B, offset: usize) -> Option<IsisDelta> {
    let [discriminator, _, _, id_len, pdu_type, ..]: [u8; 8] = bytes.octets(offset)?;
    if discriminator != ISIS_DISCRIMINATOR || (id_len != 0 && id_len != 6) {
        return None;
    }
    let pdu_type = pdu_type & 0x1f;
    let mut delta = IsisDelta { pdu_type, ..IsisDelta::default() };
    if is_isis_hello(pdu_type) {
        let [_, a, b, c, d, e, f, high, low]: [u8; 9] = bytes.octets(offset + 8)?;
        delta.id = [a, b, c, d, e, f, 0, 0];
        delta.holding_time_s = u16::from_be_bytes([high, low]);
    } else if pdu_type == isis_type::LSP_1 || pdu_type == isis_type::LSP_2 {
        let lsp: [u8; 19] = bytes.octets(offset + 8)?;
        delta.remaining_lifetime_s = u16::from_be_bytes([lsp[2], lsp[3]]);
        delta.id = [lsp[4], lsp[5], lsp[6], lsp[7], lsp[8], lsp[9], lsp[10], lsp[11]];
        delta.sequence = u32::from_be_bytes([lsp[12], lsp[13], lsp[14], lsp[15]]);
        delta.overload = lsp[18] & OVERLOAD != 0;
    }
    Some(delta)
}

/// Whether the PDU type, its reserved bits cleared, is that of a hello.
#[must_use]
#[inline(always)]
pub const fn is_isis_hello(pdu_type: u8) -> bool {
    matches!(pdu_type, isis_type::LAN_HELLO_1 | isis_type::LAN_HELLO_2 | isis_type::P2P_HELLO)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn ospf(version: u8, packet_type: u8, body: &[u8]) -> Vec<u8> {
        let len = if version == 2 { OSPF_V2_HEADER_LEN } else { OSPF_V3_HEADER_LEN };
        let mut packet = std::vec![0; len];
        packet[..8].copy_from_slice(&[version, packet_type, 0, 44, 192, 0, 2, 1]);
        packet.extend_from_slice(body);
        packet
    }

    #[test]
    fn ospf_hellos_tell_their_intervals() {
        let v2 = ospf(2, 1, &[255, 255, 255, 0, 0, 10, 2, 1, 0, 0, 0, 40, 0, 0]);
        let v3 = ospf(3, 1, &[0, 0, 0, 5, 1, 0, 0, 19, 0, 10, 0, 40, 0, 0]);
        for (version, packet) in [(2, v2), (3, v3)] {
            let delta = ospf_delta(&packet[..], 0).unwrap();
            assert_eq!(
                (delta.version, delta.packet_type, delta.router_id),
                (version, 1, 0xc000_0201)
            );
            assert_eq!((delta.hello_interval_s, delta.dead_interval_s), (10, 40));
            assert_eq!((delta.lsa_count, delta.max_age), (0, false));
            assert_eq!(ospf_delta(&packet[..packet.len() - 3], 0), None, "cut off");
        }
        assert_eq!(ospf_delta(&ospf(4, 1, &[0; 12])[..], 0), None, "no such version");
        assert!(
            ospf_delta(&ospf(2, 5, &[])[..], 0).is_some(),
            "an acknowledgement has no body here"
        );
    }

    #[test]
    fn ospf_updates_tell_their_first_lsa() {
        for (version, age, kind, expected) in [
            (2, [0x0e, 0x10], [0x22, 5], (3600, 5, true)),
            (2, [0x80, 0x01], [0x22, 1], (1, 1, false)),
            (3, [0, 9], [0x20, 0x01], (9, 0x2001, false)),
        ] {
            let body = [0, 0, 0, 2, age[0], age[1], kind[0], kind[1], 0, 0, 0, 0];
            let delta = ospf_delta(&ospf(version, 4, &body)[..], 0).unwrap();
            assert_eq!(delta.lsa_count, 2);
            assert_eq!((delta.lsa_age_s, delta.lsa_type, delta.max_age), expected);
        }
    }

    #[test]
    fn isis_hellos_tell_their_holding_time() {
        for pdu_type in [15, 16, 17] {
            let pdu = [0x83, 27, 1, 0, pdu_type, 1, 0, 0, 3, 1, 2, 3, 4, 5, 6, 0, 30];
            let delta = isis_delta(&pdu[..], 0).unwrap();
            assert_eq!((delta.pdu_type, delta.holding_time_s), (pdu_type, 30));
            assert_eq!(delta.id, [1, 2, 3, 4, 5, 6, 0, 0]);
            assert_eq!(isis_delta(&pdu[..16], 0), None, "cut off");
        }
    }

    #[test]
    fn isis_lsps_tell_their_lifetime() {
        let mut pdu = std::vec![0x83, 27, 1, 6, 20, 1, 0, 0, 0, 60, 0x04, 0xaf];
        pdu.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0xab, 0xcd, 0x07]);
        let delta = isis_delta(&pdu[..], 0).unwrap();
        assert_eq!((delta.remaining_lifetime_s, delta.sequence, delta.overload), (1199, 9, true));
        assert_eq!(delta.id, [1, 2, 3, 4, 5, 6, 7, 8]);
        pdu[26] = 0x03;
        assert!(!isis_delta(&pdu[..], 0).unwrap().overload);
        pdu[3] = 8;
        assert_eq!(isis_delta(&pdu[..], 0), None, "longer ids");
    }
}
