//! `edgelore incidents`: what the node has measured, and one incident explained.

use super::{DataArguments, block_on};
use crate::output;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use edgelore_node::view::PREFIXES_DEFAULT;
use edgelore_pipeline::explain::{self, Account, TextOptions};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tell one incident: its causes, its measures, its timeline, and what rests on it.
    Show(ShowArguments),
}

#[derive(Debug, Args)]
struct ShowArguments {
    /// The incident's id, its beginning, or `latest`.
    incident: String,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    form: FormArguments,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// How an incident is told.
#[derive(Debug, Args)]
pub(crate) struct FormArguments {
    /// Also draw the incident into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// List every prefix.
    #[arg(long)]
    prefixes: bool,
    /// Columns of the timeline; by default the terminal's as `COLUMNS` says, else 80.
    #[arg(long, env = "COLUMNS", default_value_t = 80)]
    width: u16,
    /// Plain ASCII, for terminals without block elements.
    #[arg(long)]
    ascii: bool,
}

impl FormArguments {
    /// How many prefixes to ask for.
    pub(crate) const fn prefixes_max(&self) -> usize {
        if self.prefixes { usize::MAX } else { PREFIXES_DEFAULT }
    }

    /// Draws the incident where asked to, and gives its text.
    pub(crate) fn tell(&self, account: &Account) -> Result<String> {
        if let Some(file) = &self.svg {
            std::fs::write(file, explain::svg(account))
                .with_context(|| format!("writing the image {}", file.display()))?;
        }
        let options = TextOptions { width: self.width, ascii: self.ascii };
        Ok(explain::text(account, options))
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.action {
        Some(Action::Show(show)) => run_show(show),
        None => list(arguments),
    }
}

fn list(arguments: &Arguments) -> Result<()> {
    let incidents = block_on(async { Ok(arguments.data.control()?.incidents().await?) })?;
    if arguments.json {
        return output::json(&incidents);
    }
    incidents.iter().try_for_each(output::incident)
}

fn run_show(show: &ShowArguments) -> Result<()> {
    let account = block_on(async {
        let control = show.data.control()?;
        Ok(control.incident(&show.incident, show.form.prefixes_max()).await?)
    })?;
    let text = show.form.tell(&account)?;
    if show.json { output::json(&account) } else { output::line(text.trim_end()) }
}
