//! Every implementation against `sha2` and published vectors.

use super::*;
use sha2::Digest as _;

/// Messages and digests of NIST's validation program.
const CAVP: &str = include_str!("../../fixtures/sha256_cavp.rsp");

/// Miri runs a hundred-thousandth as fast, and the portable one alone.
const LENGTHS: usize = if cfg!(miri) { 130 } else { 1_025 };
const LIKE: usize = if cfg!(miri) { 1 } else { 17 };
const SIZES_APART: usize = if cfg!(miri) { 20 } else { 1 };
const FAR: usize = if cfg!(miri) { 300 } else { 5_000 };

fn expected(message: &[u8]) -> Digest {
    sha2::Sha256::digest(message).into()
}

/// Bytes that differ with their place and with `seed`.
fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8 ^ (seed * 37) as u8).collect()
}

fn digests(implementation: &Implementation, owned: &[Vec<u8>]) -> Vec<Digest> {
    let messages: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
    let mut out = vec![[0; 32]; messages.len()];
    implementation.digest_many(&messages, &mut out);
    out
}

fn assert_batch(implementation: &Implementation, owned: &[Vec<u8>]) {
    let (name, size) = (implementation.name(), owned.len());
    for (message, digest) in owned.iter().zip(digests(implementation, owned)) {
        assert_eq!(digest, expected(message), "{name}, {} bytes of {size}", message.len());
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// The messages and digests of [`CAVP`].
fn published() -> (Vec<Vec<u8>>, Vec<Digest>) {
    let values = |key: &str| -> Vec<&str> {
        CAVP.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(" = ")).collect()
    };
    let message = |(bits, text): (&&str, &&str)| {
        let mut message = unhex(text);
        message.truncate(bits.parse::<usize>().unwrap() / 8);
        message
    };
    let messages = values("Len").iter().zip(&values("Msg")).map(message).collect();
    let digest = |text| unhex(text).try_into().unwrap();
    (messages, values("MD").into_iter().map(digest).collect())
}

#[test]
fn published_vectors_hold_for_every_implementation() {
    let (messages, expected) = published();
    assert_eq!((messages.len(), expected.len()), (82, 82));
    for implementation in Implementation::available() {
        let name = implementation.name();
        assert_eq!(digests(&implementation, &messages), expected, "{name}, all together");
        for (message, expected) in messages.iter().zip(&expected) {
            let alone = digests(&implementation, std::slice::from_ref(message));
            assert_eq!(alone[0], *expected, "{name}, {} bytes alone", message.len());
        }
    }
}

#[test]
fn every_length_equals_sha2_among_its_like_and_among_others() {
    for implementation in Implementation::available() {
        let all: Vec<_> = (0..LENGTHS).map(|len| bytes(len, 7)).collect();
        assert_batch(&implementation, &all);
        for len in 0..LENGTHS {
            let like: Vec<_> = (0..LIKE).map(|seed| bytes(len, seed)).collect();
            assert_batch(&implementation, &like);
        }
    }
}

#[test]
fn every_batch_size_to_40_equals_sha2_on_equal_and_mixed_lengths() {
    for implementation in Implementation::available() {
        for size in (0..=40).step_by(SIZES_APART) {
            let equal: Vec<_> = (0..size).map(|i| bytes(170, i)).collect();
            assert_batch(&implementation, &equal);
            let mixed: Vec<_> = (0..size).map(|i| bytes(i * 53 % 301, i)).collect();
            assert_batch(&implementation, &mixed);
            let far: Vec<_> = (0..size).map(|i| bytes(i * i * 3 % FAR, i)).collect();
            assert_batch(&implementation, &far);
        }
    }
}

#[test]
fn a_batch_of_many_lengths_in_any_order_keeps_its_places() {
    let count = if cfg!(miri) { 40 } else { 3_000 };
    let batch: Vec<_> = (0..count).map(|i| bytes(i * 7_919 % 700, i)).collect();
    for implementation in Implementation::available() {
        assert_batch(&implementation, &batch);
    }
}

/// A message that ends where its memory ends: what reads past it is killed by the kernel.
#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn nothing_past_a_message_is_read() {
    let page = 1 << 16;
    let file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &file, &bytes(page, 3)).unwrap();
    // SAFETY: the file has no name, so nobody changes it. Beyond its end the map is not readable.
    let map = unsafe { memmap2::MmapOptions::new().len(2 * page).map(&file) }.unwrap();
    for implementation in Implementation::available() {
        for len in 0..=300 {
            let message = &map[page - len..page];
            let mut out = [Digest::default(); 16];
            implementation.digest_many(&[message; 16], &mut out);
            assert_eq!(out, [expected(message); 16], "{}, {len} bytes", implementation.name());
        }
    }
}

#[test]
fn names_are_unique_and_the_portable_one_is_always_there() {
    let names: Vec<_> = Implementation::available().iter().map(Implementation::name).collect();
    assert_eq!(names[0], "portable");
    assert!((1..names.len()).all(|i| !names[..i].contains(&names[i])), "{names:?}");
}

#[test]
#[should_panic(expected = "one place for each message")]
fn a_missing_place_is_refused() {
    digest_many(&[b"a"], &mut []);
}
