//! `edgelore outcomes`: what the node has distilled.

use super::{DataArguments, block_on};
use crate::output;
use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let outcomes = block_on(async { Ok(arguments.data.control()?.outcomes().await?) })?;
    if arguments.json {
        return output::json(&outcomes);
    }
    outcomes.iter().try_for_each(|view| {
        let outcome = &view.outcome;
        output::line(&format!(
            "{}…  {:<18} {:<6} {} to {} in {}/{}/{}{}  {} bytes  {}",
            view.packet_id.get(..16).unwrap_or(&view.packet_id),
            outcome.resolution.pattern,
            view.verdict.term(),
            output::value(outcome.before),
            output::value(outcome.after),
            outcome.situation.topology_class,
            outcome.situation.protocol,
            outcome.situation.event_type,
            if view.regression { "  (it had helped)" } else { "" },
            view.packet_bytes,
            view.delivered
                .map_or_else(|| "not delivered".to_owned(), |at| format!("delivered {at}")),
        ))
    })
}
