//! The XDP programs. They see a frame before the stack does, also its part beyond the linear bytes
//! (`xdp.frags`), and always pass it on.

use crate::control::{Frame, observe};
use crate::maps::slot;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use core::ffi::c_void;
use edgelore_events::direction;
use edgelore_headers::{Bytes, walk_ethernet};

struct XdpFrame(XdpContext);

impl Bytes for XdpFrame {
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the context pointer is the one that the kernel passed in.
        unsafe { bpf_xdp_get_buff_len(self.0.as_ptr().cast()) as usize }
    }

    #[inline(always)]
    fn octets<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        crate::control::octets(self.0.data(), self.0.data_end(), offset)
    }
}

impl EbpfContext for XdpFrame {
    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

impl Frame for XdpFrame {
    const DIRECTION: u8 = direction::INGRESS;
    const SLOT: u32 = slot::XDP;

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.0.ingress_ifindex() as u32
    }

    #[inline(always)]
    unsafe fn load(&self, offset: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: the caller vouches for `to` and `len`; the helper checks the packet's bounds.
        unsafe { bpf_xdp_load_bytes(self.0.as_ptr().cast(), offset, to.cast(), len) == 0 }
    }
}

/// Watches what comes in.
#[xdp(frags)]
fn edgelore_xdp(ctx: XdpContext) -> u32 {
    let frame = XdpFrame(ctx);
    let walk = walk_ethernet(&frame);
    observe(&frame, walk);
    XDP_PASS
}

/// Does nothing: the floor that benches subtract.
#[xdp(frags)]
fn edgelore_empty(_ctx: XdpContext) -> u32 {
    XDP_PASS
}
