//! The judgement: what an era brought against the era before it, in integers.
//!
//! A difference that the spread of either era could make is no difference. Then the outcome says
//! that the severity after the change equals the one before: it failed. So the three verdicts can
//! be read off before and after, by whoever holds the packet.
//!
//! **Invariant:** the judgement depends on the two eras alone.

use super::DistilConfig;
use super::era::{Era, Figures};
use edgelore_model::Outcome;
use serde::{Deserialize, Serialize};

/// What a change brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The severity fell by more than the spread.
    Helped,
    /// No difference can be told.
    Failed,
    /// The severity rose by more than the spread.
    Worse,
}

impl From<&Outcome> for Verdict {
    fn from(outcome: &Outcome) -> Self {
        match outcome.convergence_delta_ms {
            1.. => Self::Helped,
            0 => Self::Failed,
            _ => Self::Worse,
        }
    }
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub const fn term(self) -> &'static str {
        match self {
            Self::Helped => "helped",
            Self::Failed => "failed",
            Self::Worse => "worse",
        }
    }
}

/// Two eras side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Compared {
    /// Before the change.
    pub before: Figures,
    /// After it; nothing when what happened before has not come back.
    pub after: Figures,
    /// A difference of the medians up to this is none.
    pub spread: u64,
}

impl Compared {
    pub(super) fn eras(before: &Era, after: &Era, config: &DistilConfig) -> Self {
        let figures = before.figures();
        let least = figures.median.saturating_mul(config.spread_min_permille.into()) / 1_000;
        let spread = before.spread().max(after.spread()).max(least);
        Self { before: figures, after: after.figures(), spread }
    }

    /// The severity after the change as far as it can be told from the one before.
    #[must_use]
    pub const fn after(&self) -> u64 {
        let (before, after) = (self.before.median, self.after.median);
        if before.abs_diff(after) <= self.spread { before } else { after }
    }
}

/// The last incidents are as severe as those before the change, or more so.
pub(super) fn relapsed(before: &Era, after: &Era, config: &DistilConfig) -> bool {
    let count = config.regression_incidents as usize;
    let old = before.figures().median;
    let least = old.saturating_mul(config.spread_min_permille.into()) / 1_000;
    let severe = old.saturating_sub(before.spread().max(least));
    let latest = after.latest(count);
    latest.len() == count && { latest }.all(|sample| sample.severity >= severe)
}
