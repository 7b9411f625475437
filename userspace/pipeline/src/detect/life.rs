//! The sign of life of a link: from sampled receive counters, when it really went silent.
//!
//! A link is alive while packets come about as often as they did. Two consecutive samples bound
//! the arrival of a packet; the link's *pace*, its longest usual gap, bounds how long the next one
//! could have been on its way. So the moment of a silent failure lies between the sample *before*
//! the one that showed the last packet, and that one plus twice the pace.
//!
//! A few stray packets (a switch's LLDP) do not end a silence: only the former pace does, or
//! so many packets at another pace that this is how the link lives now.

use edgelore_model::{
    CounterSample, Interval, LinkChange, OperState, QueueSample, Span, Timestamp,
};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Gaps between arrivals that are remembered.
const GAPS_KEPT: usize = 128;
/// Fewer gaps than this say nothing about a link's pace.
const GAPS_NEEDED: usize = 8;
/// One gap in so many is unusual, such as the last ones before traffic began: it is no pace.
const UNUSUAL_GAPS: usize = 50;
/// So many times the pace without a packet is silence, and within it the next packet was due.
const SILENCE_FACTOR: i64 = 2;
/// So long a process may wait for a processor of a busy machine.
pub(super) const SCHEDULING: Span = Span::from_millis(50);
/// How much older than its timestamp a counter sample may be.
const SAMPLE_AGE_MAX: Span = Span::from_millis(1);
/// So many arrivals in a row at the former pace end a silence.
const REVIVAL_ARRIVALS: u32 = 8;
/// So many arrivals at another pace are the link's new pace, not a silence.
const RELEARN_ARRIVALS: u32 = 32;

#[derive(Debug)]
pub(super) struct Life {
    links: HashMap<u32, LinkLife>,
    links_max: usize,
    pub(super) overflows: u64,
}

/// Queues of a link whose drops are followed.
const QUEUES_MAX: usize = 64;

#[derive(Debug, Default)]
struct LinkLife {
    lower_up: Option<bool>,
    /// By handle, packets dropped so far.
    drops: BTreeMap<u32, u64>,
    /// Since when the queues are sampled.
    queues_since: Option<Timestamp>,
    /// When one of them had dropped a packet last.
    dropped: Option<Timestamp>,
    sample: Option<(Timestamp, u64)>,
    last: Option<Arrival>,
    gaps: VecDeque<i64>,
    silence: Option<Silence>,
}

/// The last packet came after `after` and not later than `by`.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    after: Timestamp,
    by: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Silence {
    began: Interval,
    pace: i64,
    arrivals: u32,
    arrivals_at_pace: u32,
}

impl Life {
    pub(super) fn new(links_max: usize) -> Self {
        Self { links: HashMap::new(), links_max, overflows: 0 }
    }

    /// Takes what rtnetlink says of a link; true when it went down just now.
    pub(super) fn link_changed(&mut self, link: u32, change: &LinkChange) -> bool {
        let passes = matches!(change.oper, OperState::Unknown | OperState::Up);
        let lower_up = change.present && change.admin_up && change.carrier && passes;
        let Some(life) = self.entry(link) else { return false };
        let was = life.lower_up.replace(lower_up);
        if !change.present {
            self.links.remove(&link);
        }
        was == Some(true) && !lower_up
    }

    /// Takes a counter sample.
    pub(super) fn sampled(&mut self, link: u32, at: Timestamp, sample: &CounterSample) {
        if let Some(life) = self.entry(link) {
            life.sampled(at, sample.rx_packets);
        }
    }

    /// When the silence that holds at `at` began; `None` when the link is not silent or its pace
    /// is not known.
    pub(super) fn silent_since(&self, link: u32, at: Timestamp) -> Option<Interval> {
        let life = self.links.get(&link)?;
        if let Some(silence) = life.silence {
            return Some(silence.began);
        }
        let (pace, last) = (life.pace()?, life.last?);
        ((at - last.by).0 > pace * SILENCE_FACTOR).then(|| life.silence_after(last, pace))
    }

    /// Takes a sample of one of the link's queues.
    pub(super) fn queue_sampled(&mut self, link: u32, at: Timestamp, sample: &QueueSample) {
        let Some(life) = self.entry(link) else { return };
        if !sample.present {
            life.drops.remove(&sample.handle);
            return;
        }
        life.queues_since.get_or_insert(at);
        if life.drops.len() >= QUEUES_MAX && !life.drops.contains_key(&sample.handle) {
            return;
        }
        let before = life.drops.insert(sample.handle, sample.drops);
        if before.is_some_and(|before| before < sample.drops) {
            life.dropped = Some(at);
        }
    }

    /// The queues of the link were sampled since `since` at the latest, and dropped nothing from
    /// then on.
    pub(super) fn drops_nothing(&self, link: u32, since: Timestamp) -> bool {
        self.links.get(&link).is_some_and(|life| {
            life.queues_since.is_some_and(|sampled| sampled <= since)
                && life.dropped.is_none_or(|dropped| dropped < since)
        })
    }

    /// The link is known to be up.
    pub(super) fn is_up(&self, link: u32) -> bool {
        self.links.get(&link).is_some_and(|life| life.lower_up == Some(true))
    }

    /// The link has a pace, and packets keep it at `at`.
    pub(super) fn is_heard(&self, link: u32, at: Timestamp) -> bool {
        let paced = self.links.get(&link).is_some_and(|life| life.pace().is_some());
        paced && self.silent_since(link, at).is_none()
    }

    /// When a packet last came in, at the latest.
    pub(super) fn last_heard(&self, link: u32) -> Option<Timestamp> {
        self.links.get(&link)?.last.map(|last| last.by)
    }

    fn entry(&mut self, link: u32) -> Option<&mut LinkLife> {
        if self.links.len() >= self.links_max && !self.links.contains_key(&link) {
            self.overflows += 1;
            return None;
        }
        Some(self.links.entry(link).or_default())
    }
}

impl LinkLife {
    fn sampled(&mut self, at: Timestamp, rx_packets: u64) {
        let Some((before, seen)) = self.sample.replace((at, rx_packets)) else { return };
        if rx_packets < seen {
            // Another link has taken the index.
            *self = Self { lower_up: self.lower_up, sample: self.sample, ..Self::default() };
            return;
        }
        if rx_packets == seen || at <= before {
            return;
        }
        let arrival = Arrival { after: before - SAMPLE_AGE_MAX, by: at };
        if let Some(last) = self.last.replace(arrival) {
            self.arrived(last, (at - last.by).0);
        }
    }

    fn arrived(&mut self, last: Arrival, gap: i64) {
        if let Some(silence) = &mut self.silence {
            silence.arrivals += 1;
            silence.arrivals_at_pace =
                if gap > silence.pace * SILENCE_FACTOR { 0 } else { silence.arrivals_at_pace + 1 };
            if silence.arrivals_at_pace >= REVIVAL_ARRIVALS {
                self.silence = None;
            } else if silence.arrivals >= RELEARN_ARRIVALS {
                self.silence = None;
                self.gaps.clear();
            }
            return;
        }
        if let Some(pace) = self.pace()
            && gap > pace * SILENCE_FACTOR
        {
            let began = self.silence_after(last, pace);
            self.silence = Some(Silence { began, pace, arrivals: 0, arrivals_at_pace: 0 });
            return;
        }
        if self.gaps.len() == GAPS_KEPT {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
    }

    /// The longest usual gap in ns.
    fn pace(&self) -> Option<i64> {
        if self.gaps.len() < GAPS_NEEDED {
            return None;
        }
        let mut gaps: Vec<i64> = self.gaps.iter().copied().collect();
        let usual = gaps.len() - 1 - gaps.len() / UNUSUAL_GAPS;
        Some(*gaps.select_nth_unstable(usual).1)
    }

    fn silence_after(&self, last: Arrival, pace: i64) -> Interval {
        let mut sorted: Vec<i64> = self.gaps.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        let arrived = Interval::between(last.after, last.by).estimate;
        let latest = last.by + Span(pace * SILENCE_FACTOR) + SCHEDULING;
        Interval {
            earliest: last.after,
            estimate: (arrived + Span(median / 2)).min(latest),
            latest,
        }
    }
}
