//! Owns the sums over CPUs of what the programs counted, and what has grown in them since last time.
//!
//! **Invariant:** a growth is told once. A count that runs backwards has begun anew (its map entry
//! was evicted, or belongs to another connection now), and counts whole.

use super::layout::Tracepoint;
use edgelore_events::trace::{
    Connection, Counts, DROP_SLOTS, PORTS, QueueCounts, count, drop_reason, queue,
};
use edgelore_model::{KernelEvent, SessionKey};
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::record::address;

/// What the programs did since they were loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceCounters {
    /// How often each attached tracepoint told something.
    pub hits: BTreeMap<&'static str, u64>,
    /// Records handed over.
    pub records: u64,
    /// Records lost because the ring buffer was full.
    pub records_lost: u64,
    /// Records that did not have the agreed form.
    pub malformed: u64,
    /// Events with a field that could not be read.
    pub unreadable: u64,
    /// Events that nobody saw: the kernel runs no program of a tracepoint while another one is at work
    /// on that CPU.
    pub skipped: u64,
    /// Retransmissions of control-plane sessions that could not be told apart.
    pub retransmits_unkeyed: u64,
}

impl TraceCounters {
    pub(super) fn of(
        counts: &Counts,
        attached: &[Tracepoint],
        malformed: u64,
        skipped: u64,
    ) -> Self {
        Self {
            hits: attached.iter().map(|point| (point.name(), counts[point.hits()])).collect(),
            records: counts[count::RECORDS],
            records_lost: counts[count::RECORDS_LOST],
            malformed,
            unreadable: counts[count::UNREADABLE],
            skipped,
            retransmits_unkeyed: counts[count::RETRANSMITS_UNKEYED],
        }
    }
}

/// Sums a per-CPU value of several counts.
pub(super) fn sum<const N: usize>(values: &[[u64; N]]) -> Box<[u64; N]> {
    let mut total = Box::new([0; N]);
    for value in values {
        for (total, value) in total.iter_mut().zip(value) {
            *total = u64::wrapping_add(*total, *value);
        }
    }
    total
}

/// What was counted since `before`.
pub(super) fn growth(now: u64, before: u64) -> u64 {
    if now >= before { now - before } else { now }
}

/// Packets dropped since `before`, by the kernel's name of the reason.
pub(super) fn drops(
    now: &Counts,
    before: &Counts,
    reasons: &BTreeMap<u32, String>,
) -> Vec<KernelEvent> {
    (0..DROP_SLOTS)
        .filter_map(|slot| {
            let count = growth(now[count::DROPS + slot], before[count::DROPS + slot]);
            (count > 0).then(|| KernelEvent::Dropped { reason: name(slot, reasons), count })
        })
        .collect()
}

/// A reason that the kernel has no name for goes by its code; `OTHER` are those without a counter
/// of their own.
fn name(slot: usize, reasons: &BTreeMap<u32, String>) -> String {
    match drop_reason(slot) {
        Some(code) => reasons.get(&code).cloned().unwrap_or_else(|| format!("{code:#x}")),
        None => "OTHER".to_owned(),
    }
}

/// A link's queue activity since `before`; `None` when there was none.
pub(super) fn activity(now: &QueueCounts, before: &QueueCounts) -> Option<KernelEvent> {
    let enqueued = growth(now[queue::ENQUEUED], before[queue::ENQUEUED]);
    let dequeued = growth(now[queue::DEQUEUED], before[queue::DEQUEUED]);
    (enqueued > 0 || dequeued > 0).then_some(KernelEvent::QueueActivity { enqueued, dequeued })
}

/// Retransmissions since `before`, summed per session and well-known port: a session may have had
/// several connections.
pub(super) fn retransmissions(
    now: &BTreeMap<[u8; 36], u64>,
    before: &BTreeMap<[u8; 36], u64>,
) -> Vec<KernelEvent> {
    let mut sessions: BTreeMap<(SessionKey, u16), u64> = BTreeMap::new();
    for (key, segments) in now {
        let count = growth(*segments, before.get(key).copied().unwrap_or_default());
        if count > 0 {
            let total = sessions.entry(session(&bytemuck::pod_read_unaligned(key))).or_default();
            *total = total.saturating_add(count);
        }
    }
    let event = |((session, port), count)| KernelEvent::Retransmitted {
        session: Some(session),
        port,
        count,
    };
    sessions.into_iter().map(event).collect()
}

/// The session of a connection, and its well-known port.
fn session(connection: &Connection) -> (SessionKey, u16) {
    let ends: [IpAddr; 2] = [connection.local, connection.peer].map(address);
    let ports = [connection.local_port, connection.peer_port];
    let known = ports.into_iter().find(|port| PORTS.contains(port));
    (SessionKey::between(ends[0], ends[1]), known.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_events::trace::drop_slot;

    #[test]
    fn drops_have_names_and_are_told_once() {
        let (mut before, mut now) = ([0; count::LEN], [0; count::LEN]);
        for (reason, old, new) in
            [(64, 10, 15), (7, 3, 3), (200, 0, 1), (0x3_0002, 0, 2), (0xff_0000, 0, 4)]
        {
            before[count::DROPS + drop_slot(reason)] = old;
            now[count::DROPS + drop_slot(reason)] = new;
        }
        let names = BTreeMap::from([(64, "QDISC_DROP".to_owned()), (7, "SEVEN".to_owned())]);
        let expected = [("QDISC_DROP", 5), ("0xc8", 1), ("0x30002", 2), ("OTHER", 4)]
            .map(|(reason, count)| KernelEvent::Dropped { reason: reason.to_owned(), count });
        assert_eq!(drops(&now, &before, &names), expected);
        assert!(drops(&now, &now, &names).is_empty());
    }

    #[test]
    fn connections_of_a_session_are_summed_and_an_evicted_one_begins_anew() {
        let mapped = |last: u8| {
            let mut octets = [0; 16];
            octets[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, last]);
            octets
        };
        let key = |local_port, peer_port| {
            let connection =
                Connection { local: mapped(1), peer: mapped(2), local_port, peer_port };
            <[u8; 36]>::try_from(bytemuck::bytes_of(&connection)).unwrap()
        };
        let before = BTreeMap::from([(key(40000, 179), 5), (key(646, 40001), 9)]);
        let now =
            BTreeMap::from([(key(40000, 179), 7), (key(179, 40002), 1), (key(646, 40001), 3)]);
        let session = SessionKey::between([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let expected = [(179, 3), (646, 3)].map(|(port, count)| KernelEvent::Retransmitted {
            session: Some(session),
            port,
            count,
        });
        assert_eq!(retransmissions(&now, &before), expected);
        assert!(retransmissions(&now, &now).is_empty());
    }

    #[test]
    fn queues_are_silent_while_nothing_moves() {
        assert_eq!(activity(&[4, 4], &[4, 4]), None);
        let expected = KernelEvent::QueueActivity { enqueued: 2, dequeued: 0 };
        assert_eq!(activity(&[6, 4], &[4, 4]), Some(expected));
        assert_eq!(*sum(&[[1, 2], [u64::MAX, 3]]), [0, 5]);
    }
}
