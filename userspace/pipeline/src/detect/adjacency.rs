//! Who is whose neighbour in the interior gateway protocols, on which link, and what each router
//! advertised last: from these, what a hello or an advertisement takes back.
//!
//! What each vantage point sees: unchanged hellos are withheld by the kernel, so silence among the
//! observations is no silence on the wire. That an adjacency is lost is told by whoever lost it:
//! its next hello no longer names the neighbour, and its next advertisement no longer has the edge.
//! Both pass every link of the area, so a gateway that is a router, a bridge and a replay see them
//! alike. When the neighbour fell silent is told by the dead interval, and on the neighbour's own
//! link by the sign of life.
//!
//! **Invariant:** bounded by [`SPEAKERS_MAX`], [`ADVERTISEMENTS_MAX`] and [`CLAIMS_MAX`]; what an
//! advertisement takes back is told once, and only if the rest of the area had agreed to it.

use edgelore_model::{
    Adjacency, HelloChange, IgpArea, IgpProtocol, LinkStateAction, LinkStateChange, NodeId, Prefix,
    Protocol, Scope, Span, Timestamp, TopologyEdge, TriggerKind,
};
use std::collections::{BTreeMap, HashMap};

/// Routers heard, counted once per link and area.
const SPEAKERS_MAX: usize = 16_384;
/// Advertisements of all areas together.
const ADVERTISEMENTS_MAX: usize = 65_536;
/// Neighbours and prefixes in advertisements and hellos, together.
const CLAIMS_MAX: usize = 1 << 20;
/// Routers that one sign names.
const ROUTERS_MAX: usize = 64;
/// Edges of one advertisement that are looked into when they are lost together.
const EDGES_JUDGED_MAX: usize = 256;
/// Two advertisements of one name are so far apart (RFC 2328 §B, MinLSInterval). In IS-IS it is set;
/// what is lost is told sooner there.
const ADVERTISED_WITHIN: Span = Span::from_millis(5_000);
/// Assumed of routers whose hellos are not heard: OSPF's defaults, the longer ones (RFC 2328 §C.3).
const UNHEARD: Silence = Silence {
    dead: Span::from_millis(40_000),
    hello: Span::from_millis(10_000),
    told_within: Span::from_millis(10_000),
};
/// Each router that floods an advertisement adds at least this to its age (RFC 2328 §C.3,
/// InfTransDelay).
const TRANSIT: Span = Span::from_millis(1_000);
/// IS-IS does not tell its hello interval: by default the holding time is three of them, and
/// no implementation uses fewer.
const HOLDING_FACTOR: i64 = 3;

/// A router or network of an area.
pub(super) type Vertex = (IgpArea, NodeId);

/// What a hello or an advertisement takes back or changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IgpSign {
    pub(super) kind: TriggerKind,
    pub(super) on: Scope,
    pub(super) protocol: Protocol,
    /// Everyone concerned, the one that says so first.
    pub(super) routers: Vec<Vertex>,
    /// Where the routers of a lost adjacency heard each other; empty when that is elsewhere.
    pub(super) links: Vec<u32>,
    /// Where those that were lost had been heard: it fell silent there.
    pub(super) lost_on: Vec<u32>,
    /// Prefixes that nobody in the area advertises any more.
    pub(super) prefixes: Vec<Prefix>,
    /// A neighbour may have been silent for this long before it was lost.
    pub(super) silence: Option<Silence>,
    /// So long ago it was said first: what is flooded anew after a repair is no news.
    pub(super) age: Span,
    /// Hellos took it back before: it belongs to what these set off.
    pub(super) told: bool,
}

/// How a neighbour's silence is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// OSPF's RouterDeadInterval, IS-IS's holding time.
    pub(super) dead: Span,
    /// The longest time between two hellos.
    pub(super) hello: Span,
    /// So long it may take from noticing it to saying it: until the next hello, or until another
    /// advertisement may be made.
    pub(super) told_within: Span,
}

#[derive(Debug, Default)]
struct Speaker {
    silence: Option<Silence>,
    neighbours: Vec<NodeId>,
    /// Whom it dropped and has not named since, the last at the end; and whether that was told.
    dropped: Vec<(NodeId, bool)>,
}

impl Speaker {
    fn names(&self, router: NodeId) -> bool {
        self.neighbours.binary_search(&router).is_ok()
    }

    fn knows(&self, router: NodeId) -> bool {
        self.names(router) || self.dropped.iter().any(|dropped| dropped.0 == router)
    }

    /// Takes whom it names now; those that it named before and no longer does.
    fn say(&mut self, neighbours: Vec<NodeId>) -> Vec<NodeId> {
        let before = std::mem::replace(&mut self.neighbours, neighbours);
        let named = &self.neighbours;
        self.dropped.retain(|(router, _)| named.binary_search(router).is_err());
        let mut lost: Vec<NodeId> = before.into_iter().filter(|&n| !self.names(n)).collect();
        lost.truncate(ROUTERS_MAX);
        lost
    }

    fn drop(&mut self, lost: &[NodeId], told: &[NodeId]) {
        self.dropped.extend(lost.iter().map(|router| (*router, told.contains(router))));
        let surplus = self.dropped.len().saturating_sub(ROUTERS_MAX);
        self.dropped.drain(..surplus);
    }
}

/// Names an advertisement: its vertex first, so that a vertex' own lie together.
type AdvertisementKey = (IgpArea, NodeId, (u16, u32), [u8; 6]);

#[derive(Debug, Default)]
struct Advertisement {
    /// False after a flush: its content then only tells who was there.
    stands: bool,
    overload: bool,
    neighbours: Vec<TopologyEdge>,
    prefixes: Vec<(Prefix, u32)>,
}

impl Advertisement {
    fn size(&self) -> usize {
        self.neighbours.len() + self.prefixes.len()
    }

    fn edge(&self, to: NodeId) -> Option<u32> {
        let place = self.neighbours.binary_search_by_key(&to, |edge| edge.to).ok()?;
        Some(self.neighbours[place].cost)
    }

    fn prefix(&self, prefix: Prefix) -> Option<u32> {
        let place = self.prefixes.binary_search_by_key(&prefix, |told| told.0).ok()?;
        Some(self.prefixes[place].1)
    }
}

/// What changed between two advertisements of one name.
#[derive(Debug, Default)]
struct Difference {
    lost_edges: Vec<NodeId>,
    dearer_or_cheaper: Vec<NodeId>,
    lost_prefixes: Vec<Prefix>,
    prefix_costs: bool,
    gained_edge: bool,
    overloaded: bool,
    overload_moved: bool,
}

#[derive(Debug, Default)]
pub(super) struct Adjacencies {
    speakers: BTreeMap<(u32, IgpArea, NodeId), Speaker>,
    advertisements: BTreeMap<AdvertisementKey, Advertisement>,
    /// By prefix, how many advertisements that stand have it, and of which protocol.
    advertised: HashMap<Prefix, (u32, IgpProtocol)>,
    /// Routers that asked for patience, and until when (RFC 3623 §2, RFC 5187).
    grace: BTreeMap<Vertex, Timestamp>,
    claims: usize,
    pub(super) overflows: u64,
}

impl Adjacencies {
    /// Takes a hello; what it takes back.
    pub(super) fn hello(
        &mut self,
        link: u32,
        at: Timestamp,
        change: &HelloChange,
    ) -> Option<IgpSign> {
        let key = (link, change.area, change.router);
        let known = self.speakers.get(&key).map_or(0, |speaker| speaker.neighbours.len());
        let fits = self.claims + change.neighbours.len() <= CLAIMS_MAX + known;
        if !fits || (self.speakers.len() >= SPEAKERS_MAX && !self.speakers.contains_key(&key)) {
            self.overflows += 1;
            return None;
        }
        let speaker = self.speakers.entry(key).or_default();
        let mut neighbours = change.neighbours.clone();
        neighbours.sort_unstable();
        self.claims = self.claims - speaker.neighbours.len() + neighbours.len();
        speaker.silence = Some(silence_of(change));
        let lost = speaker.say(neighbours);
        if change.first || lost.is_empty() {
            return None;
        }
        // An adjacency is lost once, and the first of its ends that notices says so.
        let news = |router: &NodeId| {
            !self.is_graceful((change.area, *router), at)
                && !self.has_dropped(change.area, *router, change.router)
        };
        let told: Vec<NodeId> = lost.iter().copied().filter(news).collect();
        if let Some(speaker) = self.speakers.get_mut(&key) {
            speaker.drop(&lost, &told);
        }
        let silence = self.silence(link, change, &told);
        let mut sign = self.sign(TriggerKind::AdjacencyDown, change.area, change.router, &told)?;
        (sign.silence, sign.links) =
            (Some(silence), Some(link).filter(|&l| l != 0).into_iter().collect());
        Some(sign)
    }

    /// Takes an advertisement; what it takes back or changes.
    pub(super) fn link_state(
        &mut self,
        at: Timestamp,
        change: &LinkStateChange,
    ) -> Option<IgpSign> {
        let vertex = vertex(change.area, change.origin);
        if let Some(grace) = change.grace {
            self.patience((change.area, vertex), at + grace);
        }
        if change.action == LinkStateAction::Refreshed {
            return None;
        }
        let key = (change.area, vertex, change.id, change.origin.system);
        if change.action == LinkStateAction::Flushed {
            return self.flushed(key, at);
        }
        let after = advertisement(change);
        let before = self.advertisements.get(&key);
        let was = before.map_or(0, Advertisement::size);
        let full = self.advertisements.len() >= ADVERTISEMENTS_MAX && before.is_none();
        if full || self.claims + after.size() > CLAIMS_MAX + was {
            self.overflows += 1;
            return None;
        }
        let difference = before.filter(|b| b.stands).map(|before| difference(before, &after));
        self.replace(key, after);
        let sign = self.judge(key, difference?, at)?;
        Some(IgpSign { age: age_of(change), ..sign })
    }

    /// Where two routers heard each other, sorted.
    pub(super) fn links_between(&self, area: IgpArea, a: NodeId, b: NodeId) -> Vec<u32> {
        let heard = |&(&(link, of, router), speaker): &(&(u32, IgpArea, NodeId), &Speaker)| {
            let other = if router == a { b } else { a };
            link != 0 && of == area && (router == a || router == b) && speaker.knows(other)
        };
        let mut links: Vec<u32> =
            self.speakers.iter().filter(heard).map(|((link, ..), _)| *link).collect();
        links.dedup();
        links
    }

    /// Where some of these routers were heard, sorted, if they knew `neighbour` there.
    fn heard_on(&self, area: IgpArea, routers: &[NodeId], neighbour: NodeId) -> Vec<u32> {
        let heard = self.speakers.iter().filter(|((link, of, router), speaker)| {
            *link != 0 && *of == area && routers.contains(router) && speaker.knows(neighbour)
        });
        let mut links: Vec<u32> = heard.map(|((link, ..), _)| *link).collect();
        links.dedup();
        links
    }

    /// The routers that are heard on a link.
    pub(super) fn routers_on(&self, link: u32) -> impl Iterator<Item = Vertex> {
        let from = (
            link,
            IgpArea { protocol: IgpProtocol::OspfV2, instance: 0, area: 0 },
            NodeId { system: [0; 6], pseudonode: 0 },
        );
        let on = self.speakers.range(from..).take_while(move |((of, ..), _)| *of == link);
        on.map(|((_, area, router), _)| (*area, *router)).take(ROUTERS_MAX)
    }

    /// Which protocol advertises the prefix now.
    pub(super) fn advertised(&self, prefix: Prefix) -> Option<Protocol> {
        self.advertised.get(&prefix).map(|(_, protocol)| Protocol::from(*protocol))
    }

    /// The longest time between two hellos of a router in the area.
    pub(super) fn hello_interval(&self, area: IgpArea) -> Option<Span> {
        let of = self.speakers.iter().filter(|((_, of, _), _)| *of == area);
        of.filter_map(|(_, speaker)| speaker.silence).map(|silence| silence.hello).max()
    }

    fn patience(&mut self, router: Vertex, until: Timestamp) {
        if self.grace.len() < SPEAKERS_MAX || self.grace.contains_key(&router) {
            self.grace.insert(router, until);
        } else {
            self.overflows += 1;
        }
    }

    fn is_graceful(&self, router: Vertex, at: Timestamp) -> bool {
        self.grace.get(&router).is_some_and(|&until| at <= until)
    }

    /// A router told on every link on which it knew a neighbour that it has lost it.
    fn has_dropped(&self, area: IgpArea, router: NodeId, neighbour: NodeId) -> bool {
        let mut told = None;
        for ((_, of, who), speaker) in &self.speakers {
            if *of == area && *who == router && speaker.knows(neighbour) {
                told = Some(told.unwrap_or(true) && speaker.dropped.contains(&(neighbour, true)));
            }
        }
        told.unwrap_or(false)
    }

    /// The timers of the two ends where they were heard, the longer ones; those heard of in the
    /// area when that was elsewhere.
    fn silence_between(&self, area: IgpArea, ends: [NodeId; 2], links: &[u32]) -> Silence {
        let near = |link, router| links.contains(link) && ends.contains(router);
        let heard = |all: bool| {
            let of = self
                .speakers
                .iter()
                .filter(move |((link, of, router), _)| *of == area && (all || near(link, router)));
            of.filter_map(|(_, speaker)| speaker.silence).reduce(Silence::longer)
        };
        let silence = heard(false).or_else(|| heard(true)).unwrap_or(UNHEARD);
        Silence { told_within: silence.told_within.max(ADVERTISED_WITHIN), ..silence }
    }

    /// The lost neighbours' own timers where they were heard, else those of the one that lost them.
    fn silence(&self, link: u32, change: &HelloChange, lost: &[NodeId]) -> Silence {
        let own = silence_of(change);
        let theirs = lost
            .iter()
            .filter_map(|&router| self.speakers.get(&(link, change.area, router))?.silence);
        theirs.fold(own, |all, one| Silence {
            dead: if is_isis(change.area) { one.dead } else { all.dead },
            ..all.longer(one)
        })
    }

    /// A withdrawn advertisement. That a network's own goes says nothing: its routers say in
    /// theirs whether they are still neighbours.
    fn flushed(&mut self, key: AdvertisementKey, at: Timestamp) -> Option<IgpSign> {
        let advertisement = self.advertisements.get_mut(&key).filter(|a| a.stands)?;
        advertisement.stands = false;
        let prefixes: Vec<Prefix> = advertisement.prefixes.iter().map(|told| told.0).collect();
        let lost_edges: Vec<NodeId> = advertisement.neighbours.iter().map(|e| e.to).collect();
        prefixes.iter().for_each(|&prefix| self.forget(prefix));
        if !key.1.is_router() {
            return None;
        }
        self.judge(
            key,
            Difference { lost_edges, lost_prefixes: prefixes, ..Difference::default() },
            at,
        )
    }

    fn replace(&mut self, key: AdvertisementKey, after: Advertisement) {
        self.claims += after.size();
        for &(prefix, _) in &after.prefixes {
            self.advertised.entry(prefix).or_insert((0, key.0.protocol)).0 += 1;
        }
        let Some(before) = self.advertisements.insert(key, after) else { return };
        self.claims -= before.size();
        if before.stands {
            before.prefixes.iter().for_each(|&(prefix, _)| self.forget(prefix));
        }
    }

    fn forget(&mut self, prefix: Prefix) {
        if let Some(known) = self.advertised.get_mut(&prefix) {
            known.0 -= 1;
            if known.0 == 0 {
                self.advertised.remove(&prefix);
            }
        }
    }

    /// Tells a loss from a move: what another advertisement of the vertex claims is not lost; what
    /// the other end had not claimed was none; and who gains a neighbour recovers.
    fn judge(&self, key: AdvertisementKey, found: Difference, at: Timestamp) -> Option<IgpSign> {
        let (area, vertex, ..) = key;
        if found.gained_edge || self.is_graceful((area, vertex), at) {
            return None;
        }
        let mut lost: Vec<NodeId> = Vec::new();
        for to in found.lost_edges.into_iter().take(EDGES_JUDGED_MAX) {
            let graceful = self.is_graceful((area, to), at);
            if !graceful && !self.claims(area, vertex, to) && self.claims(area, to, vertex) {
                self.other_ends(area, vertex, to, &mut lost);
            }
        }
        lost.sort_unstable();
        lost.dedup();
        lost.truncate(ROUTERS_MAX);
        let gone = |prefix: &Prefix| !self.advertised.contains_key(prefix);
        let prefixes: Vec<Prefix> = found.lost_prefixes.into_iter().filter(gone).collect();
        // The last word of a router that nobody reaches any more moves nothing.
        let reached = self.is_reached(area, vertex);
        let (kind, others) =
            if !lost.is_empty() || (reached && (!prefixes.is_empty() || found.overloaded)) {
                (TriggerKind::TopologyChange, lost)
            } else if reached
                && !found.overload_moved
                && (!found.dearer_or_cheaper.is_empty() || found.prefix_costs)
            {
                let mut others = Vec::new();
                for to in found.dearer_or_cheaper.into_iter().take(EDGES_JUDGED_MAX) {
                    self.other_ends(area, vertex, to, &mut others);
                }
                others.truncate(ROUTERS_MAX);
                (TriggerKind::CostChange, others)
            } else {
                return None;
            };
        let mut sign = self.sign(kind, area, vertex, &others).or_else(|| {
            Some(IgpSign { routers: vec![(area, vertex)], ..blank(kind, area, vertex) })
        })?;
        sign.prefixes = prefixes;
        if let (TriggerKind::TopologyChange, Some(&first)) = (kind, others.first()) {
            sign.silence = Some(self.silence_between(area, [vertex, first], &sign.links));
            let told = |&other: &NodeId| {
                self.has_dropped(area, vertex, other) || self.has_dropped(area, other, vertex)
            };
            sign.told = others.iter().all(told);
        }
        Some(sign)
    }

    /// A sign about a router and others; `None` without others.
    fn sign(
        &self,
        kind: TriggerKind,
        area: IgpArea,
        router: NodeId,
        others: &[NodeId],
    ) -> Option<IgpSign> {
        let mut sign = blank(kind, area, router);
        sign.routers =
            std::iter::once(router).chain(others.iter().copied()).map(|r| (area, r)).collect();
        match others {
            [] => return None,
            [other] => {
                sign.on = Scope::Adjacency(Adjacency::between(area, router, *other));
                sign.links = self.links_between(area, router, *other);
            }
            _ => {}
        }
        sign.lost_on = self.heard_on(area, others, router);
        Some(sign)
    }

    fn claims(&self, area: IgpArea, from: NodeId, to: NodeId) -> bool {
        self.of(area, from).any(|advertisement| advertisement.edge(to).is_some())
            // A network's advertisement may have gone a moment before its routers'.
            || (!from.is_router() && self.members(area, from).any(|member| member == to))
    }

    fn is_reached(&self, area: IgpArea, vertex: NodeId) -> bool {
        let edges = self.of(area, vertex).flat_map(|advertisement| &advertisement.neighbours);
        edges.map(|edge| edge.to).any(|to| self.claims(area, to, vertex))
    }

    /// Advertisements of a vertex that stand.
    fn of(&self, area: IgpArea, vertex: NodeId) -> impl Iterator<Item = &Advertisement> {
        self.named(area, vertex).filter(|advertisement| advertisement.stands)
    }

    fn named(&self, area: IgpArea, vertex: NodeId) -> impl Iterator<Item = &Advertisement> {
        let from = (area, vertex, (0, 0), [0; 6]);
        let to = (area, vertex, (u16::MAX, u32::MAX), [u8::MAX; 6]);
        self.advertisements.range(from..=to).map(|(_, advertisement)| advertisement)
    }

    /// The routers of a network, as it told them last.
    fn members(&self, area: IgpArea, network: NodeId) -> impl Iterator<Item = NodeId> {
        self.named(area, network).flat_map(|a| &a.neighbours).map(|edge| edge.to)
    }

    /// Who is at the other end of an edge: the other router of a network of two.
    fn other_ends(&self, area: IgpArea, from: NodeId, to: NodeId, ends: &mut Vec<NodeId>) {
        if to.is_router() {
            return ends.push(to);
        }
        let mut others: Vec<NodeId> =
            self.members(area, to).filter(|&m| m != from).take(ROUTERS_MAX).collect();
        others.sort_unstable();
        others.dedup();
        match others[..] {
            [other] => ends.push(other),
            _ => ends.push(to),
        }
    }
}

fn blank(kind: TriggerKind, area: IgpArea, router: NodeId) -> IgpSign {
    IgpSign {
        kind,
        on: Scope::Router(area, router),
        protocol: area.protocol.into(),
        routers: Vec::new(),
        links: Vec::new(),
        lost_on: Vec::new(),
        prefixes: Vec::new(),
        silence: None,
        age: Span(0),
        told: false,
    }
}

impl Silence {
    fn longer(self, other: Self) -> Self {
        Self {
            dead: self.dead.max(other.dead),
            hello: self.hello.max(other.hello),
            told_within: self.told_within.max(other.told_within),
        }
    }
}

/// How long ago an advertisement was made, at least. IS-IS tells what is left of a lifetime that
/// every router chooses for itself.
fn age_of(change: &LinkStateChange) -> Span {
    if is_isis(change.area) {
        return Span(0);
    }
    Span((change.age.0 - TRANSIT.0).max(0))
}

const fn is_isis(area: IgpArea) -> bool {
    matches!(area.protocol, IgpProtocol::IsisLevel1 | IgpProtocol::IsisLevel2)
}

fn silence_of(change: &HelloChange) -> Silence {
    let hello = match change.hello_interval {
        Span(0) => Span(change.dead_interval.0 / HOLDING_FACTOR),
        told => told,
    };
    Silence { dead: change.dead_interval, hello, told_within: hello }
}

/// What stands for a node: OSPFv2's router LSAs name a network by the address of its designated
/// router alone, so that its network LSA goes by that, too (RFC 2328 §A.4.2).
fn vertex(area: IgpArea, node: NodeId) -> NodeId {
    match area.protocol {
        IgpProtocol::OspfV2 if !node.is_router() => NodeId { system: [0; 6], ..node },
        _ => node,
    }
}

/// Several edges to one neighbour, as parallel links make them, count as one at the least cost.
fn advertisement(change: &LinkStateChange) -> Advertisement {
    let edge = |e: &TopologyEdge| TopologyEdge { to: vertex(change.area, e.to), cost: e.cost };
    let mut neighbours: Vec<TopologyEdge> = change.neighbours.iter().map(edge).collect();
    neighbours.sort_unstable_by_key(|edge| (edge.to, edge.cost));
    neighbours.dedup_by_key(|edge| edge.to);
    let mut prefixes: Vec<(Prefix, u32)> =
        change.prefixes.iter().map(|told| (told.prefix, told.cost)).collect();
    prefixes.sort_unstable();
    prefixes.dedup_by_key(|told| told.0);
    Advertisement { stands: true, overload: change.overload, neighbours, prefixes }
}

fn difference(before: &Advertisement, after: &Advertisement) -> Difference {
    let mut found = Difference {
        overloaded: after.overload && !before.overload,
        overload_moved: after.overload != before.overload,
        gained_edge: after.neighbours.iter().any(|edge| before.edge(edge.to).is_none()),
        ..Difference::default()
    };
    for edge in &before.neighbours {
        match after.edge(edge.to) {
            None => found.lost_edges.push(edge.to),
            Some(cost) if cost != edge.cost => found.dearer_or_cheaper.push(edge.to),
            Some(_) => {}
        }
    }
    for &(prefix, was) in &before.prefixes {
        match after.prefix(prefix) {
            None => found.lost_prefixes.push(prefix),
            Some(cost) => found.prefix_costs |= cost != was,
        }
    }
    found
}
