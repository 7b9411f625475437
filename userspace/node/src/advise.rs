//! Seeks advice: asks a store for outcomes near a situation and ranks what they say.

use crate::config::AdviseConfig;
use edgelore_model::{Advice, Query, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::synthesise::{self, Policy};
use edgelore_routing::{Backend, BackendError};

/// Ranked advice for a situation, measured in the store's space, from outcomes that have not
/// expired at `now`.
///
/// # Errors
/// When the store does not answer.
pub async fn seek(
    store: &dyn Backend,
    space: &Space,
    query: &Query,
    limits: &AdviseConfig,
    now: Timestamp,
) -> Result<Vec<Advice>, BackendError> {
    let found = store.query(query, limits.radius_milli, limits.outcomes_max).await?;
    let policy = Policy { now: Some(now), ..Policy::default() };
    Ok(synthesise::advise(space, query, &found, &policy))
}
