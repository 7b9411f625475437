//! What packets and statements have said that concerns other packets.
//!
//! A store may keep a packet that another store, or a subscription, has shown to be withdrawn; this
//! remembers. Owns who withdrew what, which keys are one publisher's, and which packets were seen.
//! Never does I/O; it begins anew with the process.
//!
//! **Invariant:** only what was verified is remembered; each table has its bound, and the oldest go.

use super::book::PublisherId;
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::packet::statement::Statement;
use edgelore_pipeline::packet::{Opened, PacketId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// Packets that are remembered as seen.
pub(super) const PACKETS_MAX: usize = 16_384;
/// Withdrawals that are remembered.
const WITHDRAWALS_MAX: usize = 65_536;
/// Statements that are remembered.
const STATEMENTS_MAX: usize = 16_384;

/// A set that forgets what came first.
#[derive(Debug)]
struct Recent<T> {
    held: HashSet<T>,
    order: VecDeque<T>,
    most: usize,
}

impl<T: Hash + Eq + Copy> Recent<T> {
    fn new(most: usize) -> Self {
        Self { held: HashSet::new(), order: VecDeque::new(), most }
    }

    /// Whether it is new.
    fn insert(&mut self, one: T) -> bool {
        if !self.held.insert(one) {
            return false;
        }
        self.order.push_back(one);
        if self.order.len() > self.most
            && let Some(first) = self.order.pop_front()
        {
            self.held.remove(&first);
        }
        true
    }
}

/// What is remembered.
#[derive(Debug)]
pub(super) struct Memory {
    packets: Recent<PacketId>,
    withdrawals: Recent<(PublisherId, PacketId)>,
    statements: Recent<PacketId>,
    lineage: Lineage,
    /// Statements in the lineage, so that it can be made anew without the oldest.
    said: HashMap<PacketId, Statement>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            packets: Recent::new(PACKETS_MAX),
            withdrawals: Recent::new(WITHDRAWALS_MAX),
            statements: Recent::new(STATEMENTS_MAX),
            lineage: Lineage::default(),
            said: HashMap::new(),
        }
    }

    /// Which keys are one publisher's.
    pub(super) const fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Notes a packet; whether it had not been seen.
    pub(super) fn saw(&mut self, id: &PacketId) -> bool {
        self.packets.insert(*id)
    }

    pub(super) fn knows(&self, id: &PacketId) -> bool {
        self.packets.held.contains(id)
    }

    /// Notes what a packet withdraws.
    pub(super) fn hear(&mut self, packet: &Opened) {
        for target in [packet.outcome.supersedes, packet.outcome.revokes].into_iter().flatten() {
            self.withdrawals.insert((packet.publisher, target));
        }
    }

    /// Notes what publishers say of their keys.
    pub(super) fn learn<'s>(&mut self, statements: impl IntoIterator<Item = &'s Statement>) {
        for statement in statements {
            if self.statements.insert(statement.id) {
                self.lineage.add(statement);
                self.said.insert(statement.id, statement.clone());
            }
        }
        if self.said.len() > STATEMENTS_MAX {
            let held = &self.statements.held;
            self.said.retain(|id, _| held.contains(id));
            self.lineage = Lineage::of(self.said.values());
        }
    }

    /// Whether a packet's own publisher, under this key or a later one, has withdrawn it.
    pub(super) fn is_withdrawn(&self, packet: &Opened) -> bool {
        let by = |publisher| self.withdrawals.held.contains(&(publisher, packet.id));
        by(packet.publisher)
            || (!self.lineage.is_empty()
                && self.lineage.heirs(&packet.publisher).into_iter().any(by))
    }

    /// All keys that are known to be of whoever publishes under this one, this one first.
    pub(super) fn keys_of(&self, publisher: &PublisherId) -> Vec<PublisherId> {
        let mut keys = vec![*publisher];
        if !self.lineage.is_empty() {
            let heirs = self.lineage.heirs(&self.lineage.origin(publisher));
            keys.extend(heirs.into_iter().filter(|key| key != publisher));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let mut recent = Recent::new(2);
        assert!(recent.insert(1) && recent.insert(2) && !recent.insert(1));
        assert!(recent.insert(3) && recent.insert(1), "one was forgotten");
        assert_eq!((recent.held.len(), recent.order.len()), (2, 2));
    }
}
