//! Axes: where a time or a value lies, and which round figures stand beside it.
//!
//! **Invariant:** integers alone, so that every machine draws the same.

use edgelore_model::Timestamp;

/// A linear scale from `from..=to` onto `0..=size`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    from: i128,
    to: i128,
    size: i128,
}

impl Scale {
    pub(super) fn new(from: i64, to: i64, size: u32) -> Self {
        Self { from: from.into(), to: i128::from(to.max(from)), size: size.into() }
    }

    pub(super) fn time((from, to): (Timestamp, Timestamp), size: u32) -> Self {
        Self::new(from.0, to.0, size)
    }

    /// Where a value lies, within the scale.
    pub(super) fn at(&self, value: i64) -> u32 {
        let width = (self.to - self.from).max(1);
        let value = i128::from(value).clamp(self.from, self.to) - self.from;
        u32::try_from((value * self.size + width / 2) / width).unwrap_or(u32::MAX)
    }
}

/// Round figures between `from` and `to`, about `count` of them: 1, 2 or 5 times a power of ten.
pub(super) fn ticks(from: i64, to: i64, count: u32) -> Vec<i64> {
    let step = step(i128::from(to) - i128::from(from), count);
    let first = i128::from(from).div_euclid(step) * step;
    let mut ticks = Vec::new();
    let mut tick = if first < i128::from(from) { first + step } else { first };
    while tick <= i128::from(to) {
        ticks.extend(i64::try_from(tick));
        tick += step;
    }
    ticks
}

fn step(range: i128, count: u32) -> i128 {
    let wanted = (range / i128::from(count.max(1))).max(1);
    let mut power = 1;
    while power * 10 <= wanted {
        power *= 10;
    }
    [1, 2, 5, 10].into_iter().map(|digit| digit * power).find(|s| *s >= wanted).unwrap_or(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(0, 8_412, 5), [0, 2_000, 4_000, 6_000, 8_000]);
        assert_eq!(ticks(-30, 100, 4), [0, 50, 100]);
        assert_eq!(ticks(0, 0, 5), [0]);
        assert!(ticks(i64::MIN, i64::MAX, 5).len() <= 6);
    }

    #[test]
    fn a_scale_clamps_and_rounds() {
        let scale = Scale::new(-100, 100, 10);
        assert_eq!([-200, -100, 0, 91, 100, 200].map(|v| scale.at(v)), [0, 0, 5, 10, 10, 10]);
        assert_eq!(Scale::new(5, 5, 10).at(5), 0);
        assert_eq!(Scale::new(i64::MIN, i64::MAX, 100).at(0), 50);
    }
}
