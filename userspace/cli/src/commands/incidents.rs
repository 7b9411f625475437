//! `edgelore incidents`: what the node has measured.

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
    let incidents = block_on(async { Ok(arguments.data.control()?.incidents().await?) })?;
    if arguments.json {
        return output::json(&incidents);
    }
    incidents.iter().try_for_each(output::incident)
}
