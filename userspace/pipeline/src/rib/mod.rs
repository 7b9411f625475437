//! What every speaker announces now: per session, table, prefix and path identifier a hash of the
//! attributes, the time of the last change, how often it came and went lately, and the penalty that
//! RFC 2439 gives it for that.
//!
//! ```text
//! RouteDelta ─► source (session, speaker, table) ─► its own table ─► a Verdict for each prefix
//!                                                     └─ blocks of one common memory
//! ```
//!
//! Owns the state that detection reads. Never keeps the attributes themselves, never selects a
//! route, and allocates nothing per prefix: 64 octets hold three of IPv4, 128 three of IPv6 or with
//! path identifiers.
//!
//! Tables grow by a block of 64 KiB at a time, tens of microseconds each, so that no delta waits for
//! a whole table to move. When the memory is used up, withdrawn prefixes make room, block by block;
//! when there are none, new prefixes are refused and counted, and those that are known go on being
//! followed. The end of a session gives back what its speakers' tables took.
//!
//! **Invariant:** the state depends on the deltas, their order and their times alone; its memory
//! stays within [`RibConfig::bytes_max`], and applying a prefix takes bounded time whatever
//! prefixes a neighbour chooses.

mod memory;
mod penalty;
mod slot;
mod step;
mod table;
mod verdict;

pub(crate) use penalty::Decay;
pub use penalty::Penalties;
pub use verdict::{Became, Verdict};

use edgelore_model::{self as model, Prefix, RouteDelta, SessionKey, Span, Timestamp};
use memory::Memory;
use slot::{AnyName, Narrow, State, Wide};
use std::collections::HashMap;
use std::net::IpAddr;
use step::Step;
use table::{TICK_BITS, Table};

/// Prefixes whose lines are fetched ahead.
const AHEAD: usize = 16;
/// How often idle speakers are looked for.
const AGING: Span = Span::from_millis(60_000);
/// Ticks past which all times are moved back: 26 days.
const TICKS_MAX: i64 = 1 << 31;

/// What a [`Rib`] may hold, and when it forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RibConfig {
    /// Octets of all tables at most.
    pub bytes_max: usize,
    /// Speakers' tables at most; at most 65,535.
    pub sources_max: usize,
    /// Transitions and changes further apart than this are not of one episode.
    pub quiet: Span,
    /// What faults cost and how that is forgotten (RFC 2439 §2.3).
    pub penalties: Penalties,
    /// A prefix that was withdrawn this long ago may be forgotten.
    pub keep: Span,
    /// Varies where entries lie. A secret one keeps a neighbour from choosing prefixes that crowd
    /// together; what is refused then depends on it, and nothing else does.
    pub seed: u64,
}

impl Default for RibConfig {
    fn default() -> Self {
        Self {
            bytes_max: 160 << 20,
            sources_max: 16_384,
            quiet: Span::from_millis(60_000),
            penalties: Penalties::default(),
            keep: Span::from_millis(3_600_000),
            seed: 0xa409_3822_299f_31d0,
        }
    }
}

/// What a delta did, in prefixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Announced that was not: never before, or withdrawn since, or of a session that ended since.
    pub new: u32,
    /// Announced with other attributes than before.
    pub changed: u32,
    /// Announced as before.
    pub repeated: u32,
    /// Withdrawn that was announced.
    pub withdrawn: u32,
    /// Withdrawn that was not announced as far as is known.
    pub unknown_withdrawn: u32,
    /// Announced for the first time, and refused for want of room.
    pub refused: u32,
}

impl Changes {
    /// Counts verdicts: up to 255 at a time in the octets of one word, one for each kind.
    fn of(verdicts: &[Verdict]) -> Self {
        let mut changes = Self::default();
        for some in verdicts.chunks(usize::from(u8::MAX)) {
            let of = |counts: u64, verdict: &Verdict| counts + (1 << (8 * verdict.became as u32));
            let counts = some.iter().fold(0, of).to_le_bytes();
            let count = |became: Became| u32::from(counts[became as usize]);
            changes.new += count(Became::New) + count(Became::Returned);
            changes.changed += count(Became::Changed);
            changes.repeated += count(Became::Repeated);
            changes.withdrawn += count(Became::Withdrawn);
            changes.unknown_withdrawn +=
                count(Became::WithdrawnUnheard) + count(Became::WithdrawnAgain);
            changes.refused += count(Became::Refused);
        }
        changes
    }
}

/// What is known of one prefix of one speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// It is announced; else it was withdrawn.
    pub announced: bool,
    /// The low 32 bits of the attributes' hash when it was announced last.
    pub attributes: u32,
    /// When it was announced anew or withdrawn last, or changed if it stood still before; early by
    /// two milliseconds at most.
    /// What lies more than 13 days back may count as later, but never as less than 13 days back.
    pub changed: Timestamp,
    /// When the running episode began, likewise: its first transition or change.
    pub first: Timestamp,
    /// Changes between announced and withdrawn in the running episode; at most 127.
    pub transitions: u8,
    /// The penalty at that time.
    pub penalty: u16,
}

/// What did not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RibOverflow {
    /// Prefixes refused for want of room.
    pub prefixes: u64,
    /// Deltas of speakers past the bound of sources, passed over whole.
    pub deltas: u64,
    /// Prefixes that lost their place when others that crowd around it were moved.
    pub displaced: u64,
}

/// One speaker's table.
#[derive(Debug)]
struct Source {
    key: SourceKey,
    announced: u32,
    /// The last change, in ticks.
    changed: u32,
    narrow: Table<Narrow>,
    wide: Table<Wide>,
}

/// Session, speaker, and the table that it was seen in.
pub type SourceKey = (SessionKey, IpAddr, model::Rib);

/// The state of all speakers.
#[derive(Debug)]
pub struct Rib {
    config: RibConfig,
    /// A step of the first tick: what holds of all of them.
    withdrawing: Step,
    ids: HashMap<SourceKey, usize>,
    sources: Vec<Source>,
    /// The source of the last delta: often that of the next.
    last: Option<(SourceKey, usize)>,
    /// What ticks are counted from.
    epoch: Option<Timestamp>,
    memory: Memory,
    /// When idle speakers were looked for last.
    aged: Timestamp,
    /// A source has withdrawn all since tables were given back last.
    barren: bool,
    overflow: RibOverflow,
}

impl Rib {
    /// An empty state; memory is taken as prefixes come.
    #[must_use]
    pub fn new(config: RibConfig) -> Self {
        Self {
            config,
            withdrawing: Step::withdrawing(&config),
            ids: HashMap::new(),
            sources: Vec::new(),
            last: None,
            epoch: None,
            memory: Memory::new(config.bytes_max),
            aged: Timestamp(i64::MIN),
            barren: false,
            overflow: RibOverflow::default(),
        }
    }

    /// Takes another quiet time and other penalties from now on.
    pub fn retune(&mut self, quiet: Span, penalties: Penalties) {
        (self.config.quiet, self.config.penalties) = (quiet, penalties);
        self.withdrawing = Step::withdrawing(&self.config);
    }

    /// Has the memory brought near that applying a delta will need, without waiting for it. To be
    /// called a few deltas ahead; changes nothing.
    pub fn foresee(&self, delta: &RouteDelta) {
        let Some(source) = self.known(delta) else { return };
        let source = &self.sources[source];
        for list in lists(delta) {
            for at in 0..list.0.len().min(AHEAD) {
                source.fetch(&self.memory, &name(list, at, self.config.seed));
            }
        }
    }

    /// Applies what one UPDATE moved at the time `at`: withdrawals first, as RFC 4271 §4.3 reads
    /// an UPDATE that has a prefix in both lists. Appends a verdict for each prefix, in the order
    /// of `delta.withdrawn`, then `delta.announced`.
    pub fn apply(
        &mut self,
        delta: &RouteDelta,
        at: Timestamp,
        verdicts: &mut Vec<Verdict>,
    ) -> Changes {
        let first = verdicts.len();
        let Some(source) = self.source(delta) else {
            self.overflow.deltas += 1;
            return passed_over(delta, verdicts);
        };
        let mut step = self.step(at);
        let source = &mut self.sources[source];
        source.changed = step.ticks;
        let [withdrawn, announced] = lists(delta);
        if !withdrawn.0.is_empty() {
            source.list(&mut self.memory, &step, withdrawn, verdicts);
        }
        step.attributes = Some(delta.path.map_or(0, |path| path.attributes_hash as u32));
        source.list(&mut self.memory, &step, announced, verdicts);
        let changes = Changes::of(&verdicts[first..]);
        self.overflow.prefixes += u64::from(changes.refused);
        source.announced = (source.announced + changes.new).saturating_sub(changes.withdrawn);
        self.barren |= source.announced == 0;
        if self.barren && self.memory.tight() {
            self.drop_sources(|source| source.announced == 0);
            self.barren = false;
        }
        changes
    }

    /// A session ended: all that its two speakers announced is no longer announced (RFC 4271
    /// §8.2.2), and what they announce next is a table transfer.
    pub fn session_ended(&mut self, session: SessionKey) {
        self.drop_sources(|source| source.key.0 == session);
    }

    /// Forgets speakers that announce nothing and have been quiet for [`RibConfig::keep`]; looks
    /// for them once a minute.
    pub fn age(&mut self, now: Timestamp) {
        if now - self.aged < AGING || self.sources.is_empty() {
            return;
        }
        self.aged = now;
        let step = self.step(now);
        self.drop_sources(|source| {
            source.announced == 0 && step.ticks.saturating_sub(source.changed) > step.keep
        });
    }

    /// What is known of a prefix; `path_id` is 0 without add-path.
    #[must_use]
    pub fn route(&self, source: SourceKey, prefix: Prefix, path_id: u32) -> Option<Route> {
        let source = &self.sources[*self.ids.get(&source)?];
        let state = match AnyName::new(prefix, path_id, self.config.seed) {
            AnyName::Narrow(name) => source.narrow.find(&self.memory, &name)?,
            AnyName::Wide(name) => source.wide.find(&self.memory, &name)?,
        };
        Some(self.route_of(&state))
    }

    /// Prefixes that a speaker announces now, several paths of one counted each.
    #[must_use]
    pub fn announced(&self, source: SourceKey) -> u32 {
        self.ids.get(&source).map_or(0, |&id| self.sources[id].announced)
    }

    /// Prefixes that both speakers of a session announce now, over all their tables.
    #[must_use]
    pub fn announced_on(&self, session: SessionKey) -> u64 {
        self.on(session).map(|source| u64::from(source.announced)).sum()
    }

    /// The prefixes that are announced on a session now, sorted, each once. Takes time by the
    /// session's own prefixes.
    #[must_use]
    pub fn prefixes_on(&self, session: SessionKey) -> Vec<Prefix> {
        let of = |source: &Source, to: &mut Vec<Prefix>| {
            to.extend(source.narrow.announced(&self.memory));
            to.extend(source.wide.announced(&self.memory));
        };
        let mut prefixes = Vec::new();
        self.on(session).for_each(|source| of(source, &mut prefixes));
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }

    /// Entries held, those withdrawn included while they keep their place. Walks all tables.
    #[must_use]
    pub fn entries(&self) -> usize {
        let of = |s: &Source| s.narrow.entries(&self.memory) + s.wide.entries(&self.memory);
        self.sources.iter().map(of).sum()
    }

    /// Octets of tables in use, at most [`RibConfig::bytes_max`].
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.memory.octets()
    }

    /// What did not fit so far.
    #[must_use]
    pub const fn overflow(&self) -> RibOverflow {
        RibOverflow { displaced: self.memory.displaced, ..self.overflow }
    }

    fn on(&self, session: SessionKey) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(move |source| source.key.0 == session)
    }

    fn route_of(&self, state: &State) -> Route {
        let epoch = self.epoch.unwrap_or_default();
        let time = |ticks: u32| epoch + Span(i64::from(ticks) << TICK_BITS);
        Route {
            announced: state.announced,
            attributes: state.attributes,
            changed: time(state.changed),
            first: time(state.first),
            transitions: state.transitions,
            penalty: state.penalty,
        }
    }

    /// What a step at this time has in common for all prefixes.
    fn step(&mut self, at: Timestamp) -> Step {
        let epoch = *self.epoch.get_or_insert(at);
        let mut ticks = (at - epoch).0.max(0) >> TICK_BITS;
        if ticks >= TICKS_MAX {
            self.rebase(ticks - TICKS_MAX / 2);
            ticks = TICKS_MAX / 2;
        }
        Step { ticks: ticks as u32, ..self.withdrawing }
    }

    /// Moves the epoch on by so many ticks: once in thirteen days at most, a walk over all.
    fn rebase(&mut self, moved: i64) {
        let older = u32::try_from(moved).unwrap_or(u32::MAX);
        self.epoch = self.epoch.map(|epoch| epoch + Span(moved << TICK_BITS));
        for source in &mut self.sources {
            source.changed = source.changed.saturating_sub(older);
            source.narrow.rebase(&mut self.memory, older);
            source.wide.rebase(&mut self.memory, older);
        }
    }

    /// Nearly always the source of the last delta: compared where it lies, without putting its key
    /// together.
    #[inline]
    fn known(&self, delta: &RouteDelta) -> Option<usize> {
        let RouteDelta { session, speaker, rib, .. } = delta;
        match &self.last {
            Some(((s, who, table), id)) if (s, who, table) == (session, speaker, rib) => Some(*id),
            _ => self.ids.get(&(*session, *speaker, *rib)).copied(),
        }
    }

    fn source(&mut self, delta: &RouteDelta) -> Option<usize> {
        let key = (delta.session, delta.speaker, delta.rib);
        let id = match self.known(delta) {
            Some(id) => id,
            None => {
                if self.sources.len() >= self.config.sources_max.min(usize::from(u16::MAX)) {
                    return None;
                }
                self.sources.push(Source::new(key));
                self.ids.insert(key, self.sources.len() - 1);
                self.sources.len() - 1
            }
        };
        if !matches!(self.last, Some((_, last)) if last == id) {
            self.last = Some((key, id));
        }
        Some(id)
    }

    fn drop_sources(&mut self, goes: impl Fn(&Source) -> bool) {
        let mut id = 0;
        while let Some(source) = self.sources.get_mut(id) {
            if !goes(source) {
                id += 1;
                continue;
            }
            source.narrow.release(&mut self.memory);
            source.wide.release(&mut self.memory);
            let gone = self.sources.swap_remove(id);
            self.ids.remove(&gone.key);
            if let Some(moved) = self.sources.get(id) {
                self.ids.insert(moved.key, id);
            }
            self.last = None;
        }
    }
}

impl Source {
    fn new(key: SourceKey) -> Self {
        let (narrow, wide) = (Table::default(), Table::default());
        Self { key, announced: 0, changed: 0, narrow, wide }
    }

    #[inline]
    fn fetch(&self, memory: &Memory, name: &AnyName) {
        match name {
            AnyName::Narrow(name) => self.narrow.fetch(memory, name.hash),
            AnyName::Wide(name) => self.wide.fetch(memory, name.hash),
        }
    }

    /// Applies a step to every prefix of a list, and fetches the lines of those ahead meanwhile:
    /// their memory arrives together instead of one after the other.
    fn list(
        &mut self,
        memory: &mut Memory,
        step: &Step,
        list: List<'_>,
        verdicts: &mut Vec<Verdict>,
    ) {
        verdicts.reserve(list.0.len());
        for at in 0..list.0.len() {
            if at + AHEAD < list.0.len() {
                self.fetch(memory, &name(list, at + AHEAD, step.seed));
            }
            verdicts.push(match &name(list, at, step.seed) {
                AnyName::Narrow(name) => step.apply(&mut self.narrow, memory, name),
                AnyName::Wide(name) => step.apply(&mut self.wide, memory, name),
            });
        }
    }
}

/// Prefixes with their path identifiers.
type List<'d> = (&'d [Prefix], &'d [u32]);

/// What a delta withdraws, and what it announces.
#[inline]
fn lists(delta: &RouteDelta) -> [List<'_>; 2] {
    let RouteDelta { withdrawn, announced, withdrawn_path_ids, announced_path_ids, .. } = delta;
    [(withdrawn, withdrawn_path_ids), (announced, announced_path_ids)]
}

/// The name of a list's prefix; one past its path identifiers has none. Always inlined, as
/// [`AnyName::new`].
#[inline(always)]
fn name((prefixes, path_ids): List<'_>, at: usize, seed: u64) -> AnyName {
    AnyName::new(prefixes[at], path_ids.get(at).copied().unwrap_or(0), seed)
}

/// The verdicts on what a speaker past the bound says.
fn passed_over(delta: &RouteDelta, verdicts: &mut Vec<Verdict>) -> Changes {
    let verdict = |became| Verdict { became, ..Verdict::default() };
    let (withdrawn, announced) = (delta.withdrawn.len(), delta.announced.len());
    verdicts.extend(std::iter::repeat_n(verdict(Became::WithdrawnUnheard), withdrawn));
    verdicts.extend(std::iter::repeat_n(verdict(Became::Refused), announced));
    Changes {
        unknown_withdrawn: u32::try_from(withdrawn).unwrap_or(u32::MAX),
        refused: u32::try_from(announced).unwrap_or(u32::MAX),
        ..Changes::default()
    }
}

#[cfg(test)]
mod tests;
