//! The tcx programs. What the gateway itself sends comes past here before segmentation: frames up
//! to 64 KiB of which only the headers are linear.

use crate::control::{Frame, control, emit, first_look, observe, steps};
use crate::maps::slot;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use edgelore_events::direction;
use edgelore_headers::{Bytes, Scope, Verdict, step_ethernet, step_inner};

/// `TCX_NEXT`, and `TC_ACT_UNSPEC` under the older attachment: the next program decides.
const TCX_NEXT: i32 = -1;
const VLAN_ID_MASK: u16 = 0x0fff;

struct SkbFrame<const EGRESS: bool>(TcContext);

impl<const EGRESS: bool> SkbFrame<EGRESS> {
    #[inline(always)]
    fn skb(&self) -> *mut __sk_buff {
        self.0.as_ptr().cast()
    }

    /// A part of it is not linear.
    #[inline(always)]
    fn is_paged(&self) -> bool {
        self.0.data() + (self.0.len() as usize) > self.0.data_end()
    }
}

impl<const EGRESS: bool> Bytes for SkbFrame<EGRESS> {
    #[inline(always)]
    fn length(&self) -> usize {
        self.0.len() as usize
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

impl<const EGRESS: bool> EbpfContext for SkbFrame<EGRESS> {
    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

impl<const EGRESS: bool> Frame for SkbFrame<EGRESS> {
    const DIRECTION: u8 = if EGRESS { direction::EGRESS } else { direction::INGRESS };
    const SLOT: u32 = if EGRESS { slot::TCX_EGRESS } else { slot::TCX_INGRESS };

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context pointer is the one that the kernel passed in.
        unsafe { (*self.skb()).ifindex }
    }

    #[inline(always)]
    fn offloaded_vlan(&self) -> u16 {
        // SAFETY: the context pointer is the one that the kernel passed in.
        let (present, tci) = unsafe { ((*self.skb()).vlan_present, (*self.skb()).vlan_tci) };
        if present == 0 { 0 } else { tci as u16 & VLAN_ID_MASK }
    }

    #[inline(always)]
    fn send(&self) -> bool {
        let sent = if EGRESS {
            edgelore_egress_emit(self.skb())
        } else {
            edgelore_ingress_emit(self.skb())
        };
        sent != 0
    }

    #[inline(always)]
    unsafe fn load(&self, offset: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: the caller vouches for `to` and `len`; the helper checks the packet's bounds.
        unsafe { bpf_skb_load_bytes(self.skb().cast(), offset, to.cast(), len) == 0 }
    }
}

/// The same packet read through the helper: slower, but it reaches what is not linear.
struct Paged(*mut __sk_buff);

impl Bytes for Paged {
    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the context pointer is the one that the kernel passed in.
        unsafe { (*self.0).len as usize }
    }

    #[inline(always)]
    fn forget(&self, number: usize) -> usize {
        crate::control::forget(number)
    }

    #[inline(always)]
    fn octets<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut octets = MaybeUninit::<[u8; N]>::zeroed();
        // SAFETY: the helper writes exactly `N` bytes when it returns 0, and checks the offset.
        unsafe {
            let read = bpf_skb_load_bytes(
                self.0.cast(),
                offset as u32,
                octets.as_mut_ptr().cast(),
                N as u32,
            );
            (read == 0).then(|| octets.assume_init())
        }
    }
}

/// Everything of one direction but its entry.
macro_rules! direction {
    (
        $egress:literal, $step:ident, $inner:ident, $paged_step:ident, $paged_inner:ident,
        $walk:ident, $control:ident, $emit:ident
    ) => {
        steps! {
            SkbFrame<$egress>, SkbFrame::<$egress>::SLOT, __sk_buff,
            |skb| SkbFrame(TcContext::new(skb)), $step, $inner
        }
        steps! {
            Paged, SkbFrame::<$egress>::SLOT, __sk_buff, |skb| Paged(skb), $paged_step, $paged_inner
        }

        /// What few packets need, once more through the helper where the linear part ends too soon.
        #[cold]
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $walk(skb: *mut __sk_buff) -> i32 {
            let paged = SkbFrame::<$egress>(TcContext::new(skb)).is_paged();
            let mut verdict = $step(skb);
            if verdict == Verdict::Truncated as i32 && paged {
                verdict = $paged_step(skb);
            }
            if verdict == Verdict::Tunnel as i32 {
                verdict = $inner(skb);
                if verdict == Verdict::Truncated as i32 && paged {
                    verdict = $paged_inner(skb);
                }
            }
            if observe::<SkbFrame<$egress>>(verdict) {
                $control(skb);
            }
            0
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $control(skb: *mut __sk_buff) -> i32 {
            control(&SkbFrame::<$egress>(TcContext::new(skb)));
            0
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $emit(skb: *mut __sk_buff) -> i32 {
            emit(&SkbFrame::<$egress>(TcContext::new(skb))).into()
        }
    };
}

direction! {
    true, edgelore_egress_step, edgelore_egress_inner, edgelore_egress_paged_step,
    edgelore_egress_paged_inner, edgelore_egress_walk, edgelore_egress_control,
    edgelore_egress_emit
}
direction! {
    false, edgelore_ingress_step, edgelore_ingress_inner, edgelore_ingress_paged_step,
    edgelore_ingress_paged_inner, edgelore_ingress_walk, edgelore_ingress_control,
    edgelore_ingress_emit
}

/// Watches what the gateway sends.
#[classifier]
fn edgelore_tcx_egress(ctx: TcContext) -> i32 {
    let frame = SkbFrame::<true>(ctx);
    if !first_look(&frame) {
        edgelore_egress_walk(frame.skb());
    }
    TCX_NEXT
}

/// Watches what comes in, where XDP is not wanted.
#[classifier]
fn edgelore_tcx_ingress(ctx: TcContext) -> i32 {
    let frame = SkbFrame::<false>(ctx);
    if !first_look(&frame) {
        edgelore_ingress_walk(frame.skb());
    }
    TCX_NEXT
}
