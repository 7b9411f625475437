//! The cases of what stands beside the packets.

use std::time::Duration;

use edgelore_model::{Known, Outcome, Query, Span};
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::packet::statement::{revocation, succession};
use edgelore_routing::{Backend, BackendError, Cursor};

use super::cases::{everything, next};
use super::{START, Served, Subject, key, outcome, sealed};

pub(crate) async fn nothing_of_a_revoked_key_is_found_or_delivered(subject: &mut impl Subject) {
    let backend = subject.backend();
    backend.store(sealed(&outcome(), &key(1)).bytes).await.unwrap();
    let statement = revocation(&key(1), START);
    assert!(backend.declare(statement.clone()).await.unwrap().new);
    assert!(!backend.declare(statement.clone()).await.unwrap().new, "once");
    let error = backend.declare(sealed(&outcome(), &key(1)).bytes).await.unwrap_err();
    assert!(matches!(error, BackendError::Packet(_)) && error.is_final(), "{error}");
    let later = Outcome { sample_size: 9, ..outcome() };
    backend.store(sealed(&later, &key(1)).bytes).await.unwrap();
    let other = sealed(&outcome(), &key(2));
    backend.store(other.bytes).await.unwrap();
    assert_eq!(everything(backend).await, [other.id]);
    subject.restart().await;
    let backend = subject.backend();
    assert!(!backend.declare(statement.clone()).await.unwrap().new, "it is kept");
    assert_eq!(everything(backend).await, [other.id]);
    let mut subscription = backend.subscribe(&[], Some(Cursor(0))).await.unwrap();
    assert_eq!(next(&mut subscription).await.packet.id, other.id);
    let nothing = tokio::time::timeout(Duration::from_millis(50), subscription.next()).await;
    assert!(nothing.is_err(), "nothing else counts");
    let told = backend.statements(&[key(1).publisher()]).await.unwrap();
    assert_eq!(told.into_iter().map(|said| said.bytes).collect::<Vec<_>>(), [statement]);
    assert!(backend.statements(&[key(3).publisher()]).await.unwrap().is_empty());
}

pub(crate) async fn a_successor_withdraws_what_its_predecessor_published(
    subject: &mut impl Subject,
) {
    let backend = subject.backend();
    let first = sealed(&outcome(), &key(1));
    backend.store(first.bytes).await.unwrap();
    let second = Outcome { supersedes: Some(first.id), sample_size: 5, ..outcome() };
    let second = sealed(&second, &key(2));
    backend.store(second.bytes).await.unwrap();
    assert_eq!(everything(backend).await.len(), 2, "a stranger's word");
    backend.declare(succession(&key(1), &key(2), START)).await.unwrap();
    assert_eq!(everything(backend).await, [second.id]);
    for next in 3..10 {
        let next = succession(&key(1), &key(next), START);
        backend.declare(next).await.unwrap();
    }
    let refused = backend.declare(succession(&key(1), &key(10), START)).await.unwrap_err();
    assert!(matches!(refused, BackendError::Full), "{refused}");
    subject.restart().await;
    let backend = subject.backend();
    assert_eq!(everything(backend).await, [second.id]);
    let mut subscription = backend.subscribe(&[], Some(Cursor(0))).await.unwrap();
    assert_eq!(next(&mut subscription).await.packet.id, second.id);
    for asked in [1, 2] {
        let told = backend.statements(&[key(asked).publisher()]).await.unwrap();
        assert_eq!(told.len(), 8, "whoever is asked about");
    }
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

pub(crate) async fn what_nobody_signed_is_kept_apart(subject: &mut impl Subject) {
    let asked = Query::from(&outcome().situation);
    let backend = subject.backend();
    assert!(backend.import(reference(340_000)).await.unwrap().new);
    assert!(!backend.import(reference(340_000)).await.unwrap().new);
    assert!(backend.import(reference(1_000)).await.unwrap().new);
    let impossible = Reference { affected_prefixes: -1, ..reference(1) };
    assert!(backend.import(impossible).await.unwrap_err().is_final());
    assert!(everything(backend).await.is_empty());
    subject.restart().await;
    let backend = subject.backend();
    assert!(!backend.import(reference(340_000)).await.unwrap().new, "it survives a restart");
    let near = backend.imported(&asked, 3_000, 10).await.unwrap();
    let [found] = near.as_slice() else { panic!("{near:?}") };
    assert_eq!(found.outcome.resolution.known, Known::Declared);
    assert_eq!(found.outcome.resolution.steps, ["Told [address]"]);
    let all = backend.imported(&asked, u32::MAX, 10).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(backend.imported(&asked, u32::MAX, 1).await.unwrap(), all[..1], "the nearest");
    let lifetime = Span::from_millis(181 * 86_400_000);
    subject.clock().advance(lifetime.0 / 1_000_000_000);
    assert!(subject.backend().imported(&asked, u32::MAX, 10).await.unwrap().is_empty());
}

pub(crate) async fn what_one_client_declares_another_honours(subject: &mut impl Served) {
    let (backend, other) = (subject.backend(), subject.another());
    honoured_at_once(backend, other.as_ref(), 1).await;
    backend.import(reference(340_000)).await.unwrap();
    assert!(!other.import(reference(340_000)).await.unwrap().new);
    let asked = Query::from(&outcome().situation);
    assert_eq!(other.imported(&asked, u32::MAX, 10).await.unwrap().len(), 1);
}

/// What one client declares, another one honours as soon as it is acknowledged, and tells.
pub(crate) async fn honoured_at_once(one: &dyn Backend, other: &dyn Backend, seed: u8) {
    let before = everything(other).await;
    let first = sealed(&outcome(), &key(seed));
    one.store(first.bytes).await.unwrap();
    assert_eq!(everything(other).await.len(), before.len() + 1);
    let second = Outcome { supersedes: Some(first.id), sample_size: 5, ..outcome() };
    let second = sealed(&second, &key(seed + 1));
    one.store(second.bytes).await.unwrap();
    assert_eq!(everything(other).await.len(), before.len() + 2, "a stranger's word");
    one.declare(succession(&key(seed), &key(seed + 1), START)).await.unwrap();
    let found = everything(other).await;
    assert!(found.contains(&second.id) && found.len() == before.len() + 1);
    let told = other.statements(&[key(seed + 1).publisher()]).await.unwrap();
    assert_eq!(Lineage::of(&told).origin(&key(seed + 1).publisher()), key(seed).publisher());
    let gone = revocation(&key(seed + 1), START);
    assert!(one.declare(gone).await.unwrap().new);
    let again = revocation(&key(seed + 1), START + Span::from_millis(5_000));
    assert!(!one.declare(again).await.unwrap().new, "a key counts no more, and no less");
    assert_eq!(everything(other).await, before);
}
