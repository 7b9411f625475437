//! Whether what was reported is what happened.
//!
//! Owns the acceptance criteria: every incident found once and of the right kind, none where
//! nothing was, the true duration inside the reported bounds, the estimate within
//! max(50 ms, 2 %) where both ends can be seen, and the prefixes exact.
//!
//! Invariant: a criterion that cannot be checked from a viewpoint is not counted as met or missed.

use super::truth::{Finding, Happened, Moved, ScenarioTruth, Sight, Viewpoint};
use edgelore_model::{EventType, Interval, Prefix, Protocol, Span};

/// The estimate of a duration may miss the truth by this, or by a fiftieth when that is more.
pub const ESTIMATE_OFF_MAX: Span = Span::from_millis(50);
/// Two witnesses stamp one packet within this.
const STAMPED_WITHIN: Span = Span::from_millis(5);
/// A report belongs to what happened when it begins at most this far from it.
const START_APART_MAX: Span = Span::from_millis(3_000);

/// An incident as it was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Of what kind.
    pub event: EventType,
    /// On which protocol.
    pub protocol: Protocol,
    /// When it began.
    pub start: Interval,
    /// When it ended.
    pub end: Option<Interval>,
    /// What moved.
    pub prefixes: Moved,
}

impl Reported {
    /// The prefixes as an incident lists them.
    #[must_use]
    pub fn listing(prefixes: &[Prefix]) -> Moved {
        Moved::of(prefixes)
    }

    fn lasted(&self) -> Option<(Span, Span, Span)> {
        let end = self.end?;
        let shortest = Span((end.earliest - self.start.latest).0.max(0));
        Some((shortest, end.estimate - self.start.estimate, end.latest - self.start.earliest))
    }
}

/// What became of one incident that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What happened.
    pub what: String,
    /// It was found.
    pub found: bool,
    /// It had to be.
    pub required: bool,
    /// The true duration, ms, shortest and longest.
    pub truth_ms: Option<(i64, i64)>,
    /// The reported duration in ms: shortest, estimate, longest.
    pub reported_ms: Option<(i64, i64, i64)>,
    /// How far the estimate is from the truth, where both ends can be seen.
    pub off: Option<Span>,
    /// Criteria that it fails, in words.
    pub problems: Vec<String>,
}

/// The judgement of one scenario from one viewpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// One for each incident that can be seen from here.
    pub verdicts: Vec<Verdict>,
    /// Reports of what did not happen.
    pub spurious: Vec<String>,
    /// Changes that were to be noticed and were not.
    pub unresolved: Vec<String>,
    /// Changes that were to be noticed.
    pub resolutions: usize,
}

impl Judgement {
    /// Everything that is wrong, in words.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let of_verdicts = self
            .verdicts
            .iter()
            .flat_map(|v| v.problems.iter().map(move |problem| format!("{}: {problem}", v.what)));
        let spurious = self.spurious.iter().map(|text| format!("did not happen: {text}"));
        let unresolved = self.unresolved.iter().map(|text| format!("not noticed: {text}"));
        of_verdicts.chain(spurious).chain(unresolved).collect()
    }

    /// What was found of what had to be: (found, required).
    #[must_use]
    pub fn recall(&self) -> (usize, usize) {
        let required = self.verdicts.iter().filter(|v| v.required);
        (required.clone().filter(|v| v.found).count(), required.count())
    }

    /// What was right of what was reported: (right, reported).
    #[must_use]
    pub fn precision(&self) -> (usize, usize) {
        let found = self.verdicts.iter().filter(|v| v.found).count();
        (found, found + self.spurious.len())
    }
}

/// Holds what was reported from `viewpoint` against the truth; `noticed` are the patterns of the
/// resolutions that were noticed there.
#[must_use]
pub fn judge(
    truth: &ScenarioTruth,
    viewpoint: Viewpoint,
    reported: &[Reported],
    noticed: &[String],
) -> Judgement {
    let played = |report: &&Reported| report.start.latest >= truth.since;
    let mut left: Vec<&Reported> = reported.iter().filter(played).collect();
    let mut judgement = Judgement::default();
    for happened in &truth.incidents {
        let best = nearest(happened, &left);
        let Some(sight) = happened.sights.get(&viewpoint) else { continue };
        let report = best.map(|index| left.remove(index));
        let mut verdict = Verdict {
            what: happened.what.clone(),
            found: report.is_some(),
            required: sight.finding == Finding::Required,
            truth_ms: happened.duration().map(|(a, b)| (a.millis(), b.millis())),
            reported_ms: None,
            off: None,
            problems: Vec::new(),
        };
        match report {
            Some(report) => {
                hold(&mut verdict, (viewpoint, *sight), &from(viewpoint, happened), report);
            }
            None if verdict.required => verdict.problems.push("not found".to_owned()),
            None => {}
        }
        judgement.verdicts.push(verdict);
    }
    judgement.spurious = left.into_iter().map(describe).collect();
    let expected = truth.resolutions.iter().filter(|r| r.seen.contains(&viewpoint));
    judgement.resolutions = expected.clone().count();
    judgement.unresolved =
        expected.map(|r| r.pattern.clone()).filter(|pattern| !noticed.contains(pattern)).collect();
    judgement
}

/// What happened, as it looks from there: whoever has no table sees the end of what was said.
/// Where nobody listened, that was at some time between the start and the table's last change.
fn from(viewpoint: Viewpoint, happened: &Happened) -> Happened {
    let mut seen = happened.clone();
    if let (Some(end), true) = (&mut seen.end, viewpoint != Viewpoint::Router) {
        match happened.heard.get(&viewpoint) {
            Some(heard) => {
                *end = Interval::between(*heard - STAMPED_WITHIN, *heard + STAMPED_WITHIN)
            }
            None => end.earliest = seen.start.earliest,
        }
    }
    seen
}

/// The report of the same kind that begins nearest to what happened, if it is near.
fn nearest(happened: &Happened, left: &[&Reported]) -> Option<usize> {
    let apart = |report: &Reported| gap(happened.start, report.start);
    left.iter()
        .enumerate()
        .filter(|(_, report)| report.event == happened.event)
        .filter(|(_, report)| apart(report) <= START_APART_MAX)
        .min_by_key(|(_, report)| {
            (apart(report), (report.start.estimate - happened.start.estimate).0.abs())
        })
        .map(|(index, _)| index)
}

/// How far two intervals are apart; nothing when they meet.
fn gap(a: Interval, b: Interval) -> Span {
    Span((b.earliest - a.latest).0.max((a.earliest - b.latest).0).max(0))
}

fn hold(
    verdict: &mut Verdict,
    (viewpoint, sight): (Viewpoint, Sight),
    truth: &Happened,
    report: &Reported,
) {
    let problems = &mut verdict.problems;
    if !truth.protocols.contains(&report.protocol) {
        problems.push(format!("its protocol is not {}", report.protocol));
    }
    let apart = gap(truth.start, report.start);
    if apart > Span(0) {
        problems.push(format!("the true start is {} outside its bounds", text(apart)));
    }
    let told = report.prefixes.count();
    if (sight.prefixes || told > 0) && !right_prefixes(viewpoint, truth, report) {
        let actual = truth.prefixes.count();
        problems.push(if told == actual {
            "as many prefixes as moved, but others".to_owned()
        } else {
            format!("{told} prefixes, {actual} moved")
        });
    }
    let lasted = report.lasted();
    verdict.reported_ms = lasted.map(|(a, b, c)| (a.millis(), b.millis(), c.millis()));
    let Some((shortest, longest)) = truth.duration() else { return };
    let Some((least, estimate, most)) = lasted else {
        if sight.end {
            problems.push("its end can be seen from here and is not told".to_owned());
        }
        return;
    };
    if least > longest || most < shortest {
        problems.push("the true duration is outside its bounds".to_owned());
    }
    if sight.end {
        let off = Span((estimate.0 - longest.0).max(shortest.0 - estimate.0).max(0));
        verdict.off = Some(off);
        if off.0 > ESTIMATE_OFF_MAX.0.max(longest.0 / 50) {
            problems.push(format!("the estimate is {} off", text(off)));
        }
    }
}

/// Those that moved at the gateway; on the wire, those of them that somebody announces, and those
/// that moved at its neighbour may be among them.
fn right_prefixes(viewpoint: Viewpoint, truth: &Happened, report: &Reported) -> bool {
    if viewpoint == Viewpoint::Router {
        return report.prefixes.fits(&truth.prefixes);
    }
    let announced = truth.prefixes.without(&truth.unannounced);
    report.prefixes.fits(&announced) || report.prefixes.fits(&announced.and(&truth.elsewhere))
}

fn describe(report: &Reported) -> String {
    format!(
        "{} of {} at {}, {} prefixes",
        report.event,
        report.protocol,
        report.start.estimate,
        report.prefixes.count()
    )
}

fn text(span: Span) -> String {
    if span.0 < 1_000_000 {
        format!("{} µs", span.0 / 1_000)
    } else {
        format!("{} ms", span.millis())
    }
}

#[cfg(test)]
mod tests {
    use super::super::truth::Resolved;
    use super::*;
    use edgelore_model::Timestamp;
    use std::collections::BTreeMap;

    fn at(ms: i64) -> Timestamp {
        Timestamp(ms * 1_000_000)
    }

    fn between(earliest: i64, estimate: i64, latest: i64) -> Interval {
        Interval { earliest: at(earliest), estimate: at(estimate), latest: at(latest) }
    }

    fn truth(finding: Finding, end: bool) -> ScenarioTruth {
        let sight = Sight { finding, end, prefixes: true };
        ScenarioTruth {
            scenario: "s".to_owned(),
            about: "s".to_owned(),
            since: at(0),
            incidents: vec![Happened {
                what: "a failure".to_owned(),
                event: EventType::Convergence,
                protocols: vec![Protocol::Bgp],
                start: between(10_000, 10_000, 10_000),
                end: Some(between(11_000, 11_000, 11_000)),
                prefixes: Moved::Counted(200),
                elsewhere: Vec::new(),
                unannounced: Vec::new(),
                heard: BTreeMap::new(),
                sights: BTreeMap::from([(Viewpoint::Router, sight)]),
            }],
            resolutions: vec![Resolved {
                pattern: "bfd_tuning".to_owned(),
                seen: vec![Viewpoint::Router],
            }],
        }
    }

    fn report(start: Interval, end: Option<Interval>) -> Reported {
        let (event, protocol) = (EventType::Convergence, Protocol::Bgp);
        Reported { event, protocol, start, end, prefixes: Moved::Counted(200) }
    }

    fn problems(reports: &[Reported]) -> Vec<String> {
        let noticed = ["bfd_tuning".to_owned()];
        judge(&truth(Finding::Required, true), Viewpoint::Router, reports, &noticed).problems()
    }

    #[test]
    fn a_report_that_fits_has_no_problem() {
        let good = report(between(9_990, 10_010, 10_020), Some(between(10_990, 10_995, 11_010)));
        assert_eq!(problems(std::slice::from_ref(&good)), Vec::<String>::new());
        let judged = judge(&truth(Finding::Required, true), Viewpoint::Router, &[good], &[]);
        assert_eq!(judged.unresolved, ["bfd_tuning"]);
        assert_eq!((judged.recall(), judged.precision()), ((1, 1), (1, 1)));
        assert_eq!(judged.verdicts[0].off, Some(Span::from_millis(15)));
    }

    #[test]
    fn each_criterion_is_told_when_it_fails() {
        let start = between(9_990, 10_010, 10_020);
        let end = Some(between(10_990, 10_995, 11_010));
        let with = |change: fn(&mut Reported)| {
            let mut changed = report(start, end);
            change(&mut changed);
            changed
        };
        for (reports, needle) in [
            (vec![], "not found"),
            (vec![with(|r| r.event = EventType::Flap)], "not found"),
            (vec![with(|r| r.protocol = Protocol::Ospf)], "its protocol"),
            (vec![with(|r| r.prefixes = Moved::Counted(199))], "199 prefixes"),
            (vec![with(|r| r.prefixes = Moved::Counted(0))], "0 prefixes"),
            (vec![with(|r| r.end = None)], "not told"),
            (vec![with(|r| r.start.earliest = at(10_001))], "outside its bounds"),
            (vec![with(|r| r.end = Some(between(10_800, 10_850, 10_900)))], "true duration"),
            (vec![with(|r| r.start.estimate = at(9_900))], "off"),
            (vec![with(|_| {}), with(|_| {})], "did not happen"),
        ] {
            let found = problems(&reports);
            assert!(found.iter().any(|problem| problem.contains(needle)), "{needle}: {found:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_no_fault() {
        let mut truth = truth(Finding::Optional, false);
        truth.resolutions.clear();
        let unseen = judge(&truth, Viewpoint::Router, &[], &[]);
        assert_eq!((unseen.problems(), unseen.recall()), (vec![], (0, 0)));
        let without_end = report(between(9_990, 10_010, 10_020), None);
        let judged = judge(&truth, Viewpoint::Router, std::slice::from_ref(&without_end), &[]);
        assert_eq!(judged.problems(), Vec::<String>::new());
        let elsewhere = judge(&truth, Viewpoint::Bmp, &[without_end], &[]);
        assert_eq!(elsewhere.spurious.len(), 1, "nothing was there to be seen");
    }

    #[test]
    fn how_the_network_came_up_is_not_judged() {
        let early = report(between(9_000, 9_000, 9_000), None);
        let mut truth = truth(Finding::Optional, false);
        (truth.since, truth.resolutions) = (at(9_500), Vec::new());
        assert_eq!(judge(&truth, Viewpoint::Bmp, &[early], &[]).problems(), Vec::<String>::new());
    }

    #[test]
    fn what_moved_at_the_neighbour_is_heard_on_the_wire_alone() {
        let list = |texts: &[&str]| -> Vec<Prefix> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let mut truth = truth(Finding::Required, false);
        let here = list(&["198.18.0.0/24"]);
        truth.resolutions.clear();
        truth.incidents[0].prefixes = Moved::of(&here);
        truth.incidents[0].elsewhere = list(&["192.0.2.32/28"]);
        let sight = truth.incidents[0].sights[&Viewpoint::Router];
        truth.incidents[0].sights.insert(Viewpoint::Bridge, sight);
        let mut both = report(between(10_000, 10_000, 10_000), None);
        both.prefixes = Moved::of(&list(&["192.0.2.32/28", "198.18.0.0/24"]));
        let problems = |truth: &ScenarioTruth, viewpoint| {
            judge(truth, viewpoint, std::slice::from_ref(&both), &[]).problems().len()
        };
        let from = |truth: &ScenarioTruth| {
            (problems(truth, Viewpoint::Bridge), problems(truth, Viewpoint::Router))
        };
        assert_eq!(from(&truth), (0, 1));
        let link = list(&["192.0.2.0/28"]);
        truth.incidents[0].prefixes = truth.incidents[0].prefixes.and(&link);
        assert_eq!(from(&truth), (1, 1));
        truth.incidents[0].unannounced = link;
        assert_eq!(from(&truth), (0, 1), "nobody announces the link");
    }

    #[test]
    fn other_prefixes_are_noticed_even_when_they_are_as_many() {
        let list = |text: &str| Reported::listing(&[text.parse().unwrap()]);
        let mut truth = truth(Finding::Required, true);
        truth.incidents[0].prefixes = list("198.18.0.0/24");
        let mut told =
            report(between(10_000, 10_000, 10_000), Some(between(11_000, 11_000, 11_000)));
        told.prefixes = list("198.18.1.0/24");
        let judged = judge(&truth, Viewpoint::Router, &[told], &["bfd_tuning".to_owned()]);
        assert_eq!(judged.problems().len(), 1, "{:?}", judged.problems());
    }
}
