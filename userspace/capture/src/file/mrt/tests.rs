//! MRT records, whole and damaged, built octet by octet.

use super::*;
use std::io::Cursor;

fn record(seconds: u32, message: &[u8]) -> Vec<u8> {
    let body = [&[0, 1, 0, 2, 0, 0, 0, 1][..], &[192, 0, 2, 1, 192, 0, 2, 2], message].concat();
    let length = body.len() as u32;
    [&seconds.to_be_bytes()[..], &[0, 16, 0, 1], &length.to_be_bytes(), &body].concat()
}

fn read(bytes: Vec<u8>) -> (Batch, Result<bool, Fault>, MrtReader) {
    let mut reader = MrtReader::new(Box::new(Cursor::new(bytes)));
    let mut batch = Batch::default();
    loop {
        match reader.next_signal(&mut batch) {
            Ok(true) => {}
            ended => return (batch, ended, reader),
        }
    }
}

fn messages(batch: &Batch) -> usize {
    batch.signals.iter().filter(|s| matches!(s.kind, SignalKind::Message(_))).count()
}

#[test]
fn damage_is_stepped_over() {
    for (name, damage) in [
        ("foreign bytes", vec![0xab; 37]),
        ("a record without its first bytes", record(100, &[5; 40])[2..].to_vec()),
    ] {
        let good = [record(100, &[1; 30]), record(101, &[2; 30])].concat();
        let offset = good.len() as u64;
        let bytes = [good.clone(), damage, record(102, &[3; 30]), record(103, &[4; 30])].concat();
        let (batch, ended, reader) = read(bytes);
        assert!(matches!(ended, Ok(false)), "{name}");
        assert_eq!(messages(&batch), 4, "{name}");
        let expected = SteppedOver { offset, reason: FormatFault::MrtHeader };
        assert_eq!(reader.stepped_over(), [expected], "{name}");
    }
}

#[test]
fn that_times_are_whole_seconds_is_told_once_and_only_where_they_are() {
    let told = |batch: &Batch| {
        let steps = batch.signals.iter().filter(|s| matches!(s.kind, SignalKind::Granularity(_)));
        steps.count()
    };
    let coarse = [record(100, &[1; 30]), record(101, &[2; 30])].concat();
    assert_eq!(told(&read(coarse.clone()).0), 1);
    // BGP4MP_ET (RFC 6396 §3): four octets of microseconds come first, and count.
    let mut fine = record(100, &[1; 30]);
    let length = (fine.len() - HEADER_LEN + 4) as u32;
    fine[4..8].copy_from_slice(&[0, 17, 0, 1]);
    fine[8..12].copy_from_slice(&length.to_be_bytes());
    fine.splice(HEADER_LEN..HEADER_LEN, [0, 0, 0, 7]);
    let (batch, _, _) = read(fine.clone());
    assert_eq!((messages(&batch), told(&batch)), (1, 0));
    assert_eq!(told(&read([fine, coarse].concat()).0), 1);
}

#[test]
fn a_cut_file_yields_what_came_before_and_counts_the_cut() {
    let whole = [record(100, &[1; 30]), record(101, &[2; 30])].concat();
    let first = record(100, &[1; 30]).len();
    for length in first + 1..whole.len() {
        let (batch, ended, mut reader) = read(whole[..length].to_vec());
        assert!(matches!(ended, Ok(false)), "cut at {length}");
        // The message, that times are whole seconds, and that something is lost.
        assert_eq!((messages(&batch), batch.signals.len()), (1, 3), "cut at {length}");
        let cut = SteppedOver { offset: first as u64, reason: FormatFault::Truncated };
        assert_eq!(reader.stepped_over(), [cut], "cut at {length}");
        let mut more = Batch::default();
        assert!(matches!(reader.next_signal(&mut more), Ok(false)), "the end stays the end");
    }
}

#[test]
fn a_table_dump_that_does_not_count_its_first_bytes() {
    // Four bytes more than stated, in each record; the last is followed by nothing.
    let old = |body: &[u8]| {
        [&[0, 0, 0, 9, 0, 12, 0, 1, 0, 0, 0, body.len() as u8 - 4][..], body].concat()
    };
    let bodies = [vec![7; 50], vec![8; 60], vec![9; 70]];
    let (batch, ended, reader) = read(bodies.iter().flat_map(|body| old(body)).collect());
    assert!(matches!(ended, Ok(false)));
    assert_eq!((reader.counts().records, reader.counts().faults), (3, 0));
    let told = batch.signals.iter().map(|signal| match signal.kind {
        SignalKind::Table(record) => batch.payload(record.payload).to_vec(),
        _ => panic!("{signal:?}"),
    });
    assert!(told.eq(bodies));
}

#[test]
fn a_table_dump_is_handed_on_as_it_is() {
    let table = |kind: u8, subtype: u8, body: &[u8]| {
        [&[0, 0, 0, 9, 0, kind, 0, subtype, 0, 0, 0, body.len() as u8][..], body].concat()
    };
    let (geo, empty) = (table(13, 7, &[1]), table(13, 0, &[]));
    let file = [table(13, 1, &[1, 2]), geo, table(12, 1, &[3]), empty, table(13, 8, &[])].concat();
    let (batch, ended, reader) = read(file);
    assert!(matches!(ended, Ok(false)));
    assert_eq!((reader.counts().records, reader.counts().skipped), (5, 2));
    let told = |signal: &Signal| match signal.kind {
        SignalKind::Table(record) => {
            (record.kind, record.subtype, batch.payload(record.payload).to_vec())
        }
        _ => panic!("{signal:?}"),
    };
    let told: Vec<_> = batch.signals.iter().map(told).collect();
    assert_eq!(told, [(13, 1, vec![1, 2]), (12, 1, vec![3]), (13, 8, vec![])]);
}

/// Stands for content whose compression is broken.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("broken"))
    }
}

#[test]
fn content_that_breaks_off_yields_what_came_before() {
    let one = record(100, &[1; 30]);
    for extra in [0, 5] {
        let bytes = [one.clone(), one[..extra].to_vec()].concat();
        let length = bytes.len() as u64;
        let mut reader = MrtReader::new(Box::new(Cursor::new(bytes).chain(Broken)));
        let mut batch = Batch::default();
        assert!(matches!(reader.next_signal(&mut batch), Ok(true)));
        assert_eq!(messages(&batch), 1);
        let ended = reader.next_signal(&mut batch);
        assert!(matches!(ended, Err(Fault::Read(at, _)) if at == length), "{extra}");
    }
}
