//! Owns the maps. Every one is bounded; what does not fit is counted (ring) or forgotten least
//! recently used first (flows, BFD sessions, hello senders), which costs a redundant record and nothing else.

use aya_ebpf::bindings::bpf_func_id::BPF_FUNC_get_smp_processor_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray, RingBuf};
use core::cell::UnsafeCell;
use core::mem::transmute;
use edgelore_events::{
    BFD_SESSIONS_MAX, BfdKey, BfdState, CHUNK_LEN, FLOWS_MAX, FlowKey, FlowState, HELLOS_MAX,
    HelloKey, HelloState, PASSED_CPU_COUNTERS, PASSED_CPUS_MAX, Passed, RING_BYTES_DEFAULT,
    RecordHeader, counter,
};
use edgelore_headers::Found;

#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES_DEFAULT, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::ENTRIES, 0);

#[map]
pub(crate) static FLOWS: LruHashMap<FlowKey, FlowState> =
    LruHashMap::with_max_entries(FLOWS_MAX, 0);

#[map]
pub(crate) static BFD_SESSIONS: LruHashMap<BfdKey, BfdState> =
    LruHashMap::with_max_entries(BFD_SESSIONS_MAX, 0);

#[map]
pub(crate) static HELLOS: LruHashMap<HelloKey, HelloState> =
    LruHashMap::with_max_entries(HELLOS_MAX, 0);

/// Where a record is put together; one per program, since programs may interleave on one CPU.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) header: RecordHeader,
    pub(crate) payload: [u8; CHUNK_LEN],
    pub(crate) packet: Packet,
    /// What the walk found. It lies here so that the verifier forgets by which of many combinations
    /// of headers it came about.
    pub(crate) found: Found,
}

/// What later steps need of the walk's result. It is handed on through memory: the verifier then
/// forgets by which of many header combinations it came about, and follows those steps once.
#[repr(C)]
pub(crate) struct Packet {
    /// From the start of the frame, bytes.
    pub(crate) payload_offset: u32,
    /// On the wire, bytes.
    pub(crate) payload_len: u32,
    pub(crate) seq: u32,
    pub(crate) tcp_flags: u32,
    /// Records of it that got into the ring.
    pub(crate) emitted: u32,
    /// Records of it that found the ring full.
    pub(crate) lost: u32,
    /// Records of it that lack a part of their payload.
    pub(crate) cut: u32,
    /// Records of it that were spared because the ring was nearly full.
    pub(crate) shed: u32,
    /// Not 0 when a later packet says the same again unasked, so that this one can be spared: what is
    /// known of its session is remembered only once a record of it is in the ring.
    pub(crate) repeats: u32,
}

/// Programs that put records together.
pub(crate) mod slot {
    pub(crate) const XDP: u32 = 0;
    pub(crate) const TCX_EGRESS: u32 = 1;
    pub(crate) const TCX_INGRESS: u32 = 2;
    pub(crate) const COUNT: u32 = 3;
}

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(slot::COUNT, 0);

/// Things that are said once.
pub(crate) mod notice {
    pub(crate) const RING_FULL: u32 = 0;
    pub(crate) const COUNT: u32 = 1;
}

#[map]
static NOTICES: Array<u32> = Array::with_max_entries(notice::COUNT, 0);

/// A map that the loader makes of the section of zeroed memory.
struct PassedMap(UnsafeCell<Passed>);

// SAFETY: each CPU touches its own line of it only.
unsafe impl Sync for PassedMap {}

#[unsafe(no_mangle)]
static EDGELORE_PASSED: PassedMap =
    PassedMap(UnsafeCell::new([[0; PASSED_CPU_COUNTERS]; PASSED_CPUS_MAX]));

/// `bpf_get_smp_processor_id` with the register that every helper fills, whole: as `u32`, in which
/// the bindings declare it, it would be widened anew for each packet.
#[inline(always)]
unsafe fn processor_id() -> u64 {
    let number = BPF_FUNC_get_smp_processor_id as usize;
    // SAFETY: the number of a helper stands for its address, and this one takes nothing and returns
    // a number of 64 bits (`RET_INTEGER`).
    let helper: unsafe extern "C" fn() -> u64 = unsafe { transmute(number) };
    // SAFETY: the helper has no preconditions.
    unsafe { helper() }
}

/// Counts a packet that the first look passed.
#[inline(always)]
pub(crate) fn count_passed(direction: u8) {
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { processor_id() } as usize;
    if cpu >= PASSED_CPUS_MAX {
        return count(direction, counter::OTHER);
    }
    // SAFETY: the index was just found to lie within; no other program on this CPU touches the
    // counter meanwhile, as with those of `add`.
    unsafe {
        let line = EDGELORE_PASSED.0.get().cast::<[u64; PASSED_CPU_COUNTERS]>().add(cpu);
        let value = line.cast::<u64>().add(direction as usize);
        *value = (*value).wrapping_add(1);
    }
}

/// Adds one to this CPU's counter.
#[inline(always)]
pub(crate) fn count(direction: u8, which: u32) {
    add(direction, which, 1);
}

/// Adds to this CPU's counter.
#[inline(always)]
pub(crate) fn add(direction: u8, which: u32, amount: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter::index(direction, which)) {
        // SAFETY: the map returned a valid pointer into this CPU's own value, which no other
        // program on this CPU holds: BPF programs of one CPU do not preempt each other here.
        unsafe { *value = (*value).wrapping_add(amount) };
    }
}

/// This CPU's scratch memory of one program.
#[inline(always)]
pub(crate) fn scratch(slot: u32) -> Option<&'static mut Scratch> {
    // SAFETY: the pointer is valid while the program runs, and a slot belongs to one program,
    // which does not run twice at once on one CPU.
    SCRATCH.get_ptr_mut(slot).map(|scratch| unsafe { &mut *scratch })
}

/// Whether this is the first time; two CPUs may both be first.
#[inline(always)]
pub(crate) fn first_time(which: u32) -> bool {
    let Some(said) = NOTICES.get_ptr_mut(which) else { return false };
    // SAFETY: the map returned a valid pointer; a race costs one repeated message.
    unsafe {
        let first = *said == 0;
        *said = 1;
        first
    }
}
