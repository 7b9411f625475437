//! Seeks advice: asks a store for outcomes near a situation and ranks what they say.

use crate::config::AdviseConfig;
use edgelore_model::{Advice, Query};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::lineage::Lineage;
use edgelore_pipeline::synthesise::{self, Policy};
use edgelore_routing::{Backend, BackendError};
use std::collections::BTreeSet;

/// Ranked advice for a situation, measured in the store's space, from those whose word counts by
/// `policy`. What nobody signed is shown as evidence that does not vote; keys that succeed each other
/// have one vote.
///
/// # Errors
/// When the store does not answer.
pub async fn seek(
    store: &dyn Backend,
    space: &Space,
    query: &Query,
    limits: &AdviseConfig,
    policy: Policy,
) -> Result<Vec<Advice>, BackendError> {
    let found = store.query(query, limits.radius_milli, limits.outcomes_max).await?;
    let publishers: BTreeSet<[u8; 32]> = found.iter().map(|f| f.opened.publisher).collect();
    let publishers: Vec<[u8; 32]> = publishers.into_iter().collect();
    let lineage = Lineage::of(&store.statements(&publishers).await?);
    let unsigned = store.imported(query, limits.radius_milli, limits.outcomes_max).await?;
    let policy = of_all_keys(Policy { lineage, ..policy });
    Ok(synthesise::advise_with(space, query, &found, &unsigned, &policy))
}

/// What is said of a key holds of all keys of its publisher, so that they have one vote together.
fn of_all_keys(policy: Policy) -> Policy {
    let keys = |key: &[u8; 32]| {
        let mut keys = policy.lineage.heirs(&policy.lineage.origin(key));
        keys.insert(*key);
        keys
    };
    let mut groups = policy.groups.clone();
    for (key, group) in &policy.groups {
        for other in keys(key) {
            groups.entry(other).or_insert_with(|| group.clone());
        }
    }
    let pinned: BTreeSet<[u8; 32]> = policy.pinned.iter().flat_map(keys).collect();
    Policy { pinned: pinned.into_iter().collect(), groups, ..policy }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::Timestamp;
    use edgelore_pipeline::packet::SigningKey;
    use edgelore_pipeline::packet::statement::{open, succession};

    #[test]
    fn whichever_key_is_pinned_the_publisher_has_one_vote() {
        let [old, new, other] = [1, 2, 3].map(|seed| SigningKey::from_seed(&mut [seed; 32]));
        let follows = open(&succession(&old, &new, Timestamp(0))).unwrap();
        let [old, new, other] = [old, new, other].map(|key| key.publisher());
        let said = Policy {
            pinned: vec![new],
            groups: [(new, "singapore".to_owned())].into(),
            lineage: Lineage::of([&follows]),
            ..Policy::default()
        };
        let policy = of_all_keys(said);
        let mut both = vec![old, new];
        both.sort_unstable();
        assert_eq!(policy.pinned, both);
        assert_eq!((&policy.groups[&old], policy.groups.get(&other)), (&policy.groups[&new], None));
    }
}
