//! Real packets, damaged: nothing may panic, and what a checksum guards may not be believed.

use super::*;
use edgelore_model::{PayloadRef, SignalKind};
use proptest::prelude::*;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const FILES: [&str; 7] = [
    "tcpdump.ISIS_external_lsp.pcap",
    "tcpdump.ISIS_p2p_adjacency.pcap",
    "tcpdump.OSPFv2_Capture_FINAL.pcapng",
    "tcpdump.OSPFv3_multipoint_adjacencies.pcap",
    "tcpdump.isis_iid_tlv.pcap",
    "tcpdump.isis_sr.pcapng",
    "tcpdump.ospf_graceful_restart_rfc3623.pcap",
];

fn batches() -> &'static [Batch] {
    static BATCHES: OnceLock<Vec<Batch>> = OnceLock::new();
    BATCHES.get_or_init(|| FILES.map(|file| frames::read(&fixture(file))).into())
}

fn payload(kind: &mut SignalKind) -> &mut PayloadRef {
    match kind {
        SignalKind::Ospf(datagram) => &mut datagram.payload,
        SignalKind::Isis(frame) => &mut frame.payload,
        other => panic!("nothing else was read: {other:?}"),
    }
}

/// Octets to replace, as fractions of the batch's length.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_packets_do_not_make_it_panic(
        which in 0..FILES.len(),
        damage in damage(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0u32..200), 0..4),
    ) {
        let mut batch = batches()[which].clone();
        for (at, octet) in damage {
            let at = at.index(batch.bytes.len());
            batch.bytes[at] = octet;
        }
        for (at, keep) in cuts {
            let at = at.index(batch.signals.len());
            let payload = payload(&mut batch.signals[at].kind);
            payload.len = payload.len.min(keep);
        }
        let decoded = decode(&batch);
        let _ = areas(&decoded.graph);
    }

    #[test]
    fn whatever_is_told_stood_in_an_undamaged_advertisement(
        which in 0..FILES.len(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..255,
    ) {
        let good = &batches()[which];
        let mut batch = good.clone();
        let at = at.index(batch.bytes.len());
        // Not to the octet that is the same modulo 255, which the checksum cannot tell.
        let damaged = batch.bytes[at] ^ flip;
        prop_assume!(damaged % 255 != batch.bytes[at] % 255);
        batch.bytes[at] = damaged;
        let told = decode(good).changes;
        for change in decode(&batch).changes {
            let same = |good: &&LinkStateChange| {
                (good.id, good.sequence, &good.neighbours) == (change.id, change.sequence, &change.neighbours)
            };
            // Areas, instances and ages stand outside of what the checksum covers; an LSP that has
            // no lifetime left is not summed, and tells nothing.
            let emptied = change.neighbours.is_empty() && change.prefixes.is_empty();
            prop_assert!(emptied || told.iter().any(|good| same(&good)), "{change:?}");
        }
    }
}

#[test]
fn hostile_captures_are_read_in_time() {
    const DEADLINE: Duration = Duration::from_secs(10);
    let Some(data) = std::env::var_os("EDGELORE_DATA").map(PathBuf::from) else {
        println!("SKIP: EDGELORE_DATA names no data folder");
        return;
    };
    let mut read = 0;
    for entry in std::fs::read_dir(data.join("hostile")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains("isis") && !name.contains("ospf") {
            continue;
        }
        let batch = if name.ends_with(".bin") { single(&path) } else { frames::read(&path) };
        let started = Instant::now();
        let decoded = decode(&batch);
        let (hellos, changes) = (decoded.hellos.len(), decoded.changes.len());
        let undecodable = decoded.summary.undecodable;
        println!("{name}: {hellos} hellos, {changes} changes, {undecodable} undecodable");
        assert!(started.elapsed() < DEADLINE, "{name}");
        read += 1;
    }
    assert!(read > 0);
}

/// A file that is nothing but one packet.
fn single(path: &Path) -> Batch {
    let mut batch = Batch::default();
    let payload = batch.append(&std::fs::read(path).unwrap());
    let (src, dst) = ([10, 0, 0, 1].into(), [224, 0, 0, 5].into());
    let direction = edgelore_model::Direction::Ingress;
    let kind = SignalKind::Ospf(edgelore_model::Datagram {
        src,
        dst,
        port: 0,
        payload,
        direction,
        heard: None,
    });
    let at = edgelore_model::Timestamp(0);
    batch.signals.push(edgelore_model::Signal { at, link: 0, kind });
    batch
}
