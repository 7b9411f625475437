//! Advice: ranked resolutions, each with the outcomes that speak for it.

use serde::{Deserialize, Serialize};

/// One outcome that speaks for or against a resolution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// SHA-256 of the packet's exact bytes, hexadecimal.
    pub packet: String,
    /// Who signed it, hexadecimal; `None` for an unsigned import.
    pub publisher: Option<String>,
    /// Distance of its situation from the one asked about, in the similarity definition's unit.
    pub distance: u32,
    /// Severity before.
    pub before: Option<u64>,
    /// Severity after.
    pub after: Option<u64>,
    /// Before minus after, ms.
    pub convergence_delta_ms: i64,
    /// Incidents it rests on.
    pub sample_size: u32,
    /// The outcome voted; `false` when it was shown only (unsigned, quarantined, a second of its group).
    pub votes: bool,
    /// Its steps.
    pub steps: Vec<String>,
}

/// One ranked resolution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// The resolution's pattern.
    pub pattern: String,
    /// The steps of the nearest voting outcome.
    pub steps: Vec<String>,
    /// Weighted median of the improvement, as a fraction of the severity before, in per mille;
    /// negative when it made things worse.
    pub improvement_permille: i64,
    /// A lower bound of the improvement at the stated confidence, per mille: the ranking key.
    pub lower_bound_permille: i64,
    /// Weighted median of before minus after, ms.
    pub convergence_delta_ms: i64,
    /// Voting outcomes.
    pub votes: u32,
    /// Voting outcomes that say it failed or made things worse.
    pub contradictions: u32,
    /// What it rests on, nearest first.
    pub evidence: Vec<Evidence>,
}
