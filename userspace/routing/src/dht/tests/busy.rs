//! A node that has very much to do.

use edgelore_model::Outcome;
use futures_util::{StreamExt as _, stream};

use super::network::{start, until};
use super::packets::{SimClock, key, outcome, sealed};
use crate::backend::Backend as _;

/// More than a peer takes at once.
const PACKETS: u32 = 4_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stores_more_at_once_than_peers_take_is_banned_by_nobody() {
    let clock = SimClock::new();
    let first = start(&clock, &[]);
    let second = start(&clock, &[&first]);
    for node in [&first, &second] {
        until("the nodes are connected", async || node.dht.figures().peers == 1).await;
    }
    let packets = (0..PACKETS).map(|sample_size| {
        let packet = sealed(&Outcome { sample_size, ..outcome() }, &key(1));
        second.dht.store(packet.bytes)
    });
    let stored = stream::iter(packets).buffer_unordered(64);
    stored.for_each(|stored| async { assert!(stored.unwrap().new) }).await;
    assert!(second.dht.figures().spared > 0);
    // What the gossip has not brought is offered at the pace that is left.
    let more = (first.dht.figures().packets + 200).min(PACKETS as usize);
    until("it goes on", async || first.dht.figures().packets >= more).await;
    let figures = first.dht.figures();
    assert_eq!((figures.banned, figures.refused["flood"], figures.peers), (0, 0, 1));
}
