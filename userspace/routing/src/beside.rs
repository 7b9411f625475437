//! What stands beside the packets: statements about keys, and what nobody signed.
//!
//! Statements are few and never expire: they are kept in memory too. Past [`STATEMENTS_MAX`], or
//! [`STATEMENTS_PER_KEY_MAX`] of one key, a new one is refused. Of what nobody signed the oldest
//! makes room, for it never votes; its steps are scrubbed when it comes in.
//!
//! Owns these rules. Never does I/O.
//!
//! **Invariant:** memory is bounded by [`STATEMENTS_MAX`] and [`IMPORTS_MAX`]; nothing is believed of
//! a server that was not checked here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
const STATEMENTS_MAX: usize = 65_536;
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

/// What is kept, in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    statements: BTreeMap<PacketId, Statement>,
    lineage: Lineage,
    imports: VecDeque<(u64, Unsigned)>,
    imported: BTreeSet<PacketId>,
}

impl Memory {
    /// What follows from the statements.
    pub(crate) const fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Whether a statement is new.
    ///
    /// # Errors
    /// [`BackendError::Full`] when it is, and there is no room for it.
    pub(crate) fn lacks(&self, statement: &Statement) -> Result<bool, BackendError> {
        if self.statements.contains_key(&statement.id) {
            return Ok(false);
        }
        let same = self.statements.values().filter(|s| s.publisher == statement.publisher);
        // A key can always be revoked.
        let room = statement.said == Said::Revoked || same.count() < STATEMENTS_PER_KEY_MAX;
        if self.statements.len() >= STATEMENTS_MAX || !room {
            return Err(BackendError::Full);
        }
        Ok(true)
    }

    pub(crate) fn add_statement(&mut self, statement: Statement) {
        self.lineage.add(&statement);
        self.statements.insert(statement.id, statement);
    }

    /// The statements of these publishers, and of those that name them or are named by them.
    pub(crate) fn about(&self, publishers: &[[u8; 32]]) -> Vec<Statement> {
        let mut asked: BTreeSet<[u8; 32]> = BTreeSet::new();
        for publisher in publishers.iter().take(PUBLISHERS_MAX) {
            asked.extend(self.lineage.heirs(publisher));
            asked.extend(self.lineage.heirs(&self.lineage.origin(publisher)));
        }
        let names = |statement: &&Statement| {
            let named = match statement.said {
                Said::Succeeded { publisher, .. } => asked.contains(&publisher),
                Said::Revoked => false,
            };
            named || asked.contains(&statement.publisher)
        };
        self.statements.values().filter(names).cloned().collect()
    }

    /// A page of all statements, by id.
    pub(crate) fn after(&self, after: Option<PacketId>) -> Vec<Statement> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = self.statements.range((from, Bound::Unbounded)).take(STATEMENTS_PAGE);
        page.map(|(_, statement)| statement.clone()).collect()
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
