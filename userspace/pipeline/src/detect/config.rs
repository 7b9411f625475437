//! The detector's settings: a section per event type, each beside its detector, and the bounds.

use super::convergence::ConvergenceConfig;
use super::degradation::DegradationConfig;
use super::flap::FlapConfig;
use super::saturation::SaturationConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Settings of the detector. All have defaults; unknown names are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectConfig {
    /// What a convergence is.
    pub convergence: ConvergenceConfig,
    /// What a flap is.
    pub flap: FlapConfig,
    /// What a saturation is.
    pub saturation: SaturationConfig,
    /// What a degradation is.
    pub degradation: DegradationConfig,
    /// What is remembered at most.
    pub bounds: Bounds,
}

/// Bounds on memory, in entries. What does not fit is counted as an overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// Sessions remembered.
    pub sessions_max: usize,
    /// Links watched.
    pub links_max: usize,
    /// Routes of the kernel's table remembered.
    pub fib_routes_max: usize,
    /// Incidents of one event type open at a time.
    pub incidents_open_max: usize,
    /// Affected prefixes kept per incident.
    pub incident_prefixes_max: usize,
    /// Routing changes kept for the look back.
    pub recent_changes_max: usize,
    /// Prefixes of open flaps, all together.
    pub flap_prefixes_max: usize,
    /// Queueing disciplines watched.
    pub queues_max: usize,
    /// Sessions, adjacencies and links whose losses are counted, by kind of loss.
    pub ailing_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            sessions_max: 16_384,
            links_max: 4_096,
            fib_routes_max: 2_000_000,
            incidents_open_max: 256,
            incident_prefixes_max: 2_000_000,
            recent_changes_max: 262_144,
            flap_prefixes_max: 262_144,
            queues_max: 4_096,
            ailing_max: 16_384,
        }
    }
}

impl DetectConfig {
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
