//! Conversations that chance made: however they are cut into batches or withheld by the kernel, the
//! same comes out.

use super::*;
use proptest::prelude::*;

/// Conversations of several sessions, interleaved, with losses, repetitions and garbage.
fn traffic() -> impl Strategy<Value = Batch> {
    let step = (0_usize..6, any::<bool>(), 0_usize..9, any::<u8>());
    prop::collection::vec(step, 0..120).prop_map(|steps| {
        let mut wire = Wire::default();
        for (host, back, what, value) in steps {
            let (a, b) = (format!("192.0.2.{}:4000{}", host + 10, value % 2), B.to_owned());
            let (from, to) = if back { (b, a) } else { (a, b) };
            match what {
                0 => wire.handshake(&from, &to),
                1 => wire.establish(&from, &to),
                2 => wire.segment(&from, &to, tcp_flags::RST, &[]),
                3 => wire.segment(&from, &to, tcp_flags::FIN, &cease()),
                4 => wire.restart(&from, &to),
                5 => wire.segment(&from, &to, 0, &[value; 30]),
                _ => wire.segment(
                    &from,
                    &to,
                    0,
                    &[update(value), update(1)].concat()[value as usize % 40..],
                ),
            };
            if value % 11 == 0 && !wire.batch.signals.is_empty() {
                let index = usize::from(value) % wire.batch.signals.len();
                wire.batch.signals.remove(index);
            }
            if value % 13 == 0
                && let Some(last) = wire.batch.signals.last().cloned()
            {
                let index = usize::from(value) % wire.batch.signals.len();
                wire.batch.signals.insert(index, last);
            }
        }
        wire.batch
    })
}

/// The same signals in batches of the sizes given, each with an arena of its own.
fn cut(batch: &Batch, sizes: &[usize]) -> Vec<Batch> {
    let mut batches = vec![Batch::default()];
    let mut sizes = sizes.iter().cycle();
    let mut left = *sizes.next().unwrap();
    for signal in &batch.signals {
        if left == 0 {
            batches.push(Batch::default());
            left = *sizes.next().unwrap();
        }
        left = left.saturating_sub(1);
        push(batches.last_mut().unwrap(), batch, signal);
    }
    batches
}

fn push(into: &mut Batch, from: &Batch, signal: &Signal) {
    let mut signal = signal.clone();
    if let SignalKind::Segment(segment) = &mut signal.kind {
        segment.payload = into.append(from.payload(segment.payload));
    }
    into.signals.push(signal);
}

/// Observations by session, each session's in order.
fn by_session(observations: &[Observation]) -> Vec<String> {
    let mut texts: Vec<(String, String)> = observations
        .iter()
        .map(|o| {
            let value = format!("{o:?}");
            let start = value.find("session").map_or(String::new(), |at| value[at..at + 60].into());
            (start, value)
        })
        .collect();
    texts.sort_by(|a, b| a.0.cmp(&b.0));
    texts.into_iter().map(|(_, value)| value).collect()
}

proptest! {
    #[test]
    fn cuts_do_not_matter(batch in traffic(), sizes in prop::collection::vec(1_usize..9, 1..5)) {
        prop_assert_eq!(decode(std::slice::from_ref(&batch)), decode(&cut(&batch, &sizes)));
    }

    #[test]
    fn shards_do_not_matter(batch in traffic(), shards in 1_usize..5) {
        let (together, total) = decode(std::slice::from_ref(&batch));
        let mut parts = vec![Batch::default(); shards];
        for signal in &batch.signals {
            push(&mut parts[shard_of(signal, shards)], &batch, signal);
        }
        let mut apart = Vec::new();
        let mut sum = Summary::default();
        for part in parts {
            // The end comes with the last signal, wherever that went.
            let (observations, summary) = decode(&[part]);
            apart.extend(observations);
            sum += summary;
        }
        prop_assert_eq!(total, sum);
        let without_time = |list: &[Observation]| {
            by_session(&list.iter().cloned().map(|o| Observation { at: Timestamp(0), ..o }).collect::<Vec<_>>())
        };
        prop_assert_eq!(without_time(&together), without_time(&apart));
    }

    #[test]
    fn downs_and_ups_alternate(batch in traffic()) {
        let mut state = std::collections::HashMap::new();
        for observation in decode(std::slice::from_ref(&batch)).0 {
            let (session, up) = match observation.what {
                Observed::SessionUp { session } => (session, true),
                Observed::SessionDown { session, .. } => (session, false),
                _ => continue,
            };
            let before = state.insert(session, up);
            // The first UPDATE of a session found midway brings it up without a word.
            prop_assert!(before != Some(up) , "{session}: twice {up}");
        }
    }

    #[test]
    fn no_bytes_make_bgp_panic(bytes in prop::collection::vec(prop_oneof![3 => Just(0xff_u8), 5 => any::<u8>(), 3 => 0_u8..5], 0..300)) {
        for message in bgp::Messages::new(&bytes) {
            let _ = message;
        }
        let hints = [bgp::update::PathIdHint::Unlikely, bgp::update::PathIdHint::Likely];
        for path_ids in hints {
            let width = bgp::AsWidth::Four;
            let encoding = bgp::update::Encoding::Presumed { width, path_ids };
            if let Ok(delta) = bgp::update::Delta::read(&bytes, &encoding) {
                let counted = delta.counts.ipv4_announced + delta.counts.ipv6_announced;
                prop_assert_eq!(delta.announced.len() as u64, counted);
            }
        }
        let _ = (bgp::Open::parse(&bytes), ControlPacket::parse(&bytes));
        let ids = bgp::PathIds::Present;
        for prefix in bgp::Prefixes::new(AddressFamily::Ipv6, ids, &bytes).flatten() {
            prop_assert!(prefix.length() <= 128);
        }
    }

    #[test]
    fn mutated_updates_decode_or_are_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = update(7);
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let mut wire = Wire::default();
        wire.segment(A, B, tcp_flags::SYN, &[]).segment(A, B, 0, &[bytes, update(8), update(9)].concat());
        let (observations, summary) = decode(std::slice::from_ref(&wire.batch));
        let last = Prefix::new("10.0.9.0".parse().unwrap(), 24).unwrap();
        let found = observations.iter().any(|o| {
            matches!(&o.what, Observed::Routes(delta) if delta.announced.contains(&last))
        });
        // A changed length may take what follows for its own until the capture ends.
        prop_assert!(found || summary.undecodable > 0 || summary.bgp.update < 3);
    }
}

/// What the kernel hands on: segments of one KEEPALIVE alone are withheld, their bytes counted in
/// every later segment of the direction, and segments without data, SYN, FIN or RST are withheld.
fn as_seen_live(batch: &Batch) -> Batch {
    let lone = keepalive();
    let turns = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
    let mut suppressed = std::collections::HashMap::new();
    let mut live = Batch::default();
    for signal in &batch.signals {
        let mut signal = signal.clone();
        let SignalKind::Segment(segment) = &mut signal.kind else { continue };
        let payload = batch.payload(segment.payload);
        let bytes = suppressed.entry((segment.src, segment.dst)).or_insert(0_u32);
        if segment.flags & turns == 0 && (payload == lone || payload.is_empty()) {
            *bytes += payload.len() as u32;
            continue;
        }
        segment.suppressed_bytes = *bytes;
        push(&mut live, batch, &signal);
    }
    live
}

/// Sessions that come up, talk with keepalives between, and end; nothing is lost.
fn quiet_traffic() -> impl Strategy<Value = Batch> {
    let step = (any::<bool>(), 0_usize..10, any::<u8>());
    prop::collection::vec(step, 0..60).prop_map(|steps| {
        let mut wire = Wire::default();
        wire.establish(A, B);
        for (back, what, value) in steps {
            let (from, to) = if back { (B, A) } else { (A, B) };
            match what {
                0..4 => wire.segment(from, to, 0, &keepalive()),
                4 => wire.segment(from, to, tcp_flags::FIN, &[]),
                5 => wire.restart(from, to).establish(from, to),
                6 => wire.segment(from, to, 0, &update(value)[..30]).segment(
                    from,
                    to,
                    0,
                    &update(value)[30..],
                ),
                7 => wire.segment(from, to, 0, &[keepalive(), update(value)].concat()),
                _ => wire.segment(from, to, 0, &update(value)),
            };
        }
        wire.batch
    })
}

proptest! {
    #[test]
    fn the_wire_equals_the_file(batch in quiet_traffic()) {
        let (file, file_summary) = decode(std::slice::from_ref(&batch));
        let (live, live_summary) = decode(&[as_seen_live(&batch)]);
        prop_assert_eq!(file, live);
        prop_assert_eq!((file_summary.gaps, live_summary.gaps), (0, 0));
        prop_assert!(live_summary.bgp.keepalive <= file_summary.bgp.keepalive);
    }
}
