//! Owns the change detection of hellos: OSPF's, IS-IS's and LDP's.
//!
//! **Invariant:** a hello is withheld only when its record would say what the last one in the ring
//! said: it is remembered once its record is there.

use crate::control::{Frame, Loaded, load, load_chunk};
use crate::maps::{HELLOS, Scratch, count};
use aya_ebpf::bindings::BPF_ANY;
use edgelore_events::{HelloKey, HelloState, counter};
use edgelore_headers::{HELLO_LEN_MAX, HELLO_LEN_MIN, Kind, hello_hash};

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
    let mut state = HelloState { hash, last_ns: now_ns, gap_max_ns: 0, count: 1 };
    if let Some(last) = HELLOS.get_ptr_mut(&key) {
        // SAFETY: the map returned a valid pointer. Another CPU may change the value meanwhile:
        // a count or a gap is lost then, and a hash is only compared.
        let last = unsafe { &mut *last };
        let gap_ns = now_ns.saturating_sub(last.last_ns);
        state.gap_max_ns = if gap_ns > last.gap_max_ns { gap_ns } else { last.gap_max_ns };
        state.count = last.count.wrapping_add(1);
        if last.hash == hash {
            last.last_ns = now_ns;
            last.gap_max_ns = state.gap_max_ns;
            last.count = state.count;
            return count(F::DIRECTION, unchanged(scratch.found.packet.kind));
        }
    }
    if frame.send() {
        // An LRU map makes room by itself; when it cannot, the next hello is sent as well.
        let _full = HELLOS.insert(&key, &state, u64::from(BPF_ANY));
    }
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
