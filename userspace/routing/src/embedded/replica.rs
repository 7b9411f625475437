//! What one who keeps copies elsewhere asks of the store: what it holds, in the order of arrival.
//!
//! Owns nothing. Never gives what has expired.
//!
//! **Invariant:** pages follow one another without gaps.

use edgelore_model::{Query, Situation};

use super::disk::Record;
use super::{Embedded, Shared, blocking};
use crate::PacketId;
use crate::backend::BackendError;

/// A packet, and where it has to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) id: PacketId,
    /// Its sequence number.
    pub(crate) sequence: u64,
    /// Its own situation, then those of the packets here that it supersedes or revokes.
    pub(crate) places: Vec<Situation>,
}

/// A part of the history.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) held: Vec<Held>,
    /// The sequence number after which the next page begins.
    pub(crate) next: u64,
    pub(crate) at_end: bool,
}

impl Embedded {
    pub(crate) fn holds(&self, id: &PacketId) -> bool {
        self.shared.index().contains(id)
    }

    /// Whether a publisher's packet was taken back by what is in the store.
    pub(crate) fn is_withdrawn(&self, publisher: &[u8; 32], id: &PacketId) -> bool {
        self.shared.index().is_withdrawn(publisher, id)
    }

    /// The ids of what a query finds, in its order.
    pub(crate) async fn near(
        &self,
        query: Query,
        radius: u32,
        limit: usize,
    ) -> Result<Vec<PacketId>, BackendError> {
        blocking(&self.shared, move |shared| {
            let near = shared.index().near(&query, radius, limit, (shared.now)());
            Ok(near.into_iter().map(|hit| hit.id).collect())
        })
        .await
    }

    /// The highest sequence number given; 0 when it cannot be read.
    pub(crate) fn last(&self) -> u64 {
        self.shared.disk.last_sequence().unwrap_or(0)
    }

    /// What the next `count` records after `after` are of.
    pub(crate) async fn page(&self, after: u64, count: usize) -> Result<Page, BackendError> {
        blocking(&self.shared, move |shared| page(shared, after, count)).await
    }

    /// One packet.
    pub(crate) async fn held(&self, id: PacketId) -> Result<Option<Held>, BackendError> {
        blocking(&self.shared, move |shared| {
            let record = record(shared, &id)?;
            record.map(|(at, record)| held(shared, at, record)).transpose()
        })
        .await
    }

    /// The bytes of those of the packets that are there.
    pub(crate) async fn bytes(&self, ids: Vec<PacketId>) -> Result<Vec<Vec<u8>>, BackendError> {
        blocking(&self.shared, move |shared| {
            let there: Vec<(u64, PacketId)> = {
                let index = shared.index();
                ids.iter().filter_map(|id| Some((index.sequence(id)?, *id))).collect()
            };
            let packets = shared.disk.packets(there)?;
            Ok(packets.into_iter().flatten().map(|packet| packet.bytes).collect())
        })
        .await
    }
}

fn page(shared: &Shared, after: u64, count: usize) -> Result<Page, BackendError> {
    let records = shared.disk.records_after(after, count)?;
    let (now, space) = ((shared.now)(), shared.space.short_id());
    let at_end = records.len() < count;
    let next = records.last().map_or(after, |(sequence, _)| *sequence);
    let counting = records
        .into_iter()
        .filter_map(|(sequence, record)| Some((sequence, record?)))
        .filter(|(_, record)| record.space == space && record.expires > now);
    let held = counting.map(|(at, record)| held(shared, at, record)).collect::<Result<_, _>>()?;
    Ok(Page { held, next, at_end })
}

fn held(shared: &Shared, sequence: u64, from: Record) -> Result<Held, BackendError> {
    let mut places = vec![from.situation];
    for id in &from.withdraws {
        places.extend(record(shared, id)?.map(|(_, record)| record.situation));
    }
    Ok(Held { id: from.id, sequence, places })
}

fn record(shared: &Shared, id: &PacketId) -> Result<Option<(u64, Record)>, BackendError> {
    let Some(sequence) = shared.index().sequence(id) else { return Ok(None) };
    let there = shared.disk.records_after(sequence - 1, 1)?.pop();
    let there = there.filter(|(at, _)| *at == sequence);
    Ok(there.and_then(|(at, record)| Some((at, record?))))
}
