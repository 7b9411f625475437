//! `edgelore run`: the node on a gateway.

use anyhow::Result;
use clap::Args;
use edgelore_node::config::Config;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = "/etc/edgelore.toml")]
    config: PathBuf,
    /// Check the configuration and stop.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    if arguments.check {
        return crate::output::line("the configuration is valid");
    }
    Ok(edgelore_node::run(&config, &arguments.config)?)
}
