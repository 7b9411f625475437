//! When a failure began: bounds from all that bears witness to it.

use super::open::LINK_REPORT;
use crate::detect::adjacency::IgpSign;
use crate::detect::life::Life;
use crate::detect::sessions::Session;
use edgelore_model::{Interval, Span, Timestamp, Trigger, TriggerKind};

/// NOTIFICATION error code (RFC 4271 §4.5).
const HOLD_TIMER_EXPIRED: u8 = 4;
/// Assumed when the OPENs were not seen: the largest default among daemons, in seconds.
const HOLD_TIME_UNKNOWN_S: u16 = 240;
/// Assumed when the timers were not seen: ten times the slowest rate (RFC 5880 §6.8.3), in µs.
const BFD_UNKNOWN_US: u64 = 10_000_000;
/// What ends, or sees another end on its own machine, has said so within this: scheduling on a busy
/// machine.
const ANNOUNCED_WITHIN: Span = Span::from_millis(50);
/// A session that is not up sends no more often than this (RFC 5880 §6.8.3), in µs: so late may the
/// wire say that BFD went down.
const BFD_SLOW_US: u64 = 1_000_000;

/// Bounds of a session failure's start from all that bears witness to it. `moved` is the first
/// change of the kernel's table that belongs to it, if that came before the trigger: the daemon
/// had noticed by then.
pub(super) fn session_start(
    before: &Session,
    trigger: Trigger,
    moved: Option<Interval>,
    life: &Life,
) -> Interval {
    let noticed = moved.map_or(trigger.at, |moved| moved.latest.min(trigger.at));
    let Some(timer) = silence_timer(before, trigger, noticed, moved.is_some()) else {
        return Interval::exactly(trigger.at);
    };
    silent_start(timer, noticed, &before.links.iter().copied().collect::<Vec<_>>(), life)
}

/// Bounds of a link's failure that was reported at `at`.
pub(super) fn link_start(link: u32, at: Timestamp, life: &Life) -> Interval {
    let reported = Interval { earliest: at - LINK_REPORT, estimate: at, latest: at };
    let silence = life.silent_since(link, at);
    silence.and_then(|silence| intersection(silence, reported)).unwrap_or(reported)
}

/// Bounds of what an interior protocol took back at `at`. The router may have waited for its dead
/// interval or known better (BFD, a link that went down out of sight), and it told a while later.
/// Where it was heard on a link, that link would have shown another cause; elsewhere most is
/// noticed at once.
pub(super) fn interior_start(sign: &IgpSign, at: Timestamp, life: &Life) -> Interval {
    let said = at - sign.age;
    let Some(silence) = sign.silence else {
        return Interval { earliest: said, estimate: said, latest: at };
    };
    let near = !sign.links.is_empty();
    let bounds = Interval {
        earliest: said - silence.dead - silence.told_within,
        estimate: if near { said - silence.dead } else { said },
        latest: at,
    };
    narrowest(bounds, &sign.links, at, life)
}

/// Bounds of a failure that one of those whom it hit announced: it had to notice and to speak.
pub(super) fn announced_start(at: Timestamp) -> Interval {
    Interval { earliest: at - ANNOUNCED_WITHIN, estimate: at, latest: at }
}

/// Bounds of a failure that a timer noticed after `timeout` of silence, where something was due
/// every `interval`.
pub(super) fn timed_start(
    (timeout, interval): (Span, Span),
    at: Timestamp,
    links: &[u32],
    life: &Life,
) -> Interval {
    silent_start(SilenceTimer { timeout, interval, late: Span(0) }, at, links, life)
}

fn silent_start(timer: SilenceTimer, noticed: Timestamp, links: &[u32], life: &Life) -> Interval {
    let (last_heard, slack) = (noticed - timer.timeout, Span(timer.timeout.0 / 20));
    let prompt =
        Interval::between(last_heard - slack, (last_heard + timer.interval + slack).min(noticed));
    let bounds = Interval { earliest: prompt.earliest - timer.late, ..prompt };
    narrowest(bounds, links, noticed, life)
}

/// What the first of the links whose silence agrees with the bounds leaves of them. A bridge sees
/// the two ends of a session on two links, and the silence of one.
fn narrowest(bounds: Interval, links: &[u32], at: Timestamp, life: &Life) -> Interval {
    let silences = links.iter().filter_map(|&link| life.silent_since(link, at));
    silences.filter_map(|silence| intersection(silence, bounds)).next().unwrap_or(bounds)
}

/// A timer that ran out because a neighbour was silent.
struct SilenceTimer {
    /// How long silence lasted before it was noticed.
    timeout: Span,
    /// How long after the last packet the next one was due.
    interval: Span,
    /// How much earlier than it was seen it may have been noticed.
    late: Span,
}

/// The timer that noticed a failure; `None` for a failure that announced itself.
fn silence_timer(
    before: &Session,
    trigger: Trigger,
    noticed: Timestamp,
    moved: bool,
) -> Option<SilenceTimer> {
    let known_s = before.settings.hold_time_s();
    let hold_us = u64::from(known_s.unwrap_or(HOLD_TIME_UNKNOWN_S)) * 1_000_000;
    let (timeout_us, interval_us, late_us) = match trigger.kind {
        TriggerKind::Notification(HOLD_TIMER_EXPIRED, _) if known_s.is_some() => {
            (hold_us, hold_us / 3, 0)
        }
        TriggerKind::BfdDown => {
            let unknown = (BFD_UNKNOWN_US, BFD_UNKNOWN_US);
            let (detection_us, interval_us) = before.settings.bfd_detection_us().unwrap_or(unknown);
            (detection_us, interval_us, if moved { 0 } else { BFD_SLOW_US })
        }
        // One of several timers, or one whose setting was not seen.
        TriggerKind::Notification(HOLD_TIMER_EXPIRED, _) | TriggerKind::NextHopLost => {
            (hold_us, hold_us, 0)
        }
        _ if trigger.at - noticed > LINK_REPORT => (hold_us, hold_us, 0),
        _ => return None,
    };
    Some(SilenceTimer {
        timeout: Span(micros(timeout_us)),
        interval: Span(micros(interval_us)),
        late: Span(micros(late_us)),
    })
}

pub(super) fn micros(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX).saturating_mul(1_000)
}

/// What both intervals allow, with the first one's estimate where it still fits.
pub(super) fn intersection(a: Interval, b: Interval) -> Option<Interval> {
    let (earliest, latest) = (a.earliest.max(b.earliest), a.latest.min(b.latest));
    (earliest <= latest).then(|| Interval {
        earliest,
        estimate: a.estimate.clamp(earliest, latest),
        latest,
    })
}
