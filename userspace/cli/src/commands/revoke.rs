//! `edgelore revoke`: takes back an outcome, or everything that a key has signed.

use super::{StoreArguments, block_on};
use crate::output;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use edgelore_capture::Clock;
use edgelore_model::{Outcome, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::packet::{
    self, Counts, Opened, PacketId, Privacy, Sealed, SigningKey, statement,
};
use edgelore_routing::Backend;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The packet's id, 64 hexadecimal digits.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// Take back the key itself: nothing that it has signed or will sign counts any more. This
    /// cannot be undone.
    #[arg(long)]
    all: bool,
    /// The key that signed it, or one that succeeds that.
    #[arg(long)]
    key: PathBuf,
    #[command(flatten)]
    store: StoreArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    /// The packet, or the publisher, that counts no more.
    revoked: String,
    /// The packet or statement that says so.
    id: String,
    /// It was not said before.
    new: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let key = edgelore_node::keys::load(&arguments.key)?;
    let now = Clock::new().now();
    let space = arguments.store.space()?;
    let report = block_on(async {
        let store = arguments.store.open()?;
        match &arguments.id {
            Some(id) => revoke_packet(store.as_ref(), &space, id, &key, now).await,
            None => revoke_key(store.as_ref(), &key, now).await,
        }
    })?;
    if arguments.json {
        return output::json(&report);
    }
    output::line(&format!("{} counts no more", report.revoked))
}

async fn revoke_key(store: &dyn Backend, key: &SigningKey, now: Timestamp) -> Result<Report> {
    let stored = store.declare(statement::revocation(key, now)).await?;
    let revoked = hex::encode(key.publisher());
    Ok(Report { revoked, id: hex::encode(stored.id), new: stored.new })
}

async fn revoke_packet(
    store: &dyn Backend,
    space: &Space,
    named: &str,
    key: &SigningKey,
    now: Timestamp,
) -> Result<Report> {
    let id: Option<PacketId> = hex::decode(named).ok().and_then(|bytes| bytes.try_into().ok());
    let id = id.with_context(|| format!("'{named}' is not 64 hexadecimal digits"))?;
    let Some(bytes) = store.get(&id).await? else { bail!("the store has no packet {named}") };
    let opened = packet::open(&bytes)?;
    let lineage = Lineage::of(&store.statements(&[opened.publisher]).await?);
    ensure!(
        lineage.heirs(&opened.publisher).contains(&key.publisher()),
        "packet {named} was signed by {}, which this key neither is nor succeeds",
        hex::encode(opened.publisher),
    );
    ensure!(opened.outcome.expires > now, "packet {named} has expired and counts no more");
    let stored = store.store(taken_back(&opened, key, space, now)?.bytes).await?;
    Ok(Report { revoked: named.to_owned(), id: hex::encode(stored.id), new: stored.new })
}

/// The packet that takes back another one: it lies in the same place and counts for as long.
fn taken_back(opened: &Opened, key: &SigningKey, space: &Space, now: Timestamp) -> Result<Sealed> {
    let mut outcome = Outcome {
        created: Timestamp::from_secs_nanos(now.secs(), 0),
        revokes: Some(opened.id),
        supersedes: None,
        parents: Vec::new(),
        ..opened.outcome.clone()
    };
    outcome.resolution.steps.clear();
    let privacy = Privacy::with(Counts::Exact);
    Ok(packet::seal_with(&outcome, key, space, &privacy)?)
}
