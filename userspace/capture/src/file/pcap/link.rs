//! Link types of capture files, and where IP begins in each.

use edgelore_headers::{Scope, Walk, ethertype};

/// A capture may hold what a gateway would not look for.
const SCOPE: Scope = Scope::Capture;

/// Numbers as in the registry of link-layer header types.
mod link_type {
    pub(super) const NULL: u16 = 0;
    pub(super) const ETHERNET: u16 = 1;
    pub(super) const PPP: u16 = 9;
    pub(super) const RAW_BSD: u16 = 12;
    pub(super) const RAW_OPENBSD: u16 = 14;
    pub(super) const PPP_HDLC: u16 = 50;
    pub(super) const RAW: u16 = 101;
    pub(super) const C_HDLC: u16 = 104;
    pub(super) const FRAME_RELAY: u16 = 107;
    pub(super) const LOOP: u16 = 108;
    pub(super) const LINUX_SLL: u16 = 113;
    pub(super) const JUNIPER_ETHER: u16 = 178;
    pub(super) const IPV4: u16 = 228;
    pub(super) const IPV6: u16 = 229;
    pub(super) const LINUX_SLL2: u16 = 276;
}

/// Where SLL names a frame type of its own instead of an EtherType: LLC follows.
const SLL_LLC: u16 = 0x0004;
/// Network layer protocol identifiers (ISO 9577) that may stand in place of an EtherType.
mod nlpid {
    pub(super) const ISIS: u8 = 0x83;
    pub(super) const IPV6: u8 = 0x8e;
    pub(super) const IPV4: u8 = 0xcc;
}

/// Walks a frame; `None` for a link type that is not read. Offsets count from the frame's start.
pub(super) fn walk(kind: u16, frame: &[u8]) -> Option<Walk> {
    Some(match kind {
        link_type::ETHERNET => edgelore_headers::walk_ethernet(frame, SCOPE),
        link_type::RAW
        | link_type::RAW_BSD
        | link_type::RAW_OPENBSD
        | link_type::IPV4
        | link_type::IPV6 => walk_ip(frame, 0),
        // The address family is in the byte order of whoever captured; IP tells its version.
        link_type::NULL | link_type::LOOP => walk_ip(frame, 4),
        link_type::LINUX_SLL => cooked(frame, 14, 16),
        link_type::LINUX_SLL2 => cooked(frame, 0, 20),
        link_type::C_HDLC => cisco(frame),
        link_type::FRAME_RELAY => frame_relay(frame),
        link_type::PPP | link_type::PPP_HDLC => ppp(frame),
        link_type::JUNIPER_ETHER => juniper(frame),
        _ => return None,
    })
}

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

fn walk_ip(frame: &[u8], offset: usize) -> Walk {
    edgelore_headers::walk_ip(frame, offset, SCOPE)
}

/// Linux's cooked capture: the EtherType stands at `at`, what it names begins at `next`.
fn cooked(frame: &[u8], at: usize, next: usize) -> Walk {
    match be16(frame, at) {
        // The length that LLC would have in an Ethernet frame is that of the rest of this one.
        Some(SLL_LLC) => edgelore_headers::walk_ethertype(frame, ethertype::LLC_JUMBO, next, SCOPE),
        // Other frame types of this kind are no EtherTypes.
        Some(0..=0x05ff) => Walk::Other,
        Some(named) => edgelore_headers::walk_ethertype(frame, named, next, SCOPE),
        None => Walk::Truncated,
    }
}

/// Cisco's HDLC: address, control, EtherType. ISO protocols begin with an octet of padding.
fn cisco(frame: &[u8]) -> Walk {
    match be16(frame, 2) {
        Some(ethertype::ISO | ethertype::ISO_SAP) => {
            let padded = frame.get(4).is_some_and(|&first| first != nlpid::ISIS);
            edgelore_headers::walk_iso(frame, 4 + usize::from(padded))
        }
        Some(0..=0x05ff) => Walk::Other,
        Some(named) => edgelore_headers::walk_ethertype(frame, named, 4, SCOPE),
        None => Walk::Truncated,
    }
}

/// Frame Relay with an address of two octets. After it stands, by RFC 2427 §4, unnumbered
/// information, perhaps an octet of padding, and the network layer protocol; by Cisco's way, an
/// EtherType.
fn frame_relay(frame: &[u8]) -> Walk {
    let (protocol, at) = match *frame {
        [_, _, 0x03, 0x00, protocol, ..] => (protocol, 4),
        [_, _, 0x03, protocol, ..] => (protocol, 3),
        [_, _, high, low, ..] => {
            let named = u16::from_be_bytes([high, low]);
            return edgelore_headers::walk_ethertype(frame, named, 4, SCOPE);
        }
        _ => return Walk::Truncated,
    };
    match protocol {
        nlpid::IPV4 | nlpid::IPV6 => walk_ip(frame, at + 1),
        // It is the PDU's own first octet.
        nlpid::ISIS => edgelore_headers::walk_iso(frame, at),
        _ => Walk::Other,
    }
}

/// PPP in HDLC-like framing (RFC 1662), address and control perhaps left out, or Cisco's HDLC,
/// which captures of serial lines carry under the same link type.
fn ppp(frame: &[u8]) -> Walk {
    let (protocol, next) = match *frame {
        [0x0f | 0x8f, ..] => return cisco(frame),
        [0xff, 0x03, high, low, ..] => (u16::from_be_bytes([high, low]), 4),
        [high, low, ..] => (u16::from_be_bytes([high, low]), 2),
        _ => return Walk::Truncated,
    };
    match protocol {
        0x0021 | 0x0057 => walk_ip(frame, next),
        0x0023 => edgelore_headers::walk_iso(frame, next),
        0x0281 | 0x0283 => edgelore_headers::walk_ethertype(frame, ethertype::MPLS, next, SCOPE),
        _ => Walk::Other,
    }
}

/// Juniper's metadata before an Ethernet frame: `MGC`, flags, and, if they say so, the length of
/// extensions and these.
fn juniper(frame: &[u8]) -> Walk {
    const EXTENDED: u8 = 0x80;
    let start = match *frame {
        [b'M', b'G', b'C', flags, high, low, ..] if flags & EXTENDED != 0 => {
            6 + usize::from(u16::from_be_bytes([high, low]))
        }
        [b'M', b'G', b'C', _, ..] => 4,
        _ => return Walk::Truncated,
    };
    match edgelore_headers::walk_ethernet(frame.get(start..).unwrap_or_default(), SCOPE) {
        Walk::Control(mut control) => {
            control.payload_offset += start;
            Walk::Control(control)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A BFD packet over UDP over IPv4, without payload.
    fn ip() -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 255, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        ip.extend_from_slice(&[0xc0, 0, 0x0e, 0xc8, 0, 8, 0, 0]);
        ip
    }

    #[test]
    fn ip_is_found_behind_every_link_header() {
        let cases: [(&str, u16, &[u8]); 17] = [
            ("null", 0, &[2, 0, 0, 0]),
            ("ethernet", 1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
            ("ppp", 9, &[0xff, 3, 0, 0x21]),
            ("ppp without address", 9, &[0, 0x21]),
            ("cisco hdlc as ppp", 50, &[0x0f, 0, 8, 0]),
            ("raw", 101, &[]),
            ("cisco hdlc", 104, &[0x0f, 0, 8, 0]),
            ("cisco hdlc tagged", 104, &[0x0f, 0, 0x81, 0, 0, 9, 8, 0]),
            ("frame relay", 107, &[0x18, 0x41, 3, 0xcc]),
            ("frame relay padded", 107, &[0x18, 0x41, 3, 0, 0xcc]),
            ("frame relay, cisco's", 107, &[0x18, 0x41, 8, 0]),
            ("ppp with a label", 9, &[0xff, 3, 2, 0x81, 0, 1, 0x01, 64]),
            ("loop", 108, &[0, 0, 0, 2]),
            ("linux", 113, &[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
            ("linux tagged", 113, &[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 9, 8, 0]),
            ("linux 2", 276, &[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("juniper", 178, b"MGC\x80\0\x02ab\0\0\0\0\0\0\0\0\0\0\0\0\x08\0"),
        ];
        for (name, kind, header) in cases {
            let frame = [header, &ip()].concat();
            match walk(kind, &frame) {
                Some(Walk::Control(control)) => {
                    assert_eq!(control.payload_offset, frame.len(), "{name}");
                }
                other => panic!("{name}: {other:?}"),
            }
            for cut in 0..frame.len() {
                assert!(
                    !matches!(walk(kind, &frame[..cut]), Some(Walk::Control(_))),
                    "{name} {cut}"
                );
            }
        }
        assert_eq!(walk(147, &ip()), None);
    }

    #[test]
    fn is_is_is_found_where_there_is_no_ethernet() {
        let pdu = [0x83, 27, 1, 0, 17, 1, 0, 0, 3];
        let cases: [(&str, u16, &[u8]); 7] = [
            ("ppp", 9, &[0xff, 3, 0, 0x23]),
            ("cisco hdlc", 104, &[0x0f, 0, 0, 0xfe]),
            ("cisco hdlc padded", 104, &[0x0f, 0, 0xfe, 0xfe, 3]),
            ("frame relay", 107, &[0x18, 0x41, 3]),
            ("linux", 113, &[0, 2, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0xfe, 0xfe, 3]),
            (
                "linux 2",
                276,
                &[0, 4, 0, 0, 0, 0, 0, 1, 0, 1, 2, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xfe, 3],
            ),
            ("juniper", 178, b"MGC\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0c\xfe\xfe\x03"),
        ];
        for (name, kind, header) in cases {
            let frame = [header, &pdu[..]].concat();
            match walk(kind, &frame) {
                Some(Walk::Control(control)) => {
                    let found = &frame[control.payload_offset..][..control.payload_len];
                    assert_eq!(found, pdu, "{name}");
                    assert_eq!((control.src, control.ip_version), ([0; 16], 0), "{name}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
