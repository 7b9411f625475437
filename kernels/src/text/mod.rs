//! Short texts, looked through while they are copied.
//!
//! | instructions | bytes at a time |
//! |---|---|
//! | none in particular | 8 |
//! | AVX-512BW | 64, and none branches on the length |
//!
//! Owns what is plain and what is not. Never writes anything but the text.
//!
//! **Invariant:** a text is appended whole or not at all, and what was there before stays.

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx512;
mod portable;

/// Appends `text` if each of its bytes stands for itself between quotes: U+0020 to U+007E without the quote
/// and the backslash. Says whether it did.
#[inline]
pub fn push_plain(out: &mut Vec<u8>, text: &[u8]) -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if let (Some(text), Some(isa)) = (avx512::Short::new(text), avx512::Avx512::new()) {
        return isa.push_plain(out, text);
    }
    portable::push_plain(out, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Push = fn(&mut Vec<u8>, &[u8]) -> bool;

    /// What this machine has, and what all have.
    const ALL: [Push; 2] = [push_plain, portable::push_plain];

    #[test]
    fn every_byte_that_does_not_stand_for_itself_is_found_wherever_it_is() {
        let (lengths, apart) = if cfg!(miri) { (1..12, 51) } else { (1..140_usize, 1) };
        for (push, len) in
            ALL.into_iter().flat_map(|push| lengths.clone().map(move |len| (push, len)))
        {
            for byte in (0..=u8::MAX).step_by(apart) {
                let plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
                let near = if len < 20 { len } else { 3 };
                for at in (0..near).chain(len.saturating_sub(3)..len) {
                    for around in *b" ~!#[]" {
                        let mut text = vec![around; len];
                        text[at] = byte;
                        let mut out = b"before".to_vec();
                        assert_eq!(push(&mut out, &text), plain, "{byte:#x} at {at} of {len}");
                        let expected = if plain {
                            [&b"before"[..], &text].concat()
                        } else {
                            b"before".to_vec()
                        };
                        assert_eq!(out, expected, "{byte:#x} at {at} of {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn texts_follow_each_other_and_memory_grows_as_needed() {
        for push in ALL {
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            for len in (0..=70).chain([0, 64, 65, 300]) {
                let text: Vec<u8> = (0..len).map(|i| b'a' + (i * 7 % 26) as u8).collect();
                assert!(push(&mut out, &text));
                expected.extend_from_slice(&text);
                assert_eq!(out, expected);
                out.shrink_to_fit();
            }
        }
    }
}
