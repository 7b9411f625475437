//! The scopes whose settings are followed because an incident has happened there.
//!
//! A change is told when it has stood: settings move in several steps (BFD negotiates, a session
//! comes back with new timers). Where something may have changed, the settings are looked at
//! [`SETTLE`] later, and again until two looks agree.
//!
//! **Invariant:** what is told depends on the times of the observations alone; at most
//! [`FOLLOWED_MAX`] scopes are followed, and the one whose incident is the oldest makes room.

use super::{Settings, Settled};
use edgelore_model::{Scope, Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How long settings must stand before they are told.
pub(super) const SETTLE: Span = Span::from_millis(5_000);
/// Scopes followed at most.
pub(super) const FOLLOWED_MAX: usize = 1_024;

#[derive(Debug)]
struct One {
    /// What distillation knows of.
    told: Settings,
    /// What the last look saw.
    seen: Option<Settings>,
    /// When something was last seen that may have changed it.
    marked: Timestamp,
    /// When to look.
    due: Option<Timestamp>,
    /// The number of its latest incident.
    number: u64,
}

#[derive(Debug, Default)]
pub(super) struct Followed {
    scopes: BTreeMap<Scope, One>,
    order: BTreeSet<(u64, Scope)>,
    due: BTreeSet<(Timestamp, Scope)>,
    incidents: u64,
}

impl Followed {
    pub(super) fn follow(&mut self, scope: &Scope, told: &Settings, now: Timestamp) {
        self.incidents += 1;
        if let Some(one) = self.scopes.remove(scope) {
            self.forget(scope, &one);
        } else if self.scopes.len() >= FOLLOWED_MAX
            && let Some((_, oldest)) = self.order.first().copied()
            && let Some(one) = self.scopes.remove(&oldest)
        {
            self.forget(&oldest, &one);
        }
        // Something may have changed while the incident was open.
        let due = now + SETTLE;
        let told = told.clone();
        let one = One { told, seen: None, marked: now, due: Some(due), number: self.incidents };
        self.order.insert((one.number, *scope));
        self.due.insert((due, *scope));
        self.scopes.insert(*scope, one);
    }

    fn forget(&mut self, scope: &Scope, one: &One) {
        self.order.remove(&(one.number, *scope));
        if let Some(due) = one.due {
            self.due.remove(&(due, *scope));
        }
    }

    /// Something that may concern these scopes was set otherwise.
    pub(super) fn mark(&mut self, at: Timestamp, concerns: impl Fn(&Scope) -> bool) {
        for (scope, one) in self.scopes.iter_mut().filter(|(scope, _)| concerns(scope)) {
            one.marked = at;
            if one.due.is_none() {
                one.due = Some(at + SETTLE);
                self.due.insert((at + SETTLE, *scope));
            }
        }
    }

    /// There is something to look at.
    pub(super) fn is_due(&self, to: Timestamp) -> bool {
        self.due.first().is_some_and(|(due, _)| *due <= to)
    }

    /// Looks where it is time to; tells what has stood.
    pub(super) fn advance(
        &mut self,
        to: Timestamp,
        settings_of: impl Fn(&Scope) -> Settings,
        mut tell: impl FnMut(Settled),
    ) {
        while let Some((due, scope)) = self.due.first().copied().filter(|(due, _)| *due <= to) {
            self.due.pop_first();
            let Some(one) = self.scopes.get_mut(&scope) else { continue };
            let now = settings_of(&scope);
            one.due = None;
            if now == one.told {
                one.seen = None;
            } else if one.seen.as_ref() == Some(&now) {
                one.seen = None;
                one.told.clone_from(&now);
                tell(Settled { at: one.marked, scope, settings: now });
            } else {
                one.seen = Some(now);
                one.due = Some(due + SETTLE);
                self.due.insert((due + SETTLE, scope));
            }
        }
    }
}
