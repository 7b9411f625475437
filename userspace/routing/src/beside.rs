//! What stands beside the packets: statements about keys, and what nobody signed.
//!
//! Statements are few and never expire: they are kept in memory too. Past [`STATEMENTS_MAX`], or
//! [`STATEMENTS_PER_KEY_MAX`] of one key, a new one is refused; one that only repeats what its key has
//! said counts as known. Of what nobody signed the oldest makes room, for it never votes; its steps
//! are scrubbed when it comes in.
//!
//! Owns these rules. Never does I/O.
//!
//! **Invariant:** memory is bounded by [`STATEMENTS_MAX`] and [`IMPORTS_MAX`]; nothing is believed of
//! a server that was not checked here.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

use edgelore_model::{Query, Span, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::packet::scrub::scrub;
use edgelore_pipeline::packet::statement::{Said, Statement};
use edgelore_pipeline::synthesise::Unsigned;
use serde::{Deserialize, Serialize};

use crate::PacketId;
use crate::backend::{BackendError, LIMIT_MAX, PUBLISHERS_MAX, STATEMENTS_PAGE};

/// Statements kept.
pub(crate) const STATEMENTS_MAX: usize = 65_536;
/// Statements kept of one key.
const STATEMENTS_PER_KEY_MAX: usize = 8;
/// Unsigned packets kept.
const IMPORTS_MAX: usize = 10_000;
/// How long an unsigned packet counts.
const IMPORT_LIFETIME: Span = Span(180 * 86_400 * 1_000_000_000);

/// An unsigned packet as it is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct Import {
    /// As it came in, before its steps were scrubbed.
    pub(crate) id: PacketId,
    received: Timestamp,
    packet: Reference,
}

impl Import {
    /// What is kept of a packet that came in at `now`.
    pub(crate) fn new(packet: &Reference, now: Timestamp) -> Self {
        let (id, mut packet) = (packet.id(), packet.clone());
        packet.resolution_steps.iter_mut().for_each(|step| *step = scrub(step));
        Self { id, received: now, packet }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a packet of the reference serializes")
    }

    /// # Errors
    /// In words, when its values are impossible.
    pub(crate) fn unsigned(&self) -> Result<Unsigned, String> {
        let expires = self.received + IMPORT_LIFETIME;
        let outcome = self.packet.to_outcome(self.received, expires);
        outcome.map(|outcome| Unsigned { outcome, id: self.id }).map_err(|error| error.to_string())
    }
}

/// The keys that a statement is about: its signer's, and the successor's if it names one.
pub(crate) fn keys(statement: &Statement) -> impl Iterator<Item = [u8; 32]> {
    let named = match statement.said {
        Said::Succeeded { publisher, .. } => Some(publisher),
        Said::Revoked => None,
    };
    std::iter::once(statement.publisher).chain(named)
}

/// Whether one says no more than the other.
fn says_the_same(one: &Statement, other: &Statement) -> bool {
    one.publisher == other.publisher && one.said == other.said
}

/// What is kept, in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    statements: BTreeMap<PacketId, Statement>,
    /// The statements about each key.
    about: HashMap<[u8; 32], BTreeSet<PacketId>>,
    lineage: Lineage,
    imports: VecDeque<(u64, Unsigned)>,
    imported: BTreeSet<PacketId>,
}

impl Memory {
    /// What follows from the statements.
    pub(crate) const fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Whether a statement says something new.
    ///
    /// # Errors
    /// [`BackendError::Full`] when it does, and there is no room for it.
    pub(crate) fn lacks(&self, statement: &Statement) -> Result<bool, BackendError> {
        self.lacks_beside(statement, &[], STATEMENTS_MAX)
    }

    /// The same, when `others` are about to be added and so many may be kept in all.
    pub(crate) fn lacks_beside(
        &self,
        statement: &Statement,
        others: &[Statement],
        room: usize,
    ) -> Result<bool, BackendError> {
        let publisher = statement.publisher;
        let about = self.about.get(&publisher).into_iter().flatten();
        let own = about.filter_map(|id| self.statements.get(id)).chain(others);
        let (mut of_key, mut known) = (0, self.statements.contains_key(&statement.id));
        for other in own.filter(|other| other.publisher == publisher) {
            of_key += 1;
            known |= says_the_same(other, statement);
        }
        if known {
            return Ok(false);
        }
        // A key can always be revoked.
        let may_say = statement.said == Said::Revoked || of_key < STATEMENTS_PER_KEY_MAX;
        if self.statements.len() + others.len() >= room || !may_say {
            return Err(BackendError::Full);
        }
        Ok(true)
    }

    pub(crate) fn add_statement(&mut self, statement: Statement) {
        self.lineage.add(&statement);
        for key in keys(&statement) {
            self.about.entry(key).or_default().insert(statement.id);
        }
        self.statements.insert(statement.id, statement);
    }

    /// The statements of these publishers, and of those that name them or are named by them.
    pub(crate) fn about(&self, publishers: &[[u8; 32]]) -> Vec<Statement> {
        let mut asked: BTreeSet<[u8; 32]> = BTreeSet::new();
        for publisher in publishers.iter().take(PUBLISHERS_MAX) {
            asked.extend(self.lineage.heirs(publisher));
            asked.extend(self.lineage.heirs(&self.lineage.origin(publisher)));
        }
        let ids: BTreeSet<&PacketId> =
            asked.iter().filter_map(|key| self.about.get(key)).flatten().collect();
        ids.into_iter().filter_map(|id| self.statements.get(id)).cloned().collect()
    }

    /// A page of all statements, by id.
    pub(crate) fn after(&self, after: Option<PacketId>) -> Vec<Statement> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = self.statements.range((from, Bound::Unbounded)).take(STATEMENTS_PAGE);
        page.map(|(_, statement)| statement.clone()).collect()
    }

    #[cfg(feature = "dht")]
    pub(crate) fn len(&self) -> usize {
        self.statements.len()
    }

    #[cfg(feature = "dht")]
    pub(crate) fn statement(&self, id: &PacketId) -> Option<&Statement> {
        self.statements.get(id)
    }

    /// The ids after one, in order.
    #[cfg(feature = "dht")]
    pub(crate) fn ids_after(&self, after: Option<PacketId>) -> impl Iterator<Item = &PacketId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.statements.range((from, Bound::Unbounded)).map(|(id, _)| id)
    }

    /// The ids that begin with this byte, in order.
    #[cfg(feature = "dht")]
    pub(crate) fn ids_of(&self, first: u8) -> impl Iterator<Item = &PacketId> {
        let (mut from, mut to) = ([0; 32], [u8::MAX; 32]);
        (from[0], to[0]) = (first, first);
        self.statements.range(from..=to).map(|(id, _)| id)
    }

    /// What follows from the others is all that follows from now on.
    #[cfg(feature = "dht")]
    pub(crate) fn remove_statements(&mut self, ids: &[PacketId]) {
        for statement in ids.iter().filter_map(|id| self.statements.remove(id)) {
            for key in keys(&statement) {
                if let Some(about) = self.about.get_mut(&key) {
                    about.remove(&statement.id);
                }
            }
        }
        self.about.retain(|_, about| !about.is_empty());
        self.lineage = Lineage::of(self.statements.values());
    }

    pub(crate) fn has_import(&self, id: &PacketId) -> bool {
        self.imported.contains(id)
    }

    /// The number after that of the youngest unsigned packet.
    pub(crate) fn next_import(&self) -> u64 {
        self.imports.back().map_or(0, |(number, _)| number + 1)
    }

    /// The number of the one that makes room for the next.
    pub(crate) fn makes_room(&self) -> Option<u64> {
        let full = self.imports.len() >= IMPORTS_MAX;
        self.imports.front().filter(|_| full).map(|(number, _)| *number)
    }

    /// Takes one in, under a higher number than those before; the oldest makes room.
    pub(crate) fn add_import(&mut self, number: u64, unsigned: Unsigned) {
        if self.makes_room().is_some()
            && let Some((_, gone)) = self.imports.pop_front()
        {
            self.imported.remove(&gone.id);
        }
        if self.imported.insert(unsigned.id) {
            self.imports.push_back((number, unsigned));
        }
    }

    /// The unsigned packets within a radius, nearest first.
    pub(crate) fn near(
        &self,
        space: &Space,
        query: &Query,
        radius: u32,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Unsigned> {
        let aim = space.aim(query);
        let asked = query.resolution_pattern.as_deref();
        let mut near: Vec<(u32, &Unsigned)> = self
            .imports
            .iter()
            .map(|(_, unsigned)| unsigned)
            .filter(|unsigned| unsigned.outcome.expires > now)
            .filter(|one| asked.is_none_or(|asked| asked == one.outcome.resolution.pattern))
            .map(|one| (space.reach(&aim, &space.locate(&one.outcome.situation)), one))
            .filter(|(distance, _)| *distance <= radius)
            .collect();
        near.sort_by_key(|(distance, unsigned)| (*distance, unsigned.id));
        near.into_iter().take(limit.min(LIMIT_MAX)).map(|(_, unsigned)| unsigned.clone()).collect()
    }
}
