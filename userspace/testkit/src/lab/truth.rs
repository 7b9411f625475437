//! What really happened in a scenario, and what each vantage point can see of it: the JSON beside
//! a recorded capture.
//!
//! Invariant: nothing in here comes from Edgelore.

use super::heard::RoutesHeard;
use anyhow::{Context, Result};
use edgelore_model::{EventType, Interval, Prefix, Protocol, Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Prefixes that are listed; more are counted.
const PREFIXES_LISTED_MAX: usize = 1_000;

/// What a router reports over BMP may follow its own table by this.
const REPORTED_WITHIN: Span = Span::from_millis(2_000);

/// From where a failure is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Viewpoint {
    /// The router whose routes move.
    Router,
    /// A bridge on the link that fails.
    Bridge,
    /// A collector to which that router reports.
    Bmp,
    /// The capture of what the router saw.
    RouterReplay,
    /// The capture of what the bridge saw.
    BridgeReplay,
    /// The capture of what the collector was told.
    BmpReplay,
}

impl Viewpoint {
    /// Those that are live.
    pub const LIVE: [Self; 3] = [Self::Router, Self::Bridge, Self::Bmp];
    /// All.
    pub const ALL: [Self; 6] = [
        Self::Router,
        Self::Bridge,
        Self::Bmp,
        Self::RouterReplay,
        Self::BridgeReplay,
        Self::BmpReplay,
    ];

    /// The one that replays what this one saw.
    #[must_use]
    pub const fn replay(self) -> Self {
        match self {
            Self::Router | Self::RouterReplay => Self::RouterReplay,
            Self::Bridge | Self::BridgeReplay => Self::BridgeReplay,
            Self::Bmp | Self::BmpReplay => Self::BmpReplay,
        }
    }

    /// Its name, which is also that of its capture.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Bridge => "bridge",
            Self::Bmp => "bmp",
            Self::RouterReplay => "router-replay",
            Self::BridgeReplay => "bridge-replay",
            Self::BmpReplay => "bmp-replay",
        }
    }
}

/// What must be found from a viewpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It is there to be seen: not finding it is a miss.
    Required,
    /// What can be seen may suffice or not; finding it is right, not finding it, too.
    Optional,
}

/// What a viewpoint sees of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Must it be found?
    pub finding: Finding,
    /// The end can be seen, so that it must be told, and told well. Else an end that is told must
    /// still be true.
    pub end: bool,
    /// What moved can be seen, so that the prefixes must be exact. Else none may be told, or
    /// exactly those.
    pub prefixes: bool,
}

/// Prefixes, listed while they are few.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Moved {
    /// Sorted, each once.
    Listed(Vec<Prefix>),
    /// So many.
    Counted(u64),
}

impl Moved {
    /// Of these.
    #[must_use]
    pub fn of(prefixes: &[Prefix]) -> Self {
        if prefixes.len() > PREFIXES_LISTED_MAX {
            return Self::Counted(prefixes.len() as u64);
        }
        let mut listed = prefixes.to_vec();
        listed.sort_unstable();
        listed.dedup();
        Self::Listed(listed)
    }

    /// These and others, none of which is among these.
    #[must_use]
    pub fn and(&self, others: &[Prefix]) -> Self {
        match self {
            Self::Listed(prefixes) => Self::of(&[prefixes, others].concat()),
            Self::Counted(count) => Self::Counted(count + others.len() as u64),
        }
    }

    /// These without others, all of which are among these.
    #[must_use]
    pub fn without(&self, others: &[Prefix]) -> Self {
        match self {
            Self::Listed(prefixes) => {
                Self::Listed(prefixes.iter().filter(|p| !others.contains(p)).copied().collect())
            }
            Self::Counted(count) => Self::Counted(count.saturating_sub(others.len() as u64)),
        }
    }

    /// These are the same as far as both say which they are.
    #[must_use]
    pub fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Listed(these), Self::Listed(those)) => these == those,
            _ => self.count() == other.count(),
        }
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Listed(prefixes) => prefixes.len() as u64,
            Self::Counted(count) => *count,
        }
    }
}

/// One incident that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// What was done, for people.
    pub what: String,
    /// Of what kind it is.
    pub event: EventType,
    /// On which protocol; any of these is right.
    pub protocols: Vec<Protocol>,
    /// Within these bounds it began.
    pub start: Interval,
    /// Within these it ended; `None` when nothing moved, so that there is no end to be seen.
    pub end: Option<Interval>,
    /// What moved.
    pub prefixes: Moved,
    /// What moved at the neighbour, since the gateway had announced it there: whoever hears both
    /// ends may count it.
    #[serde(default)]
    pub elsewhere: Vec<Prefix>,
    /// Of what moved, what nobody announces, such as the network of a link that went down with it:
    /// the wire says nothing of it.
    #[serde(default)]
    pub unannounced: Vec<Prefix>,
    /// When the last of what was said of routes passed each viewpoint.
    #[serde(default)]
    pub heard: BTreeMap<Viewpoint, Timestamp>,
    /// What is seen from where; a viewpoint that is not here cannot see it at all.
    pub sights: BTreeMap<Viewpoint, Sight>,
}

impl Happened {
    /// The shortest and longest that it can have lasted.
    #[must_use]
    pub fn duration(&self) -> Option<(Span, Span)> {
        let end = self.end?;
        let shortest = Span((end.earliest - self.start.latest).0.max(0));
        Some((shortest, end.latest - self.start.earliest))
    }
}

/// A change between two incidents that must be noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The pattern, such as `bfd_tuning`.
    pub pattern: String,
    /// From where it can be noticed.
    pub seen: Vec<Viewpoint>,
}

/// What happened while a scenario was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioTruth {
    /// Its name.
    pub scenario: String,
    /// What it is, in one sentence.
    pub about: String,
    /// From here on it was played; how the network came up before is no part of it.
    pub since: Timestamp,
    /// What happened, in order; nothing in a control.
    pub incidents: Vec<Happened>,
    /// What was changed between incidents.
    pub resolutions: Vec<Resolved>,
}

impl ScenarioTruth {
    /// Adds when routes passed a live viewpoint, ascending: the last of each incident. A flap
    /// consists of transitions.
    pub fn hear(&mut self, viewpoint: Viewpoint, heard: &[RoutesHeard]) {
        for happened in &mut self.incidents {
            let Some(end) = happened.end else { continue };
            let until = end.latest + REPORTED_WITHIN;
            let counts = |one: &&RoutesHeard| {
                let within = happened.start.earliest <= one.at && one.at <= until;
                within && (one.transition || happened.event != EventType::Flap)
            };
            if let Some(last) = heard.iter().rfind(counts) {
                happened.heard.insert(viewpoint, last.at);
                happened.heard.insert(viewpoint.replay(), last.at);
            }
        }
    }

    /// Writes it, one JSON object.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let mut text = serde_json::to_string(self).context("write the truth as JSON")?;
        text.push('\n');
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }

    /// Reads one that was written.
    ///
    /// # Errors
    /// When the file cannot be read or is something else.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("understand {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let sight = Sight { finding: Finding::Required, end: true, prefixes: false };
        let truth = ScenarioTruth {
            scenario: "s".to_owned(),
            about: "a scenario".to_owned(),
            since: Timestamp(0),
            incidents: vec![Happened {
                what: "something".to_owned(),
                event: EventType::Convergence,
                protocols: vec![Protocol::Bgp],
                start: Interval::exactly(Timestamp(1)),
                end: None,
                prefixes: Moved::of(&["198.18.0.0/24".parse().unwrap()]),
                elsewhere: vec!["192.0.2.32/28".parse().unwrap()],
                unannounced: vec!["198.18.0.0/24".parse().unwrap()],
                heard: BTreeMap::from([(Viewpoint::Bridge, Timestamp(2))]),
                sights: BTreeMap::from([(Viewpoint::RouterReplay, sight)]),
            }],
            resolutions: vec![Resolved {
                pattern: "bfd_tuning".to_owned(),
                seen: vec![Viewpoint::Router],
            }],
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        truth.write(file.path()).unwrap();
        assert_eq!(ScenarioTruth::read(file.path()).unwrap(), truth);
    }

    #[test]
    fn the_last_that_was_heard_of_an_incident_is_its_end_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = r#"{"scenario":"s","about":"s","since":0,"resolutions":[],"incidents":[{"what":"w",
            "event":"convergence","protocols":["bgp"],"prefixes":0,"sights":{},
            "start":{"earliest":100,"estimate":100,"latest":100},
            "end":{"earliest":200,"estimate":200,"latest":200}}]}"#;
        std::fs::write(file.path(), text).unwrap();
        let mut truth = ScenarioTruth::read(file.path()).unwrap();
        let heard = |at: i64| RoutesHeard { at: Timestamp(at), transition: at != 180 };
        let times = [50, 150, 180, 3_000_000_000].map(heard);
        truth.hear(Viewpoint::Bridge, &times[..1]);
        assert_eq!(truth.incidents[0].heard, BTreeMap::new(), "all of it was before");
        truth.hear(Viewpoint::Bridge, &times);
        assert_eq!(truth.incidents[0].heard[&Viewpoint::BridgeReplay], Timestamp(180));
        truth.incidents[0].event = EventType::Flap;
        truth.hear(Viewpoint::Bridge, &times);
        assert_eq!(truth.incidents[0].heard[&Viewpoint::Bridge], Timestamp(150));
    }

    #[test]
    fn many_prefixes_are_counted() {
        let prefixes: Vec<Prefix> = (0..=PREFIXES_LISTED_MAX)
            .map(|n| format!("10.{}.{}.0/24", n / 256, n % 256).parse().unwrap())
            .collect();
        assert_eq!(Moved::of(&prefixes), Moved::Counted(1_001));
        assert!(
            matches!(Moved::of(&prefixes[1..]), Moved::Listed(listed) if listed.len() == 1_000)
        );
    }
}
