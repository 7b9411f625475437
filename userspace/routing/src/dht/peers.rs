//! What is known of the peers: how much each may still send, and how often it sent rubbish.
//!
//! Owns the standing of [`PEERS_KNOWN_MAX`] peers. Never talks to one.
//!
//! **Invariant:** a peer that is banned stays so until its time is over, or as many others were blamed
//! after it; then it is told as pardoned.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::rates::Allowance;
use super::refusals::Reason;
use super::wire::Ask;

/// Weight at which a peer is banned.
pub const BANNED_AT: u32 = 100;
/// How long.
pub const BANNED_FOR: Duration = Duration::from_secs(600);
/// Peers that are remembered.
pub(super) const PEERS_KNOWN_MAX: usize = 2_048;
/// After so long without rubbish what was there is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

struct Standing {
    allowance: Allowance,
    weight: u32,
    /// When it last sent rubbish.
    blamed: Option<Instant>,
    banned: Option<Instant>,
}

impl Standing {
    fn new() -> Self {
        Self { allowance: Allowance::of_a_peer(), weight: 0, blamed: None, banned: None }
    }
}

/// The peers.
#[derive(Default)]
pub(super) struct Peers {
    known: HashMap<PeerId, Standing>,
    /// Banned ones that made room for others, since it was last told.
    let_go: Vec<PeerId>,
}

impl Peers {
    fn of(&mut self, peer: PeerId) -> &mut Standing {
        if self.known.len() >= PEERS_KNOWN_MAX && !self.known.contains_key(&peer) {
            self.make_room();
        }
        self.known.entry(peer).or_insert_with(Standing::new)
    }

    /// Those without blame go first; when all are blamed, the one that was longest ago.
    fn make_room(&mut self) {
        self.known.retain(|_, standing| standing.blamed.is_some());
        if self.known.len() >= PEERS_KNOWN_MAX {
            let oldest = self.known.iter().min_by_key(|(_, standing)| standing.blamed);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer)
                && self.known.remove(&oldest).is_some_and(|standing| standing.banned.is_some())
            {
                self.let_go.push(oldest);
            }
        }
    }

    /// Whether the peer may ask this now.
    pub(super) fn may_ask(&mut self, peer: PeerId, ask: &Ask) -> bool {
        self.of(peer).allowance.admits(ask)
    }

    /// Whether a packet may come by gossip from the peer now.
    pub(super) fn may_gossip(&mut self, peer: PeerId) -> bool {
        self.of(peer).allowance.admits_news()
    }

    /// Whether a statement about keys may come by gossip from the peer now.
    pub(super) fn may_tell(&mut self, peer: PeerId) -> bool {
        self.of(peer).allowance.admits_statement()
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
        self.known.get(peer).is_some_and(|standing| standing.banned.is_some())
    }

    pub(super) fn banned(&self) -> usize {
        self.known.values().filter(|standing| standing.banned.is_some()).count()
    }

    /// Those whose ban is over, or who made room for others; they begin anew.
    pub(super) fn pardoned(&mut self, now: Instant) -> Vec<PeerId> {
        let over = |standing: &Standing| {
            standing.banned.is_some_and(|since| now.duration_since(since) >= BANNED_FOR)
        };
        let over = self.known.extract_if(|_, standing| over(standing));
        let over: Vec<PeerId> = over.map(|(peer, _)| peer).collect();
        over.into_iter().chain(self.let_go.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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
        let keep = |packets| Ask::Keep(vec![Vec::new(); packets]);
        assert!(!peers.may_ask(flood, &keep(4_001)) && peers.may_ask(flood, &keep(0)));
        let sent = (0..1_000).filter(|_| peers.may_ask(flood, &keep(64))).count() * 64;
        assert!((3_900..64_000).contains(&sent), "{sent}");
        assert!(peers.may_ask(other, &keep(64)));
        let asked = (0..10_000).filter(|_| peers.may_ask(flood, &Ask::Offer(Vec::new()))).count();
        assert!((900..10_000).contains(&asked), "{asked}");
        let heard = (0..10_000).filter(|_| peers.may_gossip(flood)).count();
        assert!((4_000..10_000).contains(&heard), "{heard}");
        let told = (0..1_000).filter(|_| peers.may_tell(flood)).count();
        assert!((512..1_000).contains(&told), "{told}");
        assert!(
            peers.may_ask(other, &keep(64)) && peers.may_gossip(other) && peers.may_tell(other)
        );
        assert!(!peers.may_ask(other, &Ask::Declare(vec![Vec::new(); 513])));
    }

    #[test]
    fn so_many_peers_and_no_more_and_who_made_room_is_pardoned() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        let (mut banned, mut pardoned) = (HashSet::new(), HashSet::new());
        for number in 0..3 * PEERS_KNOWN_MAX {
            let peer = PeerId::random();
            assert!(peers.may_ask(peer, &Ask::Fetch(Vec::new())));
            for _ in 0..number % 2 * 5 {
                peers.blame(peer, Reason::Malformed, now);
            }
            banned.extend(peers.is_banned(&peer).then_some(peer));
            assert!(peers.known.len() <= PEERS_KNOWN_MAX);
            pardoned.extend(peers.pardoned(now));
        }
        assert!(!pardoned.is_empty() && peers.let_go.is_empty());
        let still = |peer: &&PeerId| peers.is_banned(peer);
        let left = banned.iter().filter(still).count();
        assert_eq!((left, banned.len()), (peers.banned(), left + pardoned.len()));
    }
}
