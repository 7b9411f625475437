//! Owns the bounds-checked walk from Ethernet to TCP and UDP, and the delta headers of BGP and BFD.
//!
//! The same code runs in the kernel (over XDP and skb data) and in userspace (over the bytes of a
//! capture file), so both see the same packets as control plane. It never allocates, never
//! verifies checksums (locally sent TCP carries partial ones) and never reassembles fragments.
//!
//! ```text
//! Ethernet ─► 802.1Q / 802.1ad (0..=2) ─► IPv4 (+options)          ─► TCP 179             ─► Control(Bgp)
//!                                      └► IPv6 (+extension headers) └► UDP 3784 … (BFD)    ─► Control(Bfd)
//! ```
//!
//! **Invariant:** no input makes it panic, loop without bound or read outside the bytes given.
#![no_std]
#![forbid(unsafe_code)]

mod bytes;
mod delta;
mod walk;

pub use bytes::Bytes;
pub use delta::{
    BFD_CONTROL_LEN, BGP_HEADER_LEN, BfdDelta, BgpDelta, KEEPALIVE_LEN, bfd_delta, bgp_delta,
    bgp_type, is_lone_keepalive,
};
pub use walk::{
    ControlPacket, EXTENSION_HEADERS_MAX, Kind, VLAN_TAGS_MAX, Walk, port, tcp_flags, v4_mapped,
    walk_ethernet, walk_ip,
};
