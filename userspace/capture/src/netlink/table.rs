//! The forwarding table as the kernel has told it: routes, next-hop objects, and what holds for
//! each prefix.
//!
//! Owns the state that messages and dumps are applied to; does no I/O and reads no clock. A prefix
//! may have several routes (by priority; IPv6 also several of one priority); what *holds* is what
//! the kernel would forward by: the usable routes of the lowest priority, resolved through next-hop
//! objects. A route whose next hops are all dead or unknown is not usable.
//!
//! **Invariant:** every returned [`Change`] differs from what held before it, and applying the
//! returned changes in order to a copy of what held before gives what holds now.

use super::message::{NextHopMessage, NextHopObject, Placement, RouteMessage, RouteTarget};
use edgelore_model::{AddressFamily, NextHop, Prefix};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Distinct next-hop sets that are shared between routes before the pool starts afresh.
const SHARED_HOPS_MAX: usize = 65_536;

/// A prefix in a routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) table: u32,
    pub(super) prefix: Prefix,
}

/// What holds for a prefix: its next hops, sorted, each once. Empty when packets are discarded.
pub(super) type Hops = Arc<[NextHop]>;

/// A prefix for which something else holds from now on; `None`: nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) holds: Option<Hops>,
}

/// Where a stored route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Hops(Hops),
    Object(u32),
    Discard,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    priority: u32,
    target: Target,
}

/// Bounds of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) prefixes_max: usize,
    pub(super) objects_max: usize,
}

/// What could not be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Overflow {
    pub(super) prefixes: u64,
    pub(super) objects: u64,
}

/// What applying a route message came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// What holds now, if that is something else than before.
    pub(super) change: Option<Change>,
    /// The message does not fit what is stored: only a dump can tell what is true.
    pub(super) doubtful: bool,
}

/// How often something is used; what is not used is not in it.
#[derive(Debug, Default)]
struct Counted(HashMap<u32, u32>);

impl Counted {
    fn add(&mut self, id: u32) {
        *self.0.entry(id).or_default() += 1;
    }

    fn remove(&mut self, id: u32) {
        if let Some(uses) = self.0.get_mut(&id) {
            *uses -= 1;
            if *uses == 0 {
                self.0.remove(&id);
            }
        }
    }

    fn contains(&self, id: u32) -> bool {
        self.0.contains_key(&id)
    }
}

/// Everything a dump said about routes.
#[derive(Debug, Default)]
pub(super) struct RouteDump {
    dead: BTreeSet<u32>,
    routes: BTreeMap<Key, Vec<Route>>,
    refused: u64,
}

/// The forwarding table.
#[derive(Debug)]
pub(super) struct FibTable {
    bounds: Bounds,
    routes: BTreeMap<Key, Vec<Route>>,
    objects: HashMap<u32, NextHopObject>,
    /// How many routes lead to each object.
    uses: Counted,
    /// How many legs that can vanish without a message lead over each link.
    legs: Counted,
    /// Links with legs that the kernel calls dead.
    dead: BTreeSet<u32>,
    /// How many next-hop objects lead over each link.
    object_links: Counted,
    /// Next-hop objects that the kernel calls dead.
    objects_dead: usize,
    shared: HashSet<Hops>,
    overflow: Overflow,
}

impl FibTable {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            routes: BTreeMap::new(),
            objects: HashMap::new(),
            uses: Counted::default(),
            legs: Counted::default(),
            dead: BTreeSet::new(),
            object_links: Counted::default(),
            objects_dead: 0,
            shared: HashSet::new(),
            overflow: Overflow::default(),
        }
    }

    /// Prefixes stored.
    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    /// What could not be stored since the start.
    pub(super) fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// Whether a route or a next-hop object leads over this link: when it goes down or loses its
    /// carrier, they may vanish without a message.
    pub(super) fn leads_over(&self, link: u32) -> bool {
        self.legs.contains(link) || self.object_links.contains(link)
    }

    /// Whether a route has a dead leg over this link: when it comes up, the leg revives without a
    /// message. A dead next-hop object does not tell its link.
    pub(super) fn dead_over(&self, link: u32) -> bool {
        self.dead.contains(&link) || self.objects_dead > 0
    }

    /// What holds for a prefix.
    pub(super) fn holds(&self, key: &Key) -> Option<Hops> {
        let routes = self.routes.get(key)?;
        let mut usable = routes.iter().filter_map(|route| {
            let hops = self.resolve(&route.target)?;
            Some((route.priority, hops))
        });
        let (priority, first) = usable.next()?;
        // The kernel takes the first IPv4 route of a priority; IPv6 keeps equal-cost routes as
        // separate siblings, and they all carry traffic.
        if key.prefix.family() == AddressFamily::Ipv4 {
            return Some(first);
        }
        let siblings: Vec<Hops> =
            usable.take_while(|(other, _)| *other == priority).map(|(_, hops)| hops).collect();
        if siblings.is_empty() {
            return Some(first);
        }
        let all = std::iter::once(&first).chain(&siblings);
        Some(canonical(all.flat_map(|hops| hops.iter().copied()).collect()).into())
    }

    fn resolve(&self, target: &Target) -> Option<Hops> {
        match target {
            Target::Hops(hops) => (!hops.is_empty()).then(|| hops.clone()),
            Target::Discard => Some(Arc::new([])),
            Target::Object(id) => self.resolve_object(*id),
        }
    }

    fn resolve_object(&self, id: u32) -> Option<Hops> {
        let hops = match self.objects.get(&id)? {
            NextHopObject::Discard => return Some(Arc::new([])),
            NextHopObject::Hop(hop) => hop.iter().copied().collect(),
            NextHopObject::Group(members) => {
                members.iter().filter_map(|member| self.member(*member)).collect()
            }
        };
        let hops = canonical(hops);
        (!hops.is_empty()).then(|| hops.into())
    }

    /// Groups hold plain next hops only: the kernel refuses groups in groups.
    fn member(&self, id: u32) -> Option<NextHop> {
        match self.objects.get(&id)? {
            NextHopObject::Hop(hop) => *hop,
            NextHopObject::Group(_) | NextHopObject::Discard => None,
        }
    }

    /// Applies RTM_NEWROUTE or RTM_DELROUTE.
    pub(super) fn apply_route(&mut self, message: RouteMessage) -> Applied {
        let key = Key { table: message.table, prefix: message.prefix };
        let before = self.holds(&key);
        let route = self.route(&message);
        self.dead.extend(&message.dead);
        let mut routes = self.take(&key);
        let doubtful = match message.placement {
            Placement::Delete => remove(&mut routes, &route, key.prefix.family()),
            placement => insert(&mut routes, route, placement, key.prefix.family()),
        };
        self.put(key, routes);
        let holds = self.holds(&key);
        let unknown = matches!(message.target, RouteTarget::Object(id) if !self.objects.contains_key(&id))
            && message.placement != Placement::Delete;
        let change = (holds != before).then_some(Change { key, holds });
        Applied { change, doubtful: doubtful || unknown }
    }

    fn route(&mut self, message: &RouteMessage) -> Route {
        let target = match &message.target {
            RouteTarget::Hops(hops) => Target::Hops(self.share(hops.clone())),
            RouteTarget::Object(id) => Target::Object(*id),
            RouteTarget::Discard => Target::Discard,
        };
        Route { priority: message.priority, target }
    }

    /// Tables of a million routes have few distinct sets of next hops: each is stored once.
    fn share(&mut self, hops: Vec<NextHop>) -> Hops {
        let hops = canonical(hops);
        if let Some(known) = self.shared.get(hops.as_slice()) {
            return known.clone();
        }
        if self.shared.len() >= SHARED_HOPS_MAX {
            self.shared.clear();
        }
        let hops: Hops = hops.into();
        self.shared.insert(hops.clone());
        hops
    }

    fn take(&mut self, key: &Key) -> Vec<Route> {
        let routes = self.routes.remove(key).unwrap_or_default();
        for route in &routes {
            route.object().into_iter().for_each(|id| self.uses.remove(id));
            silent_legs(key, route).for_each(|hop| self.legs.remove(hop.link));
        }
        routes
    }

    fn put(&mut self, key: Key, routes: Vec<Route>) {
        if routes.is_empty() {
            return;
        }
        if self.routes.len() >= self.bounds.prefixes_max {
            self.overflow.prefixes += 1;
            return;
        }
        for route in &routes {
            route.object().into_iter().for_each(|id| self.uses.add(id));
            silent_legs(&key, route).for_each(|hop| self.legs.add(hop.link));
        }
        self.routes.insert(key, routes);
    }

    /// Applies RTM_NEWNEXTHOP or RTM_DELNEXTHOP. The kernel flushes the routes of a removed object
    /// without a word: they go here too. Returns the changes and whether any route was concerned.
    pub(super) fn apply_next_hop(&mut self, message: NextHopMessage) -> (Vec<Change>, bool) {
        self.set_objects(vec![(message.id, message.object)])
    }

    /// Makes the objects those of a dump, except the ids in `touched`, which later messages decide.
    pub(super) fn apply_object_dump(
        &mut self,
        mut dump: HashMap<u32, NextHopObject>,
        touched: &BTreeSet<u32>,
    ) -> Vec<Change> {
        let mut updates: Vec<_> = self
            .objects
            .iter()
            .filter(|(id, _)| !touched.contains(id))
            .filter_map(|(id, object)| match dump.remove(id) {
                Some(new) if new == *object => None,
                other => Some((*id, other)),
            })
            .collect();
        let new = dump
            .into_iter()
            .filter(|(id, _)| !self.objects.contains_key(id) && !touched.contains(id));
        updates.extend(new.map(|(id, object)| (id, Some(object))));
        self.set_objects(updates).0
    }

    fn set_objects(&mut self, updates: Vec<(u32, Option<NextHopObject>)>) -> (Vec<Change>, bool) {
        let updated: HashSet<u32> = updates.iter().map(|(id, _)| *id).collect();
        let removed: HashSet<u32> =
            updates.iter().filter(|(_, object)| object.is_none()).map(|(id, _)| *id).collect();
        let before = self.routes_using(&updated);
        for (id, object) in updates {
            self.set_object(id, object);
        }
        let used = !before.is_empty();
        let mut changes = Vec::new();
        for (key, held) in before {
            let mut routes = self.take(&key);
            routes.retain(|route| route.object().is_none_or(|id| !removed.contains(&id)));
            self.put(key, routes);
            let holds = self.holds(&key);
            if holds != held {
                changes.push(Change { key, holds });
            }
        }
        (changes, used)
    }

    fn set_object(&mut self, id: u32, object: Option<NextHopObject>) {
        let known = self.objects.remove(&id);
        match known {
            Some(NextHopObject::Hop(Some(hop))) => self.object_links.remove(hop.link),
            Some(NextHopObject::Hop(None)) => self.objects_dead -= 1,
            _ => {}
        }
        let Some(object) = object else { return };
        if self.objects.len() >= self.bounds.objects_max {
            self.overflow.objects += 1;
            return;
        }
        match object {
            NextHopObject::Hop(Some(hop)) => self.object_links.add(hop.link),
            NextHopObject::Hop(None) => self.objects_dead += 1,
            _ => {}
        }
        self.objects.insert(id, object);
    }

    /// The prefixes with a route that leads to one of these objects, directly or through a group,
    /// and what holds for them. A scan of the table, made only when such a route exists.
    fn routes_using(&self, ids: &HashSet<u32>) -> Vec<(Key, Option<Hops>)> {
        let groups = self.objects.iter().filter_map(|(id, object)| match object {
            NextHopObject::Group(members) if members.iter().any(|id| ids.contains(id)) => Some(*id),
            _ => None,
        });
        let concerned: HashSet<u32> =
            groups.chain(ids.iter().copied()).filter(|id| self.uses.contains(*id)).collect();
        if concerned.is_empty() {
            return Vec::new();
        }
        let uses = |routes: &[Route]| {
            routes.iter().filter_map(Route::object).any(|id| concerned.contains(&id))
        };
        let using = self.routes.iter().filter(|(_, routes)| uses(routes));
        using.map(|(key, _)| (*key, self.holds(key))).collect()
    }

    /// Makes the routes those of a dump, except the keys in `touched`, which later messages decide.
    pub(super) fn apply_route_dump(
        &mut self,
        dump: RouteDump,
        touched: &BTreeSet<Key>,
    ) -> Vec<Change> {
        self.overflow.prefixes += dump.refused;
        // What messages say during a dump, they say of legs that it may have missed.
        if touched.is_empty() {
            self.dead.clear();
        }
        self.dead.extend(dump.dead);
        let gone = self.routes.keys().filter(|key| !dump.routes.contains_key(key));
        let gone: Vec<Key> = gone.copied().collect();
        let gone = gone.into_iter().map(|key| (key, Vec::new()));
        let mut changes = Vec::new();
        for (key, routes) in gone.chain(dump.routes) {
            if touched.contains(&key) || self.routes.get(&key) == Some(&routes) {
                continue;
            }
            let before = self.holds(&key);
            self.take(&key);
            self.put(key, routes);
            let holds = self.holds(&key);
            if holds != before {
                changes.push(Change { key, holds });
            }
        }
        changes
    }

    /// Adds a dumped route to `dump`, in the kernel's order.
    pub(super) fn collect(&mut self, dump: &mut RouteDump, message: &RouteMessage) {
        let key = Key { table: message.table, prefix: message.prefix };
        let route = self.route(message);
        dump.dead.extend(&message.dead);
        if dump.routes.len() >= self.bounds.prefixes_max && !dump.routes.contains_key(&key) {
            dump.refused += 1;
            return;
        }
        let routes = dump.routes.entry(key).or_default();
        if !routes.contains(&route) {
            insert_by_priority(routes, route, true);
        }
    }
}

impl Route {
    fn object(&self) -> Option<u32> {
        match self.target {
            Target::Object(id) => Some(id),
            Target::Hops(_) | Target::Discard => None,
        }
    }

    fn hops(&self) -> &[NextHop] {
        match &self.target {
            Target::Hops(hops) => hops,
            Target::Object(_) | Target::Discard => &[],
        }
    }
}

/// The legs of a route that the kernel may take away without a message. Each link has a route to the
/// IPv6 link-local prefix, whose removal is announced, unless the operator forbade it
/// (`skip_notify_on_dev_down`), and by which nothing is forwarded.
fn silent_legs<'a>(key: &Key, route: &'a Route) -> impl Iterator<Item = &'a NextHop> {
    let link_local = matches!(key.prefix.address(), IpAddr::V6(v6) if v6.is_unicast_link_local());
    route.hops().iter().filter(move |_| !link_local)
}

fn canonical(mut hops: Vec<NextHop>) -> Vec<NextHop> {
    hops.sort_unstable();
    hops.dedup();
    hops
}

fn insert_by_priority(routes: &mut Vec<Route>, route: Route, last: bool) {
    let at = routes.partition_point(|other| {
        other.priority < route.priority || (last && other.priority == route.priority)
    });
    routes.reserve_exact(1);
    routes.insert(at, route);
}

fn is_subset(some: &[NextHop], of: &[NextHop]) -> bool {
    some.iter().all(|hop| of.binary_search(hop).is_ok())
}

/// Places a new route among those of its prefix. Returns whether the outcome is doubtful.
fn insert(
    routes: &mut Vec<Route>,
    route: Route,
    placement: Placement,
    family: AddressFamily,
) -> bool {
    if routes.contains(&route) && placement != Placement::Replace {
        return false;
    }
    let equals: Vec<usize> =
        (0..routes.len()).filter(|&at| routes[at].priority == route.priority).collect();
    let Some(&first) = equals.first() else {
        insert_by_priority(routes, route, true);
        return false;
    };
    if placement == Placement::Replace {
        let doubtful = equals.len() > 1;
        routes[first] = route;
        return doubtful;
    }
    if family == AddressFamily::Ipv4 {
        let append = placement == Placement::Append;
        insert_by_priority(routes, route, append);
        // Without a flag it may have been put before the others, or be an old message.
        return !append;
    }
    // IPv6 tells of a new sibling by sending all of them.
    let grown = equals
        .iter()
        .find(|&&at| !routes[at].hops().is_empty() && is_subset(routes[at].hops(), route.hops()));
    match grown {
        Some(&at) => {
            routes[at] = route;
            false
        }
        None => {
            let overlaps = equals.iter().any(|&at| {
                routes[at].hops().iter().any(|hop| route.hops().binary_search(hop).is_ok())
            });
            insert_by_priority(routes, route, true);
            overlaps
        }
    }
}

/// Removes a route, or the legs of an IPv6 route that are named. Returns whether the outcome is
/// doubtful.
fn remove(routes: &mut Vec<Route>, route: &Route, family: AddressFamily) -> bool {
    if let Some(at) = routes.iter().position(|other| other == route) {
        routes.remove(at);
        return false;
    }
    let mut equals = (0..routes.len()).filter(|&at| routes[at].priority == route.priority);
    let (first, more) = (equals.next(), equals.next().is_some());
    if family == AddressFamily::Ipv4 {
        // The legs may differ because some are dead by now; the only candidate is the one.
        if let (Some(at), false) = (first, more) {
            routes.remove(at);
        }
        return more;
    }
    let holder = routes.iter_mut().find(|other| {
        other.priority == route.priority
            && !route.hops().is_empty()
            && is_subset(route.hops(), other.hops())
    });
    match holder {
        Some(holder) => {
            let left: Vec<NextHop> =
                holder.hops().iter().filter(|hop| !route.hops().contains(hop)).copied().collect();
            holder.target = Target::Hops(left.into());
            false
        }
        None => first.is_some(),
    }
}

#[cfg(test)]
mod tests;
