//! The classifier for cards that run eBPF themselves: counts packets by kind, and nothing else.
//!
//! It keeps within what such offload takes: one helper, the map lookup; one plain array; no ring
//! buffer, no LRU map, no clock, no function calls, no fragments of a frame. So it follows no
//! tunnel, and it must see the headers within the frame's first bytes, as a card does.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use core::arch::asm;
use edgelore_events::class;
use edgelore_headers::{Bytes, Found, Kind, Scope, Verdict, step_ethernet};

#[map]
static CLASSES: Array<u64> = Array::with_max_entries(class::COUNT, 0);

struct CardFrame(XdpContext);

impl Bytes for CardFrame {
    #[inline(always)]
    fn length(&self) -> usize {
        self.0.data_end() - self.0.data()
    }

    #[inline(always)]
    fn octets<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        crate::control::octets(self.0.data(), self.0.data_end(), offset)
    }
}

/// Counts what comes in, on the card.
#[xdp]
fn edgelore_classify(ctx: XdpContext) -> u32 {
    let mut found = Found::NOTHING;
    let which = match step_ethernet(&CardFrame(ctx), Scope::Gateway, &mut found) {
        Verdict::Control => class_of(found.packet.kind),
        Verdict::Tunnel => class::TUNNEL,
        Verdict::Fragment => class::FRAGMENT,
        Verdict::Truncated => class::TRUNCATED,
        Verdict::Other => class::OTHER,
    };
    if let Some(value) = CLASSES.get_ptr_mut(which) {
        // SAFETY: the map returned a valid, aligned pointer; the instruction adds one to what it
        // points to, atomically, because a card's cores share one array.
        unsafe {
            asm!("lock *(u64 *)({value} + 0) += {one}", value = in(reg) value, one = in(reg) 1u64)
        };
    }
    XDP_PASS
}

const fn class_of(kind: Kind) -> u32 {
    match kind {
        Kind::Bgp => class::BGP,
        Kind::Bfd => class::BFD,
        Kind::Ospf => class::OSPF,
        Kind::Isis => class::ISIS,
        Kind::Ldp => class::LDP,
        Kind::LdpHello => class::LDP_HELLO,
        // Outside of this scope: the walk never says so.
        Kind::Bmp => class::OTHER,
    }
}
