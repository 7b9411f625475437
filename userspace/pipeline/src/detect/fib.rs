//! The kernel's forwarding table as capture reports it: enough to tell a change from a
//! repetition and to know which next hops a prefix had before.
//!
//! Next-hop sets are few and routes are many, so sets are interned.

use edgelore_model::{FibAction, FibChange, NextHop, Prefix};
use std::collections::HashMap;

#[derive(Debug)]
pub(super) struct FibTable {
    routes: HashMap<(u32, Prefix), u32>,
    sets: HashMap<Vec<NextHop>, u32>,
    by_id: Vec<Vec<NextHop>>,
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
                self.routes.remove(&key);
            }
            FibAction::Present | FibAction::Set => {
                if known.is_some() && before == next_hops {
                    return None;
                }
                if known.is_none() && self.routes.len() >= self.routes_max {
                    self.overflows += 1;
                } else {
                    let id = self.intern(next_hops);
                    self.routes.insert(key, id);
                }
            }
        }
        (change.action != FibAction::Present
            && !(before.is_empty() && known.is_none() && change.action == FibAction::Deleted))
            .then_some(Moved { before })
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
