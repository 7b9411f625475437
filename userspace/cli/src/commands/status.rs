//! `edgelore status`: what the node sees, withholds and loses.

use super::{DataArguments, block_on};
use crate::output;
use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let status = block_on(async { Ok(arguments.data.control()?.status().await?) })?;
    output::line(&serde_json::to_string_pretty(&status)?)
}
