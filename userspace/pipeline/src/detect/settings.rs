//! What is set in the network: timers, costs, queues, as the wire and the kernel show them.
//!
//! **Invariant:** what is kept of an incident is what concerns its scope, never the whole network.

use super::sessions::Sessions;
use super::{Bounds, Detected, SessionSettings};
use edgelore_model::{Observation, Scope, SessionKey, Timestamp};
use serde::{Deserialize, Serialize};

/// Sessions of a link whose settings an incident on the link keeps.
const SESSIONS_MAX: usize = 64;

/// What is set where an incident happens, as it was when the incident began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Of the scope's session, or of the sessions on the scope's link.
    pub sessions: Vec<(SessionKey, SessionSettings)>,
}

/// Settings of a scope that has had an incident, which changed and then stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// When the last of the changes was seen.
    pub at: Timestamp,
    /// Where.
    pub scope: Scope,
    /// What holds now.
    pub settings: Settings,
}

#[derive(Debug)]
pub(super) struct SettingsBook {
    pub(super) overflows: u64,
}

impl SettingsBook {
    pub(super) const fn new(_: Bounds) -> Self {
        Self { overflows: 0 }
    }

    /// Takes what an observation says of settings.
    pub(super) fn observe(&mut self, _: &Observation) {}

    /// Lets time pass: tells what changed and has stood since.
    pub(super) fn advance(&mut self, _: Timestamp, _: &Sessions, _: &mut Vec<Detected>) {}

    /// An incident of this scope has closed: changes of its settings are told from now on.
    pub(super) fn follow(&mut self, _: &Scope) {}

    /// What is set where `scope` is.
    pub(super) fn of(&self, scope: &Scope, sessions: &Sessions) -> Settings {
        let settings = |key: SessionKey| Some((key, sessions.get(key)?.settings.clone()));
        let sessions = match scope {
            Scope::Session(key) => settings(*key).into_iter().collect(),
            Scope::Link(link) => {
                sessions.on(link.0).take(SESSIONS_MAX).filter_map(settings).collect()
            }
            _ => Vec::new(),
        };
        Settings { sessions }
    }
}
