//! Statements about keys: who joins late, who was away, what is compared, and what a flood leaves room for.

use std::collections::HashSet;
use std::sync::Arc;

use edgelore_model::{Outcome, Span};
use edgelore_pipeline::packet::SigningKey;
use edgelore_pipeline::packet::statement::{self, Statement, revocation, succession};

use super::hostile::{Answers, Hostile};
use super::network::{Node, again, everything, start, until};
use super::packets::{START, SimClock, key, outcome, sealed};
use crate::backend::{Backend as _, BackendError};
use crate::dht::wire::{Ask, IDS_MAX, Response};
use crate::embedded::heard::{Asked, Room};

/// A key of which nobody here has a packet.
fn stranger(number: u32) -> SigningKey {
    let mut seed = [200; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_seed(&mut seed)
}

/// Statements of so many strangers.
pub(super) fn strangers(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|number| revocation(&stranger(number), START)).collect()
}

fn has(node: &Node, statement: &[u8]) -> bool {
    node.dht.shared.local.has_statement(&statement::open(statement).unwrap().id)
}

fn nobody() -> Asked {
    Arc::new(|_| false)
}

/// Has them at once, as if peers had told of them.
async fn fill(node: &Node, statements: &[Vec<u8>]) {
    let open = |bytes: &Vec<u8>| statement::open(bytes).unwrap();
    let statements: Vec<Statement> = statements.iter().map(open).collect();
    let verdicts = node.dht.shared.local.adopt(statements, nobody()).await.unwrap();
    assert!(verdicts.iter().all(|verdict| *verdict == Ok(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_late_and_who_was_away_learn_every_statement() {
    let clock = SimClock::new();
    let first = start(&clock, &[]);
    let revoked = sealed(&outcome(), &key(1));
    first.dht.store(revoked.bytes.clone()).await.unwrap();
    // More than a page, and many in each part.
    let many = strangers(IDS_MAX as u32 + 100);
    fill(&first, &many).await;
    assert!(first.dht.declare(revocation(&key(1), START)).await.unwrap().new);
    let late = start(&clock, &[&first]);
    let all = many.len() + 1;
    // A statement is counted as learnt after it is there.
    let learnt = async || late.dht.figures().learnt >= all as u64;
    until("it has all", async || late.dht.figures().statements == all && learnt().await).await;
    assert_eq!(late.dht.figures().learnt, all as u64);
    assert!(late.dht.shared.local.is_withdrawn(&key(1).publisher(), &revoked.id));
    assert_eq!(first.dht.shared.local.sums(), late.dht.shared.local.sums());
    // While it is away the others go on; it comes back on what it has.
    let late = again(late, &clock, &[], async || {
        first.dht.declare(succession(&key(2), &key(3), START)).await.unwrap();
    })
    .await;
    assert_eq!(late.dht.figures().statements, all, "it knows nobody yet");
    let late = again(late, &clock, &[&first], async || {}).await;
    until("it has all", async || late.dht.figures().statements == all + 1).await;
    assert!(first.dht.figures().refused.values().all(|count| *count == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_strangers_leaves_room_for_those_that_matter_here() {
    let clock = SimClock::new();
    let victim = start(&clock, &[]);
    let honest = start(&clock, &[&victim]);
    for node in [&victim, &honest] {
        until("the honest nodes are connected", async || node.dht.figures().peers == 1).await;
    }
    victim.dht.shared.local.set_room(Room { strangers: 20, all: 30 });
    let kept = sealed(&outcome(), &key(1));
    honest.dht.store(kept.bytes).await.unwrap();
    until("the packet is kept", async || victim.dht.shared.local.holds(&kept.id)).await;
    let own = revocation(&key(9), START);
    victim.dht.declare(own.clone()).await.unwrap();
    // The flood is kept elsewhere too.
    fill(&honest, &strangers(100)).await;
    let silent: Answers = Arc::new(|_| Some(Response::Ids(Vec::new())));
    let hostile = Hostile::start(&victim, silent).await;
    for statements in strangers(100).chunks(25) {
        hostile.send(&victim, Ask::Declare(statements.to_vec()));
    }
    let crowded = || victim.dht.figures().refused["crowded"];
    until("the flood finds no more room", async || crowded() >= 80).await;
    assert_eq!(victim.dht.figures().statements, 20);
    // Whose packets are here finds room, up to the bound of all and beyond.
    let mut known = Vec::new();
    for next in 20..28 {
        known.push(succession(&key(1), &key(next), START));
    }
    for by in 2..8 {
        let packet = sealed(&Outcome { sample_size: 40 + u32::from(by), ..outcome() }, &key(by));
        honest.dht.store(packet.bytes).await.unwrap();
        until("the packet is kept", async || victim.dht.shared.local.holds(&packet.id)).await;
        known.push(revocation(&key(by), START));
    }
    for statement in &known {
        honest.dht.declare(statement.clone()).await.unwrap();
        until("it finds room", async || has(&victim, statement)).await;
    }
    assert!(victim.dht.figures().statements <= 30);
    assert!(has(&victim, &own), "what was declared here stays");
    assert_eq!(everything(&victim).await, [kept.id]);
    // What found no room is asked for when it matters.
    let unheard = (0..100).map(stranger).find(|one| !has(&victim, &revocation(one, START)));
    let unheard = unheard.unwrap();
    let told = victim.dht.statements(&[unheard.publisher()]).await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].bytes, revocation(&unheard, START));
    // A restart forgets nothing of it.
    let statements = victim.dht.figures().statements;
    let victim = again(victim, &clock, &[], async || {}).await;
    assert_eq!(victim.dht.figures().statements, statements);
    assert!(has(&victim, &own) && known.iter().all(|one| has(&victim, one)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_everything_is_known_a_new_statement_is_refused_and_none_displaced() {
    let clock = SimClock::new();
    let node = start(&clock, &[]);
    let local = &node.dht.shared.local;
    local.set_room(Room { strangers: 2, all: 4 });
    let everybody: Asked = Arc::new(|_| true);
    let open = |number| statement::open(&revocation(&stranger(number), START)).unwrap();
    let four: Vec<Statement> = (0..4).map(open).collect();
    let verdicts = local.adopt(four.clone(), everybody.clone()).await.unwrap();
    assert_eq!(verdicts, vec![Ok(true); 4]);
    let verdicts = local.adopt(vec![open(1), open(4), open(5)], everybody).await.unwrap();
    assert_eq!(verdicts, [Ok(false), Err(BackendError::Full), Err(BackendError::Full)]);
    // Nobody has to do with them any more: they make room for one that matters.
    let fifth = stranger(4).publisher();
    let one: Asked = Arc::new(move |publisher| *publisher == fifth);
    assert_eq!(local.adopt(vec![open(5)], nobody()).await.unwrap(), [Err(BackendError::Full)]);
    assert_eq!(local.adopt(vec![open(4)], one).await.unwrap(), [Ok(true)]);
    assert!(local.has_statement(&open(4).id));
    assert!(!local.is_withdrawn(&four[0].publisher, &[0; 32]), "what has gone holds no more");
    assert!(local.is_withdrawn(&fifth, &[0; 32]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_claim_displaces_the_lesser_ones_and_a_users_word_any() {
    let clock = SimClock::new();
    let node = start(&clock, &[]);
    let local = &node.dht.shared.local;
    local.set_room(Room { strangers: 2, all: 3 });
    let revoked = |by: &SigningKey| statement::open(&revocation(by, START)).unwrap();
    let asked = |by: &SigningKey| -> Asked {
        let publisher = by.publisher();
        Arc::new(move |one| *one == publisher)
    };
    for by in 1..=4 {
        let packet = Outcome { sample_size: by.into(), ..outcome() };
        node.dht.store(sealed(&packet, &key(by)).bytes).await.unwrap();
    }
    let strange = [0, 1].map(|number| revoked(&stranger(number)));
    let published = [1, 2, 3, 4].map(|by| revoked(&key(by)));
    let verdicts = local.adopt(strange.to_vec(), nobody()).await.unwrap();
    assert_eq!(verdicts, [Ok(true), Ok(true)]);
    let verdicts = local.adopt(published[..3].to_vec(), nobody()).await.unwrap();
    assert_eq!(verdicts, vec![Ok(true); 3], "strangers make room");
    let verdicts = local.adopt(vec![published[3].clone()], nobody()).await.unwrap();
    assert_eq!(verdicts, [Err(BackendError::Full)], "no more than the others");
    let verdicts = local.adopt(vec![published[3].clone()], asked(&key(4))).await.unwrap();
    assert_eq!(verdicts, [Ok(true)], "it is asked about");
    let again = statement::open(&revocation(&key(4), START + Span::from_millis(1_000))).unwrap();
    let verdicts = local.adopt(vec![again], asked(&key(4))).await.unwrap();
    assert_eq!(verdicts, [Ok(false)], "what says nothing new takes no room");
    let kept = |of: &[Statement]| of.iter().filter(|one| local.has_statement(&one.id)).count();
    assert_eq!((kept(&strange), kept(&published)), (0, 3));
    // Whoever has a key that counts for something makes others that do not.
    let [one, two] = [20, 21].map(stranger);
    let chain = [succession(&key(9), &one, START), succession(&one, &two, START)];
    let chain = chain.map(|bytes| statement::open(&bytes).unwrap());
    let verdicts = local.adopt(chain.to_vec(), asked(&key(9))).await.unwrap();
    assert_eq!(verdicts, [Ok(true), Err(BackendError::Full)]);
    for number in 5..8 {
        node.dht.declare(revocation(&stranger(number), START)).await.unwrap();
    }
    assert_eq!((kept(&published), kept(&chain), local.statements_kept()), (0, 0, 3));
    let verdicts = local.adopt(vec![published[0].clone()], asked(&key(1))).await.unwrap();
    assert_eq!(verdicts, [Err(BackendError::Full)], "a user's word stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_found_whatever_the_number_of_parts() {
    let clock = SimClock::new();
    let [one, other] = [start(&clock, &[]), start(&clock, &[])];
    let all = strangers(700);
    fill(&one, &all).await;
    fill(&other, &all[..650]).await;
    let missing: HashSet<_> =
        all[650..].iter().map(|bytes| statement::open(bytes).unwrap().id).collect();
    let local = &other.dht.shared.local;
    let sums = local.sums();
    assert!(sums.len() > 1);
    let differing = one.dht.shared.local.differing(&sums, None, IDS_MAX);
    assert!(missing.iter().all(|id| differing.contains(id)));
    assert!(differing.len() < all.len(), "what is equal is not told");
    let rest = one.dht.shared.local.differing(&sums, Some(differing[9]), 5);
    assert_eq!(rest, differing[10..15]);
    assert!(one.dht.shared.local.differing(&one.dht.shared.local.sums(), None, 9).is_empty());
}
