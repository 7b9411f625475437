//! The keeper turns findings into outcomes and packets, and remembers all of it.
//!
//! It alone writes findings and outcomes to the journal. At start it takes the journal's history
//! through distillation again, so a restart forgets nothing.
//!
//! **Invariant:** an outcome is in the journal, with the packet that will carry it, before anybody
//! hears of it.

use crate::journal::{Declaration, Journal, JournalError, JournaledOutcome};
use edgelore_model::{Resolution, Timestamp};
use edgelore_pipeline::detect::Finding;
use edgelore_pipeline::distil::{ChangeId, Distilled, Distiller, Site};
use edgelore_pipeline::fingerprint::{Core, Space, outcome_hash};
use edgelore_pipeline::packet::{self, PARENTS_MAX, PacketError, PacketId, Privacy, SigningKey};
use edgelore_pipeline::resolve::Change;
use std::collections::HashMap;
use std::sync::Arc;

/// Why the keeper could not keep a finding.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The journal refused.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The outcome does not make a packet.
    #[error("sealing an outcome: {0}")]
    Packet(#[from] PacketError),
}

/// Distillation with its memory.
#[derive(Debug)]
pub struct Keeper {
    distiller: Distiller,
    journal: Arc<Journal>,
    key: SigningKey,
    space: Space,
    privacy: Privacy,
    packets: HashMap<ChangeId, [u8; 32]>,
}

impl Keeper {
    /// Takes the journal's history in.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn new(
        site: Site,
        method: [u8; 8],
        journal: Arc<Journal>,
        key: SigningKey,
        space: Space,
        privacy: Privacy,
    ) -> Result<Self, KeeperError> {
        let mut distiller = Distiller::new(site, method);
        for (_, declaration) in journal.declarations()? {
            distiller.declare(declaration.at, declaration.resolution);
        }
        for (_, finding) in journal.findings()? {
            distiller.closed(&finding);
        }
        let packets = journal
            .outcomes()?
            .into_iter()
            .filter_map(|(_, o)| Some((o.distilled.change, packet_id(&o.packet_id)?)))
            .collect();
        Ok(Self { distiller, journal, key, space, privacy, packets })
    }

    /// Outcomes from now on are of another method.
    pub const fn set_method(&mut self, method: [u8; 8]) {
        self.distiller.set_method(method);
    }

    /// These words leave in no outcome from now on either.
    pub fn hide(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            if !self.privacy.names.contains(&name) {
                self.privacy.names.push(name);
            }
        }
    }

    /// Takes a finding; gives the outcomes that it completed, journaled and sealed.
    ///
    /// # Errors
    /// When the journal refuses or an outcome does not make a packet; the finding itself is
    /// journaled in the latter case.
    pub fn keep(&mut self, finding: &Finding) -> Result<Vec<JournaledOutcome>, KeeperError> {
        let distilled = self.distiller.closed(finding);
        let sealed: Result<Vec<JournaledOutcome>, KeeperError> =
            distilled.into_iter().map(|distilled| self.seal(distilled)).collect();
        self.journal.record(finding, sealed.as_deref().unwrap_or_default())?;
        let sealed = sealed?;
        for outcome in &sealed {
            if let Some(id) = packet_id(&outcome.packet_id) {
                self.packets.insert(outcome.distilled.change.clone(), id);
            }
        }
        Ok(sealed)
    }

    /// Takes the operator's word that something was changed at `at`.
    ///
    /// # Errors
    /// When the journal refuses.
    pub fn declare(&mut self, at: Timestamp, resolution: Resolution) -> Result<(), KeeperError> {
        self.journal.declare(&Declaration { at, resolution: resolution.clone() })?;
        self.distiller.declare(at, resolution);
        Ok(())
    }

    /// Takes a change that was seen or told of.
    ///
    /// # Errors
    /// When the journal refuses.
    pub fn changed(&mut self, change: &Change) -> Result<(), KeeperError> {
        // Incidents before its latest time may have been measured under either configuration.
        self.declare(change.at.latest, change.resolution.clone())
    }

    fn seal(&self, mut distilled: Distilled) -> Result<JournaledOutcome, KeeperError> {
        distilled.outcome.parents = self.parents(&distilled)?;
        distilled.outcome.supersedes = self.packets.get(&distilled.change).copied();
        let sealed = packet::seal_with(&distilled.outcome, &self.key, &self.space, &self.privacy)?;
        Ok(JournaledOutcome {
            packet_id: hex::encode(sealed.id),
            // Of what left, so that whoever holds the packet computes the same.
            outcome_hash: hex::encode(outcome_hash(&Core::from(&sealed.outcome))),
            packet: sealed.bytes,
            delivered: None,
            distilled,
        })
    }

    /// The packets whose advice preceded the change: the latest advice on the same event type and
    /// protocol that named this pattern, given before the first incident after the change.
    fn parents(&self, distilled: &Distilled) -> Result<Vec<[u8; 32]>, KeeperError> {
        let situation = &distilled.outcome.situation;
        let advice = self.journal.advice()?;
        let spoke_for_it = advice.iter().rev().find_map(|(_, advice)| {
            let about = advice.at <= distilled.changed_before
                && advice.event_type == situation.event_type
                && advice.protocol == situation.protocol;
            let named = advice.patterns.iter().find(|(p, _)| *p == distilled.change.pattern);
            named.filter(|_| about).map(|(_, packets)| packets)
        });
        let ids = spoke_for_it.into_iter().flatten().filter_map(|id| packet_id(id));
        Ok(ids.take(PARENTS_MAX).collect())
    }
}

/// A packet's id from its hexadecimal form; `None` for anything else.
fn packet_id(text: &str) -> Option<PacketId> {
    hex::decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
