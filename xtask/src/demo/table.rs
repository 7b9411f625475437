//! What was measured beside what was true.
//!
//! Invariant: a check that cannot be made counts as failed.

use super::node::DurationMs;
use edgelore_model::{Advice, Outcome, Span};
use edgelore_testkit::lab::{Truth, agree};
use std::fmt::Write;

/// The estimate may miss the truth by this, or by two per cent when that is more.
const ESTIMATE_OFF_MAX: Span = Span::from_millis(50);
/// Lost packets and the FIB may differ by this: some packet spacings, and an echo's way.
const WITNESSES_APART_MAX: Span = Span::from_millis(100);
/// The most bytes of a packet.
const PACKET_BYTES_MAX: usize = 512;
const NANOS_PER_MS: i64 = 1_000_000;

/// One failure: its name, the truth, and what Edgelore reported.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) name: &'static str,
    pub(crate) truth: Truth,
    /// What Edgelore says of it; `None` when Edgelore was not asked.
    pub(crate) measured: Option<Measured>,
    /// Prefixes that really moved.
    pub(crate) prefixes: u64,
    /// What the timers allow, ms.
    pub(crate) plausible_ms: (i64, i64),
}

/// What Edgelore reported.
#[derive(Debug)]
pub(crate) struct Measured {
    /// `None` when it could not see the end.
    pub(crate) duration: Option<DurationMs>,
    pub(crate) prefixes: u64,
}

/// An outcome that travelled.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) packet_id: String,
    pub(crate) outcome_hash: String,
    pub(crate) packet_bytes: usize,
    pub(crate) outcome: Outcome,
    pub(crate) parents: Vec<String>,
    /// From distillation until the other network's query found it.
    pub(crate) took: Span,
    /// The packet that must be named as its parent.
    pub(crate) parent_expected: Option<String>,
}

/// Everything the story found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) failures: Vec<Failure>,
    pub(crate) deliveries: Vec<Delivery>,
    /// Per network: the incidents that Edgelore reported, and the failures that there were.
    pub(crate) incidents: Vec<(&'static str, usize, usize)>,
    /// What Denver was told, and the packet that must be its evidence.
    pub(crate) advice: Option<(Vec<Advice>, String)>,
}

impl Report {
    /// Everything that is off, in words; empty when all is well.
    pub(crate) fn problems(&self) -> Vec<String> {
        let failures = self.failures.iter().flat_map(Failure::problems);
        let deliveries = self.deliveries.iter().flat_map(Delivery::problems);
        let incidents = self.incidents.iter().filter(|(_, reported, real)| reported != real).map(
            |(network, reported, real)| {
                format!("{network}: {reported} incidents reported, {real} failures")
            },
        );
        failures.chain(deliveries).chain(incidents).chain(self.advice_problem()).collect()
    }

    fn advice_problem(&self) -> Option<String> {
        let (advice, evidence) = self.advice.as_ref()?;
        let Some(first) = advice.first() else { return Some("Denver got no advice".to_owned()) };
        if first.pattern != "bfd_tuning" {
            return Some(format!("the first advice is {}, not bfd_tuning", first.pattern));
        }
        if !first.evidence.iter().any(|one| one.packet == *evidence && one.votes) {
            return Some("the advice does not rest on Singapore's outcome".to_owned());
        }
        None
    }
}

impl Failure {
    fn problems(&self) -> Vec<String> {
        let (shortest, estimate, longest) = self.truth.duration();
        let mut problems = Vec::new();
        let mut check = |holds: bool, text: String| {
            if !holds {
                problems.push(format!("{}: {text}", self.name));
            }
        };
        let (least, most) = self.plausible_ms;
        check(
            (least..=most).contains(&estimate.millis()),
            format!("{} ms is not what the timers allow, {least} to {most}", estimate.millis()),
        );
        if let Err(error) = agree(self.truth.outage, estimate, WITNESSES_APART_MAX) {
            check(false, error.to_string());
        }
        let Some(measured) = &self.measured else { return problems };
        check(
            measured.prefixes == self.prefixes,
            format!("{} prefixes reported, {} moved", measured.prefixes, self.prefixes),
        );
        let Some(duration) = measured.duration else {
            check(false, "Edgelore did not see the end".to_owned());
            return problems;
        };
        check(
            duration.earliest.saturating_mul(NANOS_PER_MS) <= longest.0
                && duration.latest.saturating_mul(NANOS_PER_MS) >= shortest.0,
            "the truth is outside the reported interval".to_owned(),
        );
        let off = (duration.estimate.saturating_mul(NANOS_PER_MS) - estimate.0).abs();
        check(
            off <= ESTIMATE_OFF_MAX.0.max(estimate.0 / 50),
            format!("the estimate is {} ms off", Span(off).millis()),
        );
        problems
    }

    fn row(&self) -> [String; 5] {
        let measured = match &self.measured {
            None => "not asked".to_owned(),
            Some(Measured { duration: None, .. }) => "end not seen".to_owned(),
            Some(Measured { duration: Some(d), .. }) => {
                format!("{} ms [{} .. {}]", d.estimate, d.earliest, d.latest)
            }
        };
        [
            self.name.to_owned(),
            measured,
            format!("{} ms", self.truth.duration().1.millis()),
            format!(
                "{} ms ({} packets)",
                self.truth.outage.duration().millis(),
                self.truth.outage.lost
            ),
            verdict(self.problems().is_empty()),
        ]
    }
}

impl Delivery {
    fn problems(&self) -> Vec<String> {
        let outcome = &self.outcome;
        let severities = outcome.before.zip(outcome.after);
        let checks = [
            (self.packet_bytes <= PACKET_BYTES_MAX, "the packet is too large".to_owned()),
            (
                outcome.resolution.pattern == "bfd_tuning",
                format!("the resolution is {}, not bfd_tuning", outcome.resolution.pattern),
            ),
            (severities.is_some_and(|(before, after)| after < before), "no improvement".to_owned()),
            (
                self.parent_expected.as_ref().is_none_or(|parent| self.parents.contains(parent)),
                "its parent is not named".to_owned(),
            ),
            (self.outcome_hash.len() == 64, "the fingerprint is not a SHA-256".to_owned()),
            (self.took >= Span(0), "it was found before it was distilled".to_owned()),
        ];
        checks
            .into_iter()
            .filter(|(holds, _)| !holds)
            .map(|(_, text)| format!("outcome from {}: {text}", self.from))
            .collect()
    }

    fn row(&self) -> [String; 5] {
        [
            format!("{} → {}", self.from, self.to),
            format!("{} ms better", self.outcome.convergence_delta_ms),
            format!("{} bytes", self.packet_bytes),
            format!("{} ms", self.took.millis()),
            verdict(self.problems().is_empty()),
        ]
    }
}

fn verdict(ok: bool) -> String {
    if ok { "ok" } else { "NOT OK" }.to_owned()
}

/// The final tables.
pub(crate) fn render(report: &Report) -> String {
    let head = ["failure", "Edgelore [earliest .. latest]", "truth (FIB)", "lost packets", ""];
    let mut text = format!("\n{}", table(head, report.failures.iter().map(Failure::row)));
    if report.deliveries.is_empty() {
        return text;
    }
    let head = ["outcome", "says", "packet", "end → found", ""];
    let _ = write!(text, "\n{}", table(head, report.deliveries.iter().map(Delivery::row)));
    for delivery in &report.deliveries {
        let _ = writeln!(text, "\n{}'s fingerprint  {}", delivery.from, delivery.outcome_hash);
        let _ = writeln!(text, "  packet       {}", delivery.packet_id);
        for parent in &delivery.parents {
            let _ = writeln!(text, "  parent       {parent}");
        }
    }
    text
}

fn table(head: [&str; 5], rows: impl Iterator<Item = [String; 5]>) -> String {
    let rows: Vec<[String; 5]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        if number == 0 {
            let _ = writeln!(text, "{}", "─".repeat(widths.iter().sum::<usize>() + 8));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::Timestamp;
    use edgelore_testkit::Injection;
    use edgelore_testkit::lab::Outage;

    fn failure(duration: Option<DurationMs>) -> Failure {
        let at = |ms: i64| Timestamp(ms * NANOS_PER_MS);
        Failure {
            name: "test",
            truth: Truth {
                injected: Injection { before: at(0), after: at(0) },
                converged: at(1_000),
                outage: Outage { from: at(5), until: at(1_010), lost: 100 },
            },
            measured: Some(Measured { duration, prefixes: 200 }),
            prefixes: 200,
            plausible_ms: (500, 1_100),
        }
    }

    #[test]
    fn a_figure_fits_only_inside_its_interval_and_near_the_truth() {
        let duration = |earliest, estimate, latest| DurationMs { earliest, estimate, latest };
        for (reported, problems) in [
            (Some(duration(990, 1_010, 1_020)), 0),
            (Some(duration(990, 1_049, 1_060)), 0),
            (Some(duration(900, 1_051, 1_060)), 1),
            (Some(duration(1_001, 1_010, 1_020)), 1),
            (Some(duration(900, 940, 999)), 2),
            (None, 1),
        ] {
            assert_eq!(failure(reported).problems().len(), problems, "{reported:?}");
        }
    }

    #[test]
    fn wrong_prefixes_timers_or_witnesses_are_problems() {
        let fits = Some(DurationMs { earliest: 990, estimate: 1_000, latest: 1_010 });
        let mut wrong = failure(fits);
        wrong.prefixes = 201;
        assert_eq!(wrong.problems().len(), 1);
        let mut wrong = failure(fits);
        wrong.plausible_ms = (100, 200);
        assert_eq!(wrong.problems().len(), 1);
        let mut wrong = failure(fits);
        wrong.truth.outage.until = Timestamp(1_200 * NANOS_PER_MS);
        assert_eq!(wrong.problems().len(), 1);
    }
}
