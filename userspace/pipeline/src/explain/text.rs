//! The account of an incident as text for a terminal.
//!
//! **Invariant:** lines of the timeline are never wider than asked for.

use super::scale::{Scale, ticks};
use super::{Account, Told, is_exact, words};
use crate::distil::Verdict;
use edgelore_model::{EventType, Incident, Interval, Known, Span, Timestamp};

/// How the text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextOptions {
    /// Columns of the timeline, 40 to 400.
    pub width: u16,
    /// Plain ASCII in place of block elements.
    pub ascii: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { width: 80, ascii: false }
    }
}

/// Rows of the timeline's bars.
const ROWS: u32 = 6;
/// Columns left of the plot: the values' labels and the rows' names.
const GUTTER: usize = 12;
/// Columns right of the plot, for the last label of the axis.
const MARGIN: usize = 6;

/// Characters of the timeline.
struct Pen {
    /// From empty to full.
    blocks: [char; 9],
    doubt: char,
    point: char,
    axis: [char; 4],
}

const UNICODE: Pen = Pen {
    blocks: [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
    doubt: '░',
    point: '┃',
    axis: ['┤', '└', '─', '┬'],
};
const ASCII: Pen = Pen {
    blocks: [' ', ' ', ' ', '.', '.', ':', ':', '#', '#'],
    doubt: '~',
    point: '|',
    axis: ['|', '+', '-', '+'],
};

/// Tells an incident.
#[must_use]
pub fn text(account: &Account, options: TextOptions) -> String {
    let mut out = Lines::default();
    head(account, &mut out);
    chain(account, &mut out);
    timeline(account, options, &mut out);
    findings(account, &mut out);
    settings(account, &mut out);
    outcomes(account, &mut out);
    let text = out.0.join("\n") + "\n";
    if options.ascii { to_ascii(&text) } else { text }
}

#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn push(&mut self, line: impl AsRef<str>) {
        self.0.push(line.as_ref().trim_end().to_owned());
    }

    fn section(&mut self, title: &str) {
        self.push("");
        self.push(title);
    }

    fn pair(&mut self, name: &str, value: &str) {
        self.push(format!("  {name:<40} {value}"));
    }
}

fn head(account: &Account, out: &mut Lines) {
    let Incident { id, event, protocol, start, end, severity, .. } = &account.incident;
    let on = words::scope(&account.incident.scope);
    out.push(format!("{event} ({protocol}) on {on}, incident {id}"));
    out.push("");
    out.push(format!("  {}", words::headline(&account.incident)));
    out.push("");
    out.push(format!("  began     {}  {}", start.estimate, words::bounds(*start)));
    match end {
        Some(end) => out.push(format!(
            "  ended     {}  {}, {}",
            end.estimate,
            words::since(start.estimate, end.estimate),
            words::bounds(*end)
        )),
        None => out.push("  ended     not seen from here"),
    }
    out.push(format!("  severity  {}", words::severity(*event, *severity)));
    out.push(format!("  prefixes  {}", prefixes(account)));
    out.push(format!("  evidence  {}", evidence(&account.incident)));
}

fn prefixes(account: &Account) -> String {
    let listed = &account.incident.prefixes;
    let names = listed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let more = account.prefixes.saturating_sub(listed.len() as u64);
    match (account.prefixes, listed.is_empty(), more) {
        (0, ..) => "none".to_owned(),
        (count, true, _) => words::number(count),
        (count, _, 0) => format!("{}: {names}", words::number(count)),
        (count, _, more) => {
            format!("{}: {names} and {} more", words::number(count), words::number(more))
        }
    }
}

fn evidence(incident: &Incident) -> String {
    let gaps = if incident.gaps {
        "has gaps: signals were lost while it was open, and no outcome rests on it"
    } else {
        "complete: nothing was lost while it was open"
    };
    let planned = if incident.maintenance { "; in a maintenance window" } else { "" };
    format!("{gaps}{planned}")
}

fn chain(account: &Account, out: &mut Lines) {
    let incident = &account.incident;
    out.section("What happened");
    if incident.chain.is_empty() {
        out.push("  no trigger is recorded");
    }
    let start = incident.start.estimate;
    for (index, trigger) in incident.chain.iter().enumerate() {
        let on = if trigger.on == incident.scope {
            String::new()
        } else {
            format!(", on {}", words::scope(&trigger.on))
        };
        out.push(format!(
            "  {}  {:>12}  {}  {}{on}",
            mark(index),
            words::since(start, trigger.at),
            words::time_of_day(trigger.at),
            words::trigger(trigger.kind),
        ));
    }
}

/// The letter of a trigger: `a` to `z`, then `*`.
pub(super) fn mark(index: usize) -> char {
    u8::try_from(index).ok().filter(|i| *i < 26).map_or('*', |index| char::from(b'a' + index))
}

fn timeline(account: &Account, options: TextOptions, out: &mut Lines) {
    let pen = if options.ascii { &ASCII } else { &UNICODE };
    let width = usize::from(options.width.clamp(40, 400)) - GUTTER - MARGIN;
    let extent = account.extent();
    let scale = Scale::time(extent, width as u32 - 1);
    out.section(&format!("Timeline: {}", words::progress(account.incident.event)));
    bars(account, &scale, width, pen, out);
    axis(account.incident.start.estimate, extent, &scale, width, pen, out);
    let row = |name: &str, cells: Vec<char>| {
        format!("{name:>10}  {}", cells.into_iter().collect::<String>())
    };
    out.push(row("began", doubt(account.incident.start, &scale, width, pen)));
    if !account.incident.chain.is_empty() {
        let mut cells = vec![' '; width];
        for (index, trigger) in account.incident.chain.iter().enumerate() {
            let cell = &mut cells[scale.at(trigger.at.0) as usize];
            *cell = if *cell == ' ' { mark(index) } else { '+' };
        }
        out.push(row("triggers", cells));
    }
    match account.incident.end {
        Some(end) => out.push(row("ended", doubt(end, &scale, width, pen))),
        None => out.push(row("ended", "not seen".chars().collect())),
    }
}

fn bars(account: &Account, scale: &Scale, width: usize, pen: &Pen, out: &mut Lines) {
    let points = account.progress();
    let most = points.iter().map(|(_, value)| *value).max().unwrap_or(0);
    if most == 0 {
        return;
    }
    let mut levels = vec![0u64; width];
    let mut from = width;
    for (index, (at, value)) in points.iter().enumerate().rev() {
        let column = scale.at(at.0) as usize;
        let last = index + 1 == points.len();
        let until = if last && from == width { width } else { from };
        // Of several points in one column the last one counts.
        levels[column.min(until)..until].fill(*value);
        from = from.min(column);
    }
    let steps = u128::from(ROWS * 8);
    for row in (0..ROWS).rev() {
        let label = match row {
            row if row == ROWS - 1 => words::number(most),
            _ => String::new(),
        };
        let cell = |value: &u64| {
            let eighths = (u128::from(*value) * steps).div_ceil(u128::from(most));
            let above = eighths.saturating_sub(u128::from(row * 8)).min(8);
            pen.blocks[above as usize]
        };
        let bar: String = levels.iter().map(cell).collect();
        let edge = if label.is_empty() { ' ' } else { pen.axis[0] };
        out.push(format!("{label:>10} {edge}{bar}"));
    }
}

fn axis(
    start: Timestamp,
    (first, last): (Timestamp, Timestamp),
    scale: &Scale,
    width: usize,
    pen: &Pen,
    out: &mut Lines,
) {
    let (unit, name) = time_unit(last - first);
    let mut line = vec![pen.axis[2]; width];
    let mut labels = vec![' '; width + MARGIN];
    let count = (width / 12).clamp(2, 8) as u32;
    let mut free = 0;
    let (from, to) = ((first - start).0 / unit, (last - start).0 / unit);
    for tick in ticks(from, to, count) {
        let column = scale.at(start.0.saturating_add(tick.saturating_mul(unit))) as usize;
        line[column] = pen.axis[3];
        let text = signed(tick);
        let begin = column.saturating_sub(text.len() / 2);
        if begin >= free && begin + text.len() <= labels.len() {
            labels[begin..begin + text.len()].copy_from_slice(&text.chars().collect::<Vec<_>>());
            free = begin + text.len() + 1;
        }
    }
    out.push(format!("{:>11}{}{}", "", pen.axis[1], line.iter().collect::<String>()));
    out.push(format!("{name:>10}  {}", labels.iter().collect::<String>()));
}

/// The unit of an axis, in ns, and its name.
pub(super) const fn time_unit(range: Span) -> (i64, &'static str) {
    match range.0 {
        ..20_000_000 => (1_000, "µs"),
        20_000_000..20_000_000_000 => (1_000_000, "ms"),
        20_000_000_000..1_200_000_000_000 => (1_000_000_000, "s"),
        1_200_000_000_000..72_000_000_000_000 => (60_000_000_000, "min"),
        _ => (3_600_000_000_000, "h"),
    }
}

/// A tick's label.
pub(super) fn signed(tick: i64) -> String {
    let sign = if tick < 0 { "-" } else { "" };
    format!("{sign}{}", words::number(tick.unsigned_abs()))
}

fn doubt(interval: Interval, scale: &Scale, width: usize, pen: &Pen) -> Vec<char> {
    let mut cells = vec![' '; width];
    let column = |at: Timestamp| scale.at(at.0) as usize;
    if !is_exact(interval) {
        let (from, to) = (column(interval.earliest), column(interval.latest));
        cells[from.min(to)..=to].fill(pen.doubt);
    }
    cells[column(interval.estimate)] = pen.point;
    cells
}

fn findings(account: &Account, out: &mut Lines) {
    let measured = words::measured(&account.incident.measured);
    if !measured.is_empty() {
        out.section("What was measured");
        for (name, value) in measured {
            out.pair(name, &value);
        }
    }
    if !account.incident.ruled_out.is_empty() {
        out.section("What was ruled out");
        for what in &account.incident.ruled_out {
            out.push(format!("  {}", words::ruled_out(*what)));
        }
    }
}

fn settings(account: &Account, out: &mut Lines) {
    let mut lines = Vec::new();
    for (session, settings) in &account.settings.sessions {
        lines.push((1, format!("session {}", words::printable(&session.to_string()))));
        lines_of(settings, 2, &mut lines);
    }
    let mut rest = serde_json::to_value(&account.settings).unwrap_or_default();
    if let Some(fields) = rest.as_object_mut() {
        fields.remove("sessions");
    }
    words::lines_of(&rest, 1, &mut lines);
    if lines.is_empty() {
        return;
    }
    out.section("What was set when it began");
    for (depth, line) in lines {
        out.push(format!("{:indent$}{line}", "", indent = depth * 2));
    }
}

fn lines_of(value: &impl serde::Serialize, depth: usize, lines: &mut Vec<(usize, String)>) {
    words::lines_of(&serde_json::to_value(value).unwrap_or_default(), depth, lines);
}

fn outcomes(account: &Account, out: &mut Lines) {
    if account.outcomes.is_empty() {
        return;
    }
    out.section("What rests on it");
    let event = account.incident.event;
    for told in &account.outcomes {
        outcome(told, event, out);
    }
}

fn outcome(told: &Told, event: EventType, out: &mut Lines) {
    let distilled = &told.distilled;
    let outcome = &distilled.outcome;
    let figure = |value: Option<u64>| {
        value.map_or_else(|| "unknown".to_owned(), |value| words::severity(event, value))
    };
    let relapse = if distilled.regression { ", after it had helped" } else { "" };
    out.push(format!(
        "  {} {}{relapse}: from {} to {}",
        words::printable(&outcome.resolution.pattern),
        Verdict::from(outcome).term(),
        figure(outcome.before),
        figure(outcome.after),
    ));
    for step in &outcome.resolution.steps {
        out.push(format!("    - {}", words::printable(step)));
    }
    let compared = &distilled.compared;
    out.push(match distilled.silent_ms {
        Some(ms) => format!(
            "    {} incidents before; none in {} watched since, where {} were due",
            compared.before.count,
            words::span(Span::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))),
            outcome.sample_size
        ),
        None => format!(
            "    medians {} of {} before and {} of {} after; a difference up to {} is none",
            words::number(compared.before.median),
            compared.before.count,
            words::number(compared.after.median),
            compared.after.count,
            words::number(compared.spread),
        ),
    });
    out.push(format!("    {}", known(outcome.resolution.known)));
    for evidence in &distilled.evidence {
        out.push(format!("    known by: {}", words::printable(evidence)));
    }
    if let Some(packet) = &told.packet_id {
        out.push(format!("    packet {}", words::printable(packet)));
    }
}

const fn known(known: Known) -> &'static str {
    match known {
        Known::Measured => "seen, and its effect measured",
        Known::Observed => "seen, its effect inferred",
        Known::Declared => "somebody said so",
    }
}

/// What a plain terminal shows for characters beyond ASCII.
fn to_ascii(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '–' => '-',
            'µ' => 'u',
            c if c.is_ascii() => c,
            _ => '?',
        })
        .collect()
}
