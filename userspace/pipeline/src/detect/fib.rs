//! The kernel's forwarding table as capture reports it: enough to tell a change from a
//! repetition and to know which next hops a prefix had before.
//!
//! Next-hop sets are few and routes are many, so sets are interned.

use edgelore_model::{FibAction, FibChange, NextHop, Prefix};
use std::collections::HashMap;
use std::net::IpAddr;

#[derive(Debug)]
pub(super) struct FibTable {
    routes: HashMap<(u32, Prefix), u32>,
    sets: HashMap<Vec<NextHop>, u32>,
    by_id: Vec<Vec<NextHop>>,
    using: HashMap<IpAddr, u64>,
    routes_max: usize,
    pub(super) overflows: u64,
}

/// What a prefix used before it moved.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) before: Vec<NextHop>,
}

impl FibTable {
    pub(super) fn new(routes_max: usize) -> Self {
        Self {
            routes: HashMap::new(),
            sets: HashMap::new(),
            by_id: Vec::new(),
            using: HashMap::new(),
            routes_max,
            overflows: 0,
        }
    }

    /// Applies a change; `Some` when the prefix really goes another way now.
    pub(super) fn apply(&mut self, change: &FibChange) -> Option<Moved> {
        let key = (change.table, change.prefix);
        let mut next_hops = change.next_hops.clone();
        next_hops.sort_unstable();
        let known = self.routes.get(&key).copied();
        let before = known.map_or_else(Vec::new, |id| self.by_id[id as usize].clone());
        match change.action {
            FibAction::Deleted => {
                if self.routes.remove(&key).is_some() {
                    self.count(&before, false);
                }
            }
            FibAction::Present | FibAction::Set => {
                if known.is_some() && before == next_hops {
                    return None;
                }
                if known.is_none() && self.routes.len() >= self.routes_max {
                    self.overflows += 1;
                } else {
                    self.count(&before, false);
                    self.count(&next_hops, true);
                    let id = self.intern(next_hops);
                    self.routes.insert(key, id);
                }
            }
        }
        let unknown_removed = known.is_none() && change.action == FibAction::Deleted;
        (change.action != FibAction::Present && !unknown_removed).then_some(Moved { before })
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

    fn intern(&mut self, next_hops: Vec<NextHop>) -> u32 {
        if let Some(&id) = self.sets.get(&next_hops) {
            return id;
        }
        let id = self.by_id.len() as u32;
        self.by_id.push(next_hops.clone());
        self.sets.insert(next_hops, id);
        id
    }
}
