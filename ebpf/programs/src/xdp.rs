//! The XDP programs. They see a frame before the stack does, also its part beyond the linear bytes
//! (`xdp.frags`), and always pass it on.

use crate::control::{Frame, control, emit, first_look, observe, steps};
use crate::maps::slot;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use core::ffi::c_void;
use edgelore_events::direction;
use edgelore_headers::{Bytes, Scope, Verdict, step_ethernet, step_inner};

struct XdpFrame(XdpContext);

impl Bytes for XdpFrame {
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the context pointer is the one that the kernel passed in.
        unsafe { bpf_xdp_get_buff_len(self.0.ctx) as usize }
    }

    #[inline(always)]
    fn forget(&self, number: usize) -> usize {
        crate::control::forget(number)
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
    fn send(&self) -> bool {
        edgelore_xdp_emit(self.0.ctx) != 0
    }

    #[inline(always)]
    unsafe fn load(&self, offset: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: the caller vouches for `to` and `len`; the helper checks the packet's bounds.
        unsafe { bpf_xdp_load_bytes(self.0.ctx, offset, to.cast(), len) == 0 }
    }
}

steps! {
    XdpFrame, slot::XDP, xdp_md, |ctx| XdpFrame(XdpContext::new(ctx)),
    edgelore_xdp_step, edgelore_xdp_step_inner
}

/// Watches what comes in.
#[xdp(frags)]
fn edgelore_xdp(ctx: XdpContext) -> u32 {
    let raw = ctx.ctx;
    if !first_look(&XdpFrame(ctx)) {
        edgelore_xdp_walk(raw);
    }
    XDP_PASS
}

/// What few packets need: apart from the program's entry, which every packet takes, and laid out
/// behind the way of the others.
#[cold]
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edgelore_xdp_walk(ctx: *mut xdp_md) -> i32 {
    let mut verdict = edgelore_xdp_step(ctx);
    if verdict == Verdict::Tunnel as i32 {
        verdict = edgelore_xdp_step_inner(ctx);
    }
    if observe::<XdpFrame>(verdict) {
        edgelore_xdp_control(ctx);
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edgelore_xdp_control(ctx: *mut xdp_md) -> i32 {
    control(&XdpFrame(XdpContext::new(ctx)));
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn edgelore_xdp_emit(ctx: *mut xdp_md) -> i32 {
    emit(&XdpFrame(XdpContext::new(ctx))).into()
}

/// Does nothing: the floor that benches subtract.
#[xdp(frags)]
fn edgelore_empty(_ctx: XdpContext) -> u32 {
    XDP_PASS
}
