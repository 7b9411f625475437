//! What a node does again and again so that copies do not die out and nothing that is followed is
//! missed.
//!
//! - A peer that joins, comes back or did not answer is **offered** the ids of what it should keep and
//!   has not been offered; it says what it lacks. Every [`SWEEP_EVERY`] everything is offered to everyone
//!   who should keep it: those who became responsible because others have gone get it then.
//! - What is followed here is **asked for** at a few nodes of each cell, each from where the last
//!   answer ended: the gossip is fast and may lose.
//!
//! Owns these rounds. Never removes anything: packets expire, or make room in the store.
//!
//! **Invariant:** a round moves at most [`PAGES_MAX`] pages per peer; what remains is for the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use libp2p::PeerId;

use super::refusals::Reason;
use super::spread::responsible;
use super::wire::{Ask, IDS_MAX, PACKETS_MAX, Response};
use super::{Shared, find, lock};
use crate::PacketId;
use crate::backend::{Backend as _, BackendError};
use crate::embedded::replica::Page;

/// How often everything is offered.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// Pages of the history in one round.
const PAGES_MAX: usize = 8;
/// Peers that are offered something, or asked, at the same time.
const AT_ONCE: usize = 8;
/// Nodes of a followed cell that are asked in one round; others in the next.
const ASKED_OF_A_CELL: usize = 3;
/// Between two rounds, however much happens.
const PAUSE: Duration = Duration::from_millis(100);

/// Goes on until the runtime ends.
pub(super) async fn run(shared: Arc<Shared>, every: Duration) {
    let (mut sweep, mut news) = (Sweep::new(), News::default());
    loop {
        if let Err(error) = round(&shared, &mut sweep, &mut news).await {
            tracing::warn!(%error, "the upkeep of the DHT is interrupted");
        }
        tokio::time::sleep(PAUSE).await;
        // Whichever comes first.
        let _ = tokio::time::timeout(every, shared.nudge.notified()).await;
    }
}

async fn round(shared: &Shared, sweep: &mut Sweep, news: &mut News) -> Result<(), BackendError> {
    catch_up(shared).await;
    sweep.round(shared).await?;
    news.round(shared).await
}

/// Offers what they lack to those who are connected and behind.
async fn catch_up(shared: &Shared) {
    let connected = lock(&shared.connected).clone();
    let behind: Vec<(PeerId, u64)> =
        lock(&shared.behind).extract_if(|peer, _| connected.contains(peer)).collect();
    let each = behind.into_iter().map(|(peer, from)| async move {
        let reached = offer_history(shared, peer, from).await;
        match reached {
            Ok(None) => {}
            Ok(Some(reached)) => shared.fell_behind(peer, reached),
            Err(error) => {
                tracing::warn!(%error, "offering to a peer");
                shared.fell_behind(peer, from);
            }
        }
    });
    futures_util::stream::iter(each).for_each_concurrent(AT_ONCE, |offer| offer).await;
}

/// Offers a peer what it should keep of the history after `from`; where it goes on, unless that
/// was all.
async fn offer_history(
    shared: &Shared,
    peer: PeerId,
    mut from: u64,
) -> Result<Option<u64>, BackendError> {
    for _ in 0..PAGES_MAX {
        let page = shared.local.page(from, IDS_MAX).await?;
        let mut ids = by_peer(shared, &page).await?;
        if let Some(ids) = ids.remove(&peer)
            && !offer(shared, peer, ids).await?
        {
            return Ok(Some(from));
        }
        from = page.next;
        if page.at_end {
            return Ok(None);
        }
    }
    Ok(Some(from))
}

/// Who should keep which of a page's packets.
async fn by_peer(
    shared: &Shared,
    page: &Page,
) -> Result<HashMap<PeerId, Vec<PacketId>>, BackendError> {
    let mut ids: HashMap<PeerId, Vec<PacketId>> = HashMap::new();
    for held in &page.held {
        for peer in responsible(shared, held).await? {
            ids.entry(peer).or_default().push(held.id);
        }
    }
    Ok(ids)
}

/// Offers packets to a peer and gives it those that it wants; false when it does not answer.
async fn offer(shared: &Shared, peer: PeerId, ids: Vec<PacketId>) -> Result<bool, BackendError> {
    let offered: BTreeSet<PacketId> = ids.iter().copied().collect();
    let wanted = match shared.ask(peer, Ask::Offer(ids)).await {
        Some(Response::Ids(ids)) if ids.iter().all(|id| offered.contains(id)) => ids,
        Some(_) => {
            shared.blame(peer, Reason::Malformed);
            return Ok(false);
        }
        None => return Ok(false),
    };
    for ids in wanted.chunks(PACKETS_MAX) {
        let packets = shared.local.bytes(ids.to_vec()).await?;
        let given = packets.len() as u64;
        let Some(Response::Kept(kept)) = shared.ask(peer, Ask::Keep(packets)).await else {
            return Ok(false);
        };
        // It may say what it likes, but not that it keeps more than it was given.
        shared.traffic.copies.more(given.min(kept.into()));
    }
    Ok(true)
}

/// Offers everything to everyone who should keep it, from time to time.
struct Sweep {
    begun: Instant,
    /// How far it has come; `None` when it is done.
    at: Option<u64>,
}

impl Sweep {
    /// The first begins now: what was not placed when the node ended.
    fn new() -> Self {
        Self { begun: Instant::now(), at: Some(0) }
    }

    async fn round(&mut self, shared: &Shared) -> Result<(), BackendError> {
        let due = || {
            self.begun.elapsed() >= SWEEP_EVERY || shared.unplaced.swap(false, Ordering::Relaxed)
        };
        if self.at.is_none() && due() {
            *self = Self::new();
        }
        for _ in 0..PAGES_MAX {
            let Some(at) = self.at else { break };
            let page = shared.local.page(at, IDS_MAX).await?;
            let offers = by_peer(shared, &page).await?.into_iter().map(|(peer, ids)| async move {
                if !offer(shared, peer, ids).await.unwrap_or(false) {
                    shared.fell_behind(peer, at);
                }
            });
            futures_util::stream::iter(offers).for_each_concurrent(AT_ONCE, |offer| offer).await;
            self.at = (!page.at_end).then_some(page.next);
        }
        Ok(())
    }
}

/// Asks others for what is followed here.
#[derive(Default)]
struct News {
    /// Which state of the followed cells the places belong to.
    version: u64,
    /// Where each peer's last answer ended.
    places: HashMap<PeerId, u64>,
    round: usize,
}

impl News {
    async fn round(&mut self, shared: &Shared) -> Result<(), BackendError> {
        let followed = shared.follows.followed();
        if followed.version != self.version {
            self.places.clear();
            self.version = followed.version;
        }
        self.round = self.round.wrapping_add(1);
        let circles = shared.circles(followed.coarse.clone()).await?;
        let mut peers = BTreeSet::new();
        for circle in circles.iter().filter(|circle| !circle.peers.is_empty()) {
            let from = self.round * ASKED_OF_A_CELL;
            peers.extend(
                (from..from + ASKED_OF_A_CELL).map(|at| circle.peers[at % circle.peers.len()]),
            );
        }
        let asked = peers.into_iter().map(|peer| {
            let (cells, from) = (followed.cells.clone(), self.places.get(&peer).copied());
            async move { (peer, news_of(shared, peer, cells, from.unwrap_or(0)).await) }
        });
        let reached: Vec<(PeerId, u64)> =
            futures_util::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        self.places.extend(reached);
        // Nodes come and go.
        let here = |peer: &PeerId| circles.iter().any(|circle| circle.peers.contains(peer));
        self.places.retain(|peer, _| here(peer));
        Ok(())
    }
}

/// Takes over what a peer has after `from`; gives where the next question begins.
async fn news_of(shared: &Shared, peer: PeerId, cells: Vec<String>, mut from: u64) -> u64 {
    for _ in 0..PAGES_MAX {
        let ask = Ask::Since { cells: cells.clone(), after: from };
        let (ids, next, at_end) = match shared.ask(peer, ask).await {
            Some(Response::Page { ids, next, at_end }) if ids.len() <= IDS_MAX => {
                (ids, next, at_end)
            }
            Some(_) => {
                shared.blame(peer, Reason::Malformed);
                break;
            }
            None => break,
        };
        let missing = ids.into_iter().filter(|id| !shared.local.holds(id));
        let named: BTreeMap<_, _> = missing.map(|id| (id, vec![peer])).collect();
        let all = named.len();
        let fetched = find::fetch(shared, named).await;
        let complete = fetched.len() == all;
        for (_, opened) in fetched {
            if let Err(error) = shared.local.store(opened.bytes).await {
                shared.blame(peer, Reason::of(&error));
            }
        }
        // What it withholds now is asked for again.
        if !complete {
            break;
        }
        from = next;
        if at_end {
            break;
        }
    }
    from
}
