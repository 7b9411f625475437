//! Owns the change detection of hellos: OSPF's, IS-IS's and LDP's.
//!
//! **Invariant:** a hello is withheld only when it came in time and its record would say what the
//! last one in the ring said: it is remembered once its record is there.

use crate::control::{Frame, Loaded, load, load_chunk};
use crate::maps::{HELLOS, Scratch, count};
use aya_ebpf::bindings::BPF_ANY;
use edgelore_events::{HelloKey, HelloState, counter};
use edgelore_headers::{HELLO_LEN_MAX, HELLO_LEN_MIN, Kind, hello_hash, hello_pace};

/// Withholds a hello that equals the last one of its sender; sends every other packet.
#[inline(always)]
pub(crate) fn hello<F: Frame>(frame: &F, scratch: &mut Scratch) {
    let Some((subtype, hash)) = recognise(frame, scratch) else {
        frame.send();
        return;
    };
    let header = &scratch.header;
    let key = HelloKey {
        src: header.flow.src,
        dst: header.flow.dst,
        ifindex: header.ifindex,
        vlan: header.vlan,
        kind: header.kind,
        subtype,
        reserved: 0,
    };
    let now_ns = header.ktime_ns;
    let mut state = HelloState { hash, last_ns: now_ns, count: 1 };
    if let Some(last) = HELLOS.get_ptr_mut(&key) {
        // SAFETY: the map returned a valid pointer. Another CPU may change the value meanwhile:
        // a count is lost then, and a hash is only compared.
        let last = unsafe { &mut *last };
        let gap_ns = now_ns.saturating_sub(last.last_ns);
        state.count = last.count.wrapping_add(1);
        note(scratch, gap_ns, state.count as u32);
        if last.hash == hash {
            last.last_ns = now_ns;
            last.count = state.count;
            if !is_late(scratch, gap_ns) {
                return count(F::DIRECTION, unchanged(scratch.found.packet.kind));
            }
        }
    } else {
        note(scratch, 0, 1);
    }
    scratch.packet.repeats = 1;
    if frame.send() {
        // An LRU map makes room by itself; when it cannot, the next hello is sent as well.
        let _full = HELLOS.insert(&key, &state, u64::from(BPF_ANY));
    }
}

/// Lets the record say how often its sender was heard, and how long ago.
#[inline(always)]
pub(crate) fn note(scratch: &mut Scratch, gap_ns: u64, count: u32) {
    let gap_us = gap_ns / 1_000;
    scratch.header.suppressed_bytes =
        if gap_us < u64::from(u32::MAX) { gap_us as u32 } else { u32::MAX };
    scratch.packet.seq = count;
}

/// The hello lies in scratch memory.
#[inline(always)]
fn is_late(scratch: &Scratch, gap_ns: u64) -> bool {
    let loaded = Loaded { payload: &scratch.payload, len: scratch.packet.payload_len as usize };
    hello_pace(&loaded, scratch.found.packet.kind).is_some_and(|pace| pace.is_late(gap_ns))
}

const fn unchanged(kind: Kind) -> u32 {
    match kind {
        Kind::Ospf => counter::OSPF_HELLO_UNCHANGED,
        Kind::Isis => counter::ISIS_HELLO_UNCHANGED,
        _ => counter::LDP_HELLO_UNCHANGED,
    }
}

/// The hello's subtype and hash; `None` when the packet is no hello, or not all of it is there.
#[inline(always)]
fn recognise<F: Frame>(frame: &F, scratch: &mut Scratch) -> Option<(u8, u64)> {
    let len = scratch.packet.payload_len;
    if len < HELLO_LEN_MIN as u32 || !load::<HELLO_LEN_MIN, F>(frame, scratch) {
        return None;
    }
    let kind = scratch.found.packet.kind;
    let loaded = Loaded { payload: &scratch.payload, len: len as usize };
    let hello = edgelore_headers::hello(&loaded, kind)?;
    let len = hello.len;
    if len > HELLO_LEN_MAX || !load_chunk(frame, scratch, 0, len as u32) {
        return None;
    }
    let hash = hello_hash(&Loaded { payload: &scratch.payload, len }, &hello)?;
    Some((hello.subtype, hash))
}
