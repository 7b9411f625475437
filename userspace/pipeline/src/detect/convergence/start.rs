//! When a failure began: bounds from all that bears witness to it.

use super::open::LINK_REPORT;
use super::signs::Ending;
use crate::detect::adjacency::IgpSign;
use crate::detect::life::{Life, SCHEDULING};
use crate::detect::sessions::Session;
use edgelore_model::{DownCause, Interval, LinkChange, Span, Timestamp, Trigger, TriggerKind};

/// NOTIFICATION error code (RFC 4271 §4.5).
const HOLD_TIMER_EXPIRED: u8 = 4;
/// Cease / BFD Down (RFC 9384).
const CEASE: u8 = 6;
const BFD_DOWN: u8 = 10;
/// BFD diagnostics (RFC 5880 §4.1): the detection time expired; of those that tell what a speaker
/// knows without a timer, forwarding plane reset is the first and reverse path down the last.
const BFD_EXPIRED: u8 = 1;
const BFD_RESET: u8 = 4;
const BFD_REVERSE_PATH: u8 = 8;
/// Assumed when the OPENs were not seen: the largest default among daemons, in seconds.
const HOLD_TIME_UNKNOWN_S: u16 = 240;
/// Assumed when the timers were not seen: ten times the slowest rate (RFC 5880 §6.8.3), in µs.
const BFD_UNKNOWN_US: u64 = 10_000_000;
/// What ends, or sees another end on its own machine, has said so within this.
const ANNOUNCED_WITHIN: Span = SCHEDULING;
/// The kernel may hold back the word of a lost carrier for so long: it tells of such at most once a
/// second, whichever link it was.
const CARRIER_REPORT: Span = Span::from_millis(1_020);
/// A session that is not up sends no more often than this (RFC 5880 §6.8.3), in µs: so late may the
/// wire say that BFD went down.
const BFD_SLOW_US: u64 = 1_000_000;

/// Bounds of a session failure's start from all that bears witness to it. `ending` says how the end
/// is known. `moved` is the first change of the kernel's table that
/// belongs to it, if that came before the trigger: the daemon had noticed by then.
pub(super) fn session_start(
    before: &Session,
    trigger: Trigger,
    ending: Ending,
    moved: Option<Interval>,
    life: &Life,
) -> Interval {
    let noticed = moved.map_or(trigger.at, |moved| moved.latest.min(trigger.at));
    let links: Vec<u32> = before.links.iter().copied().collect();
    if let Some(timer) = silence_timer(before, trigger, ending, noticed, moved.is_some()) {
        return narrowest(timer.bounds(noticed), &links, noticed, life);
    }
    if let Some(bounds) = unexplained(before, ending.cause, noticed) {
        // A link on which packets come again has had its silence: what another's says of a session
        // that died at any time before is not known.
        let silent = links.iter().all(|&link| life.silent_since(link, noticed).is_some());
        return if silent { narrowest(bounds, &links, noticed, life) } else { bounds };
    }
    match ending.diagnostic {
        Some(_) => bfd_announced(noticed, moved.is_some()),
        None => announced_start(trigger.at),
    }
}

/// Bounds of what a BFD speaker knew at once: it says so with its next packet, if nothing that it
/// moved has shown it before.
fn bfd_announced(noticed: Timestamp, moved: bool) -> Interval {
    let late = if moved { 0 } else { BFD_SLOW_US };
    let Interval { earliest, estimate, latest } = announced_start(noticed);
    Interval { earliest: earliest - Span(micros(late)), estimate, latest }
}

/// Bounds of a failure of which the end of the session says that it was, and not when. A router
/// that reports no reason has noticed it now, at once or by a timer. Who opens the next connection, or
/// knows nothing of the last one, noticed it at any time since the session was last alive.
fn unexplained(before: &Session, cause: Option<DownCause>, noticed: Timestamp) -> Option<Interval> {
    let hold = hold_time(before);
    let within_hold = noticed - hold;
    match cause? {
        DownCause::Recorded => {
            Some(Interval { earliest: within_hold, estimate: noticed, latest: noticed })
        }
        DownCause::Forgotten | DownCause::Replaced => {
            let earliest = before.alive_until(hold).unwrap_or(within_hold).min(noticed);
            let estimate = within_hold.max(earliest);
            Some(Interval { earliest, estimate, latest: noticed })
        }
        _ => None,
    }
}

/// The session had been dead for so long before its end was seen that its routes may have moved,
/// and come to rest, meanwhile.
pub(super) fn is_late(
    before: &Session,
    cause: Option<DownCause>,
    start: Interval,
    at: Timestamp,
) -> bool {
    matches!(cause, Some(DownCause::Forgotten | DownCause::Replaced))
        && at - start.earliest >= hold_time(before)
}

/// Bounds of a link's failure that was reported at `at`. A link that is still meant to be up has lost
/// its carrier. It did so after its last packet, and perhaps long after the next was due: whoever sends
/// may have paused.
pub(super) fn link_start(link: u32, change: &LinkChange, at: Timestamp, life: &Life) -> Interval {
    let within = if change.admin_up { CARRIER_REPORT } else { LINK_REPORT };
    let reported = Interval { earliest: at - within, estimate: at, latest: at };
    let silence = life.silent_since(link, at);
    let agreeing = silence.and_then(|silence| intersection(silence, reported));
    agreeing.map_or(reported, |silence| Interval { latest: at, ..silence })
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
    narrowest(bounds, &sign.lost_on, at, life)
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
    let timer = SilenceTimer { timeout, interval, unpunctual: Span(0), late: Span(0) };
    silent_start(timer, at, links, life)
}

fn silent_start(timer: SilenceTimer, noticed: Timestamp, links: &[u32], life: &Life) -> Interval {
    narrowest(timer.bounds(noticed), links, noticed, life)
}

/// What the silence of the links leaves of the bounds. A bridge sees the two ends of a session on
/// two links: the first one that fell silent did so by the failure, the other one when its traffic
/// took another way.
fn narrowest(bounds: Interval, links: &[u32], at: Timestamp, life: &Life) -> Interval {
    let silences = links.iter().filter_map(|&link| life.silent_since(link, at));
    let agreeing = silences.filter_map(|silence| intersection(silence, bounds));
    agreeing.min_by_key(|silence| (silence.earliest, silence.latest)).unwrap_or(bounds)
}

/// A timer that ran out because a neighbour was silent.
struct SilenceTimer {
    /// How long silence lasts before it is noticed.
    timeout: Span,
    /// How long after the last packet the next one is due.
    interval: Span,
    /// How much later than that it may come from a living neighbour.
    unpunctual: Span,
    /// How much earlier than it was seen it may have been noticed.
    late: Span,
}

impl SilenceTimer {
    /// When what was noticed then began: after the last packet, and before the next one came.
    fn bounds(&self, noticed: Timestamp) -> Interval {
        let (last_heard, slack) = (noticed - self.timeout, Span(self.timeout.0 / 20));
        let due = last_heard + self.interval;
        Interval {
            earliest: last_heard - slack - self.late,
            estimate: (last_heard + Span(self.interval.0 / 2)).min(noticed),
            latest: (due + self.unpunctual + slack).min(noticed),
        }
    }
}

fn known_hold_s(before: &Session) -> Option<u16> {
    before.settings.hold_time_s().filter(|&s| s > 0)
}

/// The hold time in force, or the longest that is likely.
fn hold_time(before: &Session) -> Span {
    let hold_s = known_hold_s(before).unwrap_or(HOLD_TIME_UNKNOWN_S);
    Span::from_millis(i64::from(hold_s) * 1_000)
}

/// The timer that noticed a failure; `None` for a failure that announced itself.
fn silence_timer(
    before: &Session,
    trigger: Trigger,
    ending: Ending,
    noticed: Timestamp,
    moved: bool,
) -> Option<SilenceTimer> {
    let hold = hold_time(before);
    let none = Span(0);
    let timer =
        |timeout, interval| SilenceTimer { timeout, interval, unpunctual: none, late: none };
    // One of several timers, or one whose setting was not seen.
    let any = timer(hold, hold);
    match (trigger.kind, ending.cause) {
        (TriggerKind::Notification(HOLD_TIMER_EXPIRED, _), _) | (_, Some(DownCause::Expired)) => {
            let known = known_hold_s(before).is_some();
            Some(if known { timer(hold, Span(hold.0 / 3)) } else { any })
        }
        (TriggerKind::Notification(CEASE, BFD_DOWN), _)
            if before.settings.bfd_detection_us().is_none() =>
        {
            Some(any)
        }
        (TriggerKind::BfdDown, _) if ending.diagnostic.is_some_and(knew_at_once) => None,
        (TriggerKind::BfdDown | TriggerKind::Notification(CEASE, BFD_DOWN), _) => {
            let unknown = (BFD_UNKNOWN_US, BFD_UNKNOWN_US);
            let (detection_us, interval_us) = before.settings.bfd_detection_us().unwrap_or(unknown);
            // Where it is not said that this timer ran out, the end came while it had not.
            let expired = ending.diagnostic.is_none_or(|diagnostic| diagnostic == BFD_EXPIRED);
            let interval = Span(micros(if expired { interval_us } else { detection_us }));
            let late = if moved { none } else { Span(micros(BFD_SLOW_US)) };
            let timeout = Span(micros(detection_us));
            Some(SilenceTimer { timeout, interval, unpunctual: interval, late })
        }
        (TriggerKind::NextHopLost, _) => Some(any),
        _ if trigger.at - noticed > LINK_REPORT => Some(any),
        _ => None,
    }
}

/// A BFD speaker with this diagnostic did not wait for a timer.
fn knew_at_once(diagnostic: u8) -> bool {
    (BFD_RESET..=BFD_REVERSE_PATH).contains(&diagnostic)
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
