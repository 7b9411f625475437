//! The detector's settings, with units in their names and defaults that suit a gateway.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Settings of the detector. All have defaults; unknown names are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectConfig {
    /// A convergence has ended when routing stood still for this long, in ms. Shorter than a
    /// usual advertisement interval splits one convergence into several.
    pub quiet_ms: u32,
    /// A convergence that never quietens is closed after this long, in ms.
    pub convergence_max_ms: u32,
    /// Routing changes this long before their trigger still belong to it, in ms: a daemon may
    /// change the kernel's table before it says on the wire why.
    pub lookback_ms: u32,
    /// So many prefixes withdrawn by one speaker within `withdrawal_window_ms` are a burst.
    pub withdrawal_burst_prefixes: u32,
    /// See `withdrawal_burst_prefixes`, in ms.
    pub withdrawal_window_ms: u32,
    /// So many transitions (withdrawn to announced or back, up to down or back) make a flap.
    pub flap_transitions: u32,
    /// Transitions further apart than this do not belong together; a flap ends after this, in ms.
    pub flap_quiet_ms: u32,
    /// Sessions remembered.
    pub sessions_max: usize,
    /// Links watched.
    pub links_max: usize,
    /// Routes of the kernel's table remembered.
    pub fib_routes_max: usize,
    /// Incidents open at a time.
    pub incidents_open_max: usize,
    /// Affected prefixes kept per incident.
    pub incident_prefixes_max: usize,
    /// Routing changes kept for the look back.
    pub recent_changes_max: usize,
    /// Prefixes whose transitions are counted.
    pub flap_prefixes_max: usize,
}

impl Default for DetectConfig {
    fn default() -> Self {
        Self {
            quiet_ms: 5_000,
            convergence_max_ms: 600_000,
            lookback_ms: 1_000,
            withdrawal_burst_prefixes: 100,
            withdrawal_window_ms: 1_000,
            flap_transitions: 6,
            flap_quiet_ms: 60_000,
            sessions_max: 16_384,
            links_max: 4_096,
            fib_routes_max: 2_000_000,
            incidents_open_max: 256,
            incident_prefixes_max: 2_000_000,
            recent_changes_max: 262_144,
            flap_prefixes_max: 2_000_000,
        }
    }
}

impl DetectConfig {
    /// These settings with the bounds on memory (`*_max`) of `bounds`, whose tables stand already.
    #[must_use]
    pub const fn with_bounds_of(&self, bounds: &Self) -> Self {
        Self {
            quiet_ms: self.quiet_ms,
            convergence_max_ms: self.convergence_max_ms,
            lookback_ms: self.lookback_ms,
            withdrawal_burst_prefixes: self.withdrawal_burst_prefixes,
            withdrawal_window_ms: self.withdrawal_window_ms,
            flap_transitions: self.flap_transitions,
            flap_quiet_ms: self.flap_quiet_ms,
            ..*bounds
        }
    }

    /// The method id that outcomes carry: the first eight bytes of SHA-256 over the detector's
    /// name, version and settings. Two outcomes with the same id were measured alike.
    #[must_use]
    pub fn method(&self) -> [u8; 8] {
        let settings = serde_json::to_vec(self).expect("integers always serialize");
        let digest = Sha256::new()
            .chain_update(concat!("edgelore-detect ", env!("CARGO_PKG_VERSION"), "\n"))
            .chain_update(settings)
            .finalize();
        *digest.first_chunk().expect("SHA-256 has 32 bytes")
    }
}
