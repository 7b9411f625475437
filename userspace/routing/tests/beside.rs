//! What the embedded store keeps beside its packets: statements about keys, and what nobody signed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::Arc;

use edgelore_model::{Known, Outcome, Query, Resolution, Situation, Span, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::statement::{revocation, succession};
use edgelore_pipeline::packet::{self, SigningKey};
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_routing::{Backend, BackendError, Cursor};

const START: Timestamp = Timestamp::from_secs_nanos(1_800_000_000, 0);

fn open(directory: &Path, now: Timestamp) -> Embedded {
    let config = EmbeddedConfig::in_directory(directory);
    Embedded::open(EmbeddedConfig { now: Arc::new(move || now), ..config }).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&mut [seed; 32])
}

fn outcome() -> Outcome {
    Outcome {
        situation: Situation {
            topology_class: "spine_leaf".into(),
            protocol: "bgp".into(),
            event_type: "convergence".into(),
            severity: 340_000,
            affected_prefixes: 8_200,
            node_count: 96,
        },
        resolution: Resolution {
            pattern: "bfd_tuning".into(),
            steps: Vec::new(),
            known: Known::Measured,
        },
        before: None,
        after: None,
        convergence_delta_ms: 339_000,
        sample_size: 3,
        created: START,
        expires: START + Span::from_millis(86_400_000),
        method: [7; 8],
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    }
}

fn sealed(outcome: &Outcome, by: u8) -> packet::Sealed {
    packet::seal(outcome, &key(by), &Space::default_definition()).unwrap()
}

async fn publishers(store: &Embedded) -> Vec<[u8; 32]> {
    let found = store.query(&Query::default(), u32::MAX, 100).await.unwrap();
    let mut publishers: Vec<_> = found.iter().map(|found| found.opened.publisher).collect();
    publishers.sort_unstable();
    publishers
}

#[tokio::test]
async fn nothing_of_a_revoked_key_is_found_or_delivered_after_a_restart_either() {
    let directory = tempfile::tempdir().unwrap();
    let statement = revocation(&key(1), START);
    {
        let store = open(directory.path(), START);
        for by in [1, 2] {
            store.store(sealed(&outcome(), by).bytes).await.unwrap();
        }
        assert_eq!(publishers(&store).await.len(), 2);
        assert!(store.declare(statement.clone()).await.unwrap().new);
        assert!(!store.declare(statement.clone()).await.unwrap().new, "once");
        assert_eq!(publishers(&store).await, [key(2).publisher()]);
        let later = Outcome { sample_size: 9, ..outcome() };
        store.store(sealed(&later, 1).bytes).await.unwrap();
        assert_eq!(publishers(&store).await, [key(2).publisher()], "what comes later neither");
    }
    let store = open(directory.path(), START);
    assert_eq!(publishers(&store).await, [key(2).publisher()]);
    let mut subscription = store.subscribe(&[], Some(Cursor(0))).await.unwrap();
    let delivery = subscription.next().await.unwrap();
    assert_eq!(delivery.packet.publisher, key(2).publisher());
    let told = store.statements(&[key(1).publisher()]).await.unwrap();
    assert_eq!(told.iter().map(|said| said.bytes.clone()).collect::<Vec<_>>(), [statement]);
}

#[tokio::test]
async fn a_successor_replaces_what_its_predecessor_published_and_a_stranger_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), START);
    let first = sealed(&outcome(), 1);
    store.store(first.bytes.clone()).await.unwrap();
    let replaced = Outcome { supersedes: Some(first.id), sample_size: 5, ..outcome() };
    let by_new = sealed(&replaced, 2);
    store.store(by_new.bytes).await.unwrap();
    assert_eq!(publishers(&store).await.len(), 2, "a stranger's word");
    store.declare(succession(&key(1), &key(2), START)).await.unwrap();
    assert_eq!(publishers(&store).await, [key(2).publisher()]);
    for asked in [1, 2] {
        let told = store.statements(&[key(asked).publisher()]).await.unwrap();
        assert_eq!(told.len(), 1, "whoever is asked about");
    }
    assert!(store.statements(&[key(3).publisher()]).await.unwrap().is_empty());
}

#[tokio::test]
async fn statements_are_bounded_and_checked_and_a_key_can_always_be_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), START);
    let outcome = sealed(&outcome(), 1).bytes;
    let refused = store.declare(outcome).await.unwrap_err();
    assert!(matches!(refused, BackendError::Packet(_)) && refused.is_final(), "{refused}");
    for next in 2..10 {
        store.declare(succession(&key(1), &key(next), START)).await.unwrap();
    }
    let refused = store.declare(succession(&key(1), &key(10), START)).await.unwrap_err();
    assert!(matches!(refused, BackendError::Full), "{refused}");
    assert!(store.declare(revocation(&key(1), START)).await.unwrap().new);
}

fn reference(delta: i64) -> Reference {
    Reference {
        topology_class: "spine_leaf".into(),
        protocol: "bgp".into(),
        event_type: "convergence".into(),
        resolution_pattern: "bfd_tuning".into(),
        convergence_delta_ms: delta,
        affected_prefixes: 8_249,
        node_count: 96,
        resolution_steps: vec!["Told 192.0.2.1".into()],
        outcome_hash: None,
    }
}

#[tokio::test]
async fn what_nobody_signed_is_kept_apart_scrubbed_and_expires() {
    let directory = tempfile::tempdir().unwrap();
    let asked = Query::from(&outcome().situation);
    {
        let store = open(directory.path(), START);
        assert!(store.import(reference(340_000)).await.unwrap().new);
        assert!(!store.import(reference(340_000)).await.unwrap().new);
        assert!(store.import(reference(1_000)).await.unwrap().new);
        let impossible = Reference { affected_prefixes: -1, ..reference(1) };
        assert!(store.import(impossible).await.unwrap_err().is_final());
        assert!(store.query(&Query::default(), u32::MAX, 10).await.unwrap().is_empty());
    }
    let store = open(directory.path(), START);
    assert!(!store.import(reference(340_000)).await.unwrap().new, "it survives a restart");
    let near = store.imported(&asked, 3_000, 10).await.unwrap();
    let [found] = near.as_slice() else { panic!("{near:?}") };
    assert_eq!(found.outcome.resolution.known, Known::Declared);
    assert_eq!(found.outcome.resolution.steps, ["Told [address]"]);
    assert_eq!(found.outcome.situation.affected_prefixes, 8_249, "its fingerprint rests on it");
    let all = store.imported(&asked, u32::MAX, 10).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(store.imported(&asked, u32::MAX, 1).await.unwrap(), all[..1], "the nearest");
    drop(store);
    let store = open(directory.path(), START + Span::from_millis(181 * 86_400_000));
    assert!(store.imported(&asked, u32::MAX, 10).await.unwrap().is_empty());
}
