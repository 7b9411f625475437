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
use std::collections::HashMap;
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

/// A segment with routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutesHeard {
    /// When it passed.
    pub at: Timestamp,
    /// A prefix came or went by it: it was withdrawn before and is announced now, or the reverse.
    /// Where that cannot be told it counts so.
    pub transition: bool,
}

/// What the segments of a capture say of routes, in order.
///
/// # Errors
/// When the file cannot be read.
pub fn routes_heard(capture: &Path) -> Result<Vec<RoutesHeard>> {
    let bytes = std::fs::read(capture).with_context(|| format!("read {}", capture.display()))?;
    let mut packets: Vec<(Timestamp, &[u8])> = packets(&bytes).collect();
    packets.sort_by_key(|(at, _)| *at);
    let mut known = Announced::default();
    let heard = packets.into_iter().filter_map(|(at, frame)| {
        let said = known.frame(frame).unwrap_or(Said::Nothing);
        (said > Said::Nothing).then_some(RoutesHeard { at, transition: said == Said::Transition })
    });
    Ok(heard.collect())
}

/// What something says of routes, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Nothing,
    /// What stood before, perhaps another way.
    Again,
    Transition,
}

/// Who announces which prefix, as it was said last.
#[derive(Debug, Default)]
struct Announced(HashMap<(Speaker, Vec<u8>), bool>);

/// An IPv4 address.
type Speaker = [u8; 4];

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

impl Announced {
    /// Reads a frame with BGP or BMP over TCP over IPv4.
    fn frame(&mut self, frame: &[u8]) -> Option<Said> {
        let be16 = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
        if be16(12)? != 0x0800 || *frame.get(23)? != 6 {
            return None;
        }
        let tcp = 14 + usize::from(frame.get(14)? & 0x0f) * 4;
        let total = usize::from(be16(16)?);
        let begin = tcp + usize::from(frame.get(tcp + 12)? >> 4) * 4;
        // A packet that waits for segmentation says no length; what fills up a short one is none of
        // it.
        let end = if total == 0 { frame.len() } else { (14 + total).min(frame.len()) };
        let payload = frame.get(begin..end)?;
        let ports = [be16(tcp)?, be16(tcp + 2)?];
        if ports.contains(&BGP) {
            return Some(self.bgp(frame.get(26..30)?.try_into().ok()?, payload));
        }
        ports.contains(&BMP).then(|| self.bmp(payload))
    }

    fn bgp(&mut self, speaker: Speaker, mut rest: &[u8]) -> Said {
        let mut said = Said::Nothing;
        while !rest.is_empty() {
            let header = rest.get(..BGP_HEADER_BYTES).filter(|h| h[..16] == [0xff; 16]);
            let Some(header) = header else { return Said::Transition };
            let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
            if header[18] == BGP_UPDATE && length > END_OF_RIB_BYTES {
                let body = rest.get(BGP_HEADER_BYTES..length);
                let update = body.and_then(|body| self.update(speaker, body));
                said = said.max(update.unwrap_or(Said::Transition));
            }
            rest = rest.get(length.max(BGP_HEADER_BYTES)..).unwrap_or_default();
        }
        said
    }

    /// An UPDATE's IPv4 unicast routes (RFC 4271 §4.3); `None` when it is not whole.
    fn update(&mut self, speaker: Speaker, body: &[u8]) -> Option<Said> {
        let (withdrawn, rest) = counted(body)?;
        let (_, announced) = counted(rest)?;
        let mut said = Said::Again;
        for (mut prefixes, announce) in [(withdrawn, false), (announced, true)] {
            while let Some(bits) = prefixes.first() {
                let (prefix, rest) = prefixes.split_at_checked(1 + bits.div_ceil(8) as usize)?;
                prefixes = rest;
                if self.0.insert((speaker, prefix.to_vec()), announce) != Some(announce) {
                    said = Said::Transition;
                }
            }
        }
        Some(said)
    }

    fn bmp(&mut self, mut rest: &[u8]) -> Said {
        let mut said = Said::Nothing;
        while !rest.is_empty() {
            let Some([3, a, b, c, d, kind]) = rest.first_chunk::<BMP_HEADER_BYTES>() else {
                return Said::Transition;
            };
            let length = u32::from_be_bytes([*a, *b, *c, *d]);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let message = rest.get(..length).unwrap_or(rest);
            let from_the_wire = message.get(7).is_none_or(|flags| flags & NOT_FROM_THE_WIRE == 0);
            if *kind == 0 && from_the_wire {
                let peer = message.get(BMP_PEER_BYTES - 20..BMP_PEER_BYTES - 16);
                let peer = peer.and_then(|peer| peer.try_into().ok()).unwrap_or_default();
                let inner = message.get(BMP_PEER_BYTES..);
                said = said.max(inner.map_or(Said::Transition, |inner| self.bgp(peer, inner)));
            }
            rest = rest.get(length.max(BMP_HEADER_BYTES)..).unwrap_or_default();
        }
        said
    }
}

/// What a length of two octets counts, and what comes behind it.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
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

    /// An UPDATE that withdraws some networks of 198.18/16 and announces others.
    fn update(withdrawn: &[u8], announced: &[u8]) -> Vec<u8> {
        let list =
            |thirds: &[u8]| thirds.iter().flat_map(|&n| [24, 198, 18, n]).collect::<Vec<_>>();
        let (withdrawn, announced) = (list(withdrawn), list(announced));
        let mut message = bgp(BGP_UPDATE, BGP_HEADER_BYTES);
        message.extend(u16::try_from(withdrawn.len()).unwrap().to_be_bytes());
        message.extend(withdrawn);
        message.extend(4u16.to_be_bytes());
        message.extend([0x40, 1, 1, 0]);
        message.extend(announced);
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        message[16..18].copy_from_slice(&length);
        message
    }

    #[test]
    fn routes_are_told_from_what_else_is_said() {
        use Said::{Again, Nothing, Transition};
        let end_of_rib = bgp(BGP_UPDATE, END_OF_RIB_BYTES);
        let announced = update(&[], &[1, 2]);
        let mut known = Announced::default();
        for (name, payload, expected) in [
            ("nothing", vec![], Nothing),
            ("keepalive", bgp(4, 19), Nothing),
            ("keepalive, then end of RIB", [bgp(4, 19), end_of_rib.clone()].concat(), Nothing),
            ("announcement", announced.clone(), Transition),
            ("keepalive, then announcement", [bgp(4, 19), announced.clone()].concat(), Again),
            ("withdrawal of one", update(&[2], &[]), Transition),
            ("both again", announced.clone(), Transition),
            ("withdrawal of what was not there", update(&[3], &[]), Transition),
            ("and again", update(&[3], &[]), Again),
            ("the rest of a message", vec![7; 30], Transition),
            ("a message that is cut", announced[..30].to_vec(), Transition),
        ] {
            assert_eq!(known.bgp([192, 0, 2, 2], &payload), expected, "{name}");
        }
        let mut after_policy = bmp(0, &announced);
        after_policy[7] = 0x40;
        for (name, payload, expected) in [
            ("statistics", bmp(1, &[0; 20]), Nothing),
            ("peer down", bmp(2, &[1]), Nothing),
            ("after policy", after_policy, Nothing),
            ("statistics, then a route", [bmp(1, &[]), bmp(0, &announced)].concat(), Transition),
            ("the same", bmp(0, &announced), Again),
            ("end of RIB", bmp(0, &end_of_rib), Nothing),
        ] {
            assert_eq!(known.bmp(&payload), expected, "{name}");
        }
    }

    #[test]
    fn no_cut_and_no_length_makes_it_fail() {
        let whole = [bgp(4, 19), update(&[1], &[2])].concat();
        let mut known = Announced::default();
        for cut in 0..whole.len() {
            let cut = &whole[..cut];
            let _ = (known.bgp([0; 4], cut), known.bmp(cut), known.frame(cut));
            assert_eq!(packets(cut).count(), 0);
        }
        assert_eq!(packets(&[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
    }
}
