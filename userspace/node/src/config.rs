//! Configuration: one TOML file, every key with a unit in its name and a default that works.

use edgelore_pipeline::detect::DetectConfig;
use edgelore_pipeline::distil::Site;
use edgelore_pipeline::fingerprint::RADIUS_DEFAULT;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not valid; the message names line and key.
    #[error("in configuration {path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value is outside its bounds.
    #[error("in configuration {path}: {key} = {value} is outside {bounds}")]
    OutOfBounds {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        bounds: &'static str,
    },
}

/// The whole configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node itself.
    pub node: NodeConfig,
    /// What is captured.
    pub capture: CaptureConfig,
    /// How incidents are detected.
    pub detect: DetectConfig,
    /// Where outcomes go.
    pub publish: PublishConfig,
    /// How advice is sought.
    pub advise: AdviseConfig,
}

/// `[node]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Where the node keeps its journal, its key and its control socket.
    pub data_dir: PathBuf,
    /// The network's shape, a word of the similarity definition such as `spine_leaf`.
    pub topology_class: String,
    /// Routers in the network.
    pub node_count: u64,
    /// Decoding threads, 1 to 64.
    pub workers: usize,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/edgelore"),
            topology_class: "hub_spoke".to_owned(),
            node_count: 1,
            workers: 1,
        }
    }
}

/// `[capture]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureConfig {
    /// Interfaces by name.
    pub interfaces: Vec<String>,
    /// Size of the ring between kernel and userspace in bytes, a power of two.
    pub ring_bytes: u32,
    /// Kernel routing tables whose changes count.
    pub fib_tables: Vec<u32>,
    /// Time between two samples of the interface counters in ms, 1 to 1000.
    pub counter_interval_ms: u32,
    /// How long a signal waits for earlier ones from slower sources, in ms, 0 to 1000.
    pub reorder_ms: u32,
    /// Whether the kernel's tracepoints are watched: drops, queues, retransmissions, sockets.
    pub tracepoints: bool,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            ring_bytes: 8 << 20,
            fib_tables: vec![254],
            counter_interval_ms: 10,
            reorder_ms: 10,
            tracepoints: true,
        }
    }
}

/// `[publish]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublishConfig {
    /// `http://host:port` of an `edgelore serve`, or `embedded:DIRECTORY`. Without it, outcomes
    /// stay in the journal.
    pub store: Option<String>,
    /// File with the bearer token for the store.
    pub token_file: Option<PathBuf>,
    /// The signing key; by default `key` in the data directory, made at the first start.
    pub key: Option<PathBuf>,
}

/// `[advise]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdviseConfig {
    /// How far a situation may be from one's own, in milli-units: 3000 is "radius 3".
    pub radius_milli: u32,
    /// Outcomes looked at, at most.
    pub outcomes_max: usize,
}

impl Default for AdviseConfig {
    fn default() -> Self {
        Self { radius_milli: RADIUS_DEFAULT, outcomes_max: 1_000 }
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: source.into(),
        })?;
        config.check(path)?;
        Ok(config)
    }

    /// What distillation needs to know of the network.
    #[must_use]
    pub fn site(&self) -> Site {
        Site { topology_class: self.node.topology_class.clone(), node_count: self.node.node_count }
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let capture = &self.capture;
        let checks: [(&'static str, bool, String, &'static str); 5] = [
            (
                "node.workers",
                (1..=64).contains(&self.node.workers),
                self.node.workers.to_string(),
                "1 to 64",
            ),
            (
                "capture.ring_bytes",
                capture.ring_bytes.is_power_of_two() && capture.ring_bytes >= 1 << 16,
                capture.ring_bytes.to_string(),
                "the powers of two from 65536",
            ),
            (
                "capture.counter_interval_ms",
                (1..=1000).contains(&capture.counter_interval_ms),
                capture.counter_interval_ms.to_string(),
                "1 to 1000",
            ),
            (
                "capture.reorder_ms",
                capture.reorder_ms <= 1000,
                capture.reorder_ms.to_string(),
                "0 to 1000",
            ),
            (
                "detect.quiet_ms",
                self.detect.quiet_ms >= 1,
                self.detect.quiet_ms.to_string(),
                "1 and more",
            ),
        ];
        for (key, holds, value, bounds) in checks {
            if !holds {
                return Err(ConfigError::OutOfBounds { path: path.to_owned(), key, value, bounds });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(file.path())
    }

    #[test]
    fn an_empty_file_is_a_valid_configuration() {
        assert_eq!(load("").unwrap().capture.counter_interval_ms, 10);
    }

    #[test]
    fn errors_name_the_key() {
        for (text, named) in [
            ("[capture]\ninterface = ['eth0']", "interface"),
            ("[capture]\nring_bytes = 1000", "capture.ring_bytes"),
            ("[node]\nworkers = 0", "node.workers"),
            ("[detect]\nquiet_ms = 'long'", "quiet_ms"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
