//! Reassembly under loss, disorder, repetition and overlap.

use super::*;
use proptest::prelude::*;

const LIMITS: Limits =
    Limits { pending_bytes_max: 1 << 20, pending_segments_max: 1024, hole_wait: Span(1_000) };

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// What came out, in order; messages by their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Out {
    messages: Vec<Vec<u8>>,
    lost: usize,
    gaps: usize,
    fins: usize,
}

struct Stream {
    half: HalfStream,
    limits: Limits,
    out: Out,
    clock: i64,
}

impl Stream {
    fn midway() -> Self {
        Self {
            half: HalfStream::new(StreamProtocol::Bgp),
            limits: LIMITS,
            out: Out::default(),
            clock: 0,
        }
    }

    /// A stream whose SYN has the sequence number before `first`.
    fn from(first: u32) -> Self {
        let mut stream = Self::midway();
        stream.syn(first.wrapping_sub(1), &[]);
        stream
    }

    fn syn(&mut self, seq: u32, payload: &[u8]) {
        let part = Self::part(self.clock, seq, payload);
        let out = &mut self.out;
        self.half.syn(&self.limits, &part, &mut |event| collect(out, event));
    }

    fn part(at: i64, seq: u32, payload: &[u8]) -> Part<'_> {
        let wire_len = payload.len() as u32;
        Part { at: Timestamp(at), seq, payload, wire_len, suppressed: 0, fin: false }
    }

    fn take(&mut self, part: Part<'_>) {
        let out = &mut self.out;
        self.half.segment(&self.limits, &part, &mut |event| collect(out, event));
    }

    fn data(&mut self, seq: u32, payload: &[u8]) {
        self.take(Self::part(self.clock, seq, payload));
    }

    fn suppressed(&mut self, seq: u32, payload: &[u8], suppressed: u32) {
        self.take(Part { suppressed, ..Self::part(self.clock, seq, payload) });
    }

    fn fin(&mut self, seq: u32) {
        self.take(Part { fin: true, ..Self::part(self.clock, seq, &[]) });
    }

    fn expire(&mut self, now: i64) {
        let out = &mut self.out;
        self.half.expire(&self.limits, Timestamp(now), &mut |event| collect(out, event));
    }

    fn flush(&mut self) {
        let out = &mut self.out;
        self.half.flush(Timestamp(self.clock), &mut |event| collect(out, event));
    }

    fn counts(&self) -> (usize, usize, usize, usize) {
        (self.out.messages.len(), self.out.lost, self.out.gaps, self.out.fins)
    }
}

fn collect(out: &mut Out, event: Event<'_>) {
    match event {
        Event::Message(message) => out.messages.push(message.to_vec()),
        Event::Lost => out.lost += 1,
        Event::Gap => out.gaps += 1,
        Event::Fin => out.fins += 1,
    }
}

fn after(seq: u32, length: usize) -> u32 {
    seq.wrapping_add(length as u32)
}

#[test]
fn sequence_numbers_wrap() {
    let (a, b) = (message(2, &[1; 100]), message(2, &[2; 100]));
    let first = u32::MAX - 50;
    let mut stream = Stream::from(first);
    stream.data(after(first, a.len()), &b);
    stream.data(first, &a);
    assert_eq!(stream.out.messages, [a, b]);
    assert_eq!(stream.half.held(), 0);
}

#[test]
fn a_stream_found_midway_begins_at_the_next_message() {
    let (a, b) = (message(2, &[0xff; 60]), message(2, &[2; 40]));
    let mut stream = Stream::midway();
    let bytes = [&a[30..], &b, &b].concat();
    stream.data(1000, &bytes[..50]);
    stream.data(1050, &bytes[50..]);
    assert_eq!(stream.out.messages, [b.clone(), b]);
    assert_eq!(stream.counts(), (2, 0, 0, 0));
}

#[test]
fn a_hole_becomes_a_gap_when_it_is_old() {
    let (a, b, c) = (message(2, &[1; 30]), message(2, &[2; 30]), message(2, &[3; 30]));
    let mut stream = Stream::from(1);
    stream.data(1, &a);
    stream.data(after(1, 2 * a.len()), &c);
    stream.expire(LIMITS.hole_wait.0);
    assert_eq!(stream.counts(), (1, 0, 0, 0));
    stream.expire(LIMITS.hole_wait.0 + 1);
    assert_eq!(stream.counts(), (2, 0, 1, 0));
    stream.data(after(1, a.len()), &b);
    assert_eq!(stream.counts(), (2, 0, 1, 0), "what comes after the gap was declared is late");
}

#[test]
fn a_hole_becomes_a_gap_when_too_much_lies_behind_it() {
    let one = message(2, &[1; 81]);
    for (name, limits) in [
        ("segments", Limits { pending_segments_max: 3, ..LIMITS }),
        ("bytes", Limits { pending_bytes_max: 300, ..LIMITS }),
    ] {
        let mut stream = Stream { limits, ..Stream::from(1) };
        for at in 1..=3 {
            stream.data(1 + at * 100, &one);
            assert_eq!(stream.counts(), (0, 0, 0, 0), "{name}");
        }
        stream.data(401, &one);
        assert_eq!(stream.counts(), (4, 0, 1, 0), "{name}");
        assert_eq!(stream.half.held(), 0, "{name}");
    }
}

#[test]
fn a_segment_cut_by_the_capture_is_a_gap_at_once() {
    let one = message(2, &[1; 181]);
    let mut stream = Stream::from(1);
    stream.take(Part { wire_len: 200, ..Stream::part(0, 1, &one[..90]) });
    stream.data(201, &one);
    assert_eq!(stream.counts(), (1, 0, 1, 0));
}

#[test]
fn withheld_keepalives_are_no_gap() {
    let one = message(2, &[1; 30]);
    let length = one.len() as u32;
    let mut stream = Stream::from(1);
    stream.suppressed(1, &one, 0);
    stream.suppressed(1 + length + 38, &one, 38);
    assert_eq!(stream.counts(), (2, 0, 0, 0));
    stream.suppressed(1 + 2 * length + 38 + 19, &one, 38);
    assert_eq!(stream.counts(), (2, 0, 0, 0), "nothing was withheld meanwhile: a hole");
    stream.flush();
    assert_eq!(stream.counts(), (3, 0, 1, 0));
}

#[test]
fn a_count_that_went_back_explains_nothing() {
    let one = message(2, &[1; 30]);
    let mut stream = Stream::from(1);
    stream.suppressed(1, &one, 190);
    stream.suppressed(1 + one.len() as u32 + 19, &one, 19);
    stream.flush();
    assert_eq!(stream.counts(), (2, 0, 1, 0));
}

#[test]
fn withheld_keepalives_and_segments_out_of_order() {
    let one = message(2, &[1; 30]);
    let length = one.len() as u32;
    let mut stream = Stream::from(1);
    // A keepalive between every two; the second message comes last.
    stream.suppressed(1, &one, 0);
    stream.suppressed(1 + 2 * (length + 19), &one, 38);
    stream.suppressed(1 + length + 19, &one, 19);
    assert_eq!(stream.counts(), (3, 0, 0, 0));
    let end = 1 + 3 * length + 2 * 19;
    let fin = Part { fin: true, suppressed: 57, ..Stream::part(0, end + 19, &[]) };
    stream.take(fin);
    assert_eq!(stream.counts(), (3, 0, 0, 1));
}

#[test]
fn a_keepalive_withheld_within_a_message_is_a_hole() {
    let one = message(2, &[1; 30]);
    let mut stream = Stream::from(1);
    stream.suppressed(1, &one[..20], 0);
    stream.suppressed(1 + 20 + 19, &one, 19);
    assert_eq!(stream.counts(), (0, 0, 0, 0));
    stream.flush();
    assert_eq!(stream.counts(), (1, 0, 1, 0));
}

#[test]
fn a_fin_waits_for_what_comes_before_it() {
    let one = message(2, &[1; 30]);
    let mut stream = Stream::from(1);
    stream.fin(after(1, one.len()));
    assert_eq!(stream.counts(), (0, 0, 0, 0));
    stream.data(1, &one);
    assert_eq!(stream.counts(), (1, 0, 0, 1));
    stream.fin(after(1, one.len()));
    assert_eq!(stream.counts(), (1, 0, 0, 1), "repeated");
    let mut stream = Stream::from(1);
    stream.fin(after(1, one.len()));
    stream.flush();
    assert_eq!(stream.counts(), (0, 0, 1, 1));
}

#[test]
fn a_syn_may_carry_data() {
    let one = message(1, &[1; 30]);
    let mut stream = Stream::midway();
    stream.syn(99, &one);
    stream.data(after(100, one.len()), &one);
    assert_eq!(stream.counts(), (2, 0, 0, 0));
    // Some synthetic captures let the SYN take no sequence number.
    let mut stream = Stream::midway();
    stream.syn(99, &one);
    stream.data(after(99, one.len()), &one);
    assert_eq!(stream.counts(), (2, 0, 0, 0));
}

#[test]
fn another_connection_on_the_same_ports_is_found_midway() {
    let one = message(2, &[1; 30]);
    let mut stream = Stream::from(1 << 30);
    stream.data(1 << 30, &one);
    stream.data(5, &one);
    assert_eq!(stream.counts(), (2, 0, 0, 0));
}

#[test]
fn a_probe_below_the_position_is_ignored() {
    let one = message(2, &[1; 30]);
    let mut stream = Stream::from(1);
    stream.data(1, &one);
    stream.data(after(0, one.len()), &[0]);
    stream.data(after(1, one.len()), &one);
    assert_eq!(stream.counts(), (2, 0, 0, 0));
}

/// A list of messages and a delivery of their bytes: cut anywhere, in any order within a window,
/// with repetitions and overlaps.
fn delivery() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<(usize, usize)>, u32)> {
    let body = prop::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 4..120);
    let messages = prop::collection::vec(body.prop_map(|body| message(2, &body)), 1..30);
    (messages, prop::collection::vec(1_usize..200, 1..40), any::<u64>(), any::<u32>()).prop_map(
        |(messages, cuts, seed, first)| {
            let total: usize = messages.iter().map(Vec::len).sum();
            let mut parts = Vec::new();
            let (mut at, mut state) = (0, seed | 1);
            for cut in cuts.iter().cycle() {
                if at >= total {
                    break;
                }
                let end = (at + cut).min(total);
                // Half of the parts reach back into what was sent before.
                let back = if state & 1 == 0 { at.saturating_sub(cut / 2) } else { at };
                parts.push((back, end));
                at = end;
                state = state.rotate_left(1) ^ (at as u64);
            }
            for index in 0..parts.len() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let other = (index + (state >> 60) as usize).min(parts.len() - 1);
                parts.swap(index, other);
                if state >> 59 & 1 == 1 {
                    parts.push(parts[index]);
                }
            }
            (messages, parts, first)
        },
    )
}

proptest! {
    #[test]
    fn any_delivery_yields_the_messages((messages, parts, first) in delivery()) {
        let bytes = messages.concat();
        let mut stream = Stream::from(first);
        for (from, to) in parts {
            stream.data(after(first, from), &bytes[from..to]);
        }
        prop_assert_eq!(&stream.out.messages, &messages);
        prop_assert_eq!(stream.counts(), (messages.len(), 0, 0, 0));
        prop_assert_eq!(stream.half.held(), 0);
    }

    #[test]
    fn a_later_copy_never_wins((messages, parts, first) in delivery()) {
        let bytes = messages.concat();
        let mut stream = Stream::from(first);
        for (from, to) in parts {
            stream.data(after(first, from), &bytes[from..to]);
            stream.data(after(first, from), &vec![0; to - from]);
        }
        prop_assert_eq!(&stream.out.messages, &messages);
    }

    #[test]
    fn nothing_makes_it_panic_or_hoard(
        parts in prop::collection::vec(
            (any::<u16>(), prop::collection::vec(any::<u8>(), 0..60), 0_u32..90, any::<u8>()), 0..80),
        first in any::<u32>(),
    ) {
        let limits = Limits { pending_bytes_max: 500, pending_segments_max: 10, ..LIMITS };
        let mut stream = Stream { limits, ..Stream::midway() };
        for (offset, payload, more, flags) in &parts {
            let wire_len = payload.len() as u32 + if flags & 1 == 0 { 0 } else { *more };
            let seq = first.wrapping_add(u32::from(offset % 2048));
            stream.clock += i64::from(*more);
            let part = Stream::part(stream.clock, seq, payload);
            let suppressed = u32::from(*flags);
            if flags & 2 == 2 {
                stream.syn(seq, payload);
            }
            stream.take(Part { wire_len, suppressed, fin: flags & 4 == 4, ..part });
            prop_assert!(stream.half.held() <= 500 + 65_535);
        }
        stream.flush();
        prop_assert!(stream.half.pending.is_empty() && stream.half.pending_bytes == 0);
    }
}
