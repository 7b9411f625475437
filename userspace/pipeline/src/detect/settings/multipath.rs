//! How many next hops routes have together, as the kernel's table shows it.
//!
//! Owns the routes with several next hops and, for every next hop, the widest set that it was part
//! of while the table stood still. A leg that fails makes sets narrower for a while, and that is no
//! setting: the width only grows. Routes with one next hop cost one look at an empty table.
//!
//! **Invariant:** bounded by [`ROUTES_MAX`] and [`LEGS_MAX`]; what does not fit is counted.

use super::followed::SETTLE;
use edgelore_model::{FibAction, FibChange, NextHop, Prefix, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Routes with several next hops that are remembered.
pub(super) const ROUTES_MAX: usize = 262_144;
/// Next hops whose widths are remembered.
pub(super) const LEGS_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Multipath {
    routes: HashMap<(u32, Prefix), Arc<[NextHop]>>,
    /// How many routes use a set.
    sets: BTreeMap<Arc<[NextHop]>, u64>,
    /// When the table last changed, until what stood then has been taken in.
    moved: Option<Timestamp>,
    widest: BTreeMap<NextHop, u16>,
    pub(super) overflows: u64,
}

impl Multipath {
    pub(super) fn apply(&mut self, change: &FibChange, at: Timestamp) {
        let gone = change.action == FibAction::Deleted || change.next_hops.len() < 2;
        if gone && self.routes.is_empty() {
            return;
        }
        let key = (change.table, change.prefix);
        let mut next_hops = if gone { Vec::new() } else { change.next_hops.clone() };
        next_hops.sort_unstable();
        let known = self.routes.get(&key).map_or(&[][..], |set| set);
        if known == next_hops {
            return;
        }
        if known.is_empty() && self.routes.len() >= ROUTES_MAX {
            self.overflows += 1;
            return;
        }
        if let Some(before) = self.routes.remove(&key) {
            self.release(&before);
        }
        if !gone {
            let set: Arc<[NextHop]> = next_hops.into();
            let set = self.sets.get_key_value(&set).map_or(set, |(known, _)| Arc::clone(known));
            *self.sets.entry(Arc::clone(&set)).or_default() += 1;
            self.routes.insert(key, set);
        }
        self.moved = Some(at);
    }

    fn release(&mut self, set: &Arc<[NextHop]>) {
        if let Some(routes) = self.sets.get_mut(set) {
            *routes -= 1;
            if *routes == 0 {
                self.sets.remove(set);
            }
        }
    }

    /// Takes in what has stood; when it had been set, if it is wider than anything before.
    pub(super) fn advance(&mut self, to: Timestamp) -> Option<Timestamp> {
        let moved = self.moved.filter(|moved| to - *moved >= SETTLE)?;
        self.moved = None;
        let mut wider = false;
        for set in self.sets.keys() {
            let width = u16::try_from(set.len()).unwrap_or(u16::MAX);
            for leg in set.iter() {
                if self.widest.len() >= LEGS_MAX && !self.widest.contains_key(leg) {
                    self.overflows += 1;
                    continue;
                }
                let widest = self.widest.entry(*leg).or_default();
                wider |= *widest < width;
                *widest = width.max(*widest);
            }
        }
        wider.then_some(moved)
    }

    /// The widest set with a leg through one of these gateways; 0 without one.
    pub(super) fn through(&self, gateways: [IpAddr; 2]) -> u16 {
        let through = |leg: &NextHop| leg.via.is_some_and(|via| gateways.contains(&via));
        self.widest.iter().filter(|(leg, _)| through(leg)).map(|(_, w)| *w).max().unwrap_or(0)
    }

    /// The widest set with a leg over this link; 0 without one.
    pub(super) fn over(&self, link: u32) -> u16 {
        self.widest.iter().filter(|(leg, _)| leg.link == link).map(|(_, w)| *w).max().unwrap_or(0)
    }
}
