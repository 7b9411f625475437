//! A topology without names: numbered routers and who is whose neighbour.
//!
//! Owns the questions about graphs that classes are told by. Knows no protocol and no class.
//!
//! **Invariant:** what it answers does not depend on how the routers are numbered, up to that
//! numbering; every answer takes linear time times a logarithm, or a budget that it names.

use std::collections::BTreeMap;

/// Comparisons of neighbours that one search may make; what needs more is not looked for.
pub(super) const COMPARISONS_MAX: usize = 20_000_000;

/// An undirected graph without loops or parallel edges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Each router's neighbours, sorted.
    neighbours: Vec<Vec<u32>>,
}

impl Shape {
    /// The graph of these edges between things that can be told apart; `alone` are those that may
    /// have none.
    pub fn of<T: Ord + Copy>(
        edges: impl IntoIterator<Item = (T, T)>,
        alone: impl IntoIterator<Item = T>,
    ) -> Self {
        let edges: Vec<(T, T)> = edges.into_iter().filter(|(a, b)| a != b).collect();
        let mut names: Vec<T> = edges.iter().flat_map(|&(a, b)| [a, b]).chain(alone).collect();
        names.sort_unstable();
        names.dedup();
        let number = |name: &T| names.binary_search(name).expect("every end was named") as u32;
        let mut neighbours = vec![Vec::new(); names.len()];
        for (a, b) in &edges {
            let (a, b) = (number(a), number(b));
            neighbours[a as usize].push(b);
            neighbours[b as usize].push(a);
        }
        Self::sorted(neighbours)
    }

    fn sorted(mut neighbours: Vec<Vec<u32>>) -> Self {
        for of_one in &mut neighbours {
            of_one.sort_unstable();
            of_one.dedup();
        }
        Self { neighbours }
    }

    /// Routers.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.neighbours.len()
    }

    /// Pairs of neighbours.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.neighbours.iter().map(Vec::len).sum::<usize>() / 2
    }

    /// A router's neighbours, sorted.
    pub(super) fn of_node(&self, node: usize) -> &[u32] {
        &self.neighbours[node]
    }

    pub(super) fn degree(&self, node: usize) -> usize {
        self.neighbours[node].len()
    }

    /// All routers, those with the most neighbours first.
    pub(super) fn by_degree(&self) -> Vec<usize> {
        let mut nodes: Vec<usize> = (0..self.nodes()).collect();
        nodes.sort_by_key(|node| std::cmp::Reverse(self.degree(*node)));
        nodes
    }

    /// The graph of these routers alone.
    fn within(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.nodes()).filter(|node| keep(*node)).collect();
        let number: BTreeMap<u32, u32> =
            (0..).zip(&kept).map(|(n, old)| (*old as u32, n)).collect();
        let renumbered = |node: &usize| {
            self.neighbours[*node].iter().filter_map(|to| number.get(to).copied()).collect()
        };
        Self::sorted(kept.iter().map(renumbered).collect())
    }

    /// The largest connected part; of parts of one size, the one with the most edges.
    #[must_use]
    pub fn largest_part(&self) -> Self {
        let mut part = vec![usize::MAX; self.nodes()];
        let mut sizes: Vec<(usize, usize)> = Vec::new();
        for start in 0..self.nodes() {
            if part[start] != usize::MAX {
                continue;
            }
            let (number, mut waiting) = (sizes.len(), vec![start]);
            part[start] = number;
            sizes.push((0, 0));
            while let Some(node) = waiting.pop() {
                sizes[number] = (sizes[number].0 + 1, sizes[number].1 + self.degree(node));
                for to in self.neighbours[node].iter().map(|to| *to as usize) {
                    if part[to] == usize::MAX {
                        part[to] = number;
                        waiting.push(to);
                    }
                }
            }
        }
        let largest = (0..sizes.len()).max_by_key(|number| sizes[*number]).unwrap_or(0);
        self.within(|node| part[node] == largest)
    }

    /// What is left when routers with one neighbour are taken away until there is none.
    pub(super) fn two_core(&self) -> Self {
        let mut degrees: Vec<usize> = self.neighbours.iter().map(Vec::len).collect();
        let mut gone = vec![false; self.nodes()];
        let mut waiting: Vec<usize> = (0..self.nodes()).filter(|n| degrees[*n] <= 1).collect();
        while let Some(node) = waiting.pop() {
            if std::mem::replace(&mut gone[node], true) {
                continue;
            }
            for to in self.neighbours[node].iter().map(|to| *to as usize) {
                degrees[to] = degrees[to].saturating_sub(1);
                if degrees[to] <= 1 && !gone[to] {
                    waiting.push(to);
                }
            }
        }
        self.within(|node| !gone[node])
    }

    /// Two sides so that every edge goes from one to the other; `None` when there are none, or the
    /// graph is not connected.
    pub(super) fn sides(&self) -> Option<Vec<bool>> {
        let mut side: Vec<Option<bool>> = vec![None; self.nodes()];
        let mut waiting = vec![0];
        *side.first_mut()? = Some(false);
        while let Some(node) = waiting.pop() {
            for to in self.neighbours[node].iter().map(|to| *to as usize) {
                match side[to] {
                    None => {
                        side[to] = side[node].map(|side| !side);
                        waiting.push(to);
                    }
                    same if same == side[node] => return None,
                    Some(_) => {}
                }
            }
        }
        side.into_iter().collect()
    }

    /// The graph without its *peer links*, those between two routers that have but for one the same
    /// other neighbours, as the two of a redundant pair have; and how many those were.
    pub(super) fn without_peer_links(&self) -> (Self, usize) {
        let comparisons = |node: usize| {
            self.neighbours[node]
                .iter()
                .map(move |to| self.degree(node) + self.degree(*to as usize))
        };
        let all: usize = (0..self.nodes()).flat_map(comparisons).sum();
        if all > COMPARISONS_MAX {
            return (self.clone(), 0);
        }
        let kept = |node: usize| -> Vec<u32> {
            let of_one = self.neighbours[node].iter().copied();
            of_one.filter(|to| !self.are_peers(node as u32, *to)).collect()
        };
        let kept = Self { neighbours: (0..self.nodes()).map(kept).collect() };
        let removed = self.edges() - kept.edges();
        (kept, removed)
    }

    fn are_peers(&self, a: u32, b: u32) -> bool {
        let others = |of: u32, but: u32| {
            self.neighbours[of as usize].iter().copied().filter(move |to| *to != but)
        };
        let common = common(others(a, b), others(b, a));
        let differ = self.degree(a as usize) + self.degree(b as usize) - 2 - 2 * common;
        common >= 1 && differ <= 1
    }
}

/// How many numbers two sorted sequences have in common.
pub(super) fn common(a: impl IntoIterator<Item = u32>, b: impl IntoIterator<Item = u32>) -> usize {
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    let mut count = 0;
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => drop(a.next()),
            std::cmp::Ordering::Greater => drop(b.next()),
            std::cmp::Ordering::Equal => {
                count += 1;
                a.next();
                b.next();
            }
        }
    }
    count
}
