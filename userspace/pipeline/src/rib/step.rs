//! What one announcement or withdrawal does to one entry.
//!
//! **Invariant:** each step ends in exactly one [`Verdict`].

use super::RibConfig;
use super::memory::Memory;
use super::penalty::Decay;
use super::slot::{Key, Name, Named, State, TRANSITIONS_MAX};
use super::table::{TICK_BITS, Table};
use super::verdict::{Became, Verdict};
use edgelore_model::Span;

/// A step, the same for all prefixes of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The time, in ticks.
    pub(super) ticks: u32,
    /// What separates two episodes, in ticks.
    pub(super) quiet: u32,
    /// What was withdrawn so long ago may be forgotten, in ticks.
    pub(super) keep: u32,
    /// What is added for a fault, and how it decays.
    pub(super) decay: Decay,
    /// Varies where entries lie.
    pub(super) seed: u64,
    /// `None`: withdrawn.
    pub(super) attributes: Option<u32>,
}

impl Step {
    /// A withdrawal at the first tick.
    pub(super) fn withdrawing(config: &RibConfig) -> Self {
        let in_ticks = |span: Span| (span.0 >> TICK_BITS).clamp(0, i64::from(u32::MAX)) as u32;
        Self {
            ticks: 0,
            // What lies exactly so far apart may seem a tick more, and still belongs together.
            quiet: in_ticks(config.quiet).saturating_add(1),
            keep: in_ticks(config.keep),
            decay: Decay::new(config.penalties),
            seed: config.seed,
            attributes: None,
        }
    }

    #[inline(always)]
    pub(super) fn apply<K: Key + Named>(
        &self,
        table: &mut Table<K>,
        memory: &mut Memory,
        name: &Name<K>,
    ) -> Verdict {
        let verdict = match table.find_mut(memory, name) {
            Some(words) => {
                let mut state = State::read(words);
                let verdict = self.change(&mut state);
                if verdict.became.moved() {
                    state.write(words);
                }
                verdict
            }
            None => self.begin(table, memory, name),
        };
        if verdict.became.lost() {
            table.withdrawn();
        }
        verdict
    }

    /// A prefix that was never heard of. Apart, so that the way of all others stays short.
    #[inline(never)]
    fn begin<K: Key + Named>(
        &self,
        table: &mut Table<K>,
        memory: &mut Memory,
        name: &Name<K>,
    ) -> Verdict {
        let fresh =
            State { changed: self.ticks, first: self.ticks, form: name.form, ..State::default() };
        let (state, became) = match self.attributes {
            Some(attributes) => (State { attributes, announced: true, ..fresh }, Became::New),
            None => {
                let penalty = self.decay.after_loss(0, 0);
                (State { transitions: 1, penalty, ..fresh }, Became::WithdrawnUnheard)
            }
        };
        let stale =
            |old: &State| !old.announced && self.ticks.saturating_sub(old.changed) > self.keep;
        let put = table.insert(memory, name, &state, self.seed, stale);
        let refused = put.is_err() && self.attributes.is_some();
        let became = if refused { Became::Refused } else { became };
        let (transitions, penalty) = (state.transitions, state.penalty);
        Verdict { became, transitions, penalty, lasted: 0 }
    }

    #[inline(always)]
    fn change(&self, state: &mut State) -> Verdict {
        let became = match (self.attributes, state.announced) {
            (None, false) => Became::WithdrawnAgain,
            (None, true) => Became::Withdrawn,
            (Some(same), true) if same == state.attributes => Became::Repeated,
            (Some(_), true) => Became::Changed,
            (Some(_), false) => Became::Returned,
        };
        let penalty = if became.moved() { self.note(state, became) } else { state.penalty };
        let transitions = state.transitions;
        Verdict { became, transitions, penalty, lasted: self.ticks.saturating_sub(state.first) }
    }

    /// Gives the penalty.
    #[inline]
    fn note(&self, state: &mut State, became: Became) -> u16 {
        let since = self.ticks.saturating_sub(state.changed);
        if since > self.quiet {
            (state.transitions, state.first) = (0, self.ticks);
        } else if state.transitions == 0 && state.penalty == 0 {
            state.first = self.ticks;
        }
        if became == Became::Changed && state.transitions > 0 {
            return self.change_between(state, since);
        }
        state.penalty = match became {
            Became::Changed => self.decay.after_change(state.penalty, since),
            Became::Withdrawn => self.decay.after_loss(state.penalty, since),
            _ => self.decay.after(state.penalty, since),
        };
        if became != Became::Changed {
            state.transitions = (state.transitions + 1).min(TRANSITIONS_MAX);
        }
        state.changed = self.ticks;
        state.announced = self.attributes.is_some();
        state.attributes = self.attributes.unwrap_or(state.attributes);
        state.penalty
    }

    /// Other attributes between transitions: the time of the last transition stays, for it tells
    /// whether the next one is of the same episode.
    fn change_between(&self, state: &mut State, since: u32) -> u16 {
        state.penalty = self.decay.as_if_changed(state.penalty, since);
        state.attributes = self.attributes.unwrap_or(state.attributes);
        self.decay.after(state.penalty, since)
    }
}
