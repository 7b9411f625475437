//! Logarithms in fixed point, computed with integers.
//!
//! Owns the resolution: 2^-16 of a doubling. Never uses floating point, whose last digit differs
//! between machines.
//!
//! **Invariant:** monotonic; [`log2`] of 0 is 0.

/// Fractional bits of a result.
pub(super) const FRACTION_BITS: u32 = 16;

/// log10(2) in units of 2^-32, rounded.
const LOG10_2: u64 = 1_292_913_986;

/// log2(`value` + 1) in units of 2^-16, rounded down; below 2^22. One is added so that zero has a
/// place; at `u64::MAX` it is left out.
pub(super) fn log2(value: u64) -> u32 {
    let value = value.saturating_add(1);
    let whole = value.ilog2();
    // The mantissa in [1, 2) with 63 fractional bits. Squaring doubles the logarithm, and the
    // bit that leaves to the left is its next binary digit.
    let mut mantissa = u128::from(value) << (63 - whole);
    let mut result = whole;
    for _ in 0..FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 63;
        let digit = (mantissa >> 64) as u32;
        mantissa >>= digit;
        result = result << 1 | digit;
    }
    result
}

/// log10(`value` + 1) in units of 2^-16, rounded down.
pub(super) fn log10(value: u64) -> u32 {
    log10_of_log2(log2(value))
}

/// A base-2 logarithm as a base-10 one, both in units of 2^-16, rounded down.
pub(super) fn log10_of_log2(log2: u32) -> u32 {
    ((u64::from(log2) * LOG10_2) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        for (value, expected) in
            [(0, 0), (1, 1 << 16), (2, 103_872), (3, 2 << 16), (7, 3 << 16), (u64::MAX, 4_194_303)]
        {
            assert_eq!(log2(value), expected, "log2({value} + 1)");
        }
        assert_eq!(log10(9), 65_535);
        assert_eq!(log10(99_999_999), 8 * 65_536 - 1);
    }

    proptest! {
        #[test]
        fn agrees_with_floating_point(value in 0u64..1 << 52) {
            let float = ((value + 1) as f64).log2() * 65_536.0;
            prop_assert!((f64::from(log2(value)) - float).abs() <= 1.01, "{} {float}", log2(value));
        }

        #[test]
        fn is_monotonic(a: u64, b: u64) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(log2(low) <= log2(high));
            prop_assert!(log10(low) <= log10(high));
        }
    }
}
