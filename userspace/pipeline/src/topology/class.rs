//! Which class of topology a graph is: a word of the similarity definition, how sure, and why.
//!
//! Every class that a graph alone can show has an ideal form. What is counted is how many links agree
//! with it and how many are missing or too many; the class whose form is nearest wins. Some classes
//! look alike, and a graph that could be another one never counts as sure:
//! `clos_3stage` folded is `spine_leaf`; `collapsed_core` and `dmvpn` are told as `dual_hub` and
//! `hub_spoke`; `internet_exchange` is no router's graph at all.
//!
//! **Invariant:** integers alone; the answer does not depend on the routers' names or order, and takes
//! linear time times a logarithm, with the bounds that `shape` and `tiers` name.

use super::shape::Shape;
use super::tiers;
use serde::{Deserialize, Serialize};

/// Below this nothing is said, in thousandths.
const CONFIDENCE_MIN: u32 = 200;

/// What a topology was found to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyClass {
    /// A word of the similarity definition.
    pub class: String,
    /// How sure, in thousandths: 1,000 when nothing speaks against it and nothing else looks so.
    pub confidence_permille: u32,
    /// What speaks for it, as sentences that name nobody.
    pub evidence: Vec<String>,
}

/// A class that the graph may be.
#[derive(Debug)]
pub(super) struct Candidate {
    class: &'static str,
    /// How much agrees with its ideal form, in thousandths.
    fit: u64,
    /// How sure it can be when all agrees, in thousandths.
    cap: u32,
    evidence: Vec<String>,
}

impl Candidate {
    /// One with so many links that agree with its form, and so many that are missing or too many.
    pub(super) fn new(
        class: &'static str,
        agree: usize,
        differ: usize,
        cap: u32,
        evidence: Vec<String>,
    ) -> Self {
        let (agree, differ) = (agree as u64, differ as u64);
        Self { class, fit: agree * 1_000 / (agree + differ).max(1), cap, evidence }
    }

    /// A link in three that does not agree leaves no confidence.
    fn confidence(&self, nodes: usize) -> u32 {
        let fit = 1_000u64.saturating_sub(3 * (1_000 - self.fit)) as u32;
        let size = match nodes {
            0..=2 => 0,
            3 => 500,
            4 => 700,
            5 => 850,
            _ => 1_000,
        };
        fit * self.cap / 1_000 * size / 1_000
    }
}

/// The class of a graph's largest connected part; `None` when it could be anything.
#[must_use]
pub fn classify(shape: &Shape) -> Option<TopologyClass> {
    let whole = shape.nodes();
    let part = shape.largest_part();
    let nodes = part.nodes();
    let mut candidates = vec![full_mesh(&part), star(&part), mesh(&part)];
    candidates.extend(dual_hub(&part));
    candidates.extend(ring(&part));
    candidates.extend(tree(&part));
    candidates.extend(tiers::candidates(&part));
    // Of equals the first: the order above is from the plain to the intricate.
    let best = candidates.into_iter().rev().max_by_key(|one| one.confidence(nodes))?;
    let share = (nodes * 1_000 / whole.max(1)) as u32;
    let confidence_permille = best.confidence(nodes) * share / 1_000;
    let mut evidence = best.evidence;
    evidence.push(format!("{nodes} routers, {} links", part.edges()));
    if nodes < whole {
        evidence.push(format!("{} further routers are not connected to them", whole - nodes));
    }
    (confidence_permille >= CONFIDENCE_MIN).then(|| TopologyClass {
        class: best.class.to_owned(),
        confidence_permille,
        evidence,
    })
}

/// Classes that a graph alone does not tell apart.
const LOOK_ALIKE: [&[&str]; 5] = [
    &["spine_leaf", "clos_3stage", "dual_hub", "collapsed_core"],
    &["clos_5stage", "fat_tree", "three_tier"],
    &["hub_spoke", "dmvpn"],
    &["access_ring", "metro_ring", "dual_ring"],
    &["partial_mesh", "backbone", "full_mesh"],
];

/// A network that was configured to be `configured` may well look like `found`.
#[must_use]
pub fn may_be(found: &str, configured: &str) -> bool {
    found == configured
        || LOOK_ALIKE.iter().any(|alike| alike.contains(&found) && alike.contains(&configured))
}

const fn pairs(nodes: usize) -> usize {
    nodes * nodes.saturating_sub(1) / 2
}

fn full_mesh(shape: &Shape) -> Candidate {
    let (edges, pairs) = (shape.edges(), pairs(shape.nodes()));
    let evidence = format!("{edges} of {pairs} pairs of routers are neighbours");
    Candidate::new("full_mesh", edges, pairs - edges, 1_000, vec![evidence])
}

/// One hub, and spokes that know nobody else.
fn star(shape: &Shape) -> Candidate {
    let (nodes, edges) = (shape.nodes(), shape.edges());
    let spokes = shape.by_degree().first().map_or(0, |hub| shape.degree(*hub));
    let differ = edges - spokes + nodes.saturating_sub(1 + spokes);
    let evidence =
        format!("one router has {spokes} of the {} others as neighbours", nodes.max(1) - 1);
    Candidate::new("hub_spoke", spokes, differ, 1_000, vec![evidence])
}

/// Two hubs that know each other, and spokes that know both.
fn dual_hub(shape: &Shape) -> Option<Candidate> {
    let order = shape.by_degree();
    let [one, other, third, ..] = order[..] else { return None };
    let joined = shape.of_node(one).binary_search(&(other as u32)).is_ok();
    if !joined || shape.nodes() < 5 || shape.degree(third) == shape.degree(other) {
        return None;
    }
    let spokes = shape.nodes() - 2;
    let links = shape.degree(one) + shape.degree(other) - 2;
    let differ = 2 * spokes - links + (shape.edges() - links - 1);
    let evidence =
        format!("two joined hubs have {links} of {} links to {spokes} spokes", 2 * spokes);
    // A collapsed core looks the same.
    Some(Candidate::new("dual_hub", links + 1, differ, 700, vec![evidence]))
}

/// One ring or two that share a part, with what hangs on them.
fn ring(shape: &Shape) -> Option<Candidate> {
    let core = shape.two_core();
    let (nodes, on_ring) = (shape.nodes(), core.nodes());
    if on_ring < 4 {
        return None;
    }
    let stubs = nodes - on_ring;
    let hanging = format!("{stubs} routers hang on it");
    match core.edges() - on_ring {
        0 if stubs == 0 => {
            let evidence = format!("{on_ring} routers with two neighbours each are one ring");
            Some(Candidate::new("access_ring", on_ring, 0, 900, vec![evidence]))
        }
        0 => {
            let evidence = vec![format!("{on_ring} routers are one ring"), hanging];
            let beyond = stubs.saturating_sub(2 * on_ring);
            Some(Candidate::new("metro_ring", on_ring + stubs - beyond, beyond, 700, evidence))
        }
        1 if on_ring >= 6 => {
            let evidence =
                vec![format!("{on_ring} routers are two rings that share a part"), hanging];
            Some(Candidate::new("dual_ring", on_ring, stubs, 600, evidence))
        }
        _ => None,
    }
}

/// No redundancy at all: hubs of hubs, or a chain.
fn tree(shape: &Shape) -> Option<Candidate> {
    let nodes = shape.nodes();
    if nodes < 4 || shape.edges() + 1 != nodes {
        return None;
    }
    let inner = (0..nodes).filter(|node| shape.degree(*node) > 1).count();
    if (0..nodes).all(|node| shape.degree(node) <= 2) {
        let evidence = "a chain: a ring with one link missing looks so".to_owned();
        return Some(Candidate::new("access_ring", nodes, 0, 500, vec![evidence]));
    }
    let evidence =
        format!("a tree in which {inner} routers join {} that have one neighbour", nodes - inner);
    Some(Candidate::new(
        "hub_spoke",
        nodes - inner,
        inner.saturating_sub(nodes / 3),
        650,
        vec![evidence],
    ))
}

/// What is joined more than once and follows no form.
fn mesh(shape: &Shape) -> Candidate {
    let (nodes, edges) = (shape.nodes(), shape.edges());
    let redundant = shape.two_core().nodes();
    let sparse = nodes >= 8 && 2 * edges <= 5 * nodes;
    let class = if sparse { "backbone" } else { "partial_mesh" };
    let evidence = format!(
        "{redundant} of {nodes} routers are joined more than once, {edges} of {} pairs are neighbours",
        pairs(nodes)
    );
    Candidate::new(class, redundant, nodes - redundant, 450, vec![evidence])
}

#[cfg(test)]
mod tests;
