//! Delivers journaled outcomes to the store, for as long as it takes.
//!
//! **Invariant:** an outcome is marked delivered only after the store acknowledged it; a store
//! that is down delays, and loses nothing.

use crate::journal::{Journal, JournalError};
use edgelore_capture::Clock;
use edgelore_routing::Backend;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// Runs until it is dropped: delivers what is pending, then waits to be notified.
pub(crate) async fn publish(
    journal: Arc<Journal>,
    store: Arc<dyn Backend>,
    clock: Clock,
    pending: Arc<Notify>,
) {
    let mut wait = RETRY_FIRST;
    loop {
        match deliver(&journal, store.as_ref(), clock).await {
            Ok(true) => {
                wait = RETRY_FIRST;
                pending.notified().await;
            }
            Ok(false) => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_LONGEST);
            }
            Err(error) => {
                tracing::error!(%error, "outcomes cannot be read for delivery");
                tokio::time::sleep(RETRY_LONGEST).await;
            }
        }
    }
}

/// Delivers what is pending once; false when something has to be tried again.
async fn deliver(
    journal: &Arc<Journal>,
    store: &dyn Backend,
    clock: Clock,
) -> Result<bool, JournalError> {
    let mut complete = true;
    for (entry, outcome) in journal.pending()? {
        match store.store(outcome.packet.clone()).await {
            Ok(_) => {
                journal.settle(entry, Some(clock.now()))?;
                tracing::info!(packet = outcome.packet_id, "outcome delivered");
            }
            Err(error) if error.is_final() => {
                // Trying again cannot help; the outcome stays in the journal.
                tracing::error!(%error, packet = outcome.packet_id, "the store refuses the outcome");
                journal.settle(entry, None)?;
            }
            Err(error) => {
                tracing::warn!(%error, packet = outcome.packet_id, "outcome not delivered, will retry");
                complete = false;
                break;
            }
        }
    }
    Ok(complete)
}
