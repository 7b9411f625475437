//! An era: the incidents of one class between two changes, and their order statistics.
//!
//! Owns what is remembered of an incident. Never knows what changed, and uses no floating point.
//!
//! **Invariant:** incidents are in the order in which they began, each once, at most
//! [`ERA_INCIDENTS_MAX`]: the oldest make room.

use edgelore_model::{EventType, Incident, IncidentId, Interval, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Incidents remembered per era.
pub(super) const ERA_INCIDENTS_MAX: usize = 32;
/// 1.4826 in per mille: makes the median of deviations a standard deviation for normal values.
const DEVIATION_PERMILLE: u64 = 1_483;

/// What is remembered of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// The likeliest time at which it began.
    pub(super) start: Timestamp,
    pub(super) id: IncidentId,
    pub(super) severity: u64,
    /// How far the severity may be off, in its unit.
    pub(super) doubt: u64,
    pub(super) prefixes: u64,
}

impl From<&Incident> for Sample {
    fn from(incident: &Incident) -> Self {
        let doubt = match (incident.event, incident.duration()) {
            (EventType::Convergence, Some((shortest, _, longest))) => {
                (longest.0.saturating_sub(shortest.0) / 2_000_000).unsigned_abs()
            }
            _ => 0,
        };
        Self {
            start: incident.start.estimate,
            id: incident.id,
            severity: incident.severity,
            doubt,
            prefixes: incident.prefixes.len() as u64,
        }
    }
}

/// The order statistics of an era's severities, in the unit of the event type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Figures {
    /// Incidents, those forgotten included.
    pub count: u32,
    /// A quarter of the incidents is not above this.
    pub lower_quartile: u64,
    /// The lower median.
    pub median: u64,
    /// A quarter of the incidents is not below this.
    pub upper_quartile: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Era {
    samples: VecDeque<Sample>,
    /// Incidents that made room for others.
    forgotten: u32,
}

impl Era {
    /// Takes an incident in; false when it is there already.
    pub(super) fn insert(&mut self, sample: Sample) -> bool {
        let at = self.samples.partition_point(|s| (s.start, s.id) < (sample.start, sample.id));
        if self.samples.get(at).is_some_and(|s| s.id == sample.id) {
            return false;
        }
        self.samples.insert(at, sample);
        if self.samples.len() > ERA_INCIDENTS_MAX {
            self.samples.pop_front();
            self.forgotten = self.forgotten.saturating_add(1);
        }
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    pub(super) fn count(&self) -> u32 {
        self.forgotten.saturating_add(self.samples.len() as u32)
    }

    pub(super) fn first(&self) -> Option<&Sample> {
        self.samples.front()
    }

    pub(super) fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }

    pub(super) fn has(&self, id: IncidentId) -> bool {
        self.samples.iter().any(|sample| sample.id == id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = IncidentId> {
        self.samples.iter().map(|sample| sample.id)
    }

    /// Cuts the era in two: what began not after `earliest`, and what began not before `latest`.
    /// What began between them counts on neither side.
    pub(super) fn split(self, earliest: Timestamp, latest: Timestamp) -> (Self, Self) {
        let (mut before, mut after) = (Self::default(), Self::default());
        before.forgotten = self.forgotten;
        for sample in self.samples {
            if sample.start <= earliest {
                before.samples.push_back(sample);
            } else if sample.start >= latest {
                after.samples.push_back(sample);
            }
        }
        (before, after)
    }

    /// What began not before a change was made; all of it when nothing is older.
    pub(super) fn since(self, made: Interval) -> Self {
        if self.first().is_none_or(|first| first.start >= made.latest) {
            return self;
        }
        self.split(made.earliest, made.latest).1
    }

    /// Keeps the last `count` incidents.
    pub(super) fn keep_last(&mut self, count: usize) {
        self.samples.drain(..self.samples.len().saturating_sub(count));
        self.forgotten = 0;
    }

    /// The last `count` incidents, fewer when there are fewer.
    pub(super) fn latest(&self, count: usize) -> impl ExactSizeIterator<Item = &Sample> {
        self.samples.range(self.samples.len().saturating_sub(count)..)
    }

    pub(super) fn figures(&self) -> Figures {
        let mut sorted: Vec<u64> = self.samples.iter().map(|s| s.severity).collect();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(0);
        Figures {
            count: self.count(),
            lower_quartile: at(last / 4),
            median: at(last / 2),
            upper_quartile: at(last - last / 4),
        }
    }

    /// The lower median of the affected prefixes; 0 of nothing.
    pub(super) fn prefixes(&self) -> u64 {
        lower_median(self.samples.iter().map(|s| s.prefixes))
    }

    /// How far severities of this era lie from each other or from the truth: 1.4826 times the
    /// median absolute deviation, or the median doubt where that is more. Of two figures the
    /// larger one, so that few incidents never look more certain than many.
    pub(super) fn spread(&self) -> u64 {
        let median = self.figures().median;
        let deviation = upper_median(self.samples.iter().map(|s| s.severity.abs_diff(median)));
        let doubt = upper_median(self.samples.iter().map(|s| s.doubt));
        doubt.max(deviation.saturating_mul(DEVIATION_PERMILLE) / 1_000)
    }

    /// The median and the longest time from one incident's start to the next one's, in ns; `None`
    /// of fewer than two incidents.
    pub(super) fn spacing(&self) -> Option<(i64, i64)> {
        let starts = self.samples.iter().map(|s| s.start);
        let mut gaps: Vec<i64> =
            starts.clone().zip(starts.skip(1)).map(|(a, b)| (b - a).0).collect();
        gaps.sort_unstable();
        Some((*gaps.get(gaps.len() / 2)?, *gaps.last()?))
    }
}

fn lower_median(values: impl Iterator<Item = u64>) -> u64 {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

fn upper_median(values: impl Iterator<Item = u64>) -> u64 {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn era(severities: &[u64]) -> Era {
        let mut era = Era::default();
        for (index, &severity) in severities.iter().enumerate() {
            era.insert(Sample {
                start: Timestamp(index as i64 * 10),
                id: IncidentId(index as u64),
                severity,
                doubt: 0,
                prefixes: 1,
            });
        }
        era
    }

    #[test]
    fn order_statistics_of_few_and_many() {
        for (severities, median, quartiles, spread) in [
            (&[][..], 0, (0, 0), 0),
            (&[7], 7, (7, 7), 0),
            (&[10, 20], 10, (10, 20), 14),
            (&[30, 10, 20], 20, (10, 30), 14),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 900], 5, (3, 7), 2),
        ] {
            let era = era(severities);
            let figures = era.figures();
            assert_eq!(figures.median, median, "{severities:?}");
            assert_eq!((figures.lower_quartile, figures.upper_quartile), quartiles);
            assert_eq!(era.spread(), spread, "{severities:?}");
        }
    }

    #[test]
    fn an_era_forgets_its_oldest_incident_and_still_counts_it() {
        let mut era = era(&[5; ERA_INCIDENTS_MAX + 3]);
        assert_eq!(era.count(), ERA_INCIDENTS_MAX as u32 + 3);
        assert_eq!(era.first().map(|s| s.id), Some(IncidentId(3)));
        let last = *era.last().unwrap();
        assert!(!era.insert(last), "each incident once");
        assert_eq!(era.spacing(), Some((10, 10)));
    }

    #[test]
    fn what_began_while_a_change_was_made_counts_on_neither_side() {
        let (before, after) = era(&[1, 2, 3, 4]).split(Timestamp(10), Timestamp(30));
        assert_eq!(before.ids().collect::<Vec<_>>(), [IncidentId(0), IncidentId(1)]);
        assert_eq!(after.ids().collect::<Vec<_>>(), [IncidentId(3)]);
    }
}
