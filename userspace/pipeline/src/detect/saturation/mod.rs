//! Saturation incidents: a queue that stands full.
//!
//! **Standing backlog** is the time that what waits in a queue takes to leave it, at the pace at
//! which bytes left since the sample before. A burst fills a queue and drains; a *standing* queue
//! does not go away (RFC 8289 §3): so a saturation opens when the backlog stood above
//! `open_backlog_ms`, or the queue dropped packets, and it did so again `open_after_ms` later
//! without having been below `close_backlog_ms` in between. It closes when the backlog has been
//! below that, without a drop, for `close_after_ms`. A queue of which nothing left for [`STUCK`]
//! although packets wait saturates too: its samples stop, for they come on change only.
//!
//! *Overlimits* count how often a shaper held packets back, which is its work: they are measured
//! and open nothing. A queue with others below it counts what these hold and drop once more: only
//! the lowest are judged, so that one bottleneck is one incident.
//!
//! **Start** lies between the last sample at which the source found nothing new and the first that
//! showed the backlog; **end** likewise, or is the queue's removal. **Severity** is the mean standing
//! backlog over the time in ms, at least 1.
//!
//! **Invariant:** at most `queues_max` queues are known and `incidents_open_max` incidents open.

mod queue;

use super::convergence::incident_id;
use super::known::Known;
use super::{Bounds, Detected, Finding, Opened, Settings};
use edgelore_model::{
    EventType, Incident, Interval, Link, LossReason, Measured, Observation, Observed, Protocol,
    QueueSample, Scope, Span, Timestamp, Trigger, TriggerKind,
};
use queue::{Queue, Run, Stand};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A queue of which nothing left for so long, although packets wait, is stuck. Longer than the
/// longest time between two samples (10 s).
const STUCK: Span = Span::from_millis(15_000);
/// Closed saturations that are remembered as causes of what is noticed later.
const RECENT_MAX: usize = 256;
/// How long.
const RECENT_KEPT: Span = Span::from_millis(600_000);
/// A consequence may show so much earlier than its cause, which is sampled.
const CAUSE_SLACK: Span = Span::from_millis(200);

/// What a saturation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaturationConfig {
    /// A standing backlog from this on opens a saturation, in ms.
    pub open_backlog_ms: u32,
    /// One below this lets it end, in ms. CoDel's target (RFC 8289 §4.3).
    pub close_backlog_ms: u32,
    /// So long a backlog must stand, in ms. Five of CoDel's intervals.
    pub open_after_ms: u32,
    /// So long it must be gone, in ms.
    pub close_after_ms: u32,
}

impl Default for SaturationConfig {
    fn default() -> Self {
        Self { open_backlog_ms: 20, close_backlog_ms: 5, open_after_ms: 500, close_after_ms: 1_000 }
    }
}

impl SaturationConfig {
    fn open_after(&self) -> Span {
        Span::from_millis(i64::from(self.open_after_ms))
    }

    fn open_backlog(&self) -> Span {
        Span::from_millis(i64::from(self.open_backlog_ms))
    }

    /// Never above the one that opens.
    fn close_backlog(&self) -> Span {
        Span::from_millis(i64::from(self.close_backlog_ms.min(self.open_backlog_ms)))
    }
}

/// Link, parent and handle: default queues share the handle 0.
type Key = (u32, u32, u32);

const ROOT: u32 = u32::MAX;
const MAJOR: u32 = 0xffff_0000;

#[derive(Debug)]
pub(super) struct Saturations {
    config: SaturationConfig,
    bounds: Bounds,
    queues: BTreeMap<Key, Queue>,
    open: BTreeMap<Key, Open>,
    recent: VecDeque<Past>,
    /// Nothing happens by itself before this.
    due: Timestamp,
    pub(super) overflows: u64,
}

/// An open saturation; what is measured stands in the queue's run.
#[derive(Debug)]
struct Open {
    scope: Scope,
    chain: Vec<Trigger>,
    /// When it relaxed, if it has.
    relaxed: Option<Interval>,
    settings: Settings,
    gaps: bool,
}

/// A saturation that has ended.
#[derive(Clone, Copy, Debug)]
struct Past {
    cause: Trigger,
    from: Timestamp,
    until: Timestamp,
}

impl Saturations {
    pub(super) const fn new(config: SaturationConfig, bounds: Bounds) -> Self {
        Self {
            config,
            bounds,
            queues: BTreeMap::new(),
            open: BTreeMap::new(),
            recent: VecDeque::new(),
            due: Timestamp(i64::MAX),
            overflows: 0,
        }
    }

    /// Takes other thresholds and times from now on.
    pub(super) fn retune(&mut self, config: &SaturationConfig) {
        self.config.clone_from(config);
        self.due = Timestamp(i64::MIN);
    }

    /// Takes an observation; `known` has taken it already.
    pub(super) fn observe(
        &mut self,
        observation: &Observation,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        match &observation.what {
            Observed::Queue(sample) => {
                self.sampled(observation.link, sample, observation.at, known, out);
            }
            Observed::Lost { reason, .. } if *reason != LossReason::Shed => {
                self.open.values_mut().for_each(|open| open.gaps = true);
            }
            _ => {}
        }
    }

    /// Lets time pass: closes incidents that are over, finds queues that are stuck.
    #[inline]
    pub(super) fn advance(&mut self, now: Timestamp, known: &Known, out: &mut Vec<Detected>) {
        if now >= self.due {
            self.pass(now, known, out);
        }
    }

    fn pass(&mut self, now: Timestamp, known: &Known, out: &mut Vec<Detected>) {
        let close_after = Span::from_millis(i64::from(self.config.close_after_ms));
        let over = |open: &Open| open.relaxed.is_some_and(|r| now - r.latest >= close_after);
        let done: Vec<Key> = self.open.iter().filter(|(_, o)| over(o)).map(|(k, _)| *k).collect();
        done.into_iter().for_each(|key| self.close(key, out));
        let waits = |queue: &Queue| queue.sample.backlog_bytes > 0 && now - queue.at >= STUCK;
        let stuck: Vec<Key> = self
            .queues
            .iter()
            .filter(|(key, queue)| waits(queue) && !self.open.contains_key(*key))
            .map(|(key, _)| *key)
            .collect();
        for key in stuck {
            self.stuck(key, known, out);
        }
        let closing =
            self.open.values().filter_map(|open| Some(open.relaxed?.latest + close_after));
        let sticking = self.queues.iter().filter(|(key, queue)| {
            // One whose time has come was looked at just now.
            let later = queue.at + STUCK > now;
            later && queue.sample.backlog_bytes > 0 && !self.open.contains_key(*key)
        });
        let sticking = sticking.map(|(_, queue)| queue.at + STUCK);
        self.due = closing.chain(sticking).min().unwrap_or(Timestamp(i64::MAX));
    }

    /// Closes every incident. One whose end has not come has none that could be seen.
    pub(super) fn close_all(&mut self, _: &Known, out: &mut Vec<Detected>) {
        while let Some(key) = self.open.keys().next().copied() {
            self.close(key, out);
        }
    }

    /// The saturation on a link that stood when something else began there.
    pub(super) fn cause(&self, link: u32, began: Timestamp) -> Option<Trigger> {
        let before = |from: Timestamp| from <= began + CAUSE_SLACK;
        let open = self.open.iter().filter_map(|(key, open)| {
            let run = self.queues.get(key)?.run.as_ref()?;
            let stood = open.relaxed.is_none_or(|relaxed| relaxed.latest >= began);
            (key.0 == link && before(run.start.earliest) && stood).then_some(open.chain[0])
        });
        let past = self.recent.iter().filter_map(|past| {
            let there = matches!(past.cause.on, Scope::Queue(on, _) if on.0 == link);
            (there && before(past.from) && past.until >= began).then_some(past.cause)
        });
        open.chain(past).min_by_key(|cause| cause.at)
    }

    /// A queue of the link is known, so that one that stood full would have been seen.
    pub(super) fn watches(&self, link: u32) -> bool {
        self.queues.range((link, 0, 0)..=(link, u32::MAX, u32::MAX)).next().is_some()
    }

    fn sampled(
        &mut self,
        link: u32,
        sample: &QueueSample,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let key = (link, sample.parent, sample.handle);
        if !sample.present {
            return self.vanished(key, sample, at, out);
        }
        // What these drop is dropped on somebody's order.
        if matches!(sample.qdisc.as_str(), "ingress" | "clsact") {
            return;
        }
        if self.queues.get(&key).is_some_and(|queue| queue.is_other(sample) || at < queue.at) {
            self.vanished(key, sample, at, out);
        }
        let Some(queue) = self.queues.get_mut(&key) else { return self.found(key, sample, at) };
        let since = Interval::between(sample.not_before.clamp(queue.at, at), at);
        // Of a queue that stands still no further sample comes: one that dropped and is empty now is
        // relaxed unless another says otherwise.
        let drained = (sample.backlog_bytes == 0).then_some(since);
        let stand = queue.sampled(sample, at, &self.config);
        if let Some(open) = self.open.get_mut(&key) {
            match stand {
                Stand::Relaxed => {
                    open.relaxed.get_or_insert(since);
                }
                Stand::Between => open.relaxed = None,
                Stand::Pressed(kind) => {
                    open.relaxed = drained;
                    open.extend(kind, at);
                }
            }
        } else {
            match stand {
                Stand::Relaxed => queue.run = None,
                Stand::Between => {}
                Stand::Pressed(kind) => {
                    self.consider(key, kind, at, known, out);
                    if let Some(open) = self.open.get_mut(&key) {
                        open.relaxed = drained;
                    }
                }
            }
        }
        self.due = self.due.min(at + Span::from_millis(i64::from(self.config.close_after_ms)));
    }

    fn found(&mut self, key: Key, sample: &QueueSample, at: Timestamp) {
        if self.queues.len() >= self.bounds.queues_max {
            self.overflows += 1;
            return;
        }
        self.queues.insert(key, Queue::new(sample.clone(), at));
        self.due = self.due.min(at + STUCK);
    }

    /// The queue is gone, or another has taken its place.
    fn vanished(&mut self, key: Key, last: &QueueSample, at: Timestamp, out: &mut Vec<Detected>) {
        let Some(queue) = self.queues.get_mut(&key) else { return };
        if let Some(open) = self.open.get_mut(&key) {
            let from = last.not_before.max(queue.at).min(at);
            open.relaxed.get_or_insert(Interval::between(from, at));
            if !queue.is_other(last)
                && let Some(run) = &mut queue.run
            {
                run.counts(last);
            }
            self.close(key, out);
        }
        self.queues.remove(&key);
    }

    /// Opens an incident if the queue has stood for long enough.
    fn consider(
        &mut self,
        key: Key,
        kind: TriggerKind,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        let Some(run) = self.queues.get(&key).and_then(|queue| queue.run.as_ref()) else { return };
        if at - run.pressed.0 >= self.config.open_after() {
            let first = Trigger { at: run.pressed.0, kind: run.pressed.1, on: scope_of(key) };
            self.begin(key, first, at, known, out);
            if let Some(open) = self.open.get_mut(&key) {
                open.extend(kind, at);
            }
        }
    }

    fn stuck(&mut self, key: Key, known: &Known, out: &mut Vec<Detected>) {
        let Some(queue) = self.queues.get_mut(&key) else { return };
        let at = queue.at + STUCK;
        let run = queue.stuck();
        let first = Trigger { at: run.pressed.0, kind: TriggerKind::Backlog, on: scope_of(key) };
        self.begin(key, first, at, known, out);
    }

    fn begin(
        &mut self,
        key: Key,
        first: Trigger,
        at: Timestamp,
        known: &Known,
        out: &mut Vec<Detected>,
    ) {
        if self.has_queues_below(key) {
            return;
        }
        let full = self.open.len() >= self.bounds.incidents_open_max;
        let Some(run) = self.queues.get_mut(&key).and_then(|queue| queue.run.as_mut()) else {
            return;
        };
        if full {
            self.overflows += u64::from(!std::mem::replace(&mut run.refused, true));
            return;
        }
        let (scope, settings) = (first.on, known.settings_of(&first.on));
        let open = Open { scope, chain: vec![first], relaxed: None, settings, gaps: false };
        self.open.insert(key, open);
        let (event, protocol) = (EventType::Saturation, Protocol::Link);
        out.push(Detected::Opened(Opened { event, protocol, scope, at }));
    }

    /// Other queues of the link hang on this one.
    fn has_queues_below(&self, (link, parent, handle): Key) -> bool {
        if handle & MAJOR == 0 && parent != ROOT {
            return false;
        }
        let (first, last) = (handle & MAJOR, handle | !MAJOR);
        let mut below = self.queues.range((link, first, 0)..=(link, last, u32::MAX));
        below.any(|(key, _)| key.1 != ROOT)
    }

    fn close(&mut self, key: Key, out: &mut Vec<Detected>) {
        let Some(open) = self.open.remove(&key) else { return };
        let Some(run) = self.queues.get_mut(&key).and_then(|queue| queue.run.take()) else {
            return;
        };
        let until = open.relaxed.map_or(Timestamp(i64::MAX), |end| end.latest);
        self.recent.push_back(Past { cause: open.chain[0], from: run.start.earliest, until });
        let kept = |past: &Past| until.0.saturating_sub(past.until.0) <= RECENT_KEPT.0;
        while self.recent.len() > RECENT_MAX || self.recent.front().is_some_and(|p| !kept(p)) {
            self.recent.pop_front();
        }
        let incident = incident(open.scope, open.chain, open.relaxed, open.gaps, run);
        out.push(Detected::Closed(Box::new(Finding { incident, settings: open.settings })));
    }
}

impl Open {
    /// Notes that the queue also did this, once.
    fn extend(&mut self, kind: TriggerKind, at: Timestamp) {
        if self.chain.iter().all(|trigger| trigger.kind != kind) {
            self.chain.push(Trigger { at, kind, on: self.scope });
        }
    }
}

fn incident(
    scope: Scope,
    chain: Vec<Trigger>,
    end: Option<Interval>,
    gaps: bool,
    run: Run,
) -> Incident {
    let measured = Measured {
        backlog_bytes_max: Some(run.bytes_max),
        backlog_packets_max: Some(run.packets_max),
        drops: Some(run.drops),
        overlimits: Some(run.overlimits),
        ..Measured::default()
    };
    Incident {
        id: incident_id(EventType::Saturation, &scope, run.start.estimate),
        event: EventType::Saturation,
        protocol: Protocol::Link,
        scope,
        chain,
        start: run.start,
        end,
        prefixes: Vec::new(),
        severity: run.standing_ms(),
        gaps,
        maintenance: false,
        measured,
        progress: run.progress.finish(),
        ruled_out: Vec::new(),
    }
}

/// A queue by its handle; a default one, which has none, by the class that it hangs on.
const fn scope_of((link, parent, handle): Key) -> Scope {
    let name = if handle == 0 && parent != ROOT { parent } else { handle };
    Scope::Queue(Link(link), name)
}

#[cfg(test)]
mod tests;
