//! Graphs of every class in many sizes: what they are taken for, what is left of that when links are
//! missing, and that names do not matter.

use super::*;
use proptest::prelude::*;

type Edges = Vec<(u32, u32)>;

fn judged(edges: &[(u32, u32)]) -> Option<(String, u32)> {
    let class = classify(&Shape::of(edges.iter().copied(), []))?;
    assert!(class.confidence_permille <= 1_000 && !class.evidence.is_empty(), "{class:?}");
    Some((class.class, class.confidence_permille))
}

fn ring_of(nodes: u32) -> Edges {
    (0..nodes).map(|n| (n, (n + 1) % nodes)).collect()
}

fn full_mesh_of(nodes: u32) -> Edges {
    (0..nodes).flat_map(|a| (0..a).map(move |b| (a, b))).collect()
}

fn star_of(spokes: u32) -> Edges {
    (1..=spokes).map(|spoke| (0, spoke)).collect()
}

fn bipartite(spines: u32, leaves: u32) -> Edges {
    (0..spines).flat_map(|s| (0..leaves).map(move |l| (s, spines + l))).collect()
}

fn dual_hub_of(spokes: u32) -> Edges {
    let mut edges = bipartite(2, spokes);
    edges.push((0, 1));
    edges
}

/// Pods of `leaves` below `middle`, each of which has a plane of `cores` of its own.
fn clos(pods: u32, leaves: u32, middle: u32, cores: u32) -> Edges {
    let core = |plane: u32, n: u32| plane * cores + n;
    let aggregation = |pod: u32, n: u32| 10_000 + pod * middle + n;
    let leaf = |pod: u32, n: u32| 100_000 + pod * leaves + n;
    let mut edges = Vec::new();
    for pod in 0..pods {
        for m in 0..middle {
            edges.extend((0..leaves).map(|l| (leaf(pod, l), aggregation(pod, m))));
            edges.extend((0..cores).map(|c| (core(m, c), aggregation(pod, m))));
        }
    }
    edges
}

/// Blocks of `access` below two distribution routers, all of those below two cores; pairs joined.
fn campus(blocks: u32, access: u32) -> Edges {
    let mut edges = vec![(0, 1)];
    for block in 0..blocks {
        let (one, other) = (10 + 2 * block, 11 + 2 * block);
        edges.extend([(one, other), (0, one), (0, other), (1, one), (1, other)]);
        let below = (0..access).map(|n| 1_000 + block * access + n);
        edges.extend(below.flat_map(|access| [(access, one), (access, other)]));
    }
    edges
}

/// Any graph of the class, and the class.
fn any_form() -> impl Strategy<Value = (Edges, &'static str)> {
    prop_oneof![
        (6u32..40).prop_map(|n| (ring_of(n), "access_ring")),
        (4u32..30).prop_map(|n| (full_mesh_of(n), "full_mesh")),
        (4u32..60).prop_map(|n| (star_of(n), "hub_spoke")),
        (4u32..40).prop_map(|n| (dual_hub_of(n), "dual_hub")),
        (3u32..9, 6u32..40).prop_map(|(s, l)| (bipartite(s, l.max(s)), "spine_leaf")),
        (3u32..9, 3u32..9, 2u32..5, 1u32..4)
            .prop_filter("a fat tree", |&(p, l, m, c)| !(l == m && m == c && p == 2 * m))
            .prop_map(|(p, l, m, c)| (clos(p, l.max(c + 1), m, c), "clos_5stage")),
        (2u32..5).prop_map(|half| (clos(2 * half, half, half, half), "fat_tree")),
        (2u32..8, 2u32..12).prop_map(|(blocks, access)| (campus(blocks, access), "three_tier")),
    ]
}

#[test]
fn every_class_is_told() {
    let cases: [(&str, Edges, &str, u32); 14] = [
        ("ring of 12", ring_of(12), "access_ring", 900),
        ("mesh of 7", full_mesh_of(7), "full_mesh", 1_000),
        ("star of 20", star_of(20), "hub_spoke", 1_000),
        ("dual hub of 20", dual_hub_of(20), "dual_hub", 700),
        ("4 spines, 16 leaves", bipartite(4, 16), "spine_leaf", 1_000),
        ("2 spines, 6 leaves", bipartite(2, 6), "spine_leaf", 800),
        ("fat tree of 4 ports", clos(4, 2, 2, 2), "fat_tree", 950),
        ("fat tree of 8 ports", clos(8, 4, 4, 4), "fat_tree", 950),
        ("six pods", clos(6, 12, 4, 6), "clos_5stage", 950),
        ("campus", campus(4, 6), "three_tier", 900),
        ("triangle", full_mesh_of(3), "full_mesh", 500),
        ("chain", ring_of(8)[1..].to_vec(), "access_ring", 500),
        ("ring with stubs", [ring_of(6), vec![(0, 90), (2, 91)]].concat(), "metro_ring", 700),
        ("two rings", [ring_of(8), vec![(0, 4)]].concat(), "dual_ring", 600),
    ];
    for (name, edges, class, confidence) in cases {
        assert_eq!(judged(&edges), Some((class.to_owned(), confidence)), "{name}");
    }
}

#[test]
fn what_could_be_anything_is_nothing() {
    assert_eq!(judged(&[]), None);
    assert_eq!(judged(&[(1, 2)]), None);
    assert_eq!(judged(&[(1, 1)]), None);
}

#[test]
fn the_words_are_those_of_the_similarity_definition() {
    let definition = include_str!("../../fingerprint/similarity.toml");
    for class in [
        "full_mesh",
        "hub_spoke",
        "dual_hub",
        "access_ring",
        "metro_ring",
        "dual_ring",
        "backbone",
        "partial_mesh",
        "spine_leaf",
        "clos_5stage",
        "fat_tree",
        "three_tier",
    ] {
        assert!(definition.contains(&format!("\"{class}\"")), "{class}");
    }
}

#[test]
fn a_part_that_is_cut_off_costs_confidence() {
    let edges = [bipartite(3, 6), star_of(2).iter().map(|(a, b)| (a + 900, b + 900)).collect()];
    let (class, confidence) = judged(&edges.concat()).expect("nine of twelve are a fabric");
    assert_eq!((class.as_str(), confidence), ("spine_leaf", 750));
}

#[test]
fn hostile_graphs_take_no_time() {
    let nodes = 65_536u32;
    let scattered = |n: u32, by: u32| (n, n.wrapping_mul(by).wrapping_add(by >> 3) % nodes);
    let random =
        (1..16u32).flat_map(|k| (0..nodes).map(move |n| scattered(n, 2_654_435_761 + 2 * k)));
    let graphs: [(&str, Edges); 6] = [
        ("star", star_of(nodes)),
        ("ring", ring_of(nodes)),
        ("mesh", full_mesh_of(1_400)),
        ("fabric", bipartite(16, nodes - 16)),
        ("halves", bipartite(1_000, 1_000)),
        ("random", random.collect()),
    ];
    for (name, edges) in graphs {
        let began = std::time::Instant::now();
        let _ = classify(&Shape::of(edges, []));
        // A generous bound: it takes a second at most, where quadratic time would take hours.
        assert!(began.elapsed().as_secs() < 60, "{name}: {:?}", began.elapsed());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_form_is_told_whatever_its_size((edges, class) in any_form()) {
        let (told, confidence) = judged(&edges).expect("it has a form");
        prop_assert_eq!(told, class);
        prop_assert!(confidence >= 600, "{}", confidence);
    }

    #[test]
    fn names_and_order_do_not_matter(
        (edges, _) in any_form(),
        seed: u32,
        shuffle in any::<prop::sample::Index>(),
        gone in any::<prop::sample::Index>(),
    ) {
        let mut edges = edges;
        edges.remove(gone.index(edges.len()));
        let renamed = |n: u32| (n ^ seed).wrapping_mul(2_654_435_761);
        let mut other: Edges = edges.iter().map(|&(a, b)| (renamed(b), renamed(a))).collect();
        other.rotate_left(shuffle.index(edges.len()));
        prop_assert_eq!(
            classify(&Shape::of(edges, [])),
            classify(&Shape::of(other, []))
        );
    }

    #[test]
    fn a_link_or_two_of_a_fabric_may_be_missing(
        spines in 3u32..7,
        leaves in 8u32..30,
        gone in prop::collection::vec(any::<prop::sample::Index>(), 1..3),
    ) {
        let mut edges = bipartite(spines, leaves);
        for index in gone {
            edges.remove(index.index(edges.len()));
        }
        let (class, confidence) = judged(&edges).expect("it has a form");
        prop_assert_eq!(class, "spine_leaf");
        prop_assert!(confidence >= 700, "{}", confidence);
    }

    #[test]
    fn a_link_or_two_of_a_five_stage_fabric_may_be_missing(
        pods in 4u32..8,
        leaves in 6u32..12,
        gone in prop::collection::vec(any::<prop::sample::Index>(), 1..3),
    ) {
        let mut edges = clos(pods, leaves, 4, 3);
        for index in gone {
            edges.remove(index.index(edges.len()));
        }
        let (class, confidence) = judged(&edges).expect("it has a form");
        prop_assert_eq!(class, "clos_5stage");
        prop_assert!(confidence >= 700, "{}", confidence);
    }

    #[test]
    fn no_graph_panics(edges in prop::collection::vec((0u32..30, 0u32..30), 0..200)) {
        judged(&edges);
    }
}
