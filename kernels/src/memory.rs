//! Memory that is asked for before it is needed.
//!
//! **Invariant:** asking changes nothing that a program can see but the time it takes.

/// Bytes of a line of the cache on x86-64 and most of aarch64.
const LINE: usize = 64;

/// Asks for the line of the cache that holds where `place` begins, and does not wait for it.
#[inline]
pub fn prefetch<T>(place: &T) {
    prefetch_address(std::ptr::from_ref(place).cast());
}

/// Asks for all lines of the cache that hold `place`, and does not wait for them.
#[inline]
pub fn prefetch_whole<T: ?Sized>(place: &T) {
    let (start, bytes) = (std::ptr::from_ref(place).cast::<u8>(), size_of_val(place));
    for at in (0..bytes).step_by(LINE) {
        prefetch_address(start.wrapping_add(at));
    }
    // What does not begin with a line may end in one more.
    prefetch_address(start.wrapping_add(bytes.saturating_sub(1)));
}

/// Asks for the line of the cache that holds `address`, which may be any.
#[inline(always)]
pub(crate) fn prefetch_address(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch faults on no address and reads nothing into the program.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{address}]",
            address = in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}
