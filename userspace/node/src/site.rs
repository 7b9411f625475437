//! What the network is: what the operator says of it, else what was heard.
//!
//! ```text
//! observations ─► SiteTracker ─every 2 s, when it changed─► inference ─► status, keeper
//! ```
//!
//! Owns the weighing of the configuration against the inference. The inference itself is the
//! pipeline's, and it is made beside the detecting thread, which only takes notes.
//!
//! **Invariant:** what is configured always holds; a mismatch is told, never corrected.

use crate::config::NodeConfig;
use crate::keeper::Keeper;
use crate::status::StatusSource;
use edgelore_model::{Observation, Observed, Query};
use edgelore_pipeline::distil::Site;
use edgelore_pipeline::topology::{SiteInference, SiteTracker, may_be};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The class of a network of which nothing is known; no word of the similarity definition, so it is
/// near to nothing.
pub const UNKNOWN: &str = "unknown";
/// How often a network that changed is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// From this confidence on an inference is held against the configuration, in thousandths.
const DOUBT_PERMILLE: u32 = 600;

/// What the operator says of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Siting {
    topology_class: Option<String>,
    node_count: Option<u64>,
}

impl Siting {
    /// What a configuration says.
    #[must_use]
    pub fn of(config: &NodeConfig) -> Self {
        Self { topology_class: config.topology_class.clone(), node_count: config.node_count }
    }

    /// What the operator says on the command line.
    #[must_use]
    pub const fn said(topology_class: Option<String>, node_count: Option<u64>) -> Self {
        Self { topology_class, node_count }
    }

    /// What holds, given what was inferred.
    #[must_use]
    pub fn site(&self, inferred: Option<&SiteInference>) -> Site {
        let class = inferred.and_then(|site| site.topology.as_ref()).map(|found| &found.class);
        let count = inferred.map(|site| site.node_count).filter(|count| *count > 0);
        Site {
            topology_class: self
                .topology_class
                .as_ref()
                .or(class)
                .map_or_else(|| UNKNOWN.to_owned(), Clone::clone),
            node_count: self.node_count.or(count).unwrap_or(1),
        }
    }

    /// Where the configuration and the inference cannot both be right.
    #[must_use]
    pub fn doubts(&self, inferred: &SiteInference) -> Vec<String> {
        let sure = |permille: u32| permille >= DOUBT_PERMILLE;
        let class = inferred.topology.as_ref().filter(|found| sure(found.confidence_permille));
        let class = self.topology_class.as_ref().zip(class).and_then(|(configured, found)| {
            let told = || format!("configured as {configured}, it looks like {}", found.class);
            (!may_be(&found.class, configured)).then(told)
        });
        let heard = inferred.node_count;
        let count = self.node_count.and_then(|configured| {
            let more = heard > configured;
            // Twice as many is no mistake of counting.
            let fewer = !inferred.node_count_is_lower_bound && heard > 0 && heard * 2 <= configured;
            let told = || format!("configured with {configured} routers, {heard} are heard");
            (more || fewer).then(told)
        });
        class.into_iter().chain(count).collect()
    }
}

/// A query that leaves open what is not known.
#[must_use]
pub fn ask(query: Query) -> Query {
    let unknown = query.topology_class.as_deref() == Some(UNKNOWN);
    let open = |query: Query| Query { topology_class: None, node_count: None, ..query };
    if unknown { open(query) } else { query }
}

/// Takes note of what tells the network's shape; everything else passes without a lock.
pub fn hear(tracker: &Mutex<SiteTracker>, observation: &Observation) {
    if matches!(observation.what, Observed::LinkState(_) | Observed::Open { .. }) {
        tracker.lock().unwrap_or_else(PoisonError::into_inner).observe(observation);
    }
}

/// Infers anew whenever something changed, and tells keeper, status and log.
pub(crate) async fn follow(
    siting: Siting,
    tracker: Arc<Mutex<SiteTracker>>,
    keeper: Arc<Mutex<Keeper>>,
    status: StatusSource,
) {
    let mut doubted = Vec::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let heard = {
            let mut tracker = tracker.lock().unwrap_or_else(PoisonError::into_inner);
            tracker.take_changed().then(|| tracker.clone())
        };
        let Some(heard) = heard else { continue };
        let Ok(inferred) = tokio::task::spawn_blocking(move || heard.infer()).await else { return };
        let site = siting.site(Some(&inferred));
        keeper.lock().unwrap_or_else(PoisonError::into_inner).set_site(site);
        let doubts = siting.doubts(&inferred);
        for doubt in doubts.iter().filter(|doubt| !doubted.contains(*doubt)) {
            tracing::warn!(doubt, "the network is not what it is configured to be");
        }
        doubted.clone_from(&doubts);
        let mut status = status.update();
        (status.site, status.site_doubts) = (Some(inferred), doubts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_pipeline::topology::TopologyClass;

    fn inferred(class: &str, confidence_permille: u32, node_count: u64) -> SiteInference {
        let evidence = vec!["two of two".to_owned()];
        let class = TopologyClass { class: class.to_owned(), confidence_permille, evidence };
        SiteInference { topology: Some(class), node_count, node_count_is_lower_bound: false }
    }

    fn siting(class: Option<&str>, node_count: Option<u64>) -> Siting {
        Siting { topology_class: class.map(str::to_owned), node_count }
    }

    #[test]
    fn what_is_configured_holds_and_the_rest_is_inferred() {
        let found = inferred("spine_leaf", 900, 12);
        for (siting, inferred, class, count) in [
            (siting(None, None), None, UNKNOWN, 1),
            (siting(None, None), Some(&found), "spine_leaf", 12),
            (siting(Some("full_mesh"), None), Some(&found), "full_mesh", 12),
            (siting(None, Some(96)), Some(&found), "spine_leaf", 96),
        ] {
            let expected = Site { topology_class: class.to_owned(), node_count: count };
            assert_eq!(siting.site(inferred), expected);
        }
    }

    #[test]
    fn only_what_cannot_both_be_right_is_doubted() {
        for (class, count, found, doubts) in [
            ("spine_leaf", 12, inferred("spine_leaf", 900, 12), 0),
            ("clos_3stage", 12, inferred("spine_leaf", 900, 12), 0),
            ("full_mesh", 12, inferred("spine_leaf", 900, 12), 1),
            ("full_mesh", 12, inferred("spine_leaf", 500, 12), 0),
            ("full_mesh", 96, inferred("spine_leaf", 900, 12), 2),
            ("spine_leaf", 10, inferred("spine_leaf", 900, 12), 1),
        ] {
            let told = siting(Some(class), Some(count)).doubts(&found);
            assert_eq!(told.len(), doubts, "{class} {count}: {told:?}");
        }
        assert!(siting(None, None).doubts(&inferred("spine_leaf", 900, 12)).is_empty());
    }
}
