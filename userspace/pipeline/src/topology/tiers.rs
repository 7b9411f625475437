//! Tiers: graphs whose edges run between layers, such as fabrics and campus networks.
//!
//! ```text
//! spines and leaves      s × l, all joined          pods and planes      cores, one plane each
//!                                                                        ── aggregation, one pod each
//!                                                                        leaves
//! ```
//!
//! With its peer links taken away such a graph has two sides. Routers of one side that have the
//! same neighbours are *twins*. One group of twins is a layer of leaves below spines. Several are
//! pods (leaves below the same aggregation) and planes (cores above one router of each pod).
//!
//! **Invariant:** groups are compared with each other only while there are at most [`GROUPS_MAX`] of
//! them and it takes no more than [`COMPARISONS_MAX`] steps.

use super::class::Candidate;
use super::shape::{COMPARISONS_MAX, Shape, common};
use std::collections::BTreeMap;

/// Groups of twins that are compared with each other.
const GROUPS_MAX: usize = 512;

/// The classes of tiers that the graph resembles.
pub(super) fn candidates(shape: &Shape) -> Vec<Candidate> {
    let (layers, peer_links) = shape.without_peer_links();
    let mut found: Vec<Candidate> = spine_leaf(shape, by_degree(shape)).into_iter().collect();
    let Some(side) = layers.sides() else { return found };
    found.extend(spine_leaf(shape, side.clone()));
    for middle in [false, true] {
        let outer: Vec<bool> = side.iter().map(|side| *side != middle).collect();
        found.extend(pods_and_planes(&layers, &outer, peer_links));
    }
    found
}

/// Two sides cut where the number of neighbours falls most.
fn by_degree(shape: &Shape) -> Vec<bool> {
    let order = shape.by_degree();
    let fall = |at: &usize| shape.degree(order[*at - 1]) - shape.degree(order[*at]);
    let cut = (1..order.len()).rev().max_by_key(fall).unwrap_or(0);
    let mut side = vec![false; shape.nodes()];
    order[..cut].iter().for_each(|node| side[*node] = true);
    side
}

/// How near the graph is to two layers, all of one joined to all of the other.
fn spine_leaf(shape: &Shape, side: Vec<bool>) -> Option<Candidate> {
    let ones = side.iter().filter(|side| **side).count();
    let (spines, leaves) = (ones.min(side.len() - ones), ones.max(side.len() - ones));
    if spines < 2 || side.len() < 5 {
        return None;
    }
    let spine_side = ones == spines;
    let (mut across, mut within, mut among_spines) = (0, 0, 0);
    for node in 0..shape.nodes() {
        for to in shape.of_node(node).iter().map(|to| *to as usize).filter(|to| *to > node) {
            match (side[node] == side[to], side[node] == spine_side) {
                (false, _) => across += 1,
                (true, true) => among_spines += 1,
                (true, false) => within += 1,
            }
        }
    }
    // Two spines that are joined are two hubs; leaves that are joined may be redundant pairs.
    let cap = match (spines, among_spines) {
        (2, 0) => 800,
        (_, 0) => 1_000,
        _ => 300,
    };
    let (agree, differ) = (across, spines * leaves - across + within + among_spines);
    let evidence = format!(
        "{across} of the {} links between {spines} spines and {leaves} leaves are there",
        spines * leaves
    );
    Some(Candidate::new("spine_leaf", agree, differ, cap, vec![evidence]))
}

/// Routers of the outer side that have the same neighbours, but for few that are missing.
struct Group {
    neighbours: Vec<u32>,
    members: usize,
    /// Links of the members that are missing.
    missing: usize,
}

impl Group {
    fn links(&self) -> usize {
        self.members * self.neighbours.len()
    }
}

/// Groups of twins, the large ones first; `None` when there are too many to compare.
fn twins(layers: &Shape, outer: &[bool]) -> Option<Vec<Group>> {
    let mut alike: BTreeMap<&[u32], usize> = BTreeMap::new();
    for node in (0..layers.nodes()).filter(|node| outer[*node]) {
        *alike.entry(layers.of_node(node)).or_insert(0) += 1;
        if alike.len() > GROUPS_MAX {
            return None;
        }
    }
    let length: usize = alike.keys().map(|set| set.len()).sum();
    if alike.len() * length > COMPARISONS_MAX {
        return None;
    }
    let mut sets: Vec<(&[u32], usize)> = alike.into_iter().collect();
    sets.sort_by_key(|(set, members)| std::cmp::Reverse((set.len(), *members)));
    let mut groups: Vec<Group> = Vec::new();
    for (set, members) in sets {
        let lacks = |group: &Group| group.neighbours.len() - set.len();
        // Few of its links are missing; or half of them, and it is an odd one out.
        let few = |group: &Group| {
            let (lacks, all) = (lacks(group), group.neighbours.len());
            lacks <= 1 || 2 * lacks < all || (2 * lacks == all && 2 * members <= group.members)
        };
        let of = groups.iter_mut().filter(|group| {
            let both = common(group.neighbours.iter().copied(), set.iter().copied());
            both == set.len() && few(group)
        });
        if let Some(group) = of.max_by_key(|group| (group.members, std::cmp::Reverse(lacks(group))))
        {
            group.missing += lacks(group) * members;
            group.members += members;
        } else {
            groups.push(Group { neighbours: set.to_vec(), members, missing: 0 });
        }
    }
    Some(groups)
}

/// How near the graph is to pods below planes of cores, the routers between them in the middle.
fn pods_and_planes(layers: &Shape, outer: &[bool], peer_links: usize) -> Option<Candidate> {
    let groups = twins(layers, outer)?;
    let meet = |a: &Group, b: &Group| {
        common(a.neighbours.iter().copied(), b.neighbours.iter().copied()) > 0
    };
    let edges = (0..groups.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    let meeting = Shape::of(edges.filter(|&(a, b)| meet(&groups[a], &groups[b])), 0..groups.len());
    let side = meeting.sides()?;
    let of = |wanted: bool| -> Vec<&Group> {
        groups
            .iter()
            .zip(&side)
            .filter(|(_, side)| **side == wanted)
            .map(|(group, _)| group)
            .collect()
    };
    let (one, other) = (of(true), of(false));
    let members = |groups: &[&Group]| groups.iter().map(|group| group.members).sum::<usize>();
    // Leaves are more than cores.
    let key = |groups: &[&Group]| (members(groups), groups.len());
    let (pods, planes) = if key(&one) > key(&other) { (one, other) } else { (other, one) };
    // Every plane reaches every pod; single leaves are no layer.
    let reached = meeting.edges() * 4 >= pods.len() * planes.len() * 3;
    if pods.len() < 2 || !reached || median(pods.iter().map(|pod| pod.members)) < 2 {
        return None;
    }
    let links: usize = groups.iter().map(Group::links).sum();
    let missing: usize = groups.iter().map(|group| group.missing).sum();
    // Every router in the middle is in one pod and on one plane.
    let middle = outer.iter().filter(|outer| !**outer).count();
    let covered = |groups: &[&Group]| groups.iter().map(|g| g.neighbours.len()).sum::<usize>();
    let stray = 2 * middle - covered(&pods) - covered(&planes);
    let (class, cap) = tiers_of(&pods, &planes, peer_links);
    let evidence = format!(
        "{} pods of {} leaves below {} routers, {} planes of {} cores; {missing} links are missing",
        pods.len(),
        median(pods.iter().map(|pod| pod.members)),
        median(pods.iter().map(|pod| pod.neighbours.len())),
        planes.len(),
        median(planes.iter().map(|plane| plane.members)),
    );
    let pairs = (peer_links > 0).then(|| format!("{peer_links} links join redundant pairs"));
    let evidence = std::iter::once(evidence).chain(pairs).collect();
    Some(Candidate::new(class, links - missing, missing + stray, cap, evidence))
}

/// Which class pods and planes make, and how sure that can be.
fn tiers_of(pods: &[&Group], planes: &[&Group], peer_links: usize) -> (&'static str, u32) {
    let leaves = median(pods.iter().map(|pod| pod.members));
    let middle = median(pods.iter().map(|pod| pod.neighbours.len()));
    let cores = median(planes.iter().map(|plane| plane.members));
    match (planes.len(), peer_links) {
        // Cores above all: a campus joins its pairs, a fabric does not.
        (1, 0) => ("clos_5stage", 600),
        (1, _) => ("three_tier", 900),
        (_, 0) if leaves == middle && middle == cores && pods.len() == 2 * middle => {
            ("fat_tree", 950)
        }
        (_, 0) => ("clos_5stage", 950),
        _ => ("clos_5stage", 700),
    }
}

/// The lower median; 0 of nothing.
fn median(values: impl Iterator<Item = usize>) -> usize {
    let mut sorted: Vec<usize> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}
