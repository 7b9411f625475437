//! The cases of backends whose packets another process keeps.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use edgelore_model::{Outcome, Query};
use edgelore_pipeline::packet;
use edgelore_routing::{Backend, BackendError, Cursor, PacketId};

use super::cases::{DEADLINE, everything, next, numbered, other_space, store};
use super::{Served, key, outcome, sealed};

/// Calls until an answer comes that is not a transient error.
pub(crate) async fn insist<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, BackendError>>,
{
    let attempts = async {
        loop {
            match call().await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, attempts).await.expect("an answer within the deadline")
}

pub(crate) async fn what_is_planted_is_skipped_and_counted(subject: &mut impl Served) {
    let good = store(subject.backend(), &outcome()).await;
    let victim = sealed(&numbered(50, "bgp"), &key(1));
    let foreign = packet::seal(&outcome(), &key(1), &other_space()).unwrap();
    let mut forged = sealed(&numbered(51, "bgp"), &key(1));
    forged.bytes[200] ^= 1;
    let far = sealed(&numbered(52, "ldp"), &key(1));
    for (id, bytes) in [
        ([1; 32], Vec::new()),
        ([2; 32], vec![0; 100]),
        ([3; 32], vec![0xd2; 4_096]),
        ([4; 32], sealed(&numbered(53, "bgp"), &key(1)).bytes),
        (victim.id, b"garbage under a packet's own name".to_vec()),
        (foreign.id, foreign.bytes),
        (forged.id, forged.bytes),
        (far.id, far.bytes.clone()),
    ] {
        subject.plant(id, &bytes, &outcome()).await;
    }
    subject.litter(&outcome()).await;
    let backend = subject.backend();
    let near = backend.query(&Query::from(&outcome().situation), 0, 100).await.unwrap();
    let near: Vec<PacketId> = near.iter().map(|found| found.opened.id).collect();
    assert_eq!(near, [good], "what lies elsewhere than its index says is no answer");
    let skipped = subject.skipped();
    assert!(skipped >= 7, "{skipped}");
    assert_eq!(backend.get(&victim.id).await.unwrap(), None);
    assert!(subject.skipped() > skipped);
    // The true packet takes the place of what was planted under its name.
    backend.store(victim.bytes.clone()).await.unwrap();
    assert_eq!(backend.get(&victim.id).await.unwrap().as_ref(), Some(&victim.bytes));
    let last = store(backend, &numbered(54, "bgp")).await;
    let mut subscription = backend.subscribe(&[], Some(Cursor(0))).await.unwrap();
    let mut delivered = HashSet::new();
    while !delivered.contains(&last) {
        delivered.insert(next(&mut subscription).await.packet.id);
    }
    let known = HashSet::from([good, victim.id, last, far.id]);
    assert!(delivered.is_subset(&known) && delivered.contains(&good), "{delivered:02x?}");
    assert!(everything(backend).await.contains(&victim.id));
}

pub(crate) async fn a_wrong_password_is_refused(subject: &mut impl Served) {
    let stranger = subject.stranger();
    let packet = sealed(&outcome(), &key(1)).bytes;
    let id = sealed(&outcome(), &key(1)).id;
    let errors = [
        stranger.store(packet).await.map(drop),
        stranger.query(&Query::default(), 0, 1).await.map(drop),
        stranger.get(&id).await.map(drop),
        stranger.subscribe(&[], None).await.map(drop),
    ];
    for answer in errors {
        let error = answer.unwrap_err();
        assert!(matches!(error, BackendError::Unauthorised(_)) && !error.is_final(), "{error}");
    }
    assert!(everything(subject.backend()).await.is_empty());
}

pub(crate) async fn a_server_killed_amid_writes_loses_nothing(subject: &mut impl Served) {
    const WRITERS: u32 = 8;
    const ROUNDS: u32 = 3;
    const ROUND: u32 = 40;
    let backend: Arc<dyn Backend> = subject.another().into();
    let acknowledged = Arc::new(AtomicU32::new(0));
    let writers = (0..WRITERS).map(|writer| {
        let (backend, acknowledged) = (Arc::clone(&backend), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            let mut ids = Vec::new();
            while acknowledged.load(Ordering::SeqCst) < (ROUNDS + 1) * ROUND {
                let number = writer * 100_000 + ids.len() as u32;
                let sealed = sealed(&numbered(number, "bgp"), &key(1));
                insist(|| backend.store(sealed.bytes.clone())).await;
                acknowledged.fetch_add(1, Ordering::SeqCst);
                ids.push(sealed.id);
            }
            ids
        })
    });
    let writers: Vec<_> = writers.collect();
    for round in 1..=ROUNDS {
        while acknowledged.load(Ordering::SeqCst) < round * ROUND {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        subject.kill();
        subject.start_again();
    }
    let mut expected = Vec::new();
    for writer in writers {
        expected.extend(writer.await.unwrap());
    }
    expected.sort_unstable();
    let query = Query::default();
    let found = insist(|| subject.backend().query(&query, u32::MAX, 1_000)).await;
    let found: Vec<PacketId> = found.iter().map(|found| found.opened.id).collect();
    assert_eq!(found, expected, "each acknowledged packet once, nothing else");
    let mut all = insist(|| subject.backend().subscribe(&[], Some(Cursor(0)))).await;
    let mut delivered = Vec::new();
    for _ in &expected {
        delivered.push(next(&mut all).await.packet.id);
    }
    delivered.sort_unstable();
    assert_eq!(delivered, expected);
}

pub(crate) async fn a_slow_server_delays_and_loses_nothing(subject: &mut impl Served) {
    let backend = subject.backend();
    let first = store(backend, &outcome()).await;
    let second = sealed(&numbered(60, "bgp"), &key(1));
    let mut subscription = backend.subscribe(&[], Some(Cursor(0))).await.unwrap();
    assert_eq!(next(&mut subscription).await.packet.id, first);
    subject.relay().hold();
    let patience = Duration::from_millis(100);
    for _ in 0..3 {
        // Whoever gives up waiting may ask again.
        let stored = tokio::time::timeout(patience, backend.store(second.bytes.clone())).await;
        assert!(stored.is_err(), "nothing passes");
        let delivered = tokio::time::timeout(patience, subscription.next()).await;
        assert!(delivered.is_err(), "nothing passes");
    }
    subject.relay().release();
    insist(|| backend.store(second.bytes.clone())).await;
    assert_eq!(next(&mut subscription).await.packet.id, second.id);
    let third = store(backend, &numbered(61, "bgp")).await;
    assert_eq!(next(&mut subscription).await.packet.id, third);
    assert_eq!(everything(backend).await.len(), 3);
}

pub(crate) async fn a_subscription_outlives_the_server(subject: &mut impl Served) {
    let first = store(subject.backend(), &outcome()).await;
    let mut subscription = subject.backend().subscribe(&[], Some(Cursor(0))).await.unwrap();
    assert_eq!(next(&mut subscription).await.packet.id, first);
    subject.kill();
    let error = tokio::time::timeout(DEADLINE, subscription.next()).await;
    let error = error.expect("the loss is noticed").unwrap_err();
    assert!(error.is_transient(), "{error}");
    subject.start_again();
    let second: Outcome = numbered(70, "bgp");
    let second = sealed(&second, &key(1));
    insist(|| subject.backend().store(second.bytes.clone())).await;
    let delivery = loop {
        match subscription.next().await {
            Ok(delivery) => break delivery,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(delivery.packet.id, second.id);
}

pub(crate) async fn two_clients_see_the_same(subject: &mut impl Served) {
    let other = subject.another();
    let mut subscription = other.subscribe(&[], None).await.unwrap();
    // Cells that the other client has not seen yet, again and again.
    for (number, protocol) in ["bgp", "ospf", "isis", "own-1", "own-2"].into_iter().enumerate() {
        let id = store(subject.backend(), &numbered(80 + number as u32, protocol)).await;
        assert!(everything(other.as_ref()).await.contains(&id));
        assert_eq!(next(&mut subscription).await.packet.id, id);
        assert!(!other.store(other.get(&id).await.unwrap().unwrap()).await.unwrap().new);
    }
    assert_eq!(everything(subject.backend()).await, everything(other.as_ref()).await);
}
