//! `edgelore maintenance`: when incidents are of the operator's own making.

use super::{DataArguments, block_on};
use crate::output;
use anyhow::Result;
use clap::{Args, Subcommand};
use edgelore_node::maintenance::{Request, WindowView};
use std::net::IpAddr;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Begin maintenance now.
    Start {
        #[command(flatten)]
        data: DataArguments,
        /// It ends by itself after so many minutes.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        minutes: Option<u32>,
        /// Only sessions with this address are concerned; may be repeated.
        #[arg(long)]
        only: Vec<IpAddr>,
    },
    /// End all maintenance that was begun by command.
    End {
        #[command(flatten)]
        data: DataArguments,
    },
    /// List the windows, those of the configuration first.
    List {
        #[command(flatten)]
        data: DataArguments,
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (data, request, json) = match &arguments.action {
        Action::Start { data, minutes, only } => {
            (data, Some(Request::Start { minutes: *minutes, only: only.clone() }), false)
        }
        Action::End { data } => (data, Some(Request::End), false),
        Action::List { data, json } => (data, None, *json),
    };
    let windows = block_on(async {
        let control = data.control()?;
        Ok(match request {
            Some(request) => control.maintain(&request).await?,
            None => control.windows().await?,
        })
    })?;
    if json {
        return output::json(&windows);
    }
    windows.iter().try_for_each(line)
}

fn line(window: &WindowView) -> Result<()> {
    let only: Vec<String> = window.only.iter().map(ToString::to_string).collect();
    output::line(&format!(
        "{:<6}  {:<10}  {}{}",
        if window.open { "open" } else { "closed" },
        if window.declared { "by command" } else { "configured" },
        window.when,
        if only.is_empty() { String::new() } else { format!("  only {}", only.join(", ")) },
    ))
}
