//! Delivers journaled outcomes to the stores that they may enter, for as long as it takes.
//!
//! An outcome that may enter none of them stays in the journal and says so.
//!
//! Under k-anonymity an outcome is first brought into a form that enough publishers share; what too
//! few share is kept back, with the reason in the journal, and tried again. Of several that are
//! pending for one change the latest is delivered. An outcome that cannot be delivered holds up none
//! after it: while a store of several is cut off, the others get what is new.
//!
//! **Invariant:** no store is written, or asked on behalf of an outcome, whose scope is wider than the
//! outcome's; an outcome is marked delivered only after the store acknowledged it, and what is
//! sent is in the journal before; a store that is down delays, and loses nothing.

use crate::journal::{Journal, JournalError, JournaledOutcome};
use crate::keeper::{Keeper, KeeperError};
use crate::release::{Release, release};
use crate::sharing::Outlets;
use crate::trust::Trust;
use edgelore_capture::Clock;
use edgelore_model::Sharing;
use edgelore_routing::{Backend, BackendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// How soon what is kept back is tried again, when nothing else happens.
const HELD_RETRY: Duration = Duration::from_secs(600);
/// After so long without an answer, what is left waits for the next time.
const PASS_LONGEST: Duration = Duration::from_secs(10);

/// Why a delivery ended before all was tried.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    #[error(transparent)]
    Store(#[from] BackendError),
}

/// What is left after a delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Outcomes that too few publishers share.
    Held,
}

/// Which of the pending outcomes are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    All,
    /// Those that were never sent.
    New,
}

/// What delivers.
pub struct Publisher {
    /// Where outcomes are pending.
    pub journal: Arc<Journal>,
    /// Where they go.
    pub outlets: Outlets,
    /// Who knows in which form they leave.
    pub keeper: Arc<Mutex<Keeper>>,
    /// What is told of each.
    pub trust: Arc<Trust>,
    /// The node's clock.
    pub clock: Clock,
}

impl Publisher {
    /// Runs until it is dropped: delivers what is pending, then waits to be notified.
    pub async fn run(self, pending: Arc<Notify>) {
        let (mut wait, mut fresh) = (RETRY_FIRST, 0);
        loop {
            match self.deliver(Pass::All, &mut fresh).await {
                Ok(left) => {
                    wait = RETRY_FIRST;
                    match left {
                        Left::Nothing => pending.notified().await,
                        // Notified or not, it is tried again.
                        Left::Held => {
                            let _ = tokio::time::timeout(HELD_RETRY, pending.notified()).await;
                        }
                    }
                }
                Err(DeliveryError::Store(error)) => {
                    tracing::warn!(%error, "outcomes not delivered, will retry");
                    self.rest(wait, &pending, &mut fresh).await;
                    wait = (wait * 2).min(RETRY_LONGEST);
                }
                Err(error) => {
                    tracing::error!(%error, "outcomes cannot be read for delivery");
                    tokio::time::sleep(RETRY_LONGEST).await;
                }
            }
        }
    }

    /// Waits; what is new meanwhile is sent once.
    async fn rest(&self, wait: Duration, pending: &Notify, fresh: &mut u64) {
        let until = Instant::now() + wait;
        while tokio::time::timeout_at(until, pending.notified()).await.is_ok() {
            if let Err(error) = self.deliver(Pass::New, fresh).await {
                tracing::debug!(%error, "new outcomes not delivered either");
            }
        }
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the store whom this key succeeds, once.
    async fn declare(&self) -> Result<(), BackendError> {
        let (statement, widest) = {
            let keeper = self.keeper();
            (keeper.succession(), keeper.widest_scope())
        };
        let (Some(statement), Some(store)) = (statement, self.outlets.of(widest)) else {
            return Ok(());
        };
        match store.declare(statement).await {
            Ok(_) => {}
            Err(error) if error.is_final() => {
                tracing::warn!(%error, "the store does not take the succession of keys");
            }
            Err(error) => return Err(error),
        }
        self.keeper().succeeds(None);
        Ok(())
    }

    /// Delivers what is pending once; gives the first failure after all was tried. From the entry
    /// `fresh` on, none was ever sent.
    async fn deliver(&self, pass: Pass, fresh: &mut u64) -> Result<Left, DeliveryError> {
        let mut failed = self.declare().await.err();
        let k = self.keeper().k_anonymity();
        // Whether an outcome is replaced by a later one is seen among all of them.
        let first = if pass == Pass::New && k.is_none() { *fresh } else { 0 };
        let pending = self.journal.pending_from(first)?;
        let (mut left, mut answered) = (Left::Nothing, Instant::now());
        for (at, (entry, outcome)) in pending.iter().enumerate() {
            let scope = self.keeper().scope(outcome);
            let Some(store) = self.outlets.of(scope) else {
                self.withhold(*entry, outcome, scope)?;
                continue;
            };
            let sent = match k {
                None => self.send(*entry, outcome, store.as_ref()).await.map(|_| Left::Nothing),
                Some(k) => self.offer(&pending[at..], k, store.as_ref()).await,
            };
            *fresh = (*fresh).max(entry + 1);
            match sent {
                Ok(Left::Nothing) => answered = Instant::now(),
                Ok(Left::Held) => (left, answered) = (Left::Held, Instant::now()),
                Err(DeliveryError::Store(error)) => failed = failed.or(Some(error)),
                Err(error) => return Err(error),
            }
            if answered.elapsed() > PASS_LONGEST {
                break;
            }
        }
        failed.map_or(Ok(left), |error| Err(error.into()))
    }

    /// Delivers the first of what is pending under k-anonymity, unless too few publishers share it or a
    /// later one replaces it.
    async fn offer(
        &self,
        pending: &[(u64, JournaledOutcome)],
        k: u32,
        store: &dyn Backend,
    ) -> Result<Left, DeliveryError> {
        let [(entry, outcome), later @ ..] = pending else { return Ok(Left::Nothing) };
        if later.iter().any(|(_, later)| later.distilled.change == outcome.distilled.change) {
            // It never left, so nothing has to replace it.
            self.journal.settle(*entry, None)?;
            return Ok(Left::Nothing);
        }
        let Some(released) = self.released(*entry, outcome, k, store).await? else {
            return Ok(Left::Held);
        };
        if self.send(*entry, &released, store).await? {
            self.keeper().delivered(&released);
        }
        Ok(Left::Nothing)
    }

    /// The outcome in a form that enough publishers share; `None` when it is kept back.
    async fn released(
        &self,
        entry: u64,
        outcome: &JournaledOutcome,
        k: u32,
        store: &dyn Backend,
    ) -> Result<Option<JournaledOutcome>, DeliveryError> {
        let (space, own) = {
            let keeper = self.keeper();
            (keeper.space().clone(), keeper.publisher())
        };
        let distilled = &outcome.distilled.outcome;
        match release(store, &space, distilled, own, k).await? {
            Release::As(form) => Ok(Some(self.keeper().release(entry, outcome, &form)?)),
            Release::Held { reason, .. } => {
                self.hold(entry, outcome, "k_anonymity", reason)?;
                Ok(None)
            }
        }
    }

    /// Keeps back what no store may have.
    fn withhold(
        &self,
        entry: u64,
        outcome: &JournaledOutcome,
        scope: Sharing,
    ) -> Result<(), JournalError> {
        self.hold(
            entry,
            outcome,
            "scope",
            format!("it is {scope}, and every store has more readers"),
        )
    }

    /// Writes down why an outcome stays here, once.
    fn hold(
        &self,
        entry: u64,
        outcome: &JournaledOutcome,
        word: &str,
        reason: String,
    ) -> Result<(), JournalError> {
        if outcome.held.as_ref() == Some(&reason) {
            return Ok(());
        }
        tracing::info!(packet = outcome.packet_id, reason, "outcome kept back");
        let scope = self.keeper().scope(outcome);
        self.trust.withheld(&outcome.packet_id, scope, word, &reason);
        let held = JournaledOutcome { held: Some(reason), ..outcome.clone() };
        self.journal.replace(entry, &held)
    }

    /// Sends an outcome; false when the store will never take it.
    async fn send(
        &self,
        entry: u64,
        outcome: &JournaledOutcome,
        store: &dyn Backend,
    ) -> Result<bool, DeliveryError> {
        let scope = self.keeper().scope(outcome);
        match store.store(outcome.packet.clone()).await {
            Ok(_) => {
                self.journal.settle(entry, Some(self.clock.now()))?;
                self.trust.published(&outcome.packet_id, scope);
                tracing::info!(packet = outcome.packet_id, "outcome delivered");
                Ok(true)
            }
            Err(error) if error.is_final() => {
                // Trying again cannot help; the outcome stays in the journal.
                tracing::error!(%error, packet = outcome.packet_id, "the store refuses the outcome");
                let why = error.to_string();
                self.trust.withheld(&outcome.packet_id, scope, "store_refused", &why);
                self.journal.settle(entry, None)?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
