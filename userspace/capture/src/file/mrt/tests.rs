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
fn a_cut_file_yields_what_came_before() {
    let whole = [record(100, &[1; 30]), record(101, &[2; 30])].concat();
    let first = record(100, &[1; 30]).len();
    for length in first + 1..whole.len() {
        let (batch, ended, _) = read(whole[..length].to_vec());
        assert_eq!(messages(&batch), 1);
        assert!(
            matches!(ended, Err(Fault::Format(at, FormatFault::Truncated)) if at == first as u64),
            "cut at {length}"
        );
    }
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
