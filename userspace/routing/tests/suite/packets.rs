//! Packets to store and a clock to turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use edgelore_model::{Known, Outcome, Resolution, Situation, Span, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::{self, Sealed, SigningKey};

/// When every case begins.
pub(crate) const START: Timestamp = Timestamp::from_secs_nanos(1_800_000_000, 0);

/// A clock that only the case moves.
#[derive(Clone, Debug)]
pub(crate) struct SimClock(Arc<AtomicI64>);

impl SimClock {
    /// At [`START`].
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START.0)))
    }

    /// Its time.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, secs: i64) {
        self.0.fetch_add(secs * 1_000_000_000, Ordering::SeqCst);
    }
}

/// A publisher's key, one for each number.
pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&mut [number; 32])
}

/// The reference's example, which counts for a day.
pub(crate) fn outcome() -> Outcome {
    Outcome {
        situation: Situation {
            topology_class: "spine_leaf".into(),
            protocol: "bgp".into(),
            event_type: "convergence".into(),
            severity: 340_000,
            affected_prefixes: 8_200,
            node_count: 96,
        },
        resolution: Resolution {
            pattern: "bfd_tuning".into(),
            steps: vec!["lower the detection time to 300 ms".into()],
            known: Known::Measured,
        },
        before: Some(340_000),
        after: Some(800),
        convergence_delta_ms: 339_200,
        sample_size: 3,
        created: START,
        expires: START + Span::from_millis(86_400_000),
        method: [7; 8],
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    }
}

/// Signs under the shipped definition.
pub(crate) fn sealed(outcome: &Outcome, key: &SigningKey) -> Sealed {
    packet::seal(outcome, key, &Space::default_definition()).unwrap()
}
