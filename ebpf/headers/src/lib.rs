//! Owns the bounds-checked walk from the link layer to the payload of a control protocol, and the
//! delta headers of what it finds there.
//!
//! The same code runs in the kernel (over XDP and skb data) and in userspace (over the bytes of a
//! capture file), so both see the same packets as control plane. It never allocates, never
//! verifies checksums (locally sent TCP carries partial ones) and never reassembles fragments.
//!
//! ```text
//! Ethernet ─► VLAN (0..=2) ─┬► MPLS labels (0..=8) ─► IPv4 (+options, AH)          ─┬► TCP 179, 646   ─► Bgp, Ldp
//! other link types ─────────┤                         IPv6 (+extension headers, AH) ├► UDP 3784 …, 646 ─► Bfd, LdpHello
//!                           │                            ▲                          ├► protocol 89    ─► Ospf
//!                           │                            └── once ── GRE, 4, 41 ◄───┘
//!                           └► 802.3 length ─► LLC FE FE 03 ─► 0x83                               ─► Isis
//! ```
//!
//! **Invariant:** no input makes it panic, loop without bound or read outside the bytes given.
#![no_std]
#![forbid(unsafe_code)]

mod bytes;
mod delta;
mod hello;
mod igp;
mod late;
mod ldp;
mod walk;

pub use bytes::Bytes;
pub use delta::{
    BFD_CONTROL_LEN, BGP_HEADER_LEN, BfdDelta, BgpDelta, KEEPALIVE_LEN, bfd_delta, bgp_delta,
    bgp_type, is_lone_keepalive,
};
pub use hello::{HELLO_LEN_MAX, HELLO_LEN_MIN, Hello, hello, hello_hash};
pub use igp::{
    IsisDelta, OSPF_MAX_AGE_S, OspfDelta, is_isis_hello, isis_delta, isis_type, ospf_delta,
    ospf_type,
};
pub use late::{Pace, hello_pace, proposed_hold_time_s};
pub use ldp::{LDP_KEEPALIVE_LEN, LdpDelta, is_lone_ldp_keepalive, ldp_delta, ldp_type};
pub use walk::{
    ControlPacket, EXTENSION_HEADERS_MAX, Found, Inner, Kind, MPLS_LABELS_MAX, Scope,
    VLAN_TAGS_MAX, Verdict, Walk, ethertype, is_other, port, step_ethernet, step_inner, tcp_flags,
    v4_mapped, walk_ethernet, walk_ethertype, walk_ip, walk_iso,
};
