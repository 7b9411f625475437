//! What a capture contains, counted.

use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

macro_rules! counts {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name { $($(#[$field_doc])* pub $field: u64),+ }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) { $(self.$field += other.$field;)+ }
        }
    };
}

counts! {
    /// BGP messages by type (RFC 4271 §4.1, RFC 2918).
    BgpCounts {
        /// Type 1.
        open,
        /// Type 2.
        update,
        /// Type 3.
        notification,
        /// Type 4; live, those that the kernel withheld are counted there.
        keepalive,
        /// Type 5.
        route_refresh,
    }
}

counts! {
    /// Prefixes in UPDATEs.
    PrefixCounts {
        /// IPv4 unicast announced, classic NLRI or MP_REACH_NLRI.
        ipv4_announced,
        /// IPv4 unicast withdrawn.
        ipv4_withdrawn,
        /// IPv6 unicast announced.
        ipv6_announced,
        /// IPv6 unicast withdrawn.
        ipv6_withdrawn,
        /// Announced in any other address family.
        other_announced,
        /// Withdrawn in any other address family.
        other_withdrawn,
    }
}

counts! {
    /// BFD control packets by state (RFC 5880 §4.1).
    BfdCounts {
        /// State 3.
        up,
        /// State 1.
        down,
        /// State 2.
        init,
        /// State 0.
        admin_down,
    }
}

/// Everything counted while decoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// BGP messages.
    pub bgp: BgpCounts,
    /// Prefixes.
    pub prefixes: PrefixCounts,
    /// BFD packets.
    pub bfd: BfdCounts,
    /// TCP connections on port 179 seen (one per four-tuple), or sessions of an MRT file.
    pub streams: u64,
    /// Stretches of missing bytes in those streams.
    pub gaps: u64,
    /// Messages, datagrams or records that do not decode.
    pub undecodable: u64,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.bgp += other.bgp;
        self.prefixes += other.prefixes;
        self.bfd += other.bfd;
        self.streams += other.streams;
        self.gaps += other.gaps;
        self.undecodable += other.undecodable;
    }
}
