//! `edgelore advise`: what helped in situations like yours.

use super::{AccessArguments, SimilarityArguments, SituationArguments, block_on, radius_milli};
use crate::output;
use anyhow::{Result, bail};
use clap::Args;
use edgelore_capture::Clock;
use edgelore_node::advise::seek;
use edgelore_node::config::AdviseConfig;
use edgelore_node::control::{AdviceReport, Control};
use edgelore_pipeline::synthesise::Policy;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// An incident of the running node, `latest` or its id: the node asks its store and remembers
    /// what it was told, so that the outcome of trying it names its parents.
    #[arg(long)]
    incident: Option<String>,
    /// The node's data directory.
    #[arg(long, default_value = "/var/lib/edgelore")]
    data: PathBuf,
    /// Ask this store directly about the situation given by the flags. No trust book is asked:
    /// whoever signs has a vote.
    #[arg(long, env = "EDGELORE_STORE")]
    store: Vec<String>,
    #[command(flatten)]
    access: AccessArguments,
    #[command(flatten)]
    similarity: SimilarityArguments,
    #[command(flatten)]
    situation: SituationArguments,
    /// How far a situation may be, in units such as `3` or `2.5`.
    #[arg(long, value_parser = radius_milli)]
    radius: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let report = block_on(async {
        match (&arguments.incident, arguments.store.as_slice()) {
            (Some(incident), _) => {
                Ok(Control::connect(&arguments.data)?.advise(incident, arguments.radius).await?)
            }
            (None, stores @ [_, ..]) => {
                let mut limits = AdviseConfig::default();
                limits.radius_milli = arguments.radius.unwrap_or(limits.radius_milli);
                let query = arguments.situation.query();
                let space = arguments.similarity.space()?;
                let store = arguments.access.open(stores, &space)?;
                // Without a node there is no trust book: whoever signs has a vote.
                let policy = Policy { now: Some(Clock::new().now()), ..Policy::default() };
                let advice = seek(store.as_ref(), &space, &query, &limits, policy).await?;
                Ok(AdviceReport { query, advice })
            }
            (None, []) => {
                bail!("say what to ask about: --incident latest, or --store with a situation")
            }
        }
    })?;
    if arguments.json {
        return output::json(&report);
    }
    output::advice(&report.advice)
}
