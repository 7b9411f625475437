//! Seeks advice: asks a store for outcomes near a situation and ranks what they say.

use crate::config::AdviseConfig;
use edgelore_model::{Advice, Query};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::synthesise::{self, Policy};
use edgelore_routing::{Backend, BackendError};
use std::collections::BTreeSet;

/// Ranked advice for a situation, measured in the store's space, from those whose word counts by
/// `policy`. What nobody signed is shown as evidence that does not vote; keys that succeed each other
/// have one vote.
///
/// # Errors
/// When the store does not answer.
pub async fn seek(
    store: &dyn Backend,
    space: &Space,
    query: &Query,
    limits: &AdviseConfig,
    policy: Policy,
) -> Result<Vec<Advice>, BackendError> {
    let found = store.query(query, limits.radius_milli, limits.outcomes_max).await?;
    let publishers: BTreeSet<[u8; 32]> = found.iter().map(|f| f.opened.publisher).collect();
    let publishers: Vec<[u8; 32]> = publishers.into_iter().collect();
    let lineage = Lineage::of(&store.statements(&publishers).await?);
    let unsigned = store.imported(query, limits.radius_milli, limits.outcomes_max).await?;
    let policy = Policy { lineage, ..policy };
    Ok(synthesise::advise_with(space, query, &found, &unsigned, &policy))
}
