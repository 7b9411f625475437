//! What was found beside what was there, as tables in Markdown.
//!
//! Invariant: figures are summed over what could be checked, and say how much that was.

use super::run::Played;
use edgelore_model::Span;
use edgelore_testkit::lab::{Judgement, Verdict, Viewpoint};
use std::fmt::Write;

/// The sums by viewpoint, one line for each scenario and viewpoint, and all problems.
pub(super) fn render(played: &[Played]) -> String {
    let mut text = summary(played);
    text += "\n| scenario | viewpoint | what | truth ms | Edgelore ms | off ms | |\n";
    text += "|---|---|---|---|---|---|---|\n";
    for one in played {
        for (viewpoint, judgement) in &one.judgements {
            text.extend(rows(one.scenario, *viewpoint, judgement));
        }
    }
    let problems: Vec<String> = played
        .iter()
        .flat_map(|one| one.problems().into_iter().map(move |p| format!("{}: {p}", one.scenario)))
        .collect();
    if problems.is_empty() {
        text += "\nEvery criterion was met.\n";
    } else {
        text += "\nNot met:\n\n";
        text.extend(problems.iter().map(|problem| format!("- {problem}\n")));
    }
    text
}

fn rows(scenario: &str, viewpoint: Viewpoint, judgement: &Judgement) -> Vec<String> {
    let name = viewpoint.name();
    let line = |what: &str, truth: &str, told: &str, off: &str, verdict: &str| {
        format!("| {scenario} | {name} | {what} | {truth} | {told} | {off} | {verdict} |\n")
    };
    let mut rows: Vec<String> =
        judgement.verdicts.iter().map(|verdict| row(verdict, &line)).collect();
    rows.extend(judgement.spurious.iter().map(|text| line(text, "", "", "", "did not happen")));
    rows.extend(judgement.unresolved.iter().map(|text| line(text, "", "", "", "not noticed")));
    if judgement.resolutions > judgement.unresolved.len() {
        rows.push(line("resolution noticed", "", "", "", "ok"));
    }
    if rows.is_empty() {
        rows.push(line("nothing to be seen, nothing told", "", "", "", "ok"));
    }
    rows
}

fn row(verdict: &Verdict, line: &dyn Fn(&str, &str, &str, &str, &str) -> String) -> String {
    let truth = verdict.truth_ms.map_or_else(|| "–".to_owned(), |(least, most)| span(least, most));
    let told = match (verdict.found, verdict.reported_ms) {
        (false, _) => "not told".to_owned(),
        (true, None) => "end not seen".to_owned(),
        (true, Some((least, estimate, most))) => format!("{estimate} [{least} .. {most}]"),
    };
    let off = verdict.off.map_or_else(String::new, |off| off.millis().to_string());
    let ok = match (verdict.problems.is_empty(), verdict.found) {
        (true, true) => "ok".to_owned(),
        (true, false) => "cannot be seen for sure".to_owned(),
        (false, _) => verdict.problems.join("; "),
    };
    line(&verdict.what, &truth, &told, &off, &ok)
}

fn span(least: i64, most: i64) -> String {
    if least == most { least.to_string() } else { format!("{least} .. {most}") }
}

/// The sums of one viewpoint.
#[derive(Debug, Default)]
struct Sum {
    found: usize,
    required: usize,
    right: usize,
    reported: usize,
    noticed: usize,
    resolutions: usize,
    off: Vec<Span>,
}

impl Sum {
    fn add(&mut self, judgement: &Judgement) {
        let ((found, required), (right, reported)) = (judgement.recall(), judgement.precision());
        self.found += found;
        self.required += required;
        self.right += right;
        self.reported += reported;
        self.resolutions += judgement.resolutions;
        self.noticed += judgement.resolutions - judgement.unresolved.len();
        self.off.extend(judgement.verdicts.iter().filter_map(|verdict| verdict.off));
    }

    fn row(mut self, name: &str) -> String {
        self.off.sort_unstable();
        let ms = |span: Option<&Span>| span.map_or_else(String::new, |s| s.millis().to_string());
        format!(
            "| {name} | {} | {} | {} | {} | {} | {} |\n",
            share(self.right, self.reported),
            share(self.found, self.required),
            share(self.noticed, self.resolutions),
            self.off.len(),
            ms(self.off.get(self.off.len() / 2)),
            ms(self.off.last())
        )
    }
}

fn share(part: usize, whole: usize) -> String {
    match (part * 100).checked_div(whole) {
        Some(percent) => format!("{percent} % ({part}/{whole})"),
        None => "–".to_owned(),
    }
}

fn summary(played: &[Played]) -> String {
    let mut text =
        "| viewpoint | precision | recall | resolutions | ends seen | off, median ms | off, worst ms |\n\
         |---|---|---|---|---|---|---|\n"
            .to_owned();
    for viewpoint in Viewpoint::ALL {
        let judgements = played.iter().flat_map(|one| &one.judgements);
        let mut of_this = judgements.filter(|(at, _)| *at == viewpoint).peekable();
        if of_this.peek().is_none() {
            continue;
        }
        let mut sum = Sum::default();
        of_this.for_each(|(_, judgement)| sum.add(judgement));
        let _ = write!(text, "{}", sum.row(viewpoint.name()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(found: bool, off_ms: i64) -> Verdict {
        Verdict {
            what: "silent".to_owned(),
            found,
            required: true,
            truth_ms: Some((900, 900)),
            reported_ms: found.then_some((890, 905, 930)),
            off: found.then_some(Span::from_millis(off_ms)),
            problems: if found { Vec::new() } else { vec!["not found".to_owned()] },
        }
    }

    fn played(verdicts: Vec<Verdict>, spurious: &[&str]) -> Played {
        let spurious = spurious.iter().map(|text| (*text).to_owned()).collect();
        let judgement = Judgement { verdicts, spurious, ..Judgement::default() };
        Played { scenario: "s", judgements: vec![(Viewpoint::Router, judgement)], failure: None }
    }

    #[test]
    fn sums_count_what_was_missed_and_what_was_made_up() {
        let text = render(&[
            played(vec![verdict(true, 5)], &[]),
            played(vec![verdict(false, 0)], &["a flap"]),
        ]);
        assert!(text.contains("| router | 50 % (1/2) | 50 % (1/2) | – | 1 | 5 | 5 |"), "{text}");
        assert!(
            text.contains("| s | router | silent | 900 | 905 [890 .. 930] | 5 | ok |"),
            "{text}"
        );
        assert!(text.contains("- s: router: silent: not found"), "{text}");
        assert!(text.contains("- s: router: did not happen: a flap"), "{text}");
    }

    #[test]
    fn a_scenario_that_could_not_be_played_is_a_problem() {
        let text = render(&[Played::failed("s", "no daemon".to_owned())]);
        assert!(text.contains("- s: no daemon"), "{text}");
        assert!(render(&[played(vec![verdict(true, 5)], &[])]).contains("Every criterion was met"));
    }
}
