//! Eight bytes at a time in an ordinary register.
#![forbid(unsafe_code)]

/// The same byte in all eight of a word.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// See [`super::push_plain`].
pub(super) fn push_plain(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let plain = is_plain(text);
    if plain {
        out.extend_from_slice(text);
    }
    plain
}

fn is_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let others = words.iter().fold(0, |found, word| found | others_in(*word));
    let rest = match bytes.last_chunk::<8>() {
        Some(last) => others_in(*last),
        None => rest.iter().fold(0, |found, byte| found | others_in([*byte; 8])),
    };
    others | rest == 0
}

/// Not zero when a byte is a control character, a quote, a backslash, DEL or not ASCII.
fn others_in(bytes: [u8; 8]) -> u64 {
    let word = u64::from_ne_bytes(bytes);
    // The top bit of a byte of `x - n` is set where the byte is below `n`, or by a borrow from one
    // that is; of `x ^ n` a byte is zero, so below 1, where it is `n`.
    let is = |byte: u8| (word ^ each(byte)).wrapping_sub(each(1)) & !(word ^ each(byte));
    let control = word.wrapping_sub(each(b' ')) & !word;
    (word | control | is(b'"') | is(b'\\') | is(0x7f)) & each(0x80)
}
