//! What every speaker announces now: per session, table, prefix and path identifier a hash of the
//! attributes, the time of the last change, and how often it came, went and changed lately.
//!
//! ```text
//! RouteDelta ─► source (session, speaker, table: 16 bits) ─┐
//!               prefix, path identifier                   ─┴─► segmented table ─► Changes
//! ```
//!
//! Owns the state that detection reads. Never keeps the attributes themselves, never selects a
//! route, and allocates nothing per prefix: 24 octets a slot for IPv4, 36 for IPv6.
//!
//! The table grows by splitting one segment of 4,096 slots at a time, tens of microseconds each,
//! so that no delta waits for the whole table to move. When its memory is used up, withdrawn
//! prefixes and those of ended sessions make room, segment by segment; when there are none, new
//! prefixes are refused and counted, and those that are known go on being followed.
//!
//! **Invariant:** the state depends on the deltas, their order and their times alone; its memory
//! stays within [`RibConfig::bytes_max`], and applying a prefix takes bounded time whatever
//! prefixes a neighbour chooses.

mod penalty;
mod step;
mod table;
mod verdict;

pub use penalty::Penalties;
pub use verdict::{Became, Verdict};

use crate::decode::bgp::mix;
use edgelore_model::{
    self as model, AddressFamily, Prefix, RouteDelta, SessionKey, Span, Timestamp,
};
use penalty::Decay;
use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;
use step::Step;
use table::{ANNOUNCED, Judge, Key, Name, State, TICK_BITS, Table};

/// Prefixes whose slots are read ahead together.
const AHEAD: usize = 16;

/// What a [`Rib`] may hold, and when it forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RibConfig {
    /// Octets of slots at most, both families together.
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
    #[inline]
    const fn add(&mut self, became: Became) {
        *match became {
            Became::New | Became::Returned => &mut self.new,
            Became::Changed => &mut self.changed,
            Became::Repeated => &mut self.repeated,
            Became::Withdrawn => &mut self.withdrawn,
            Became::WithdrawnUnheard | Became::WithdrawnAgain => &mut self.unknown_withdrawn,
            Became::Refused => &mut self.refused,
        } += 1;
    }
}

/// What is known of one prefix of one speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// It is announced; else it was withdrawn, or its session ended.
    pub announced: bool,
    /// The low 32 bits of the attributes' hash when it was announced last.
    pub attributes: u32,
    /// When it was announced anew, changed or withdrawn last; early by a millisecond at most. What
    /// lies more than 13 days back may count as later, but never as less than 13 days back.
    pub changed: Timestamp,
    /// Changes between announced and withdrawn in the running episode; at most 255.
    pub transitions: u8,
    /// Announcements with other attributes in the running episode; at most 255.
    pub changes: u8,
    /// The penalty when it changed last.
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
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// Counts the session's ends: what was announced in another life is not announced now.
    life: u16,
    announced: u32,
}

/// Session, speaker, and the table that it was seen in.
pub type SourceKey = (SessionKey, IpAddr, model::Rib);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ipv4Key {
    address: u32,
    path_id: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ipv6Key {
    address: [u32; 4],
    path_id: u32,
}

const KEYS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0x8cb9_2ba7_2f3d_8dd7];

impl Key for Ipv4Key {
    #[inline]
    fn hash(&self, seed: u64) -> u64 {
        let word = u64::from(self.address) << 32 | u64::from(self.path_id);
        mix(mix(word ^ KEYS[0], seed ^ KEYS[1]) ^ word, KEYS[2])
    }
}

impl Key for Ipv6Key {
    #[inline]
    fn hash(&self, seed: u64) -> u64 {
        let [a, b, c, d] = self.address.map(u64::from);
        let high = mix(a << 32 ^ b ^ KEYS[0], seed ^ KEYS[1]);
        mix(high ^ c << 32 ^ d, KEYS[2] ^ u64::from(self.path_id)) ^ high
    }
}

/// Whom an entry belongs to decides whether it may go.
struct Sources<'s> {
    all: &'s [Source],
    ends: u64,
    keep: Span,
    now: Timestamp,
}

impl Judge for Sources<'_> {
    fn dead(&self, state: &State) -> bool {
        self.all.get(usize::from(state.source)).is_none_or(|source| source.life != state.life)
    }

    fn stale(&self, state: &State, epoch: Timestamp) -> bool {
        self.now - changed_at(state, epoch) > self.keep
    }

    fn ends(&self) -> u64 {
        self.ends
    }
}

fn changed_at(state: &State, epoch: Timestamp) -> Timestamp {
    epoch + Span(i64::from(state.changed) << TICK_BITS)
}

/// The state of all speakers.
#[derive(Debug)]
pub struct Rib {
    config: RibConfig,
    ids: HashMap<SourceKey, u16>,
    sources: Vec<Source>,
    /// The source of the last delta: nearly always that of the next.
    last: Option<(SourceKey, u16)>,
    ends: u64,
    ipv4: Table<Ipv4Key>,
    ipv6: Table<Ipv6Key>,
    overflow: RibOverflow,
}

impl Rib {
    /// An empty state; memory is taken as prefixes come.
    #[must_use]
    pub fn new(config: RibConfig) -> Self {
        Self {
            config,
            ids: HashMap::new(),
            sources: Vec::new(),
            last: None,
            ends: 0,
            ipv4: Table::new(config.seed),
            ipv6: Table::new(config.seed),
            overflow: RibOverflow::default(),
        }
    }

    /// Takes another quiet time and other penalties from now on.
    pub fn retune(&mut self, quiet: Span, penalties: Penalties) {
        (self.config.quiet, self.config.penalties) = (quiet, penalties);
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
        let Some(source) = self.source((delta.session, delta.speaker, delta.rib)) else {
            self.overflow.deltas += 1;
            return passed_over(delta, verdicts);
        };
        let life = self.sources[usize::from(source)].life;
        let (quiet, decay) = (self.config.quiet, Decay::new(self.config.penalties));
        let step = Step { at, source, life, quiet, decay, attributes: None };
        self.list(step, &delta.withdrawn, &delta.withdrawn_path_ids, verdicts);
        let attributes = delta.path.map_or(0, |path| path.attributes_hash as u32);
        let step = Step { attributes: Some(attributes), ..step };
        self.list(step, &delta.announced, &delta.announced_path_ids, verdicts);
        let mut changes = Changes::default();
        verdicts[first..].iter().for_each(|verdict| changes.add(verdict.became));
        self.overflow.prefixes += u64::from(changes.refused);
        let known = &mut self.sources[usize::from(source)];
        known.announced = (known.announced + changes.new).saturating_sub(changes.withdrawn);
        changes
    }

    /// A session ended: all that its two speakers announced is no longer announced (RFC 4271
    /// §8.2.2). Takes time by the number of sources, not of prefixes.
    pub fn session_ended(&mut self, session: SessionKey) {
        for (key, id) in &self.ids {
            if key.0 == session {
                let source = &mut self.sources[usize::from(*id)];
                *source = Source { life: source.life.wrapping_add(1), announced: 0 };
                self.ends += 1;
            }
        }
    }

    /// What is known of a prefix; `path_id` is 0 without add-path.
    #[must_use]
    pub fn route(&self, source: SourceKey, prefix: Prefix, path_id: u32) -> Option<Route> {
        let source = *self.ids.get(&source)?;
        let (state, epoch) = match prefix.family() {
            AddressFamily::Ipv4 => {
                let name = self.ipv4_name(prefix, path_id, source);
                self.ipv4.at(self.ipv4.find(&name)?)
            }
            AddressFamily::Ipv6 => {
                let name = self.ipv6_name(prefix, path_id, source);
                self.ipv6.at(self.ipv6.find(&name)?)
            }
        };
        let alive = state.life == self.sources[usize::from(source)].life;
        Some(Route {
            announced: alive && state.flags & ANNOUNCED != 0,
            attributes: state.attributes,
            changed: changed_at(state, epoch),
            transitions: state.transitions,
            changes: state.changes,
            penalty: state.penalty,
        })
    }

    /// Prefixes that a speaker announces now, several paths of one counted each.
    #[must_use]
    pub fn announced(&self, source: SourceKey) -> u32 {
        self.ids.get(&source).map_or(0, |&id| self.sources[usize::from(id)].announced)
    }

    /// Prefixes that both speakers of a session announce now, over all their tables.
    #[must_use]
    pub fn announced_on(&self, session: SessionKey) -> u64 {
        let sources = self.ids.iter().filter(|(key, _)| key.0 == session);
        sources.map(|(_, &id)| u64::from(self.sources[usize::from(id)].announced)).sum()
    }

    /// The prefixes that are announced on a session now, sorted, each once.
    #[must_use]
    pub fn prefixes_on(&self, session: SessionKey) -> Vec<Prefix> {
        let mut lives = vec![None; self.sources.len()];
        for (_, &id) in self.ids.iter().filter(|(key, _)| key.0 == session) {
            lives[usize::from(id)] = Some(self.sources[usize::from(id)].life);
        }
        let alive = |state: &State| {
            state.flags & ANNOUNCED != 0
                && lives.get(usize::from(state.source)) == Some(&Some(state.life))
        };
        let ipv4 = self
            .ipv4
            .slots()
            .filter(|slot| alive(&slot.state))
            .map(|slot| (IpAddr::V4(slot.key.address.into()), slot.state.length));
        let ipv6 = self.ipv6.slots().filter(|slot| alive(&slot.state)).map(|slot| {
            let bits = slot.key.address.iter().fold(0, |bits, &word| bits << 32 | u128::from(word));
            (IpAddr::V6(bits.into()), slot.state.length)
        });
        let both =
            ipv4.chain(ipv6).filter_map(|(address, length)| Prefix::new(address, length).ok());
        let mut prefixes: Vec<Prefix> = both.collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }

    /// Entries held, those withdrawn or of ended sessions included while they keep their place.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.ipv4.entries() + self.ipv6.entries()
    }

    /// Octets of slots in use, at most [`RibConfig::bytes_max`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.ipv4.segments() * Table::<Ipv4Key>::segment_bytes()
            + self.ipv6.segments() * Table::<Ipv6Key>::segment_bytes()
    }

    /// What did not fit so far.
    #[must_use]
    pub const fn overflow(&self) -> RibOverflow {
        let displaced = self.ipv4.displaced() + self.ipv6.displaced();
        RibOverflow { displaced, ..self.overflow }
    }

    fn source(&mut self, key: SourceKey) -> Option<u16> {
        if let Some((last, id)) = self.last
            && last == key
        {
            return Some(id);
        }
        let known = self.ids.get(&key).copied();
        let id = match known {
            Some(id) => id,
            None => {
                let id = u16::try_from(self.sources.len()).ok()?;
                if self.sources.len() >= self.config.sources_max || id == u16::MAX {
                    return None;
                }
                self.sources.push(Source::default());
                self.ids.insert(key, id);
                id
            }
        };
        self.last = Some((key, id));
        Some(id)
    }

    #[inline]
    fn ipv4_name(&self, prefix: Prefix, path_id: u32, source: u16) -> Name<Ipv4Key> {
        let address = match prefix.address() {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(_) => 0,
        };
        Name::new(Ipv4Key { address, path_id }, source, prefix.length(), self.config.seed)
    }

    #[inline]
    fn ipv6_name(&self, prefix: Prefix, path_id: u32, source: u16) -> Name<Ipv6Key> {
        let bits = match prefix.address() {
            IpAddr::V6(address) => address.to_bits(),
            IpAddr::V4(_) => 0,
        };
        let address = [96, 64, 32, 0].map(|shift| (bits >> shift) as u32);
        Name::new(Ipv6Key { address, path_id }, source, prefix.length(), self.config.seed)
    }

    /// Applies a step to every prefix of a list. The slots of several are read before the first
    /// is changed: their memory arrives together instead of one after the other.
    fn list(
        &mut self,
        step: Step,
        prefixes: &[Prefix],
        path_ids: &[u32],
        verdicts: &mut Vec<Verdict>,
    ) {
        for (block, prefixes) in prefixes.chunks(AHEAD).enumerate() {
            let path_id = |at: usize| path_ids.get(block * AHEAD + at).copied().unwrap_or(0);
            let mut names = [Name::<Ipv4Key>::default(); AHEAD];
            let mut touched = 0;
            for (at, (prefix, name)) in prefixes.iter().zip(&mut names).enumerate() {
                if prefix.family() == AddressFamily::Ipv4 {
                    *name = self.ipv4_name(*prefix, path_id(at), step.source);
                    touched |= self.ipv4.touch(name.hash);
                }
            }
            black_box(touched);
            for (at, (prefix, name)) in prefixes.iter().zip(&names).enumerate() {
                verdicts.push(match prefix.family() {
                    AddressFamily::Ipv4 => self.ipv4_step(step, name),
                    AddressFamily::Ipv6 => {
                        let name = self.ipv6_name(*prefix, path_id(at), step.source);
                        self.ipv6_step(step, &name)
                    }
                });
            }
        }
    }

    #[inline]
    fn ipv4_step(&mut self, step: Step, name: &Name<Ipv4Key>) -> Verdict {
        let left = self.segments_left(Table::<Ipv4Key>::segment_bytes());
        let judge = judge(&self.sources, self.ends, &self.config, step.at);
        step.apply(&mut self.ipv4, name, &judge, left)
    }

    #[inline]
    fn ipv6_step(&mut self, step: Step, name: &Name<Ipv6Key>) -> Verdict {
        let left = self.segments_left(Table::<Ipv6Key>::segment_bytes());
        let judge = judge(&self.sources, self.ends, &self.config, step.at);
        step.apply(&mut self.ipv6, name, &judge, left)
    }

    fn segments_left(&self, octets: usize) -> usize {
        self.config.bytes_max.saturating_sub(self.bytes()) / octets
    }
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

fn judge<'s>(all: &'s [Source], ends: u64, config: &RibConfig, now: Timestamp) -> Sources<'s> {
    Sources { all, ends, keep: config.keep, now }
}

#[cfg(test)]
mod tests;
