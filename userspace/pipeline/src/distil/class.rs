//! A class: its present era, and the change that began it, on trial.
//!
//! Owns which incidents lie before a change, which after it, and which cannot be told; which
//! changes share a trial; and how long silence must last. Never computes a difference.
//!
//! **Invariant:** what is compared depends on the times of incidents and changes, not on the order
//! in which they became known, as far as a class remembers.

use super::era::{Era, Sample};
use super::{DistilConfig, Verdict};
use crate::detect::Settings;
use crate::resolve::{Change, changes_between};
use edgelore_model::{EventType, IncidentId, Interval, Known, Resolution, Scope, Timestamp};
use std::sync::Arc;

/// Changes that share one trial; further ones between the same incidents are not told apart.
const TRIAL_CHANGES_MAX: usize = 8;

/// A change that somebody told, with its number in the order of telling.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) number: u64,
    pub(super) change: Arc<Change>,
}

/// What is known of one class of incidents.
#[derive(Debug)]
pub(super) struct Class {
    /// What holds now, as far as is known.
    settings: Settings,
    /// Since when: what differs later was changed after this.
    settings_at: Timestamp,
    pub(super) era: Era,
    pub(super) trial: Option<Trial>,
    /// An incident of the class is under way.
    pub(super) open: bool,
    /// The watch clock's time at which its silence proves something, and after how many missed
    /// incidents.
    pub(super) due: Option<(i64, u32)>,
}

/// A change whose effect is looked for.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) before: Era,
    settings_before: Settings,
    /// When the changes were made, all together.
    pub(super) made: Interval,
    told: Vec<Told>,
    wire: Vec<Change>,
    /// An incident that could not be measured has come back: silence proves nothing any more.
    pub(super) broken: bool,
    /// The watch clock's time from which silence counts, ns.
    pub(super) silent_since: i64,
    /// What was last said of it.
    pub(super) given: Option<Verdict>,
}

/// What became of an incident.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// It is part of an era.
    pub(super) counts: bool,
    /// Settings that hold since a time after it, and have to be taken after it.
    pub(super) later: Option<(Timestamp, Settings)>,
}

/// Where an incident lies.
enum Side {
    Before,
    After,
    /// After some changes and before others: they are two trials.
    Between {
        wire_later: bool,
    },
    /// It began while a change may have been made, or not yet.
    Unknown,
}

impl Class {
    pub(super) fn new(settings: Settings, settings_at: Timestamp) -> Self {
        Self { settings, settings_at, era: Era::default(), trial: None, open: false, due: None }
    }

    /// Takes an incident and what was set at its start.
    pub(super) fn take(
        &mut self,
        scope: &Scope,
        sample: Sample,
        settings: &Settings,
        clock: i64,
    ) -> Taken {
        if sample.start >= self.settings_at {
            self.reset(scope, sample.start, sample.start, settings, clock);
        }
        let Some(trial) = &mut self.trial else {
            return Taken { counts: self.era.insert(sample), ..Taken::default() };
        };
        match trial.side(scope, sample.start, settings, &self.settings) {
            Side::Before => Taken { counts: trial.before.insert(sample), ..Taken::default() },
            Side::After => Taken { counts: self.era.insert(sample), ..Taken::default() },
            Side::Unknown => Taken::default(),
            Side::Between { wire_later } => {
                trial.told.retain(|told| told.change.at.latest <= sample.start);
                let later = wire_later.then(|| {
                    trial.wire.clear();
                    let later = std::mem::replace(&mut self.settings, settings.clone());
                    (std::mem::replace(&mut self.settings_at, sample.start), later)
                });
                trial.remake();
                Taken { counts: self.era.insert(sample), later }
            }
        }
    }

    /// Settings hold that were seen at `at`; they hold since `changed` at the latest.
    pub(super) fn reset(
        &mut self,
        scope: &Scope,
        changed: Timestamp,
        at: Timestamp,
        settings: &Settings,
        clock: i64,
    ) {
        if at < self.settings_at {
            return;
        }
        let untried = self.era.is_empty();
        let made = Interval { earliest: self.settings_at, estimate: changed, latest: changed };
        let since_before = match &self.trial {
            // Nothing has happened since: what counts is what differs from the era before.
            Some(trial) if untried => {
                let earliest =
                    trial.wire.first().map_or(made.earliest, |change| change.at.earliest);
                let made = Interval { earliest, ..made };
                Some(changes_between(scope, &trial.settings_before, settings, made))
            }
            _ => None,
        };
        let latest = changes_between(scope, &self.settings, settings, made);
        let before = std::mem::replace(&mut self.settings, settings.clone());
        self.settings_at = at;
        match since_before {
            Some(wire) if !latest.is_empty() => self.rewire(wire, settings, clock),
            None if !latest.is_empty() => {
                if let Some(trial) = self.begin(made, clock, before) {
                    trial.wire = latest;
                }
            }
            _ => {}
        }
    }

    /// The settings moved on while nothing had happened since the change on trial.
    fn rewire(&mut self, wire: Vec<Change>, settings: &Settings, clock: i64) {
        let Some(trial) = &mut self.trial else { return };
        let back = wire.is_empty() && trial.told.is_empty();
        if back {
            // As if nothing had been changed: what was said of it stands.
            self.era = std::mem::take(&mut trial.before);
            self.trial = None;
        } else if trial.given.is_some() {
            // What it brought has been said; nothing is known of what this adds to it.
            *self = Self { open: self.open, ..Self::new(settings.clone(), self.settings_at) };
        } else {
            trial.wire = wire;
            trial.silent_since = clock;
            trial.remake();
        }
    }

    /// Takes a change that was told, whether it is known already or not.
    pub(super) fn changed(&mut self, told: &Told, clock: i64) {
        let at = told.change.at;
        if let Some(trial) = &mut self.trial {
            let known = trial.told.iter().any(|one| one.number == told.number);
            if known {
                return;
            }
            if trial.before.last().is_some_and(|last| at.latest < last.start) {
                // It began the era before this trial: what is older is not of that era.
                let before = std::mem::take(&mut trial.before);
                trial.before = before.since(at);
                return;
            }
            if self.era.first().is_none_or(|first| first.start > at.earliest) {
                return self.join(told, clock);
            }
        }
        let settings = self.settings.clone();
        if let Some(trial) = self.begin(at, clock, settings) {
            trial.told.push(told.clone());
        }
    }

    fn join(&mut self, told: &Told, clock: i64) {
        let Some(trial) = &mut self.trial else { return };
        if self.era.is_empty() && trial.given.is_some() {
            // See `rewire`.
            *self = Self { open: self.open, ..Self::new(self.settings.clone(), self.settings_at) };
            return;
        }
        if trial.told.len() >= TRIAL_CHANGES_MAX {
            return;
        }
        let earliest = told.change.at.earliest;
        let place = trial.told.partition_point(|one| one.change.at.earliest <= earliest);
        trial.told.insert(place, told.clone());
        trial.remake();
        trial.silent_since = clock;
        let latest = trial.made.latest;
        self.era = std::mem::take(&mut self.era).split(Timestamp(i64::MIN), latest).1;
        if trial.before.is_empty() {
            self.trial = None;
        }
    }

    /// A change begins a new era, when there is an era to compare it with.
    fn begin(
        &mut self,
        made: Interval,
        clock: i64,
        settings_before: Settings,
    ) -> Option<&mut Trial> {
        let era = std::mem::take(&mut self.era);
        if era.first().is_none_or(|first| first.start > made.earliest) {
            // What is known came after the change, or as it was made.
            self.era = era.since(made);
            return None;
        }
        let (before, after) = era.split(made.earliest, made.latest);
        self.era = after;
        Some(self.trial.insert(Trial {
            before,
            settings_before,
            made,
            told: Vec::new(),
            wire: Vec::new(),
            broken: false,
            silent_since: clock,
            given: None,
        }))
    }

    /// The watch clock's time at which silence will have proven something, after `missed` incidents
    /// that should have come; `None` when it never does.
    pub(super) fn silence_proves_at(
        &self,
        event: EventType,
        config: &DistilConfig,
        missed: u32,
    ) -> Option<i64> {
        let trial = self.trial.as_ref()?;
        let comes_by_itself = event != EventType::Convergence;
        if !comes_by_itself || trial.broken || self.open || !self.era.is_empty() {
            return None;
        }
        if trial.before.count() < config.probation_spaced {
            return None;
        }
        let needed = trial.silence_needed(config, missed)?;
        let first = trial.silence_needed(config, config.probation_missed)?;
        let idle = (trial.made.latest - trial.before.last()?.start).0;
        // It had ceased before anything was changed.
        (idle < first).then(|| trial.silent_since.saturating_add(needed))
    }
}

impl Trial {
    /// On which side of the changes an incident lies that began at `start` under `settings`; `now`
    /// holds now.
    fn side(
        &mut self,
        scope: &Scope,
        start: Timestamp,
        settings: &Settings,
        now: &Settings,
    ) -> Side {
        let (mut earlier, mut later) = (false, false);
        for told in &self.told {
            let at = told.change.at;
            match () {
                () if start <= at.earliest => later = true,
                () if start >= at.latest => earlier = true,
                () => return Side::Unknown,
            }
        }
        let wire_later = match self.wire_is_later(scope, start, settings, now) {
            Some(later) => later,
            None if self.wire.is_empty() => later,
            None => return Side::Unknown,
        };
        if !self.wire.is_empty() {
            earlier |= !wire_later;
            later |= wire_later;
            self.remake();
        }
        match (earlier, later) {
            (true, true) => Side::Between { wire_later: wire_later && !self.wire.is_empty() },
            (false, true) => Side::Before,
            _ => Side::After,
        }
    }

    /// Whether the settings changed after an incident that began under `settings`, which narrows
    /// when they did; `None` without such a change, or when the incident knew yet other settings.
    fn wire_is_later(
        &mut self,
        scope: &Scope,
        start: Timestamp,
        settings: &Settings,
        now: &Settings,
    ) -> Option<bool> {
        let at = self.wire.first()?.at;
        if start >= at.latest || start <= at.earliest {
            return Some(start <= at.earliest);
        }
        let exactly = Interval::exactly(start);
        if changes_between(scope, &self.settings_before, settings, exactly).is_empty() {
            self.wire.iter_mut().for_each(|change| change.at.earliest = start);
            return Some(true);
        }
        let as_now = changes_between(scope, settings, now, exactly).is_empty();
        as_now.then(|| {
            let until =
                |change: &mut Change| (change.at.latest, change.at.estimate) = (start, start);
            self.wire.iter_mut().for_each(until);
            false
        })
    }

    /// When the changes were made, all together; what began within that counts on neither side.
    fn remake(&mut self) {
        let told = self.told.iter().map(|told| told.change.at);
        let all = self.wire.iter().map(|change| change.at).chain(told);
        let hull = all.reduce(|a, b| Interval {
            earliest: a.earliest.min(b.earliest),
            estimate: a.estimate.max(b.estimate),
            latest: a.latest.max(b.latest),
        });
        let Some(made) = hull else { return };
        self.made = made;
        self.before = std::mem::take(&mut self.before).split(made.earliest, Timestamp(i64::MAX)).0;
    }

    fn silence_needed(&self, config: &DistilConfig, missed: u32) -> Option<i64> {
        let (median, longest) = self.before.spacing()?;
        let least = i64::try_from(config.probation_silence_ms).unwrap_or(i64::MAX);
        Some(
            median
                .saturating_mul(i64::from(missed))
                .max(longest)
                .max(least.saturating_mul(1_000_000)),
        )
    }

    /// The last incident before the change, which identifies it.
    pub(super) fn last_before(&self) -> Option<IncidentId> {
        self.before.last().map(|sample| sample.id)
    }

    /// What was changed, one resolution per pattern: of several words for one change the best
    /// founded. Several changes share the credit, and each says so.
    pub(super) fn resolutions(&self) -> Vec<(Resolution, Vec<String>)> {
        let mut found: Vec<(Resolution, Vec<String>)> = Vec::new();
        let told = self.told.iter().map(|told| told.change.as_ref());
        for change in self.wire.iter().chain(told) {
            let pattern = &change.resolution.pattern;
            match found.iter_mut().find(|(resolution, _)| resolution.pattern == *pattern) {
                None => found.push((change.resolution.clone(), vec![change.evidence.clone()])),
                Some((resolution, evidence)) => {
                    if change.resolution.known < resolution.known {
                        resolution.clone_from(&change.resolution);
                    }
                    evidence.push(change.evidence.clone());
                }
            }
        }
        found.sort_by(|(a, _), (b, _)| a.pattern.cmp(&b.pattern));
        let patterns: Vec<String> = found.iter().map(|(r, _)| r.pattern.clone()).collect();
        for (resolution, evidence) in &mut found {
            evidence.sort_unstable();
            share_credit(resolution, &patterns);
        }
        found
    }
}

/// With others at once, no effect is this one's alone.
fn share_credit(resolution: &mut Resolution, all: &[String]) {
    let others: Vec<&str> =
        all.iter().map(String::as_str).filter(|p| *p != resolution.pattern).collect();
    if others.is_empty() {
        return;
    }
    resolution.steps.push(format!("Changed together with: {}", others.join(", ")));
    if resolution.known == Known::Measured {
        resolution.known = Known::Observed;
    }
}
