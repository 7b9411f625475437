//! Follows one of the kernel's tables by its announcements and by regular dumps.
//!
//! Some tables announce only part of what happens to them: the statistics of queues change without
//! a word, a device takes its queues along, and a neighbour whose address is being resolved is
//! first announced when that has succeeded or failed. So the table is dumped at an interval as
//! well, and whatever differs from what was known is emitted.
//!
//! A dump and the messages that arrive during it are merged as follows: for everything that a
//! message mentioned during the dump, the messages decide; for the rest, the dump.
//!
//! **Invariant:** signals are emitted on change only; dumps take at most a tenth of one core,
//! however large the table and however short the interval; after an overrun (ENOBUFS) the next dump
//! makes good what was lost, and until then the loss is counted and told.

use super::NetlinkError;
use super::message::{self, AF_UNSPEC, Message};
use super::socket::{Query, RouteSocket};
use super::subscription::{Heard, Subscription};
use crate::Clock;
use edgelore_model::{Batch, LossReason, Signal, SignalKind, Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Signals that one read hands over at most.
const SIGNALS_PER_READ_MAX: usize = 16_384;
/// Receive buffer for answers, in octets at least.
const ANSWER_BUFFER_OCTETS_MIN: usize = 1 << 20;
/// Time between the end of a dump and the start of the next, in durations of the first.
const DUMP_PAUSE_FACTOR: i64 = 9;

/// How to follow a table, and how much of it to remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableConfig {
    /// Stamps the signals. Sources whose timestamps are compared share one clock.
    pub clock: Clock,
    /// Time between two dumps, 10 ms to 10 s.
    pub interval: Duration,
    /// Receive buffer for announcements, in octets. One takes about 1 KiB of it until it is read.
    pub receive_buffer_octets: usize,
    /// Entries remembered (about 200 octets each); further ones are counted, not emitted.
    pub entries_max: usize,
}

impl TableConfig {
    /// For queues: samples each 100 ms, remembers 4,096 qdiscs.
    #[must_use]
    pub const fn queues(clock: Clock) -> Self {
        Self {
            clock,
            interval: Duration::from_millis(100),
            receive_buffer_octets: 1 << 20,
            entries_max: 4_096,
        }
    }

    /// For neighbours: samples each 500 ms, remembers 65,536 neighbours.
    #[must_use]
    pub const fn neighbours(clock: Clock) -> Self {
        Self {
            clock,
            interval: Duration::from_millis(500),
            receive_buffer_octets: 4 << 20,
            entries_max: 65_536,
        }
    }
}

/// What happened in a source that follows a table, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounters {
    /// Messages read from the multicast group.
    pub messages: u64,
    /// Signals emitted, losses not included.
    pub changes: u64,
    /// Messages that do not decode; the table is dumped after one.
    pub undecodable: u64,
    /// Times that the kernel found the receive buffer full.
    pub overruns: u64,
    /// Messages that the kernel dropped in those times.
    pub lost: u64,
    /// Times that the table was dumped.
    pub dumps: u64,
    /// Dumps that changes interrupted again and again: nothing is taken for gone because of one.
    pub dumps_inconsistent: u64,
    /// Entries not stored because `entries_max` was reached, each time that they were seen.
    pub overflow: u64,
}

/// A table of the kernel.
pub(super) trait Table: Debug {
    /// What tells entries apart.
    type Key: Copy + Ord + Debug;
    /// What is known of an entry that exists.
    type State: Clone + PartialEq + Debug;
    /// The multicast group (`RTNLGRP_*`), and how joining it is named in an error.
    const GROUP: (u32, &'static str);
    /// The dump request, and its name.
    const REQUEST: (u16, &'static str);

    /// The entry that a message is about, and whether it exists; `None` for other messages.
    fn entry(message: Message) -> Option<(Self::Key, Self::State, bool)>;

    /// Completes a state by what was known of the same entry before.
    fn follow(_before: &Self::State, _now: &mut Self::State) {}

    /// The link and the content of a signal.
    /// What it says came about no earlier than `not_before`.
    fn signal(
        key: Self::Key,
        state: Self::State,
        present: bool,
        not_before: Timestamp,
    ) -> (u32, SignalKind);
}

/// The entries of a table.
type Entries<T> = BTreeMap<<T as Table>::Key, <T as Table>::State>;

/// What entries are known, and the signals that are not handed over yet.
#[derive(Debug)]
struct Known<T: Table> {
    entries: Entries<T>,
    entries_max: usize,
    outbox: VecDeque<Signal>,
    counters: TableCounters,
    /// When the last dump was asked for whose answer is in `entries`: what differs is newer.
    as_of: Timestamp,
}

impl<T: Table> Known<T> {
    fn set(&mut self, at: Timestamp, key: T::Key, mut state: T::State) {
        let before = self.entries.get(&key);
        if let Some(before) = before {
            T::follow(before, &mut state);
            if *before == state {
                return;
            }
        } else if self.entries.len() >= self.entries_max {
            self.counters.overflow += 1;
            return;
        }
        self.entries.insert(key, state.clone());
        self.emit(at, key, state, true);
    }

    /// The last state is that of the removal's announcement, if there was one.
    fn remove(&mut self, at: Timestamp, key: T::Key, last: Option<T::State>) {
        // Nothing is said of a removal that was known already.
        let Some(before) = self.entries.remove(&key) else { return };
        let state = last.map_or_else(
            || before.clone(),
            |mut last| {
                T::follow(&before, &mut last);
                last
            },
        );
        self.emit(at, key, state, false);
    }

    fn emit(&mut self, at: Timestamp, key: T::Key, state: T::State, present: bool) {
        self.counters.changes += 1;
        let (link, kind) = T::signal(key, state, present, self.as_of.min(at));
        self.outbox.push_back(Signal { at, link, kind });
    }

    fn lose(&mut self, at: Timestamp, count: u64) {
        self.counters.overruns += 1;
        self.counters.lost += count;
        let kind = SignalKind::Lost { reason: LossReason::NetlinkOverrun, count };
        self.outbox.push_back(Signal { at, link: 0, kind });
    }
}

/// An announced entry, and whether it exists.
type Announced<T> = (Timestamp, (<T as Table>::Key, <T as Table>::State, bool));

/// A source that follows one table. It starts with a signal for each entry.
#[derive(Debug)]
#[expect(private_bounds, reason = "which tables there are, this crate alone says")]
pub struct TableSource<T: Table> {
    clock: Clock,
    interval: Span,
    events: Subscription,
    requests: RouteSocket,
    known: Known<T>,
    /// The next dump is due then.
    dump_at: Timestamp,
    /// And not made before this, even after a loss.
    dump_not_before: Timestamp,
}

#[expect(private_bounds, reason = "which tables there are, this crate alone says")]
impl<T: Table> TableSource<T> {
    /// Joins the multicast group and reads the present table.
    ///
    /// # Errors
    /// When the interval is out of bounds, a socket call fails or the kernel refuses the dump.
    pub fn open(config: TableConfig) -> Result<Self, NetlinkError> {
        let allowed = Duration::from_millis(10)..=Duration::from_secs(10);
        if !allowed.contains(&config.interval) {
            return Err(NetlinkError::TableInterval(config.interval));
        }
        let mut events = Subscription::open(config.clock, config.receive_buffer_octets)?;
        let (group, operation) = T::GROUP;
        events.join(group, operation, true)?;
        let requests = RouteSocket::open()?;
        requests.set_receive_buffer(config.receive_buffer_octets.max(ANSWER_BUFFER_OCTETS_MIN))?;
        let now = config.clock.now();
        let mut source = Self {
            clock: config.clock,
            interval: Span(i64::try_from(config.interval.as_nanos()).unwrap_or(i64::MAX)),
            events,
            requests,
            known: Known {
                entries: BTreeMap::new(),
                entries_max: config.entries_max,
                outbox: VecDeque::new(),
                counters: TableCounters::default(),
                as_of: now,
            },
            dump_at: now,
            dump_not_before: now,
        };
        source.dump()?;
        Ok(source)
    }

    /// For `epoll`, level-triggered; readable when something was announced. Samples are due
    /// without it: read at least once an interval.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> TableCounters {
        self.known.counters
    }

    /// Waits for an announcement or the next sample, but at most `timeout`; a dump that is due may
    /// add to that. Appends up to 16,384 signals to `batch` and returns how many.
    ///
    /// # Errors
    /// When a socket call fails or the dump is refused; the next sample makes up for it.
    pub fn read(&mut self, timeout: Duration, batch: &mut Batch) -> Result<usize, NetlinkError> {
        if self.known.outbox.is_empty() {
            let left = (self.due() - self.clock.now()).0.max(0);
            self.events.wait(timeout.min(Duration::from_nanos(left.unsigned_abs())))?;
            let mut announced = Vec::new();
            self.receive(&mut announced)?;
            self.apply(announced);
            if self.clock.now() >= self.due() {
                self.dump()?;
            }
        }
        let outbox = &mut self.known.outbox;
        let count = outbox.len().min(SIGNALS_PER_READ_MAX);
        batch.signals.extend(outbox.drain(..count));
        Ok(count)
    }

    fn due(&self) -> Timestamp {
        self.dump_at.max(self.dump_not_before)
    }

    fn receive(&mut self, announced: &mut Vec<Announced<T>>) -> Result<(), NetlinkError> {
        let Self { events, known, dump_at, .. } = self;
        events.receive(&mut |at, heard| match heard {
            Heard::Lost(count) => {
                known.lose(at, count);
                *dump_at = at;
            }
            Heard::Undecodable => {
                known.counters.undecodable += 1;
                *dump_at = at;
            }
            Heard::Message(header, payload) => {
                known.counters.messages += 1;
                match message::read(header, payload) {
                    Ok(message) => announced.extend(T::entry(message).map(|entry| (at, entry))),
                    Err(_) => {
                        known.counters.undecodable += 1;
                        *dump_at = at;
                    }
                }
            }
        })?;
        Ok(())
    }

    fn apply(&mut self, announced: Vec<Announced<T>>) {
        for (at, (key, state, present)) in announced {
            if present {
                self.known.set(at, key, state);
            } else {
                self.known.remove(at, key, Some(state));
            }
        }
    }

    /// Reads the whole table and emits what differs from what was known.
    fn dump(&mut self) -> Result<(), NetlinkError> {
        let started = self.clock.now();
        self.known.counters.dumps += 1;
        // A dump that fails is tried again at the next interval, not at once.
        self.dump_at = started + self.interval;
        let (consistent, dump) = self.ask()?;
        let at = self.clock.now();
        self.dump_not_before = at + Span((at - started).0.saturating_mul(DUMP_PAUSE_FACTOR));
        self.known.counters.dumps_inconsistent += u64::from(!consistent);
        let mut announced = Vec::new();
        self.receive(&mut announced)?;
        let touched: BTreeSet<T::Key> = announced.iter().map(|(_, (key, ..))| *key).collect();
        if consistent {
            let gone = |key: &&T::Key| !dump.contains_key(*key) && !touched.contains(*key);
            let gone: Vec<T::Key> = self.known.entries.keys().filter(gone).copied().collect();
            gone.into_iter().for_each(|key| self.known.remove(at, key, None));
        }
        for (key, state) in dump {
            if !touched.contains(&key) {
                self.known.set(at, key, state);
            }
        }
        self.apply(announced);
        if consistent {
            self.known.as_of = started;
        }
        Ok(())
    }

    /// The table as the kernel answers, and whether the answer is consistent.
    fn ask(&mut self) -> Result<(bool, Entries<T>), NetlinkError> {
        let (kind, name) = T::REQUEST;
        let query = Query { kind, name, family: AF_UNSPEC, attribute: None };
        let mut dump = BTreeMap::new();
        let consistent = self.requests.dump(
            &query,
            &mut (&mut dump, &mut self.known),
            |(dump, _)| dump.clear(),
            |(dump, known), header, payload| match message::read(header, payload).map(T::entry) {
                Ok(Some((key, state, true))) => {
                    // What is known must not pass for gone because there is too much of it.
                    if dump.len() < known.entries_max || known.entries.contains_key(&key) {
                        dump.insert(key, state);
                    } else {
                        known.counters.overflow += 1;
                    }
                }
                Ok(_) => {}
                Err(_) => known.counters.undecodable += 1,
            },
        )?;
        Ok((consistent, dump))
    }
}
