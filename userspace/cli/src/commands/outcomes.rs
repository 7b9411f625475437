//! `edgelore outcomes`: what the node has distilled.

use super::{DataArguments, block_on};
use crate::output;
use anyhow::Result;
use clap::Args;
use edgelore_model::Sharing;
use edgelore_node::view::OutcomeView;
use edgelore_pipeline::packet;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    /// Only what no store has yet, with the bytes that would leave, what was taken out of them and
    /// why, and why it is kept back.
    #[arg(long)]
    pending: bool,
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut outcomes = block_on(async { Ok(arguments.data.control()?.outcomes().await?) })?;
    if arguments.pending {
        outcomes.retain(|view| view.delivered.is_none());
    }
    if arguments.json {
        return output::json(&outcomes);
    }
    outcomes.iter().try_for_each(|view| {
        summary(view)?;
        if arguments.pending { detail(view) } else { Ok(()) }
    })
}

fn summary(view: &OutcomeView) -> Result<()> {
    let outcome = &view.outcome;
    let delivery = match (&view.delivered, &view.held) {
        (Some(at), _) => format!("delivered {at}"),
        (None, Some(_)) => "kept back".to_owned(),
        (None, None) => "not delivered".to_owned(),
    };
    let scope = view.scope.filter(|scope| *scope != Sharing::Public);
    let scope = scope.map(|scope| format!("  ({scope})")).unwrap_or_default();
    output::line(&format!(
        "{}…  {:<18} {:<6} {} to {} in {}/{}/{}{}  {} bytes  {delivery}{scope}",
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
    ))
}

fn detail(view: &OutcomeView) -> Result<()> {
    if let Some(reason) = &view.held {
        output::line(&format!("  kept back   {reason}"))?;
    }
    output::changes(&view.changed)?;
    output::line(&format!("  bytes       {}", view.packet))?;
    let bytes = hex::decode(&view.packet)?;
    let notation = packet::diagnostic(&bytes).unwrap_or_default();
    output::line(&format!("  notation    {notation}"))
}
