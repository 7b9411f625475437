//! What one announcement or withdrawal does to one entry.
//!
//! **Invariant:** each step ends in exactly one [`Verdict`].

use super::penalty::Decay;
use super::table::{ANNOUNCED, Judge, Key, Name, OCCUPIED, State, TICK_BITS, Table};
use super::verdict::{Became, Verdict};
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
    /// What is added for a fault, and how it decays.
    pub(super) decay: Decay,
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
    ) -> Verdict {
        if let Some(place) = table.find(name) {
            let ticks = table.ticks(place.segment, self.at);
            let mut verdict = Verdict::default();
            table.change(place, |state| verdict = self.change(state, ticks));
            return verdict;
        }
        let (state, became) = self.fresh(name.length);
        let put = table.insert(name, state, self.at, judge, segments_left).is_ok();
        let refused = !put && self.attributes.is_some();
        let became = if refused { Became::Refused } else { became };
        let (transitions, penalty) = (state.transitions, state.penalty);
        Verdict { became, transitions, penalty, since_ms: 0 }
    }

    fn fresh(self, length: u8) -> (State, Became) {
        let state = State { source: self.source, life: self.life, length, ..State::default() };
        match self.attributes {
            Some(attributes) => {
                (State { attributes, flags: OCCUPIED | ANNOUNCED, ..state }, Became::New)
            }
            None => {
                let penalty = self.decay.after_loss(0, 0);
                let state = State { transitions: 1, penalty, flags: OCCUPIED, ..state };
                (state, Became::WithdrawnUnheard)
            }
        }
    }

    #[inline]
    fn change(self, state: &mut State, ticks: u32) -> Verdict {
        let alive = state.life == self.life;
        if !alive {
            let (began, became) = self.fresh(state.length);
            *state = State { changed: ticks, ..began };
            let (transitions, penalty) = (state.transitions, state.penalty);
            return Verdict { became, transitions, penalty, since_ms: 0 };
        }
        let announced = state.flags & ANNOUNCED != 0;
        let became = match self.attributes {
            None if !announced => Became::WithdrawnAgain,
            None => Became::Withdrawn,
            Some(same) if announced && same == state.attributes => Became::Repeated,
            Some(_) if announced => Became::Changed,
            Some(_) => Became::Returned,
        };
        let since = ticks.saturating_sub(state.changed);
        if became.moved() {
            self.note(state, became, since);
            state.changed = ticks;
        }
        let (transitions, penalty) = (state.transitions, state.penalty);
        Verdict { became, transitions, penalty, since_ms: millis(since) }
    }

    fn note(self, state: &mut State, became: Became, since: u32) {
        let quiet = (self.quiet.0 >> TICK_BITS).clamp(0, i64::from(u32::MAX)) as u32;
        if since > quiet {
            (state.transitions, state.changes) = (0, 0);
        }
        state.penalty = match became {
            Became::Changed => {
                state.changes = state.changes.saturating_add(1);
                self.decay.after_change(state.penalty, since)
            }
            Became::Withdrawn => self.decay.after_loss(state.penalty, since),
            _ => self.decay.after(state.penalty, since),
        };
        if became != Became::Changed {
            state.transitions = state.transitions.saturating_add(1);
        }
        match self.attributes {
            None => state.flags &= !ANNOUNCED,
            Some(attributes) => {
                state.flags |= ANNOUNCED;
                state.attributes = attributes;
            }
        }
    }
}

/// Milliseconds of so many ticks.
fn millis(ticks: u32) -> u32 {
    u32::try_from((u64::from(ticks) << TICK_BITS) / 1_000_000).unwrap_or(u32::MAX)
}
