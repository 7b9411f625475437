//! Owns the reading of the kernel's per-CPU counters. Never resets them: what counts is growth.

use super::RingError;
use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use edgelore_events::{Passed, class, counter, direction, names};
use edgelore_model::Direction;

/// Where the programs count.
pub(super) struct CounterMaps {
    counters: PerCpuArray<MapData, u64>,
    /// Packets that the first look passed: one value, see [`Passed`].
    passed: Array<MapData, Passed>,
}

impl CounterMaps {
    /// Takes the maps out of the object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, RingError> {
        Ok(Self { counters: take(ebpf, names::COUNTERS)?, passed: take(ebpf, names::PASSED)? })
    }

    /// One counter over all CPUs.
    fn sum(&self, direction: u8, which: u32) -> Result<u64, RingError> {
        let values = self.counters.get(&counter::index(direction, which), 0);
        let values = values.map_err(|source| failed(names::COUNTERS, source))?;
        let sum = values.iter().fold(0u64, |total, value| total.wrapping_add(*value));
        let passed = if which == counter::OTHER { self.passed(direction)? } else { 0 };
        Ok(sum.wrapping_add(passed))
    }

    fn passed(&self, direction: u8) -> Result<u64, RingError> {
        let lines = self.passed.get(&0, 0).map_err(|source| failed(names::PASSED, source))?;
        let values = lines.iter().map(|line| line[usize::from(direction)]);
        Ok(values.fold(0, u64::wrapping_add))
    }
}

fn take<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    map: &'static str,
) -> Result<M, RingError> {
    let taken = ebpf.take_map(map).ok_or(RingError::Missing(map))?;
    M::try_from(taken).map_err(|source| failed(map, source))
}

fn failed(map: &'static str, source: MapError) -> RingError {
    RingError::Map { map, source: Box::new(source) }
}

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

    pub(super) fn read(maps: &CounterMaps) -> Result<Self, RingError> {
        Ok(Self {
            ingress: DirectionCounters::read(|which| maps.sum(direction::INGRESS, which))?,
            egress: DirectionCounters::read(|which| maps.sum(direction::EGRESS, which))?,
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
                let failed = |source| failed(names::CLASSES, source);
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

/// Records that did not get into the ring, both directions, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// The ring was full.
    pub(super) ring_full: u64,
    /// The ring was nearly full and the packet will repeat itself.
    pub(super) shed: u64,
}

impl Losses {
    pub(super) fn read(maps: &CounterMaps) -> Result<Self, RingError> {
        let both = |which| -> Result<u64, RingError> {
            let ingress = maps.sum(direction::INGRESS, which)?;
            Ok(ingress.wrapping_add(maps.sum(direction::EGRESS, which)?))
        };
        Ok(Self { ring_full: both(counter::RING_FULL)?, shed: both(counter::SHED)? })
    }
}
