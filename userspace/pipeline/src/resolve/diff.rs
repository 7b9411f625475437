//! From two readings of a router's configuration to the changes between them.
//!
//! Owns which line took which other's place: both are of one rule, in the same blocks, and set the
//! same thing of the same one. A line of another rule of the same pattern takes a line's place too
//! (dampening with limits that of dampening by default). Never reads a file.
//!
//! **Invariant:** the same two texts give the same changes, one per pattern, in the order of the
//! patterns' names.

use super::rules::{Match, Rules};
use super::text::{Configuration, Path, Statement};
use super::{Change, Reach};
use edgelore_model::{Interval, Known, Resolution};
use std::collections::{BTreeMap, VecDeque};

/// Sentences of one change at most; further ones are counted in the last.
const STEPS_MAX: usize = 8;
/// Lines that a change's evidence names at most, and their bytes.
const EVIDENCE_LINES_MAX: usize = 16;
const EVIDENCE_LINE_BYTES_MAX: usize = 200;

/// What two readings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// The changes that rules know, one per pattern.
    pub changes: Vec<Change>,
    /// Lines that came or went and that no rule knows.
    pub unknown: usize,
}

/// Compares two readings of one router's configuration; what differs was changed within `at`.
#[must_use]
pub fn config_changes(
    rules: &Rules,
    before: &Configuration,
    after: &Configuration,
    at: Interval,
) -> Compared {
    if before.syntax != after.syntax {
        return Compared::default();
    }
    let mut found = Found::default();
    let mut unknown = 0;
    for (statement, came) in differences(before, after) {
        match rules.find(after.syntax, &statement.path, &statement.text) {
            Some(match_) => found.add(rules, statement, match_, came),
            None => unknown += 1,
        }
    }
    Compared { changes: found.changes(rules, at), unknown }
}

/// The statements of which there are more (true) or fewer than before.
fn differences<'a>(
    before: &'a Configuration,
    after: &'a Configuration,
) -> impl Iterator<Item = (&'a Statement, bool)> {
    let count = |all: &Configuration, one| all.statements.get(one).copied().unwrap_or(0);
    let went = before.statements.keys().filter(move |s| count(before, s) > count(after, s));
    let came = after.statements.keys().filter(move |s| count(after, s) > count(before, s));
    went.map(|s| (s, false)).chain(came.map(|s| (s, true)))
}

/// What a setting is known by: its pattern, its blocks, and whose it is.
type Setting = (String, Path, Vec<String>);

#[derive(Debug, Default)]
struct Lines<'a> {
    /// By rule.
    went: BTreeMap<usize, VecDeque<(&'a Statement, Match)>>,
    came: Vec<(&'a Statement, Match)>,
}

#[derive(Debug, Default)]
struct Found<'a> {
    settings: BTreeMap<Setting, Lines<'a>>,
}

impl<'a> Found<'a> {
    fn add(&mut self, rules: &Rules, statement: &'a Statement, match_: Match, came: bool) {
        let pattern = rules.get(&match_).pattern.clone();
        let setting = (pattern, statement.path.clone(), match_.whose.clone());
        let lines = self.settings.entry(setting).or_default();
        if came {
            lines.came.push((statement, match_));
        } else {
            lines.went.entry(match_.rule).or_default().push_back((statement, match_));
        }
    }

    fn changes(self, rules: &Rules, at: Interval) -> Vec<Change> {
        let mut by_pattern: BTreeMap<String, Told> = BTreeMap::new();
        for ((pattern, ..), lines) in self.settings {
            let told = by_pattern.entry(pattern).or_default();
            lines.tell(rules, told);
        }
        let told = by_pattern.into_iter().filter(|(_, told)| !told.steps.is_empty());
        told.map(|(pattern, told)| told.change(pattern, at)).collect()
    }
}

impl Lines<'_> {
    fn tell(mut self, rules: &Rules, told: &mut Told) {
        let only = self.came.len() == 1;
        for (is_line, is) in &self.came {
            let same = self.went.get_mut(&is.rule).and_then(VecDeque::pop_front);
            // What another rule of the pattern knows is what this took the place of.
            let other = || self.went.values_mut().find_map(|lines| take_shorter(lines, is_line));
            let was = same.or_else(|| only.then(other).flatten());
            let step = match &was {
                Some((_, was)) if was.rule == is.rule => rules.get(is).changed(was, is),
                _ => rules.get(is).added(is),
            };
            if let Some(step) = step {
                told.step(step, &rules.get(is).reach);
                was.iter().for_each(|(line, _)| told.line('-', line));
                told.line('+', is_line);
            }
        }
        for (line, was) in self.went.values().flatten() {
            if let Some(step) = rules.get(was).removed(was) {
                told.step(step, &rules.get(was).reach);
                told.line('-', line);
            }
        }
    }
}

/// The first line that says the same with fewer or more words, such as dampening by default.
fn take_shorter<'a>(
    lines: &mut VecDeque<(&'a Statement, Match)>,
    came: &Statement,
) -> Option<(&'a Statement, Match)> {
    let continues = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.starts_with(' '))
    };
    let same = |(went, _): &(&Statement, Match)| {
        continues(&went.text, &came.text) || continues(&came.text, &went.text)
    };
    lines.iter().position(same).and_then(|at| lines.remove(at))
}

/// What is told of one pattern.
#[derive(Debug, Default)]
struct Told {
    steps: Vec<String>,
    further: usize,
    evidence: Vec<String>,
    lines: usize,
    /// Of all steps together; `None` before the first.
    reach: Option<Reach>,
}

impl Told {
    fn step(&mut self, step: String, reach: &Reach) {
        self.reach = Some(self.reach.take().map_or_else(|| reach.clone(), |own| own.and(reach)));
        if self.steps.contains(&step) {
            return;
        }
        if self.steps.len() >= STEPS_MAX {
            self.further += 1;
            return;
        }
        self.steps.push(step);
    }

    fn line(&mut self, sign: char, statement: &Statement) {
        self.lines += 1;
        if self.evidence.len() >= EVIDENCE_LINES_MAX {
            return;
        }
        let blocks = statement.path.iter().map(|header| format!("{header} > "));
        let line: String = blocks.chain([statement.text.to_string()]).collect();
        let line: String = line.chars().take(EVIDENCE_LINE_BYTES_MAX).collect();
        self.evidence.push(format!("{sign} {line}"));
    }

    fn change(mut self, pattern: String, at: Interval) -> Change {
        if self.further > 0 {
            self.steps.push(format!("Made {} further changes of this kind", self.further));
        }
        let more = self.lines.saturating_sub(self.evidence.len());
        if more > 0 {
            self.evidence.push(format!("and {more} more lines"));
        }
        let resolution = Resolution { pattern, steps: self.steps, known: Known::Observed };
        let evidence = format!("configuration: {}", self.evidence.join("; "));
        Change { at, on: None, reach: self.reach.unwrap_or_default(), resolution, evidence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::{EventType, Protocol, Timestamp};

    fn compare(before: &str, after: &str) -> BTreeMap<String, Vec<String>> {
        let read = |text| Configuration::read(text).expect("the text is valid");
        let at = Interval::between(Timestamp(1), Timestamp(2));
        let compared = config_changes(&Rules::shipped(), &read(before), &read(after), at);
        let told = |change: Change| {
            assert_eq!((change.at, change.resolution.known), (at, Known::Observed));
            assert!(change.evidence.starts_with("configuration: "), "{}", change.evidence);
            (change.resolution.pattern, change.resolution.steps)
        };
        compared.changes.into_iter().map(told).collect()
    }

    #[test]
    fn frr_as_its_shell_prints_it() {
        let (before, after) =
            (include_str!("fixtures/frr_before.txt"), include_str!("fixtures/frr_after.txt"));
        let found = compare(before, after);
        let expected: [(&str, &[&str]); 10] = [
            (
                "advertisement_interval",
                &["Changed a neighbor's BGP advertisement interval from 5 s to 1 s"],
            ),
            (
                "bfd_tuning",
                &[
                    "Set the BFD transmit interval to 100 ms",
                    "Set the BFD detection multiplier from 5 back to its default",
                ],
            ),
            (
                "cost_change",
                &[
                    "Changed an interface's OSPF cost from 10 to 50",
                    "Changed an interface's IS-IS metric from 20 to 30",
                ],
            ),
            (
                "dampening",
                &[
                    "Enabled route flap dampening: half-life 5 min, reuse below 500, suppress above \
                   1000, at most 20 min",
                ],
            ),
            ("ecmp_rebalance", &["Changed the number of equal paths from 4 to 8"]),
            ("graceful_restart", &["Enabled BGP graceful restart"]),
            (
                "hold_timer_tuning",
                &[
                    "Changed the LDP session hold time from 90 s to 30 s",
                    "Changed the BGP hold time from 9 s to 3 s and the keepalive time from 3 s to \
                     1 s",
                    "Changed a neighbor's BGP hold time from 30 s to 6 s and its keepalive time \
                     from 10 s to 2 s",
                ],
            ),
            (
                "igp_timer_tuning",
                &[
                    "Changed the OSPF dead interval from 20 s to 4 s",
                    "Changed the OSPF hello interval from 5 s to 1 s",
                    "Changed how long an IS-IS adjacency lasts from 4 to 3 hello intervals",
                    "Changed the LDP hello hold time from 20 s to 10 s",
                ],
            ),
            ("max_prefix", &["Changed the limit of prefixes taken from a neighbor from 100 to 50"]),
            (
                "prefix_filter",
                &[
                    "Changed a list of prefixes, paths or communities that filters routes",
                    "Took a filter off a neighbor's routes",
                ],
            ),
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (pattern, steps) in expected {
            let mut found = found[pattern].clone();
            let mut steps: Vec<&str> = steps.to_vec();
            found.sort();
            steps.sort_unstable();
            assert_eq!(found, steps, "{pattern}");
        }
        assert!(compare(before, before).is_empty());
    }

    #[test]
    fn bird_as_its_file_says_it() {
        let found = compare(
            include_str!("fixtures/bird_before.txt"),
            include_str!("fixtures/bird_after.txt"),
        );
        for (pattern, step) in [
            ("bfd_tuning", "Changed a BFD interval from 300 ms to 50 ms"),
            ("bfd_tuning", "Changed the BFD detection multiplier from 5 to 3"),
            ("bfd_tuning", "Let BFD watch a session"),
            ("cost_change", "Changed an interface's cost from 10 to 50"),
            ("ecmp_rebalance", "Changed the number of equal paths from 2 to 8"),
            ("graceful_restart", "Enabled graceful restart"),
            ("hold_timer_tuning", "Changed a session's BGP hold time from 90 s to 9 s"),
            ("igp_timer_tuning", "Changed the OSPF dead interval from 40 s to 4 s"),
            ("igp_timer_tuning", "Changed the OSPF hello interval from 10 s to 1 s"),
            ("max_prefix", "Changed the limit of a session's routes from 1000 to 500"),
            ("prefix_filter", "Changed a filter"),
        ] {
            assert!(found[pattern].iter().any(|s| s == step), "{step}: {found:#?}");
        }
        assert_eq!(found.len(), 8, "{found:#?}");
    }

    #[test]
    fn no_address_and_no_name_gets_into_a_step() {
        let before = "router bgp 65001\n";
        let after = "router bgp 65001\n neighbor 192.0.2.9 maximum-prefix 50\n \
            neighbor 192.0.2.9 prefix-list SECRET in\n bgp dampening 5 500 1000 secret\n";
        let text = format!("{:?}", compare(before, after));
        assert!(text.contains("50") && text.contains("filter"), "{text}");
        for word in ["192.0.2.9", "SECRET", "secret", "65001"] {
            assert!(!text.contains(word), "{text}");
        }
    }

    #[test]
    fn many_lines_are_one_change_with_bounded_text() {
        let list = |from: u32| -> String {
            (from..from + 20_000)
                .map(|seq| format!("neighbor {seq} maximum-prefix {seq}\n "))
                .collect()
        };
        let config = |from| format!("router bgp 1\n {}\n", list(from));
        let read = |text: String| Configuration::read(&text).expect("the text is valid");
        let at = Interval::exactly(Timestamp(1));
        let compared =
            config_changes(&Rules::shipped(), &read(config(0)), &read(config(50_000)), at);
        assert_eq!(compared.changes.len(), 1);
        assert_eq!(compared.changes[0].resolution.steps.len(), STEPS_MAX + 1);
        assert!(compared.changes[0].evidence.len() < 4_096);
    }

    #[test]
    fn a_change_reaches_what_its_lines_can_act_on() {
        let read = |text| Configuration::read(text).expect("the text is valid");
        let at = Interval::exactly(Timestamp(1));
        let before = read("router bgp 1\nrouter ospf\n");
        for (text, bgp, ospf) in [
            ("router bgp 1\n bgp dampening\nrouter ospf\n", true, false),
            ("router bgp 1\n bgp graceful-restart\nrouter ospf\n", true, false),
            ("router bgp 1\nrouter ospf\n graceful-restart\n", true, true),
            ("router bgp 1\n bgp graceful-restart\nrouter ospf\n graceful-restart\n", true, true),
            ("router bgp 1\nrouter ospf\nip prefix-list A seq 5 permit any\n", true, true),
        ] {
            let compared = config_changes(&Rules::shipped(), &before, &read(text), at);
            let [change] = &compared.changes[..] else { panic!("{text}: {compared:?}") };
            let reach = |protocol| change.reach.has(EventType::Convergence, protocol);
            assert_eq!((reach(Protocol::Bgp), reach(Protocol::Ospf)), (bgp, ospf), "{text}");
            assert_eq!(reach(Protocol::Ldp), text.contains("prefix-list"), "{text}");
        }
    }

    #[test]
    fn lines_that_no_rule_knows_are_counted() {
        let read = |text| Configuration::read(text).expect("the text is valid");
        let at = Interval::exactly(Timestamp(1));
        let (a, b) = (read("hostname a\n"), read("hostname b\n"));
        let compared = config_changes(&Rules::shipped(), &a, &b, at);
        assert_eq!(compared, Compared { changes: Vec::new(), unknown: 2 });
    }
}
