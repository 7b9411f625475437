//! MRT dumps (RFC 6396, RFC 8050) as whole messages and peer states.
//!
//! ```text
//! timestamp (4) | type (2) | subtype (2) | length (4) | body (length)
//! ```
//!
//! The framing is our own, twelve bytes of it: after damage it must find the next header and name
//! the offset, which no parser at hand does. Records of table dumps are handed on as they are.
//!
//! **Invariant:** every record becomes a signal, a count of what was skipped, or a fault that is
//! counted and handed on as `Lost`.

mod record;

use super::kind::Content;
use super::{FAULTS_KEPT_MAX, Fault, FileCounts, FormatFault, SteppedOver};
use edgelore_model::{Batch, LossReason, Signal, SignalKind, Span, TableRecord, Timestamp};
use record::{BGP, BGP4MP, BGP4MP_ET, Record, TABLE_DUMP, TABLE_DUMP_V2};
use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;

const HEADER_LEN: usize = 12;
/// The longest BGP message with the longest BGP4MP header before it, in bytes.
const BGP4MP_LEN_MAX: u32 = 65_535 + 48;
/// The longest message of the old format, in bytes.
const BGP_LEN_MAX: u32 = 4096 + 12;
/// No RIB record of a collector is as long, in bytes.
const RECORD_LEN_MAX: u32 = 16 << 20;
/// How far a header found after damage may lie from the last good one, in seconds.
const RESYNC_SPAN_S: u32 = 86_400;
/// Peers whose collector address is remembered; further ones keep the address as recorded.
const PEERS_MAX: usize = 4096;
/// Subtype of TABLE_DUMP_V2 that tells where peers stand.
const GEO_PEER_TABLE: u16 = 7;
/// Length of what a TABLE_DUMP begins with, in bytes.
const VIEW_AND_SEQUENCE_LEN: usize = 4;
/// Bytes read at once.
const READ_LEN: usize = 64 * 1024;

/// The common header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    seconds: u32,
    kind: u16,
    subtype: u16,
    length: u32,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let octets = bytes.get(at..at + 4)?;
            Some(u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]))
        };
        let (seconds, kinds, length) = (word(0)?, word(4)?, word(8)?);
        Some(Self { seconds, kind: (kinds >> 16) as u16, subtype: kinds as u16, length })
    }

    /// Whether this may be a header: a type in use, and a length that it can have.
    pub(super) const fn plausible(&self) -> bool {
        match self.kind {
            BGP => self.subtype <= 7 && self.length <= BGP_LEN_MAX,
            BGP4MP | BGP4MP_ET => self.subtype <= 11 && self.length <= BGP4MP_LEN_MAX,
            TABLE_DUMP => self.subtype <= 4 && self.length <= RECORD_LEN_MAX,
            TABLE_DUMP_V2 => self.subtype <= 12 && self.length <= RECORD_LEN_MAX,
            // OSPF, IS-IS and OSPFv3, with and without microseconds.
            11 | 32 | 33 | 48 | 49 => self.length <= RECORD_LEN_MAX,
            _ => false,
        }
    }

    /// Whether the record is part of a table dump; GEO_PEER_TABLE (RFC 6397) says nothing of routes.
    const fn dumps_table(&self) -> bool {
        match self.kind {
            TABLE_DUMP => self.subtype != 0,
            TABLE_DUMP_V2 => self.subtype != 0 && self.subtype != GEO_PEER_TABLE,
            _ => false,
        }
    }

    /// What tells that times are whole seconds, from this record on.
    fn granularity(&self) -> Signal {
        let at = Timestamp::from_secs_nanos(i64::from(self.seconds), 0);
        Signal { at, link: 0, kind: SignalKind::Granularity(Span(1_000_000_000)) }
    }

    /// Whether it fits the records before it; used while searching, where more doubt is due.
    fn near(&self, seconds: u32) -> bool {
        self.plausible() && self.length > 0 && self.seconds.abs_diff(seconds) <= RESYNC_SPAN_S
    }
}

pub(super) struct MrtReader {
    content: Content,
    buffer: Vec<u8>,
    /// First byte of `buffer` that is not consumed.
    start: usize,
    /// Where that byte lies in the content.
    offset: u64,
    exhausted: bool,
    /// Why there is no more content; reported once what came before is read.
    failed: Option<std::io::Error>,
    /// Time of the last good header, in seconds.
    seconds: Option<u32>,
    counts: FileCounts,
    stepped_over: Vec<SteppedOver>,
    /// It was told that times are whole seconds.
    told_granularity: bool,
    /// The collector's address towards each peer: state changes of the old format leave it out,
    /// and some collectors write zeros while they have no connection.
    locals: HashMap<IpAddr, IpAddr>,
}

impl MrtReader {
    pub(super) fn new(content: Content) -> Self {
        Self {
            content,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            exhausted: false,
            failed: None,
            seconds: None,
            counts: FileCounts::default(),
            stepped_over: Vec::new(),
            told_granularity: false,
            locals: HashMap::new(),
        }
    }

    pub(super) const fn counts(&self) -> FileCounts {
        self.counts
    }

    pub(super) fn stepped_over(&self) -> &[SteppedOver] {
        &self.stepped_over
    }

    /// Reads one record; `false` at the end.
    pub(super) fn next_signal(&mut self, batch: &mut Batch) -> Result<bool, Fault> {
        if !self.fill(HEADER_LEN) {
            return self.end(batch);
        }
        let header = Header::read(self.rest()).filter(Header::plausible);
        let Some(header) = header else {
            self.fault(FormatFault::MrtHeader, batch);
            return self.search(batch);
        };
        if !self.fill(HEADER_LEN + header.length as usize) {
            return self.cut_short(header, batch);
        }
        let length = HEADER_LEN + self.body_length(header);
        self.seconds = Some(header.seconds);
        self.counts.records += 1;
        let body = &self.buffer[self.start + HEADER_LEN..self.start + length];
        if header.dumps_table() {
            let at = Timestamp::from_secs_nanos(i64::from(header.seconds), 0);
            let (kind, subtype, payload) = (header.kind, header.subtype, batch.append(body));
            let kind = SignalKind::Table(TableRecord { kind, subtype, payload });
            batch.signals.push(Signal { at, link: 0, kind });
            self.consume(length);
            return Ok(true);
        }
        match Record::read(header.seconds, header.kind, header.subtype, body) {
            Ok(Some(mut record)) => {
                let full = self.locals.len() >= PEERS_MAX;
                match record.ends() {
                    (peer, local) if local.is_unspecified() => {
                        *local = self.locals.get(&peer).copied().unwrap_or(*local);
                    }
                    (peer, local) if !full => drop(self.locals.insert(peer, *local)),
                    _ => {}
                }
                if header.kind != BGP4MP_ET && !std::mem::replace(&mut self.told_granularity, true)
                {
                    batch.signals.push(header.granularity());
                }
                record.into_signal(batch);
            }
            Ok(None) => self.counts.skipped += 1,
            Err(record::Malformed) => self.fault(FormatFault::MrtRecord, batch),
        }
        self.consume(length);
        Ok(true)
    }

    /// The length of a record's body, all of which is there. Collectors of the year 2000 left the
    /// view and the sequence number of a TABLE_DUMP out of it.
    fn body_length(&mut self, header: Header) -> usize {
        let stated = header.length as usize;
        let whole = stated + VIEW_AND_SEQUENCE_LEN;
        if header.kind != TABLE_DUMP || !self.fill(HEADER_LEN + whole) {
            return stated;
        }
        self.fill(HEADER_LEN + whole + HEADER_LEN);
        let ends_at = |length: usize| match &self.rest()[HEADER_LEN + length..] {
            [] => true,
            next => Header::read(next).is_some_and(|next| next.plausible()),
        };
        if !ends_at(stated) && ends_at(whole) { whole } else { stated }
    }

    /// The record is longer than what is left: the file is cut off, unless a header is found
    /// within the rest, which shows that this header was damaged.
    fn cut_short(&mut self, header: Header, batch: &mut Batch) -> Result<bool, Fault> {
        let near = self.seconds.unwrap_or(header.seconds);
        if self.find(near, 1).is_some() {
            self.fault(FormatFault::MrtHeader, batch);
            return self.search(batch);
        }
        self.end_within(batch)
    }

    fn end(&mut self, batch: &mut Batch) -> Result<bool, Fault> {
        let clean = self.rest().is_empty() && self.failed.is_none();
        if clean { Ok(false) } else { self.end_within(batch) }
    }

    /// The content ends within a record: because it cannot be read on, or because it was cut. The
    /// latter is counted and told, and the end of the file.
    fn end_within(&mut self, batch: &mut Batch) -> Result<bool, Fault> {
        if self.failed.is_none() {
            self.fault(FormatFault::Truncated, batch);
        }
        self.consume(self.rest().len());
        self.failed.take().map_or(Ok(false), |error| Err(Fault::Read(self.offset, error)))
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn consume(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
    }

    /// Reads until `length` bytes are there; `false` when the content ends before.
    fn fill(&mut self, length: usize) -> bool {
        if self.rest().len() >= length || self.exhausted {
            return self.rest().len() >= length;
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let wanted = length.max(READ_LEN) - self.buffer.len();
        let read = self.content.by_ref().take(wanted as u64).read_to_end(&mut self.buffer);
        match read {
            Ok(read) => self.exhausted = read < wanted,
            Err(error) => (self.exhausted, self.failed) = (true, Some(error)),
        }
        self.rest().len() >= length
    }

    /// Counts a fault at the present place and tells those after us that something is lost.
    fn fault(&mut self, reason: FormatFault, batch: &mut Batch) {
        self.counts.faults += 1;
        if self.stepped_over.len() < FAULTS_KEPT_MAX {
            self.stepped_over.push(SteppedOver { offset: self.offset, reason });
        }
        let at = Timestamp::from_secs_nanos(i64::from(self.seconds.unwrap_or(0)), 0);
        let kind = SignalKind::Lost { reason: LossReason::Malformed, count: 1 };
        batch.signals.push(Signal { at, link: 0, kind });
    }

    /// Goes on at the next place where a header may stand; `false` when there is none.
    fn search(&mut self, batch: &mut Batch) -> Result<bool, Fault> {
        let near = self.seconds.unwrap_or(0);
        let mut from = 1;
        loop {
            let more = self.fill(RESYNC_LOOK_LEN);
            if let Some(at) = self.find(near, from) {
                self.consume(at);
                return Ok(true);
            }
            let passed = self.rest().len().saturating_sub(RESYNC_TAIL_LEN);
            if !more {
                self.consume(self.rest().len());
                return self.end(batch);
            }
            self.consume(passed);
            from = 0;
        }
    }

    /// The next place, from `from` on, where a header may stand: one near in time, followed by
    /// another such header or by the end.
    fn find(&self, near: u32, from: usize) -> Option<usize> {
        let rest = self.rest();
        (from..rest.len().saturating_sub(HEADER_LEN - 1)).find(|&at| {
            let good = |at: usize| Header::read(&rest[at..]).filter(|header| header.near(near));
            let Some(header) = good(at) else { return false };
            match at + HEADER_LEN + header.length as usize {
                end if end + HEADER_LEN <= rest.len() => good(end).is_some(),
                end => end == rest.len() || !self.exhausted,
            }
        })
    }
}

/// Bytes looked at together while searching: more than two BGP records.
const RESYNC_LOOK_LEN: usize = 3 * BGP4MP_LEN_MAX as usize;
/// Bytes looked at again with those after them.
const RESYNC_TAIL_LEN: usize = HEADER_LEN;

#[cfg(test)]
mod tests;
