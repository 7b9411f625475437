//! What a change can act on: the incidents by which it is tried.
//!
//! **Invariant:** what is not known to be out of reach is within it.

use edgelore_model::{EventType, Protocol};
use serde::{Deserialize, Serialize};

/// Kinds and protocols of incidents that a change can act on; an empty list is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reach {
    /// Sorted, each once.
    events: Vec<EventType>,
    /// Sorted, each once.
    protocols: Vec<Protocol>,
}

impl Reach {
    /// These alone; an empty list is all of them.
    #[must_use]
    pub fn new(mut events: Vec<EventType>, mut protocols: Vec<Protocol>) -> Self {
        events.sort_unstable();
        events.dedup();
        protocols.sort_unstable();
        protocols.dedup();
        Self { events, protocols }
    }

    /// Incidents of this kind and protocol are within it.
    #[must_use]
    pub fn has(&self, event: EventType, protocol: Protocol) -> bool {
        (self.events.is_empty() || self.events.contains(&event))
            && (self.protocols.is_empty() || self.protocols.contains(&protocol))
    }

    /// What both together can act on, and nothing of it left out.
    pub(super) fn and(self, other: &Self) -> Self {
        let events = union(self.events, &other.events);
        Self::new(events, union(self.protocols, &other.protocols))
    }
}

fn union<T: Copy>(mut own: Vec<T>, other: &[T]) -> Vec<T> {
    if own.is_empty() || other.is_empty() {
        return Vec::new();
    }
    own.extend_from_slice(other);
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventType::{Convergence, Flap, Saturation};
    use Protocol::{Bgp, Isis, Ospf};

    #[test]
    fn several_reach_what_each_of_them_reaches() {
        let dampening = Reach::new(vec![Flap, Convergence], vec![Bgp]);
        let cost = Reach::new(vec![Saturation], vec![Ospf, Ospf]);
        let both = dampening.clone().and(&cost);
        for (reach, event, protocol, within) in [
            (&Reach::default(), Saturation, Isis, true),
            (&dampening, Flap, Bgp, true),
            (&dampening, Flap, Ospf, false),
            (&dampening, Saturation, Bgp, false),
            (&both, Flap, Bgp, true),
            (&both, Saturation, Ospf, true),
            (&both, Flap, Isis, false),
            (&dampening.clone().and(&Reach::default()), Saturation, Isis, true),
        ] {
            assert_eq!(reach.has(event, protocol), within, "{reach:?} {event} {protocol}");
        }
    }
}
