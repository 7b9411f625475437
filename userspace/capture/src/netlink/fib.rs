//! Follows the links and the forwarding table of a network namespace.
//!
//! The kernel announces most changes by multicast, but not all of them. What this kernel keeps to
//! itself (each case is reproduced by a test):
//! - A link goes administratively down: its IPv4 routes are flushed; legs of IPv4 and IPv6 multipath
//!   routes die, and revive when it comes up.
//! - A link goes down or only loses its carrier: next-hop objects on it are removed, groups shrink,
//!   and the routes of removed objects are flushed.
//! - A next-hop object is removed on request: its routes are flushed.
//!
//! So after such an event, and after an overrun (ENOBUFS), the source reads the whole state anew and
//! emits what differs. An event of a link over which no route and no next-hop object leads calls for
//! nothing, nor does a link that comes up while no route has a dead leg over it. A dump and the messages that arrive during it are merged as follows: links
//! are dumped first, which waits for the kernel's RTNL lock and so for the end of the change that
//! is under way; for everything that a message mentioned during the dump, the messages decide; for
//! the rest, the dump.
//!
//! **Invariant:** a change's `not_before` is a moment at which the socket had been read empty and
//! after which the change was made (or, for what the kernel kept to itself, after which the event
//! behind it was announced).

use super::NetlinkError;
use super::message::{
    self, AF_INET, AF_INET6, AF_UNSPEC, LinkMessage, Message, NextHopObject, RTA_TABLE,
    RTM_GETLINK, RTM_GETNEXTHOP, RTM_GETROUTE,
};
use super::socket::{Query, RouteSocket};
use super::subscription::{Heard, Subscription};
use super::table::{Bounds, Change, FibTable, Key, RouteDump};
use crate::Clock;
use edgelore_model::{
    Batch, FibAction, FibChange, LinkChange, LossReason, OperState, Signal, SignalKind, Span,
    Timestamp,
};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// The routing table that forwards unless a rule says otherwise (`RT_TABLE_MAIN`).
pub const TABLE_MAIN: u32 = 254;

/// Signals that one [`FibSource::read`] hands over at most.
const SIGNALS_PER_READ_MAX: usize = 16_384;
/// Links whose state is remembered; changes of further ones are emitted without comparison.
const LINKS_MAX: usize = 65_536;
/// Time between two dumps, in durations of the first: dumps take at most a fifth of one core however
/// fast links flap. The first dump after a quiet time is made at once.
const DUMP_PAUSE_FACTOR: i64 = 4;

/// `RTNLGRP_*`, each with whether this source cannot work without it.
const GROUPS: [(u32, &str, bool); 4] = [
    (1, "join group LINK", true),
    (7, "join group IPV4_ROUTE", true),
    (11, "join group IPV6_ROUTE", true),
    // Since kernel 5.3.
    (32, "join group NEXTHOP", false),
];

/// What to follow, and how much of it to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibConfig {
    /// Stamps the signals. Sources whose timestamps are compared share one clock.
    pub clock: Clock,
    /// Routing tables to follow.
    pub tables: Vec<u32>,
    /// Receive buffer in octets. One route change takes about 1 KiB of it until it is read.
    pub receive_buffer_octets: usize,
    /// Prefixes remembered (about 150 octets each). Routes of further ones are counted, not emitted.
    pub prefixes_max: usize,
    /// Next-hop objects remembered. Routes over further ones count as unusable.
    pub next_hop_objects_max: usize,
}

impl Default for FibConfig {
    /// The main table, 8 MiB, 2,097,152 prefixes, 65,536 next-hop objects.
    fn default() -> Self {
        Self {
            clock: Clock::new(),
            tables: vec![TABLE_MAIN],
            receive_buffer_octets: 8 << 20,
            prefixes_max: 1 << 21,
            next_hop_objects_max: 65_536,
        }
    }
}

/// What happened in a [`FibSource`] since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FibCounters {
    /// Messages read from the multicast groups.
    pub messages: u64,
    /// Fib signals emitted.
    pub changes: u64,
    /// Route messages after which the same held as before, such as an identical replacement.
    pub unchanged: u64,
    /// Messages about what is not followed: other tables, policy routes, bridge ports.
    pub ignored: u64,
    /// Messages that do not decode; the state is read anew after one.
    pub undecodable: u64,
    /// Times that the kernel found the receive buffer full.
    pub overruns: u64,
    /// Messages that the kernel dropped in those times.
    pub lost: u64,
    /// Times that the state was read anew.
    pub dumps: u64,
    /// Dumps that changes interrupted again and again; each is repeated at the next read.
    pub dumps_inconsistent: u64,
    /// Fib signals that only a dump brought to light.
    pub silent_changes: u64,
    /// Routes not stored because `prefixes_max` was reached.
    pub prefixes_overflow: u64,
    /// Next-hop objects not stored because `next_hop_objects_max` was reached.
    pub next_hop_objects_overflow: u64,
    /// Links not remembered because of their bound.
    pub links_overflow: u64,
}

/// The source of [`SignalKind::Link`] and [`SignalKind::Fib`].
///
/// Starts with the present state: a `Link` for each link, a `Fib` with [`FibAction::Present`] for
/// each prefix.
#[derive(Debug)]
pub struct FibSource {
    config: FibConfig,
    events: Subscription,
    requests: RouteSocket,
    table: FibTable,
    links: HashMap<u32, KnownLink>,
    outbox: VecDeque<Signal>,
    counters: FibCounters,
    /// The socket was empty then, and everything before is in `table`.
    emptied_at: Timestamp,
    /// Only a dump can tell what is true.
    stale: bool,
    /// No dump before this.
    dump_again_at: Timestamp,
}

impl FibSource {
    /// Joins the multicast groups and reads the present state.
    ///
    /// # Errors
    /// When a socket call fails or the kernel refuses a dump.
    pub fn open(config: FibConfig) -> Result<Self, NetlinkError> {
        let mut events = Subscription::open(config.clock, config.receive_buffer_octets)?;
        for (group, operation, required) in GROUPS {
            events.join(group, operation, required)?;
        }
        let requests = RouteSocket::open()?;
        requests.set_receive_buffer(config.receive_buffer_octets.max(1 << 20))?;
        let bounds =
            Bounds { prefixes_max: config.prefixes_max, objects_max: config.next_hop_objects_max };
        let mut source = Self {
            emptied_at: config.clock.now(),
            dump_again_at: config.clock.now(),
            config,
            events,
            requests,
            table: FibTable::new(bounds),
            links: HashMap::new(),
            outbox: VecDeque::new(),
            counters: FibCounters::default(),
            stale: false,
        };
        let since = source.emptied_at;
        source.synchronise(FibAction::Present, since)?;
        Ok(source)
    }

    /// For `epoll`, level-triggered. Signals may be left when it is not readable: after it was,
    /// call [`read`](Self::read) until it returns 0 (and once after [`open`](Self::open)).
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> FibCounters {
        let overflow = self.table.overflow();
        FibCounters {
            prefixes_overflow: overflow.prefixes,
            next_hop_objects_overflow: self.counters.next_hop_objects_overflow + overflow.objects,
            ..self.counters
        }
    }

    /// Prefixes in the followed tables.
    #[must_use]
    pub fn prefixes(&self) -> usize {
        self.table.len()
    }

    /// Appends up to 16,384 signals to `batch` and returns how many. Blocks at most `timeout` for
    /// something to happen; a dump that an event calls for may add to that.
    ///
    /// # Errors
    /// When a socket call fails or a dump is refused. The source stays usable: the next read makes
    /// up for it by a dump.
    pub fn read(&mut self, timeout: Duration, batch: &mut Batch) -> Result<usize, NetlinkError> {
        if self.outbox.is_empty() {
            self.events.wait(timeout.min(self.until_dump()))?;
            self.catch_up()?;
        }
        let count = self.outbox.len().min(SIGNALS_PER_READ_MAX);
        batch.signals.extend(self.outbox.drain(..count));
        Ok(count)
    }

    /// Everything that the kernel had said when [`read`](Self::read) last returned is in the signals
    /// handed over, and no dump is due.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.outbox.is_empty() && !self.stale
    }

    /// Time until the dump that is due may be made.
    fn until_dump(&self) -> Duration {
        if !self.stale {
            return Duration::MAX;
        }
        let left = (self.dump_again_at - self.config.clock.now()).0.max(0);
        Duration::from_nanos(left.unsigned_abs())
    }

    /// Reads the socket empty (or as far as the bound allows), then dumps if need be.
    fn catch_up(&mut self) -> Result<(), NetlinkError> {
        let since = self.emptied_at;
        let mut messages = Vec::new();
        let emptied = self.receive(&mut messages)?;
        for (at, message) in messages {
            self.apply(at, message, since);
        }
        let Some(emptied) = emptied else { return Ok(()) };
        if self.stale && self.until_dump().is_zero() {
            self.synchronise(FibAction::Set, since)?;
        }
        // A dump that is still due may bring changes from before: they keep the earlier bound.
        if !self.stale {
            self.emptied_at = self.emptied_at.max(emptied);
        }
        Ok(())
    }

    /// Receives what is pending. Returns a moment at which nothing was, or `None` when the bound
    /// was reached first.
    fn receive(
        &mut self,
        messages: &mut Vec<(Timestamp, Message)>,
    ) -> Result<Option<Timestamp>, NetlinkError> {
        let Self { events, counters, config, stale, outbox, .. } = self;
        events.receive(&mut |at, heard| {
            let (header, payload) = match heard {
                Heard::Message(header, payload) => (header, payload),
                Heard::Undecodable => {
                    counters.undecodable += 1;
                    *stale = true;
                    return;
                }
                Heard::Lost(count) => {
                    counters.overruns += 1;
                    counters.lost += count;
                    *stale = true;
                    let kind = SignalKind::Lost { reason: LossReason::NetlinkOverrun, count };
                    return outbox.push_back(Signal { at, link: 0, kind });
                }
            };
            counters.messages += 1;
            match message::read(header, payload) {
                Ok(Message::Route(route)) if !config.tables.contains(&route.table) => {
                    counters.ignored += 1;
                }
                Ok(message @ (Message::Link(_) | Message::Route(_) | Message::NextHop(_))) => {
                    messages.push((at, message));
                }
                Ok(_) => counters.ignored += 1,
                Err(_) => {
                    counters.undecodable += 1;
                    *stale = true;
                }
            }
        })
    }

    fn apply(&mut self, at: Timestamp, message: Message, since: Timestamp) {
        match message {
            Message::Link(link) => self.apply_link(at, link),
            Message::Route(route) => {
                let applied = self.table.apply_route(route);
                self.stale |= applied.doubtful;
                match applied.change {
                    Some(change) => self.emit(at, change, FibAction::Set, since),
                    None => self.counters.unchanged += 1,
                }
            }
            Message::NextHop(next_hop) => {
                let removed = next_hop.object.is_none();
                let (changes, used) = self.table.apply_next_hop(next_hop);
                self.stale |= removed && used;
                for change in changes {
                    self.emit(at, change, FibAction::Set, since);
                }
            }
            _ => {}
        }
    }

    /// An announcement: what the kernel did to routes and next hops because of it is done by now,
    /// or will be before a dump can begin.
    fn apply_link(&mut self, at: Timestamp, message: LinkMessage) {
        let state = LinkState::of(&message.change);
        let announced = self.links.get(&message.index).map(|known| known.announced);
        // A link that is new has no routes that could have changed with it.
        let changed = announced.is_some_and(|announced| announced != Some(state));
        self.stale |= changed && self.matters(message.index, state);
        self.note_link(at, message, Some(state));
    }

    /// Whether the kernel may have changed routes over a link that got this state.
    fn matters(&self, link: u32, state: LinkState) -> bool {
        let up = state.admin_up && state.carrier;
        self.table.dead_over(link) || (!up && self.table.leads_over(link))
    }

    /// Remembers a link and emits it if it differs from what was known.
    fn note_link(&mut self, at: Timestamp, message: LinkMessage, announced: Option<LinkState>) {
        let LinkMessage { index, change } = message;
        let known = self.links.get_mut(&index);
        let (is_known, is_same) =
            (known.is_some(), known.as_ref().is_some_and(|k| k.link == change));
        if !change.present {
            self.links.remove(&index);
        } else if let Some(known) = known {
            known.link = change.clone();
            known.announced = announced.or(known.announced);
        } else if self.links.len() < LINKS_MAX {
            self.links.insert(index, KnownLink { link: change.clone(), announced });
        } else {
            self.counters.links_overflow += 1;
            self.stale = true;
        }
        // Nothing is said of a removal that was known already.
        if !is_same && (is_known || change.present) {
            self.outbox.push_back(Signal { at, link: index, kind: SignalKind::Link(change) });
        }
    }

    fn emit(&mut self, at: Timestamp, change: Change, action: FibAction, since: Timestamp) {
        self.counters.changes += 1;
        let action = if change.holds.is_some() { action } else { FibAction::Deleted };
        self.outbox.push_back(Signal {
            at,
            link: 0,
            kind: SignalKind::Fib(FibChange {
                prefix: change.key.prefix,
                table: change.key.table,
                action,
                next_hops: change.holds.map(|hops| hops.to_vec()).unwrap_or_default(),
                not_before: since,
            }),
        });
    }

    /// Reads the whole state anew and emits what differs from what was known, as `action`.
    fn synchronise(&mut self, action: FibAction, since: Timestamp) -> Result<(), NetlinkError> {
        self.counters.dumps += 1;
        self.stale = true;
        let started = self.config.clock.now();
        let dump = self.dump()?;
        let at = self.config.clock.now();
        self.dump_again_at = at + Span((at - started).0.saturating_mul(DUMP_PAUSE_FACTOR));
        // From here on, what calls for another dump is what arrived during this one.
        self.stale = !dump.consistent;
        self.counters.dumps_inconsistent += u64::from(!dump.consistent);
        let mut messages = Vec::new();
        let emptied = self.receive(&mut messages)?;
        let touched = Touched::of(&messages);
        self.apply_link_dump(at, dump.links, &touched.links);
        let mut changes = self.table.apply_object_dump(dump.objects, &touched.objects);
        self.count_silent(&changes, action);
        changes.drain(..).for_each(|change| self.emit(at, change, action, since));
        for (at, message) in messages {
            self.apply(at, message, since);
        }
        let changes = self.table.apply_route_dump(dump.routes, &touched.keys);
        self.count_silent(&changes, action);
        // The routes of a link that changed meanwhile may have been dumped before it did.
        let meanwhile = |link: &u32| self.table.leads_over(*link) || self.table.dead_over(*link);
        self.stale |= touched.links.iter().any(meanwhile);
        for change in changes {
            self.emit(at, change, action, since);
        }
        match emptied {
            Some(emptied) if !self.stale => self.emptied_at = emptied,
            _ => {}
        }
        Ok(())
    }

    fn count_silent(&mut self, changes: &[Change], action: FibAction) {
        if action != FibAction::Present {
            self.counters.silent_changes += changes.len() as u64;
        }
    }

    fn apply_link_dump(&mut self, at: Timestamp, dump: Vec<LinkMessage>, touched: &BTreeSet<u32>) {
        let present: BTreeSet<u32> = dump.iter().map(|link| link.index).collect();
        let mut gone: Vec<LinkMessage> = self
            .links
            .iter()
            .filter(|(index, _)| !present.contains(index))
            .map(|(index, known)| LinkMessage {
                index: *index,
                change: LinkChange {
                    present: false,
                    admin_up: false,
                    carrier: false,
                    oper: OperState::NotPresent,
                    ..known.link.clone()
                },
            })
            .collect();
        gone.sort_unstable_by_key(|link| link.index);
        for link in gone.into_iter().chain(dump) {
            if !touched.contains(&link.index) {
                self.note_link(at, link, None);
            }
        }
    }

    /// Links first: see the module's documentation.
    fn dump(&mut self) -> Result<Dump, NetlinkError> {
        let mut dump = Dump { consistent: true, ..Dump::default() };
        let query =
            Query { kind: RTM_GETLINK, name: "RTM_GETLINK", family: AF_UNSPEC, attribute: None };
        dump.consistent &= self.requests.dump(
            &query,
            &mut (&mut dump.links, &mut self.counters),
            |(links, _)| links.clear(),
            |(links, counters), header, payload| match message::read(header, payload) {
                Ok(Message::Link(link)) => links.push(link),
                Ok(_) => {}
                Err(_) => counters.undecodable += 1,
            },
        )?;
        let query = Query { kind: RTM_GETNEXTHOP, name: "RTM_GETNEXTHOP", ..query };
        let objects_max = self.config.next_hop_objects_max;
        dump.consistent &= self.requests.dump(
            &query,
            &mut (&mut dump.objects, &mut self.counters),
            |(objects, _)| objects.clear(),
            |(objects, counters), header, payload| match message::read(header, payload) {
                Ok(Message::NextHop(next_hop)) if objects.len() < objects_max => {
                    objects.extend(next_hop.object.map(|object| (next_hop.id, object)));
                }
                Ok(Message::NextHop(_)) => counters.next_hop_objects_overflow += 1,
                Ok(_) => {}
                Err(_) => counters.undecodable += 1,
            },
        )?;
        for table in self.config.tables.clone() {
            for family in [AF_INET, AF_INET6] {
                dump.consistent &= self.dump_routes(table, family, &mut dump.routes)?;
            }
        }
        Ok(dump)
    }

    /// A repeated attempt adds to what the interrupted one found; what is gone by then was
    /// announced, so the messages decide about it.
    fn dump_routes(
        &mut self,
        table: u32,
        family: u8,
        routes: &mut RouteDump,
    ) -> Result<bool, NetlinkError> {
        let query = Query {
            kind: RTM_GETROUTE,
            name: "RTM_GETROUTE",
            family,
            attribute: Some((RTA_TABLE, table)),
        };
        self.requests.dump(
            &query,
            &mut (&mut self.table, &mut self.counters, routes),
            |_| {},
            |(known, counters, routes), header, payload| match message::read(header, payload) {
                Ok(Message::Route(route)) if route.table == table => known.collect(routes, &route),
                Ok(_) => {}
                Err(_) => counters.undecodable += 1,
            },
        )
    }
}

/// What decides about a link's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LinkState {
    admin_up: bool,
    carrier: bool,
    present: bool,
}

impl LinkState {
    fn of(change: &LinkChange) -> Self {
        let LinkChange { admin_up, carrier, present, .. } = *change;
        Self { admin_up, carrier, present }
    }
}

/// A link as last seen.
#[derive(Debug)]
struct KnownLink {
    link: LinkChange,
    /// As last announced by multicast. A dump may show a lost carrier before the kernel has drawn
    /// the consequences; the announcement comes after them, and must not pass for old news.
    announced: Option<LinkState>,
}

/// The whole state as dumped.
#[derive(Default)]
struct Dump {
    links: Vec<LinkMessage>,
    objects: HashMap<u32, NextHopObject>,
    routes: RouteDump,
    consistent: bool,
}

/// What messages mentioned while a dump was made.
#[derive(Default)]
struct Touched {
    links: BTreeSet<u32>,
    objects: BTreeSet<u32>,
    keys: BTreeSet<Key>,
}

impl Touched {
    fn of(messages: &[(Timestamp, Message)]) -> Self {
        let mut touched = Self::default();
        for (_, message) in messages {
            match message {
                Message::Link(link) => {
                    touched.links.insert(link.index);
                }
                Message::NextHop(next_hop) => {
                    touched.objects.insert(next_hop.id);
                }
                Message::Route(route) => {
                    touched.keys.insert(Key { table: route.table, prefix: route.prefix });
                }
                _ => {}
            }
        }
        touched
    }
}
