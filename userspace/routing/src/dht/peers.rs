//! What is known of the peers: how much each may still send, and how often it sent rubbish.
//!
//! Owns the rates and the bans, of [`PEERS_KNOWN_MAX`] peers. Never talks to one.
//!
//! **Invariant:** a peer that is banned stays so until its time is over, whatever comes after.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use libp2p::PeerId;

use super::refusals::Reason;

/// Weight at which a peer is banned.
pub const BANNED_AT: u32 = 100;
/// How long.
pub const BANNED_FOR: Duration = Duration::from_secs(600);
/// Requests of one peer in a second, and at once.
const REQUESTS: (u32, u32) = (200, 2_000);
/// Packets that one peer may send in a second, and at once.
const PACKETS: (u32, u32) = (200, 4_000);
/// Statements about keys that one peer may send, or comparisons that it may ask for, in a second, and at
/// once.
const STATEMENTS: (u32, u32) = (10, 512);
/// How often a node tells peers of a statement by itself: to each once, and once by gossip.
const OWN_STATEMENTS: (u32, u32) = (3, 200);
/// Peers that are remembered.
const PEERS_KNOWN_MAX: usize = 2_048;
/// After so long without rubbish what was there is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

struct Standing {
    requests: DefaultDirectRateLimiter,
    packets: DefaultDirectRateLimiter,
    statements: DefaultDirectRateLimiter,
    weight: u32,
    /// When it last sent rubbish.
    blamed: Option<Instant>,
    banned: Option<Instant>,
}

impl Standing {
    fn new() -> Self {
        Self {
            requests: limiter(REQUESTS),
            packets: limiter(PACKETS),
            statements: limiter(STATEMENTS),
            weight: 0,
            blamed: None,
            banned: None,
        }
    }
}

fn limiter((second, burst): (u32, u32)) -> DefaultDirectRateLimiter {
    let some = |number| NonZeroU32::new(number).expect("the rates are not zero");
    RateLimiter::direct(Quota::per_second(some(second)).allow_burst(some(burst)))
}

/// How often this node itself may send statements about keys.
pub(super) fn pace() -> DefaultDirectRateLimiter {
    limiter(OWN_STATEMENTS)
}

fn admits(limiter: &DefaultDirectRateLimiter, count: usize) -> bool {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let count = NonZeroU32::new(count);
    count.is_none_or(|count| matches!(limiter.check_n(count), Ok(Ok(()))))
}

/// The peers.
#[derive(Default)]
pub(super) struct Peers(HashMap<PeerId, Standing>);

impl Peers {
    fn of(&mut self, peer: PeerId) -> &mut Standing {
        if self.0.len() >= PEERS_KNOWN_MAX && !self.0.contains_key(&peer) {
            self.make_room();
        }
        self.0.entry(peer).or_insert_with(Standing::new)
    }

    /// Those without blame go first; when all are blamed, the one that was longest ago.
    fn make_room(&mut self) {
        self.0.retain(|_, standing| standing.blamed.is_some());
        if self.0.len() >= PEERS_KNOWN_MAX {
            let oldest = self.0.iter().min_by_key(|(_, standing)| standing.blamed);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.0.remove(&oldest);
            }
        }
    }

    /// Whether the peer may ask now.
    pub(super) fn may_ask(&mut self, peer: PeerId) -> bool {
        self.of(peer).requests.check().is_ok()
    }

    /// Whether the peer may send so many packets now.
    pub(super) fn may_send(&mut self, peer: PeerId, packets: usize) -> bool {
        admits(&self.of(peer).packets, packets)
    }

    /// Whether the peer may send so many statements about keys now.
    pub(super) fn may_tell(&mut self, peer: PeerId, statements: usize) -> bool {
        admits(&self.of(peer).statements, statements)
    }

    /// Notes rubbish; true when the peer is to be banned for it.
    pub(super) fn blame(&mut self, peer: PeerId, reason: Reason, now: Instant) -> bool {
        let standing = self.of(peer);
        if standing.banned.is_some() || reason.weight() == 0 {
            return false;
        }
        if standing.blamed.is_some_and(|last| now - last > FORGOTTEN_AFTER) {
            standing.weight = 0;
        }
        standing.blamed = Some(now);
        standing.weight += reason.weight();
        if standing.weight >= BANNED_AT {
            standing.banned = Some(now);
        }
        standing.banned.is_some()
    }

    pub(super) fn is_banned(&self, peer: &PeerId) -> bool {
        self.0.get(peer).is_some_and(|standing| standing.banned.is_some())
    }

    pub(super) fn banned(&self) -> usize {
        self.0.values().filter(|standing| standing.banned.is_some()).count()
    }

    /// Those whose ban is over; they begin anew.
    pub(super) fn pardoned(&mut self, now: Instant) -> Vec<PeerId> {
        let over = |standing: &Standing| {
            standing.banned.is_some_and(|since| now.duration_since(since) >= BANNED_FOR)
        };
        let over = self.0.extract_if(|_, standing| over(standing));
        over.map(|(peer, _)| peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rubbish_adds_up_to_a_ban_that_ends() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        let (bad, good) = (PeerId::random(), PeerId::random());
        for _ in 0..9 {
            assert!(!peers.blame(bad, Reason::Forged, now));
        }
        assert!(!peers.blame(good, Reason::Busy, now));
        assert!(!peers.blame(bad, Reason::Busy, now), "what weighs nothing bans nobody");
        assert!(peers.blame(bad, Reason::Forged, now));
        assert!(!peers.blame(bad, Reason::Forged, now), "it is banned once");
        assert!(peers.is_banned(&bad) && !peers.is_banned(&good));
        assert_eq!(peers.banned(), 1);
        assert!(peers.pardoned(now + BANNED_FOR - Duration::from_secs(1)).is_empty());
        assert_eq!(peers.pardoned(now + BANNED_FOR), [bad]);
        assert!(!peers.is_banned(&bad) && !peers.blame(bad, Reason::Forged, now + BANNED_FOR));
    }

    #[test]
    fn rubbish_of_long_ago_is_forgotten() {
        let (mut peers, mut now, peer) = (Peers::default(), Instant::now(), PeerId::random());
        for _ in 0..30 {
            assert!(!peers.blame(peer, Reason::Forged, now));
            now += FORGOTTEN_AFTER + Duration::from_secs(1);
        }
    }

    #[test]
    fn a_flood_is_cut_and_concerns_nobody_else() {
        let (mut peers, flood, other) = (Peers::default(), PeerId::random(), PeerId::random());
        let asked = (0..10_000).filter(|_| peers.may_ask(flood)).count();
        assert!((2_000..10_000).contains(&asked), "{asked}");
        assert!(peers.may_ask(other));
        assert!(!peers.may_send(flood, 4_001) && peers.may_send(flood, 0));
        let sent = (0..1_000).filter(|_| peers.may_send(flood, 64)).count() * 64;
        assert!((3_900..64_000).contains(&sent), "{sent}");
        assert!(peers.may_send(other, 64));
        let told = (0..1_000).filter(|_| peers.may_tell(flood, 1)).count();
        assert!((512..1_000).contains(&told), "{told}");
        assert!(peers.may_tell(other, 64) && !peers.may_tell(other, 513));
        // What a node sends by itself is never a flood to a peer.
        let pace = pace();
        let sent = (0..1_000).filter(|_| pace.check().is_ok()).count();
        assert!(sent >= 200 && peers.may_tell(PeerId::random(), 2 * sent), "{sent}");
    }

    #[test]
    fn so_many_peers_and_no_more() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        for number in 0..3 * PEERS_KNOWN_MAX {
            let peer = PeerId::random();
            assert!(peers.may_ask(peer));
            if number % 2 == 0 {
                peers.blame(peer, Reason::Malformed, now);
            }
            assert!(peers.0.len() <= PEERS_KNOWN_MAX);
        }
    }
}
