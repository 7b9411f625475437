//! Which keys are one publisher's, and which count no more.
//!
//! Owns what follows from statements: keys that succeed each other are one trust group with one
//! vote; a successor may replace and take back what its predecessors published; a revoked key
//! counts for nothing, and nobody inherits from it.
//!
//! **Invariant:** the result depends on the set of statements, not on their order.

use super::statement::{Said, Statement};
use std::collections::{BTreeMap, BTreeSet};

/// Keys of one publisher that are followed.
pub const KEYS_MAX: usize = 32;

type Publisher = [u8; 32];

/// What statements say of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Who comes before a key; of several the smallest id.
    before: BTreeMap<Publisher, Publisher>,
    after: BTreeMap<Publisher, BTreeSet<Publisher>>,
    revoked: BTreeSet<Publisher>,
}

impl Lineage {
    /// From any number of statements.
    #[must_use]
    pub fn of<'s>(statements: impl IntoIterator<Item = &'s Statement>) -> Self {
        let mut lineage = Self::default();
        statements.into_iter().for_each(|statement| lineage.add(statement));
        lineage
    }

    /// Takes a statement in.
    pub fn add(&mut self, statement: &Statement) {
        let signer = statement.publisher;
        match statement.said {
            Said::Revoked => {
                self.revoked.insert(signer);
            }
            Said::Succeeded { publisher, .. } if publisher != signer => {
                let before = self.before.entry(publisher).or_insert(signer);
                *before = signer.min(*before);
                self.after.entry(signer).or_default().insert(publisher);
            }
            Said::Succeeded { .. } => {}
        }
    }

    /// Nothing is said of any key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.revoked.is_empty()
    }

    /// The key counts no more.
    #[must_use]
    pub fn is_revoked(&self, publisher: &Publisher) -> bool {
        self.revoked.contains(publisher)
    }

    /// The first key of a publisher: equal for all keys that succeed each other.
    #[must_use]
    pub fn origin(&self, publisher: &Publisher) -> Publisher {
        let mut seen = BTreeSet::from([*publisher]);
        let mut at = *publisher;
        while let Some(before) = self.before.get(&at).filter(|before| !self.is_revoked(before)) {
            // Keys that succeed each other in a circle are one publisher's too.
            if self.is_revoked(&at) || !seen.insert(*before) || seen.len() > KEYS_MAX {
                return seen.first().copied().unwrap_or(at);
            }
            at = *before;
        }
        at
    }

    /// Whether it has heirs beside itself.
    #[must_use]
    pub fn is_succeeded(&self, publisher: &Publisher) -> bool {
        !self.is_revoked(publisher) && self.after.contains_key(publisher)
    }

    /// The keys that may replace and take back what this one published: itself and those after it.
    #[must_use]
    pub fn heirs(&self, publisher: &Publisher) -> BTreeSet<Publisher> {
        let mut heirs = BTreeSet::from([*publisher]);
        let mut waiting = vec![*publisher];
        while let Some(at) = waiting.pop() {
            if self.is_revoked(&at) {
                continue;
            }
            for after in self.after.get(&at).into_iter().flatten() {
                if heirs.len() < KEYS_MAX && heirs.insert(*after) {
                    waiting.push(*after);
                }
            }
        }
        heirs
    }
}

#[cfg(test)]
mod tests {
    use super::super::SigningKey;
    use super::super::statement::{open, revocation, succession};
    use super::*;
    use edgelore_model::Timestamp;

    const AT: Timestamp = Timestamp(1_780_000_000_000_000_000);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&mut [seed; 32])
    }

    fn follows(old: u8, new: u8) -> Statement {
        open(&succession(&key(old), &key(new), AT)).unwrap()
    }

    fn gone(seed: u8) -> Statement {
        open(&revocation(&key(seed), AT)).unwrap()
    }

    fn id(seed: u8) -> Publisher {
        key(seed).publisher()
    }

    #[test]
    fn keys_that_succeed_each_other_are_one_publishers() {
        let lineage = Lineage::of([&follows(1, 2), &follows(2, 3)]);
        for seed in 1..=3 {
            assert_eq!(lineage.origin(&id(seed)), id(1));
        }
        assert_eq!(lineage.origin(&id(4)), id(4));
        assert_eq!(lineage.heirs(&id(2)), BTreeSet::from([id(2), id(3)]));
        assert_eq!(lineage.heirs(&id(3)), BTreeSet::from([id(3)]));
        assert_eq!([2, 3, 4].map(|seed| lineage.is_succeeded(&id(seed))), [true, false, false]);
    }

    #[test]
    fn nobody_inherits_from_a_revoked_key() {
        let statements = [follows(1, 2), follows(2, 3), gone(2)];
        let lineage = Lineage::of(&statements);
        assert!(lineage.is_revoked(&id(2)) && !lineage.is_revoked(&id(3)));
        assert_eq!(lineage.origin(&id(3)), id(3));
        assert_eq!(lineage.heirs(&id(2)), BTreeSet::from([id(2)]));
        assert!(lineage.is_succeeded(&id(1)) && !lineage.is_succeeded(&id(2)));
        assert_eq!(Lineage::of(statements.iter().rev()), lineage);
    }

    #[test]
    fn circles_and_forks_end() {
        let circle = Lineage::of([&follows(1, 2), &follows(2, 1), &follows(1, 1)]);
        assert_eq!(circle.origin(&id(1)), circle.origin(&id(2)));
        let fork = Lineage::of([&follows(1, 2), &follows(1, 3)]);
        assert_eq!((fork.origin(&id(2)), fork.origin(&id(3))), (id(1), id(1)));
        let many: Vec<Statement> = (1..=60).map(|seed| follows(seed, seed + 1)).collect();
        let chain = Lineage::of(&many);
        assert!(chain.heirs(&id(1)).len() <= KEYS_MAX);
        let _ = chain.origin(&id(61));
    }
}
