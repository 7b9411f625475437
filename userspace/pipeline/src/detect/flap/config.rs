//! What a flap is, in figures.

use crate::rib::Penalties;
use edgelore_model::Span;
use serde::{Deserialize, Serialize};

/// What a flap is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlapConfig {
    /// So many transitions (withdrawn to announced or back, up to down or back) make a flap; more
    /// than 127 are taken for 127.
    pub transitions: u32,
    /// Transitions further apart than this do not belong together; a flap ends after this at the
    /// earliest, in ms.
    pub quiet_ms: u32,
    /// The time in which a penalty halves (RFC 2439 §4.2), in ms.
    pub half_life_ms: u32,
    /// Added for each loss: a withdrawal, a session, adjacency or link that goes down.
    pub penalty_loss: u16,
    /// Added when a route is announced with other attributes.
    pub penalty_change: u16,
    /// A penalty of so much is a flap, however few transitions there were. RFC 7196 §4 advises
    /// 6,000 at least, since less punishes what merely converges.
    pub penalty_open: u16,
    /// A flap goes on as long as its penalty is not below this.
    pub penalty_close: u16,
    /// No penalty grows past this.
    pub penalty_ceiling: u16,
}

impl Default for FlapConfig {
    fn default() -> Self {
        let Penalties { loss, change, ceiling, .. } = Penalties::default();
        Self {
            transitions: 6,
            quiet_ms: 60_000,
            half_life_ms: 900_000,
            penalty_loss: loss,
            penalty_change: change,
            penalty_open: 6_000,
            penalty_close: 3_000,
            penalty_ceiling: ceiling,
        }
    }
}

impl FlapConfig {
    /// What separates two episodes.
    #[must_use]
    pub const fn quiet(&self) -> Span {
        Span::from_millis(self.quiet_ms as i64)
    }

    /// What faults cost and how that is forgotten.
    #[must_use]
    pub const fn penalties(&self) -> Penalties {
        Penalties {
            half_life: Span::from_millis(self.half_life_ms as i64),
            loss: self.penalty_loss,
            change: self.penalty_change,
            ceiling: self.penalty_ceiling,
        }
    }

    /// So many transitions or so much of a penalty make a flap.
    pub(super) fn reached(&self, transitions: u32, penalty: u16) -> bool {
        transitions >= self.transitions.min(127) || penalty >= self.penalty_open
    }
}
