//! What an incident moved: prefixes, how their number grew, and when routing stood still again.
//!
//! **Invariant:** memory is bounded by the prefixes allowed, [`PROGRESS_MAX`] and [`BUCKETS`].

use edgelore_model::{Interval, PROGRESS_MAX, Prefix, Progress, Span, Timestamp};
use std::collections::{BTreeSet, VecDeque};

/// The quiet time is divided into so many buckets when changes within it are counted.
const BUCKETS: i64 = 32;
/// Points kept while an incident is open: when there are more, every second one goes.
const POINTS_MAX: usize = PROGRESS_MAX * 2;

/// Changes of one kind, as they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves {
    pub(super) prefixes: BTreeSet<Prefix>,
    first: Option<Interval>,
    /// The last change while routing had not stood still.
    last: Option<Interval>,
    /// Changes within the quiet time before the last one, by bucket.
    recent: VecDeque<(Timestamp, u64)>,
    points: Vec<Progress>,
}

impl Moves {
    /// Takes a change; false when the prefix did not fit. Of a crowd of `prefixes` one in
    /// `tolerance` that goes on changing within `quiet` does not keep the incident open: 0 counts
    /// every change.
    pub(super) fn add(
        &mut self,
        when: Interval,
        prefix: Prefix,
        prefixes_max: usize,
        (quiet, tolerance): (Span, u64),
    ) -> bool {
        let full = self.prefixes.len() >= prefixes_max && !self.prefixes.contains(&prefix);
        if !full && self.prefixes.insert(prefix) {
            self.point(when.estimate);
        }
        if self.first.is_none_or(|first| when.estimate < first.estimate) {
            self.first = Some(when);
        }
        let busy = self.count(when.estimate, quiet);
        let crowd = (self.prefixes.len() as u64).checked_div(tolerance).unwrap_or(0);
        if busy > crowd && self.last.is_none_or(|last| last.estimate <= when.estimate) {
            self.last = Some(when);
        }
        !full
    }

    pub(super) const fn first(&self) -> Option<Interval> {
        self.first
    }

    /// The last change before routing stood still.
    pub(super) const fn last(&self) -> Option<Interval> {
        self.last
    }

    /// At most [`PROGRESS_MAX`] points in time order, the last one among them.
    pub(super) fn progress(&self) -> Vec<Progress> {
        let every = self.points.len().div_ceil(PROGRESS_MAX).max(1);
        let offset = self.points.len().saturating_sub(1) % every;
        self.points.iter().copied().skip(offset).step_by(every).collect()
    }

    /// Takes over what another incident moved.
    pub(super) fn absorb(&mut self, other: Self) {
        self.prefixes.extend(other.prefixes);
        self.first = earlier(self.first, other.first);
        self.last = later(self.last, other.last);
        self.recent = VecDeque::new();
        let mut total = 0;
        let mut points = std::mem::take(&mut self.points);
        points.extend(other.points);
        points.sort_by_key(|point| (point.at, point.value));
        // Both counted for themselves; together they have moved at least what either had.
        for point in &mut points {
            total = point.value.max(total);
            point.value = total;
        }
        if let Some(last) = points.last_mut() {
            last.value = self.prefixes.len() as u64;
        }
        self.points = points;
        self.thin();
    }

    fn point(&mut self, at: Timestamp) {
        let value = self.prefixes.len() as u64;
        match self.points.last_mut() {
            Some(last) if last.at >= at => last.value = value,
            _ => self.points.push(Progress { at, value }),
        }
        self.thin();
    }

    fn thin(&mut self) {
        while self.points.len() > POINTS_MAX {
            let keep = (self.points.len() - 1) % 2;
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                (index - 1) % 2 == keep
            });
        }
    }

    /// Counts a change; gives how many there were within the quiet time before it.
    fn count(&mut self, at: Timestamp, quiet: Span) -> u64 {
        let width = (quiet.0 / BUCKETS).max(1);
        match self.recent.back_mut() {
            Some((began, count)) if (at - *began).0 < width => *count += 1,
            _ => self.recent.push_back((at, 1)),
        }
        while let Some(&(began, _)) = self.recent.front()
            && (at - began > quiet || self.recent.len() > BUCKETS as usize + 2)
        {
            self.recent.pop_front();
        }
        self.recent.iter().map(|(_, count)| count).sum()
    }
}

fn earlier(a: Option<Interval>, b: Option<Interval>) -> Option<Interval> {
    a.into_iter().chain(b).min_by_key(|when| when.estimate)
}

fn later(a: Option<Interval>, b: Option<Interval>) -> Option<Interval> {
    a.into_iter().chain(b).max_by_key(|when| when.estimate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    const QUIET: Span = Span::from_millis(5_000);

    fn prefix(n: u32) -> Prefix {
        Prefix::new(IpAddr::V4((0x0a00_0000 + (n << 8)).into()), 24).expect("a length in bounds")
    }

    fn ms(ms: i64) -> Interval {
        Interval::exactly(Timestamp(0) + Span::from_millis(ms))
    }

    #[test]
    fn progress_is_thinned_and_keeps_its_end() {
        let mut moves = Moves::default();
        for n in 0..10_000 {
            assert!(moves.add(ms(i64::from(n)), prefix(n), 20_000, (QUIET, 0)));
        }
        let progress = moves.progress();
        assert!((PROGRESS_MAX / 2..=PROGRESS_MAX).contains(&progress.len()));
        let last = Progress { at: ms(9_999).estimate, value: 10_000 };
        assert_eq!(progress.last(), Some(&last));
        assert!(progress.windows(2).all(|p| p[0].at < p[1].at && p[0].value < p[1].value));
    }

    #[test]
    fn a_few_of_a_crowd_that_go_on_do_not_hold_the_end_back() {
        for (tolerance, end) in [(100, 999), (0, 61_000)] {
            let mut moves = Moves::default();
            for n in 0..1_000 {
                moves.add(ms(i64::from(n)), prefix(n), 20_000, (QUIET, tolerance));
            }
            for second in 7..62 {
                moves.add(ms(second * 1_000), prefix(3), 20_000, (QUIET, tolerance));
            }
            assert_eq!(moves.last(), Some(ms(end)), "tolerance {tolerance}");
            assert_eq!(moves.prefixes.len(), 1_000);
        }
    }

    #[test]
    fn what_does_not_fit_still_moves_the_end() {
        let mut moves = Moves::default();
        assert!(moves.add(ms(1), prefix(1), 1, (QUIET, 0)));
        assert!(!moves.add(ms(2), prefix(2), 1, (QUIET, 0)));
        assert_eq!((moves.prefixes.len(), moves.last()), (1, Some(ms(2))));
    }
}
