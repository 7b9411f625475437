//! The look back: routing changes that may turn out to belong to a trigger that is seen later, and
//! withdrawals that may turn out to be a burst.
//!
//! **Invariant:** at most `recent_changes_max` changes and `sessions_max` bursts.

use super::ConvergenceConfig;
use crate::detect::Bounds;
use edgelore_model::{Interval, Prefix, Protocol, SessionKey, Span, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// A routing change, by the session or link that the prefix used before.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) when: Interval,
    pub(super) prefix: Prefix,
    pub(super) source: ChangeSource,
}

#[derive(Clone, Debug)]
pub(super) enum ChangeSource {
    /// The kernel's table: the gateways and links that the prefix left, and whether it has any
    /// route now.
    Fib { via: Vec<IpAddr>, links: Vec<u32>, gone: bool },
    /// The wire: who withdrew it.
    Withdrawn(SessionKey, IpAddr),
}

impl Change {
    pub(super) const fn is_fib(&self) -> bool {
        matches!(self.source, ChangeSource::Fib { .. })
    }

    /// The prefix went by this gateway.
    pub(super) fn used(&self, gateway: IpAddr) -> bool {
        matches!(&self.source, ChangeSource::Fib { via, .. } if via.contains(&gateway))
    }
}

/// Withdrawals of one session within the window.
#[derive(Debug, Default)]
struct Burst {
    recent: VecDeque<(Timestamp, u64)>,
    prefixes: u64,
}

impl Burst {
    fn add(&mut self, at: Timestamp, prefixes: u64, since: Timestamp) {
        match self.recent.back_mut() {
            Some((when, count)) if *when == at => *count += prefixes,
            _ => self.recent.push_back((at, prefixes)),
        }
        self.prefixes += prefixes;
        while let Some(&(when, count)) = self.recent.front()
            && when < since
        {
            self.recent.pop_front();
            self.prefixes -= count;
        }
    }
}

#[derive(Debug)]
pub(super) struct Recent {
    changes: VecDeque<Change>,
    bursts: BTreeMap<(SessionKey, Protocol), Burst>,
}

impl Recent {
    pub(super) const fn new() -> Self {
        Self { changes: VecDeque::new(), bursts: BTreeMap::new() }
    }

    /// Keeps a change; false when an earlier one had to go before its time.
    pub(super) fn remember(
        &mut self,
        change: Change,
        config: &ConvergenceConfig,
        bounds: &Bounds,
    ) -> bool {
        let keep_ms = config.lookback_ms.max(config.withdrawal_window_ms);
        let oldest = change.when.estimate - Span::from_millis(i64::from(keep_ms));
        while self.changes.front().is_some_and(|c| c.when.estimate < oldest) {
            self.changes.pop_front();
        }
        let full = self.changes.len() >= bounds.recent_changes_max;
        if full {
            self.changes.pop_front();
        }
        if bounds.recent_changes_max > 0 {
            self.changes.push_back(change);
        }
        !full
    }

    /// Changes since `since`, oldest first.
    pub(super) fn since(&self, since: Timestamp) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.when.estimate >= since)
    }

    /// The first of the recent changes away from a gateway, if there are `enough`.
    pub(super) fn departures(
        &self,
        via: IpAddr,
        since: Timestamp,
        enough: usize,
    ) -> Option<Interval> {
        if self.changes.len() < enough {
            return None;
        }
        let mut left = self.since(since).filter(|change| change.used(via));
        let first = left.next()?.when;
        (left.take(enough - 1).count() + 1 >= enough).then_some(first)
    }

    /// One session withdrew `prefixes`; the time of the first when they are a burst with the ones
    /// before. Bursts that are over make room for others.
    pub(super) fn withdrawn(
        &mut self,
        session: (SessionKey, Protocol),
        at: Timestamp,
        prefixes: u64,
        config: &ConvergenceConfig,
        bounds: &Bounds,
    ) -> Option<Timestamp> {
        let since = at - Span::from_millis(i64::from(config.withdrawal_window_ms));
        if self.bursts.len() >= bounds.sessions_max && !self.bursts.contains_key(&session) {
            self.bursts.retain(|_, burst| burst.recent.back().is_some_and(|last| last.0 >= since));
            if self.bursts.len() >= bounds.sessions_max {
                self.bursts.pop_first();
            }
        }
        let burst = self.bursts.entry(session).or_default();
        burst.add(at, prefixes, since);
        if burst.prefixes < u64::from(config.withdrawal_burst_prefixes) {
            return None;
        }
        let burst = self.bursts.remove(&session)?;
        burst.recent.front().map(|first| first.0)
    }
}
