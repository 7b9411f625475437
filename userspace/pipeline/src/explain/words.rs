//! The words for what an incident contains.
//!
//! **Invariant:** a word never promises more than what was measured.

use super::is_exact;
use edgelore_model::{
    EventType, Incident, Interval, Measured, RuledOut, Scope, Span, Timestamp, TriggerKind,
};
use std::fmt::Write as _;

/// Thousands apart, as people read them.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A stretch of time in the unit that fits it, with four significant digits at most.
pub(super) fn span(span: Span) -> String {
    let sign = if span.0 < 0 { "-" } else { "" };
    let ns = span.0.unsigned_abs();
    let text = match ns {
        0..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..10_000_000_000 => format!("{} ms", number((ns + 500_000) / 1_000_000)),
        10_000_000_000..600_000_000_000 => {
            let tenths = (ns + 50_000_000) / 100_000_000;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        _ => {
            let seconds = (ns + 500_000_000) / 1_000_000_000;
            let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
            if hours > 0 {
                format!("{hours} h {minutes:02} min")
            } else {
                format!("{minutes} min {:02} s", seconds % 60)
            }
        }
    };
    format!("{sign}{text}")
}

/// Since the start: `+8,412 ms`.
pub(super) fn since(start: Timestamp, at: Timestamp) -> String {
    let text = span(at - start);
    if text.starts_with('-') { text } else { format!("+{text}") }
}

/// The time of day, UTC.
pub(super) fn time_of_day(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('T').map_or(text.clone(), |(_, time)| time.to_owned())
}

/// The bounds of an interval against its estimate.
pub(super) fn bounds(interval: Interval) -> String {
    if is_exact(interval) {
        return "as it was seen".to_owned();
    }
    format!(
        "between {} and {}",
        since(interval.estimate, interval.earliest),
        since(interval.estimate, interval.latest)
    )
}

/// What the severity is, in its unit.
pub(super) fn severity(event: EventType, value: u64) -> String {
    let value = number(value);
    match event {
        EventType::Convergence => format!("{value} ms"),
        EventType::Flap => format!("{value} transitions an hour"),
        EventType::Saturation => format!("{value} ms of standing backlog"),
        EventType::Degradation => format!("{value} of a million packets lost"),
    }
}

/// What progress counts, and its unit.
pub(super) const fn progress(event: EventType) -> &'static str {
    match event {
        EventType::Convergence => "prefixes moved",
        EventType::Flap => "transitions",
        EventType::Saturation => "bytes of backlog",
        EventType::Degradation => "packets lost or late",
    }
}

/// The headline: what happened to what.
pub(super) fn headline(incident: &Incident) -> String {
    let what = match incident.event {
        EventType::Convergence => "Routing moved to a new state",
        EventType::Flap => "Something came and went again and again",
        EventType::Saturation => "A queue stood full",
        EventType::Degradation => "Control packets were lost or late",
    };
    let lasted = match incident.duration() {
        Some((shortest, likeliest, longest)) if shortest == longest => {
            format!(" for {}", span(likeliest))
        }
        Some((shortest, likeliest, longest)) => {
            format!(" for {}: between {} and {}", span(likeliest), span(shortest), span(longest))
        }
        None => "; its end cannot be seen from here".to_owned(),
    };
    format!("{what}{lasted}.")
}

pub(super) fn trigger(kind: TriggerKind) -> String {
    match kind {
        TriggerKind::SessionDown => "the session ended".to_owned(),
        TriggerKind::BfdDown => "BFD went down".to_owned(),
        TriggerKind::Notification(code, subcode) => {
            format!("NOTIFICATION {code}/{subcode}{}", notification(code, subcode))
        }
        TriggerKind::WithdrawalBurst => "many prefixes were withdrawn at once".to_owned(),
        TriggerKind::LinkDown => "the link lost its carrier or vanished".to_owned(),
        TriggerKind::NextHopLost => "the kernel's table left a next hop that was silent".to_owned(),
        TriggerKind::AdjacencyDown => "two routers are no longer adjacent".to_owned(),
        TriggerKind::TopologyChange => "an advertisement took back what it had".to_owned(),
        TriggerKind::CostChange => "an advertisement changed a cost".to_owned(),
        TriggerKind::LdpDown => "the LDP session ended".to_owned(),
        TriggerKind::Transitions => "transitions came faster than the threshold".to_owned(),
        TriggerKind::Backlog => "a queue stood above its threshold".to_owned(),
        TriggerKind::QueueDrops => "a queue dropped packets".to_owned(),
        TriggerKind::Retransmissions => "segments were sent again".to_owned(),
        TriggerKind::BfdLate => "BFD packets came late or not at all".to_owned(),
        TriggerKind::HellosLate => "hellos came late or not at all".to_owned(),
        TriggerKind::KeepalivesLate => "keepalives came late".to_owned(),
        TriggerKind::LinkErrors => "the interface counted errors".to_owned(),
        TriggerKind::PeerUnstable => "a router's statistics of a peer show trouble".to_owned(),
    }
}

/// The names of RFC 4271 §4.5 and RFC 4486.
const fn notification(code: u8, subcode: u8) -> &'static str {
    match (code, subcode) {
        (1, _) => " (Message Header Error)",
        (2, _) => " (OPEN Message Error)",
        (3, _) => " (UPDATE Message Error)",
        (4, _) => " (Hold Timer Expired)",
        (5, _) => " (Finite State Machine Error)",
        (6, 1) => " (Cease: Maximum Number of Prefixes Reached)",
        (6, 2) => " (Cease: Administrative Shutdown)",
        (6, 3) => " (Cease: Peer De-configured)",
        (6, 4) => " (Cease: Administrative Reset)",
        (6, 5) => " (Cease: Connection Rejected)",
        (6, 6) => " (Cease: Other Configuration Change)",
        (6, 7) => " (Cease: Connection Collision Resolution)",
        (6, 8) => " (Cease: Out of Resources)",
        (6, 9) => " (Cease: Hard Reset)",
        (6, 10) => " (Cease: BFD Down)",
        (6, _) => " (Cease)",
        _ => "",
    }
}

pub(super) const fn ruled_out(what: RuledOut) -> &'static str {
    match what {
        RuledOut::LinkDown => "a link failure: the link kept its carrier",
        RuledOut::Silence => "a silent path: packets went on coming in on the link",
        RuledOut::BfdDown => "a failure that BFD sees: it stayed up",
        RuledOut::Congestion => "congestion: no queue of the link stood full or dropped packets",
        RuledOut::AdministrativeShutdown => "an operator: nobody shut the session down",
    }
}

/// What was measured, a line each.
pub(super) fn measured(measured: &Measured) -> Vec<(&'static str, String)> {
    let plain = |value: Option<u64>| value.map(number);
    let ms = |value: Option<u64>| value.map(|ms| format!("{} ms", number(ms)));
    let m = measured;
    let kilo = |value: u32| format!("{},{:03}", value / 1_000, value % 1_000);
    [
        ("in the kernel's own table", ms(m.fib_ms)),
        ("announcements replaced before the end", plain(m.explored)),
        ("most of them for one prefix", plain(m.explored_max.map(u64::from))),
        ("prefixes without any route for a while", plain(m.blackholed)),
        ("median time without a route", ms(m.blackholed_ms_median)),
        ("longest time without a route", ms(m.blackholed_ms_max)),
        ("transitions", plain(m.transitions)),
        ("median time from loss to loss", ms(m.period_ms)),
        ("highest penalty (RFC 2439)", m.penalty_max.map(kilo)),
        ("deepest backlog, bytes", plain(m.backlog_bytes_max)),
        ("deepest backlog, packets", plain(m.backlog_packets_max)),
        ("packets dropped", plain(m.drops)),
        ("packets held back", plain(m.overlimits)),
        ("packets lost, sent again or late", plain(m.lost)),
        ("packets expected", plain(m.expected)),
        ("latest after it was due", ms(m.late_ms_max)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// What an incident is about, without what could upset a terminal or a document.
pub(super) fn scope(scope: &Scope) -> String {
    printable(&scope.to_string())
}

/// Text without control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A key of settings as words: `hold_time_s` is `hold time s`.
pub(super) fn key(key: &str) -> String {
    printable(key).replace('_', " ")
}

/// Lines of `depth` levels that say what a JSON value says.
pub(super) fn lines_of(value: &serde_json::Value, depth: usize, out: &mut Vec<(usize, String)>) {
    let serde_json::Value::Object(fields) = value else {
        out.push((depth, compact(value)));
        return;
    };
    for (name, value) in fields {
        match value {
            serde_json::Value::Object(inner) if inner.is_empty() => {}
            serde_json::Value::Array(inner) if inner.is_empty() => {}
            serde_json::Value::Null => {}
            other => out.push((depth, format!("{}: {}", key(name), compact(other)))),
        }
    }
}

/// A JSON value in one line, without quotes and braces where they can be spared.
fn compact(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => printable(text),
        serde_json::Value::Array(all) => all.iter().map(compact).collect::<Vec<_>>().join(", "),
        serde_json::Value::Object(fields) => {
            let mut out = String::new();
            for (name, value) in fields {
                let separator = if out.is_empty() { "" } else { ", " };
                let inner = compact(value);
                let inner = if value.is_object() { format!("({inner})") } else { inner };
                // Writing to a string never fails.
                let _ = write!(out, "{separator}{} {inner}", key(name));
            }
            out
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (8_200_123, "8,200,123")] {
            assert_eq!(number(value), text);
        }
        for (ns, text) in [
            (0, "0 µs"),
            (-12_000_000, "-12 ms"),
            (8_412_345_678, "8,412 ms"),
            (39_540_000_000, "39.5 s"),
            (725_000_000_000, "12 min 05 s"),
            (7_500_000_000_000, "2 h 05 min"),
            (i64::MIN, "-2562047 h 47 min"),
        ] {
            assert_eq!(span(Span(ns)), text);
        }
    }

    #[test]
    fn notifications_have_their_names() {
        let expired = trigger(TriggerKind::Notification(4, 0));
        assert_eq!(expired, "NOTIFICATION 4/0 (Hold Timer Expired)");
        assert_eq!(trigger(TriggerKind::Notification(99, 1)), "NOTIFICATION 99/1");
    }
}
