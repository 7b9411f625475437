//! The penalty of what comes and goes (RFC 2439 §2.3): added to at each fault, halved with time.
//!
//! Integers alone: a whole number of half-lives is a shift, and the rest is looked up in 32 steps
//! of a half-life, rounded to the nearest one.
//!
//! **Invariant:** a penalty is at most [`Penalties::ceiling`], and without faults it never grows.

use super::table::TICK_BITS;
use edgelore_model::Span;

/// Steps that a half-life is divided into.
const STEPS: u64 = 32;
/// 2^16 · 2^(-step / 32), rounded.
const DECAY: [u32; STEPS as usize] = [
    65536, 64132, 62757, 61413, 60097, 58809, 57549, 56316, 55109, 53928, 52773, 51642, 50535,
    49452, 48393, 47356, 46341, 45348, 44376, 43425, 42495, 41584, 40693, 39821, 38968, 38133,
    37316, 36516, 35734, 34968, 34219, 33486,
];

/// What a fault costs, and how fast that is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalties {
    /// The time in which a penalty halves.
    pub half_life: Span,
    /// Added when something is lost: a withdrawal, a session that goes down.
    pub loss: u16,
    /// Added when a route is announced with other attributes.
    pub change: u16,
    /// No penalty grows past this.
    pub ceiling: u16,
}

impl Default for Penalties {
    fn default() -> Self {
        // The figures that routers share, RFC 7196 §3.
        Self { half_life: Span::from_millis(900_000), loss: 1_000, change: 500, ceiling: 12_000 }
    }
}

/// [`Penalties`] made ready for time in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decay {
    half_life_ticks: u64,
    loss: u16,
    change: u16,
    ceiling: u16,
}

impl Decay {
    pub(crate) fn new(penalties: Penalties) -> Self {
        let ticks = u64::try_from(penalties.half_life.0 >> TICK_BITS).unwrap_or(0);
        let Penalties { loss, change, ceiling, .. } = penalties;
        Self { half_life_ticks: ticks.max(1), loss, change, ceiling }
    }

    /// What is left of a penalty after so many ticks without a fault.
    #[inline]
    pub(crate) fn after(self, penalty: u16, ticks: u32) -> u16 {
        // Less than half a step, as mostly, needs no division.
        let soon = u64::from(ticks) * STEPS < self.half_life_ticks.div_ceil(2);
        if penalty == 0 || soon {
            return penalty;
        }
        // So many half-lives leave nothing, which needs none either.
        if u64::from(ticks) >= self.half_life_ticks * u64::from(u16::BITS - penalty.leading_zeros())
        {
            return 0;
        }
        let steps = (u64::from(ticks) * STEPS + self.half_life_ticks / 2) / self.half_life_ticks;
        let halvings = steps / STEPS;
        let rest = (u32::from(penalty) * DECAY[(steps % STEPS) as usize]) >> 16;
        (rest >> halvings) as u16
    }

    /// [`Self::after`] for a span of time; none for one that runs backwards.
    pub(crate) fn after_span(self, penalty: u16, span: Span) -> u16 {
        let ticks = (span.0.max(0) >> TICK_BITS).min(i64::from(u32::MAX));
        self.after(penalty, ticks as u32)
    }

    pub(crate) fn after_loss(self, penalty: u16, ticks: u32) -> u16 {
        self.after(penalty, ticks).saturating_add(self.loss).min(self.ceiling)
    }

    /// The penalty of so many ticks ago that would by now have decayed to what
    /// [`Self::after_change`] gives; to 1 % of a change where a tenth of a half-life has passed.
    pub(crate) fn as_if_changed(self, penalty: u16, ticks: u32) -> u16 {
        let decayed = self.change - self.after(self.change, ticks);
        penalty.saturating_add(self.change).saturating_add(decayed).min(self.ceiling)
    }

    pub(crate) fn after_change(self, penalty: u16, ticks: u32) -> u16 {
        self.after(penalty, ticks).saturating_add(self.change).min(self.ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_power_of_two() {
        for (step, &factor) in DECAY.iter().enumerate() {
            let exact = 65536.0 * f64::powf(2.0, -(step as f64) / 32.0);
            assert!((exact - f64::from(factor)).abs() <= 0.5, "{step}: {factor} for {exact}");
        }
    }

    #[test]
    fn a_penalty_halves_in_its_half_life_and_never_passes_its_ceiling() {
        let decay = Decay::new(Penalties::default());
        let half_life = decay.half_life_ticks as u32;
        assert_eq!(decay.after(8_000, half_life), 4_000);
        assert_eq!(decay.after(8_000, 3 * half_life), 1_000);
        assert_eq!(decay.after(8_000, half_life / 2), 5_656, "8,000 over the root of two");
        assert_eq!(decay.after(8_000, u32::MAX), 0);
        assert_eq!(decay.after_loss(11_800, 0), 12_000);
        assert_eq!(decay.after_change(1_000, half_life), 1_000);
        let tiny = Decay::new(Penalties { half_life: Span(-7), ..Penalties::default() });
        assert_eq!(tiny.after(1_000, 1), 500, "a half-life is a tick at least");
    }

    #[test]
    fn a_change_may_be_noted_as_of_before() {
        let decay = Decay::new(Penalties::default());
        let tenth = decay.half_life_ticks as u32 / 10;
        for ticks in (0..tenth).step_by(997) {
            let (exact, noted) = (
                decay.after_change(3_000, ticks),
                decay.after(decay.as_if_changed(3_000, ticks), ticks),
            );
            assert!(exact.abs_diff(noted) <= 5, "{ticks}: {noted} for {exact}");
        }
        assert_eq!(decay.as_if_changed(11_900, 0), 12_000);
    }

    #[test]
    fn a_penalty_falls_with_time() {
        let decay = Decay::new(Penalties::default());
        let falls = (0..200_000).map(|ticks| decay.after(12_000, ticks * 40)).collect::<Vec<_>>();
        assert!(falls.is_sorted_by(|a, b| a >= b));
    }
}
