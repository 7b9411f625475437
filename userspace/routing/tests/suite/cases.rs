//! The cases.

use std::time::Duration;

use edgelore_model::{Outcome, Query, Span};
use edgelore_pipeline::fingerprint::{Cell, Space, UNIT};
use edgelore_pipeline::packet::{self, Opened, PACKET_BYTES_MAX};
use edgelore_routing::{
    Backend, BackendError, CELLS_MAX, Cursor, Delivery, LIMIT_MAX, PacketId, Stored, Subscription,
};

use super::{START, Subject, key, outcome, sealed};

/// How long a delivery may take before the case fails.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// Stores an outcome that must be new, under the key of publisher 1.
pub(super) async fn store(backend: &dyn Backend, outcome: &Outcome) -> PacketId {
    let sealed = sealed(outcome, &key(1));
    let stored = backend.store(sealed.bytes).await.unwrap();
    assert_eq!(stored, Stored { id: sealed.id, new: true });
    sealed.id
}

/// The ids that a query finds, in the order of the answer.
pub(super) async fn ids(
    backend: &dyn Backend,
    query: &Query,
    radius: u32,
    limit: usize,
) -> Vec<PacketId> {
    let found = backend.query(query, radius, limit).await.unwrap();
    found.iter().map(|found| found.opened.id).collect()
}

pub(super) async fn everything(backend: &dyn Backend) -> Vec<PacketId> {
    ids(backend, &Query::default(), u32::MAX, 1_000).await
}

/// Deterministic numbers (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }

    fn outcome(&mut self) -> Outcome {
        let mut outcome = outcome();
        let situation = &mut outcome.situation;
        situation.topology_class =
            self.pick(&["spine_leaf", "fat_tree", "hub_spoke", "odd"]).into();
        situation.protocol = self.pick(&["bgp", "ospf", "bfd"]).into();
        situation.event_type = self.pick(&["convergence", "saturation"]).into();
        situation.severity = 1 << self.below(20);
        situation.affected_prefixes = self.below(1_000_000);
        situation.node_count = self.below(500);
        outcome.resolution.pattern = self.pick(&["bfd_tuning", "dampening"]).into();
        outcome.before = None;
        outcome.after = None;
        outcome.convergence_delta_ms = self.below(1_000) as i64;
        outcome
    }
}

pub(crate) async fn packets_come_back_byte_for_byte(subject: &mut impl Subject) {
    let backend = subject.backend();
    let sealed = sealed(&outcome(), &key(1));
    assert_eq!(backend.get(&sealed.id).await.unwrap(), None);
    let stored = backend.store(sealed.bytes.clone()).await.unwrap();
    assert_eq!(stored, Stored { id: sealed.id, new: true });
    assert_eq!(backend.get(&sealed.id).await.unwrap().as_ref(), Some(&sealed.bytes));
    let found = backend.query(&Query::default(), 0, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(*found[0].opened, packet::open(&sealed.bytes).unwrap());
}

pub(crate) async fn storing_twice_stores_once(subject: &mut impl Subject) {
    let backend = subject.backend();
    let sealed = sealed(&outcome(), &key(1));
    let store = || backend.store(sealed.bytes.clone());
    let (a, b, c, d) = tokio::join!(store(), store(), store(), store());
    let new = [a, b, c, d].into_iter().filter(|stored| stored.as_ref().unwrap().new).count();
    assert_eq!(new, 1);
    assert_eq!(store().await.unwrap(), Stored { id: sealed.id, new: false });
    assert_eq!(everything(backend).await, [sealed.id]);
}

pub(crate) async fn the_radius_is_exact(subject: &mut impl Subject) {
    let (backend, space, mut numbers) =
        (subject.backend(), Space::default_definition(), Numbers(1));
    let mut packets = Vec::new();
    for _ in 0..150 {
        let sealed = sealed(&numbers.outcome(), &key(1));
        backend.store(sealed.bytes.clone()).await.unwrap();
        packets.push(packet::open(&sealed.bytes).unwrap());
    }
    packets.sort_by_key(|packet| packet.id);
    packets.dedup_by_key(|packet| packet.id);
    for round in 0..20 {
        let mut query = Query::from(&numbers.outcome().situation);
        if round % 3 == 0 {
            query.topology_class = None;
        }
        if round % 4 == 0 {
            query.resolution_pattern = Some("dampening".into());
        }
        let wanted = query.resolution_pattern.as_deref();
        let mut all: Vec<(u32, PacketId)> = packets
            .iter()
            .filter(|p| wanted.is_none_or(|pattern| p.outcome.resolution.pattern == pattern))
            .map(|p| (space.query_distance(&query, &p.outcome.situation), p.id))
            .collect();
        all.sort_unstable();
        // On the border and just inside it, where an inexact radius would show.
        let border = all[all.len() / 3].0;
        for radius in [0, 3 * UNIT, border.saturating_sub(1), border, u32::MAX] {
            let expected: Vec<_> = all.iter().copied().filter(|(d, _)| *d <= radius).collect();
            // What an answer of a few taught a backend must not narrow the next one.
            for limit in [7, 1_000] {
                let found = backend.query(&query, radius, limit).await.unwrap();
                let found: Vec<_> = found.iter().map(|f| (f.distance, f.opened.id)).collect();
                let expected = &expected[..limit.min(expected.len())];
                assert_eq!(found, expected, "{limit} of {query:?} within {radius}");
            }
        }
    }
}

pub(crate) async fn open_fields_cost_nothing(subject: &mut impl Subject) {
    let backend = subject.backend();
    let id = store(backend, &outcome()).await;
    assert_eq!(everything(backend).await, [id]);
    let full =
        Query::from(&packet::open(&sealed(&outcome(), &key(1)).bytes).unwrap().outcome.situation);
    let single: [Query; 6] = [
        Query { topology_class: full.topology_class, ..Query::default() },
        Query { protocol: full.protocol, ..Query::default() },
        Query { event_type: full.event_type, ..Query::default() },
        Query { severity: full.severity, ..Query::default() },
        Query { affected_prefixes: full.affected_prefixes, ..Query::default() },
        Query { node_count: full.node_count, ..Query::default() },
    ];
    for query in single {
        assert_eq!(ids(backend, &query, 0, 10).await, [id], "{query:?}");
    }
    let other = Query { protocol: Some("ospf".into()), ..Query::default() };
    assert!(ids(backend, &other, 3 * UNIT, 10).await.is_empty());
}

pub(crate) async fn the_reference_example_is_found_at_radius_3(subject: &mut impl Subject) {
    let backend = subject.backend();
    let id = store(backend, &outcome()).await;
    let mut query = Query::from(&outcome().situation);
    query.severity = Some(300_000);
    query.affected_prefixes = Some(6_000);
    assert_eq!(ids(backend, &query, 3 * UNIT, 10).await, [id]);
    query.resolution_pattern = Some("bfd_tuning".into());
    assert_eq!(ids(backend, &query, 3 * UNIT, 10).await, [id]);
    query.resolution_pattern = Some("dampening".into());
    assert!(ids(backend, &query, 3 * UNIT, 10).await.is_empty());
}

pub(crate) async fn a_limit_keeps_the_nearest(subject: &mut impl Subject) {
    let backend = subject.backend();
    let mut stored = Vec::new();
    for severity in [340_000, 20_000, 340_000_000, 300_000, 1_000] {
        let mut outcome = outcome();
        outcome.situation.severity = severity;
        outcome.before = None;
        stored.push(store(backend, &outcome).await);
    }
    let query = Query::from(&outcome().situation);
    let nearest = [stored[0], stored[3], stored[1]];
    assert_eq!(ids(backend, &query, u32::MAX, 3).await, nearest);
    assert!(ids(backend, &query, u32::MAX, 0).await.is_empty());
    assert_eq!(ids(backend, &query, u32::MAX, usize::MAX).await.len(), 5);
}

pub(crate) async fn what_has_expired_is_not_found_and_not_taken(subject: &mut impl Subject) {
    let short = Outcome { expires: START + Span::from_millis(60_000), ..outcome() };
    let short_id = store(subject.backend(), &short).await;
    let long_id = store(subject.backend(), &outcome()).await;
    assert_eq!(everything(subject.backend()).await.len(), 2);
    subject.clock().advance(60);
    assert_eq!(everything(subject.backend()).await, [long_id]);
    subject.restart().await;
    assert_eq!(everything(subject.backend()).await, [long_id]);
    let late = Outcome { sample_size: 4, ..short };
    let error = subject.backend().store(sealed(&late, &key(1)).bytes).await.unwrap_err();
    assert!(matches!(error, BackendError::Expired) && error.is_final(), "{error}");
    // The next commit purges what has expired.
    let third = store(subject.backend(), &Outcome { sample_size: 5, ..outcome() }).await;
    assert_eq!(subject.backend().get(&short_id).await.unwrap(), None);
    assert!(subject.backend().get(&third).await.unwrap().is_some());
}

pub(crate) async fn what_comes_from_the_future_is_not_taken(subject: &mut impl Subject) {
    let day = Span::from_millis(86_400_000);
    let soon = Outcome { created: START + day, expires: START + day + day, ..outcome() };
    store(subject.backend(), &soon).await;
    let late = START + day + Span::from_millis(1_000);
    let future = Outcome { created: late, expires: late + day, ..outcome() };
    let error = subject.backend().store(sealed(&future, &key(1)).bytes).await.unwrap_err();
    assert!(matches!(error, BackendError::Future) && error.is_final(), "{error}");
}

pub(crate) async fn damaged_packets_are_refused_for_good(subject: &mut impl Subject) {
    let backend = subject.backend();
    let bytes = sealed(&outcome(), &key(1)).bytes;
    let mut damaged = vec![Vec::new(), vec![0; 100], bytes[..bytes.len() - 1].to_vec()];
    damaged.push([bytes.as_slice(), &[0]].concat());
    damaged.extend((0..bytes.len()).step_by(7).map(|at| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        bytes
    }));
    for packet in damaged {
        let error = backend.store(packet).await.unwrap_err();
        assert!(error.is_final() && !error.is_transient(), "{error}");
    }
    assert!(everything(backend).await.is_empty());
}

pub(crate) async fn oversized_packets_are_refused_for_good(subject: &mut impl Subject) {
    for length in [PACKET_BYTES_MAX + 1, 1 << 20] {
        let error = subject.backend().store(vec![0xd2; length]).await.unwrap_err();
        assert!(matches!(error, BackendError::Packet(_)) && error.is_final(), "{error}");
    }
}

pub(crate) fn other_space() -> Space {
    let text = Space::default_text().replace("weight = 250", "weight = 251");
    Space::parse(&text).unwrap()
}

pub(crate) async fn another_similarity_definition_is_refused(subject: &mut impl Subject) {
    let sealed = packet::seal(&outcome(), &key(1), &other_space()).unwrap();
    let error = subject.backend().store(sealed.bytes).await.unwrap_err();
    assert!(error.is_final(), "{error}");
    assert!(error.to_string().contains("similarity definition"), "{error}");
    assert!(everything(subject.backend()).await.is_empty());
}

pub(crate) async fn any_words_are_found_again(subject: &mut impl Subject) {
    let (backend, space) = (subject.backend(), Space::default_definition());
    let mut odd = outcome();
    odd.situation.topology_class = "網狀\u{1f310}/ *>%".into();
    odd.situation.protocol = "ё\u{7f}\n".into();
    odd.situation.event_type = String::new();
    odd.resolution.pattern = "переключение \"b\"".into();
    let sealed = sealed(&odd, &key(1));
    backend.store(sealed.bytes).await.unwrap();
    store(backend, &outcome()).await;
    let mut query = Query::from(&sealed.outcome.situation);
    query.resolution_pattern = Some(sealed.outcome.resolution.pattern);
    assert_eq!(ids(backend, &query, 0, 10).await, [sealed.id]);
    let cell = Cell::coarse(&space, &sealed.outcome.situation);
    let mut subscription = backend.subscribe(&[cell], Some(Cursor(0))).await.unwrap();
    assert_eq!(next(&mut subscription).await.packet.id, sealed.id);
}

pub(crate) async fn a_restart_loses_nothing(subject: &mut impl Subject) {
    let mut numbers = Numbers(2);
    for _ in 0..30 {
        subject.backend().store(sealed(&numbers.outcome(), &key(1)).bytes).await.unwrap();
    }
    let before = subject.backend().query(&Query::default(), u32::MAX, 1_000).await.unwrap();
    assert_eq!(before.len(), 30);
    subject.restart().await;
    let after = subject.backend().query(&Query::default(), u32::MAX, 1_000).await.unwrap();
    assert_eq!(after, before);
    let again = subject.backend().store(before[0].opened.bytes.clone()).await.unwrap();
    assert!(!again.new);
}

pub(crate) async fn only_its_own_publisher_withdraws_a_packet(subject: &mut impl Subject) {
    let first = sealed(&outcome(), &key(1));
    let forged = Outcome { revokes: Some(first.id), sample_size: 9, ..outcome() };
    let forged = sealed(&forged, &key(2));
    let second = Outcome { supersedes: Some(first.id), sample_size: 4, ..outcome() };
    let second = sealed(&second, &key(1));
    subject.backend().store(forged.bytes.clone()).await.unwrap();
    subject.backend().store(first.bytes.clone()).await.unwrap();
    assert!(everything(subject.backend()).await.contains(&first.id));
    subject.backend().store(second.bytes.clone()).await.unwrap();
    let mut expected = [forged.id, second.id];
    expected.sort_unstable();
    assert_eq!(everything(subject.backend()).await, expected);
    subject.restart().await;
    assert_eq!(everything(subject.backend()).await, expected);
    assert!(subject.backend().get(&first.id).await.unwrap().is_some());
}

pub(crate) async fn next(subscription: &mut Box<dyn Subscription>) -> Delivery {
    next_within(subscription, DEADLINE).await
}

pub(crate) async fn next_within(
    subscription: &mut Box<dyn Subscription>,
    deadline: Duration,
) -> Delivery {
    let next = tokio::time::timeout(deadline, subscription.next()).await;
    let delivery = next.expect("a delivery within the deadline").unwrap();
    assert_eq!(subscription.cursor(), delivery.cursor);
    delivery
}

/// Outcomes of the case's own cell and of others, told apart by their sample size.
pub(super) fn numbered(sample_size: u32, protocol: &str) -> Outcome {
    let mut outcome = Outcome { sample_size, ..outcome() };
    outcome.situation.protocol = protocol.into();
    outcome
}

pub(crate) async fn a_subscription_delivers_the_past_and_the_present(subject: &mut impl Subject) {
    let (backend, space) = (subject.backend(), Space::default_definition());
    let mut expected = Vec::new();
    for number in 0..5 {
        expected.push(store(backend, &numbered(number, "bgp")).await);
        store(backend, &numbered(number, "ospf")).await;
    }
    let cell = Cell::coarse(&space, &outcome().situation);
    let mut followed = backend.subscribe(&[cell], Some(Cursor(0))).await.unwrap();
    let mut all = backend.subscribe(&[], Some(Cursor(0))).await.unwrap();
    for number in 5..8 {
        store(backend, &numbered(number, "ospf")).await;
        expected.push(store(backend, &numbered(number, "bgp")).await);
    }
    let mut cursor = Cursor(0);
    for id in expected {
        let delivery = next(&mut followed).await;
        assert_eq!(delivery.packet.id, id);
        assert!(delivery.cursor > cursor);
        cursor = delivery.cursor;
    }
    for _ in 0..16 {
        next(&mut all).await;
    }
    let nothing = tokio::time::timeout(Duration::from_millis(50), followed.next()).await;
    assert!(nothing.is_err(), "nothing more was stored");
}

pub(crate) async fn a_subscription_without_cursor_begins_now(subject: &mut impl Subject) {
    let backend = subject.backend();
    store(backend, &numbered(1, "bgp")).await;
    let mut subscription = backend.subscribe(&[], None).await.unwrap();
    let id = store(backend, &numbered(2, "bgp")).await;
    assert_eq!(next(&mut subscription).await.packet.id, id);
}

pub(crate) async fn a_subscription_resumes_across_a_restart(subject: &mut impl Subject) {
    let first = store(subject.backend(), &numbered(1, "bgp")).await;
    let second = store(subject.backend(), &numbered(2, "bgp")).await;
    let mut subscription = subject.backend().subscribe(&[], Some(Cursor(0))).await.unwrap();
    let delivery = next(&mut subscription).await;
    assert_eq!(delivery.packet.id, first);
    drop(subscription);
    subject.restart().await;
    let third = store(subject.backend(), &numbered(3, "bgp")).await;
    let resumed = subject.backend().subscribe(&[], Some(delivery.cursor)).await;
    let mut resumed = resumed.unwrap();
    assert_eq!(next(&mut resumed).await.packet.id, second);
    assert_eq!(next(&mut resumed).await.packet.id, third);
    // A cursor that this store has not reached is another store's: rather twice than never.
    let foreign = subject.backend().subscribe(&[], Some(Cursor(u64::MAX))).await;
    assert_eq!(next(&mut foreign.unwrap()).await.packet.id, first);
}

pub(crate) async fn what_cannot_be_followed_is_refused(subject: &mut impl Subject) {
    let backend = subject.backend();
    let many = vec![Cell::whole(&Space::default_definition()); CELLS_MAX + 1];
    let foreign = vec![Cell::whole(&other_space())];
    for cells in [many, foreign] {
        let Err(error) = backend.subscribe(&cells, None).await else {
            panic!("{} cells were followed", cells.len());
        };
        assert!(matches!(error, BackendError::Request(_)) && error.is_final(), "{error}");
    }
}

pub(crate) async fn the_capability_says_what_the_suite_has_shown(subject: &mut impl Subject) {
    let capability = subject.backend().capability();
    assert!(capability.exact && capability.resumable);
    assert_eq!(capability.durable, subject.durable());
    assert_eq!(capability.space.len(), 16);
}

pub(crate) async fn many_append_to_one_cell_at_once(subject: &mut impl Subject) {
    const WRITERS: u32 = 16;
    const EACH: u32 = 8;
    let backend = subject.backend();
    let writers = (0..WRITERS).map(|writer| async move {
        let mut ids = Vec::new();
        for number in 0..EACH {
            ids.push(store(backend, &numbered(writer * EACH + number, "bgp")).await);
        }
        ids
    });
    let ids: Vec<PacketId> = futures_util::future::join_all(writers).await.concat();
    let mut expected = ids;
    expected.sort_unstable();
    assert_eq!(everything(backend).await, expected, "all are equally near");
    let cell = Cell::coarse(&Space::default_definition(), &outcome().situation);
    let mut subscription = backend.subscribe(&[cell], Some(Cursor(0))).await.unwrap();
    let mut delivered = Vec::new();
    let mut cursor = Cursor(0);
    for _ in 0..WRITERS * EACH {
        let delivery = next(&mut subscription).await;
        assert!(delivery.cursor > cursor);
        cursor = delivery.cursor;
        delivered.push(delivery.packet.id);
    }
    delivered.sort_unstable();
    assert_eq!(delivered, expected);
}

pub(crate) async fn a_large_answer_is_cut_at_its_bound(subject: &mut impl Subject) {
    const AT_ONCE: usize = 64;
    let backend = subject.backend();
    let numbers: Vec<u64> = (1..=LIMIT_MAX as u64 + 100).collect();
    let mut packets = Vec::new();
    for numbers in numbers.chunks(AT_ONCE) {
        let stores = numbers.iter().map(|number| async move {
            let mut outcome = numbered(*number as u32, "bgp");
            outcome.situation.affected_prefixes = number * 1_000;
            outcome.situation.severity = 10_000 + number % 37 * 400;
            let sealed = sealed(&outcome, &key(1));
            backend.store(sealed.bytes.clone()).await.unwrap();
            packet::open(&sealed.bytes).unwrap()
        });
        packets.extend(futures_util::future::join_all(stores).await);
    }
    let space = Space::default_definition();
    let all_near = |query: &Query| {
        let far = |one: &Opened| space.query_distance(query, &one.outcome.situation);
        let mut all: Vec<_> = packets.iter().map(|one| (far(one), one.id)).collect();
        all.sort_unstable();
        all
    };
    let mut query = Query::from(&outcome().situation);
    query.affected_prefixes = Some(1);
    // Everything, then a few of many: next to many, amid them, beyond all of them.
    for (severity, radius, limit) in [
        (Some(340_000), u32::MAX, usize::MAX),
        (Some(10_000), u32::MAX, 20),
        (Some(17_200), 1_000, 7),
        (Some(17_300), u32::MAX, 300),
        (Some(0), u32::MAX, 50),
        (Some(u64::MAX), u32::MAX, 50),
        (None, 9_000, 50),
    ] {
        query.severity = severity;
        let mut near = all_near(&query);
        near.retain(|(distance, _)| *distance <= radius);
        near.truncate(limit.min(LIMIT_MAX));
        let found = backend.query(&query, radius, limit).await.unwrap();
        let found: Vec<_> = found.iter().map(|f| (f.distance, f.opened.id)).collect();
        assert_eq!(found, near, "{severity:?} {radius} {limit}");
        query.affected_prefixes = Some(400_000);
    }
}

/// What breaks a field open where words are pasted into commands.
pub(crate) const WORDS: [&str; 14] = [
    "'; DROP TABLE edgelore.packet; --",
    "\\'; DROP SCHEMA edgelore CASCADE; --",
    "$1) OR 1=1 --",
    "\0",
    "a\0b",
    "\r\nFLUSHALL\r\n",
    "*3\r\n$3\r\nDEL\r\n",
    "' .. redis.call('FLUSHALL') .. '",
    "} {x}",
    "bgp.>",
    "*",
    "a/../../b",
    "%00%2F%",
    "\u{202e}\u{feff}\u{10ffff}",
];

/// A cell can be followed; a server that is asked often may want to be asked later.
async fn subscribes(backend: &dyn Backend, cell: &Cell) {
    while let Err(error) = backend.subscribe(std::slice::from_ref(cell), None).await {
        let BackendError::Throttled(wait_ms, _) = error else { panic!("{cell}: {error}") };
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
}

pub(crate) async fn no_word_gets_out_of_its_field(subject: &mut impl Subject) {
    let (backend, space) = (subject.backend(), Space::default_definition());
    let witness = store(backend, &outcome()).await;
    let mut stored = vec![witness];
    for (number, word) in WORDS.into_iter().enumerate() {
        for field in 0..5 {
            let mut outcome = numbered(1_000 + number as u32, "bgp");
            let place = match field {
                0 => &mut outcome.situation.topology_class,
                1 => &mut outcome.situation.protocol,
                2 => &mut outcome.situation.event_type,
                3 => &mut outcome.resolution.pattern,
                _ => &mut outcome.resolution.steps[0],
            };
            *place = word.to_owned();
            let sealed = sealed(&outcome, &key(1));
            assert!(backend.store(sealed.bytes.clone()).await.unwrap().new, "{word:?} in {field}");
            let mut query = Query::from(&sealed.outcome.situation);
            query.resolution_pattern = Some(sealed.outcome.resolution.pattern);
            assert!(ids(backend, &query, 0, 1_000).await.contains(&sealed.id), "{word:?}, {field}");
            let cell = Cell::exact(&space, &sealed.outcome.situation);
            subscribes(backend, &cell).await;
            stored.push(sealed.id);
        }
    }
    stored.sort_unstable();
    let mut found = everything(backend).await;
    found.sort_unstable();
    assert_eq!(found, stored);
}
