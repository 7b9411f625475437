//! How an incident went, in a bounded number of points.
//!
//! **Invariant:** at most [`PROGRESS_MAX`] points, the first and the last among them, spread evenly
//! over what was added; the same additions leave the same points.

use edgelore_model::{PROGRESS_MAX, Progress, Timestamp};

/// Points of progress, thinned while they are gathered: of those added every 2^n-th is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Thinned {
    points: Vec<Progress>,
    shift: u32,
    added: u64,
    last: Option<Progress>,
}

impl Thinned {
    pub(super) fn add(&mut self, at: Timestamp, value: u64) {
        let point = Progress { at, value };
        self.last = Some(point);
        // One place is left for the last.
        if self.is_kept() && self.points.len() + 1 == PROGRESS_MAX {
            let mut keep = false;
            self.points.retain(|_| {
                keep = !keep;
                keep
            });
            self.shift += 1;
        }
        if self.is_kept() {
            self.points.push(point);
        }
        self.added += 1;
    }

    pub(super) fn finish(mut self) -> Vec<Progress> {
        if self.points.last() != self.last.as_ref() {
            self.points.extend(self.last);
        }
        self.points
    }

    const fn is_kept(&self) -> bool {
        self.added & ((1 << self.shift) - 1) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_stay_and_the_rest_is_spread() {
        for added in [0usize, 1, 2, 62, 63, 64, 65, 100, 1_000, 100_000] {
            let mut thinned = Thinned::default();
            for n in 0..added {
                thinned.add(Timestamp(n as i64), n as u64);
            }
            let points = thinned.finish();
            assert!(points.len() <= PROGRESS_MAX, "{added}: {}", points.len());
            assert!(points.len() >= added.min(PROGRESS_MAX / 2), "{added}: {}", points.len());
            assert_eq!(points.first().map(|p| p.value), (added > 0).then_some(0));
            assert_eq!(points.last().map(|p| p.value), added.checked_sub(1).map(|n| n as u64));
            assert!(points.windows(2).all(|pair| pair[0].at < pair[1].at));
        }
    }
}
