//! `edgelore serve`: a store for other networks.

use super::{SimilarityArguments, block_on};
use anyhow::Result;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Address to listen on. Anything but loopback needs `--token-file`.
    #[arg(long, default_value = "127.0.0.1:7171")]
    listen: SocketAddr,
    /// Directory of the embedded store; made if it is not there.
    #[arg(long)]
    store: PathBuf,
    /// File with the bearer token that clients must present.
    #[arg(long)]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    similarity: SimilarityArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    block_on(async {
        let token = arguments.token_file.as_deref();
        let space = arguments.similarity.space()?;
        Ok(edgelore_node::serve::serve(arguments.listen, &arguments.store, token, space).await?)
    })
}
