//! A key's secret is nowhere in memory once the key has gone: this process reads all of its own.
//!
//! Alone in its binary, so that no other test moves a copy about while it looks.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use edgelore_node::keys;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

/// What nobody but the key may know, each byte of it turned over, so that looking for it makes no copy:
/// the seed, and what is expanded from it (RFC 8032 §5.1.5), the scalar modulo the group's order and the
/// prefix.
const TURNED: [[u8; 32]; 3] = [
    *b"\x91\x0e\x5c\xd3\x77\x28\xfa\x46\xb9\x13\xe8\x62\x0d\xa5\x3f\x94\
         \xc1\x5a\x8e\x27\xf6\x4b\xd0\x39\xae\x72\x1d\xc8\x65\xfb\x30\x9c",
    *b"\xa0\x37\x59\x50\x4f\x48\x2c\xe6\xde\x88\xa8\x14\x92\x0c\x2c\x19\
         \xef\xc5\xca\xe4\xcd\xea\x83\xea\x53\x6a\xfc\xa4\x37\x3c\xad\xf4",
    *b"\x43\xc9\x97\x7c\xd0\x3f\x66\x60\xa7\xf8\x48\x57\x71\x1a\xbf\x47\
         \xd3\xf9\x2f\x4a\xe2\xfd\xab\x7b\x96\xff\xe9\xf2\x28\x75\x29\x6a",
];

fn digit(at: usize) -> u8 {
    let byte = TURNED[0][at / 2] ^ 0xff;
    b"0123456789abcdef"[usize::from(if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 })]
}

/// Writes the key's file a byte at a time.
fn write(path: &std::path::Path) {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    for at in 0..64 {
        file.write_all(&[digit(at)]).unwrap();
    }
}

/// Bytes read at a time, and how many of them are read again with the next.
const CHUNK_BYTES: usize = 65_536;
const OVERLAP_BYTES: usize = 64;

/// How often seed, scalar and prefix stand in memory, and the seed's digits. What the search itself has
/// read is passed over.
fn copies() -> ([usize; 3], usize) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let own = chunk.as_ptr() as u64..chunk.as_ptr() as u64 + CHUNK_BYTES as u64;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = File::open("/proc/self/mem").unwrap();
    let (mut raw, mut text) = ([0; 3], 0);
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [mut at, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        while at < to {
            let bound = if at < own.start { to.min(own.start) } else { to };
            if own.contains(&at) {
                at = own.end;
                continue;
            }
            let length = CHUNK_BYTES.min((bound - at) as usize);
            let read = memory.seek(SeekFrom::Start(at));
            // The kernel's own pages cannot be read.
            if read.and_then(|_| memory.read_exact(&mut chunk[..length])).is_err() {
                break;
            }
            let last = at + length as u64 == bound;
            // What begins in the overlap is counted with the next chunk.
            let ends = if last { length } else { length - OVERLAP_BYTES };
            for (count, turned) in raw.iter_mut().zip(&TURNED) {
                *count += starts(&chunk[..length], ends, 32, |at| turned[at] ^ 0xff);
            }
            text += starts(&chunk[..length], ends, 64, digit);
            at += ends as u64;
        }
    }
    chunk.fill(0);
    (raw, text)
}

/// How many places before `ends` there are at which the bytes begin that `wanted` gives.
fn starts(bytes: &[u8], ends: usize, length: usize, wanted: impl Fn(usize) -> u8) -> usize {
    let windows = bytes.windows(length).take(ends);
    windows.filter(|window| (0..length).all(|at| window[at] == wanted(at))).count()
}

#[test]
fn a_dropped_key_leaves_no_copy_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    write(&path);
    assert_eq!(copies(), ([0; 3], 0), "the search makes none itself");
    let key = keys::load(&path).unwrap();
    let _publisher = key.publisher();
    assert_eq!(copies(), ([0, 1, 1], 0), "the key itself, and no trace of its file");
    drop(key);
    assert_eq!(copies(), ([0; 3], 0));
}
