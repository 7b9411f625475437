//! Rounds of measurement: every contender once a round, in an order that turns with the rounds, so
//! that a slow moment of the machine hits all of them alike.
//!
//! Owns the arithmetic of the results. Never decides what is fast enough.
//!
//! **Invariant:** a [`Series`] holds one figure a round, in the order of the rounds, and at least
//! one; so figures of two series with the same index were taken next to each other.

use anyhow::Result;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Longest latency that is told apart, ns; longer ones count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// The clocks of a processor and of its memory follow what was asked of them last, within some tens of
/// milliseconds; until then a contender would be measured at the pace of the one before it.
const WARM: Duration = Duration::from_millis(100);

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Fewer and shorter rounds.
    pub(crate) quick: bool,
    /// Packets in the store that is queried.
    pub(crate) packets: usize,
    /// Names of the backends that are measured; all of them without any.
    pub(crate) backends: &'static [String],
}

impl Effort {
    /// `full`, or `quick` when in a hurry.
    pub(crate) const fn pick<T: Copy>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// What one round of one contender did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// How many of what is counted: packets, prefixes, hashes.
    pub(crate) units: u64,
    /// How long they took.
    pub(crate) elapsed: Duration,
}

/// Times `work`, which returns how many units it did.
pub(crate) fn timed(work: impl FnOnce() -> Result<u64>) -> Result<Work> {
    let start = Instant::now();
    let units = work()?;
    Ok(Work { units, elapsed: start.elapsed() })
}

/// Something to be measured.
pub(crate) struct Contender<'a> {
    name: String,
    run: Box<dyn FnMut() -> Result<Work> + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender that measures its own time.
    pub(crate) fn new(name: impl Into<String>, run: impl FnMut() -> Result<Work> + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// A contender whose whole run is its work; `work` returns how many units it did. A short one is
    /// run for [`WARM`] before the run that counts.
    pub(crate) fn timed(
        name: impl Into<String>,
        mut work: impl FnMut() -> Result<u64> + 'a,
    ) -> Self {
        Self::new(name, move || {
            let mut before = Duration::ZERO;
            loop {
                let work = timed(&mut work)?;
                if before.max(work.elapsed) >= WARM {
                    return Ok(work);
                }
                before += work.elapsed;
            }
        })
    }
}

/// One contender's rounds.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// The contender's name.
    pub(crate) name: String,
    /// Units of one round.
    pub(crate) units: u64,
    ns_per_unit: Vec<f64>,
}

impl Series {
    /// Figures that were taken beside others, ns a unit, in the order of the rounds.
    pub(crate) fn beside(name: &str, ns_per_unit: Vec<f64>) -> Self {
        Self { name: name.to_owned(), units: 1, ns_per_unit }
    }

    /// The median, ns a unit.
    pub(crate) fn ns(&self) -> f64 {
        median(&self.ns_per_unit)
    }

    /// The fastest and the slowest round, ns a unit.
    pub(crate) fn ns_range(&self) -> (f64, f64) {
        let fold =
            |pick: fn(f64, f64) -> f64, start| self.ns_per_unit.iter().copied().fold(start, pick);
        (fold(f64::min, f64::INFINITY), fold(f64::max, 0.0))
    }

    /// The median, units a second.
    pub(crate) fn per_second(&self) -> f64 {
        1e9 / self.ns()
    }

    /// The slowest and the fastest round, units a second.
    pub(crate) fn per_second_range(&self) -> (f64, f64) {
        let (fast, slow) = self.ns_range();
        (1e9 / slow, 1e9 / fast)
    }

    /// How many times as fast as `base`: the median over the rounds.
    pub(crate) fn speedup_over(&self, base: &Self) -> f64 {
        let pairs = base.ns_per_unit.iter().zip(&self.ns_per_unit);
        median(&pairs.map(|(base, this)| base / this).collect::<Vec<_>>())
    }

    /// The first and the third quartile of what [`Series::speedup_over`] is the median of.
    pub(crate) fn speedup_quartiles(&self, base: &Self) -> (f64, f64) {
        let pairs = base.ns_per_unit.iter().zip(&self.ns_per_unit);
        quartiles(pairs.map(|(base, this)| base / this).collect())
    }

    /// How many ns a unit more than `base`: the median over the rounds.
    pub(crate) fn ns_above(&self, base: &Self) -> f64 {
        let pairs = base.ns_per_unit.iter().zip(&self.ns_per_unit);
        median(&pairs.map(|(base, this)| this - base).collect::<Vec<_>>())
    }

    /// The first and the third quartile of what [`Series::ns_above`] is the median of.
    pub(crate) fn ns_above_quartiles(&self, base: &Self) -> (f64, f64) {
        let pairs = base.ns_per_unit.iter().zip(&self.ns_per_unit);
        quartiles(pairs.map(|(base, this)| this - base).collect())
    }
}

/// Runs `rounds` rounds after one that warms up and does not count.
///
/// # Errors
/// The first error of a contender.
pub(crate) fn interleave(rounds: usize, mut contenders: Vec<Contender<'_>>) -> Result<Vec<Series>> {
    let mut all: Vec<Series> = contenders
        .iter()
        .map(|c| Series { name: c.name.clone(), units: 0, ns_per_unit: Vec::new() })
        .collect();
    let count = contenders.len();
    for round in 0..=rounds.max(1) {
        for turn in 0..count {
            let which = (round + turn) % count;
            let work = (contenders[which].run)()?;
            if round > 0 {
                let ns = work.elapsed.as_nanos() as f64 / work.units.max(1) as f64;
                all[which].ns_per_unit.push(ns);
                all[which].units = work.units;
            }
        }
    }
    Ok(all)
}

/// An empty histogram of latencies in ns, three significant digits.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds and digits are valid")
}

/// p50, p90, p99 and the maximum of a histogram of ns, in µs.
pub(crate) fn percentiles_us(histogram: &Histogram<u64>) -> [String; 4] {
    let us = |ns: u64| format!("{:.2}", ns as f64 / 1e3);
    let at = |quantile| us(histogram.value_at_quantile(quantile));
    [at(0.5), at(0.9), at(0.99), us(histogram.max())]
}

/// Columns of [`percentiles_us`].
pub(crate) const PERCENTILES: [&str; 4] = ["p50 µs", "p90 µs", "p99 µs", "max µs"];

/// The first and the third quartile of at least one value.
fn quartiles(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
    (at(1), at(3))
}

/// The middle value, or the mean of the two in the middle; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(ns: &[f64]) -> Series {
        Series { name: String::new(), units: 1, ns_per_unit: ns.to_vec() }
    }

    #[test]
    fn medians_and_pairs() {
        let (base, fast) = (series(&[10.0, 30.0, 20.0]), series(&[5.0, 10.0, 2.0]));
        assert_eq!((base.ns(), base.ns_range()), (20.0, (10.0, 30.0)));
        assert_eq!(base.per_second(), 5e7);
        assert_eq!(fast.speedup_over(&base), 3.0, "of 2, 3 and 10");
        assert_eq!(base.ns_above(&fast), 18.0, "of 5, 20 and 18");
        assert_eq!(base.ns_above_quartiles(&fast), (5.0, 18.0));
        assert_eq!(series(&[1.0, 2.0, 4.0, 9.0]).ns(), 3.0);
    }

    #[test]
    fn every_contender_runs_once_a_round_and_the_order_turns() {
        let order = std::cell::RefCell::new(String::new());
        let contender = |name: &'static str| {
            let order = &order;
            Contender::new(name, move || {
                order.borrow_mut().push_str(name);
                Ok(Work { units: 7, elapsed: Duration::from_nanos(1) })
            })
        };
        let all = interleave(2, vec![contender("a"), contender("b"), contender("c")]).unwrap();
        assert_eq!(*order.borrow(), "abcbcacab", "the first round warms up");
        assert!(all.iter().all(|series| series.ns_per_unit.len() == 2 && series.units == 7));
    }

    #[test]
    fn an_error_of_a_contender_ends_the_measurement() {
        let failing = Contender::timed("x", || anyhow::bail!("broken"));
        assert_eq!(interleave(3, vec![failing]).unwrap_err().to_string(), "broken");
    }

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut histogram = latencies();
        (1..=100u64).for_each(|n| histogram.saturating_record(n * 1_000));
        assert_eq!(percentiles_us(&histogram)[..3], ["50.02", "90.05", "99.01"].map(str::to_owned));
    }
}
