//! Order statistics over weighted values, in integers.
//!
//! Owns the weighted median and the lower bound. Never knows what the values mean.
//!
//! **Invariant:** as long as the bad votes weigh less than half, the median lies within the range
//! of the good ones.

use super::SPREAD_MIN;

/// 1.4826 in per mille: makes the median of deviations a standard deviation for normal values.
const MAD_PERMILLE: i64 = 1_483;
/// The worst value, per mille.
const WORST: i64 = -1_000;

/// The smallest value at or below which half of the weight lies; `None` without weight.
pub(super) fn median(values: &[(i64, u64)]) -> Option<i64> {
    let mut sorted: Vec<(i64, u64)> = values.to_vec();
    sorted.sort_unstable();
    let total: u128 = sorted.iter().map(|(_, weight)| u128::from(*weight)).sum();
    let mut below = 0u128;
    for (value, weight) in sorted {
        below += u128::from(weight);
        if weight > 0 && below * 2 >= total {
            return Some(value);
        }
    }
    None
}

/// A lower confidence bound of the median of values within ±1000 per mille; the worst value
/// when there are no votes.
pub(super) fn lower_bound(values: &[(i64, u64)], z_permille: u32) -> i64 {
    let Some(middle) = median(values) else { return WORST };
    let deviations: Vec<(i64, u64)> =
        values.iter().map(|(value, weight)| (value.abs_diff(middle) as i64, *weight)).collect();
    let deviation = median(&deviations).unwrap_or(0);
    let spread = (deviation * MAD_PERMILLE / 1_000).max(SPREAD_MIN);
    let error = spread * 1_000 / root_of_effective_number(values).max(1);
    let margin = error.saturating_mul(i64::from(z_permille)) / 1_000;
    middle.saturating_sub(margin).max(WORST)
}

/// The square root of `(Σw)² / Σw²`, per mille: 1000 for one vote, 2000 for four equal ones.
fn root_of_effective_number(values: &[(i64, u64)]) -> i64 {
    let total: u128 = values.iter().map(|(_, weight)| u128::from(*weight)).sum();
    let squares: u128 = values.iter().map(|(_, weight)| u128::from(*weight).pow(2)).sum();
    let ratio = total.saturating_pow(2).saturating_mul(1_000_000) / squares.max(1);
    i64::try_from(ratio.isqrt()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn medians_follow_the_weight() {
        for (values, expected) in [
            (&[][..], None),
            (&[(5, 1)], Some(5)),
            (&[(5, 0)], None),
            (&[(9, 1), (1, 1), (5, 1)], Some(5)),
            (&[(9, 5), (1, 1), (5, 1)], Some(9)),
            (&[(1, 1), (2, 1)], Some(1)),
        ] {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }

    #[test]
    fn more_votes_raise_the_bound_and_none_is_the_worst() {
        let bound = |n: usize| lower_bound(&vec![(800, 10); n], 1_282);
        assert_eq!((bound(0), bound(1), bound(4)), (-1_000, 480, 640));
        assert_eq!(lower_bound(&[(-900, 1)], 1_282), -1_000);
    }

    proptest! {
        #[test]
        fn a_minority_cannot_move_the_median_out_of_the_good_range(
            good in proptest::collection::vec(400i64..=600, 6..12),
            bad in proptest::collection::vec(-1_000i64..=1_000, 0..5),
        ) {
            let votes: Vec<_> = good.iter().chain(&bad).map(|value| (*value, 7)).collect();
            prop_assert!((400..=600).contains(&median(&votes).unwrap()));
        }
    }
}
