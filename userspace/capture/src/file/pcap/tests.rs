//! Captures of every link type, whole and damaged, built octet by octet.

use super::*;
use proptest::prelude::*;
use std::io::Cursor;

/// A BFD datagram over IPv4, `payload` within.
fn ip(payload: &[u8]) -> Vec<u8> {
    let total = 28 + payload.len() as u8;
    let head = [0x45, 0, 0, total, 0, 0, 0, 0, 255, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    let udp = [0xc0, 0, 0x0e, 0xc8, 0, total - 20, 0, 0];
    [&head[..], &udp, payload].concat()
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }

    fn u32(self, value: u32) -> [u8; 4] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }
}

fn pcap(order: Order, magic: u32, packets: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|&w| order.u32(w)).collect::<Vec<u8>>();
    let mut file = [words(&[magic]), [order.u16(2), order.u16(4)].concat()].concat();
    file.extend(words(&[0, 0, 65_535, 101]));
    for (seconds, fraction, frame) in packets {
        let length = frame.len() as u32;
        file.extend(words(&[*seconds, *fraction, length, length]));
        file.extend_from_slice(frame);
    }
    file
}

fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let length = order.u32(padded as u32 + 12);
    let padding = vec![0; padded - body.len()];
    [&order.u32(kind)[..], &length, body, &padding, &length].concat()
}

/// A section with two raw interfaces, the second in nanoseconds and an hour ahead.
fn pcapng(order: Order, packets: &[(u32, u64, Vec<u8>)]) -> Vec<u8> {
    let section = [&order.u32(0x1a2b_3c4d)[..], &order.u16(1), &order.u16(0), &[0xff; 8]].concat();
    let interface = |options: &[u8]| {
        block(order, 1, &[&order.u16(101)[..], &[0, 0, 0, 0, 0, 0], options].concat())
    };
    let hour = match order {
        Order::Big => 3600_i64.to_be_bytes(),
        Order::Little => 3600_i64.to_le_bytes(),
    };
    let options = [
        &order.u16(9)[..],
        &order.u16(1),
        &[9, 0, 0, 0], // if_tsresol: 10^-9
        &order.u16(14),
        &order.u16(8),
        &hour, // if_tsoffset
        &[0, 0, 0, 0],
    ]
    .concat();
    let mut file =
        [block(order, 0x0a0d_0d0a, &section), interface(&[]), interface(&options)].concat();
    for (interface, time, frame) in packets {
        let length = frame.len() as u32;
        let words = [*interface, (time >> 32) as u32, *time as u32, length, length];
        let head: Vec<u8> = words.iter().flat_map(|&w| order.u32(w)).collect();
        file.extend(block(order, 6, &[&head[..], frame].concat()));
    }
    file
}

fn read(file: &[u8]) -> (Batch, Option<Fault>, FileCounts) {
    let mut batch = Batch::default();
    let mut reader = match PcapReader::new(Box::new(Cursor::new(file.to_vec()))) {
        Ok(reader) => reader,
        Err(fault) => return (batch, Some(fault), FileCounts::default()),
    };
    loop {
        match reader.next_signal(&mut batch) {
            Ok(true) => {}
            Ok(false) => return (batch, None, reader.counts()),
            Err(fault) => return (batch, Some(fault), reader.counts()),
        }
    }
}

fn seen(batch: &Batch) -> Vec<(i64, u32, Vec<u8>)> {
    let payload = |kind: &SignalKind| match kind {
        SignalKind::Bfd(datagram) => batch.payload(datagram.payload).to_vec(),
        other => panic!("{other:?}"),
    };
    batch.signals.iter().map(|s| (s.at.0, s.link, payload(&s.kind))).collect()
}

#[test]
fn pcap_in_both_byte_orders_and_both_resolutions() {
    for order in [Order::Big, Order::Little] {
        for (magic, nanos) in [(0xa1b2_c3d4, 5_000), (0xa1b2_3c4d, 5)] {
            let file = pcap(order, magic, &[(7, 5, ip(&[1, 2, 3])), (8, 0, ip(&[]))]);
            let (batch, fault, counts) = read(&file);
            assert!(fault.is_none());
            assert_eq!(counts.records, 2);
            let expected = [(7_000_000_000 + nanos, 0, vec![1, 2, 3]), (8_000_000_000, 0, vec![])];
            assert_eq!(seen(&batch), expected, "{order:?} {magic:x}");
        }
    }
}

#[test]
fn pcapng_in_both_byte_orders() {
    for order in [Order::Big, Order::Little] {
        let file =
            pcapng(order, &[(0, 1_000_001, ip(&[1])), (1, 1 << 33, ip(&[2])), (9, 0, ip(&[3]))]);
        let (batch, fault, counts) = read(&file);
        assert!(fault.is_none());
        let expected = [(1_000_001_000, 1, vec![1]), ((1 << 33) + 3_600_000_000_000, 2, vec![2])];
        assert_eq!(seen(&batch), expected, "{order:?}");
        assert_eq!(counts.unknown_link, 1, "an interface that was not described");
    }
}

#[test]
fn a_cut_file_yields_what_came_before_and_counts_the_cut() {
    let packets = [(7, 5, ip(&[1, 2, 3])), (8, 0, ip(&[4, 5]))];
    let one = pcap(Order::Little, 0xa1b2_c3d4, &packets[..1]).len();
    let whole = pcap(Order::Little, 0xa1b2_c3d4, &packets);
    for length in one + 1..whole.len() {
        let file = Cursor::new(whole[..length].to_vec());
        let mut reader = PcapReader::new(Box::new(file)).ok().unwrap();
        let mut batch = Batch::default();
        while reader.next_signal(&mut batch).is_ok_and(|more| more) {}
        let lost = batch.signals.pop().unwrap();
        assert_eq!(seen(&batch).len(), 1, "cut at {length}");
        let kind = SignalKind::Lost { reason: LossReason::Malformed, count: 1 };
        assert_eq!((lost.at, lost.kind), (batch.signals[0].at, kind), "cut at {length}");
        let cut = SteppedOver { offset: one as u64, reason: FormatFault::Truncated };
        assert_eq!(reader.stepped_over(), [cut], "cut at {length}");
        assert_eq!(reader.counts().faults, 1);
    }
    for length in 0..24 {
        let file = Cursor::new(whole[..length].to_vec());
        let fault = PcapReader::new(Box::new(file)).err();
        assert!(matches!(fault, Some(Fault::Format(0, FormatFault::Truncated))), "cut at {length}");
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("broken"))
    }
}

#[test]
fn content_that_breaks_off_yields_what_came_before() {
    let file = pcap(Order::Little, 0xa1b2_c3d4, &[(7, 5, ip(&[1])), (8, 0, ip(&[2]))]);
    let content = Cursor::new(file[..file.len() - 3].to_vec()).chain(Broken);
    let mut reader = PcapReader::new(Box::new(content)).ok().unwrap();
    let mut batch = Batch::default();
    let fault = loop {
        match reader.next_signal(&mut batch) {
            Ok(more) => assert!(more),
            Err(fault) => break fault,
        }
    };
    assert_eq!(seen(&batch).len(), 1);
    assert!(matches!(fault, Fault::Read(_, error) if error.to_string() == "broken"));
}

#[test]
fn a_packet_longer_than_any_is_a_fault() {
    let mut file = pcap(Order::Little, 0xa1b2_c3d4, &[(7, 5, ip(&[1]))]);
    let at = file.len() as u64;
    file.extend_from_slice(&[
        1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f,
    ]);
    file.resize(file.len() + (65 << 20), 0);
    let (batch, fault, _) = read(&file);
    assert_eq!(seen(&batch).len(), 1);
    assert!(matches!(fault, Some(Fault::Format(offset, _)) if offset == at));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_file_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        ng in any::<bool>(),
    ) {
        let packets = [ip(&[1, 2, 3]), ip(&[4])];
        let mut file = if ng {
            pcapng(Order::Little, &[(0, 5, packets[0].clone()), (1, 9, packets[1].clone())])
        } else {
            pcap(Order::Big, 0xa1b2_c3d4, &[(1, 2, packets[0].clone()), (3, 4, packets[1].clone())])
        };
        for (index, value) in changes {
            let at = index.index(file.len());
            file[at] = value;
        }
        prop_assert!(read(&file).0.signals.len() <= 3);
    }
}
