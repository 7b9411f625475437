//! Explanation: an incident told to a person, as text with a timeline and as an SVG image.
//!
//! Owns the words and the drawing. Decides nothing, reads no clock, writes no file: what it is given
//! it tells, uncertainty and what was not seen included.
//!
//! **Invariant:** whatever an incident contains, the text has no control characters, and the image
//! is well-formed XML without script or reference to anything outside of it.

mod scale;
mod svg;
mod text;
mod words;

pub use svg::svg;
pub use text::{TextOptions, text};

use crate::detect::Settings;
use crate::distil::Distilled;
use edgelore_model::{Incident, Interval, Span, Timestamp};
use serde::{Deserialize, Serialize};

/// An incident with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The incident; its prefixes may be cut.
    pub incident: Incident,
    /// How many prefixes it moved in all.
    pub prefixes: u64,
    /// What was set where it happened, at its start.
    pub settings: Settings,
    /// The outcomes that rest on it, oldest first.
    #[serde(default)]
    pub outcomes: Vec<Told>,
}

/// An outcome that rests on an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// SHA-256 of its packet, hexadecimal; absent when it was not sealed.
    pub packet_id: Option<String>,
    /// The outcome.
    pub distilled: Distilled,
}

impl Account {
    /// Of a finding and the outcomes that rest on it; at most `prefixes_max` prefixes are listed.
    #[must_use]
    pub fn new(
        incident: &Incident,
        settings: &Settings,
        outcomes: Vec<Told>,
        prefixes_max: usize,
    ) -> Self {
        let prefixes = incident.prefixes.len() as u64;
        let listed = incident.prefixes.iter().take(prefixes_max).copied().collect();
        let incident = Incident {
            prefixes: listed,
            chain: incident.chain.clone(),
            measured: incident.measured.clone(),
            progress: incident.progress.clone(),
            ruled_out: incident.ruled_out.clone(),
            ..*incident
        };
        Self { incident, prefixes, settings: settings.clone(), outcomes }
    }

    /// Everything that is drawn lies within this.
    fn extent(&self) -> (Timestamp, Timestamp) {
        let Incident { start, end, chain, progress, .. } = &self.incident;
        let times = [start.earliest, start.latest]
            .into_iter()
            .chain(end.iter().flat_map(|end| [end.earliest, end.latest]))
            .chain(chain.iter().map(|trigger| trigger.at))
            .chain(progress.iter().map(|progress| progress.at));
        let first = times.clone().min().unwrap_or(start.estimate);
        let last = times.max().unwrap_or(start.estimate);
        // A point in time takes some room too.
        (first, if last > first { last } else { first + Span::from_millis(1) })
    }

    /// The points of progress in time order, from nothing at the start.
    fn progress(&self) -> Vec<(Timestamp, u64)> {
        let start = self.incident.start.estimate;
        let mut points: Vec<(Timestamp, u64)> =
            self.incident.progress.iter().map(|p| (p.at, p.value)).collect();
        points.sort_by_key(|(at, _)| *at);
        if points.first().is_some_and(|(at, _)| *at > start) {
            points.insert(0, (start, 0));
        }
        points
    }
}

const fn is_exact(interval: Interval) -> bool {
    interval.earliest.0 == interval.latest.0
}

#[cfg(test)]
mod tests;
