//! `edgelore store copy`: moves what counts from one store into another and verifies the copy.

use super::{SimilarityArguments, block_on};
use crate::output;
use anyhow::{Context, Result, ensure};
use clap::Args;
use edgelore_capture::Clock;
use edgelore_node::store::{Access, Stores};
use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::Backend;
use edgelore_routing::copy::{Progress, copy};
use edgelore_routing::embedded::Now;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::sync::Arc;

const BAR: &str = "{msg:9} {wide_bar} {human_pos} of {human_len} packets, {per_sec}, {eta} left";
const UNBOUNDED: &str = "{msg:9} {spinner} {human_pos} packets, {per_sec}";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The store to read: `embedded:DIRECTORY` that no server has open, `http://HOST:PORT` of an
    /// `edgelore serve`, or a database server, as for `--store` elsewhere.
    #[arg(long, value_name = "URL")]
    from: String,
    /// The store to write, likewise; what is in it stays.
    #[arg(long, value_name = "URL")]
    to: String,
    /// File with the bearer token or password for the store that is read.
    #[arg(long, value_name = "FILE")]
    from_token_file: Option<PathBuf>,
    /// File with the bearer token or password for the store that is written.
    #[arg(long, value_name = "FILE")]
    to_token_file: Option<PathBuf>,
    /// File with who signs the certificate of the store that is read (PEM).
    #[arg(long, value_name = "FILE")]
    from_ca_file: Option<PathBuf>,
    /// File with who signs the certificate of the store that is written (PEM).
    #[arg(long, value_name = "FILE")]
    to_ca_file: Option<PathBuf>,
    /// File with our certificate (PEM), if a store asks for one.
    #[arg(long, value_name = "FILE", requires = "certificate_key_file")]
    certificate_file: Option<PathBuf>,
    /// File with its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    certificate_key_file: Option<PathBuf>,
    #[command(flatten)]
    similarity: SimilarityArguments,
}

impl Arguments {
    fn source(&self, space: &Space) -> Result<Arc<dyn Backend>> {
        self.open(&self.from, &self.from_token_file, &self.from_ca_file, space)
    }

    fn destination(&self, space: &Space) -> Result<Arc<dyn Backend>> {
        self.open(&self.to, &self.to_token_file, &self.to_ca_file, space)
    }

    fn open(
        &self,
        name: &str,
        token: &Option<PathBuf>,
        ca: &Option<PathBuf>,
        space: &Space,
    ) -> Result<Arc<dyn Backend>> {
        let access = Access {
            token: token.clone(),
            ca: ca.clone(),
            certificate: self.certificate_file.clone(),
            key: self.certificate_key_file.clone(),
        };
        Ok(edgelore_node::store::open(&Stores::One(name.to_owned()), &access, space)?)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let space = arguments.similarity.space()?;
    if let Some(directory) = arguments.from.strip_prefix("embedded:") {
        let there = PathBuf::from(directory).join("outcomes.redb").is_file();
        ensure!(there, "opening the source: {directory} holds no store");
    }
    block_on(async {
        let from = arguments.source(&space).context("opening the source")?;
        let to = arguments.destination(&space).context("opening the destination")?;
        let now: Now = Arc::new(|| Clock::new().now());
        let bar = ProgressBar::new_spinner();
        let copied = copy(from.as_ref(), to.as_ref(), &now, |progress| show(&bar, progress)).await;
        bar.finish_and_clear();
        let copied = copied.context("the copy is not complete; it may be repeated")?;
        output::json(&copied)?;
        let refused: u64 = copied.refused.values().sum();
        ensure!(refused == 0, "the destination refuses {refused} of {} packets", copied.read);
        Ok(())
    })
}

/// Draws on a terminal only.
fn show(bar: &ProgressBar, progress: Progress) {
    let (message, done, of) = match progress {
        Progress::Copying(done, of) => ("copying", done, of),
        Progress::Verifying(done, of) => ("verifying", done, Some(of)),
    };
    if bar.message() != message || bar.length() != of {
        let template = if of.is_some() { BAR } else { UNBOUNDED };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is one"));
        bar.set_message(message);
        bar.reset_eta();
        if let Some(of) = of {
            bar.set_length(of);
        }
    }
    bar.set_position(done);
}
