//! Where outcomes of this node may go: `[sharing]`, and the stores of each scope.
//!
//! ```text
//! outcome ─► its scope (by event type) ─► the stores whose readers the scope admits ─► publisher
//! ```
//!
//! Owns which scope an outcome has and which stores it may enter. Asking for advice is no outcome:
//! every store is asked, and the question is a situation.
//!
//! **Invariant:** an outcome, and what is asked of a store on its behalf, reaches no store whose scope
//! is wider than its own; a store of which nothing is said is public.

use crate::store;
use crate::trust::{Guard, Trust};
use edgelore_model::{EventType, Sharing};
use edgelore_routing::Backend;
use edgelore_routing::layers::Named;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

const EVENT_TYPES: [EventType; 4] =
    [EventType::Convergence, EventType::Flap, EventType::Saturation, EventType::Degradation];

/// `[sharing]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharingConfig {
    /// How far outcomes may go, unless `events` says otherwise: `private`, `group` or `public`.
    pub outcomes: Sharing,
    /// How far outcomes of an event type may go: `convergence`, `flap`, `saturation`, `degradation`.
    pub events: BTreeMap<String, Sharing>,
    /// Who reads a store, by its text in `publish.store`; everybody, unless it is here.
    pub stores: BTreeMap<String, Sharing>,
}

impl SharingConfig {
    /// How far an outcome of an event type may go.
    #[must_use]
    pub fn of_event(&self, event: &str) -> Sharing {
        self.events.get(event).copied().unwrap_or(self.outcomes)
    }

    /// The widest scope that an outcome can have.
    #[must_use]
    pub fn widest(&self) -> Sharing {
        EVENT_TYPES.into_iter().map(|event| self.of_event(event.term())).max().unwrap_or_default()
    }

    /// The key, value and bounds of what cannot be used with these stores.
    pub(crate) fn fault(&self, stores: &[String]) -> Option<(&'static str, String, &'static str)> {
        let is_event = |event: &String| EVENT_TYPES.iter().any(|one| one.term() == event);
        let event = self.events.keys().find(|event| !is_event(event));
        let event =
            event.map(|event| ("sharing.events", event.clone(), "the four event types' names"));
        // Its value may hold a password.
        let store = self.stores.keys().position(|store| !stores.contains(store)).map(|place| {
            let which = format!("(entry {})", place + 1);
            ("sharing.stores", which, "the stores of publish.store, as they are written there")
        });
        event.or(store)
    }
}

/// The stores that outcomes of each scope may enter.
#[derive(Clone, Default)]
pub struct Outlets {
    /// In the order of [`Sharing::ALL`].
    by_scope: [Option<Arc<dyn Backend>>; 3],
    reading: Option<Arc<dyn Backend>>,
}

impl Outlets {
    /// Over these stores; what they give passes a guard.
    #[must_use]
    pub fn new(stores: &[Named], config: &SharingConfig, trust: &Arc<Trust>) -> Self {
        let guarded = |stores: Vec<Named>| {
            let together = store::together(stores)?;
            Some(Guard::reading(together, Arc::clone(trust)) as Arc<dyn Backend>)
        };
        let of = |name: &str| config.stores.get(name).copied().unwrap_or_default();
        let by_scope = Sharing::ALL.map(|scope| {
            let open = stores.iter().filter(|(name, _)| scope.may_enter(of(name)));
            guarded(open.cloned().collect())
        });
        Self { by_scope, reading: guarded(stores.to_vec()) }
    }

    /// What outcomes of a scope are published to; `None` when no store may have them.
    #[must_use]
    pub fn of(&self, scope: Sharing) -> Option<&Arc<dyn Backend>> {
        self.by_scope[scope as usize].as_ref()
    }

    /// What is read: all stores.
    #[must_use]
    pub const fn reading(&self) -> Option<&Arc<dyn Backend>> {
        self.reading.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Sharing::{Group, Private, Public};

    fn config(text: &str) -> SharingConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn an_event_type_has_its_own_scope_or_that_of_all() {
        let sharing = config("outcomes = 'group'\nevents = { saturation = 'private' }");
        assert_eq!(sharing.of_event("saturation"), Private);
        assert_eq!(sharing.of_event("flap"), Group);
        assert_eq!((sharing.widest(), SharingConfig::default().widest()), (Group, Public));
    }

    #[test]
    fn what_names_no_event_and_no_store_is_refused_without_its_password() {
        let stores = ["redis://:secret@host".to_owned()];
        let fault = |text: &str| config(text).fault(&stores);
        assert_eq!(fault("stores = { 'redis://:secret@host' = 'group' }"), None);
        let (key, value, _) = fault("stores = { 'redis://:other-secret@host' = 'group' }").unwrap();
        assert_eq!((key, value.contains("secret")), ("sharing.stores", false));
        let (key, value, _) = fault("events = { flaps = 'private' }").unwrap();
        assert_eq!((key, value.as_str()), ("sharing.events", "flaps"));
        assert!(toml::from_str::<SharingConfig>("outcomes = 'everybody'").is_err());
    }
}
