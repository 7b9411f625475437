//! What one announcement or withdrawal does to one entry.
//!
//! **Invariant:** each step adds one to exactly one figure of [`Changes`].

use super::Changes;
use super::table::{ANNOUNCED, Judge, Key, Name, OCCUPIED, State, TICK_BITS, Table};
use edgelore_model::{Span, Timestamp};

/// A step, the same for all prefixes of a list.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) at: Timestamp,
    pub(super) source: u16,
    /// The source's present life.
    pub(super) life: u16,
    /// What separates two episodes.
    pub(super) quiet: Span,
    /// `None`: withdrawn.
    pub(super) attributes: Option<u32>,
}

impl Step {
    #[inline]
    pub(super) fn apply<K: Key>(
        self,
        table: &mut Table<K>,
        name: &Name<K>,
        judge: &impl Judge,
        segments_left: usize,
        changes: &mut Changes,
    ) {
        let place = table.find(name);
        *match (place, self.attributes) {
            (Some(place), attributes) => {
                let ticks = table.ticks(place.segment, self.at);
                let mut outcome = Outcome::Repeated;
                table.change(place, |state| outcome = self.change(state, attributes, ticks));
                match outcome {
                    Outcome::New => &mut changes.new,
                    Outcome::Changed => &mut changes.changed,
                    Outcome::Repeated => &mut changes.repeated,
                    Outcome::Withdrawn => &mut changes.withdrawn,
                    Outcome::UnknownWithdrawn => &mut changes.unknown_withdrawn,
                }
            }
            (None, None) => &mut changes.unknown_withdrawn,
            (None, Some(attributes)) => {
                let state = self.fresh(attributes, name.length);
                match table.insert(name, state, self.at, judge, segments_left) {
                    Ok(()) => &mut changes.new,
                    Err(_) => &mut changes.refused,
                }
            }
        } += 1;
    }

    const fn fresh(self, attributes: u32, length: u8) -> State {
        State {
            attributes,
            changed: 0,
            source: self.source,
            life: self.life,
            transitions: 0,
            changes: 0,
            flags: OCCUPIED | ANNOUNCED,
            length,
        }
    }

    #[inline]
    fn change(self, state: &mut State, attributes: Option<u32>, ticks: u32) -> Outcome {
        let alive = state.life == self.life;
        let announced = alive && state.flags & ANNOUNCED != 0;
        let outcome = match attributes {
            None if !announced => return Outcome::UnknownWithdrawn,
            None => Outcome::Withdrawn,
            Some(same) if announced && same == state.attributes => return Outcome::Repeated,
            Some(_) if announced => Outcome::Changed,
            Some(_) => Outcome::New,
        };
        let quiet = (self.quiet.0 >> TICK_BITS).clamp(0, i64::from(u32::MAX)) as u32;
        if !alive || ticks.saturating_sub(state.changed) > quiet {
            (state.transitions, state.changes) = (0, 0);
        }
        match outcome {
            Outcome::Changed => state.changes = state.changes.saturating_add(1),
            // An announcement in a new life of the session is its beginning, not a return.
            Outcome::New if !alive => {}
            _ => state.transitions = state.transitions.saturating_add(1),
        }
        (state.changed, state.life) = (ticks, self.life);
        match attributes {
            None => state.flags &= !ANNOUNCED,
            Some(attributes) => {
                state.flags |= ANNOUNCED;
                state.attributes = attributes;
            }
        }
        outcome
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    New,
    Changed,
    Repeated,
    Withdrawn,
    UnknownWithdrawn,
}
