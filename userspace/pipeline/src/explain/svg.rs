//! The account of an incident as an SVG image: a timeline with the progress as an area, the
//! uncertainty of start and end as shaded bands, and the triggers as numbered lines.
//!
//! Colours follow the reader's preference for light or dark by a media query in the image itself.
//!
//! **Invariant:** every text passes [`escape`]; there is no script, no link and no foreign font.

use super::scale::{Scale, ticks};
use super::text::{mark, signed, time_unit};
use super::{Account, is_exact, words};
use crate::distil::Verdict;
use edgelore_model::{Incident, Interval, Timestamp};
use std::fmt::Write as _;

const WIDTH: u32 = 960;
const LEFT: u32 = 88;
const RIGHT: u32 = 32;
const PLOT_TOP: u32 = 118;
const PLOT_HEIGHT: u32 = 220;
const PLOT_WIDTH: u32 = WIDTH - LEFT - RIGHT;
const PLOT_BOTTOM: u32 = PLOT_TOP + PLOT_HEIGHT;
/// Height of a line of text below the plot.
const LINE: u32 = 22;
/// Triggers that are listed; the others are in the text.
const TRIGGERS_MAX: usize = 32;
/// Outcomes that are listed.
const OUTCOMES_MAX: usize = 8;
/// Characters of a line; a longer one ends in an ellipsis.
const LINE_CHARS_MAX: usize = 118;

const STYLE: &str = "\
.bg{fill:#fff}.t{fill:#1c2430}.m{fill:#5b6675}.ax{stroke:#8a94a3;stroke-width:1}\
.gr{stroke:#e3e7ec;stroke-width:1}.ar{fill:#2f6fde;fill-opacity:.16}\
.ln{fill:none;stroke:#2f6fde;stroke-width:2;stroke-linejoin:round}\
.sb{fill:#d9822b;fill-opacity:.22}.sl{stroke:#c46a12;stroke-width:2}.st{fill:#a85a0d}\
.eb{fill:#2a9d63;fill-opacity:.22}.el{stroke:#1f8552;stroke-width:2}.et{fill:#1a7346}\
.tr{stroke:#b3365b;stroke-width:1.5;stroke-dasharray:4 3}.tb{fill:#b3365b}.tt{fill:#fff}\
text{font-family:ui-sans-serif,system-ui,'DejaVu Sans',sans-serif;font-size:13px}\
.h{font-size:19px;font-weight:600}.s{font-size:12px}.b{font-weight:600}\
@media(prefers-color-scheme:dark){.bg{fill:#11161d}.t{fill:#e6ebf2}.m{fill:#97a3b3}\
.ax{stroke:#5d6878}.gr{stroke:#242d38}.ar{fill:#6ea0ff;fill-opacity:.2}.ln{stroke:#6ea0ff}\
.sb{fill:#e9a35a}.sl{stroke:#e9a35a}.st{fill:#f0b575}.eb{fill:#57c78d}.el{stroke:#57c78d}\
.et{fill:#7ad8a6}.tr{stroke:#e5799a}.tb{fill:#e5799a}.tt{fill:#11161d}}";

/// Draws an incident.
#[must_use]
pub fn svg(account: &Account) -> String {
    let mut body = String::new();
    let incident = &account.incident;
    let extent = account.extent();
    // A little air on both sides, so that what lies on an edge is seen whole.
    let air = ((extent.1 - extent.0).0 / 40).max(1);
    let extent =
        (Timestamp(extent.0.0.saturating_sub(air)), Timestamp(extent.1.0.saturating_add(air)));
    let scale = Scale::time(extent, PLOT_WIDTH);
    title(incident, &mut body);
    let most = account.progress().iter().map(|(_, value)| *value).max().unwrap_or(0);
    values(most, incident, &mut body);
    times(incident.start.estimate, extent, &scale, &mut body);
    bands(incident, &scale, &mut body);
    area(account, most, &scale, extent.1, &mut body);
    triggers(incident, &scale, &mut body);
    let height = notes(account, &mut body);
    let alt = escape(&format!("{} {}", incident.event, words::headline(incident)));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{alt}</title>\n\
         <style>{STYLE}</style>\n<rect class=\"bg\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         {body}</svg>\n"
    )
}

/// A text at a place; `anchor` is `start`, `middle` or `end`.
fn put(out: &mut String, (x, y): (u32, u32), class: &str, anchor: &str, text: &str) {
    let anchor =
        if anchor == "start" { String::new() } else { format!(" text-anchor=\"{anchor}\"") };
    let text = escape(text);
    // Writing to a string never fails.
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\"{anchor}>{text}</text>");
}

fn line(out: &mut String, class: &str, (x1, y1): (u32, u32), (x2, y2): (u32, u32)) {
    let _ =
        writeln!(out, "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
}

fn title(incident: &Incident, out: &mut String) {
    let Incident { event, protocol, start, severity, id, .. } = incident;
    let on = words::scope(&incident.scope);
    put(out, (24, 36), "t h", "start", &cut(&format!("{event} ({protocol}) on {on}"), 84));
    put(out, (24, 60), "t", "start", &words::headline(incident));
    let facts = format!(
        "began {} · severity {} · incident {id}{}",
        start.estimate,
        words::severity(*event, *severity),
        if incident.gaps { " · evidence has gaps" } else { "" }
    );
    put(out, (24, 82), "m s", "start", &facts);
}

fn values(most: u64, incident: &Incident, out: &mut String) {
    let name = words::progress(incident.event);
    if most == 0 {
        line(out, "ax", (LEFT, PLOT_TOP), (LEFT, PLOT_BOTTOM));
        let middle = (LEFT + PLOT_WIDTH / 2, PLOT_TOP + PLOT_HEIGHT / 2);
        return put(out, middle, "m", "middle", &format!("{name}: not recorded"));
    }
    put(out, (LEFT, PLOT_TOP - 10), "m s", "start", name);
    let top = i64::try_from(most).unwrap_or(i64::MAX);
    let scale = Scale::new(0, top, PLOT_HEIGHT);
    for tick in ticks(0, top, 6) {
        let y = PLOT_BOTTOM - scale.at(tick);
        line(out, "gr", (LEFT, y), (LEFT + PLOT_WIDTH, y));
        put(out, (LEFT - 8, y + 4), "m s", "end", &signed(tick));
    }
}

fn times(start: Timestamp, extent: (Timestamp, Timestamp), scale: &Scale, out: &mut String) {
    let (first, last) = extent;
    let (unit, name) = time_unit(last - first);
    let (from, to) = ((first - start).0 / unit, (last - start).0 / unit);
    for tick in ticks(from, to, 8) {
        let at = start.0.saturating_add(tick.saturating_mul(unit));
        let x = LEFT + scale.at(at);
        line(out, "ax", (x, PLOT_BOTTOM), (x, PLOT_BOTTOM + 5));
        put(out, (x, PLOT_BOTTOM + 20), "m s", "middle", &signed(tick));
    }
    line(out, "ax", (LEFT, PLOT_BOTTOM), (LEFT + PLOT_WIDTH, PLOT_BOTTOM));
    let label = format!("{name} since it began");
    put(out, (LEFT + PLOT_WIDTH, PLOT_BOTTOM + 38), "m s", "end", &label);
}

/// The uncertainty of start and end.
fn bands(incident: &Incident, scale: &Scale, out: &mut String) {
    let start = LEFT + scale.at(incident.start.estimate.0);
    let end = incident.end.map(|end| LEFT + scale.at(end.estimate.0));
    // Labels that would meet stand below each other.
    let meet = end.is_some_and(|end| end.saturating_sub(start) < 60);
    band(incident.start, ("sb", "sl"), scale, out);
    put(out, label(start, PLOT_BOTTOM - 8), "st s b", side(start), "began");
    if let Some((end, at)) = incident.end.zip(end) {
        band(end, ("eb", "el"), scale, out);
        let y = if meet { PLOT_BOTTOM - 24 } else { PLOT_BOTTOM - 8 };
        put(out, label(at, y), "et s b", side(at), "ended");
    }
}

/// Beside a line, on the side where there is room.
const fn label(x: u32, y: u32) -> (u32, u32) {
    if x > LEFT + PLOT_WIDTH - 60 { (x - 6, y) } else { (x + 6, y) }
}

const fn side(x: u32) -> &'static str {
    if x > LEFT + PLOT_WIDTH - 60 { "end" } else { "start" }
}

fn band(interval: Interval, (area, edge): (&str, &str), scale: &Scale, out: &mut String) {
    if !is_exact(interval) {
        let (from, to) = (scale.at(interval.earliest.0), scale.at(interval.latest.0));
        let (x, width) = (LEFT + from, to.saturating_sub(from).max(1));
        let _ = writeln!(
            out,
            "<rect class=\"{area}\" x=\"{x}\" y=\"{PLOT_TOP}\" width=\"{width}\" \
             height=\"{PLOT_HEIGHT}\"/>"
        );
    }
    let x = LEFT + scale.at(interval.estimate.0);
    line(out, edge, (x, PLOT_TOP), (x, PLOT_BOTTOM));
}

/// Progress as a staircase: a value holds until the next one.
fn area(account: &Account, most: u64, scale: &Scale, last: Timestamp, out: &mut String) {
    if most == 0 {
        return;
    }
    let height = Scale::new(0, i64::try_from(most).unwrap_or(i64::MAX), PLOT_HEIGHT);
    let mut path = String::new();
    let mut first = LEFT;
    let mut held: Option<u32> = None;
    for (at, value) in account.progress() {
        let x = LEFT + scale.at(at.0);
        let y = PLOT_BOTTOM - height.at(i64::try_from(value).unwrap_or(i64::MAX));
        match held {
            None => {
                first = x;
                let _ = write!(path, "M{x} {y}");
            }
            Some(before) => {
                let _ = write!(path, "L{x} {before}L{x} {y}");
            }
        }
        held = Some(y);
    }
    let until = account.incident.end.map_or(last, |end| end.latest.max(end.estimate));
    let x = (LEFT + scale.at(until.0)).max(first);
    if let Some(y) = held {
        let _ = write!(path, "L{x} {y}");
    }
    let _ = writeln!(
        out,
        "<path class=\"ar\" d=\"{path}L{x} {PLOT_BOTTOM}L{first} {PLOT_BOTTOM}Z\"/>\n\
         <path class=\"ln\" d=\"{path}\"/>"
    );
}

fn triggers(incident: &Incident, scale: &Scale, out: &mut String) {
    let mut occupied: Vec<(u32, u32)> = Vec::new();
    for (index, trigger) in incident.chain.iter().take(TRIGGERS_MAX).enumerate() {
        let x = LEFT + scale.at(trigger.at.0);
        // Badges that would meet stand below each other.
        let row = (0..8)
            .find(|row| occupied.iter().all(|(other, at)| at != row || other.abs_diff(x) >= 20));
        let row = row.unwrap_or(7);
        occupied.push((x, row));
        let y = PLOT_TOP + 12 + row * 22;
        line(out, "tr", (x, PLOT_TOP), (x, PLOT_BOTTOM));
        let _ = writeln!(out, "<circle class=\"tb\" cx=\"{x}\" cy=\"{y}\" r=\"9\"/>");
        put(out, (x, y + 4), "tt s b", "middle", &mark(index).to_string());
    }
}

/// What stands below the plot; gives the image's height.
fn notes(account: &Account, out: &mut String) -> u32 {
    let incident = &account.incident;
    let start = incident.start.estimate;
    let mut y = PLOT_BOTTOM + 66;
    let mut note = |class: &str, indent: u32, text: &str| {
        put(out, (24 + indent, y), class, "start", &cut(text, LINE_CHARS_MAX));
        y += LINE;
    };
    note("t b", 0, "What happened");
    for (index, trigger) in incident.chain.iter().take(TRIGGERS_MAX).enumerate() {
        let on = words::scope(&trigger.on);
        let text = words::trigger(trigger.kind);
        let since = words::since(start, trigger.at);
        note("t", 12, &format!("{}  {since}: {text}, on {on}", mark(index)));
    }
    if let Some(more) = incident.chain.len().checked_sub(TRIGGERS_MAX).filter(|more| *more > 0) {
        note("m", 12, &format!("and {more} more"));
    }
    note("m", 12, &format!("began {}", words::bounds(incident.start)));
    match incident.end {
        Some(end) => note("m", 12, &format!("ended {}", words::bounds(end))),
        None => note("m", 12, "its end cannot be seen from here"),
    }
    note("t", 12, &format!("{} prefixes affected", words::number(account.prefixes)));
    for (name, value) in words::measured(&incident.measured) {
        note("t", 12, &format!("{name}: {value}"));
    }
    for what in &incident.ruled_out {
        note("m", 12, &format!("ruled out: {}", words::ruled_out(*what)));
    }
    if !account.outcomes.is_empty() {
        note("t b", 0, "What rests on it");
    }
    for told in account.outcomes.iter().rev().take(OUTCOMES_MAX) {
        let outcome = &told.distilled.outcome;
        let figure = |value: Option<u64>| {
            value.map_or_else(|| "?".to_owned(), |v| words::severity(incident.event, v))
        };
        note(
            "t",
            12,
            &format!(
                "{} {}: from {} to {}",
                outcome.resolution.pattern,
                Verdict::from(outcome).term(),
                figure(outcome.before),
                figure(outcome.after)
            ),
        );
    }
    y
}

/// A text of at most so many characters.
fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// Text as XML carries it: markup escaped, and what XML 1.0 §2.2 forbids replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
