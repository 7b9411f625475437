//! The configuration read anew while the node runs.
//!
//! Owns the question which keys can change without a restart, and the handing on of those that
//! can. Sessions, routes and open incidents are never touched.
//!
//! **Invariant:** a file that is not valid changes nothing; what a changed key needs a restart for
//! is told, and stays as it was.

use crate::config::{Config, ConfigError};
use crate::engine::Tuning;
use crate::keeper::{Keeper, KeeperError};
use crate::maintenance::Board;
use crate::watcher::Change;
use crossbeam::channel::Sender;
use edgelore_pipeline::detect::DetectConfig;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Keys that can change while the node runs; every other needs a restart.
pub const LIVE_KEYS: [&str; 8] = [
    "capture.interfaces",
    "capture.xdp",
    "capture.egress",
    "detect.convergence",
    "detect.flap",
    "detect.saturation",
    "detect.degradation",
    "maintenance.windows",
];

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file is not a valid configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Interfaces would be watched for the first time, or none any more.
    #[error("beginning to watch interfaces, or ending it, needs a restart: capture.interfaces")]
    Interfaces,
    /// A glob among the interfaces is malformed.
    #[error("capture.interfaces: {0}")]
    Pattern(#[from] glob::PatternError),
    /// The journal does not take the change of method.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The ring's thread does not take changes.
    #[error("handing the configuration to the ring: its queue is full or it has ended")]
    Ring,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys whose new value holds.
    pub changed: Vec<String>,
    /// Keys whose new value needs a restart.
    pub restart: Vec<String>,
}

/// Everything that a reload reaches.
#[derive(Debug)]
pub struct Reloader {
    file: PathBuf,
    /// What holds, not what the file says.
    current: Config,
    /// `None` when no interface is watched.
    changes: Option<Sender<Change>>,
    tuning: Tuning,
    keeper: Arc<Mutex<Keeper>>,
    maintenance: Option<Arc<Mutex<Board>>>,
}

impl Reloader {
    /// Reads `file` when asked to; `current` holds until then.
    #[must_use]
    pub const fn new(
        file: PathBuf,
        current: Config,
        changes: Option<Sender<Change>>,
        tuning: Tuning,
        keeper: Arc<Mutex<Keeper>>,
    ) -> Self {
        Self { file, current, changes, tuning, keeper, maintenance: None }
    }

    /// Windows of maintenance are read anew, too.
    #[must_use]
    pub fn maintaining(self, board: Arc<Mutex<Board>>) -> Self {
        Self { maintenance: Some(board), ..self }
    }

    /// Reads the file and lets hold what can.
    ///
    /// # Errors
    /// See [`ReloadError`]; everything stays as it was then.
    pub fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let new = Config::load(&self.file)?;
        if new.capture.interfaces.is_empty() != self.changes.is_none() {
            return Err(ReloadError::Interfaces);
        }
        let reloaded = compare(&self.current, &new);
        let mut next = self.current.clone();
        next.capture.interfaces = new.capture.interfaces;
        next.capture.xdp = new.capture.xdp;
        next.capture.egress = new.capture.egress;
        next.maintenance = new.maintenance;
        next.detect = DetectConfig { bounds: self.current.detect.bounds, ..new.detect };
        let capture = (&next.capture.interfaces, next.capture.hooks());
        let before = (&self.current.capture.interfaces, self.current.capture.hooks());
        if let Some(changes) = self.changes.as_ref().filter(|_| capture != before) {
            let select = Change::Select(next.capture.selection()?, next.capture.hooks());
            changes.try_send(select).map_err(|_| ReloadError::Ring)?;
        }
        if next.detect != self.current.detect {
            self.tuning.set(next.detect.clone());
        }
        if let Some(board) =
            self.maintenance.as_ref().filter(|_| next.maintenance != self.current.maintenance)
        {
            let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
            board.configure(next.maintenance.windows());
        }
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.set_method(next.detect.method())?;
        drop(keeper);
        self.current = next;
        Ok(reloaded)
    }

    /// Reloads and tells the log how it went.
    pub fn reload_and_tell(&mut self) {
        match self.reload() {
            Ok(Reloaded { changed, restart }) => {
                tracing::info!(?changed, "configuration reloaded");
                if !restart.is_empty() {
                    tracing::warn!(?restart, "these changes need a restart");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the new configuration is not used, the old one stays");
            }
        }
    }
}

/// The keys that differ.
fn compare(old: &Config, new: &Config) -> Reloaded {
    let (old, new) = (keys(old), keys(new));
    let all: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = all.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned();
    let (changed, restart) = differ.partition(|key| LIVE_KEYS.contains(&key.as_str()));
    Reloaded { changed, restart }
}

/// Every key of every section, as `section.key`.
fn keys(config: &Config) -> BTreeMap<String, Value> {
    let Ok(Value::Object(sections)) = serde_json::to_value(config) else { return BTreeMap::new() };
    let mut all = BTreeMap::new();
    for (section, value) in sections {
        match value {
            Value::Object(values) => {
                all.extend(
                    values.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)),
                );
            }
            other => drop(all.insert(section, other)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::Egress;
    use crate::watcher::Hooks;

    #[test]
    fn what_can_change_is_told_from_what_cannot() {
        let old = Config::default();
        let mut new = old.clone();
        new.capture.interfaces = vec!["eth0".to_owned()];
        new.detect.convergence.quiet_ms = 1;
        new.detect.bounds.links_max = 1;
        new.node.workers = 3;
        new.publish.store = Some("embedded:x".into());
        let Reloaded { changed, restart } = compare(&old, &new);
        assert_eq!(changed, ["capture.interfaces", "detect.convergence"]);
        assert_eq!(restart, ["detect.bounds", "node.workers", "publish.store"]);
        assert_eq!(compare(&old, &old), Reloaded::default());
    }

    #[test]
    fn every_live_key_is_a_key() {
        let keys = keys(&Config::default());
        for key in LIVE_KEYS {
            assert!(keys.contains_key(key), "{key}");
        }
    }

    /// A reloader of `text` in a file, with what it reaches.
    fn reloader(text: &str) -> (Reloader, crossbeam::channel::Receiver<Change>, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("edgelore.toml");
        std::fs::write(&file, text).unwrap();
        let current = Config::load(&file).unwrap();
        let journal = Arc::new(crate::journal::Journal::open(directory.path()).unwrap());
        let keeper = Keeper::new(
            crate::site::Siting::of(&current.node).site(None),
            current.detect.method(),
            current.distil.clone(),
            journal,
            edgelore_pipeline::packet::SigningKey::from_seed(&mut [7; 32]),
            edgelore_pipeline::fingerprint::Space::default_definition(),
            edgelore_pipeline::packet::Privacy::default(),
        );
        let keeper = Arc::new(Mutex::new(keeper.unwrap()));
        let (changes, taken) = crossbeam::channel::bounded(1);
        let tuning = Tuning::default();
        (Reloader::new(file, current, Some(changes), tuning, keeper), taken, directory)
    }

    #[test]
    fn a_bad_file_changes_nothing_and_a_good_one_what_can_change() {
        let (mut reloader, taken, _directory) = reloader("[capture]\ninterfaces = ['eth0']");
        for (bad, named) in [
            ("[capture]\ninterfaces = ['eth[']", "capture.interfaces"),
            ("[capture]\ninterfaces = []", "needs a restart"),
            ("[detect]\nquiet = 3", "quiet"),
        ] {
            std::fs::write(&reloader.file, bad).unwrap();
            let error = reloader.reload().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
            assert_eq!(reloader.current.capture.interfaces, ["eth0"]);
            assert!(taken.is_empty());
        }
        let good = "[node]\nworkers = 2\n[capture]\ninterfaces = ['eth*']\nxdp = 'generic'\negress = false\n\
                    [detect.convergence]\nquiet_ms = 700\n";
        std::fs::write(&reloader.file, good).unwrap();
        let reloaded = reloader.reload().unwrap();
        let changed = ["capture.egress", "capture.interfaces", "capture.xdp", "detect.convergence"];
        assert_eq!(reloaded.changed, changed);
        assert_eq!(reloaded.restart, ["node.workers"]);
        let Change::Select(selection, hooks) = taken.try_recv().unwrap() else {
            panic!("no change")
        };
        assert!(selection.wants("eth7"));
        let generic = edgelore_capture::ring::XdpPolicy::Generic;
        assert_eq!(hooks, Hooks { xdp: generic, egress: Egress::Never });
        // What needs a restart is told every time, the rest holds and is not told again.
        assert_eq!(reloader.reload().unwrap().changed, Vec::<String>::new());
        assert_eq!(reloader.reload().unwrap().restart, ["node.workers"]);
        assert!(taken.is_empty());
    }
}
