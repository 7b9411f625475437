//! Resolution: what changed between two incidents of one class.
//!
//! The timers that both ends of a session use are on the wire. Comparing those that held when an
//! incident began with those that held when the next one of its class began tells what was tuned
//! between them, however many steps the change took; the operator may declare what the wire
//! cannot show.
//!
//! **Invariant:** steps name times, multipliers and nothing that identifies a network.

use crate::detect::{SessionSettings, Settings};
use edgelore_model::{Incident, Interval, Known, Resolution, Scope};
use serde::{Deserialize, Serialize};

/// BFD intervals or multiplier changed, or BFD was switched on.
pub const BFD_TUNING: &str = "bfd_tuning";
/// The hold time changed.
pub const HOLD_TIMER_TUNING: &str = "hold_timer_tuning";

/// A change of the network that was seen or told of. It stays on the gateway; only its resolution
/// may leave, as part of an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it was made.
    pub at: Interval,
    /// Where; `None` when it may concern every class of incidents.
    pub on: Option<Scope>,
    /// What was changed.
    pub resolution: Resolution,
    /// How one knows: the line of a configuration, the message on the wire, the operator's word.
    pub evidence: String,
}

/// What changed on the wire for the incident's session from `before` to `after`; empty when
/// nothing did or the incident is not about a session.
#[must_use]
pub fn wire_changes(incident: &Incident, before: &Settings, after: &Settings) -> Vec<Resolution> {
    changed(&incident.scope, before, after)
}

/// What changed on the wire for `scope` from `before` to `after`, at some time within `at`.
#[must_use]
pub fn changes_between(
    scope: &Scope,
    before: &Settings,
    after: &Settings,
    at: Interval,
) -> Vec<Change> {
    let evidence =
        |resolution: &Resolution| format!("on the wire: {}", resolution.steps.join("; "));
    changed(scope, before, after)
        .into_iter()
        .map(|resolution| Change {
            at,
            on: Some(*scope),
            evidence: evidence(&resolution),
            resolution,
        })
        .collect()
}

fn changed(scope: &Scope, before: &Settings, after: &Settings) -> Vec<Resolution> {
    let Scope::Session(session) = *scope else { return Vec::new() };
    let settings = |all: &Settings| {
        all.sessions.iter().find(|(key, _)| *key == session).map(|(_, settings)| settings.clone())
    };
    let (Some(before), Some(after)) = (settings(before), settings(after)) else {
        return Vec::new();
    };
    [bfd_tuning(&before, &after), hold_timer_tuning(&before, &after)]
        .into_iter()
        .flatten()
        .collect()
}

fn bfd_tuning(before: &SessionSettings, after: &SessionSettings) -> Option<Resolution> {
    let (was, is) = (before.bfd_detection_us(), after.bfd_detection_us());
    if was == is {
        return None;
    }
    let steps = match (was, is) {
        (None, Some(_)) => vec![
            "Enabled BFD on the session's both ends".to_owned(),
            format!("Set {}", bfd_text(after)?),
        ],
        (Some(_), None) => vec!["Disabled BFD on the session".to_owned()],
        (Some((was_us, _)), Some((is_us, _))) => vec![
            format!("Changed BFD from {} to {}", bfd_text(before)?, bfd_text(after)?),
            format!("Detection time went from {} to {}", time_text(was_us), time_text(is_us)),
        ],
        (None, None) => return None,
    };
    Some(measured(BFD_TUNING, steps))
}

fn hold_timer_tuning(before: &SessionSettings, after: &SessionSettings) -> Option<Resolution> {
    let (was, is) = (before.hold_time_s()?, after.hold_time_s()?);
    let step = || format!("Changed the BGP hold time from {was} s to {is} s");
    (was != is).then(|| measured(HOLD_TIMER_TUNING, vec![step()]))
}

fn measured(pattern: &str, steps: Vec<String>) -> Resolution {
    Resolution { pattern: pattern.to_owned(), steps, known: Known::Measured }
}

/// The slower end's settings as an engineer would say them.
fn bfd_text(settings: &SessionSettings) -> Option<String> {
    let slowest = settings.bfd.values().max_by_key(|t| {
        (u64::from(t.desired_min_tx_us) * u64::from(t.detect_multiplier), t.required_min_rx_us)
    })?;
    Some(format!(
        "BFD transmit interval {}, receive interval {}, multiplier {}",
        time_text(u64::from(slowest.desired_min_tx_us)),
        time_text(u64::from(slowest.required_min_rx_us)),
        slowest.detect_multiplier
    ))
}

fn time_text(us: u64) -> String {
    if us.is_multiple_of(1_000) { format!("{} ms", us / 1_000) } else { format!("{us} µs") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::BfdTimers;
    use edgelore_model::{EventType, IncidentId, Interval, Protocol, SessionKey, Timestamp};
    use std::net::IpAddr;

    fn ends() -> (IpAddr, IpAddr) {
        ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap())
    }

    fn incident() -> Incident {
        let (a, b) = ends();
        Incident {
            id: IncidentId(1),
            event: EventType::Convergence,
            protocol: Protocol::Bgp,
            scope: Scope::Session(SessionKey::between(a, b)),
            chain: Vec::new(),
            start: Interval::exactly(Timestamp(0)),
            end: None,
            prefixes: Vec::new(),
            severity: 0,
            gaps: false,
            maintenance: false,
            measured: edgelore_model::Measured::default(),
            progress: Vec::new(),
            ruled_out: Vec::new(),
        }
    }

    fn settings(hold_s: u16, bfd: Option<(u8, u32)>) -> Settings {
        let (a, b) = ends();
        let mut settings = SessionSettings::default();
        for end in [a, b] {
            settings.hold_time_s.insert(end, hold_s);
            if let Some((detect_multiplier, interval_us)) = bfd {
                settings.bfd.insert(
                    end,
                    BfdTimers {
                        detect_multiplier,
                        desired_min_tx_us: interval_us,
                        required_min_rx_us: interval_us,
                    },
                );
            }
        }
        Settings { sessions: vec![(SessionKey::between(a, b), settings)] }
    }

    #[test]
    fn names_what_changed_between_two_incidents() {
        let slow = settings(9, None);
        for (name, after, patterns) in [
            ("nothing", settings(9, None), vec![]),
            ("bfd enabled", settings(9, Some((3, 300_000))), vec![BFD_TUNING]),
            ("hold time", settings(3, None), vec![HOLD_TIMER_TUNING]),
            ("both", settings(3, Some((3, 50_000))), vec![BFD_TUNING, HOLD_TIMER_TUNING]),
        ] {
            let found = wire_changes(&incident(), &slow, &after);
            let found: Vec<&str> = found.iter().map(|r| r.pattern.as_str()).collect();
            assert_eq!(found, patterns, "{name}");
        }
    }

    #[test]
    fn a_smaller_multiplier_is_bfd_tuning_with_both_detection_times() {
        let (before, after) = (settings(9, Some((5, 300_000))), settings(9, Some((3, 300_000))));
        let found = wire_changes(&incident(), &before, &after);
        assert_eq!(found[0].steps[1], "Detection time went from 1500 ms to 900 ms");
    }

    #[test]
    fn bfd_at_one_end_protects_nothing() {
        let mut half = settings(9, Some((3, 300_000)));
        half.sessions[0].1.bfd.pop_first();
        assert!(wire_changes(&incident(), &settings(9, None), &half).is_empty());
    }
}
