//! What an outcome can say.
//!
//! Owns the bounds of values; the same for what is sealed here and what others send. Never looks
//! at a clock.
//!
//! **Invariant:** an outcome that passed has no value that arithmetic on it could overflow.

use edgelore_model::{EventType, Outcome};

use super::PacketError;

/// The longest time a packet may count, seconds: one year of 366 days.
pub const LIFETIME_SECS_MAX: i64 = 366 * 86_400;
/// The largest severity that is a duration, ms: one year of 366 days.
pub const SEVERITY_MS_MAX: u64 = 366 * 86_400_000;
/// The largest loss: everything, in parts per million.
const LOSS_PPM_MAX: u64 = 1_000_000;
/// The most transitions an hour: one each microsecond.
const TRANSITIONS_MAX: u64 = 3_600_000_000;

/// Bytes of the four terms together.
pub(super) fn terms_bytes(outcome: &Outcome) -> usize {
    let situation = &outcome.situation;
    let terms = [
        &situation.topology_class,
        &situation.protocol,
        &situation.event_type,
        &outcome.resolution.pattern,
    ];
    terms.iter().map(|term| term.len()).sum()
}

/// Refuses values that cannot be true.
pub(super) fn check(outcome: &Outcome) -> Result<(), PacketError> {
    let impossible = |reason| Err(PacketError::Impossible(reason));
    let (created, expires) = (outcome.created.secs(), outcome.expires.secs());
    if created < 0 {
        return impossible("created before 1970");
    }
    if expires < created {
        return impossible("expires before it was created");
    }
    if expires - created > LIFETIME_SECS_MAX {
        return impossible("counts for more than a year");
    }
    check_severities(outcome)?;
    check_difference(outcome)
}

fn check_severities(outcome: &Outcome) -> Result<(), PacketError> {
    let event = outcome.situation.event_type.as_str();
    let bound = match event {
        _ if event == EventType::Flap.term() => TRANSITIONS_MAX,
        _ if event == EventType::Degradation.term() => LOSS_PPM_MAX,
        // Unknown event types get the widest bound.
        _ => SEVERITY_MS_MAX,
    };
    let severities = [Some(outcome.situation.severity), outcome.before, outcome.after];
    if severities.into_iter().flatten().any(|severity| severity > bound) {
        return Err(PacketError::Impossible("severity beyond what its event type can have"));
    }
    if outcome.convergence_delta_ms.unsigned_abs() > SEVERITY_MS_MAX {
        return Err(PacketError::Impossible("improvement of more than a year"));
    }
    Ok(())
}

fn check_difference(outcome: &Outcome) -> Result<(), PacketError> {
    let delta = i128::from(outcome.convergence_delta_ms);
    let consistent = match (outcome.before, outcome.after) {
        (Some(before), Some(after)) => i128::from(before) - i128::from(after) == delta,
        (Some(before), None) => delta <= i128::from(before),
        (None, Some(after)) => -delta <= i128::from(after),
        (None, None) => true,
    };
    if consistent {
        Ok(())
    } else {
        Err(PacketError::Impossible("improvement differs from before minus after"))
    }
}
