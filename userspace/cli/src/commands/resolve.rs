//! `edgelore resolve`: the operator's word.

use super::{DataArguments, block_on};
use crate::output;
use anyhow::Result;
use clap::Args;
use edgelore_model::{Known, Resolution};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    /// What was changed, for example `dampening` or `graceful_restart`.
    #[arg(long)]
    pattern: String,
    /// A step, as a sentence that names no address; may be repeated.
    #[arg(long = "step")]
    steps: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let resolution = Resolution {
        pattern: arguments.pattern.clone(),
        steps: arguments.steps.clone(),
        known: Known::Declared,
    };
    block_on(async { Ok(arguments.data.control()?.declare(&resolution).await?) })?;
    output::line("noted; the next incident of a known class will show what it brought")
}
