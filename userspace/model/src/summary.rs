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
        /// Announced in any other address family, those counted apart below included.
        other_announced,
        /// Withdrawn in any other address family, those counted apart below included.
        other_withdrawn,
        /// Multicast (SAFI 2, RFC 4760) announced.
        multicast_announced,
        /// Multicast withdrawn.
        multicast_withdrawn,
        /// Labelled unicast (SAFI 4, RFC 8277) announced.
        labelled_announced,
        /// Labelled unicast withdrawn.
        labelled_withdrawn,
        /// VPN (SAFI 128 and 129, RFC 4364, RFC 4659, RFC 6514) announced.
        vpn_announced,
        /// VPN withdrawn.
        vpn_withdrawn,
        /// EVPN routes (RFC 7432) announced.
        evpn_announced,
        /// EVPN routes withdrawn.
        evpn_withdrawn,
        /// Flow specifications (SAFI 133 and 134, RFC 8955, RFC 8956) announced.
        flowspec_announced,
        /// Flow specifications withdrawn.
        flowspec_withdrawn,
        /// VPLS (RFC 4761) announced.
        vpls_announced,
        /// VPLS withdrawn.
        vpls_withdrawn,
        /// Route target constraints (SAFI 132, RFC 4684) announced.
        route_target_announced,
        /// Route target constraints withdrawn.
        route_target_withdrawn,
    }
}

counts! {
    /// BGP messages with faults by what they mean (RFC 7606 §2), each under the gravest.
    BgpFaultCounts {
        /// UPDATEs of which attributes, or OPENs of which capabilities, are passed over.
        attribute_discard,
        /// UPDATEs whose announcements count as withdrawals.
        treat_as_withdraw,
        /// Messages for which the receiver ends the session.
        session_reset,
    }
}

counts! {
    /// BFD control packets by state (RFC 5880 §4.1), and by kind.
    BfdCounts {
        /// State 3.
        up,
        /// State 1.
        down,
        /// State 2.
        init,
        /// State 0.
        admin_down,
        /// Echo packets (RFC 5881 §4): counted here alone, for their content is their sender's.
        echo,
        /// Of the control packets, those of multihop sessions (RFC 5883).
        multihop,
        /// Of the control packets, those on members of an aggregate (RFC 7130).
        micro,
        /// Of the control packets, those of seamless BFD (RFC 7881).
        seamless,
        /// Of the control packets, those with an authentication section.
        authenticated,
    }
}

counts! {
    /// BMP messages by type (RFC 7854 §4.1).
    BmpCounts {
        /// Type 4.
        initiation,
        /// Type 3.
        peer_up,
        /// Type 2.
        peer_down,
        /// Type 0.
        route_monitoring,
        /// Type 1.
        statistics,
        /// Type 5.
        termination,
        /// Type 6.
        route_mirroring,
        /// Prefixes withdrawn from a table that had announced none: not believed.
        unfounded_withdrawals,
    }
}

counts! {
    /// OSPF packets by type, version 2 and 3 (RFC 2328 §A.3.1, RFC 5340 §A.3.1).
    OspfCounts {
        /// Type 1; live, those that the kernel withheld are counted there.
        hello,
        /// Type 2.
        database_description,
        /// Type 3.
        link_state_request,
        /// Type 4.
        link_state_update,
        /// Type 5.
        link_state_ack,
    }
}

counts! {
    /// IS-IS PDUs by type, both levels (ISO 10589 §9).
    IsisCounts {
        /// Hellos on LANs and point-to-point links; live, those that the kernel withheld are
        /// counted there.
        hello,
        /// Link state.
        lsp,
        /// Complete sequence numbers.
        csnp,
        /// Partial sequence numbers.
        psnp,
    }
}

counts! {
    /// LDP messages by type (RFC 5036 §3.5).
    LdpCounts {
        /// 0x0001.
        notification,
        /// 0x0100; live, those that the kernel withheld are counted there.
        hello,
        /// 0x0200.
        initialization,
        /// 0x0201.
        keepalive,
        /// 0x0300.
        address,
        /// 0x0301.
        address_withdraw,
        /// 0x0400.
        label_mapping,
        /// 0x0401.
        label_request,
        /// 0x0402.
        label_withdraw,
        /// 0x0403.
        label_release,
        /// 0x0404.
        label_abort_request,
    }
}

counts! {
    /// Table dumps (RFC 6396 §4.2 and §4.3, RFC 8050 §4).
    TableCounts {
        /// Peers: those that the peer index tables list, or that entries of the older format name.
        peers,
        /// Prefixes, each once per dump.
        prefixes,
        /// Entries: routes to a prefix as one peer announced them.
        entries,
    }
}

/// Everything counted while decoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// BGP messages.
    pub bgp: BgpCounts,
    /// BGP messages with faults.
    #[serde(default)]
    pub bgp_faults: BgpFaultCounts,
    /// Prefixes.
    pub prefixes: PrefixCounts,
    /// BFD packets.
    pub bfd: BfdCounts,
    /// BMP messages.
    pub bmp: BmpCounts,
    /// OSPF packets.
    pub ospf: OspfCounts,
    /// IS-IS PDUs.
    pub isis: IsisCounts,
    /// LDP messages.
    pub ldp: LdpCounts,
    /// Table dumps; nothing in them is a message.
    pub table: TableCounts,
    /// Control-plane TCP connections seen (one per four-tuple), or sessions of an MRT file.
    pub streams: u64,
    /// Stretches of missing bytes in those streams.
    pub gaps: u64,
    /// Messages, datagrams or records that do not decode.
    pub undecodable: u64,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.bgp += other.bgp;
        self.bgp_faults += other.bgp_faults;
        self.prefixes += other.prefixes;
        self.bfd += other.bfd;
        self.bmp += other.bmp;
        self.ospf += other.ospf;
        self.isis += other.isis;
        self.ldp += other.ldp;
        self.table += other.table;
        self.streams += other.streams;
        self.gaps += other.gaps;
        self.undecodable += other.undecodable;
    }
}
