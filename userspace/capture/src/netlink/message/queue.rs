//! Queueing disciplines: RTM_NEWQDISC, RTM_DELQDISC.
//!
//! Owns the reading of `tcmsg`, of the statistics in TCA_STATS2, and of the limit in the options of
//! those kinds that have a simple one; remembers nothing.
//!
//! ```text
//! TCA_STATS_BASIC  bytes:u64 packets:u32
//! TCA_STATS_QUEUE  qlen:u32 backlog:u32 drops:u32 requeues:u32 overlimits:u32
//! TCA_STATS_PKT64  packets:u64                (only where 32 bits are not enough)
//! ```
//!
//! **Invariant:** no input panics; a qdisc without a kind is an error, and statistics that are
//! missing are zero.

use super::{
    Header, Message, MessageError, QUEUE_HEADER, RTM_DELQDISC, each_attribute, split, text, u32_at,
    u64_at,
};
use edgelore_model::QueueSample;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_STATS_PKT64: u16 = 8;

pub(in crate::netlink) fn read_queue(
    header: Header,
    payload: &[u8],
) -> Result<Message, MessageError> {
    let (fixed, attributes) = split("qdisc", payload, QUEUE_HEADER)?;
    let (mut kind, mut options, mut statistics) = (None, &[][..], &[][..]);
    each_attribute("qdisc", attributes, |attribute, value| match attribute {
        TCA_KIND => kind = Some(text(value)),
        TCA_OPTIONS => options = value,
        TCA_STATS2 => statistics = value,
        _ => {}
    })?;
    let qdisc = kind.ok_or(MessageError::Missing { part: "qdisc", attribute: "TCA_KIND" })?;
    let limit = limit(&qdisc, options)?;
    let mut sample = QueueSample {
        qdisc,
        handle: u32_at(fixed, 8),
        parent: u32_at(fixed, 12),
        present: header.kind != RTM_DELQDISC,
        limit,
        ..QueueSample::default()
    };
    each_attribute("qdisc statistics", statistics, |attribute, value| match attribute {
        TCA_STATS_BASIC => {
            sample.bytes = u64_at(value, 0);
            sample.packets = sample.packets.max(u64::from(u32_at(value, 8)));
        }
        TCA_STATS_PKT64 => sample.packets = u64_at(value, 0),
        TCA_STATS_QUEUE => {
            sample.backlog_packets = u32_at(value, 0);
            sample.backlog_bytes = u32_at(value, 4);
            sample.drops = u64::from(u32_at(value, 8));
            sample.requeues = u64::from(u32_at(value, 12));
            sample.overlimits = u64::from(u32_at(value, 16));
        }
        _ => {}
    })?;
    Ok(Message::Queue { link: u32_at(fixed, 4), sample })
}

/// Where a kind's options keep its limit.
enum Limit {
    /// At this offset of a structure.
    At(usize),
    /// In this attribute.
    In(u16),
    /// At this offset of the structure in this attribute.
    InAt(u16, usize),
}

fn limit(qdisc: &str, options: &[u8]) -> Result<u32, MessageError> {
    let place = match qdisc {
        "pfifo" | "bfifo" | "pfifo_head_drop" => Limit::At(0),
        "netem" => Limit::At(4),
        "sfq" => Limit::At(8),
        "tbf" => Limit::InAt(1, 24),
        "fq" | "fq_pie" => Limit::In(1),
        "codel" | "fq_codel" | "pie" => Limit::In(2),
        _ => return Ok(0),
    };
    let (wanted, offset) = match place {
        Limit::At(offset) => return Ok(u32_at(options, offset)),
        Limit::In(wanted) => (wanted, 0),
        Limit::InAt(wanted, offset) => (wanted, offset),
    };
    let mut limit = 0;
    each_attribute("qdisc options", options, |attribute, value| {
        if attribute == wanted {
            limit = u32_at(value, offset);
        }
    })?;
    Ok(limit)
}
