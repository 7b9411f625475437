//! What of an outcome fits into a packet.
//!
//! Owns the order in which room is given away: fields, the first parent, steps, further parents.
//! Never writes bytes.
//!
//! **Invariant:** what [`fit`] leaves encodes to at most [`PAYLOAD_BYTES_MAX`] bytes.

use edgelore_model::Outcome;

use super::{PARENTS_MAX, PAYLOAD_BYTES_MAX, cbor};

/// Bytes that say that steps were lost.
const FLAG_BYTES: usize = 2;
/// Bytes of a packet id with its head.
const PARENT_BYTES: usize = 34;

/// Cuts steps and parents until the payload fits; gives it, and says whether steps were lost.
pub(super) fn fit(outcome: &mut Outcome, space: [u8; 8]) -> (Vec<u8>, bool) {
    outcome.parents.dedup();
    outcome.parents.truncate(PARENTS_MAX);
    let payload = cbor::encode(outcome, space, false);
    if payload.len() <= PAYLOAD_BYTES_MAX {
        return (payload, false);
    }
    let truncated = cut_to_fit(outcome, space);
    (cbor::encode(outcome, space, truncated), truncated)
}

fn cut_to_fit(outcome: &mut Outcome, space: [u8; 8]) -> bool {
    let mut parents = std::mem::take(&mut outcome.parents).into_iter();
    outcome.parents.extend(parents.next());
    let steps = std::mem::take(&mut outcome.resolution.steps);
    // All but the array of steps, whose head takes one byte while it is empty.
    let fields = cbor::encode(outcome, space, false).len() - 1;
    let (steps, truncated) = fit_steps(steps, PAYLOAD_BYTES_MAX.saturating_sub(fields));
    let flag = if truncated { FLAG_BYTES } else { 0 };
    let left = PAYLOAD_BYTES_MAX.saturating_sub(fields + array_bytes(&steps) + flag);
    outcome.resolution.steps = steps;
    outcome.parents.extend(parents.take(left / PARENT_BYTES));
    truncated
}

/// As many steps as `room` bytes hold, the last one cut at a character; whether any was lost.
fn fit_steps(mut steps: Vec<String>, room: usize) -> (Vec<String>, bool) {
    if array_bytes(&steps) <= room {
        return (steps, false);
    }
    let room = room.saturating_sub(FLAG_BYTES);
    let mut used = 0;
    let whole = steps.iter().enumerate().take_while(|(at, step)| {
        used += text_bytes(step.len());
        head_bytes(at + 1) + used <= room
    });
    let whole = whole.count();
    steps.truncate(whole + 1);
    if let Some(last) = steps.pop() {
        let left =
            room.saturating_sub(array_bytes(&steps) - head_bytes(whole) + head_bytes(whole + 1));
        let cut = cut(last, left);
        steps.extend(Some(cut).filter(|step| !step.is_empty()));
    }
    (steps, true)
}

/// The beginning of a step that `room` bytes hold.
fn cut(mut step: String, room: usize) -> String {
    let fits = |at: &usize| text_bytes(*at) <= room && step.is_char_boundary(*at);
    let at = (0..=step.len().min(room)).rev().find(fits).unwrap_or(0);
    step.truncate(at);
    step
}

fn array_bytes(steps: &[String]) -> usize {
    head_bytes(steps.len()) + steps.iter().map(|step| text_bytes(step.len())).sum::<usize>()
}

/// Bytes of an encoded text.
const fn text_bytes(length: usize) -> usize {
    head_bytes(length) + length
}

/// Bytes of a head with this argument (RFC 8949 §3).
pub(super) const fn head_bytes(argument: usize) -> usize {
    match argument {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        _ => 9,
    }
}
