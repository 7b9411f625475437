//! Any bytes as rtnetlink datagrams, each as long as its first two octets say: what was told to have
//! changed must add up to what holds, within the bounds.
#![no_main]

use edgelore_capture::netlink::{RecordedChange, RecordedTable};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

const PREFIXES_MAX: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let mut table = RecordedTable::new(PREFIXES_MAX, 4);
    let mut copy = BTreeMap::new();
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_ne_bytes(*length)).min(after.len());
        let (datagram, next) = after.split_at(length);
        rest = next;
        // What is damaged is the kernel's affair; what came before it counts.
        let _ = table.apply(datagram, |RecordedChange { table, prefix, next_hops }| {
            let before = copy.insert((table, prefix), next_hops.clone());
            assert_ne!(before.flatten(), next_hops, "{prefix}: that held before");
        });
    }
    for ((number, prefix), told) in copy {
        assert_eq!(table.holds(number, prefix), told, "{prefix} in table {number}");
    }
    assert!(table.prefixes() <= PREFIXES_MAX);
});
