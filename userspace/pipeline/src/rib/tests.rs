//! The state against a plain map, and its bounds.

use super::memory::BLOCK_WORDS;
use super::*;
use edgelore_model::PathSummary;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Slots of a block of IPv4.
const BLOCK_SLOTS: usize = BLOCK_WORDS / 16 * 3;

fn speaker(host: u8) -> SourceKey {
    let (a, b) = (IpAddr::from([192, 0, 2, host]), IpAddr::from([192, 0, 2, 254]));
    (SessionKey::between(a, b), a, model::Rib::Wire)
}

fn delta(host: u8, withdrawn: Vec<Prefix>, announced: Vec<Prefix>, hash: u64) -> RouteDelta {
    let (session, speaker, rib) = speaker(host);
    let path = PathSummary { attributes_hash: hash, ..PathSummary::default() };
    RouteDelta {
        session,
        speaker,
        rib,
        withdrawn,
        announced,
        withdrawn_path_ids: Vec::new(),
        announced_path_ids: Vec::new(),
        path: Some(path),
    }
}

fn prefix(number: u32) -> Prefix {
    Prefix::new(IpAddr::V4((number << 8).into()), 24).expect("24 is a length")
}

fn ms(at: i64) -> Timestamp {
    Timestamp(1_600_000_000_000_000_000) + Span::from_millis(at)
}

fn applied(rib: &mut Rib, delta: &RouteDelta, at: Timestamp) -> Changes {
    let mut verdicts = Vec::new();
    let changes = rib.apply(delta, at, &mut verdicts);
    assert_eq!(verdicts.len(), delta.withdrawn.len() + delta.announced.len());
    changes
}

#[test]
fn each_prefix_has_its_story() {
    let mut rib = Rib::new(RibConfig::default());
    let (one, two) = (prefix(1), prefix(2));
    let first = applied(&mut rib, &delta(1, vec![two], vec![one, two], 7), ms(0));
    assert_eq!(first, Changes { new: 2, unknown_withdrawn: 1, ..Changes::default() });
    let same = applied(&mut rib, &delta(1, vec![], vec![one], 7), ms(100));
    assert_eq!(same, Changes { repeated: 1, ..Changes::default() });
    let other = applied(&mut rib, &delta(1, vec![], vec![one], 8), ms(200));
    assert_eq!(other, Changes { changed: 1, ..Changes::default() });
    let gone = applied(&mut rib, &delta(1, vec![one, one], vec![], 0), ms(300));
    assert_eq!(gone, Changes { withdrawn: 1, unknown_withdrawn: 1, ..Changes::default() });
    let back = applied(&mut rib, &delta(1, vec![], vec![one], 8), ms(400));
    assert_eq!(back, Changes { new: 1, ..Changes::default() });
    let route = rib.route(speaker(1), one, 0).unwrap();
    assert_eq!((route.announced, route.attributes), (true, 8));
    assert_eq!((route.transitions, route.penalty), (2, 1_500));
    let late = ms(400) - route.changed;
    assert!((0..2_097_152).contains(&late.0), "a millisecond or two early: {late:?}");
    assert_eq!((rib.announced(speaker(1)), rib.entries()), (2, 2));
    assert_eq!(rib.route(speaker(2), one, 0), None, "another speaker");
    assert_eq!(rib.route(speaker(1), one, 9), None, "another path");
}

#[test]
fn an_episode_ends_in_quiet() {
    let mut rib = Rib::new(RibConfig::default());
    let one = vec![prefix(1)];
    for (at, up) in [(0, true), (100, false), (200, true), (70_000, false)] {
        let (down, up) = if up { (vec![], one.clone()) } else { (one.clone(), vec![]) };
        applied(&mut rib, &delta(1, down, up, 7), ms(at));
        let expected = match at {
            0 => 0,
            200 => 2,
            _ => 1,
        };
        assert_eq!(rib.route(speaker(1), prefix(1), 0).unwrap().transitions, expected, "{at}");
    }
}

#[test]
fn what_is_exactly_the_quiet_time_apart_is_of_one_episode() {
    for offset in (0..4_000).step_by(61) {
        let mut rib = Rib::new(RibConfig::default());
        let one = vec![prefix(1)];
        let up = delta(1, vec![], one.clone(), 7);
        let down = delta(1, one, vec![], 0);
        let steps = [(0, &up), (60_000, &down), (120_000, &up), (180_003, &down)];
        for ((at, step), expected) in steps.into_iter().zip([0, 1, 2, 1]) {
            applied(&mut rib, step, ms(at + 1_000_000) + Span(offset * 1_000));
            let route = rib.route(speaker(1), prefix(1), 0).unwrap();
            assert_eq!(route.transitions, expected, "{at} ms and {offset} µs");
        }
    }
}

#[test]
fn other_attributes_lengthen_no_episode() {
    let mut rib = Rib::new(RibConfig::default());
    let one = vec![prefix(1)];
    applied(&mut rib, &delta(1, vec![], one.clone(), 7), ms(0));
    applied(&mut rib, &delta(1, one.clone(), vec![], 0), ms(1_000));
    applied(&mut rib, &delta(1, vec![], one.clone(), 7), ms(2_000));
    for (at, hash) in [(40_000, 8), (61_000, 9)] {
        applied(&mut rib, &delta(1, vec![], one.clone(), hash), ms(at));
    }
    let route = rib.route(speaker(1), prefix(1), 0).unwrap();
    assert_eq!((route.transitions, route.attributes), (2, 9));
    applied(&mut rib, &delta(1, one, vec![], 0), ms(63_000));
    assert_eq!(rib.route(speaker(1), prefix(1), 0).unwrap().transitions, 1, "61 s after the other");
}

#[test]
fn the_end_of_a_session_withdraws_all_that_it_announced() {
    let mut rib = Rib::new(RibConfig::default());
    let all: Vec<Prefix> = (0..50_000).map(prefix).collect();
    applied(&mut rib, &delta(1, vec![], all.clone(), 7), ms(0));
    applied(&mut rib, &delta(2, vec![], all.clone(), 7), ms(0));
    rib.session_ended(speaker(1).0);
    assert_eq!((rib.announced(speaker(1)), rib.announced(speaker(2))), (0, 50_000));
    assert_eq!(rib.route(speaker(1), prefix(9), 0), None);
    assert!(rib.route(speaker(2), prefix(9), 0).unwrap().announced);
    let gone = applied(&mut rib, &delta(1, vec![prefix(9)], vec![], 0), ms(1));
    assert_eq!(gone.unknown_withdrawn, 1);
    let back = applied(&mut rib, &delta(1, vec![], all, 7), ms(2));
    assert_eq!((back.new, rib.announced(speaker(1))), (50_000, 50_000));
    assert_eq!(rib.route(speaker(1), prefix(8), 0).unwrap().transitions, 0, "a beginning");
}

#[test]
fn path_identifiers_tell_paths_apart() {
    let mut rib = Rib::new(RibConfig::default());
    let mut twice = delta(1, vec![], vec![prefix(1), prefix(1)], 7);
    twice.announced_path_ids = vec![1, 2];
    assert_eq!(applied(&mut rib, &twice, ms(0)).new, 2);
    let mut gone = delta(1, vec![prefix(1)], vec![], 0);
    gone.withdrawn_path_ids = vec![2];
    assert_eq!(applied(&mut rib, &gone, ms(1)).withdrawn, 1);
    let announced = |id| rib.route(speaker(1), prefix(1), id).unwrap().announced;
    assert!(announced(1) && !announced(2));
}

/// Room for two segments of IPv4.
fn small() -> RibConfig {
    RibConfig { bytes_max: 2 * BLOCK_WORDS * 4, ..RibConfig::default() }
}

#[test]
fn past_the_bound_new_prefixes_are_refused_and_known_ones_followed() {
    let mut rib = Rib::new(small());
    let all: Vec<Prefix> = (0..20_000).map(prefix).collect();
    let changes = applied(&mut rib, &delta(1, vec![], all.clone(), 7), ms(0));
    assert_eq!(u64::from(changes.refused), rib.overflow().prefixes);
    assert_eq!(changes.new + changes.refused, 20_000);
    assert!(changes.new as usize > BLOCK_SLOTS, "{changes:?}");
    assert!(rib.bytes() <= small().bytes_max);
    let known = applied(&mut rib, &delta(1, vec![], all, 8), ms(1));
    assert_eq!((known.changed, known.refused), (changes.new, changes.refused));
}

/// Applies in deltas of a hundred prefixes; sums what was refused.
fn refused(rib: &mut Rib, host: u8, prefixes: &[Prefix], at: i64) -> u32 {
    let deltas = prefixes.chunks(100).map(|some| delta(host, vec![], some.to_vec(), 7));
    deltas.map(|delta| applied(rib, &delta, ms(at)).refused).sum()
}

#[test]
fn withdrawn_prefixes_and_ended_sessions_make_room() {
    let config = RibConfig { bytes_max: 32 * BLOCK_WORDS * 4, ..RibConfig::default() };
    let mut rib = Rib::new(config);
    let some: Vec<Prefix> = (0..40_000).map(prefix).collect();
    let others: Vec<Prefix> = (100_000..140_000).map(prefix).collect();
    assert_eq!(refused(&mut rib, 1, &some, 0), 0);
    assert_eq!(applied(&mut rib, &delta(1, some.clone(), vec![], 0), ms(1)).withdrawn, 40_000);
    assert_eq!(refused(&mut rib, 1, &others, 2), 0, "in the place of its own");
    assert_eq!(applied(&mut rib, &delta(1, others.clone(), vec![], 0), ms(3)).withdrawn, 40_000);
    assert_eq!(refused(&mut rib, 2, &some, 4), 0, "in the place of another's");
    rib.session_ended(speaker(2).0);
    assert_eq!((rib.bytes(), refused(&mut rib, 3, &others, 5)), (0, 0));
    assert!(rib.bytes() <= config.bytes_max);
}

#[test]
fn what_was_withdrawn_long_ago_goes_before_the_table_grows() {
    let config = RibConfig { keep: Span::from_millis(1_000), ..RibConfig::default() };
    let mut rib = Rib::new(config);
    for round in 0..40 {
        let some: Vec<Prefix> = (round * 2_000..(round + 1) * 2_000).map(prefix).collect();
        applied(&mut rib, &delta(1, vec![], some.clone(), 7), ms(i64::from(round) * 10_000));
        applied(&mut rib, &delta(1, some, vec![], 0), ms(i64::from(round) * 10_000 + 1));
    }
    assert_eq!(rib.bytes(), BLOCK_WORDS * 4);
}

#[test]
fn sources_past_the_bound_are_counted() {
    let mut rib = Rib::new(RibConfig { sources_max: 2, ..RibConfig::default() });
    for host in 1..=5 {
        applied(&mut rib, &delta(host, vec![], vec![prefix(1)], 7), ms(0));
    }
    assert_eq!((rib.entries(), rib.overflow().deltas), (2, 3));
}

#[test]
fn times_hold_for_years() {
    let mut rib = Rib::new(RibConfig::default());
    applied(&mut rib, &delta(1, vec![], vec![prefix(1), prefix(2)], 7), ms(0));
    let day = 86_400_000;
    for days in [20, 40, 200, 2_000] {
        applied(&mut rib, &delta(1, vec![], vec![prefix(1)], days as u64), ms(days * day));
        let changed = rib.route(speaker(1), prefix(1), 0).unwrap().changed;
        assert!((0..2_097_152).contains(&(ms(days * day) - changed).0), "{days}");
        let old = rib.route(speaker(1), prefix(2), 0).unwrap().changed;
        assert!(ms(days * day) - old >= Span::from_millis(days.min(13) * day), "{days}");
    }
    applied(&mut rib, &delta(1, vec![prefix(1)], vec![], 0), ms(-5));
    assert!(!rib.route(speaker(1), prefix(1), 0).unwrap().announced, "time ran backwards");
}

/// Steps: speaker, prefix (of two families), path identifier, attributes or withdrawn, wait in ms.
fn steps() -> impl Strategy<Value = Vec<(u8, u8, u32, Option<u64>, i64)>> {
    let step = (0..3_u8, 0..24_u8, 0..2_u32, prop::option::of(0..3_u64), 0..40_000_i64);
    prop::collection::vec(step, 0..300)
}

fn of_family(number: u8) -> Prefix {
    let v6 = IpAddr::from([0x2001, 0xdb8, 0, number.into(), 0, 0, 0, 0]);
    if number < 12 { prefix(number.into()) } else { Prefix::new(v6, 64).expect("64 is a length") }
}

proptest! {
    #[test]
    fn it_equals_a_plain_map(steps in steps()) {
        let mut rib = Rib::new(RibConfig::default());
        let mut map: BTreeMap<(u8, Prefix, u32), u64> = BTreeMap::new();
        let mut now = 0;
        for (host, number, path_id, attributes, wait) in steps {
            now += wait;
            let prefix = of_family(number);
            let key = (host, prefix, path_id);
            let mut expected = Changes::default();
            let mut step = delta(host, vec![], vec![], attributes.unwrap_or(0));
            if let Some(attributes) = attributes {
                (step.announced, step.announced_path_ids) = (vec![prefix], vec![path_id]);
                *match map.insert(key, attributes) {
                    None => &mut expected.new,
                    Some(before) if before == attributes => &mut expected.repeated,
                    Some(_) => &mut expected.changed,
                } += 1;
            } else if number == 23 && path_id == 1 {
                rib.session_ended(speaker(host).0);
                map.retain(|(of, ..), _| *of != host);
            } else {
                (step.withdrawn, step.withdrawn_path_ids) = (vec![prefix], vec![path_id]);
                *match map.remove(&key) {
                    None => &mut expected.unknown_withdrawn,
                    Some(_) => &mut expected.withdrawn,
                } += 1;
            }
            prop_assert_eq!(applied(&mut rib, &step, ms(now)), expected);
            for host in 0..3 {
                let count = map.keys().filter(|(of, ..)| *of == host).count();
                prop_assert_eq!(rib.announced(speaker(host)) as usize, count);
            }
        }
        for (&(host, prefix, path_id), &attributes) in &map {
            let route = rib.route(speaker(host), prefix, path_id).unwrap();
            prop_assert!(route.announced && u64::from(route.attributes) == attributes);
        }
    }

    #[test]
    fn many_prefixes_are_found_again_after_growing(seed in any::<u64>(), stride in 1_u32..200) {
        let mut rib = Rib::new(RibConfig { seed, ..RibConfig::default() });
        let all: Vec<Prefix> = (0..30_000).map(|n| prefix(n * stride)).collect();
        for part in all.chunks(777) {
            prop_assert_eq!(applied(&mut rib, &delta(1, vec![], part.to_vec(), 5), ms(0)).new as usize, part.len());
        }
        let again = applied(&mut rib, &delta(1, vec![], all, 5), ms(1));
        prop_assert_eq!(again, Changes { repeated: 30_000, ..Changes::default() });
        prop_assert_eq!(rib.overflow(), RibOverflow::default());
    }
}

/// Session and speaker number `n` of many.
fn one_of_many(n: u32) -> SourceKey {
    let (a, b) = (IpAddr::V4((0x0a00_0000 + n).into()), IpAddr::from([192, 0, 2, 254]));
    (SessionKey::between(a, b), a, model::Rib::Wire)
}

fn from_many(n: u32, withdrawn: Vec<Prefix>, announced: Vec<Prefix>) -> RouteDelta {
    let (session, speaker, rib) = one_of_many(n);
    RouteDelta { session, speaker, rib, ..delta(1, withdrawn, announced, 7) }
}

#[test]
fn a_storm_of_a_million_prefixes_from_ten_thousand_sessions_stays_within_the_bound() {
    let mut rib = Rib::new(RibConfig::default());
    let of = |n: u32| (n * 100..n * 100 + 100).map(prefix).collect::<Vec<_>>();
    for n in 0..10_000 {
        assert_eq!(applied(&mut rib, &from_many(n, vec![], of(n)), ms(0)).new, 100);
    }
    assert_eq!(rib.overflow(), RibOverflow::default());
    assert!(rib.bytes() <= 64 << 20, "{} octets", rib.bytes());
    assert_eq!(rib.prefixes_on(one_of_many(77).0), of(77));
    assert_eq!(rib.announced_on(one_of_many(77).0), 100);
    for n in 0..10_000 {
        match n % 2 {
            0 => rib.session_ended(one_of_many(n).0),
            _ => assert_eq!(applied(&mut rib, &from_many(n, of(n), vec![]), ms(1)).withdrawn, 100),
        }
    }
    assert_eq!(rib.entries(), 500_000, "withdrawn ones keep their place for a while");
    rib.age(ms(3_700_000));
    assert_eq!((rib.entries(), rib.bytes()), (0, 0), "and no longer");
    let last = applied(&mut rib, &from_many(1, vec![], of(1)), ms(3_700_001));
    assert_eq!((last.new, rib.announced(one_of_many(1))), (100, 100));
}

#[test]
fn speakers_past_the_bound_find_room_when_others_have_gone() {
    let mut rib = Rib::new(RibConfig { sources_max: 2, ..RibConfig::default() });
    for n in 0..3 {
        applied(&mut rib, &from_many(n, vec![], vec![prefix(n)]), ms(0));
    }
    assert_eq!(rib.overflow().deltas, 1);
    rib.session_ended(one_of_many(0).0);
    assert_eq!(applied(&mut rib, &from_many(2, vec![], vec![prefix(2)]), ms(1)).new, 1);
    assert_eq!(rib.route(one_of_many(1), prefix(1), 0).map(|route| route.announced), Some(true));
}

#[test]
fn verdicts_stand_in_the_order_of_the_delta_and_say_what_became_of_each() {
    let mut rib = Rib::new(RibConfig::default());
    let mut said = |withdrawn: &[u32], announced: &[u32], hash, at| {
        let list = |numbers: &[u32]| numbers.iter().map(|&n| prefix(n)).collect::<Vec<_>>();
        let mut verdicts = Vec::new();
        rib.apply(&delta(1, list(withdrawn), list(announced), hash), ms(at), &mut verdicts);
        verdicts
    };
    let became = |verdicts: &[Verdict]| verdicts.iter().map(|v| v.became).collect::<Vec<_>>();
    use Became::{Changed, New, Repeated, Returned, Withdrawn, WithdrawnAgain, WithdrawnUnheard};
    assert_eq!(became(&said(&[5], &[1, 2, 3], 7, 0)), [WithdrawnUnheard, New, New, New]);
    assert_eq!(became(&said(&[1, 5], &[2], 7, 1_000)), [Withdrawn, WithdrawnAgain, Repeated]);
    let last = said(&[], &[1, 2, 3, 5], 8, 31_000);
    assert_eq!(became(&last), [Returned, Changed, Changed, Returned]);
    assert!((29_998..=30_002).contains(&last[0].lasted_ms()), "lost 30 s ago: {last:?}");
    assert_eq!((last[0].transitions, last[1].transitions, last[3].transitions), (2, 0, 2));
    assert_eq!((last[1].penalty, last[1].lasted_ms()), (500, 0));
}
