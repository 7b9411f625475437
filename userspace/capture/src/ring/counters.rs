//! Owns the reading of the kernel's per-CPU counters. Never resets them: what counts is growth.

use super::RingError;
use aya::maps::{MapData, PerCpuArray};
use edgelore_events::{counter, direction, names};
use edgelore_model::Direction;

macro_rules! direction_counters {
    ($($(#[$doc:meta])* $field:ident = $index:ident),+ $(,)?) => {
        /// What the programs of one direction have counted, in packets unless said otherwise.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct DirectionCounters { $($(#[$doc])* pub $field: u64),+ }

        impl DirectionCounters {
            fn read(mut read: impl FnMut(u32) -> Result<u64, RingError>) -> Result<Self, RingError> {
                Ok(Self { $($field: read(counter::$index)?),+ })
            }

            /// What was counted since `earlier`.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($field: self.$field.wrapping_sub(earlier.$field)),+ }
            }

            /// Every counter with its name, for metrics.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field)),+]
            }
        }
    };
}

direction_counters! {
    /// Not control plane.
    other = OTHER,
    /// Control plane, withheld ones included.
    control = CONTROL,
    /// Withheld: segments of one KEEPALIVE.
    keepalives_withheld = KEEPALIVE,
    /// Withheld: TCP segments without payload, SYN, FIN or RST.
    pure_acks_withheld = PURE_ACK,
    /// Withheld: BFD packets equal to the last of their session.
    bfd_unchanged_withheld = BFD_UNCHANGED,
    /// Withheld: BFD echo packets.
    bfd_echo_withheld = BFD_ECHO,
    /// Fragments of TCP or UDP packets: not looked into.
    fragments = FRAGMENT,
    /// Headers that could not be walked to the end.
    truncated = TRUNCATED,
    /// Records handed over.
    records = EMITTED,
    /// Records lost because the ring was full.
    ring_full = RING_FULL,
    /// Control packets with part of the payload missing.
    cut = CUT,
    /// Records of packets that repeat themselves, spared because the ring was nearly full.
    shed_hello = SHED,
}

/// What all programs have counted since the ring was opened; the self-test is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Into the gateway.
    pub ingress: DirectionCounters,
    /// Sent by the gateway.
    pub egress: DirectionCounters,
    /// Records that did not have the agreed form.
    pub malformed: u64,
}

impl Counters {
    /// The counters of one direction.
    #[must_use]
    pub const fn of(&self, direction: Direction) -> &DirectionCounters {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    pub(super) fn read(map: &PerCpuArray<MapData, u64>) -> Result<Self, RingError> {
        Ok(Self {
            ingress: DirectionCounters::read(|which| sum(map, direction::INGRESS, which))?,
            egress: DirectionCounters::read(|which| sum(map, direction::EGRESS, which))?,
            malformed: 0,
        })
    }

    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            ingress: self.ingress.since(&earlier.ingress),
            egress: self.egress.since(&earlier.egress),
            malformed: self.malformed,
        }
    }
}

/// Records that did not get into the ring, both directions, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// The ring was full.
    pub(super) ring_full: u64,
    /// The ring was nearly full and the packet will repeat itself.
    pub(super) shed: u64,
}

impl Losses {
    pub(super) fn read(map: &PerCpuArray<MapData, u64>) -> Result<Self, RingError> {
        let both = |which| -> Result<u64, RingError> {
            let ingress = sum(map, direction::INGRESS, which)?;
            Ok(ingress.wrapping_add(sum(map, direction::EGRESS, which)?))
        };
        Ok(Self { ring_full: both(counter::RING_FULL)?, shed: both(counter::SHED)? })
    }
}

/// One counter over all CPUs.
fn sum(map: &PerCpuArray<MapData, u64>, direction: u8, which: u32) -> Result<u64, RingError> {
    let values = map
        .get(&counter::index(direction, which), 0)
        .map_err(|source| RingError::Map { map: names::COUNTERS, source: Box::new(source) })?;
    Ok(values.iter().fold(0, |total, value| total.wrapping_add(*value)))
}
