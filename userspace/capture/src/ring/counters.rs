//! Owns the reading of the kernel's per-CPU counters. Never resets them: what counts is growth.

use super::RingError;
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use edgelore_events::{class, counter, direction, names};
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
    /// Withheld: segments of one BGP KEEPALIVE.
    keepalives_withheld = KEEPALIVE,
    /// Withheld: TCP segments without payload, SYN, FIN or RST.
    pure_acks_withheld = PURE_ACK,
    /// Withheld: BFD packets equal to the last of their session.
    bfd_unchanged_withheld = BFD_UNCHANGED,
    /// Withheld: BFD echo packets.
    bfd_echo_withheld = BFD_ECHO,
    /// Withheld: segments of one LDP KeepAlive.
    ldp_keepalives_withheld = LDP_KEEPALIVE,
    /// Withheld: OSPF hellos equal to the last of their sender.
    ospf_hellos_withheld = OSPF_HELLO_UNCHANGED,
    /// Withheld: IS-IS hellos equal to the last of their sender.
    isis_hellos_withheld = ISIS_HELLO_UNCHANGED,
    /// Withheld: LDP hellos equal to the last of their sender.
    ldp_hellos_withheld = LDP_HELLO_UNCHANGED,
    /// Fragments of packets that may be control plane: not looked into.
    fragments = FRAGMENT,
    /// Headers that could not be walked to the end.
    truncated = TRUNCATED,
    /// Records handed over.
    records = EMITTED,
    /// Records lost because the ring was full.
    ring_full = RING_FULL,
    /// Control packets with part of the payload missing.
    cut = CUT,
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

macro_rules! classes {
    ($($(#[$doc:meta])* $field:ident = $index:ident),+ $(,)?) => {
        /// What the classifier has counted, in packets.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Classified { $($(#[$doc])* pub $field: u64),+ }

        impl Classified {
            /// Reads the array of the object, which has not been taken out of it.
            pub(super) fn read(ebpf: &Ebpf) -> Result<Self, RingError> {
                let failed =
                    |source| RingError::Map { map: names::CLASSES, source: Box::new(source) };
                let map = ebpf.map(names::CLASSES).ok_or(RingError::Missing(names::CLASSES))?;
                let map: Array<&MapData, u64> = map.try_into().map_err(failed)?;
                Ok(Self { $($field: map.get(&class::$index, 0).map_err(failed)?),+ })
            }
        }
    };
}

classes! {
    /// None of the others.
    other = OTHER,
    /// Fragments of packets that may be control plane.
    fragments = FRAGMENT,
    /// Headers that could not be walked to the end.
    truncated = TRUNCATED,
    /// Tunnels, not looked into.
    tunnels = TUNNEL,
    /// BGP.
    bgp = BGP,
    /// BFD, echo packets included.
    bfd = BFD,
    /// OSPF.
    ospf = OSPF,
    /// IS-IS.
    isis = ISIS,
    /// LDP sessions.
    ldp = LDP,
    /// LDP hellos.
    ldp_hello = LDP_HELLO,
}

/// Records lost because the ring was full, both directions.
pub(super) fn ring_full(map: &PerCpuArray<MapData, u64>) -> Result<u64, RingError> {
    let ingress = sum(map, direction::INGRESS, counter::RING_FULL)?;
    Ok(ingress.wrapping_add(sum(map, direction::EGRESS, counter::RING_FULL)?))
}

/// One counter over all CPUs.
fn sum(map: &PerCpuArray<MapData, u64>, direction: u8, which: u32) -> Result<u64, RingError> {
    let values = map
        .get(&counter::index(direction, which), 0)
        .map_err(|source| RingError::Map { map: names::COUNTERS, source: Box::new(source) })?;
    Ok(values.iter().fold(0, |total, value| total.wrapping_add(*value)))
}
