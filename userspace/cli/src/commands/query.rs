//! `edgelore query`: outcomes near a situation.

use super::{SituationArguments, StoreArguments, block_on, radius_milli};
use crate::output;
use anyhow::Result;
use clap::Args;
use edgelore_model::Outcome;
use serde::Serialize;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    situation: SituationArguments,
    /// How far a situation may be, in units such as `3` or `2.5`.
    #[arg(long, default_value = "3", value_parser = radius_milli)]
    radius: u32,
    /// Outcomes at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct FoundView {
    packet_id: String,
    publisher: String,
    distance: u32,
    outcome: Outcome,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let query = arguments.situation.query();
    let found = block_on(async {
        let store = arguments.store.open()?;
        Ok(store.query(&query, arguments.radius, arguments.limit).await?)
    })?;
    let views = found.into_iter().map(|found| FoundView {
        packet_id: hex::encode(found.opened.id),
        publisher: hex::encode(found.opened.publisher),
        distance: found.distance,
        outcome: Arc::unwrap_or_clone(found.opened).outcome,
    });
    if arguments.json {
        return output::json(&views.collect::<Vec<_>>());
    }
    for found in views {
        let outcome = &found.outcome;
        output::line(&format!(
            "{}…  distance {:>4}  {:<18} {} ms better, severity {} with {} prefixes",
            found.packet_id.get(..16).unwrap_or(&found.packet_id),
            found.distance,
            outcome.resolution.pattern,
            outcome.convergence_delta_ms,
            outcome.situation.severity,
            outcome.situation.affected_prefixes,
        ))?;
    }
    Ok(())
}
