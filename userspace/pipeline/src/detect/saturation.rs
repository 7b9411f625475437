//! Saturation incidents: a queue that stands full.

use super::known::Known;
use super::{Bounds, Detected};
use edgelore_model::{Observation, Timestamp};
use serde::{Deserialize, Serialize};

/// What a saturation is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaturationConfig {}

#[derive(Debug)]
pub(super) struct Saturations {
    config: SaturationConfig,
    bounds: Bounds,
    pub(super) overflows: u64,
}

impl Saturations {
    pub(super) const fn new(config: SaturationConfig, bounds: Bounds) -> Self {
        Self { config, bounds, overflows: 0 }
    }

    /// Takes other thresholds and times from now on.
    pub(super) fn retune(&mut self, config: &SaturationConfig) {
        self.config.clone_from(config);
    }

    /// Takes an observation; `known` has taken it already.
    pub(super) fn observe(&mut self, _: &Observation, _: &Known, _: &mut Vec<Detected>) {}

    /// Lets time pass: closes incidents that are over.
    pub(super) fn advance(&mut self, _: Timestamp, _: &Known, _: &mut Vec<Detected>) {}

    /// Closes every incident.
    pub(super) fn close_all(&mut self, _: &Known, _: &mut Vec<Detected>) {
        let _ = self.bounds;
    }
}
