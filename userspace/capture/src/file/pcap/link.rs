//! Link types of capture files, and where IP begins in each.

use edgelore_headers::{Walk, walk_ethernet, walk_ip};

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
    pub(super) const LOOP: u16 = 108;
    pub(super) const LINUX_SLL: u16 = 113;
    pub(super) const JUNIPER_ETHER: u16 = 178;
    pub(super) const IPV4: u16 = 228;
    pub(super) const IPV6: u16 = 229;
    pub(super) const LINUX_SLL2: u16 = 276;
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_8021Q: u16 = 0x8100;
const ETHERTYPE_8021AD: u16 = 0x88a8;
const VLAN_TAG_LEN: usize = 4;
/// Tags that the walk over Ethernet steps over too.
const VLAN_TAGS_MAX: usize = 2;

/// Walks a frame; `None` for a link type that is not read. Offsets count from the frame's start.
pub(super) fn walk(kind: u16, frame: &[u8]) -> Option<Walk> {
    Some(match kind {
        link_type::ETHERNET => walk_ethernet(frame),
        link_type::RAW
        | link_type::RAW_BSD
        | link_type::RAW_OPENBSD
        | link_type::IPV4
        | link_type::IPV6 => walk_ip(frame, 0),
        // The address family is in the byte order of whoever captured; IP tells its version.
        link_type::NULL | link_type::LOOP => walk_ip(frame, 4),
        link_type::LINUX_SLL => by_ethertype(frame, 14, 16),
        link_type::LINUX_SLL2 => by_ethertype(frame, 0, 20),
        link_type::C_HDLC => by_ethertype(frame, 2, 4),
        link_type::PPP | link_type::PPP_HDLC => ppp(frame),
        link_type::JUNIPER_ETHER => juniper(frame),
        _ => return None,
    })
}

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

/// The EtherType stands at `at`, what it names begins at `next`.
fn by_ethertype(frame: &[u8], at: usize, mut next: usize) -> Walk {
    let mut ethertype = be16(frame, at);
    for _ in 0..VLAN_TAGS_MAX {
        if !matches!(ethertype, Some(ETHERTYPE_8021Q | ETHERTYPE_8021AD)) {
            break;
        }
        ethertype = be16(frame, next + 2);
        next += VLAN_TAG_LEN;
    }
    match ethertype {
        Some(ETHERTYPE_IPV4 | ETHERTYPE_IPV6) => walk_ip(frame, next),
        Some(_) => Walk::Other,
        None => Walk::Truncated,
    }
}

/// PPP in HDLC-like framing (RFC 1662), address and control perhaps left out, or Cisco's HDLC,
/// which captures of serial lines carry under the same link type.
fn ppp(frame: &[u8]) -> Walk {
    let (protocol, next) = match *frame {
        [0x0f | 0x8f, ..] => return by_ethertype(frame, 2, 4),
        [0xff, 0x03, high, low, ..] => (u16::from_be_bytes([high, low]), 4),
        [high, low, ..] => (u16::from_be_bytes([high, low]), 2),
        _ => return Walk::Truncated,
    };
    match protocol {
        0x0021 | 0x0057 => walk_ip(frame, next),
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
    match walk_ethernet(frame.get(start..).unwrap_or_default()) {
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
        let cases: [(&str, u16, &[u8]); 12] = [
            ("null", 0, &[2, 0, 0, 0]),
            ("ethernet", 1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
            ("ppp", 9, &[0xff, 3, 0, 0x21]),
            ("ppp without address", 9, &[0, 0x21]),
            ("cisco hdlc as ppp", 50, &[0x0f, 0, 8, 0]),
            ("raw", 101, &[]),
            ("cisco hdlc", 104, &[0x0f, 0, 8, 0]),
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
}
