//! A text of up to 64 bytes in one vector.
//!
//! Never reads past the text nor writes past the vector's room: a masked access does not touch what is
//! masked out.
//!
//! **Invariant:** an [`Avx512`] exists only on a machine that has the instructions it uses.

use core::arch::x86_64::*;

/// Bytes of a vector.
const VECTOR: usize = 64;

/// A text that fits a vector.
#[derive(Clone, Copy)]
pub(super) struct Short<'t>(&'t [u8]);

impl<'t> Short<'t> {
    /// `None` when it is too long.
    #[inline]
    pub(super) fn new(text: &'t [u8]) -> Option<Self> {
        (text.len() <= VECTOR).then_some(Self(text))
    }
}

/// Proof that this machine has AVX-512BW.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// `None` where the machine lacks an instruction.
    #[inline]
    pub(super) fn new() -> Option<Self> {
        let here = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        here.then_some(Self(()))
    }

    /// See [`super::push_plain`].
    #[inline]
    pub(super) fn push_plain(self, out: &mut Vec<u8>, text: Short<'_>) -> bool {
        out.reserve(VECTOR);
        // SAFETY: `self` exists only where the instructions do, and there is room for a vector.
        unsafe { push_plain(out, text.0) }
    }
}

/// # Safety
/// `text` fits a vector, and `out` has room for one.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn push_plain(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let mask = u64::MAX.checked_shr((VECTOR - text.len()) as u32).unwrap_or_default();
    // SAFETY: the mask is that of the text's bytes.
    let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, text.as_ptr().cast()) };
    let from_space = _mm512_sub_epi8(bytes, _mm512_set1_epi8(b' ' as i8));
    let printable = _mm512_cmplt_epu8_mask(from_space, _mm512_set1_epi8((0x7f - b' ') as i8));
    let quote = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'"' as i8));
    let backslash = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'\\' as i8));
    let plain = printable & !quote & !backslash;
    if plain & mask != mask {
        return false;
    }
    let len = out.len();
    // SAFETY: there is room, and what is masked in is written.
    unsafe {
        _mm512_mask_storeu_epi8(out.as_mut_ptr().add(len).cast(), mask, bytes);
        out.set_len(len + text.len());
    }
    true
}
