//! What an incident comes to when it closes.

use super::exclude::ruled_out;
use super::moves::Moves;
use super::open::Open;
use crate::detect::Finding;
use crate::detect::known::Known;
use edgelore_model::{
    EventType, Incident, IncidentId, Interval, Measured, Prefix, Protocol, Scope, Span, Timestamp,
};
use sha2::{Digest, Sha256};

/// The finding of an incident that stood still for `quiet`.
pub(super) fn finding(open: Open, quiet: Span, known: &Known) -> Finding {
    let until = open.last_activity() + quiet;
    let by_table = open.fib.last().is_some();
    let moves = if by_table { &open.fib } else { &open.routes };
    let end = moves.last();
    let severity = end.map_or(0, |end| (end.estimate - open.start.estimate).millis().max(0));
    let incident = Incident {
        id: incident_id(EventType::Convergence, &open.scope, open.start.estimate),
        event: EventType::Convergence,
        protocol: protocol(&open, known),
        scope: open.scope,
        start: start(&open),
        end,
        prefixes: prefixes(&open, moves),
        severity: severity.unsigned_abs(),
        gaps: open.gaps,
        maintenance: false,
        measured: measured(&open, by_table, until),
        progress: moves.progress(),
        ruled_out: ruled_out(&open, known),
        chain: chain(&open),
    };
    Finding { incident, settings: open.settings }
}

/// The root first, the others in the order in which they were seen.
fn chain(open: &Open) -> Vec<edgelore_model::Trigger> {
    let mut chain = open.chain.clone();
    chain[1..].sort_by_key(|trigger| trigger.at);
    chain
}

/// Nothing moves before it has begun: the first change bounds the start from above.
fn start(open: &Open) -> Interval {
    let first = open.fib.first().into_iter().chain(open.routes.first());
    let Some(first) = first.map(|when| when.latest).min() else { return open.start };
    let latest = open.start.latest.min(first.max(open.start.earliest));
    Interval { estimate: open.start.estimate.min(latest), latest, ..open.start }
}

/// What moved, or without a table what was lost with its session, or what advertisements no longer
/// have.
fn prefixes(open: &Open, moves: &Moves) -> Vec<Prefix> {
    if open.fib.last().is_some() {
        return moves.prefixes.iter().copied().collect();
    }
    let mut prefixes: Vec<Prefix> = moves.prefixes.iter().copied().collect();
    if !open.retained {
        prefixes.extend(&open.lost_routes);
    }
    prefixes.extend(&open.taken_back);
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

/// The protocol whose routes moved: an interior one when it advertises most of what the kernel's
/// table moved.
fn protocol(open: &Open, known: &Known) -> Protocol {
    let moved = open.fib.prefixes.len() as u64;
    let (interior, which) = open.interior;
    match which {
        Some(which) if interior * 2 > moved => return which,
        _ => {}
    }
    if moved > 0 && (open.has_bgp() || known.rib.entries() > 0) {
        return Protocol::Bgp;
    }
    if moved == 0 && open.routes.last().is_some() && !open.is_ldp_alone() {
        return Protocol::Bgp;
    }
    open.protocol
}

fn measured(open: &Open, by_table: bool, until: Timestamp) -> Measured {
    let (explored, explored_max) = open.explored.measured();
    let wired = open.routes.last().is_some();
    let holes = if by_table { Some(&open.fib_holes) } else { open.wire_holes.as_ref() };
    let holes = holes.filter(|_| by_table || wired || !open.lost_routes.is_empty());
    let holes = holes.map(|holes| holes.measured(until));
    let some = holes.filter(|holes| holes.prefixes > 0);
    let span = open.fib.first().zip(open.fib.last());
    Measured {
        explored: wired.then_some(explored),
        explored_max: wired.then_some(explored_max),
        blackholed: holes.map(|holes| holes.prefixes),
        blackholed_ms_median: some.map(|holes| holes.ms_median),
        blackholed_ms_max: some.map(|holes| holes.ms_max),
        fib_ms: span
            .map(|(first, last)| (last.estimate - first.estimate).millis().max(0).unsigned_abs()),
        ..Measured::default()
    }
}

/// Derived from content, so that every replay gives an incident the same identity.
pub(in crate::detect) fn incident_id(
    event: EventType,
    scope: &Scope,
    start: Timestamp,
) -> IncidentId {
    let scope = serde_json::to_string(scope).expect("a scope always serializes");
    let digest = Sha256::digest(format!("{event}\n{scope}\n{}", start.0));
    IncidentId(u64::from_be_bytes(*digest.first_chunk().expect("SHA-256 has 32 bytes")))
}
