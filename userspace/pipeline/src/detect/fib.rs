//! The kernel's forwarding table as capture reports it: enough to tell a change from a
//! repetition and to know which next hops a prefix had before.
//!
//! Next-hop sets are few and routes are many, so routes share them; a set goes with its last route.

use edgelore_model::{FibAction, FibChange, NextHop, Prefix};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct FibTable {
    routes: HashMap<(u32, Prefix), Arc<[NextHop]>>,
    sets: HashSet<Arc<[NextHop]>>,
    using: HashMap<IpAddr, u64>,
    routes_max: usize,
    seen: bool,
    pub(super) overflows: u64,
}

/// What a prefix used before it moved.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) before: Arc<[NextHop]>,
}

impl FibTable {
    pub(super) fn new(routes_max: usize) -> Self {
        Self {
            routes: HashMap::new(),
            sets: HashSet::new(),
            using: HashMap::new(),
            routes_max,
            seen: false,
            overflows: 0,
        }
    }

    /// Applies a change; `Some` when the prefix really goes another way now.
    pub(super) fn apply(&mut self, change: &FibChange) -> Option<Moved> {
        self.seen = true;
        let key = (change.table, change.prefix);
        let known = self.routes.get(&key).cloned();
        if change.action == FibAction::Deleted {
            let before = known?;
            self.routes.remove(&key);
            self.count(&before, false);
            self.release(&before);
            return Some(Moved { before });
        }
        let mut next_hops = change.next_hops.clone();
        next_hops.sort_unstable();
        if known.as_deref() == Some(next_hops.as_slice()) {
            return None;
        }
        let before = known.clone().unwrap_or_default();
        if known.is_none() && self.routes.len() >= self.routes_max {
            self.overflows += 1;
        } else {
            self.count(&before, false);
            self.count(&next_hops, true);
            let set = self.intern(next_hops);
            drop(known);
            self.routes.insert(key, set);
            self.release(&before);
        }
        (change.action == FibAction::Set).then_some(Moved { before })
    }

    /// The kernel's table is among what is observed.
    pub(super) const fn is_seen(&self) -> bool {
        self.seen
    }

    /// Routes that go by this gateway now.
    pub(super) fn using(&self, via: IpAddr) -> u64 {
        self.using.get(&via).copied().unwrap_or(0)
    }

    fn count(&mut self, next_hops: &[NextHop], more: bool) {
        for via in next_hops.iter().filter_map(|hop| hop.via) {
            let using = self.using.entry(via).or_default();
            *using = if more { *using + 1 } else { using.saturating_sub(1) };
            if *using == 0 {
                self.using.remove(&via);
            }
        }
    }

    fn intern(&mut self, next_hops: Vec<NextHop>) -> Arc<[NextHop]> {
        if let Some(set) = self.sets.get(next_hops.as_slice()) {
            return Arc::clone(set);
        }
        let set: Arc<[NextHop]> = next_hops.into();
        self.sets.insert(Arc::clone(&set));
        set
    }

    /// Forgets a set that no route uses any more: the caller's and the table's are the last two.
    fn release(&mut self, set: &Arc<[NextHop]>) {
        if Arc::strong_count(set) == 2 {
            self.sets.remove(set);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::Timestamp;

    fn change(action: FibAction, third: u8, link: u32) -> FibChange {
        FibChange {
            prefix: Prefix::new(IpAddr::from([10, 0, third, 0]), 24).unwrap(),
            table: 254,
            action,
            next_hops: vec![NextHop { via: Some(IpAddr::from([192, 0, 2, 1])), link }],
            not_before: Timestamp(0),
        }
    }

    #[test]
    fn sets_of_next_hops_go_with_their_last_route() {
        let mut table = FibTable::new(8);
        for link in 1..100 {
            for third in 0..3 {
                assert!(table.apply(&change(FibAction::Set, third, link)).is_some());
                assert!(table.apply(&change(FibAction::Set, third, link)).is_none());
            }
            assert_eq!(table.sets.len(), 1);
        }
        for third in 0..3 {
            assert!(table.apply(&change(FibAction::Deleted, third, 99)).is_some());
            assert!(table.apply(&change(FibAction::Deleted, third, 99)).is_none());
        }
        assert!(table.sets.is_empty() && table.using.is_empty());
    }
}
