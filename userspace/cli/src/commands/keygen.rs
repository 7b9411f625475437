//! `edgelore keygen`: a new signing key, or one that succeeds another.

use super::{OptionalStore, block_on};
use crate::output;
use anyhow::Result;
use clap::Args;
use edgelore_capture::Clock;
use edgelore_node::keys;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file to write; it must not exist.
    #[arg(long)]
    out: PathBuf,
    /// The key that the new one succeeds. Both may publish from then on, and have one vote together;
    /// the statement that says so is written to OUT.succession, and a node with the new key tells it
    /// to its store; with --store it is told at once.
    #[arg(long, value_name = "OLD")]
    rotate: Option<PathBuf>,
    #[command(flatten)]
    store: OptionalStore,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    publisher: String,
    public_key: String,
    key: PathBuf,
    succession: Option<PathBuf>,
    /// The store has the succession.
    told: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let out = &arguments.out;
    let (key, statement) = match &arguments.rotate {
        None => (keys::generate(out)?, None),
        Some(old) => {
            let (key, statement) = keys::rotate(old, out, Clock::new().now())?;
            (key, Some(statement))
        }
    };
    let succession = statement.is_some().then(|| keys::succession_path(out));
    let told = match statement {
        Some(statement) => tell(&arguments.store, statement)?,
        None => false,
    };
    let publisher = hex::encode(key.publisher());
    if arguments.json {
        let (public_key, key) = (hex::encode(key.public()), out.clone());
        return output::json(&Report { publisher, public_key, key, succession, told });
    }
    output::line(&publisher)
}

/// Tells the succession to the store; false when none is named.
fn tell(store: &OptionalStore, statement: Vec<u8>) -> Result<bool> {
    let Some(store) = store.open()? else { return Ok(false) };
    block_on(async { Ok(store.declare(statement).await?) })?;
    Ok(true)
}
