//! The attacks, each on whatever store.

use super::suite::{WORDS, other_space};
use super::*;
use edgelore_pipeline::fingerprint::Cell;
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::{self, PACKET_BYTES_MAX, statement};
use edgelore_routing::Cursor;

/// An honest packet, stored.
async fn honest(target: &impl Target, number: u32) -> PacketId {
    let packet = sealed(&numbered(number), &key(7));
    assert_eq!(target.send(&packet.bytes).await, Ok(()));
    packet.id
}

/// Expects that bytes are refused for this reason, which is counted once and in the log.
async fn refused(target: &impl Target, what: &str, bytes: &[u8], term: &str, told: &str) {
    let gate = target.gate();
    let (name, before, all) = (format!("refused.{term}"), gate.audited().len(), gate.refused());
    let count = gate.count(&name);
    let reason = target.send(bytes).await.expect_err(what);
    assert!(reason.contains(told), "{what}: {reason}");
    assert_eq!((gate.count(&name), gate.refused()), (count + 1, all + 1), "{what}");
    let audited = &gate.audited()[before..];
    let [record] = audited else { panic!("{what}: {audited:?}") };
    assert_eq!((record.event, record.reason.as_deref()), (audit::Event::Refused, Some(term)));
    assert!(record.detail.as_ref().is_some_and(|detail| !detail.is_empty()), "{what}");
}

/// The packet of somebody, with another's key in its place.
fn in_the_name_of(victim: u8, by: u8) -> Vec<u8> {
    let (own, theirs) = (key(by).public(), key(victim).public());
    let mut bytes = sealed(&outcome(), &key(by)).bytes;
    let at = bytes.windows(32).position(|window| window == own).unwrap();
    bytes[at..at + 32].copy_from_slice(&theirs);
    bytes
}

pub(crate) async fn what_is_not_a_packet_of_this_store_is_refused(target: &impl Target) {
    let witness = honest(target, 1).await;
    let good = sealed(&outcome(), &key(1)).bytes;
    let mut flipped = good.clone();
    flipped[PACKET_BYTES_MAX / 4] ^= 1;
    let mut blank = good.clone();
    let signature = blank.len() - 64;
    blank[signature..].fill(0);
    let foreign = packet::seal(&outcome(), &key(1), &other_space()).unwrap();
    let window = days(i64::from(WINDOW_DAYS));
    let stale = made(START - window - Span::from_millis(1_000), START + days(1));
    let future = START + days(1) + Span::from_millis(1_000);
    for (what, bytes, term, told) in [
        ("nothing", Vec::new(), "malformed", "COSE_Sign1"),
        ("rubbish", vec![0xd2; 100], "malformed", "COSE_Sign1"),
        ("a payload that nobody signed", good[50..signature].to_vec(), "malformed", "COSE_Sign1"),
        ("a packet with an empty signature", blank, "forged", "signature"),
        ("a packet that was changed", flipped, "forged", "signature"),
        ("a packet in another's name", in_the_name_of(7, 1), "forged", "signature"),
        ("a packet that is too long", vec![0xd2; PACKET_BYTES_MAX + 1], "oversized", "exceed"),
        ("a packet of a megabyte", vec![0xd2; 1 << 20], "oversized", "exceed"),
        ("a packet of another space", foreign.bytes, "foreign", "similarity definition"),
        ("an old packet", made(START - days(3), START).bytes, "expired", "expired"),
        ("one from the future", made(future, future + days(1)).bytes, "future", "future"),
        ("one from before the window", stale.bytes, "stale", "replay window"),
    ] {
        refused(target, what, &bytes, term, told).await;
    }
    let second = honest(target, 2).await;
    let mut expected = [witness, second];
    expected.sort_unstable();
    assert_eq!(everything(target.backend()).await, expected);
    assert_eq!(target.gate().count("accepted"), 2);
}

pub(crate) async fn who_is_blocked_or_revoked_is_out_and_nobody_else(target: &impl Target) {
    let (gate, backend) = (target.gate(), target.backend());
    let witness = honest(target, 1).await;
    let before = sealed(&numbered(2), &key(1));
    for number in [2, 20, 21, 22, 23, 24, 25, 26] {
        assert_eq!(target.send(&sealed(&numbered(number), &key(1)).bytes).await, Ok(()));
    }
    gate.say(1, Standing::Blocked);
    let late = sealed(&numbered(3), &key(1));
    refused(target, "a blocked publisher's", &late.bytes, "blocked", "blocked").await;
    assert_eq!(everything(backend).await, [witness]);
    let first = backend.query(&Query::default(), u32::MAX, 1).await.unwrap();
    assert_eq!(first[0].opened.id, witness, "what is left out takes nobody's place");
    assert_eq!(backend.get(&before.id).await.unwrap(), None);
    assert!(backend.get(&witness).await.unwrap().is_some());
    // Under a new key it is the same publisher.
    let succession = backend.declare(statement::succession(&key(1), &key(2), START)).await;
    let revocation = backend.declare(statement::revocation(&key(3), START)).await;
    assert!(succession.unwrap().new && revocation.unwrap().new);
    let as_before = sealed(&numbered(4), &key(2));
    refused(target, "a blocked one's new key", &as_before.bytes, "blocked", "blocked").await;
    let revoked = sealed(&numbered(5), &key(3));
    refused(target, "a revoked key's", &revoked.bytes, "revoked", "revoked").await;
    honest(target, 6).await;
    assert_eq!(everything(backend).await.len(), 2);
}

pub(crate) async fn a_packet_that_is_sent_again_changes_nothing_and_uses_up_nothing(
    target: &impl Target,
) {
    let packet = sealed(&numbered(1), &key(7));
    for _ in 0..3 * HOURLY {
        assert_eq!(target.send(&packet.bytes).await, Ok(()));
    }
    // Nor do its packets that have expired, or were made for others.
    let over = Outcome { created: START - days(3), expires: START, ..outcome() };
    for number in 0..HOURLY {
        let over = sealed(&Outcome { sample_size: number, ..over.clone() }, &key(7));
        let foreign = packet::seal(&numbered(number), &key(7), &other_space()).unwrap();
        assert!(target.send(&over.bytes).await.is_err());
        assert!(target.send(&foreign.bytes).await.is_err());
    }
    for number in 2..=HOURLY {
        honest(target, number).await;
    }
    let gate = target.gate();
    let counts = ["accepted", "refused.expired", "refused.foreign"].map(|name| gate.count(name));
    assert_eq!((counts, gate.refused()), ([u64::from(HOURLY); 3], 2 * u64::from(HOURLY)));
    assert_eq!(everything(target.backend()).await.len(), HOURLY as usize);
}

pub(crate) async fn what_was_replaced_does_not_come_back(target: &impl Target) {
    let first = sealed(&numbered(1), &key(7));
    let second = sealed(&Outcome { supersedes: Some(first.id), ..numbered(2) }, &key(7));
    for packet in [&first, &second, &first, &first] {
        assert_eq!(target.send(&packet.bytes).await, Ok(()));
        let found = everything(target.backend()).await;
        assert!(found == [first.id] || found == [second.id], "one at a time");
    }
    assert_eq!(everything(target.backend()).await, [second.id]);
    // Nor does what comes first only later.
    let late = sealed(&numbered(3), &key(7));
    let taken_back = Outcome { revokes: Some(late.id), ..numbered(4) };
    let message = sealed(&taken_back, &key(7));
    for bytes in [&message.bytes, &late.bytes] {
        assert_eq!(target.send(bytes).await, Ok(()));
    }
    assert!(!everything(target.backend()).await.contains(&late.id));
}

pub(crate) async fn equal_answers_of_others_and_claims_on_others_packets_change_nothing(
    target: &impl Target,
) {
    let witness = honest(target, 1).await;
    // The same words, so the same outcome hash and the same cell, under other keys.
    let copy = sealed(&numbered(1), &key(1));
    let replacing = sealed(&Outcome { supersedes: Some(witness), ..numbered(1) }, &key(2));
    let revoking = sealed(&Outcome { revokes: Some(witness), ..numbered(1) }, &key(3));
    let mut expected = vec![witness];
    for packet in [&copy, &replacing, &revoking] {
        assert_eq!(target.send(&packet.bytes).await, Ok(()));
        expected.push(packet.id);
    }
    expected.sort_unstable();
    assert_eq!(everything(target.backend()).await, expected);
    let bytes = target.backend().get(&witness).await.unwrap().unwrap();
    assert_eq!(packet::open(&bytes).unwrap().publisher, key(7).publisher());
}

pub(crate) async fn a_flood_stops_at_its_publisher(target: &impl Target) {
    let (gate, mut stored) = (target.gate(), 0);
    for number in 1..=2 * HOURLY {
        match target.send(&sealed(&numbered(number), &key(1)).bytes).await {
            Ok(()) => stored += 1,
            Err(reason) => assert!(reason.contains("publishes more than it may"), "{reason}"),
        }
    }
    // A packet may have become due while the test ran.
    assert!((HOURLY..=HOURLY + 2).contains(&stored), "{stored}");
    assert_eq!(gate.count("refused.flooding"), u64::from(2 * HOURLY - stored));
    let floods = gate.audited().into_iter().filter(|r| r.reason.as_deref() == Some("flooding"));
    let flooding = Some(hex::encode(key(1).publisher()));
    assert!(floods.map(|record| record.publisher).all(|publisher| publisher == flooding));
    let witness = honest(target, 1).await;
    let found = everything(target.backend()).await;
    assert!(found.contains(&witness) && found.len() == stored as usize + 1);
}

pub(crate) async fn no_word_gets_out_of_its_field_or_into_the_log(target: &impl Target) {
    let (gate, backend) = (target.gate(), target.backend());
    let witness = honest(target, 1).await;
    let mut stored = vec![witness];
    for (number, word) in WORDS.into_iter().enumerate() {
        let mut everywhere = numbered(1_000 + number as u32);
        for place in [
            &mut everywhere.situation.topology_class,
            &mut everywhere.situation.protocol,
            &mut everywhere.situation.event_type,
            &mut everywhere.resolution.pattern,
            &mut everywhere.resolution.steps[0],
        ] {
            word.clone_into(place);
        }
        let packet = sealed(&everywhere, &key(1));
        assert_eq!(target.send(&packet.bytes).await, Ok(()), "{word:?}");
        let mut query = Query::from(&packet.outcome.situation);
        query.resolution_pattern = Some(packet.outcome.resolution.pattern.clone());
        let found = backend.query(&query, 0, 1_000).await.unwrap();
        assert!(found.iter().any(|found| found.opened.id == packet.id), "{word:?}");
        // Asked for, and not there: nothing is found, and nothing happens.
        query.resolution_pattern = Some(format!("{word} or not"));
        assert!(backend.query(&query, 0, 10).await.unwrap().is_empty(), "{word:?}");
        stored.push(packet.id);
    }
    stored.sort_unstable();
    assert_eq!(everything(backend).await, stored);
    let accepted = gate.audited().into_iter().filter(|r| r.event == audit::Event::Accepted);
    assert_eq!((accepted.count(), gate.refused()), (stored.len(), 0));
}

pub(crate) async fn a_subscriber_receives_what_a_query_shows(target: &impl Target) {
    let (gate, backend) = (target.gate(), target.backend());
    let cell = Cell::coarse(&Space::default_definition(), &outcome().situation);
    let mut subscription =
        backend.subscribe(std::slice::from_ref(&cell), Some(Cursor(0))).await.unwrap();
    let first = honest(target, 1).await;
    assert_eq!(suite::next(&mut subscription).await.packet.id, first);
    let bad = sealed(&numbered(2), &key(1));
    assert_eq!(target.send(&bad.bytes).await, Ok(()));
    gate.say(1, Standing::Blocked);
    // It waits in the stream and is left out, whoever comes after it is delivered.
    let second = honest(target, 3).await;
    let mut again = backend.subscribe(&[cell], Some(Cursor(0))).await.unwrap();
    assert_eq!(suite::next(&mut again).await.packet.id, first);
    assert_eq!(suite::next(&mut again).await.packet.id, second);
    let by_subscription = |record: &audit::Record| {
        record.via == "subscription" && record.packet == Some(hex::encode(bad.id))
    };
    assert!(gate.audited().iter().any(by_subscription));
    assert!(gate.count("refused.blocked") >= 1);
}
