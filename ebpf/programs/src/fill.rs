//! Owns the producer of benches: writes records into the ring as fast as one CPU can. Never
//! attached to anything; it runs through `BPF_PROG_TEST_RUN` alone.
//!
//! **Invariant:** a run tries exactly [`FILL_RECORDS`] records and counts each as written or lost.

use crate::maps::{EVENTS, add};
use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::{bpf_ringbuf_output, bpf_ringbuf_query};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use core::ffi::c_void;
use edgelore_events::{FILL_LONG_WORDS, FILL_RECORDS, FILL_SHORT_WORDS, counter, direction, fill};

/// The kernel's ring, as its helpers want it.
fn ring() -> *mut c_void {
    core::ptr::from_ref(&EVENTS).cast_mut().cast()
}

/// Says whether to wake the reader at the next record, as `policy` has it.
#[inline(always)]
fn wakeup(policy: u32, record_len: u64, threshold: u64) -> u64 {
    if policy == fill::WAKE_WHEN_CAUGHT_UP {
        return 0;
    }
    if policy == fill::WAKE_AT_CROSSING {
        // SAFETY: the map is a ring buffer, and the flag asks for a figure only.
        let waiting = unsafe { bpf_ringbuf_query(ring(), u64::from(BPF_RB_AVAIL_DATA)) };
        if waiting < threshold && waiting + record_len >= threshold {
            return u64::from(BPF_RB_FORCE_WAKEUP);
        }
    }
    u64::from(BPF_RB_NO_WAKEUP)
}

/// Reads its orders from the frame: policy, length (0 short, 1 long), threshold, a word to spare,
/// then the record.
#[xdp]
fn edgelore_fill(ctx: XdpContext) -> u32 {
    const FRAME_LEN: usize = 16 + FILL_LONG_WORDS * 8;
    let start = ctx.data();
    if start + FRAME_LEN > ctx.data_end() {
        return XDP_PASS;
    }
    let mut record = [0u64; FILL_LONG_WORDS];
    // SAFETY: `FRAME_LEN` bytes of the frame were just found to be there.
    let (policy, long, threshold) = unsafe {
        let words = start as *const u32;
        for (at, word) in record.iter_mut().enumerate() {
            *word = ((start + 16) as *const u64).add(at).read_unaligned();
        }
        let word = |at| words.add(at).read_unaligned();
        (word(0), word(1), word(2))
    };
    let len = if long == 0 { FILL_SHORT_WORDS * 8 } else { FILL_LONG_WORDS * 8 } as u64;
    let mut written = 0;
    for _ in 0..FILL_RECORDS {
        let flags = wakeup(policy, len + 8, u64::from(threshold));
        // SAFETY: the record has at least `len` bytes.
        let result = unsafe { bpf_ringbuf_output(ring(), record.as_mut_ptr().cast(), len, flags) };
        written += u64::from(result == 0);
    }
    add(direction::INGRESS, counter::EMITTED, written);
    add(direction::INGRESS, counter::RING_FULL, u64::from(FILL_RECORDS) - written);
    XDP_PASS
}
