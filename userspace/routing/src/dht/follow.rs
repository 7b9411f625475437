//! Which cells are followed here, and the subscriptions.
//!
//! A subscription follows this node's own store, in whose order of arrival it can resume. While it
//! lives, the node hears the gossip of its cells and asks for what it misses, so that everything
//! arrives in that store; each packet once, for a store holds it once. Before a packet is given out,
//! it is looked what others know of its publisher, at most once a second ([`inquire`]).
//!
//! Owns the followed cells and the topics. Never receives a packet itself.
//!
//! **Invariant:** at most [`TOPICS_MAX`] topics are followed; who follows more cells follows all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use edgelore_model::{Query, Situation};
use edgelore_pipeline::fingerprint::{Grain, Space};
use edgelore_pipeline::packet::Opened;

use super::drive::Order;
use super::{Shared, inquire, lock};
use crate::Cell;
use crate::backend::{BackendError, Cursor, Delivery, Subscription};

/// Topics of cells that one node follows.
const TOPICS_MAX: usize = 128;
/// Cells for which the node passes on the gossip because it keeps them.
const CARRIED_MAX: usize = 128;
/// How long a packet waits for what others know of its publisher.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of the cells in one question for news; who follows more asks for all.
const CELLS_BYTES_MAX: usize = 32 << 10;

#[derive(Default)]
struct State {
    next: u64,
    version: u64,
    subscriptions: BTreeMap<u64, Vec<Cell>>,
    carried: BTreeSet<Cell>,
}

/// What is followed at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Followed {
    /// Changes with it.
    pub(super) version: u64,
    /// The coarse cells whose nodes are asked.
    pub(super) coarse: Vec<Cell>,
    /// What they are asked for; nothing is everything.
    pub(super) cells: Vec<String>,
}

/// The cells that are followed.
pub(super) struct Follows {
    space: Space,
    state: Mutex<State>,
}

impl Follows {
    pub(super) fn new(space: Space) -> Self {
        Self { space, state: Mutex::default() }
    }

    /// The topics to which a packet of a coarse cell is published.
    pub(super) fn topics_of(&self, cell: &Cell) -> Vec<String> {
        vec![cell.to_string(), Cell::whole(&self.space).to_string()]
    }

    /// The topic of statements about keys, which every node follows.
    pub(super) fn statements(&self) -> String {
        format!("statements:{}", Cell::whole(&self.space))
    }

    /// The topics that are to be followed.
    pub(super) fn topics(&self) -> BTreeSet<String> {
        let coarse = self.coarse();
        let state = lock(&self.state);
        let carried = state.carried.iter().map(Cell::to_string).chain([self.statements()]);
        if coarse.len() > TOPICS_MAX {
            return carried.chain([Cell::whole(&self.space).to_string()]).collect();
        }
        carried.chain(coarse.iter().map(Cell::to_string)).collect()
    }

    /// Whether a coarse cell is among those followed.
    pub(super) fn is_followed(&self, cell: &Cell) -> bool {
        let state = lock(&self.state);
        let mut cells = state.subscriptions.values();
        cells.any(|cells| cells.is_empty() || self.coarse_of(cells).contains(cell))
    }

    pub(super) fn followed(&self) -> Followed {
        let coarse = self.coarse();
        let state = lock(&self.state);
        let all = state.subscriptions.values().any(Vec::is_empty);
        let cells: BTreeSet<String> =
            state.subscriptions.values().flatten().map(Cell::to_string).collect();
        let fits = cells.len() <= crate::CELLS_MAX
            && cells.iter().map(String::len).sum::<usize>() <= CELLS_BYTES_MAX;
        let cells = if all || !fits { Vec::new() } else { cells.into_iter().collect() };
        Followed { version: state.version, coarse, cells }
    }

    /// The coarse cells under which what is followed is filed.
    fn coarse(&self) -> Vec<Cell> {
        let subscriptions: Vec<Vec<Cell>> =
            lock(&self.state).subscriptions.values().cloned().collect();
        let coarse: BTreeSet<Cell> =
            subscriptions.iter().flat_map(|cells| self.coarse_of(cells)).collect();
        coarse.into_iter().collect()
    }

    fn coarse_of(&self, cells: &[Cell]) -> BTreeSet<Cell> {
        let whole = [Cell::whole(&self.space)];
        let cells = if cells.is_empty() { &whole } else { cells };
        cells.iter().flat_map(|cell| self.filed(cell)).collect()
    }

    /// Where what lies in a cell is filed.
    fn filed(&self, cell: &Cell) -> Vec<Cell> {
        if let Some([topology_class, protocol, event_type]) = cell.terms() {
            let situation = Situation {
                topology_class: topology_class.to_owned(),
                protocol: protocol.to_owned(),
                event_type: event_type.to_owned(),
                severity: 0,
                affected_prefixes: 0,
                node_count: 0,
            };
            return vec![Cell::filed(&self.space, &situation, Grain::Coarse)];
        }
        let all = self.space.cells_near(&Query::default(), u32::MAX, Grain::Coarse, usize::MAX);
        let all = all.unwrap_or_default().into_iter().map(|near| near.cell);
        // A word that no taxonomy holds is filed under the empty one, whatever the cell calls it.
        let unlisted = |filed: &Cell| filed.terms().is_some_and(|terms| terms.contains(&""));
        all.filter(|filed| cell.covers(filed) || unlisted(filed)).collect()
    }

    fn add(&self, cells: Vec<Cell>) -> u64 {
        let mut state = lock(&self.state);
        let number = state.next;
        state.next += 1;
        state.version += 1;
        state.subscriptions.insert(number, cells);
        number
    }

    fn remove(&self, number: u64) {
        let mut state = lock(&self.state);
        state.subscriptions.remove(&number);
        state.version += 1;
    }
}

impl Shared {
    /// Passes on the gossip of a cell that is kept here: whoever follows it can reach its nodes.
    pub(super) fn carry(&self, cell: Cell) {
        let mut state = lock(&self.follows.state);
        if state.carried.len() < CARRIED_MAX && state.carried.insert(cell) {
            drop(state);
            self.follows_changed();
        }
    }

    fn follows_changed(&self) {
        if self.orders.try_send(Order::Topics).is_err() {
            tracing::debug!("the loop learns later what is followed");
        }
        self.nudge.notify_one();
    }
}

/// A packet that is about to be delivered.
struct Waiting {
    delivery: Delivery,
    /// The place before it.
    before: Cursor,
    since: Instant,
}

/// A subscription.
pub(super) struct Following {
    shared: Weak<Shared>,
    number: u64,
    local: Box<dyn Subscription>,
    /// Taken from there, while others are asked about its publisher.
    waiting: Option<Waiting>,
}

impl Following {
    pub(super) fn new(shared: &Arc<Shared>, cells: &[Cell], local: Box<dyn Subscription>) -> Self {
        let number = shared.follows.add(cells.to_vec());
        shared.follows_changed();
        Self { shared: Arc::downgrade(shared), number, local, waiting: None }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.follows.remove(self.number);
            shared.follows_changed();
        }
    }
}

/// Asks others about a publisher, in a task of its own: whoever follows may give up waiting and come back.
async fn ask_about(shared: &Arc<Shared>, waiting: &Waiting) {
    let publisher = waiting.delivery.packet.publisher;
    if inquire::is_up(shared, &publisher) {
        return;
    }
    let asking = Arc::clone(shared);
    let asked = async move { inquire::keep_up(&asking, &[publisher]).await };
    let rest = PATIENCE.saturating_sub(waiting.since.elapsed());
    // It comes without their word when they take too long.
    let _ = tokio::time::timeout(rest, shared.runtime.spawn(asked)).await;
}

#[async_trait]
impl Subscription for Following {
    fn cursor(&self) -> Cursor {
        self.waiting.as_ref().map_or_else(|| self.local.cursor(), |waiting| waiting.before)
    }

    async fn next(&mut self) -> Result<Delivery, BackendError> {
        loop {
            if self.waiting.is_none() {
                let before = self.local.cursor();
                let delivery = self.local.next().await?;
                self.waiting = Some(Waiting { delivery, before, since: Instant::now() });
            }
            let shared = self.shared.upgrade();
            if let (Some(shared), Some(waiting)) = (&shared, &self.waiting) {
                ask_about(shared, waiting).await;
            }
            let Some(Waiting { delivery, .. }) = self.waiting.take() else { continue };
            let Opened { publisher, id, .. } = &delivery.packet;
            if !shared.is_some_and(|shared| shared.local.is_withdrawn(publisher, id)) {
                return Ok(delivery);
            }
        }
    }
}
