//! Whether what leaves the interfaces is watched too.
//!
//! Owns the question where something can only be seen as it leaves: this machine's own words, and
//! what came in through an interface that is not watched. Never attaches anything.
//!
//! **Invariant:** in doubt it is watched.

use crate::interfaces::{Interfaces, Selection};
use edgelore_capture::Sockets;
use edgelore_capture::netlink::Device;
use edgelore_capture::ring::interfaces;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How often the sockets are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So long after nobody speaks any more it is watched: a daemon may be restarted.
pub const LINGER: Duration = Duration::from_secs(60);

/// What the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Egress {
    /// Where something is to be seen there that is seen nowhere else.
    #[default]
    Auto,
    /// On every watched interface.
    Always,
    /// Nowhere.
    Never,
}

/// As it stands in the configuration.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Bool(bool),
    Word(String),
}

const AUTO: &str = "auto";

impl Serialize for Egress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => Written::Word(AUTO.to_owned()),
            Self::Always => Written::Bool(true),
            Self::Never => Written::Bool(false),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Egress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer) {
            Ok(Written::Bool(true)) => Ok(Self::Always),
            Ok(Written::Bool(false)) => Ok(Self::Never),
            Ok(Written::Word(word)) if word == AUTO => Ok(Self::Auto),
            _ => Err(serde::de::Error::custom("expected true, false or 'auto'")),
        }
    }
}

/// What is to be seen only where it leaves, as far as this is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnlyThere {
    /// Routing protocols that this machine speaks itself.
    pub spoken: BTreeSet<&'static str>,
    /// An interface that is not watched and may bring something in.
    pub way_in: Option<String>,
}

impl OnlyThere {
    /// What it is now in the calling thread's namespace, where these interfaces are watched.
    #[must_use]
    pub fn beside(selection: Selection) -> Self {
        let mut known = Interfaces::new(selection);
        for (ifindex, name) in interfaces().unwrap_or_default() {
            known.changed(ifindex, &name, true);
        }
        let mut only_there = Self { spoken: Speech::open().said().clone(), way_in: None };
        only_there.look(known.unwatched());
        only_there
    }

    /// Looks for a way in among these interfaces of the calling thread's namespace, unless what is
    /// spoken is reason enough.
    pub fn look<'n>(&mut self, unwatched: impl IntoIterator<Item = &'n str>) {
        self.way_in = self.spoken.is_empty().then(|| way_in(unwatched)).flatten();
    }

    /// In words; `None` when there is nothing.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let spoken: Vec<&str> = self.spoken.iter().copied().collect();
        match (&*spoken, &self.way_in) {
            ([], None) => None,
            ([], Some(name)) => Some(format!("what comes in through {name} is not watched there")),
            (spoken, _) => Some(format!("this machine itself speaks {}", spoken.join(", "))),
        }
    }
}

/// The first of these interfaces of the calling thread's namespace that may bring something in. One
/// of which the kernel does not tell may.
fn way_in<'n>(unwatched: impl IntoIterator<Item = &'n str>) -> Option<String> {
    let brings = |name: &str| match Device::find(name) {
        Ok(device) => device.is_some_and(|device| device.admin_up && !device.stacked),
        Err(_) => true,
    };
    unwatched.into_iter().find(|name| brings(name)).map(str::to_owned)
}

/// What this machine says itself, over time.
#[derive(Debug)]
pub struct Speech {
    sockets: Option<Sockets>,
    said: BTreeSet<&'static str>,
    looked: Instant,
    heard: Instant,
}

impl Speech {
    /// Looks at the sockets of the calling thread's namespace. Where they cannot be seen, every
    /// protocol may be spoken.
    #[must_use]
    pub fn open() -> Self {
        let sockets = Sockets::open()
            .inspect_err(|error| tracing::warn!(%error, "this machine's sockets cannot be seen"))
            .ok();
        let now = Instant::now();
        let mut speech = Self { sockets, said: BTreeSet::new(), looked: now, heard: now };
        speech.look(now);
        speech
    }

    /// What is said now, or was less than [`LINGER`] ago.
    #[must_use]
    pub const fn said(&self) -> &BTreeSet<&'static str> {
        &self.said
    }

    /// Waits for so long, then looks again if it is time; true when something else is said than
    /// before.
    pub fn changed_after(&mut self, wait: Duration) -> bool {
        std::thread::sleep(wait);
        let now = Instant::now();
        now.saturating_duration_since(self.looked) >= LOOK_EVERY && self.look(now)
    }

    fn look(&mut self, now: Instant) -> bool {
        self.looked = now;
        let spoken = match self.sockets.as_mut().map(Sockets::spoken) {
            Some(Ok(spoken)) => spoken,
            Some(Err(_)) | None => BTreeSet::from(["what cannot be seen"]),
        };
        self.note(spoken, now)
    }

    fn note(&mut self, spoken: BTreeSet<&'static str>, now: Instant) -> bool {
        if !spoken.is_empty() {
            self.heard = now;
        } else if now.saturating_duration_since(self.heard) < LINGER {
            return false;
        }
        let changed = spoken != self.said;
        self.said = spoken;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Section {
        egress: Egress,
    }

    #[test]
    fn it_is_written_as_a_truth_value_or_a_word() {
        for (text, egress) in
            [("true", Egress::Always), ("false", Egress::Never), ("\"auto\"", Egress::Auto)]
        {
            let text = format!("egress = {text}\n");
            let section: Section = toml::from_str(&text).unwrap();
            assert_eq!(section, Section { egress });
            assert_eq!(toml::to_string(&section).unwrap(), text);
        }
        for bad in ["'yes'", "1", "[]"] {
            let error = toml::from_str::<Section>(&format!("egress = {bad}")).unwrap_err();
            assert!(error.to_string().contains("expected true, false or 'auto'"), "{error}");
        }
    }

    #[test]
    fn a_restart_is_no_silence() {
        let begin = Instant::now();
        let said = BTreeSet::new();
        let mut speech = Speech { sockets: None, said, looked: begin, heard: begin };
        let (bgp, nothing) = (BTreeSet::from(["BGP"]), BTreeSet::new());
        assert!(speech.note(bgp.clone(), begin));
        assert!(!speech.note(nothing.clone(), begin + LINGER / 2));
        assert!(!speech.note(bgp.clone(), begin + LINGER / 2));
        assert!(!speech.note(nothing.clone(), begin + LINGER));
        assert_eq!(speech.said(), &bgp);
        assert!(speech.note(nothing.clone(), begin + LINGER / 2 + LINGER));
        assert_eq!(speech.said(), &nothing);
        assert!(speech.note(bgp, begin + 3 * LINGER), "at once");
    }

    #[test]
    fn the_reason_is_told() {
        let way_in = Some("eth1".to_owned());
        let spoken = BTreeSet::from(["OSPF", "BGP"]);
        for (only, said) in [
            (OnlyThere::default(), None),
            (OnlyThere { way_in: way_in.clone(), ..OnlyThere::default() }, Some("through eth1")),
            (OnlyThere { spoken, way_in }, Some("itself speaks BGP, OSPF")),
        ] {
            let reason = only.reason();
            assert_eq!(reason.is_some(), said.is_some());
            assert!(reason.unwrap_or_default().contains(said.unwrap_or_default()));
        }
        assert_eq!(super::way_in(["el_none", "el_none2"]), None);
    }
}
