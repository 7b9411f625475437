//! How long an outcome is on probation, and which difference counts.

use serde::{Deserialize, Serialize};

/// `[distil]`: when a comparison becomes an outcome. All have defaults; unknown names are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistilConfig {
    /// So many incidents after a change make an outcome, at least 1.
    pub probation_incidents: u32,
    /// What has not come back is an outcome when its former spacing would have brought this many
    /// incidents, at least 1. Not for convergences: failures come from outside.
    pub probation_missed: u32,
    /// So many incidents before the change tell their spacing, at least 2.
    pub probation_spaced: u32,
    /// Silence of less than this proves nothing, in ms.
    pub probation_silence_ms: u64,
    /// A difference below this is none, in per mille of the severity before.
    pub spread_min_permille: u32,
    /// So many incidents in a row at the old severity are a regression, at least 1.
    pub regression_incidents: u32,
}

impl Default for DistilConfig {
    fn default() -> Self {
        Self {
            probation_incidents: 1,
            probation_missed: 5,
            probation_spaced: 3,
            probation_silence_ms: 600_000,
            spread_min_permille: 50,
            regression_incidents: 2,
        }
    }
}

impl DistilConfig {
    /// The first key whose value is outside its bounds, with the bounds.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, u32, &'static str)> {
        [
            ("distil.probation_incidents", self.probation_incidents, 1, "1 and more"),
            ("distil.probation_missed", self.probation_missed, 1, "1 and more"),
            ("distil.probation_spaced", self.probation_spaced, 2, "2 and more"),
            ("distil.regression_incidents", self.regression_incidents, 1, "1 and more"),
        ]
        .into_iter()
        .find(|(_, value, least, _)| value < least)
        .map(|(key, value, _, bounds)| (key, value, bounds))
    }
}
