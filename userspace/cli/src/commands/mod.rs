//! The subcommands, and what several of them share.

pub(crate) mod advise;
pub(crate) mod copy;
pub(crate) mod decode;
pub(crate) mod doctor;
pub(crate) mod fingerprint;
pub(crate) mod incidents;
pub(crate) mod keygen;
pub(crate) mod maintenance;
pub(crate) mod outcomes;
pub(crate) mod packet;
pub(crate) mod publish;
pub(crate) mod query;
pub(crate) mod replay;
pub(crate) mod resolve;
pub(crate) mod revoke;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod similar;
pub(crate) mod similarity;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod trust;

use anyhow::{Context, Result};
use clap::Args;
use edgelore_model::Query;
use edgelore_node::control::Control;
use edgelore_node::store::{Access, Stores};
use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::Backend;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

/// Where outcomes are stored.
#[derive(Debug, Args)]
pub(crate) struct StoreArguments {
    /// `http://HOST:PORT` or `https://HOST:PORT` of an `edgelore serve`, several separated by commas
    /// if they stand in for one another, `embedded:DIRECTORY`, or a database server: `redis://…`,
    /// `rediss://…` (TLS), `postgres://…`, `pgvector://…`, `nats://…`, `tls://…` (NATS with TLS), or a
    /// node of the DHT, `dht:///DIRECTORY?…`. Repeated, all of them are written and read.
    #[arg(long, env = "EDGELORE_STORE", required = true, hide_env_values = true)]
    store: Vec<String>,
    #[command(flatten)]
    access: AccessArguments,
    #[command(flatten)]
    similarity: SimilarityArguments,
}

/// What proves to a store who asks.
#[derive(Debug, Args)]
pub(crate) struct AccessArguments {
    /// File with the store's bearer token, or the database server's password.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// File with who signs the store's certificate (PEM); whom the system trusts, without.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// File with our certificate (PEM), if the store asks for one.
    #[arg(long, requires = "certificate_key_file")]
    certificate_file: Option<PathBuf>,
    /// File with its private key (PEM).
    #[arg(long, requires = "certificate_file")]
    certificate_key_file: Option<PathBuf>,
}

impl AccessArguments {
    /// Opens stores, to measure with `space`.
    pub(crate) fn open(&self, stores: &[String], space: &Space) -> Result<Arc<dyn Backend>> {
        let access = Access {
            token: self.token_file.clone(),
            ca: self.ca_file.clone(),
            certificate: self.certificate_file.clone(),
            key: self.certificate_key_file.clone(),
        };
        Ok(edgelore_node::store::open(&Stores::Several(stores.to_vec()), &access, space)?)
    }
}

impl StoreArguments {
    /// Opens the store.
    pub(crate) fn open(&self) -> Result<Arc<dyn Backend>> {
        self.access.open(&self.store, &self.space()?)
    }

    /// The definition that the store measures with.
    pub(crate) fn space(&self) -> Result<Space> {
        self.similarity.space()
    }
}

/// Where outcomes are stored, for commands that can do without.
#[derive(Debug, Args)]
pub(crate) struct OptionalStore {
    /// As for commands that need one: `http://HOST:PORT`, `embedded:DIRECTORY`, a database server.
    #[arg(long, env = "EDGELORE_STORE", hide_env_values = true)]
    store: Vec<String>,
    #[command(flatten)]
    access: AccessArguments,
    #[command(flatten)]
    similarity: SimilarityArguments,
}

impl OptionalStore {
    /// Opens the store, if there is one.
    pub(crate) fn open(&self) -> Result<Option<Arc<dyn Backend>>> {
        let space = self.space()?;
        (!self.store.is_empty()).then(|| self.access.open(&self.store, &space)).transpose()
    }

    /// The definition that outcomes are sealed under, with a store or without.
    pub(crate) fn space(&self) -> Result<Space> {
        self.similarity.space()
    }
}

/// When situations are alike.
#[derive(Clone, Debug, Args)]
pub(crate) struct SimilarityArguments {
    /// A similarity definition of one's own; the shipped one without it.
    #[arg(long, value_name = "FILE", env = "EDGELORE_SIMILARITY")]
    similarity: Option<PathBuf>,
}

impl SimilarityArguments {
    /// The definition.
    pub(crate) fn space(&self) -> Result<Space> {
        Ok(edgelore_node::similarity::load(self.similarity.as_deref())?)
    }
}

/// A situation; a field left out costs nothing.
#[derive(Debug, Args)]
pub(crate) struct SituationArguments {
    /// The network's shape, for example `spine_leaf`.
    #[arg(long)]
    topology_class: Option<String>,
    /// For example `bgp`.
    #[arg(long)]
    protocol: Option<String>,
    /// `convergence`, `flap`, `saturation` or `degradation`.
    #[arg(long)]
    event_type: Option<String>,
    /// In the event type's unit: ms, transitions per hour, ms of backlog, parts per million.
    #[arg(long)]
    severity: Option<u64>,
    /// Affected prefixes.
    #[arg(long)]
    prefixes: Option<u64>,
    /// Routers in the network.
    #[arg(long)]
    nodes: Option<u64>,
    /// Only outcomes of this resolution.
    #[arg(long)]
    pattern: Option<String>,
}

impl SituationArguments {
    pub(crate) fn query(&self) -> Query {
        Query {
            topology_class: self.topology_class.clone(),
            protocol: self.protocol.clone(),
            event_type: self.event_type.clone(),
            severity: self.severity,
            affected_prefixes: self.prefixes,
            node_count: self.nodes,
            resolution_pattern: self.pattern.clone(),
        }
    }
}

/// The node to talk to.
#[derive(Debug, Args)]
pub(crate) struct DataArguments {
    /// The node's data directory.
    #[arg(long, default_value = "/var/lib/edgelore")]
    data: PathBuf,
}

impl DataArguments {
    /// The running node's control socket.
    pub(crate) fn control(&self) -> Result<Control> {
        Ok(Control::connect(&self.data)?)
    }
}

/// A radius in milli-units from a text in units, with up to three decimals.
pub(crate) fn radius_milli(text: &str) -> Result<u32, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 3 || !digits(whole) || !digits(fraction) {
        return Err("not a number with at most three decimals, such as 3 or 2.5".to_owned());
    }
    format!("{whole}{fraction:0<3}").parse().map_err(|_| "too large".to_owned())
}

/// Runs a future to its end on a small runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use super::radius_milli;

    #[test]
    fn a_radius_is_given_in_units() {
        for (text, milli) in [("3", Ok(3000)), ("2.5", Ok(2500)), ("0.001", Ok(1))] {
            assert_eq!(radius_milli(text), milli);
        }
        for wrong in ["", ".5", "1.2345", "-1", "three", "99999999"] {
            assert!(radius_milli(wrong).is_err(), "{wrong}");
        }
    }
}
