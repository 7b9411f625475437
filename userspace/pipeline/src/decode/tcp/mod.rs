//! Puts one direction of a TCP connection back in order (RFC 9293 §3.4).
//!
//! Handles segments out of order, retransmitted, overlapping (the first copy wins), cut short by
//! the capture, and streams that began before the capture did. A hole is waited for within
//! bounds; then it is declared a gap, and the stream goes on at the next message.
//!
//! **Withheld keepalives.** Live, the kernel withholds segments that hold one keepalive alone (a
//! BGP KEEPALIVE, or an LDP PDU with a KeepAlive message as its only one) and
//! says with every later segment how many bytes that were so far. A hole at a message boundary
//! that such bytes explain is no gap.
//!
//! **Invariant:** bytes are handed out in sequence order, each at most once, and what is held is
//! within [`Limits`].

mod framer;
mod framing;

pub(super) use framing::keepalive_len;

use edgelore_model::{Span, StreamProtocol, Timestamp};
use framer::{Framed, Framer};
use std::collections::VecDeque;

/// A segment further back than this, in bytes, belongs to another connection: no receive window
/// of a routing daemon is as large.
const BEHIND_MAX: u32 = 1 << 26;

/// What one direction may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes behind a hole.
    pub(super) pending_bytes_max: usize,
    /// Segments behind a hole.
    pub(super) pending_segments_max: usize,
    /// How long a hole is waited for once something lies behind it.
    pub(super) hole_wait: Span,
}

/// One segment as this direction sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) at: Timestamp,
    pub(super) seq: u32,
    pub(super) payload: &'a [u8],
    /// Payload length on the wire; never less than the payload's.
    pub(super) wire_len: u32,
    pub(super) suppressed: u32,
    pub(super) fin: bool,
}

/// What comes out.
pub(super) enum Event<'a> {
    /// A whole message (LDP: a whole PDU), header included.
    Message(&'a [u8]),
    /// The stream is not at a message where it should be.
    Lost,
    /// Bytes are missing.
    Gap,
    /// The sender has finished.
    Fin,
}

/// How a segment's first byte stands to what its direction has handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the next.
    New,
    /// It is the next, which others that came before it have waited for since then.
    Fills(Timestamp),
    /// It lies behind a hole.
    Ahead,
    /// It was handed out.
    Seen,
}

/// Where it goes.
pub(super) type Deliver<'d> = dyn FnMut(Event<'_>) + 'd;

/// What lies behind a hole; neighbours do not overlap.
#[derive(Debug)]
struct Pending {
    seq: u32,
    bytes: Vec<u8>,
    /// Bytes that were on the wire after these and were not captured.
    missing: u32,
    suppressed: u32,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct HalfStream {
    /// Sequence number of the next byte; `None` before the first segment.
    next: Option<u32>,
    /// Sequence number of the SYN, when it was seen.
    isn: Option<u32>,
    /// The SYN carried data, and nothing came after it yet.
    syn_data: bool,
    suppressed: u32,
    framer: Framer,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// Sequence number of a FIN behind a hole, with its count of suppressed bytes.
    fin: Option<(u32, u32)>,
    hole_since: Option<Timestamp>,
}

impl HalfStream {
    /// A direction of which nothing was seen.
    pub(super) const fn new(protocol: StreamProtocol) -> Self {
        Self {
            next: None,
            isn: None,
            syn_data: false,
            suppressed: 0,
            framer: Framer::new(protocol),
            pending: VecDeque::new(),
            pending_bytes: 0,
            fin: None,
            hole_since: None,
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.pending_bytes + self.framer.held()
    }

    /// Data or a SYN was seen.
    pub(super) fn started(&self) -> bool {
        self.next.is_some()
    }

    /// How a segment with data stands that is about to be taken.
    pub(super) fn standing(&self, part: &Part<'_>) -> Standing {
        let behind = self.next.map_or(0, |next| next.wrapping_sub(part.seq));
        match (behind, self.hole_since) {
            (0, Some(since)) if !self.pending.is_empty() => Standing::Fills(since),
            (0, _) => Standing::New,
            // Synthetic captures exist whose SYN carries data without taking a sequence number.
            (1, _) if self.syn_data => Standing::New,
            _ if behind <= BEHIND_MAX => Standing::Seen,
            _ if self.withheld(part.seq, part.suppressed) => Standing::New,
            _ => Standing::Ahead,
        }
    }

    /// Something is held that will be lost if nothing follows.
    pub(super) fn unfinished(&self) -> bool {
        !self.pending.is_empty() || self.framer.mid_message()
    }

    /// Whether this SYN repeats the one with which the stream began.
    pub(super) fn repeats_syn(&self, seq: u32) -> bool {
        self.isn == Some(seq)
    }

    /// Begins the stream at a SYN, with the data it may carry (RFC 7413).
    pub(super) fn syn(&mut self, limits: &Limits, part: &Part<'_>, deliver: &mut Deliver<'_>) {
        let first = part.seq.wrapping_add(1);
        *self = Self {
            next: Some(first),
            isn: Some(part.seq),
            suppressed: part.suppressed,
            ..Self::new(self.framer.protocol())
        };
        self.segment(limits, &Part { seq: first, ..*part }, deliver);
        self.syn_data = part.wire_len > 0;
    }

    /// Takes a segment that is no SYN.
    pub(super) fn segment(&mut self, limits: &Limits, part: &Part<'_>, deliver: &mut Deliver<'_>) {
        if part.wire_len == 0 && !part.fin {
            return;
        }
        let next = self.start(part, deliver);
        let behind = next.wrapping_sub(part.seq);
        if behind == 0 {
            self.accept(part, deliver);
        } else if behind <= BEHIND_MAX {
            self.overlapping(behind, part, deliver);
        } else if self.withheld(part.seq, part.suppressed) {
            self.next = Some(part.seq);
            self.accept(part, deliver);
        } else {
            self.hold(part);
        }
        self.drain(part.at, deliver);
        while self.pending_bytes > limits.pending_bytes_max
            || self.pending.len() > limits.pending_segments_max
        {
            self.give_up(part.at, deliver);
        }
    }

    /// Declares a gap when a hole has been waited for long enough.
    pub(super) fn expire(&mut self, limits: &Limits, now: Timestamp, deliver: &mut Deliver<'_>) {
        if self.hole_since.is_some_and(|since| now - since > limits.hole_wait) {
            self.give_up(now, deliver);
        }
    }

    /// Hands out everything behind holes, declaring each a gap.
    pub(super) fn flush(&mut self, now: Timestamp, deliver: &mut Deliver<'_>) {
        while self.hole_since.is_some() {
            self.give_up(now, deliver);
        }
    }

    /// Drops what is held; one gap if anything was.
    pub(super) fn shed(&mut self, deliver: &mut Deliver<'_>) {
        if self.held() > 0 {
            deliver(Event::Gap);
        }
        *self = Self { isn: self.isn, ..Self::new(self.framer.protocol()) };
    }

    /// Where the stream stands, beginning it here if it has not begun.
    fn start(&mut self, part: &Part<'_>, deliver: &mut Deliver<'_>) -> u32 {
        let mut next = match self.next {
            Some(next) => next,
            None => {
                self.framer.search();
                self.suppressed = part.suppressed;
                part.seq
            }
        };
        let behind = next.wrapping_sub(part.seq);
        if (BEHIND_MAX..=u32::MAX / 2).contains(&behind) {
            // Another connection took over the ports and its SYN was not seen.
            self.shed(deliver);
            self.framer.search();
            self.suppressed = part.suppressed;
            next = part.seq;
        }
        if std::mem::take(&mut self.syn_data) && behind == 1 && part.wire_len > 1 {
            // Synthetic captures exist whose SYN carries data without taking a sequence number.
            next = part.seq;
        }
        self.next = Some(next);
        next
    }

    /// A segment that starts before the stream's position: what is new of it is taken.
    fn overlapping(&mut self, behind: u32, part: &Part<'_>, deliver: &mut Deliver<'_>) {
        let ends = part.wire_len + u32::from(part.fin);
        if behind < ends {
            let payload = part.payload.get(behind as usize..).unwrap_or_default();
            let wire_len = part.wire_len.saturating_sub(behind);
            let seq = part.seq.wrapping_add(behind);
            self.accept(&Part { seq, payload, wire_len, ..*part }, deliver);
        }
    }

    /// Takes a segment that starts exactly at the stream's position.
    fn accept(&mut self, part: &Part<'_>, deliver: &mut Deliver<'_>) {
        let end = part.seq.wrapping_add(part.wire_len);
        let missing = part.wire_len - part.payload.len() as u32;
        self.advance(part.payload, missing, deliver);
        self.suppressed = part.suppressed;
        if part.fin {
            self.fin = Some((end, part.suppressed));
        }
    }

    fn advance(&mut self, bytes: &[u8], missing: u32, deliver: &mut Deliver<'_>) {
        self.framer.push(bytes, &mut |framed| {
            deliver(match framed {
                Framed::Message(message) => Event::Message(message),
                Framed::Lost => Event::Lost,
            });
        });
        if missing > 0 {
            self.framer.search();
            deliver(Event::Gap);
        }
        let length = (bytes.len() as u32).wrapping_add(missing);
        self.next = self.next.map(|next| next.wrapping_add(length));
    }

    /// Whether withheld keepalives explain the hole before `seq`.
    fn withheld(&self, seq: u32, suppressed: u32) -> bool {
        let Some(next) = self.next else { return false };
        let Some(keepalive_len) = framing::keepalive_len(self.framer.protocol()) else {
            return false;
        };
        let hole = seq.wrapping_sub(next);
        let growth = suppressed.wrapping_sub(self.suppressed);
        // A count that went back means that the kernel forgot the connection: it explains nothing.
        self.framer.at_boundary()
            && hole.is_multiple_of(keepalive_len)
            && growth <= u32::MAX / 2
            && hole <= growth
    }

    /// Keeps a segment that lies behind a hole; where it overlaps what is kept, that one stays.
    fn hold(&mut self, part: &Part<'_>) {
        self.hole_since.get_or_insert(part.at);
        let end = part.seq.wrapping_add(part.wire_len);
        if part.fin {
            self.fin = Some((end, part.suppressed));
        }
        let Some(origin) = self.next else { return };
        let distance = |seq: u32| seq.wrapping_sub(origin) as usize;
        let base = distance(part.seq);
        let captured_end = base + part.payload.len();
        let mut from = base;
        let mut place = self.pending.partition_point(|p| distance(p.seq) + p.bytes.len() <= base);
        while from < captured_end {
            let (stop, after) = match self.pending.get(place) {
                Some(p) => (distance(p.seq).min(captured_end), distance(p.seq) + p.bytes.len()),
                None => (captured_end, captured_end),
            };
            if from < stop {
                let bytes = part.payload[from - base..stop - base].to_vec();
                let missing = if stop == captured_end {
                    part.wire_len - part.payload.len() as u32
                } else {
                    0
                };
                self.pending_bytes += bytes.len();
                let seq = origin.wrapping_add(from as u32);
                self.pending
                    .insert(place, Pending { seq, bytes, missing, suppressed: part.suppressed });
                place += 1;
            }
            from = from.max(after);
            place += usize::from(stop < captured_end);
        }
    }

    /// Hands out what is contiguous now.
    fn drain(&mut self, now: Timestamp, deliver: &mut Deliver<'_>) {
        while let Some(first) = self.pending.front() {
            let Some(next) = self.next else { return };
            let behind = next.wrapping_sub(first.seq);
            let (seq, suppressed) = (first.seq, first.suppressed);
            let skipped = if behind <= BEHIND_MAX {
                behind as usize
            } else if self.withheld(seq, suppressed) {
                self.next = Some(seq);
                0
            } else {
                break;
            };
            self.release(skipped, deliver);
            self.hole_since = Some(now);
        }
        if self.pending.is_empty() {
            self.hole_since = self.hole_since.filter(|_| self.fin.is_some());
            self.finish(deliver);
        }
    }

    /// Hands out the first of what is held, without its first `skipped` bytes.
    fn release(&mut self, skipped: usize, deliver: &mut Deliver<'_>) {
        let Some(first) = self.pending.pop_front() else { return };
        self.pending_bytes -= first.bytes.len();
        match first.bytes.get(skipped..) {
            Some([]) | None => {}
            Some(bytes) => {
                self.advance(bytes, first.missing, deliver);
                self.suppressed = first.suppressed;
            }
        }
    }

    /// Reports the FIN once everything before it was handed out.
    fn finish(&mut self, deliver: &mut Deliver<'_>) {
        let Some((seq, suppressed)) = self.fin else { return };
        if self.next == Some(seq) || self.withheld(seq, suppressed) {
            self.next = Some(seq.wrapping_add(1));
            self.fin = None;
            self.hole_since = None;
            deliver(Event::Fin);
        }
    }

    /// Declares the first hole a gap and goes on behind it.
    fn give_up(&mut self, now: Timestamp, deliver: &mut Deliver<'_>) {
        let behind = self.pending.front().map(|p| p.seq).or(self.fin.map(|(seq, _)| seq));
        let Some(behind) = behind else {
            self.hole_since = None;
            return;
        };
        self.framer.search();
        deliver(Event::Gap);
        self.next = Some(behind);
        self.drain(now, deliver);
    }
}

#[cfg(test)]
mod tests;
