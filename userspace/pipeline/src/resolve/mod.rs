//! Resolution: what changed between two incidents of one class.
//!
//! ```text
//! Settings before, after ─► wire  ┐
//! configuration texts ─► text ─► diff (by rules) ├─► Change
//! the operator's word             ┘
//! ```
//!
//! What both ends of a session or an adjacency use is on the wire; what a link and its queue are
//! set to, the kernel says. Comparing what held when an incident began with what held when the next
//! one of its class began tells what was changed between them, however many steps it took. A
//! router's own configuration tells what no wire shows, and the operator may declare the rest.
//!
//! **Invariant:** steps name times, numbers and kinds, and nothing that identifies a network.

mod diff;
mod names;
mod reach;
mod rules;
mod text;
mod wire;

pub use diff::{Compared, config_changes};
pub use names::Identifiers;
pub use reach::Reach;
pub use rules::{RULES_MAX, RuleError, Rules, TABLE_BYTES_MAX};
pub use text::{Configuration, DEPTH_MAX, Syntax, TEXT_BYTES_MAX, TextError};
pub use wire::changes_between;

use edgelore_model::{Interval, Known, Resolution, Scope};
use serde::{Deserialize, Serialize};

/// BFD intervals or multiplier changed, or BFD was switched on.
pub const BFD_TUNING: &str = "bfd_tuning";
/// The hold time changed.
pub const HOLD_TIMER_TUNING: &str = "hold_timer_tuning";
/// Graceful restart was switched on or off, or its time changed.
pub const GRACEFUL_RESTART: &str = "graceful_restart";
/// Several paths are sent for a prefix, or no longer.
pub const ADD_PATH: &str = "add_path";
/// Other capabilities of a session changed.
pub const CAPABILITY_CHANGE: &str = "capability_change";
/// The number of prefixes taken from a neighbour was limited.
pub const MAX_PREFIX: &str = "max_prefix";
/// Hello or dead intervals of an interior gateway protocol changed.
pub const IGP_TIMER_TUNING: &str = "igp_timer_tuning";
/// What an edge or a prefix costs changed, or a router was taken out of transit.
pub const COST_CHANGE: &str = "cost_change";
/// Routes use more equal paths.
pub const ECMP_REBALANCE: &str = "ecmp_rebalance";
/// A queueing discipline was replaced or resized.
pub const QOS_SHAPING: &str = "qos_shaping";
/// The largest packet of a link changed.
pub const MTU_CHANGE: &str = "mtu_change";

/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 48;
/// Longest step, in bytes.
pub const STEP_BYTES_MAX: usize = 400;
/// Steps of a resolution, at most.
pub const STEPS_MAX: usize = 16;

/// A change of the network that was seen or told of. It stays on the gateway; only its resolution
/// may leave, as part of an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it was made.
    pub at: Interval,
    /// Where; `None` when it may concern every class of incidents.
    pub on: Option<Scope>,
    /// On which incidents it can act there.
    #[serde(default)]
    pub reach: Reach,
    /// What was changed.
    pub resolution: Resolution,
    /// How one knows: the line of a configuration, the message on the wire, the operator's word.
    pub evidence: String,
}

/// Why somebody's word is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// The pattern is no word.
    #[error("declaring a change: pattern '{0}' is not a word of a-z, 0-9 and _, such as dampening")]
    Pattern(String),
    /// More than [`STEPS_MAX`].
    #[error("declaring a change: {0} steps are more than {STEPS_MAX}")]
    Steps(usize),
    /// A step is empty, longer than [`STEP_BYTES_MAX`], or more than one line.
    #[error("declaring a change: step {0} is not one line of 1 to {STEP_BYTES_MAX} bytes")]
    Step(usize),
    /// It would have been made later than now, or its bounds are in the wrong order.
    #[error("declaring a change: its time is not in the past")]
    Time,
}

/// The operator's word as a change.
///
/// # Errors
/// When the pattern is no word, or a step is no sentence; see [`WordError`].
pub fn declared(
    pattern: &str,
    steps: &[String],
    at: Interval,
    on: Option<Scope>,
) -> Result<Change, WordError> {
    if !is_pattern(pattern) {
        return Err(WordError::Pattern(pattern.chars().take(PATTERN_BYTES_MAX).collect()));
    }
    if steps.len() > STEPS_MAX {
        return Err(WordError::Steps(steps.len()));
    }
    let steps: Vec<String> = steps.iter().map(|step| step.trim().to_owned()).collect();
    let sentence = |step: &String| {
        (1..=STEP_BYTES_MAX).contains(&step.len()) && !step.chars().any(char::is_control)
    };
    if let Some(wrong) = steps.iter().position(|step| !sentence(step)) {
        return Err(WordError::Step(wrong + 1));
    }
    if at.earliest > at.estimate || at.estimate > at.latest {
        return Err(WordError::Time);
    }
    let resolution = Resolution { pattern: pattern.to_owned(), steps, known: Known::Declared };
    let (reach, evidence) = (Reach::default(), "the operator's word".to_owned());
    Ok(Change { at, on, reach, resolution, evidence })
}

/// It can name a resolution: a word of at most [`PATTERN_BYTES_MAX`] bytes that begins with a
/// letter.
#[must_use]
pub fn is_pattern(word: &str) -> bool {
    let of_a_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    word.len() <= PATTERN_BYTES_MAX
        && word.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && word.bytes().all(of_a_word)
}

#[cfg(test)]
mod tests;
