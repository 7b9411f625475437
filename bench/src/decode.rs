//! UPDATE decoding beside bgpkit-parser and NetGauze, on the same bytes.
//!
//! The inputs carry IPv4 prefixes outside of MP_REACH_NLRI and four-octet AS numbers, so every
//! contender has the same to read. Each is handed one whole message after the other.

use crate::inputs::{self, DATA_VARIABLE, FULL_TABLE, Updates};
use crate::measure::{Contender, Effort, Series, interleave};
use crate::report::{Section, grouped, rate_cells};
use anyhow::{Result, ensure};
use bgpkit_parser::models::{AsnLength, BgpMessage as BgpkitMessage};
use bgpkit_parser::parser::bgp::parse_bgp_message;
use bytes::Bytes;
use edgelore_pipeline::decode::bgp::update::{Delta, Encoding, PathIdHint, Update};
use edgelore_pipeline::decode::bgp::{self, AsWidth, PathIds};
use netgauze_bgp_pkt::BgpMessage as NetgauzeMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput as _;
use std::hint::black_box;

/// Without OPENs, as for a listener that joined late.
const ENCODING: Encoding<'static> =
    Encoding::Presumed { width: AsWidth::Four, path_ids: PathIdHint::Unlikely };

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let small = Updates::synthetic(effort.pick(60_000, 20_000), &(1..=6), 1);
    let large = Updates::synthetic(effort.pick(1_000, 300), &(500..=900), 2);
    let mut sections = vec![
        compare("made here, 1 to 6 prefixes each", &small, effort)?,
        compare("made here, 500 to 900 prefixes each", &large, effort)?,
    ];
    sections.push(match inputs::data(FULL_TABLE) {
        Some(path) => {
            let table = Updates::of_clean_capture(&path)?;
            compare("a full table of 2015 as a router sent it", &table, effort)?
        }
        None => Section::without_rows(
            "UPDATE decoding: a full table of 2015",
            format!("Not measured: {DATA_VARIABLE} names no folder with {FULL_TABLE}."),
        ),
    });
    Ok(sections)
}

fn compare(what: &str, updates: &Updates, effort: Effort) -> Result<Section> {
    let columns = [
        "decoder",
        "M prefixes/s",
        "min",
        "max",
        "ns a prefix",
        "× bgpkit-parser",
        "× netgauze",
        "refused",
    ];
    let mut section = Section::new(&format!("UPDATE decoding: {what}"), &columns);
    let (series, refused) = measure(updates, effort)?;
    let (bgpkit, netgauze) = (&series[0], &series[1]);
    section.note(format!(
        "{} UPDATEs, {} prefixes. `refused` counts messages that a decoder gave back as errors. The \
         peers decode every attribute; our walk only checks how attributes are framed, our \
         deltas sum up AS_PATH and hash the attributes.",
        grouped(updates.messages.len() as u64),
        grouped(series[2].units),
    ));
    for (series, refused) in series.iter().zip(refused) {
        let over_netgauze = format!("{:.2}", series.speedup_over(netgauze));
        let cells = rate_cells(series, bgpkit);
        let cells = [series.name.clone()].into_iter().chain(cells);
        section.row(cells.chain([over_netgauze, grouped(refused)]));
    }
    Ok(section)
}

/// What a decoder made of all messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Read {
    prefixes: u64,
    refused: u64,
}

impl Read {
    fn add(&mut self, prefixes: Option<usize>) {
        match prefixes {
            Some(count) => self.prefixes += count as u64,
            None => self.refused += 1,
        }
    }
}

/// bgpkit-parser, NetGauze, our walk and our deltas, with the messages that each refused.
fn measure(updates: &Updates, effort: Effort) -> Result<(Vec<Series>, Vec<u64>)> {
    let shared = Bytes::from(updates.bytes.clone());
    let bgpkit = || with_bgpkit(&shared, updates);
    let netgauze = || with_netgauze(updates);
    let (walk, delta) = (|| with_walk(updates), || with_delta(updates));
    let expected = walk();
    ensure!(expected == delta(), "our two decoders disagree: {expected:?} and {:?}", delta());
    let refused = [bgpkit(), netgauze(), expected, delta()].map(|read| read.refused);
    let contenders = vec![
        Contender::timed("bgpkit-parser", || Ok(black_box(bgpkit()).prefixes)),
        Contender::timed("netgauze-bgp-pkt", || Ok(black_box(netgauze()).prefixes)),
        Contender::timed("Edgelore, walk without copying", || Ok(black_box(walk()).prefixes)),
        Contender::timed("Edgelore, owned route deltas", || Ok(black_box(delta()).prefixes)),
    ];
    Ok((interleave(effort.pick(15, 5), contenders)?, refused.to_vec()))
}

fn with_walk(updates: &Updates) -> Read {
    let mut read = Read::default();
    updates.iter().for_each(|message| read.add(walk(message)));
    read
}

/// Reads every prefix and the frame of every attribute; `None` at a fault.
fn walk(message: &[u8]) -> Option<usize> {
    let update = Update::parse(bgp::message(message).ok()?.body).ok()?;
    let mut count = 0;
    for prefix in update.withdrawn(PathIds::Absent) {
        black_box(prefix.ok()?);
        count += 1;
    }
    for attribute in update.attributes() {
        black_box(attribute.ok()?);
    }
    for prefix in update.announced(PathIds::Absent) {
        black_box(prefix.ok()?);
        count += 1;
    }
    Some(count)
}

fn with_delta(updates: &Updates) -> Read {
    let mut read = Read::default();
    updates.iter().for_each(|message| read.add(delta(message)));
    read
}

fn delta(message: &[u8]) -> Option<usize> {
    let delta = black_box(Delta::read(bgp::message(message).ok()?.body, &ENCODING).ok()?);
    delta.fault.is_none().then(|| delta.withdrawn.len() + delta.announced.len())
}

fn with_bgpkit(shared: &Bytes, updates: &Updates) -> Read {
    let mut read = Read::default();
    for &(start, end) in &updates.messages {
        let mut message = shared.slice(start..end);
        let parsed = parse_bgp_message(&mut message, false, &AsnLength::Bits32);
        read.add(match black_box(parsed) {
            Ok(BgpkitMessage::Update(update)) => {
                Some(update.withdrawn_prefixes.len() + update.announced_prefixes.len())
            }
            _ => None,
        });
    }
    read
}

fn with_netgauze(updates: &Updates) -> Read {
    let mut context = BgpParsingContext::default();
    context.set_asn4(true);
    let mut read = Read::default();
    for message in updates.iter() {
        let parsed = NetgauzeMessage::parse(&mut SliceReader::new(message), &mut context);
        read.add(match black_box(parsed) {
            Ok(NetgauzeMessage::Update(update)) => {
                Some(update.withdraw_routes().len() + update.nlri().len())
            }
            _ => None,
        });
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_decoders_read_the_same_from_what_is_made_here() {
        for nlri in [1..=6, 500..=900] {
            let updates = Updates::synthetic(100, &nlri, 9);
            let expected = with_walk(&updates);
            assert!(expected.prefixes >= 100 * nlri.start() && expected.refused == 0);
            assert_eq!(with_delta(&updates), expected);
            assert_eq!(with_netgauze(&updates), expected);
            assert_eq!(with_bgpkit(&Bytes::from(updates.bytes.clone()), &updates), expected);
        }
    }

    #[test]
    fn a_broken_message_is_refused_by_ours() {
        let mut updates = Updates::synthetic(1, &(3..=3), 9);
        let last = updates.bytes.len() - 5;
        updates.bytes.truncate(last);
        let length = (last as u16).to_be_bytes();
        updates.bytes[16..18].copy_from_slice(&length);
        updates.messages = vec![(0, last)];
        assert_eq!((walk(&updates.bytes), delta(&updates.bytes)), (None, None));
    }
}
