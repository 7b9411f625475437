//! A network that falls into halves and comes together again.

use edgelore_model::Outcome;
use edgelore_pipeline::packet::statement::revocation;
use edgelore_pipeline::packet::{Sealed, SigningKey};

use super::network::{Node, everything, start, until};
use super::packets::{START, SimClock, key, outcome, sealed};
use crate::PacketId;
use crate::backend::Backend as _;
use crate::dht::drive::Order;

async fn store(node: &Node, sample_size: u32) -> PacketId {
    let sealed = sealed(&Outcome { sample_size, ..outcome() }, &key(1));
    node.dht.store(sealed.bytes).await.unwrap().id
}

/// Cuts the halves apart, or lets them reach each other.
async fn cut(halves: [&[Node]; 2], off: bool) {
    for (here, there) in [(halves[0], halves[1]), (halves[1], halves[0])] {
        for node in here {
            for other in there {
                let order = Order::Cut { peer: other.dht.shared.own, off };
                node.dht.shared.orders.send(order).await.ok().unwrap();
            }
        }
    }
}

fn sorted(mut ids: Vec<PacketId>) -> Vec<PacketId> {
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_go_on_apart_and_converge() {
    let clock = SimClock::new();
    let first = start(&clock, &[]);
    let second = start(&clock, &[&first]);
    let third = start(&clock, &[&first, &second]);
    let fourth = start(&clock, &[&first, &second, &third]);
    let nodes = [first, second, third, fourth];
    for node in &nodes {
        until("all know each other", async || node.dht.figures().peers == 3).await;
    }
    let before = store(&nodes[0], 1).await;
    let halves = [&nodes[..2], &nodes[2..]];
    cut(halves, true).await;
    for node in &nodes {
        until("the halves are apart", async || node.dht.figures().peers == 1).await;
    }
    let left = store(&nodes[0], 2).await;
    let right = store(&nodes[3], 3).await;
    // Each half hears of another key that counts no more.
    let gone = [(0, 2), (3, 3)].map(|(at, by)| (at, sealed(&outcome(), &key(by)), key(by)));
    for (at, packet, by) in &gone {
        let node: &Node = &nodes[*at];
        node.dht.store(packet.bytes.clone()).await.unwrap();
        node.dht.declare(revocation(by, START)).await.unwrap();
    }
    for node in &nodes {
        node.dht.shared.circles.clear();
    }
    assert_eq!(everything(&nodes[1]).await, sorted(vec![before, left]));
    assert_eq!(everything(&nodes[2]).await, sorted(vec![before, right]));
    cut(halves, false).await;
    let all = sorted(vec![before, left, right]);
    for node in &nodes {
        until("everything is everywhere", async || {
            let held = |id: &PacketId| node.dht.shared.local.holds(id);
            let has_gone = |(_, packet, by): &(usize, Sealed, SigningKey)| {
                node.dht.shared.local.is_withdrawn(&by.publisher(), &packet.id)
            };
            all.iter().all(held) && gone.iter().all(has_gone)
        })
        .await;
        assert_eq!(everything(node).await, all);
    }
}
