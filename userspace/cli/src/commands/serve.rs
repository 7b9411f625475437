//! `edgelore serve`: a store for other networks.

use super::SimilarityArguments;
use anyhow::{Context, Result};
use clap::Args;
use edgelore_node::api::{RATE_DEFAULT, STREAMS_MAX, StreamBounds, TlsFiles};
use edgelore_node::serve::{ServeConfig, serve};
use edgelore_node::trust::TrustConfig;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Address to listen on. Anything but loopback needs `--token-file` or `--client-ca`.
    #[arg(long, default_value = "127.0.0.1:7171")]
    listen: SocketAddr,
    /// Directory of the embedded store; made if it is not there.
    #[arg(long)]
    store: PathBuf,
    /// File with the bearer tokens that clients must present one of, a token a line.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// The server's certificate and its chain (PEM): serves HTTPS.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Who signs the clients' certificates (PEM): whoever has none is not let in.
    #[arg(long, requires = "tls_cert")]
    client_ca: Option<PathBuf>,
    /// Requests a second of each token, else of each certificate, else of each address; twice as
    /// many may come at once.
    #[arg(long, default_value_t = RATE_DEFAULT)]
    rate: NonZeroU32,
    /// Event streams that each of these may hold at the same time, 1 to 256; all together hold 256.
    #[arg(long, default_value_t = StreamBounds::default().held_max, value_parser = streams_max)]
    streams_max: NonZeroU32,
    /// Event streams that each of these may open in a second; as many as it may hold at once.
    #[arg(long, default_value_t = StreamBounds::default().opened_per_second)]
    streams_per_second: NonZeroU32,
    /// Take packets of those publishers alone that are pinned or allowed in the store's trust book
    /// (`edgelore trust allow --data STORE`).
    #[arg(long)]
    only_known: bool,
    /// How old a packet may be when it is stored, in days.
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u16).range(1..=366))]
    replay_window_days: u16,
    /// New packets of one publisher in an hour; so many may come at once.
    #[arg(long, default_value = "10000")]
    publisher_hourly_max: NonZeroU32,
    #[command(flatten)]
    similarity: SimilarityArguments,
}

fn streams_max(text: &str) -> Result<NonZeroU32, String> {
    let count = text.parse::<NonZeroU32>().map_err(|error| error.to_string())?;
    let fits = (count.get() <= STREAMS_MAX).then_some(count);
    fits.ok_or_else(|| format!("a store bears {STREAMS_MAX} event streams"))
}

impl Arguments {
    fn config(&self) -> Result<ServeConfig> {
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        Ok(ServeConfig {
            listen: self.listen,
            store: self.store.clone(),
            token_file: self.token_file.clone(),
            tls: files.map(|(certificate, key)| TlsFiles {
                certificate,
                key,
                client_ca: self.client_ca.clone(),
            }),
            space: self.similarity.space()?,
            rate: self.rate,
            streams: StreamBounds {
                held_max: self.streams_max,
                opened_per_second: self.streams_per_second,
            },
            trust: TrustConfig {
                only_known: self.only_known,
                replay_window_days: self.replay_window_days,
                publisher_hourly_max: self.publisher_hourly_max,
                ..TrustConfig::default()
            },
        })
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let config = arguments.config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    Ok(runtime.block_on(serve(&config))?)
}
