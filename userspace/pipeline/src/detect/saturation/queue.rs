//! One queue: how long what waits in it takes to leave, and since when that is too long.
//!
//! **Invariant:** integers only; figures that cannot be true (a count that runs backwards, time that
//! does) are none.

use super::SaturationConfig;
use crate::detect::thinned::Thinned;
use edgelore_model::{Interval, QueueSample, Span, Timestamp, TriggerKind};

/// How a queue stands at a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Above the threshold that opens, or it drops packets.
    Pressed(TriggerKind),
    /// Between the thresholds, or not known yet: nothing has left since packets wait.
    Between,
    /// Below the threshold that closes, and it drops nothing.
    Relaxed,
}

/// A queue as it was last sampled.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) sample: QueueSample,
    pub(super) at: Timestamp,
    /// When something last left it, as far as samples tell.
    left_at: Timestamp,
    /// Packets wait since then, and it has not relaxed: a run may have begun there.
    filling: Option<Run>,
    /// It has not relaxed since.
    pub(super) run: Option<Run>,
}

/// A stretch of time in which a queue did not relax.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// When it began.
    pub(super) start: Interval,
    /// The sample that first showed it pressed, and how.
    pub(super) pressed: (Timestamp, TriggerKind),
    /// The counts before it began.
    drops_before: u64,
    overlimits_before: u64,
    pub(super) drops: u64,
    pub(super) overlimits: u64,
    pub(super) bytes_max: u64,
    pub(super) packets_max: u64,
    /// Standing backlog times time, in ns × ns, and that time in ns.
    area: u128,
    lasted: u128,
    pub(super) progress: Thinned,
    /// It could not be opened for want of room, which is counted once.
    pub(super) refused: bool,
}

impl Queue {
    pub(super) fn new(sample: QueueSample, at: Timestamp) -> Self {
        Self { sample, at, left_at: at, filling: None, run: None }
    }

    /// It is another queue under the same name, or has begun to count anew.
    pub(super) fn is_other(&self, sample: &QueueSample) -> bool {
        let before = &self.sample;
        sample.qdisc != before.qdisc
            || sample.bytes < before.bytes
            || sample.drops < before.drops
            || sample.overlimits < before.overlimits
    }

    /// Takes a later sample; tells how it stands.
    pub(super) fn sampled(
        &mut self,
        sample: &QueueSample,
        at: Timestamp,
        config: &SaturationConfig,
    ) -> Stand {
        let delay = self.delay(sample, at);
        let stand = self.stand(sample, delay, config);
        if let Some(run) = &mut self.run {
            run.add(&self.sample, self.at, sample, at, delay);
        } else {
            match stand {
                Stand::Pressed(kind) => {
                    // A queue that filled slowly began to stand full only now.
                    let filling = self.filling.take();
                    let begun = filling.filter(|run| at - run.start.latest <= config.open_after());
                    let mut run = begun.unwrap_or_else(|| Run::at(self, sample, at));
                    run.pressed = (at, kind);
                    run.add(&self.sample, self.at, sample, at, delay);
                    self.run = Some(run);
                }
                Stand::Between if self.sample.backlog_bytes == 0 => {
                    self.filling = Some(Run::at(self, sample, at));
                }
                Stand::Between => {}
                Stand::Relaxed => self.filling = None,
            }
        }
        if sample.bytes > self.sample.bytes {
            self.left_at = at;
        }
        (self.sample, self.at) = (sample.clone(), at);
        stand
    }

    /// How long what waits now takes to leave at the pace at which bytes left since the last
    /// sample; `None` while that pace is not known because the queue was empty then.
    fn delay(&self, sample: &QueueSample, at: Timestamp) -> Option<Span> {
        if sample.backlog_bytes == 0 {
            return Some(Span(0));
        }
        if self.sample.backlog_bytes == 0 {
            return None;
        }
        let left = sample.bytes - self.sample.bytes;
        if left == 0 {
            return Some(Span((at - self.left_at).0.max(0)));
        }
        let elapsed = (at - self.at).0.max(0).unsigned_abs();
        let delay = u128::from(sample.backlog_bytes) * u128::from(elapsed) / u128::from(left);
        Some(Span(i64::try_from(delay).unwrap_or(i64::MAX)))
    }

    fn stand(&self, sample: &QueueSample, delay: Option<Span>, config: &SaturationConfig) -> Stand {
        match delay {
            Some(delay) if delay >= config.open_backlog() => Stand::Pressed(TriggerKind::Backlog),
            _ if sample.drops > self.sample.drops => Stand::Pressed(TriggerKind::QueueDrops),
            Some(delay) if delay < config.close_backlog() => Stand::Relaxed,
            _ => Stand::Between,
        }
    }

    /// Nothing has moved since the last sample, and packets wait: the run that shows it.
    pub(super) fn stuck(&mut self) -> Run {
        let at = self.at;
        let begun = self.run.take().or(self.filling.take());
        let mut run = begun.unwrap_or_else(|| Run::at(self, &self.sample, at));
        run.pressed.0 = run.pressed.0.min(at);
        run.depth(&self.sample, at);
        self.run = Some(run.clone());
        run
    }
}

impl Run {
    /// One that begins with a sample: not before the last one, and not before the source had seen
    /// that nothing had changed yet.
    fn at(before: &Queue, sample: &QueueSample, at: Timestamp) -> Self {
        Self {
            start: Interval::between(sample.not_before.max(before.at).min(at), at),
            pressed: (at, TriggerKind::Backlog),
            drops_before: before.sample.drops,
            overlimits_before: before.sample.overlimits,
            drops: 0,
            overlimits: 0,
            bytes_max: u64::from(sample.backlog_bytes),
            packets_max: u64::from(sample.backlog_packets),
            area: 0,
            lasted: 0,
            progress: Thinned::default(),
            refused: false,
        }
    }

    fn add(
        &mut self,
        before: &QueueSample,
        before_at: Timestamp,
        sample: &QueueSample,
        at: Timestamp,
        delay: Option<Span>,
    ) {
        self.counts(sample);
        self.depth(sample, at);
        if before.backlog_bytes > 0
            && let Some(delay) = delay
        {
            let lasted = u128::from((at - before_at).0.max(0).unsigned_abs());
            self.area = self.area.saturating_add(u128::from(delay.0.unsigned_abs()) * lasted);
            self.lasted += lasted;
        }
    }

    /// What was dropped and held back since before it began.
    pub(super) fn counts(&mut self, sample: &QueueSample) {
        self.drops = sample.drops.saturating_sub(self.drops_before);
        self.overlimits = sample.overlimits.saturating_sub(self.overlimits_before);
    }

    fn depth(&mut self, sample: &QueueSample, at: Timestamp) {
        self.bytes_max = self.bytes_max.max(u64::from(sample.backlog_bytes));
        self.packets_max = self.packets_max.max(u64::from(sample.backlog_packets));
        self.progress.add(at, u64::from(sample.backlog_bytes));
    }

    /// The standing backlog in ms, averaged over its time; at least 1.
    pub(super) fn standing_ms(&self) -> u64 {
        let mean_ns = self.area.checked_div(self.lasted).unwrap_or(0);
        u64::try_from(mean_ns / 1_000_000).unwrap_or(u64::MAX).max(1)
    }
}
