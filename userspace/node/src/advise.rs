//! Seeks advice: asks a store for outcomes near a situation and ranks what they say.

use crate::config::AdviseConfig;
use edgelore_model::{Advice, Query};
use edgelore_pipeline::synthesise::{self, Policy};
use edgelore_routing::{Backend, BackendError};

/// Ranked advice for a situation.
///
/// # Errors
/// When the store does not answer.
pub async fn seek(
    store: &dyn Backend,
    query: &Query,
    limits: &AdviseConfig,
) -> Result<Vec<Advice>, BackendError> {
    let found = store.query(query, limits.radius_milli, limits.outcomes_max).await?;
    Ok(synthesise::advise(&found, &Policy::default()))
}
