//! How much one peer may send, and how much this node sends to one.
//!
//! | | a peer may, in a second (at once) | this node does |
//! |---|---|---|
//! | requests | 200 (4,000) | 150 (3,000), and waits |
//! | packets to keep | 200 (4,000) | 100 (1,000); the upkeep offers the others |
//! | messages of the gossip | 200 (4,000); none is to blame for more | as they come |
//! | statements, comparisons | 10 (512) | 5 (256); the comparing finds the others |
//!
//! A node keeps below what its peers allow it, so that nobody is banned for being busy.
//!
//! Owns the rates. Never judges a peer.
//!
//! **Invariant:** the rates of at most [`PEERS_KNOWN_MAX`](super::peers::PEERS_KNOWN_MAX) peers are
//! remembered.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use libp2p::PeerId;

use super::lock;
use super::overlay::ANSWER_MAX;
use super::peers::PEERS_KNOWN_MAX;
use super::wire::{Ask, Cost};

/// In a second, and at once.
type Rate = (u32, u32);

/// What a peer may send here: requests, packets, messages of the gossip, statements.
const OF_A_PEER: [Rate; 4] = [(200, 4_000), (200, 4_000), (200, 4_000), (10, 512)];
/// What this node sends to one; its messages go as they come.
const OWN: [Rate; 4] = [(150, 3_000), (100, 1_000), (200, 4_000), (5, 256)];

/// How often it is looked whether a request may be sent.
const PAUSE: Duration = Duration::from_millis(10);
/// How often this node tells by gossip of statements that are declared here.
const NEWS: Rate = (3, 200);

fn limiter((second, burst): Rate) -> DefaultDirectRateLimiter {
    let some = |number| NonZeroU32::new(number).expect("the rates are not zero");
    RateLimiter::direct(Quota::per_second(some(second)).allow_burst(some(burst)))
}

fn admits(limiter: &DefaultDirectRateLimiter, count: usize) -> bool {
    let count = NonZeroU32::new(u32::try_from(count).unwrap_or(u32::MAX));
    count.is_none_or(|count| matches!(limiter.check_n(count), Ok(Ok(()))))
}

/// What may be sent between this node and a peer, one way.
pub(super) struct Allowance {
    requests: DefaultDirectRateLimiter,
    packets: DefaultDirectRateLimiter,
    messages: DefaultDirectRateLimiter,
    statements: DefaultDirectRateLimiter,
}

impl Allowance {
    /// What a peer may send here.
    pub(super) fn of_a_peer() -> Self {
        Self::of(OF_A_PEER)
    }

    fn of(rates: [Rate; 4]) -> Self {
        let [requests, packets, messages, statements] = rates.map(limiter);
        Self { requests, packets, messages, statements }
    }

    /// Whether a question may be asked now.
    pub(super) fn admits(&self, ask: &Ask) -> bool {
        admits(&self.requests, 1) && self.admits_content(ask.cost())
    }

    fn admits_content(&self, cost: Cost) -> bool {
        admits(&self.packets, cost.packets) && admits(&self.statements, cost.statements)
    }

    /// Whether a packet may be gossiped now.
    pub(super) fn admits_news(&self) -> bool {
        admits(&self.messages, 1)
    }

    /// Whether a statement may be gossiped now.
    pub(super) fn admits_statement(&self) -> bool {
        admits(&self.statements, 1)
    }
}

/// What this node sends.
pub(super) struct Pace {
    peers: Mutex<HashMap<PeerId, Arc<Allowance>>>,
    news: DefaultDirectRateLimiter,
}

impl Default for Pace {
    fn default() -> Self {
        Self { peers: Mutex::default(), news: limiter(NEWS) }
    }
}

impl Pace {
    /// Waits until a peer may be asked; false when it may not be sent what the question carries, or
    /// has been asked too much already.
    pub(super) async fn admits(&self, peer: PeerId, ask: &Ask) -> bool {
        let own = self.of(peer);
        if !own.admits_content(ask.cost()) {
            return false;
        }
        let waiting = async {
            while !admits(&own.requests, 1) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(ANSWER_MAX, waiting).await.is_ok()
    }

    /// Whether all may be told of another statement now.
    pub(super) fn admits_news(&self) -> bool {
        admits(&self.news, 1)
    }

    fn of(&self, peer: PeerId) -> Arc<Allowance> {
        let mut peers = lock(&self.peers);
        if peers.len() >= PEERS_KNOWN_MAX && !peers.contains_key(&peer) {
            peers.clear();
        }
        Arc::clone(peers.entry(peer).or_insert_with(|| Arc::new(Allowance::of(OWN))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks as much as a node asks at once of one peer.
    async fn all_at_once(pace: &Pace, peer: PeerId, ask: &Ask) -> usize {
        let mut asked = 0;
        while asked < 5_000 && pace.admits(peer, ask).await {
            asked += 1;
        }
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_busy_floods_nobody() {
        let pace = Pace::default();
        let keep = Ask::Keep(vec![Vec::new()]);
        let compare = Ask::Compare { sums: Vec::new(), after: None };
        for (ask, least) in [(keep, 1_000), (compare, 256)] {
            let asked = all_at_once(&pace, PeerId::random(), &ask).await;
            assert!((least..least + 200).contains(&asked), "{asked}");
            let theirs = Allowance::of_a_peer();
            assert!((0..asked).all(|_| theirs.admits(&ask)));
        }
        let theirs = Allowance::of_a_peer();
        let told = (0..1_000).filter(|_| pace.admits_news()).count();
        assert!(told >= 200 && (0..told).all(|_| theirs.admits_statement()), "{told}");
        assert!(pace.admits(PeerId::random(), &Ask::Keep(vec![Vec::new(); 64])).await);
        // One too large never goes.
        assert!(!pace.admits(PeerId::random(), &Ask::Keep(vec![Vec::new(); 5_000])).await);
    }

    #[test]
    fn the_rates_of_so_many_peers_are_remembered() {
        let pace = Pace::default();
        for _ in 0..3 * PEERS_KNOWN_MAX {
            pace.of(PeerId::random());
            assert!(lock(&pace.peers).len() <= PEERS_KNOWN_MAX);
        }
    }
}
