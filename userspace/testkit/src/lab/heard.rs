//! When the last route of an episode passed a viewpoint, read from its capture by hand.
//!
//! Whoever has no table sees the end of what is said. That is the truth that a bridge, a collector
//! and a replay are held against.
//!
//! Invariant: KEEPALIVEs, OPENs, NOTIFICATIONs and End-of-RIB markers (RFC 4724 §2) are no routes;
//! of BMP (RFC 7854), Route Monitoring before policy alone is about routes as the neighbour said
//! them. A segment that begins within a
//! message counts as one with routes. Every read is bounds-checked.

use anyhow::{Context, Result};
use edgelore_model::Timestamp;
use std::path::Path;

const BGP: u16 = 179;
const BMP: u16 = 1790;
const BGP_UPDATE: u8 = 2;
const BGP_HEADER_BYTES: usize = 19;
const END_OF_RIB_BYTES: usize = 23;
const BMP_HEADER_BYTES: usize = 6;
/// Common and per-peer header.
const BMP_PEER_BYTES: usize = 48;
/// Flags of the per-peer header: after policy (RFC 7854 §4.2), sent (RFC 8671 §4).
const NOT_FROM_THE_WIRE: u8 = 0x40 | 0x10;
const PACKET_BLOCK: u32 = 6;

/// When the routes passed that the capture holds, in order.
///
/// # Errors
/// When the file cannot be read.
pub fn routes_heard(capture: &Path) -> Result<Vec<Timestamp>> {
    let bytes = std::fs::read(capture).with_context(|| format!("read {}", capture.display()))?;
    let mut heard: Vec<Timestamp> = packets(&bytes)
        .filter(|(_, frame)| says_routes(frame).unwrap_or(false))
        .map(|(at, _)| at)
        .collect();
    heard.sort_unstable();
    Ok(heard)
}

/// Time and frame of each enhanced packet block with nanoseconds.
fn packets(mut rest: &[u8]) -> impl Iterator<Item = (Timestamp, &[u8])> {
    let word = |bytes: &[u8], at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    std::iter::from_fn(move || {
        loop {
            let length = usize::try_from(word(rest, 4)?).ok().filter(|length| *length >= 12)?;
            let block = rest.get(..length)?;
            rest = &rest[length..];
            if word(block, 0)? != PACKET_BLOCK {
                continue;
            }
            let at = u64::from(word(block, 12)?) << 32 | u64::from(word(block, 16)?);
            let frame = block.get(28..28 + usize::try_from(word(block, 20)?).ok()?)?;
            return Some((Timestamp(i64::try_from(at).ok()?), frame));
        }
    })
}

/// The frame carries routes of BGP or BMP over TCP over IPv4.
fn says_routes(frame: &[u8]) -> Option<bool> {
    let be16 = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    if be16(12)? != 0x0800 || *frame.get(23)? != 6 {
        return Some(false);
    }
    let tcp = 14 + usize::from(frame.get(14)? & 0x0f) * 4;
    let total = usize::from(be16(16)?);
    let begin = tcp + usize::from(frame.get(tcp + 12)? >> 4) * 4;
    // A packet that waits for segmentation says no length; what fills up a short one is none of it.
    let end = if total == 0 { frame.len() } else { (14 + total).min(frame.len()) };
    let payload = frame.get(begin..end)?;
    let ports = [be16(tcp)?, be16(tcp + 2)?];
    Some(if ports.contains(&BGP) {
        bgp_routes(payload)
    } else {
        ports.contains(&BMP) && bmp_routes(payload)
    })
}

fn bgp_routes(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let header = rest.get(..BGP_HEADER_BYTES).filter(|h| h[..16] == [0xff; 16]);
        let Some(header) = header else { return true };
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        if header[18] == BGP_UPDATE && length > END_OF_RIB_BYTES {
            return true;
        }
        rest = rest.get(length.max(BGP_HEADER_BYTES)..).unwrap_or_default();
    }
    false
}

fn bmp_routes(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some([3, a, b, c, d, kind]) = rest.first_chunk::<BMP_HEADER_BYTES>() else {
            return true;
        };
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        let message = rest.get(..length).unwrap_or(rest);
        let from_the_wire = message.get(7).is_none_or(|flags| flags & NOT_FROM_THE_WIRE == 0);
        let routes = || message.get(BMP_PEER_BYTES..).is_none_or(bgp_routes);
        if *kind == 0 && from_the_wire && routes() {
            return true;
        }
        rest = rest.get(length.max(BMP_HEADER_BYTES)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bgp(kind: u8, length: usize) -> Vec<u8> {
        let mut message = vec![0xff; 16];
        message.extend(u16::try_from(length).unwrap().to_be_bytes());
        message.push(kind);
        message.resize(length, 0);
        message
    }

    fn bmp(kind: u8, inner: &[u8]) -> Vec<u8> {
        let length = BMP_PEER_BYTES + inner.len();
        let mut message = vec![3];
        message.extend(u32::try_from(length).unwrap().to_be_bytes());
        message.push(kind);
        message.resize(BMP_PEER_BYTES, 0);
        [message, inner.to_vec()].concat()
    }

    #[test]
    fn routes_are_told_from_what_else_is_said() {
        let end_of_rib = bgp(BGP_UPDATE, END_OF_RIB_BYTES);
        let update = bgp(BGP_UPDATE, 60);
        for (name, payload, expected) in [
            ("nothing", vec![], false),
            ("keepalive", bgp(4, 19), false),
            ("keepalive, then end of RIB", [bgp(4, 19), end_of_rib.clone()].concat(), false),
            ("update", update.clone(), true),
            ("keepalive, then update", [bgp(4, 19), update.clone()].concat(), true),
            ("the rest of a message", vec![7; 30], true),
        ] {
            assert_eq!(bgp_routes(&payload), expected, "{name}");
        }
        let mut after_policy = bmp(0, &update);
        after_policy[7] = 0x40;
        for (name, payload, expected) in [
            ("statistics", bmp(1, &[0; 20]), false),
            ("peer down", bmp(2, &[1]), false),
            ("statistics, then a route", [bmp(1, &[]), bmp(0, &update)].concat(), true),
            ("after policy", after_policy, false),
            ("end of RIB", bmp(0, &end_of_rib), false),
        ] {
            assert_eq!(bmp_routes(&payload), expected, "{name}");
        }
    }

    #[test]
    fn no_cut_and_no_length_makes_it_fail() {
        let whole = [bgp(4, 19), bgp(BGP_UPDATE, 60)].concat();
        for cut in 0..whole.len() {
            let _ =
                (bgp_routes(&whole[..cut]), bmp_routes(&whole[..cut]), says_routes(&whole[..cut]));
            assert_eq!(packets(&whole[..cut]).count(), 0);
        }
        assert_eq!(packets(&[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
    }
}
