//! The keeper turns findings into outcomes and packets, and remembers all of it.
//!
//! It alone writes findings and outcomes to the journal. At start it takes the journal's history
//! through distillation again, so a restart forgets nothing: what distillation takes in is journaled
//! in order, with what came of it.
//!
//! **Invariant:** an outcome is in the journal, with the packet that will carry it, before anybody
//! hears of it.

use crate::delivery::Class;
use crate::journal::{Journal, JournalError, JournaledOutcome};
use crate::sharing::SharingConfig;
use edgelore_model::{Span, Timestamp};
use edgelore_pipeline::detect::{Finding, Joined, Opened, Settled};
use edgelore_pipeline::distil::{ChangeId, DistilConfig, Distilled, Distiller, Input, Site};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::{PARENTS_MAX, PacketError, PacketId, Privacy, SigningKey};
use edgelore_pipeline::resolve::Change;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

mod leaving;

/// How often the passing of time is journaled while something may yet prove itself by not coming
/// back: so much watched time a crash can cost.
const HEARTBEAT: Span = Span(600 * 1_000_000_000);

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
    sharing: SharingConfig,
    /// The packet of each change; under k-anonymity the one that a store has.
    packets: HashMap<ChangeId, [u8; 32]>,
    succession: Option<Vec<u8>>,
    /// What incidents were of, in the journal and since.
    classes: BTreeSet<Class>,
    /// Until when the journal says that time was watched.
    heartbeat: Timestamp,
}

impl Keeper {
    /// Takes the journal's history in.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn new(
        site: Site,
        method: [u8; 8],
        config: DistilConfig,
        journal: Arc<Journal>,
        key: SigningKey,
        space: Space,
        privacy: Privacy,
    ) -> Result<Self, KeeperError> {
        let mut distiller = Distiller::new(site, method).with(config);
        let inputs = journal.inputs()?;
        // What was measured before the first word about the method was measured by that one.
        if let Some(first) = inputs.iter().find_map(|input| match input {
            Input::Method(method) => Some(*method),
            _ => None,
        }) {
            distiller.set_method(first);
        }
        for input in &inputs {
            distiller.take(input);
        }
        let classes = inputs.iter().filter_map(class).collect();
        let packets = journal
            .outcomes()?
            .into_iter()
            .filter(|(_, o)| privacy.k_anonymity < 2 || o.delivered.is_some())
            .filter_map(|(_, o)| Some((o.distilled.change, packet_id(&o.packet_id)?)))
            .collect();
        let heartbeat = Timestamp(i64::MIN);
        let mut keeper = Self {
            distiller,
            journal,
            key,
            space,
            privacy,
            sharing: SharingConfig::default(),
            packets,
            succession: None,
            classes,
            heartbeat,
        };
        if inputs.is_empty() || keeper.distiller.method() != method {
            keeper.take(Input::Method(method))?;
        }
        Ok(keeper)
    }

    /// Watching begins at `at`; what was before was not watched.
    ///
    /// # Errors
    /// When the journal refuses.
    pub fn started(&mut self, at: Timestamp) -> Result<(), KeeperError> {
        self.take(Input::Started(at)).map(drop)
    }

    /// Incidents are measured by another method from now on.
    ///
    /// # Errors
    /// When the journal refuses.
    pub fn set_method(&mut self, method: [u8; 8]) -> Result<(), KeeperError> {
        if self.distiller.method() == method {
            return Ok(());
        }
        self.take(Input::Method(method)).map(drop)
    }

    /// Outcomes from now on are of a network of another shape or size.
    pub fn set_site(&mut self, site: Site) {
        self.distiller.set_site(site);
    }

    /// What the network is taken for.
    #[must_use]
    pub const fn site(&self) -> &Site {
        self.distiller.site()
    }

    /// The protocols and event types of the incidents that this node has met.
    #[must_use]
    pub const fn classes(&self) -> &BTreeSet<Class> {
        &self.classes
    }

    /// Takes a finding; gives the outcomes that it completed, journaled and sealed.
    ///
    /// # Errors
    /// When the journal refuses or an outcome does not make a packet; the finding itself is
    /// journaled in the latter case.
    pub fn keep(&mut self, finding: &Finding) -> Result<Vec<JournaledOutcome>, KeeperError> {
        self.take(Input::Closed(Box::new(finding.clone())))
    }

    /// An incident has begun.
    ///
    /// # Errors
    /// When the journal refuses.
    pub fn opened(&mut self, opened: &Opened) -> Result<(), KeeperError> {
        if self.distiller.opened(opened) {
            self.journal.record(&Input::Opened(*opened), &[])?;
        }
        Ok(())
    }

    /// An incident that has begun is part of another.
    ///
    /// # Errors
    /// When the journal refuses.
    pub fn joined(&mut self, joined: &Joined) -> Result<(), KeeperError> {
        if self.distiller.joined(joined) {
            self.journal.record(&Input::Joined(*joined), &[])?;
        }
        Ok(())
    }

    /// A change was seen or told of.
    ///
    /// # Errors
    /// When the journal refuses.
    pub fn changed(&mut self, change: Change) -> Result<(), KeeperError> {
        self.take(Input::Changed(Box::new(change))).map(drop)
    }

    /// Settings changed and stood.
    ///
    /// # Errors
    /// When the journal refuses.
    pub fn settled(&mut self, settled: Settled) -> Result<(), KeeperError> {
        self.take(Input::Settled(Box::new(settled))).map(drop)
    }

    /// Time has passed up to `to` and was watched; gives the outcomes of what has not come back.
    ///
    /// # Errors
    /// See [`Keeper::keep`].
    pub fn advance(&mut self, to: Timestamp) -> Result<Vec<JournaledOutcome>, KeeperError> {
        let waited = self.distiller.waits();
        let distilled = self.distiller.advance(to);
        if distilled.is_empty() && (!waited || to - self.heartbeat < HEARTBEAT) {
            return Ok(Vec::new());
        }
        self.heartbeat = to;
        self.record(&Input::Advanced(to), distilled)
    }

    fn take(&mut self, input: Input) -> Result<Vec<JournaledOutcome>, KeeperError> {
        self.classes.extend(class(&input));
        let distilled = self.distiller.take(&input);
        self.record(&input, distilled)
    }

    fn record(
        &mut self,
        input: &Input,
        distilled: Vec<Distilled>,
    ) -> Result<Vec<JournaledOutcome>, KeeperError> {
        let mut sealed = Vec::new();
        let mut refused = None;
        for distilled in distilled {
            match self.seal(distilled) {
                Ok(outcome) => {
                    if self.k_anonymity().is_none() {
                        self.delivered(&outcome);
                    }
                    sealed.push(outcome);
                }
                Err(error) => refused = Some(error),
            }
        }
        self.journal.record(input, &sealed)?;
        refused.map_or(Ok(sealed), Err)
    }

    fn seal(&self, mut distilled: Distilled) -> Result<JournaledOutcome, KeeperError> {
        distilled.outcome.parents = self.parents(&distilled)?;
        distilled.outcome.supersedes = self.packets.get(&distilled.change).copied();
        self.signed(distilled)
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

/// What an incident was of.
fn class(input: &Input) -> Option<Class> {
    match input {
        Input::Closed(finding) => {
            let incident = &finding.incident;
            Some((incident.protocol.term().to_owned(), incident.event.term().to_owned()))
        }
        _ => None,
    }
}

/// A packet's id from its hexadecimal form; `None` for anything else.
fn packet_id(text: &str) -> Option<PacketId> {
    hex::decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
