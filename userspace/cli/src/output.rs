//! Printing: JSON for scripts, plain aligned text for people.

use anyhow::Result;
use edgelore_model::Advice;
use edgelore_node::replay::Damage;
use edgelore_node::view::IncidentView;
use edgelore_pipeline::packet::Changed;
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Prints a value as JSON on one line.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Prints a line of text.
pub(crate) fn line(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Says on standard error that a file's damage was stepped over.
pub(crate) fn damage(damage: &Damage) {
    let Damage { file, faults, first } = damage;
    eprintln!(
        "edgelore: '{}' is damaged at byte {}: {}{}",
        file.display(),
        first.offset,
        first.reason,
        if *faults > 1 { format!(", and in {} more places", faults - 1) } else { String::new() },
    );
}

/// The reader of our output has gone, as `head` does: nothing to complain about.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json =
            cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(ErrorKind::BrokenPipe)
    })
}

/// One incident on one line.
pub(crate) fn incident(incident: &IncidentView) -> Result<()> {
    let lasted = incident.duration_ms.map_or_else(
        || "end not seen from here".to_owned(),
        |d| format!("{} ms [{} .. {}]", d.estimate, d.earliest, d.latest),
    );
    line(&format!(
        "{}  {}  {:<11} {:<4} {:<34} {:>7} prefixes  {lasted}{}{}",
        incident.id,
        incident.start.estimate,
        incident.event,
        incident.protocol,
        incident.scope.to_string(),
        incident.prefixes,
        if incident.gaps { "  (evidence has gaps)" } else { "" },
        if incident.maintenance { "  (maintenance)" } else { "" },
    ))
}

/// Ranked advice with its evidence.
pub(crate) fn advice(advice: &[Advice]) -> Result<()> {
    if advice.is_empty() {
        return line("nothing found within the radius: be the first to publish an outcome");
    }
    for (rank, one) in advice.iter().enumerate() {
        line(&format!(
            "{}. {}: {} % faster, at least {} % ({} ms at the median; {} outcomes vote, {} contradict)",
            rank + 1,
            one.pattern,
            permille(one.improvement_permille),
            permille(one.lower_bound_permille),
            one.convergence_delta_ms,
            one.votes,
            one.contradictions,
        ))?;
        for step in &one.steps {
            line(&format!("     - {step}"))?;
        }
        for evidence in &one.evidence {
            line(&format!(
                "     evidence {}… at distance {}.{:03}: {} ms before, {} ms after, {} incidents{}",
                evidence.packet.get(..12).unwrap_or(&evidence.packet),
                evidence.distance / 1000,
                evidence.distance % 1000,
                value(evidence.before),
                value(evidence.after),
                evidence.sample_size,
                if evidence.votes { "" } else { " (does not vote)" },
            ))?;
        }
    }
    Ok(())
}

fn permille(value: i64) -> String {
    format!("{}{}.{}", if value < 0 { "-" } else { "" }, value.abs() / 10, value.abs() % 10)
}

/// What was taken out of an outcome or made coarser, a line each.
pub(crate) fn changes(changes: &[Changed]) -> Result<()> {
    changes.iter().try_for_each(|change| match change {
        Changed::Scrubbed { field, removed } => {
            let (text, word) = (removed.text.escape_debug(), removed.rule.word());
            line(&format!("  taken out   {field}: \"{text}\" became [{word}]"))
        }
        Changed::Rounded { field, from, to } => {
            line(&format!("  made coarse {field}: {from} became {to}"))
        }
    })
}

/// A figure that may be unknown.
pub(crate) fn value(value: Option<u64>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.to_string())
}
