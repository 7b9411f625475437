//! The semantic core of an outcome and its hash.
//!
//! Owns the canonical form: Python's `json.dumps(core, sort_keys=True)` of the reference
//! algorithm, bit for bit. Never serves as an address: SHA-256 has no neighbourhood.
//!
//! **Invariant:** equal cores give equal hashes, here and in the reference.

use edgelore_kernels::sha256;
use edgelore_model::Outcome;

use super::json::Object;

/// Width of a bucket of the improvement, ms.
const BUCKET_MS: i128 = 500;

/// What of an outcome its fingerprint depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core {
    /// See [`edgelore_model::Situation::topology_class`].
    pub topology_class: String,
    /// See [`edgelore_model::Situation::protocol`].
    pub protocol: String,
    /// See [`edgelore_model::Situation::event_type`].
    pub event_type: String,
    /// See [`edgelore_model::Resolution::pattern`].
    pub resolution_pattern: String,
    /// Before minus after, ms.
    pub convergence_delta_ms: i64,
    /// Prefixes; wider than any real count because the reference takes any integer.
    pub affected_prefixes: i128,
}

impl From<&Outcome> for Core {
    fn from(outcome: &Outcome) -> Self {
        Self {
            topology_class: outcome.situation.topology_class.clone(),
            protocol: outcome.situation.protocol.clone(),
            event_type: outcome.situation.event_type.clone(),
            resolution_pattern: outcome.resolution.pattern.clone(),
            convergence_delta_ms: outcome.convergence_delta_ms,
            affected_prefixes: outcome.situation.affected_prefixes.into(),
        }
    }
}

/// The canonical form: JSON with sorted keys, the improvement floored to 500 ms and the prefixes
/// as the number of characters of their decimal number (a minus sign counts).
#[must_use]
pub fn canonical(core: &Core) -> String {
    let bucket = i128::from(core.convergence_delta_ms).div_euclid(BUCKET_MS) * BUCKET_MS;
    Object::new()
        .integer("convergence_bucket", bucket)
        .string("event_type", &core.event_type)
        .integer("prefix_scale", core.affected_prefixes.to_string().len())
        .string("protocol", &core.protocol)
        .string("resolution_pattern", &core.resolution_pattern)
        .string("topology_class", &core.topology_class)
        .finish()
}

/// SHA-256 of the canonical form.
#[must_use]
pub fn outcome_hash(core: &Core) -> [u8; 32] {
    outcome_hashes(std::slice::from_ref(core))[0]
}

/// The hashes of many cores, in their order; much faster a core than one at a time.
#[must_use]
pub fn outcome_hashes(cores: &[Core]) -> Vec<[u8; 32]> {
    let texts: Vec<String> = cores.iter().map(canonical).collect();
    let messages: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let mut out = vec![[0; 32]; cores.len()];
    sha256::digest_many(&messages, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extreme_numbers_neither_panic_nor_wrap() {
        let core = Core {
            topology_class: String::new(),
            protocol: String::new(),
            event_type: String::new(),
            resolution_pattern: String::new(),
            convergence_delta_ms: i64::MIN,
            affected_prefixes: i128::MIN,
        };
        assert!(canonical(&core).contains("\"convergence_bucket\": -9223372036854776000,"));
        assert!(canonical(&core).contains("\"prefix_scale\": 40,"));
    }
}
