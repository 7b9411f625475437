//! Configuration: one TOML file, every key with a unit in its name and a default that works.

use crate::egress::Egress;
use crate::interfaces::Selection;
use crate::maintenance::MaintenanceConfig;
use crate::privacy::PrivacyConfig;
use crate::sharing::SharingConfig;
use crate::similarity;
use crate::store::{Access, Stores};
use crate::trust::TrustConfig;
use crate::watcher::Hooks;
use edgelore_capture::bmp;
use edgelore_capture::ring::XdpPolicy;
use edgelore_model::Prefix;
use edgelore_pipeline::detect::DetectConfig;
use edgelore_pipeline::distil::DistilConfig;
use edgelore_pipeline::fingerprint::RADIUS_DEFAULT;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
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
    /// The similarity definition cannot be used.
    #[error("in configuration {path}: similarity.definition: {source}")]
    Similarity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: similarity::DefinitionError,
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

/// A key, whether its value is within its bounds, the value, and the bounds.
type Check = (&'static str, bool, String, &'static str);

/// Refuses the first value that is out of its bounds.
fn all_hold(checks: impl IntoIterator<Item = Check>, path: &Path) -> Result<(), ConfigError> {
    match checks.into_iter().find(|(_, holds, ..)| !holds) {
        Some((key, _, value, bounds)) => {
            Err(ConfigError::OutOfBounds { path: path.to_owned(), key, value, bounds })
        }
        None => Ok(()),
    }
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
    /// When comparisons become outcomes.
    pub distil: DistilConfig,
    /// Where outcomes go.
    pub publish: PublishConfig,
    /// What leaves, and in which form.
    pub privacy: PrivacyConfig,
    /// How far outcomes may go.
    pub sharing: SharingConfig,
    /// Whose packets count.
    pub trust: TrustConfig,
    /// What is received of others.
    pub receive: ReceiveConfig,
    /// How advice is sought.
    pub advise: AdviseConfig,
    /// When situations are alike.
    pub similarity: SimilarityConfig,
    /// When incidents are of the operator's own making.
    pub maintenance: MaintenanceConfig,
    /// The router's own configuration.
    pub router: RouterConfig,
}

/// `[node]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Where the node keeps its journal, its key and its control socket.
    pub data_dir: PathBuf,
    /// The network's shape, a word of the similarity definition such as `spine_leaf`; what was
    /// inferred unless it is there.
    pub topology_class: Option<String>,
    /// Routers in the network; as many as were heard of unless it is there.
    pub node_count: Option<u64>,
    /// Decoding threads, 1 to 64.
    pub workers: usize,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/edgelore"),
            topology_class: None,
            node_count: None,
            workers: 1,
        }
    }
}

/// `[capture]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureConfig {
    /// Interfaces by name or glob (`eth*`), or `all` for every one but `lo`. They may come, go and
    /// be renamed while the node runs.
    pub interfaces: Vec<String>,
    /// How XDP is attached.
    pub xdp: XdpMode,
    /// Whether what leaves an interface is watched too, which costs every packet that is merely
    /// forwarded some 50 ns: `true`, `false`, or `auto` for as long as a socket of this machine
    /// speaks a routing protocol, or an interface that is up is not watched.
    pub egress: Egress,
    /// Size of the ring between kernel and userspace in bytes, a power of two.
    pub ring_bytes: u32,
    /// Kernel routing tables whose changes count.
    pub fib_tables: Vec<u32>,
    /// Time between two samples of the interface counters in ms, 1 to 1000.
    pub counter_interval_ms: u32,
    /// Time between two samples of the queues' statistics in ms, 10 to 10000.
    pub queue_interval_ms: u32,
    /// How long a signal waits for earlier ones from slower sources, in ms, 0 to 1000.
    pub reorder_ms: u32,
    /// Whether the kernel's tracepoints are watched: drops, queues, retransmissions, sockets.
    pub tracepoints: bool,
    /// Routers that report over BMP; none unless this is there.
    pub bmp: Option<BmpConfig>,
}

/// `[capture.bmp]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BmpConfig {
    /// Where routers connect, such as `0.0.0.0:1790` (IANA's port for BMP).
    pub listen: SocketAddr,
    /// Routers connected at once, at most, 1 to 1024.
    #[serde(default = "routers_max_default")]
    pub routers_max: usize,
    /// Addresses or prefixes that routers connect from; nobody else is let in.
    pub allow: Vec<AllowedRouters>,
}

const fn routers_max_default() -> usize {
    64
}

/// An address or a prefix, such as `192.0.2.1` or `2001:db8::/48`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AllowedRouters(pub Prefix);

impl TryFrom<String> for AllowedRouters {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let whole =
            |address: IpAddr| Prefix::new(address, if address.is_ipv4() { 32 } else { 128 });
        let prefix = match text.parse() {
            Ok(address) => whole(address),
            Err(_) => text.parse(),
        };
        prefix.map(Self).map_err(|_| format!("'{text}' is neither an address nor a prefix"))
    }
}

impl From<AllowedRouters> for String {
    fn from(allowed: AllowedRouters) -> Self {
        allowed.0.to_string()
    }
}

/// How XDP is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver, else in the stack, else tcx in its place.
    #[default]
    Auto,
    /// In the driver; an interface that cannot is not watched.
    Native,
    /// In the stack; an interface that cannot is not watched.
    Generic,
    /// The classifier on the card where the card takes it, beside `auto` on the host.
    Offload,
}

impl From<XdpMode> for XdpPolicy {
    fn from(mode: XdpMode) -> Self {
        match mode {
            XdpMode::Auto => Self::Auto,
            XdpMode::Native => Self::Native,
            XdpMode::Generic => Self::Generic,
            XdpMode::Offload => Self::Offload,
        }
    }
}

impl CaptureConfig {
    /// The interfaces as they are matched.
    ///
    /// # Errors
    /// When a glob is malformed.
    pub fn selection(&self) -> Result<Selection, glob::PatternError> {
        Selection::new(&self.interfaces)
    }

    /// How an interface is watched.
    #[must_use]
    pub fn hooks(&self) -> Hooks {
        Hooks { xdp: self.xdp.into(), egress: self.egress }
    }

    fn checks(&self) -> Vec<Check> {
        let mut checks = vec![
            (
                "capture.interfaces",
                self.selection().is_ok(),
                format!("{:?}", self.interfaces),
                "names, well-formed globs and all",
            ),
            (
                "capture.ring_bytes",
                self.ring_bytes.is_power_of_two() && self.ring_bytes >= 1 << 16,
                self.ring_bytes.to_string(),
                "the powers of two from 65536",
            ),
            (
                "capture.counter_interval_ms",
                (1..=1000).contains(&self.counter_interval_ms),
                self.counter_interval_ms.to_string(),
                "1 to 1000",
            ),
            (
                "capture.queue_interval_ms",
                (10..=10_000).contains(&self.queue_interval_ms),
                self.queue_interval_ms.to_string(),
                "10 to 10000",
            ),
            (
                "capture.reorder_ms",
                self.reorder_ms <= 1000,
                self.reorder_ms.to_string(),
                "0 to 1000",
            ),
        ];
        checks.extend(self.bmp.iter().flat_map(BmpConfig::checks));
        checks
    }
}

impl BmpConfig {
    fn checks(&self) -> [Check; 2] {
        [
            (
                "capture.bmp.routers_max",
                (1..=bmp::ROUTERS_MAX).contains(&self.routers_max),
                self.routers_max.to_string(),
                "1 to 1024",
            ),
            ("capture.bmp.allow", !self.allow.is_empty(), "[]".to_owned(), "one router and more"),
        ]
    }
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            xdp: XdpMode::Auto,
            egress: Egress::Auto,
            ring_bytes: 8 << 20,
            fib_tables: vec![254],
            counter_interval_ms: 10,
            queue_interval_ms: 100,
            reorder_ms: 4,
            tracepoints: true,
            bmp: None,
        }
    }
}

/// `[publish]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublishConfig {
    /// `http://host:port` or `https://host:port` of an `edgelore serve`, several separated by
    /// commas if they stand in for one another, `embedded:DIRECTORY`, or the URL of a database server; a
    /// list of these when all of them are to be written and read. Without it, outcomes stay in the journal.
    pub store: Option<Stores>,
    /// File with the bearer token for the store, or the database server's password.
    pub token_file: Option<PathBuf>,
    /// File with who signs the store's certificate (PEM); whom the system trusts, without.
    pub ca_file: Option<PathBuf>,
    /// File with our certificate (PEM), if the store asks for one.
    pub certificate_file: Option<PathBuf>,
    /// File with its private key (PEM).
    pub certificate_key_file: Option<PathBuf>,
    /// The signing key; by default `key` in the data directory, made at the first start.
    pub key: Option<PathBuf>,
    /// How long answers of the store are remembered, in ms, at most 600000; 0 asks each time.
    pub cache_ms: u32,
}

/// `[receive]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiveConfig {
    /// Whether what others publish near this network's situations is received as it is published.
    /// Servers named in `publish.store` are followed; an embedded store has no others.
    pub enabled: bool,
    /// How far a situation may be from one's own, in milli-units, at most 100000.
    pub radius_milli: u32,
    /// Packets kept, 1 to 10000000, in `received` in the data directory; each takes about 2 KB of disk
    /// and 350 bytes of memory. When they are as many, the least useful makes room.
    pub packets_max: usize,
}

impl Default for ReceiveConfig {
    fn default() -> Self {
        Self { enabled: true, radius_milli: RADIUS_DEFAULT, packets_max: 100_000 }
    }
}

/// `[similarity]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimilarityConfig {
    /// A similarity definition of one's own, checked by `edgelore similarity check`; the one that
    /// ships with Edgelore without it. The store has to use the same.
    pub definition: Option<PathBuf>,
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

impl PublishConfig {
    /// What proves to the store who asks.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            token: self.token_file.clone(),
            ca: self.ca_file.clone(),
            certificate: self.certificate_file.clone(),
            key: self.certificate_key_file.clone(),
        }
    }
}

impl Default for AdviseConfig {
    fn default() -> Self {
        Self { radius_milli: RADIUS_DEFAULT, outcomes_max: 1_000 }
    }
}

/// `[router]`: where the router's own configuration is read, to see what the operator changes. It
/// stays on the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterConfig {
    /// Configuration files, of FRR or BIRD, at most 64.
    pub files: Vec<PathBuf>,
    /// Whether FRR's shell is asked for the running configuration; or the directory of the daemons'
    /// sockets, where it is not the shell's own.
    pub frr_vtysh: Vtysh,
    /// Time between two readings in ms, 500 to 3600000.
    pub interval_ms: u64,
    /// How long the shell may take in ms, 100 to 60000.
    pub timeout_ms: u64,
    /// File with rules of one's own, tried before those that are shipped.
    pub rules: Option<PathBuf>,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            frr_vtysh: Vtysh::Asked(false),
            interval_ms: 5_000,
            timeout_ms: 10_000,
            rules: None,
        }
    }
}

/// Files that are watched at most.
const ROUTER_FILES_MAX: usize = 64;

impl RouterConfig {
    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let files = self.files.len();
        let checks = [
            ("router.files", files <= ROUTER_FILES_MAX, files.to_string(), "64 files"),
            (
                "router.interval_ms",
                (500..=3_600_000).contains(&self.interval_ms),
                self.interval_ms.to_string(),
                "500 to 3600000",
            ),
            (
                "router.timeout_ms",
                (100..=60_000).contains(&self.timeout_ms),
                self.timeout_ms.to_string(),
                "100 to 60000",
            ),
        ];
        all_hold(checks, path)
    }
}

/// Whether FRR's shell is asked, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Vtysh {
    /// Where it looks by itself; or not at all.
    Asked(bool),
    /// At the daemons whose sockets lie in this directory.
    Sockets(PathBuf),
}

impl Vtysh {
    /// The directory of the sockets, if it is another than the shell's own; `None` when the shell
    /// is not asked.
    #[must_use]
    pub fn socket(&self) -> Option<Option<PathBuf>> {
        match self {
            Self::Asked(false) => None,
            Self::Asked(true) => Some(None),
            Self::Sockets(directory) => Some(Some(directory.clone())),
        }
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
        config.router.check(path)?;
        similarity::load(config.similarity.definition.as_deref())
            .map_err(|source| ConfigError::Similarity { path: path.to_owned(), source })?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let checks = self.capture.checks().into_iter().chain([
            (
                "node.workers",
                (1..=64).contains(&self.node.workers),
                self.node.workers.to_string(),
                "1 to 64",
            ),
            (
                "detect.convergence.quiet_ms",
                self.detect.convergence.quiet_ms >= 1,
                self.detect.convergence.quiet_ms.to_string(),
                "1 and more",
            ),
            (
                "publish.cache_ms",
                self.publish.cache_ms <= 600_000,
                self.publish.cache_ms.to_string(),
                "0 to 600000",
            ),
            (
                "receive.radius_milli",
                self.receive.radius_milli <= 100_000,
                self.receive.radius_milli.to_string(),
                "0 to 100000",
            ),
            (
                "receive.packets_max",
                (1..=10_000_000).contains(&self.receive.packets_max),
                self.receive.packets_max.to_string(),
                "1 to 10000000",
            ),
        ]);
        let privacy = self.privacy.fault();
        let distil =
            self.distil.fault().map(|(key, value, bounds)| (key, value.to_string(), bounds));
        let stores = self.publish.store.as_ref().map(Stores::names).unwrap_or_default();
        let shared = self.sharing.fault(stores).or_else(|| self.trust.fault());
        if let Some((key, value, bounds)) = privacy.or(distil).or(shared) {
            let path = path.to_owned();
            return Err(ConfigError::OutOfBounds { path, key, value, bounds });
        }
        all_hold(checks, path)
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
    fn monitored_routers_are_named_by_address_or_prefix() {
        let text = "[capture.bmp]\nlisten = '[::]:1790'\nallow = ['192.0.2.1', '2001:db8::/48']";
        let bmp = load(text).unwrap().capture.bmp.unwrap();
        let allowed: Vec<String> = bmp.allow.into_iter().map(String::from).collect();
        assert_eq!(allowed, ["192.0.2.1/32", "2001:db8::/48"]);
        assert_eq!(bmp.routers_max, 64);
    }

    #[test]
    fn errors_name_the_key() {
        for (text, named) in [
            ("[capture]\ninterface = ['eth0']", "interface"),
            ("[capture]\nring_bytes = 1000", "capture.ring_bytes"),
            ("[capture]\ninterfaces = ['eth[']", "capture.interfaces"),
            ("[capture]\nxdp = 'fast'", "xdp"),
            ("[capture]\nqueue_interval_ms = 9", "capture.queue_interval_ms"),
            ("[node]\nworkers = 0", "node.workers"),
            ("[maintenance]\nwindows = [{ every = 'Sun' , lasts_minutes = 3 }]", "Sun"),
            ("[similarity]\ndefinition = '/nonexistent'", "similarity.definition"),
            ("[router]\ninterval_ms = 10", "router.interval_ms"),
            ("[router]\ntimeout_ms = 0", "router.timeout_ms"),
            ("[router]\nfrr_vtysh = 3", "frr_vtysh"),
            ("[detect.convergence]\nquiet_ms = 'long'", "quiet_ms"),
            ("[privacy]\nallow = ['*']", "privacy.allow"),
            ("[privacy]\ncounts = 'vague'", "counts"),
            ("[privacy]\nk_anonymity = 101", "privacy.k_anonymity"),
            ("[distil]\nprobation_missed = 0", "distil.probation_missed"),
            ("[trust]\ncorroboration_min = 0", "trust.corroboration_min"),
            ("[trust]\nreplay_window_days = 367", "trust.replay_window_days"),
            ("[trust]\npublisher_hourly_max = 0", "publisher_hourly_max"),
            ("[trust]\naudit_mib = 0", "trust.audit_mib"),
            ("[sharing]\noutcomes = 'all'", "outcomes"),
            ("[sharing.events]\nstorm = 'private'", "sharing.events"),
            ("[sharing.stores]\n'embedded:/x' = 'private'", "sharing.stores"),
            ("[capture.bmp]\nlisten = '[::]:1790'\nallow = []", "capture.bmp.allow"),
            ("[capture.bmp]\nlisten = '[::]:1790'\nallow = ['10.0.0.0/33']", "10.0.0.0/33"),
            (
                "[capture.bmp]\nlisten = '[::]:1790'\nallow = ['::1']\nrouters_max = 0",
                "capture.bmp.routers_max",
            ),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
