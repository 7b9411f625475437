//! Reading packets that somebody else's server kept.
//!
//! Whoever can write to a server can plant there what they like. What is not the packet that it
//! should be is left out, counted and logged; the others are not concerned.
//!
//! Owns the checks of everything that comes out of a server, and the count of what failed them.
//! Never does I/O.
//!
//! **Invariant:** no packet leaves a server backend unless it passed here.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgelore_model::{Query, Timestamp};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::{self, Opened, PacketError};

use crate::backend::Capability;
use crate::embedded::Now;
use crate::opener::{Opener, Placed};
use crate::placement::withdraws;
use crate::shelf::Shelved;
use crate::{Cell, Found, PacketId};

/// Checks what a server gives back.
pub(crate) struct Verifier {
    backend: &'static str,
    pub(crate) space: Space,
    now: Now,
    skipped: AtomicU64,
    opener: Opener,
    pub(crate) shelved: Shelved,
}

impl Verifier {
    pub(crate) fn new(backend: &'static str, space: Space, now: Now) -> Self {
        let (skipped, shelved) = Default::default();
        let opener = Opener::new(space.clone());
        Self { backend, space, now, skipped, opener, shelved }
    }

    /// What the backend can do, as far as it is the same for all servers.
    pub(crate) fn capability(&self, durable: bool, exact: bool) -> Capability {
        let space = hex::encode(self.space.short_id());
        Capability { name: self.backend.to_owned(), durable, exact, resumable: true, space }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// How often something was left out because it was not what it should be.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Counts what is left out, and logs it: every time at first, then ever more rarely.
    pub(crate) fn skip(&self, what: &str, why: &dyn Display) {
        let skipped = self.skipped.fetch_add(1, Ordering::Relaxed) + 1;
        if skipped <= 16 || skipped.is_power_of_two() {
            tracing::warn!(backend = self.backend, what, %why, skipped, "left out of a server");
        }
    }

    /// The packet in `bytes`, if it is the one with this id and of this space.
    pub(crate) fn read(&self, id: &PacketId, bytes: &[u8]) -> Option<Arc<Opened>> {
        self.read_all(&[(*id, bytes)]).next().flatten().map(|placed| placed.opened)
    }

    /// The packets in these bytes, each if it is the one with its id and of this space.
    pub(crate) fn read_all<'p>(
        &'p self,
        packets: &'p [(PacketId, &[u8])],
    ) -> impl Iterator<Item = Option<Placed>> + 'p {
        let bytes: Vec<&[u8]> = packets.iter().map(|(_, bytes)| *bytes).collect();
        let opened = packets.iter().zip(self.opener.open_all(&bytes));
        opened.map(|((id, _), opened)| match opened {
            Ok(opened) if opened.id != *id => self.refuse(id, &"its id is another one"),
            opened => self.of_this_space(|| *id, opened),
        })
    }

    /// The packets in these bytes, each if it is one of this space.
    pub(crate) fn open_all<'p>(
        &'p self,
        packets: &'p [&[u8]],
    ) -> impl Iterator<Item = Option<Placed>> + 'p {
        let opened = packets.iter().zip(self.opener.open_all(packets));
        opened.map(|(bytes, opened)| self.of_this_space(|| packet::id(bytes), opened))
    }

    fn of_this_space(
        &self,
        id: impl FnOnce() -> PacketId,
        opened: Result<Placed, PacketError>,
    ) -> Option<Placed> {
        match opened {
            Ok(opened) if opened.space == self.space.short_id() => Some(opened),
            Ok(_) => self.refuse(&id(), &"it belongs to another similarity definition"),
            Err(error) => self.refuse(&id(), &error),
        }
    }

    fn refuse(&self, id: &PacketId, why: &dyn Display) -> Option<Placed> {
        self.skip(&format!("packet {}", hex::encode(id)), why);
        None
    }

    /// A coarse cell of this space.
    pub(crate) fn cell(&self, path: &[u8]) -> Option<Cell> {
        let text = std::str::from_utf8(path).ok();
        let cell = text.and_then(|text| text.parse::<Cell>().ok());
        let cell = cell.filter(|cell| cell.is_coarse() && cell.space() == self.space.short_id());
        if cell.is_none() {
            self.skip("cell", &String::from_utf8_lossy(path));
        }
        cell
    }

    /// The keys whose word takes back what this one published.
    pub(crate) fn heirs(&self, publisher: &[u8; 32]) -> BTreeSet<[u8; 32]> {
        self.shelved.with_lineage(|lineage| lineage.heirs(publisher))
    }

    /// Whether other keys' word takes back what this one published.
    pub(crate) fn is_succeeded(&self, publisher: &[u8; 32]) -> bool {
        self.shelved.with_lineage(|lineage| lineage.is_succeeded(publisher))
    }

    fn is_revoked(&self, publisher: &[u8; 32]) -> bool {
        self.shelved.with_lineage(|lineage| lineage.is_revoked(publisher))
    }

    /// Whether one of `withdrawing` is its publisher's word that `packet` does not count.
    pub(crate) fn is_withdrawn(
        &self,
        packet: &Opened,
        withdrawing: &[(PacketId, Vec<u8>)],
    ) -> bool {
        if withdrawing.is_empty() {
            return false;
        }
        let heirs = self.heirs(&packet.publisher);
        withdrawing.iter().any(|(id, bytes)| {
            self.read(id, bytes).is_some_and(|by| {
                heirs.contains(&by.publisher) && withdraws(&by).any(|id| id == packet.id)
            })
        })
    }

    /// Tells each packet's real place in an answer: `None` when it is no answer to the query.
    pub(crate) fn placing<'v>(
        &'v self,
        query: &'v Query,
        radius: u32,
    ) -> impl Fn(Placed) -> Option<Found> + 'v {
        let (aim, now) = (self.space.aim(query), self.now());
        let asked = query.resolution_pattern.as_deref();
        move |placed| {
            if placed.outcome.expires <= now || self.is_revoked(&placed.publisher) {
                return None;
            }
            let Some(distance) = placed.within(&self.space, &aim, radius, asked) else {
                let id = hex::encode(placed.id);
                self.skip(&format!("packet {id}"), &"it lies elsewhere than the index says");
                return None;
            };
            Some(Found { opened: placed.opened, distance })
        }
    }

    /// Whether a subscriber of `cells` receives the packet.
    pub(crate) fn is_followed(&self, cells: &[Cell], packet: &Opened) -> bool {
        let exact = Cell::exact(&self.space, &packet.outcome.situation);
        packet.outcome.expires > self.now()
            && !self.is_revoked(&packet.publisher)
            && (cells.is_empty() || cells.iter().any(|cell| cell.covers(&exact)))
    }
}
