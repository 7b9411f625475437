//! What leaves of an outcome, and in which form.

use super::{Keeper, KeeperError, packet_id};
use crate::journal::JournaledOutcome;
use crate::sharing::SharingConfig;
use edgelore_model::{Outcome, Sharing};
use edgelore_pipeline::distil::Distilled;
use edgelore_pipeline::fingerprint::{Core, Space, outcome_hash};
use edgelore_pipeline::packet::anonymity::{Form, forms};
use edgelore_pipeline::packet::{self, Changed, Counts, Privacy};
use edgelore_pipeline::resolve::Identifiers;

impl Keeper {
    /// These words leave in no outcome from now on either.
    pub fn hide(&mut self, names: impl IntoIterator<Item = String>) {
        self.privacy.scrubber.hide(names);
    }

    /// What was captured or configured, neither.
    pub fn hide_identifiers(&mut self, known: Identifiers) {
        self.privacy.scrubber.hide(known.names);
        self.privacy.scrubber.hide_numbers(known.numbers);
    }

    /// Publishers that must share what leaves; `None` when there is no such condition.
    #[must_use]
    pub fn k_anonymity(&self) -> Option<u32> {
        Some(self.privacy.k_anonymity).filter(|k| *k > 1)
    }

    /// The space that packets are published under.
    #[must_use]
    pub const fn space(&self) -> &Space {
        &self.space
    }

    /// Who publishes.
    #[must_use]
    pub fn publisher(&self) -> [u8; 32] {
        self.key.publisher()
    }

    /// Outcomes go as far as this says from now on.
    pub fn share(&mut self, sharing: SharingConfig) {
        self.sharing = sharing;
    }

    /// How far an outcome of the journal may go: as far as was configured when it was distilled, and
    /// no farther than is configured now.
    #[must_use]
    pub fn scope(&self, outcome: &JournaledOutcome) -> Sharing {
        let now = self.sharing.of_event(&outcome.distilled.outcome.situation.event_type);
        outcome.scope.map_or(now, |then| then.min(now))
    }

    /// The widest scope that an outcome can have.
    #[must_use]
    pub fn widest_scope(&self) -> Sharing {
        self.sharing.widest()
    }

    /// A statement that this key succeeds another one waits for the store; or none does any more.
    pub fn succeeds(&mut self, statement: Option<Vec<u8>>) {
        self.succession = statement;
    }

    /// The statement that waits for the store.
    #[must_use]
    pub fn succession(&self) -> Option<Vec<u8>> {
        self.succession.clone()
    }

    /// What is changed of an outcome before it leaves.
    #[must_use]
    pub fn changes(&self, outcome: &Outcome) -> Vec<Changed> {
        self.privacy.explain(outcome).1
    }

    /// Signs what was distilled, in the finest form in which it may leave.
    pub(super) fn signed(&self, distilled: Distilled) -> Result<JournaledOutcome, KeeperError> {
        let outcome = distilled.outcome.clone();
        if self.k_anonymity().is_none() {
            return self.sealed(&outcome, &self.privacy, distilled);
        }
        let finest = forms(&outcome, &self.space).swap_remove(0);
        self.sealed(&finest.outcome, &self.as_formed(), distilled)
    }

    /// A form is as coarse as it shall be.
    fn as_formed(&self) -> Privacy {
        Privacy { counts: Counts::Exact, ..self.privacy.clone() }
    }

    fn sealed(
        &self,
        outcome: &Outcome,
        privacy: &Privacy,
        distilled: Distilled,
    ) -> Result<JournaledOutcome, KeeperError> {
        let sealed = packet::seal_with(outcome, &self.key, &self.space, privacy)?;
        Ok(JournaledOutcome {
            packet_id: hex::encode(sealed.id),
            // Of what left, so that whoever holds the packet computes the same.
            outcome_hash: hex::encode(outcome_hash(&Core::from(&sealed.outcome))),
            packet: sealed.bytes,
            delivered: None,
            held: None,
            scope: Some(self.sharing.of_event(&outcome.situation.event_type)),
            distilled,
        })
    }

    /// Signs an outcome of the journal in another form and journals it so; it replaces what a store
    /// has of the same change.
    ///
    /// # Errors
    /// When the journal refuses or the form does not make a packet.
    pub(crate) fn release(
        &self,
        entry: u64,
        kept: &JournaledOutcome,
        form: &Form,
    ) -> Result<JournaledOutcome, KeeperError> {
        let mut outcome = form.outcome.clone();
        outcome.supersedes = self.packets.get(&kept.distilled.change).copied();
        let mut distilled = kept.distilled.clone();
        distilled.outcome.supersedes = outcome.supersedes;
        let sealed = self.sealed(&outcome, &self.as_formed(), distilled)?;
        let released = JournaledOutcome { scope: Some(self.scope(kept)), ..sealed };
        self.journal.replace(entry, &released)?;
        Ok(released)
    }

    /// A store has an outcome; what follows of the same change replaces it.
    pub(crate) fn delivered(&mut self, outcome: &JournaledOutcome) {
        if let Some(id) = packet_id(&outcome.packet_id) {
            self.packets.insert(outcome.distilled.change.clone(), id);
        }
    }
}
