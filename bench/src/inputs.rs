//! What the scenarios work on: BGP messages made here, always the same, captures of the repository,
//! and captures from the folder in `EDGELORE_DATA`.
//!
//! **Invariant:** the same seed gives the same bytes on every machine.

use anyhow::{Context as _, Result, ensure};
use edgelore_capture::file::FileSource;
use edgelore_model::{Batch, SignalKind};
use edgelore_pipeline::decode::bgp::{HEADER_LEN, Messages, message_type};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The variable that names a folder of captures with a `MANIFEST.tsv`.
pub(crate) const DATA_VARIABLE: &str = "EDGELORE_DATA";

/// A full table as one BGP speaker sends it, in order and without loss; IPv4 outside of
/// MP_REACH_NLRI.
pub(crate) const FULL_TABLE: &str = "bgp-pcap/derived.et2015-fulltable-clean.pcap";

/// Xorshift (Marsaglia 2003): enough to vary lengths and prefixes.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A sequence that depends on the seed alone.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// The next 64 bits.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number in `range`.
    pub(crate) fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        range.start() + self.next() % (range.end() - range.start() + 1)
    }
}

/// UPDATEs with their headers.
#[derive(Clone, Debug)]
pub(crate) struct Updates {
    /// One message after the other.
    pub(crate) bytes: Vec<u8>,
    /// Where each begins and ends.
    pub(crate) messages: Vec<(usize, usize)>,
}

impl Updates {
    /// `count` UPDATEs that announce as many IPv4 prefixes each as `nlri` allows, with four-octet
    /// AS numbers and the attributes that most routes carry.
    pub(crate) fn synthetic(count: usize, nlri: &RangeInclusive<u64>, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut updates = Self { bytes: Vec::new(), messages: Vec::new() };
        for _ in 0..count {
            let prefixes = random.within(nlri);
            updates.push(&update(prefixes, &mut random));
        }
        updates
    }

    /// The UPDATEs of a capture in which every direction of every connection is in order and
    /// whole.
    pub(crate) fn of_clean_capture(path: &Path) -> Result<Self> {
        let mut updates = Self { bytes: Vec::new(), messages: Vec::new() };
        for stream in streams(path)? {
            let mut messages = Messages::new(&stream);
            let mut at = 0;
            for message in messages.by_ref() {
                let message = message.with_context(|| format!("frame {}", path.display()))?;
                let end = at + HEADER_LEN + message.body.len();
                if message.kind == message_type::UPDATE {
                    updates.push(&stream[at..end]);
                }
                at = end;
            }
            ensure!(messages.rest().is_empty(), "{} does not end with a message", path.display());
        }
        Ok(updates)
    }

    /// Adds a message.
    pub(crate) fn push(&mut self, message: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(message);
        self.messages.push((start, self.bytes.len()));
    }

    /// The messages.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.messages.iter().map(|&(start, end)| &self.bytes[start..end])
    }
}

/// The payload of each direction of each connection, in the order of the capture.
fn streams(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut order = Vec::new();
    let mut streams: HashMap<(SocketAddr, SocketAddr), Vec<u8>> = HashMap::new();
    let mut source = FileSource::open(path)?;
    let mut batch = Batch::default();
    let mut more = true;
    while more {
        more = source.next_batch(&mut batch)?;
        for signal in &batch.signals {
            let SignalKind::Segment(segment) = &signal.kind else { continue };
            let key = (segment.src, segment.dst);
            let stream = streams.entry(key).or_insert_with(|| {
                order.push(key);
                Vec::new()
            });
            stream.extend_from_slice(batch.payload(segment.payload));
        }
    }
    Ok(order.iter().filter_map(|key| streams.remove(key)).collect())
}

/// An UPDATE that announces `prefixes` IPv4 prefixes.
pub(crate) fn update(prefixes: u64, random: &mut Random) -> Vec<u8> {
    let mut attributes = attributes(random);
    attributes.extend_from_slice(&[0xc0, 8, 8, 0xfc, 0, 0, 1, 0xfc, 0, 0, 2]);
    let mut nlri = Vec::new();
    for _ in 0..prefixes {
        // Unicast space only: some peers refuse a whole UPDATE for a class D or E prefix.
        let [_, b, c, d, ..] = random.next().to_be_bytes();
        let length = random.within(&(16..=24)) as u8;
        nlri.extend([length, 11 + d % 100, b, c & (0xffff_u16 << (24 - length)) as u8]);
        if length == 16 {
            nlri.pop();
        }
    }
    framed(&attributes, &nlri)
}

/// An UPDATE that announces the prefixes of `nlri`, with a MULTI_EXIT_DISC.
pub(crate) fn announcement(nlri: &[u8], med: u8, random: &mut Random) -> Vec<u8> {
    let mut attributes = attributes(random);
    attributes.extend_from_slice(&[0x80, 4, 4, 0, 0, 0, med]);
    attributes.extend_from_slice(&[0xc0, 8, 8, 0xfc, 0, 0, 1, 0xfc, 0, 0, 2]);
    framed(&attributes, nlri)
}

/// ORIGIN, an AS_PATH of four, and NEXT_HOP.
fn attributes(random: &mut Random) -> Vec<u8> {
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 18, 2, 4];
    for _ in 0..4 {
        let asn = 64_512 + (random.next() % 1_000) as u32;
        attributes.extend_from_slice(&asn.to_be_bytes());
    }
    attributes.extend_from_slice(&[0x40, 3, 4, 192, 0, 2, 1]);
    attributes
}

fn framed(attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let attributes_len = attributes.len() as u16;
    let message_len = (HEADER_LEN + 4 + attributes.len() + nlri.len()) as u16;
    let mut message = vec![0xff; 16];
    message.extend_from_slice(&message_len.to_be_bytes());
    message.extend_from_slice(&[message_type::UPDATE, 0, 0]);
    message.extend_from_slice(&attributes_len.to_be_bytes());
    message.extend_from_slice(attributes);
    message.extend_from_slice(nlri);
    message
}

/// The captures of the repository, sorted by name.
pub(crate) fn committed_captures() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../userspace/fixtures/captures");
    let read = std::fs::read_dir(&folder).context("read the captures of the repository")?;
    let mut files = Vec::new();
    for entry in read {
        let path = entry.context("read the captures of the repository")?.path();
        if path.extension().is_some_and(|extension| extension != "md") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A file of the folder in [`DATA_VARIABLE`]; `None` when it is not set or has no such file.
pub(crate) fn data(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(DATA_VARIABLE)?).join(name);
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_pipeline::decode::bgp::{self, PathIds, update::Update};

    #[test]
    fn synthetic_updates_hold_what_was_asked_for() {
        for nlri in [1..=6, 500..=900] {
            let updates = Updates::synthetic(50, &nlri, 1);
            assert_eq!(updates.messages.len(), 50);
            for message in updates.iter() {
                assert!(message.len() <= bgp::MESSAGE_LEN_MAX);
                let update = Update::parse(bgp::message(message).unwrap().body).unwrap();
                assert!(update.attributes().all(|attribute| attribute.is_ok()));
                let prefixes = update.announced(PathIds::Absent);
                let count = prefixes.filter(Result::is_ok).count() as u64;
                assert!(nlri.contains(&count), "{count}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let make = |seed| Updates::synthetic(20, &(1..=6), seed).bytes;
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
    }

    #[test]
    fn the_repository_has_captures() {
        let files = committed_captures().unwrap();
        assert!(files.iter().any(|file| file.extension().is_some_and(|e| e == "pcap")));
    }
}
