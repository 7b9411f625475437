//! Distillation: incidents of one class with a change between them become an outcome.
//!
//! Incidents are of one class when event type, protocol and scope agree. An *era* of a class is the
//! stretch between two changes. A change may be seen on the wire (the settings at an incident's
//! start differ from those known before), told by a configuration or the operator, or have settled
//! without an incident. It is then *on trial*: the era after it is compared with the era before it
//! by medians, and a difference that the spread of either could make is none ([`Compared`]).
//!
//! - **Probation.** An outcome is given from [`DistilConfig::probation_incidents`] incidents after the
//!   change on. A flap, saturation or degradation may also have gone for good: when it has not come
//!   back in the time in which the former spacing would have brought
//!   [`DistilConfig::probation_missed`] incidents, that is an outcome whose severity after is 0. Only
//!   time that was watched counts. A convergence must recur, for its failures come from outside.
//! - **Verdict.** It helped, failed (no difference), or made it worse; see [`Verdict`].
//! - **Regression.** When the last incidents of an era that had helped are as severe as those before
//!   the change, a new outcome that says so replaces the former one.
//! - **Going back.** Settings that are as before again, before any incident, end the trial; after
//!   one, they are a change like any other.
//!
//! **Invariant:** only incidents whose end was seen, whose evidence has no gaps and that lie in no
//! maintenance window count; incidents measured by different methods are never compared. The same
//! inputs in the same order give the same state: see [`Input`].

mod class;
mod config;
mod era;
mod judge;
mod trials;

pub use config::DistilConfig;
pub use era::Figures;
pub use judge::{Compared, Verdict};

use crate::detect::{Finding, Joined, Opened, Settled};
use crate::resolve::Change;
use class::{Class, Told};
use edgelore_model::{
    EventType, Incident, IncidentId, Interval, Outcome, Protocol, Scope, Span, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use trials::Basis;

/// Classes remembered; the one that was heard of least recently makes room.
pub const CLASSES_MAX: usize = 16_384;
/// Changes remembered that were told; the oldest makes room.
pub const TOLD_MAX: usize = 64;
/// How long an outcome counts.
const LIFETIME: Span = Span(180 * 86_400 * 1_000_000_000);
/// A longer stretch in which nobody said what time it is was not watched.
pub const WATCHED_STEP_MAX: Span = Span(3_600 * 1_000_000_000);

/// What is known of the network: by the operator, or by what was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// For example `spine_leaf`; a word of the similarity definition.
    pub topology_class: String,
    /// Routers in the network.
    pub node_count: u64,
}

/// An outcome and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distilled {
    /// The outcome; its parents and what it supersedes are for the node to fill in.
    pub outcome: Outcome,
    /// The incidents before the change, then those after it, as far as they are remembered.
    pub incidents: Vec<IncidentId>,
    /// Equal for all outcomes of one change of one class: a later one replaces an earlier one.
    pub change: ChangeId,
    /// The change was made before this.
    pub changed_before: Timestamp,
    /// The figures that were compared.
    #[serde(default)]
    pub compared: Compared,
    /// What happened before has not come back for this long, in ms of watched time.
    #[serde(default)]
    pub silent_ms: Option<u64>,
    /// It had helped, and does not any more.
    #[serde(default)]
    pub regression: bool,
    /// How the change is known; never leaves the gateway.
    #[serde(default)]
    pub evidence: Vec<String>,
}

/// Identifies a change of a class: the last incident before it, and the pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChangeId {
    /// The last incident before the change.
    pub incident: IncidentId,
    /// The resolution's pattern.
    pub pattern: String,
}

/// Everything that the distiller's state depends on; whoever keeps the inputs can rebuild it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Watching began, or began anew: what was before this was not watched, and what was open then
    /// may have ended unseen.
    Started(Timestamp),
    /// Time has passed, and was watched.
    Advanced(Timestamp),
    /// An incident has begun.
    Opened(Opened),
    /// An incident that has begun is part of another.
    Joined(Joined),
    /// An incident is over.
    Closed(Box<Finding>),
    /// A change was seen or told.
    Changed(Box<Change>),
    /// Settings changed and stood.
    Settled(Box<Settled>),
    /// Incidents are measured by another method from now on.
    Method([u8; 8]),
}

type ClassKey = (EventType, Protocol, Scope);

/// The distiller: remembers what it needs of former incidents.
#[derive(Debug)]
pub struct Distiller {
    site: Site,
    config: DistilConfig,
    method: [u8; 8],
    now: Timestamp,
    /// Watched time so far, ns.
    clock: i64,
    classes: BTreeMap<ClassKey, Class>,
    /// When each class was last heard of.
    heard: BTreeSet<(u64, ClassKey)>,
    heard_at: BTreeMap<ClassKey, u64>,
    inputs: u64,
    /// When silence will prove something, and after how many missed incidents.
    due: BTreeSet<(i64, ClassKey, u32)>,
    told: VecDeque<Told>,
    told_so_far: u64,
    overflows: u64,
}

impl Distiller {
    /// An empty distiller; `method` is [`crate::detect::DetectConfig::method`].
    #[must_use]
    pub fn new(site: Site, method: [u8; 8]) -> Self {
        Self {
            site,
            config: DistilConfig::default(),
            method,
            now: Timestamp(i64::MIN),
            clock: 0,
            classes: BTreeMap::new(),
            heard: BTreeSet::new(),
            heard_at: BTreeMap::new(),
            inputs: 0,
            due: BTreeSet::new(),
            told: VecDeque::new(),
            told_so_far: 0,
            overflows: 0,
        }
    }

    /// The same distiller with other times of probation.
    #[must_use]
    pub fn with(mut self, config: DistilConfig) -> Self {
        self.config = config;
        self
    }

    /// Outcomes from now on are of a network of another shape or size.
    pub fn set_site(&mut self, site: Site) {
        self.site = site;
    }

    /// What the network is taken for.
    #[must_use]
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The method by which incidents are measured now.
    #[must_use]
    pub const fn method(&self) -> [u8; 8] {
        self.method
    }

    /// Classes and changes that were forgotten because there were too many.
    #[must_use]
    pub const fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Something has not come back so far, and might prove an outcome by that.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.due.is_empty()
    }

    /// Takes any input; gives the outcomes that it completes.
    pub fn take(&mut self, input: &Input) -> Vec<Distilled> {
        match input {
            Input::Started(at) => self.started(*at),
            Input::Advanced(to) => return self.advance(*to),
            Input::Opened(opened) => drop(self.opened(opened)),
            Input::Joined(joined) => drop(self.joined(joined)),
            Input::Closed(finding) => return self.closed(finding),
            Input::Changed(change) => self.changed(change),
            Input::Settled(settled) => self.settled(settled),
            Input::Method(method) => self.set_method(*method),
        }
        Vec::new()
    }

    /// Incidents are measured by another method from now on; they are not compared with others.
    pub fn set_method(&mut self, method: [u8; 8]) {
        if self.method != method {
            self.method = method;
            self.classes.clear();
            self.heard.clear();
            self.heard_at.clear();
            self.due.clear();
        }
    }

    /// Watching begins, or begins anew.
    pub fn started(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        let was_open: Vec<ClassKey> =
            self.classes.iter().filter(|(_, c)| c.open).map(|(key, _)| *key).collect();
        for key in was_open {
            self.class(&key, |class, _| {
                class.open = false;
                // It ended unseen, or goes on.
                class.break_silence();
            });
        }
    }

    /// Time has passed up to `to`, and all of it was watched unless it is longer than
    /// [`WATCHED_STEP_MAX`]. Gives the outcomes of what has not come back.
    pub fn advance(&mut self, to: Timestamp) -> Vec<Distilled> {
        let step = to - self.now;
        if step.0 <= 0 {
            return Vec::new();
        }
        self.now = to;
        let mut distilled = Vec::new();
        if step > WATCHED_STEP_MAX {
            return distilled;
        }
        self.clock = self.clock.saturating_add(step.0);
        while let Some(&(at, key, missed)) = self.due.first()
            && at <= self.clock
        {
            self.due.pop_first();
            let when = to - Span(self.clock - at);
            distilled.extend(self.silent(&key, missed, at, when));
        }
        distilled
    }

    /// An incident has begun: its class is silent no longer. False when that changes nothing.
    pub fn opened(&mut self, opened: &Opened) -> bool {
        self.set_open(opened.event, opened.scope, true)
    }

    /// An incident that has begun is part of another: that one's class is silent no longer, its own
    /// is again. False when that changes nothing.
    pub fn joined(&mut self, joined: &Joined) -> bool {
        let own = self.set_open(joined.event, joined.scope, false);
        own | self.set_open(joined.event, joined.into, true)
    }

    fn set_open(&mut self, event: EventType, scope: Scope, open: bool) -> bool {
        let concerned = self.keys_at(event, scope);
        for key in &concerned {
            self.class(key, |class, _| class.open = open);
        }
        !concerned.is_empty()
    }

    /// Takes a closed incident; gives the outcomes that it completes, one per pattern, and those of
    /// what has not come back until then.
    pub fn closed(&mut self, finding: &Finding) -> Vec<Distilled> {
        let incident = &finding.incident;
        // What begins ends the silence before it.
        let mut distilled = self.advance(incident.start.earliest);
        distilled.extend(self.take_incident(finding));
        let ended = incident.end.unwrap_or(incident.start).latest;
        distilled.extend(self.advance(ended));
        distilled
    }

    /// A change was seen or told of; it concerns every class that it can act on, at or within its
    /// scope. One class's
    /// outcomes show what it brought from the class's next incident on.
    pub fn changed(&mut self, change: &Change) {
        let Interval { earliest, estimate, latest } = change.at;
        let (earliest, latest) = (earliest.min(latest), earliest.max(latest));
        let at = Interval { earliest, estimate: estimate.clamp(earliest, latest), latest };
        let change = Change { at, ..change.clone() };
        if self.told.len() >= TOLD_MAX {
            self.told.pop_front();
            self.overflows += 1;
        }
        let told = Told { number: self.told_so_far, change: Arc::new(change) };
        self.told_so_far += 1;
        self.told.push_back(told.clone());
        let concerned: Vec<ClassKey> =
            self.classes.keys().filter(|key| concerns(&told.change, key)).copied().collect();
        for key in concerned {
            self.class(&key, |class, clock| class.changed(&told, clock));
        }
    }

    /// Settings of a scope changed and stood.
    pub fn settled(&mut self, settled: &Settled) {
        let Settled { at, scope, settings } = settled;
        let concerned: Vec<ClassKey> =
            self.classes.keys().filter(|key| key.2 == *scope).copied().collect();
        for key in concerned {
            self.class(&key, |class, clock| class.reset(scope, *at, *at, settings, clock));
        }
    }

    fn take_incident(&mut self, finding: &Finding) -> Vec<Distilled> {
        let incident = &finding.incident;
        let key = (incident.event, incident.protocol, incident.scope);
        self.set_open(incident.event, incident.scope, false);
        if incident.maintenance {
            return Vec::new();
        }
        if incident.gaps || incident.end.is_none() {
            self.class(&key, |class, _| class.break_silence());
            return Vec::new();
        }
        self.make_room(&key);
        self.classes
            .entry(key)
            .or_insert_with(|| Class::new(finding.settings.clone(), incident.start.estimate));
        let start = incident.start.estimate;
        let told = self.told.iter().filter(|told| concerns(&told.change, &key)).cloned();
        let (earlier, later): (Vec<Told>, Vec<Told>) =
            told.partition(|told| told.change.at.latest <= start);
        let taken = self.class(&key, |class, clock| {
            let taken = class.take(&key.2, incident.into(), &finding.settings, clock);
            earlier.iter().for_each(|told| class.changed(told, clock));
            taken
        });
        let taken = taken.unwrap_or_default();
        let ended = incident.end.unwrap_or(incident.start).latest;
        let distilled =
            if taken.counts { self.recurred(&key, incident, ended) } else { Vec::new() };
        self.class(&key, |class, clock| {
            later.iter().for_each(|told| class.changed(told, clock));
            if let Some((at, settings)) = &taken.later {
                class.reset(&key.2, *at, *at, settings, clock);
            }
        });
        distilled
    }

    fn keys_at(&self, event: EventType, scope: Scope) -> Vec<ClassKey> {
        PROTOCOLS
            .into_iter()
            .map(|protocol| (event, protocol, scope))
            .filter(|key| self.classes.contains_key(key))
            .collect()
    }

    /// Changes a class, and when its silence is looked at next.
    fn class<T>(&mut self, key: &ClassKey, change: impl FnOnce(&mut Class, i64) -> T) -> Option<T> {
        let class = self.classes.get_mut(key)?;
        let was_due = class.due.take();
        if let Some((at, missed)) = was_due {
            self.due.remove(&(at, *key, missed));
        }
        let changed = change(class, self.clock);
        let said = class.trial.as_ref().is_none_or(|trial| trial.given.is_some());
        let next = if said { was_due.map(|due| due.1) } else { Some(self.config.probation_missed) };
        if let Some(missed) = next
            && let Some(at) = class.silence_proves_at(key.0, &self.config, missed)
        {
            class.due = Some((at, missed));
            self.due.insert((at, *key, missed));
        }
        Some(changed)
    }

    /// Notes that a class was heard of, and makes room for it if it is new.
    fn make_room(&mut self, key: &ClassKey) {
        self.inputs += 1;
        if let Some(before) = self.heard_at.insert(*key, self.inputs) {
            self.heard.remove(&(before, *key));
        }
        self.heard.insert((self.inputs, *key));
        if self.classes.len() < CLASSES_MAX || self.classes.contains_key(key) {
            return;
        }
        let Some((_, oldest)) = self.heard.pop_first() else { return };
        self.heard_at.remove(&oldest);
        let forgotten = self.classes.remove(&oldest);
        if let Some((at, missed)) = forgotten.and_then(|class| class.due) {
            self.due.remove(&(at, oldest, missed));
        }
        self.overflows += 1;
    }

    /// The class's last incident began a trial's later era or joined it.
    fn recurred(
        &mut self,
        key: &ClassKey,
        incident: &Incident,
        created: Timestamp,
    ) -> Vec<Distilled> {
        let config = self.config.clone();
        let judged = self.class(key, |class, _| class.judge(incident.id, &config)).flatten();
        judged.map_or_else(Vec::new, |judgement| self.outcomes(key, &judgement, created))
    }

    /// The class has been silent for long enough to have missed so many incidents.
    fn silent(
        &mut self,
        key: &ClassKey,
        missed: u32,
        clock: i64,
        when: Timestamp,
    ) -> Vec<Distilled> {
        let Some(class) = self.classes.get_mut(key) else { return Vec::new() };
        class.due = None;
        let Some(judgement) = class.judge_silence(key.0, &self.config, missed, clock) else {
            return Vec::new();
        };
        if let Some(next) = missed.checked_mul(2).filter(|next| *next <= MISSED_MAX)
            && let Some(at) = class.silence_proves_at(key.0, &self.config, next)
        {
            class.due = Some((at, next));
            self.due.insert((at, *key, next));
        }
        self.outcomes(key, &judgement, when)
    }

    fn outcomes(&self, key: &ClassKey, basis: &Basis, created: Timestamp) -> Vec<Distilled> {
        let trial = self.classes.get(key).and_then(|class| class.trial.as_ref());
        trial.map_or_else(Vec::new, |trial| {
            trial.outcomes(basis, (key.0, key.1), &self.site, self.method, created)
        })
    }
}

/// Missed incidents beyond which further silence adds nothing to an outcome.
const MISSED_MAX: u32 = 32;

const PROTOCOLS: [Protocol; 7] = [
    Protocol::Bgp,
    Protocol::Bfd,
    Protocol::Ospf,
    Protocol::OspfV3,
    Protocol::Isis,
    Protocol::Ldp,
    Protocol::Link,
];

/// A change may act on incidents of a class: by what it is, and by where it was made.
fn concerns(change: &Change, (event, protocol, scope): &ClassKey) -> bool {
    change.reach.has(*event, *protocol) && change.on.is_none_or(|on| is_within(*scope, on))
}

/// What is changed on `on` is changed for `scope`.
fn is_within(scope: Scope, on: Scope) -> bool {
    match (on, scope) {
        (Scope::Link(link), Scope::Queue(of, _)) => link == of,
        // A queue that is replaced has another handle.
        (Scope::Queue(link, _), Scope::Queue(of, _)) => link == of,
        (Scope::Session(session), Scope::Prefix(_, speaker)) => session.other(speaker).is_some(),
        (Scope::Router(area, router), Scope::Adjacency(between)) => {
            between.area == area && [between.low, between.high].contains(&router)
        }
        _ => on == scope,
    }
}

#[cfg(test)]
mod tests;
