//! `edgelore keygen`: a new signing key.

use crate::output;
use anyhow::Result;
use clap::Args;
use edgelore_node::keys;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file to write; it must not exist.
    #[arg(long)]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let key = keys::generate(&arguments.out)?;
    output::line(&hex::encode(key.publisher()))
}
