//! Maintenance windows: incidents that overlap one are told, and no outcome rests on them.
//!
//! Owns the question whether a stretch of time meets a window. Windows are input like observations:
//! the same windows and the same observations mark the same incidents.
//!
//! **Invariant:** integer arithmetic on UTC alone; at most [`WINDOWS_MAX`] windows are looked at.

use edgelore_model::{Incident, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Windows that are looked at.
pub const WINDOWS_MAX: usize = 1_024;
/// Minutes of a week.
pub const WEEK_MINUTES: u32 = 7 * 24 * 60;

const MINUTE_NS: i64 = 60_000_000_000;
const WEEK_NS: i64 = WEEK_MINUTES as i64 * MINUTE_NS;
/// The first Monday after the epoch, which was a Thursday.
const MONDAY_NS: i64 = 4 * 24 * 60 * MINUTE_NS;

/// When a window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Once.
    Once {
        /// From this moment on.
        from: Timestamp,
        /// To this moment; `None`: until somebody ends it.
        until: Option<Timestamp>,
    },
    /// Every week, in UTC.
    Weekly {
        /// It opens so many minutes after Monday 00:00, below [`WEEK_MINUTES`].
        minute: u32,
        /// It stays open for so many minutes, at most a week.
        lasts_minutes: u32,
    },
}

/// A maintenance window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it is open.
    pub when: When,
    /// It concerns only incidents of sessions with these addresses; all when it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<IpAddr>,
}

impl Window {
    /// It is open at some moment from `from` to `until`, both included.
    #[must_use]
    pub fn meets(&self, from: Timestamp, until: Timestamp) -> bool {
        match self.when {
            When::Once { from: opens, until: closes } => {
                opens <= until && closes.is_none_or(|closes| from <= closes)
            }
            When::Weekly { minute, lasts_minutes } => {
                let first = MONDAY_NS + i64::from(minute % WEEK_MINUTES) * MINUTE_NS;
                let lasts = i64::from(lasts_minutes.min(WEEK_MINUTES)) * MINUTE_NS;
                // How long before `until` it opened last.
                let ago = until.0.saturating_sub(first).rem_euclid(WEEK_NS);
                ago <= until.0.saturating_sub(from.0).saturating_add(lasts)
            }
        }
    }

    /// It concerns what the incident is about, or what one of its triggers happened to.
    fn concerns(&self, incident: &Incident) -> bool {
        let named = |scope: &Scope| match scope {
            Scope::Session(session) => {
                self.only.iter().any(|address| session.other(*address).is_some())
            }
            Scope::Prefix(_, speaker) => self.only.contains(speaker),
            _ => false,
        };
        self.only.is_empty()
            || named(&incident.scope)
            || incident.chain.iter().any(|trigger| named(&trigger.on))
    }
}

/// Whether an incident that has closed at `now` lies in one of the windows, by the widest bounds of
/// its start and end. One whose end cannot be seen lasts until now.
pub(super) fn covers(windows: &[Window], incident: &Incident, now: Timestamp) -> bool {
    let until = incident.end.map_or(now, |end| end.latest).max(incident.start.latest);
    windows
        .iter()
        .take(WINDOWS_MAX)
        .any(|window| window.meets(incident.start.earliest, until) && window.concerns(incident))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::Span;

    /// Sunday 2026-11-22 02:00 UTC.
    const SUNDAY_2: Timestamp = Timestamp::from_secs_nanos(1_795_312_800, 0);

    fn minutes(minutes: i64) -> Span {
        Span::from_millis(minutes * 60_000)
    }

    #[test]
    fn the_constant_is_what_it_says() {
        assert_eq!(SUNDAY_2.to_string(), "2026-11-22T02:00:00.000Z");
    }

    #[test]
    fn weekly_windows_open_every_week() {
        let when = When::Weekly { minute: (6 * 24 + 2) * 60, lasts_minutes: 120 };
        let window = Window { when, only: Vec::new() };
        let at = |offset: i64| SUNDAY_2 + minutes(offset);
        for (from, until, meets) in [
            (0, 0, true),
            (-1, -1, false),
            (-30, 0, true),
            (120, 130, true),
            (121, 130, false),
            (7 * 24 * 60 + 60, 7 * 24 * 60 + 61, true),
            (-7 * 24 * 60 + 121, -1, false),
            (121, 8 * 24 * 60, true),
        ] {
            assert_eq!(window.meets(at(from), at(until)), meets, "{from} to {until}");
        }
    }

    #[test]
    fn a_window_without_an_end_stays_open() {
        let once = |until| Window { when: When::Once { from: SUNDAY_2, until }, only: Vec::new() };
        let (before, later) = (SUNDAY_2 - minutes(1), SUNDAY_2 + minutes(500));
        assert!(once(None).meets(later, later));
        assert!(!once(None).meets(before, before));
        assert!(once(None).meets(before, SUNDAY_2));
        assert!(!once(Some(SUNDAY_2 + minutes(60))).meets(later, later));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        for when in [
            When::Weekly { minute: u32::MAX, lasts_minutes: u32::MAX },
            When::Once { from: Timestamp(i64::MIN), until: Some(Timestamp(i64::MAX)) },
        ] {
            let window = Window { when, only: Vec::new() };
            assert!(window.meets(Timestamp(i64::MIN), Timestamp(i64::MAX)));
        }
    }
}
