//! The roll: every publisher that is in the book or was seen, as the operator sees it.
//!
//! Owns reading both together, and the naming of publishers by the beginning of their ids. It reads
//! files only, so it works beside a node or a server that runs, and without one.

use super::book::{Book, BookError, Entry, PublisherId, Standing, publisher_id};
use super::sightings::{Sighting, Sightings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The shortest beginning of an id by which a publisher is named, digits: shorter ones are too
/// easily another's.
pub const BEGINNING_MIN: usize = 8;

/// A publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublisherView {
    /// Its id, hexadecimal.
    pub publisher: String,
    /// `pinned`, `allowed`, `blocked` or `unknown`.
    pub standing: String,
    /// Its trust group.
    pub group: Option<String>,
    /// The operator's note.
    pub note: Option<String>,
    /// When the operator said so.
    pub since: Option<String>,
    /// When a packet of it was first seen, RFC 3339.
    pub first_seen: Option<String>,
    /// When one was last seen.
    pub last_seen: Option<String>,
    /// Packets that were taken.
    pub packets: u64,
    /// Times that a packet of it was refused.
    pub refused: u64,
}

impl PublisherView {
    fn new(id: &PublisherId, entry: Option<&Entry>, seen: Option<&Sighting>) -> Self {
        let entry = entry.cloned();
        Self {
            publisher: hex::encode(id),
            standing: entry.as_ref().map_or("unknown", |one| one.standing.term()).to_owned(),
            since: entry.as_ref().and_then(|entry| entry.since.clone()),
            note: entry.as_ref().and_then(|entry| entry.note.clone()),
            group: entry.and_then(|entry| entry.group),
            first_seen: seen.map(|seen| seen.first.to_string()),
            last_seen: seen.map(|seen| seen.last.to_string()),
            packets: seen.map_or(0, |seen| seen.packets),
            refused: seen.map_or(0, |seen| seen.refused),
        }
    }
}

/// Everybody, and what was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// Those in the book first, then those that were only seen; each in the order of their ids.
    pub publishers: Vec<PublisherView>,
    /// All counters by name; a few seconds old while a node or a server runs.
    pub counts: BTreeMap<String, u64>,
}

/// Why no publisher is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPublisher {
    /// None is known that begins so.
    #[error("no publisher '{0}' is known: `edgelore trust list` lists them")]
    Unknown(String),
    /// Several are, which somebody may have brought about.
    #[error("'{named}' is the beginning of {count} publishers' ids: give more of it")]
    Ambiguous {
        /// What was asked for.
        named: String,
        /// How many begin so.
        count: usize,
    },
    /// It is too short, or no beginning of an id.
    #[error("'{0}' is neither a publisher's id nor at least {BEGINNING_MIN} digits of one")]
    NoId(String),
}

impl Roll {
    /// Reads what lies in a directory.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub fn read(directory: &Path) -> Result<Self, BookError> {
        let (book, seen) = (Book::read(directory)?, Sightings::read(directory));
        let written =
            book.entries().map(|(id, entry)| PublisherView::new(id, Some(entry), seen.of(id)));
        let unknown = seen.publishers().filter(|(id, _)| book.entry(id).is_none());
        let unknown = unknown.map(|(id, seen)| PublisherView::new(id, None, Some(seen)));
        Ok(Self { publishers: written.chain(unknown).collect(), counts: seen.counts() })
    }

    /// The publisher that is named by its id or a beginning that only one has.
    ///
    /// # Errors
    /// See [`NoPublisher`].
    pub fn find(&self, named: &str) -> Result<PublisherId, NoPublisher> {
        let wanted = named.to_ascii_lowercase();
        if let Some(id) = publisher_id(&wanted) {
            return Ok(id);
        }
        let is_hex = wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || !(BEGINNING_MIN..64).contains(&wanted.len()) {
            return Err(NoPublisher::NoId(named.escape_debug().to_string()));
        }
        let mut fitting = self.publishers.iter().filter(|one| one.publisher.starts_with(&wanted));
        match (fitting.next(), fitting.count()) {
            (None, _) => Err(NoPublisher::Unknown(wanted)),
            (Some(one), 0) => publisher_id(&one.publisher).ok_or(NoPublisher::Unknown(wanted)),
            (Some(_), more) => Err(NoPublisher::Ambiguous { named: wanted, count: more + 1 }),
        }
    }

    /// What is known of one, who may be unknown.
    #[must_use]
    pub fn of(&self, id: &PublisherId) -> PublisherView {
        let known = self.publishers.iter().find(|one| publisher_id(&one.publisher) == Some(*id));
        known.cloned().unwrap_or_else(|| PublisherView::new(id, None, None))
    }
}

/// Whether ranking takes a publisher's word by itself.
#[must_use]
pub fn is_quarantined(view: &PublisherView) -> bool {
    [Standing::Pinned, Standing::Blocked].iter().all(|standing| standing.term() != view.standing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::Timestamp;

    #[test]
    fn everybody_is_named_by_a_beginning_that_is_theirs_alone() {
        let directory = tempfile::tempdir().unwrap();
        let entry = Entry::new(Standing::Pinned, Timestamp(0));
        let mut ids = [[0xab; 32], [0xab; 32], [0xcd; 32]];
        ids[1][31] = 0;
        Book::change(directory.path(), |book| book.set(ids[0], entry)).unwrap();
        let mut seen = Sightings::default();
        ids.iter().for_each(|id| seen.accepted(id, Timestamp(7), |_| false));
        seen.write(directory.path()).unwrap();
        let roll = Roll::read(directory.path()).unwrap();
        let standings: Vec<_> = roll.publishers.iter().map(|one| one.standing.as_str()).collect();
        assert_eq!(standings, ["pinned", "unknown", "unknown"]);
        assert_eq!(roll.find("CDCDCDCD"), Ok(ids[2]));
        assert_eq!(roll.find(&hex::encode(ids[1])), Ok(ids[1]));
        assert_eq!(roll.find(&hex::encode([9; 32])), Ok([9; 32]), "a whole id need not be known");
        assert!(matches!(roll.find("abababab"), Err(NoPublisher::Ambiguous { count: 2, .. })));
        assert!(matches!(roll.find("00000000"), Err(NoPublisher::Unknown(_))));
        for wrong in ["", "abab", "xyzxyzxyz", "\n"] {
            assert!(matches!(roll.find(wrong), Err(NoPublisher::NoId(_))), "{wrong:?}");
        }
        assert_eq!(roll.of(&ids[0]).packets, 1);
        assert!(!is_quarantined(&roll.of(&ids[0])) && is_quarantined(&roll.of(&[9; 32])));
    }
}
