//! Sessions, links and adjacencies: how often each went up or down of late.
//!
//! **Invariant:** a subject is known by what was said of it last; only a change of that counts.

use super::FlapConfig;
use super::open::Event;
use crate::rib::Decay;
use edgelore_model::{Interval, Protocol, Scope, Timestamp};
use std::collections::BTreeMap;

/// What flaps: on which protocol, and what.
pub(super) type Subject = (Protocol, Scope);

/// The running episode of one subject.
#[derive(Clone, Copy, Debug)]
struct Track {
    first: Timestamp,
    last: Timestamp,
    transitions: u32,
    penalty: u16,
}

/// All subjects that moved of late.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    tracks: BTreeMap<Subject, Track>,
    /// Up or down, as said last.
    states: BTreeMap<Subject, bool>,
}

impl Tracks {
    /// Somebody says that a subject is up or down: whether the contrary was said before; `None` when
    /// it cannot be followed.
    pub(super) fn says(&mut self, subject: Subject, up: bool, states_max: usize) -> Option<bool> {
        if let Some(state) = self.states.get_mut(&subject) {
            return Some(std::mem::replace(state, up) != up);
        }
        if self.states.len() >= states_max {
            return None;
        }
        self.states.insert(subject, up);
        Some(false)
    }

    /// A subject went up or down; `None` when it cannot be followed.
    pub(super) fn moved(
        &mut self,
        subject: Subject,
        up: bool,
        at: Timestamp,
        config: &FlapConfig,
        tracks_max: usize,
    ) -> Option<Event> {
        if self.tracks.len() >= tracks_max && !self.tracks.contains_key(&subject) {
            return None;
        }
        let decay = Decay::new(config.penalties());
        let fresh = Track { first: at, last: at, transitions: 0, penalty: 0 };
        let track = self.tracks.entry(subject).or_insert(fresh);
        if at - track.last > config.quiet() {
            (track.first, track.transitions) = (at, 0);
        }
        let left = decay.after_span(track.penalty, at - track.last);
        track.penalty = if up { left } else { decay.after_loss(left, 0) };
        track.transitions = track.transitions.saturating_add(1);
        track.last = track.last.max(at);
        Some(Event {
            at,
            loss: !up,
            transitions: track.transitions,
            penalty: track.penalty,
            first: Interval::exactly(track.first),
        })
    }

    /// It went down and up again in an episode that still runs.
    pub(super) fn is_unrest(&self, subject: &Subject, at: Timestamp, config: &FlapConfig) -> bool {
        let track = self.tracks.get(subject);
        track.is_some_and(|track| track.transitions >= 2 && at - track.last <= config.quiet())
    }

    /// Forgets what has been quiet and whose penalty is not worth mention.
    pub(super) fn sweep(&mut self, now: Timestamp, config: &FlapConfig) {
        let decay = Decay::new(config.penalties());
        self.tracks.retain(|_, track| {
            now - track.last <= config.quiet()
                || decay.after_span(track.penalty, now - track.last) > config.penalty_loss / 2
        });
    }
}
