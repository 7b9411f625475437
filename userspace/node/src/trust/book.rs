//! The trust book: what the operator says of publishers, in a file that the operator can read.
//!
//! ```toml
//! [publishers.7a38bf81f383f69433ad6e900d35b3e2385593f76a7b7ab5d4355b8ba41ee24b]
//! standing = "pinned"      # pinned, allowed or blocked
//! group = "singapore"      # its trust group; one of its own without
//! note = "met at the NOG"
//! since = "2026-11-29T12:00:00.000Z"
//! ```
//!
//! Owns `trust.toml` in a directory. Commands write it, and whoever judges packets looks, each time,
//! whether it has changed: nothing has to be restarted or told. Never judges.
//!
//! **Invariant:** the file is replaced as a whole or not at all; one that is damaged while it is in
//! use changes nothing until it is mended.

use edgelore_model::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The book's file.
pub const BOOK_FILE: &str = "trust.toml";
/// Publishers in a book.
pub const ENTRIES_MAX: usize = 65_536;
/// Characters of a group's name.
pub const GROUP_CHARACTERS_MAX: usize = 64;
/// Characters of a note.
pub const NOTE_CHARACTERS_MAX: usize = 256;
/// Held by whoever changes the book.
const LOCK_FILE: &str = "trust.lock";
const HEAD: &str = "# Written by `edgelore trust`; what is changed by hand holds at once, too.\n\n";

/// A publisher's id: the hash of its raw public key.
pub type PublisherId = [u8; 32];

/// What the operator says of a publisher. Of those who are not in the book nothing is known: what
/// they publish is visible and ranks only when others corroborate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Votes without corroboration.
    Pinned,
    /// Is let in where only those in the book are; ranks as an unknown one.
    Allowed,
    /// Nothing of it is taken, shown or delivered.
    Blocked,
}

impl Standing {
    /// Its word in files and on screens.
    #[must_use]
    pub const fn term(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
        }
    }
}

/// What stands in the book of one publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What holds.
    pub standing: Standing,
    /// Its trust group: all publishers of a group have one vote together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whatever the operator wants to remember.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Why a book cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// It cannot be read or written.
    #[error("{operation} {path}: {source}")]
    File {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a book.
    #[error("in {path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// It says what cannot be.
    #[error("in {path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An entry is not taken.
    #[error("{0}")]
    Entry(String),
}

/// All that the operator has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    entries: BTreeMap<PublisherId, Entry>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    publishers: BTreeMap<String, Entry>,
}

impl Book {
    /// Reads the book in a directory; an empty one where there is none.
    ///
    /// # Errors
    /// When it cannot be read or is not a book.
    pub fn read(directory: &Path) -> Result<Self, BookError> {
        let path = directory.join(BOOK_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(BookError::File { operation: "reading", path, source }),
        };
        Self::parse(&text, &path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, BookError> {
        let path = || path.to_owned();
        let written: Written = toml::from_str(text)
            .map_err(|source| BookError::Parse { path: path(), source: source.into() })?;
        let mut book = Self::default();
        for (id, entry) in written.publishers {
            let wrong = |reason| BookError::Content { path: path(), reason };
            let publisher = publisher_id(&id)
                .ok_or_else(|| wrong(format!("'{}' is no publisher's id", id.escape_debug())))?;
            book.set(publisher, entry).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(book)
    }

    /// What stands in it of a publisher.
    #[must_use]
    pub fn entry(&self, publisher: &PublisherId) -> Option<&Entry> {
        self.entries.get(publisher)
    }

    /// Every publisher in it.
    pub fn entries(&self) -> impl Iterator<Item = (&PublisherId, &Entry)> {
        self.entries.iter()
    }

    /// Nothing stands in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes down what holds of a publisher from now on.
    ///
    /// # Errors
    /// [`BookError::Entry`] for names that are too long or not printable, a group of one that is not
    /// pinned, and beyond [`ENTRIES_MAX`].
    pub fn set(&mut self, publisher: PublisherId, entry: Entry) -> Result<(), BookError> {
        check(&entry).map_err(BookError::Entry)?;
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&publisher) {
            return Err(BookError::Entry(format!("a book holds {ENTRIES_MAX} publishers")));
        }
        self.entries.insert(publisher, entry);
        Ok(())
    }

    /// Nothing is said of a publisher from now on; what stood there.
    pub fn forget(&mut self, publisher: &PublisherId) -> Option<Entry> {
        self.entries.remove(publisher)
    }

    /// Changes the book in a directory, durably; one that changes it at the same time waits.
    ///
    /// # Errors
    /// When the book cannot be read or written, or `change` refuses; nothing was changed then.
    pub fn change<T>(
        directory: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, BookError>,
    ) -> Result<T, BookError> {
        let _lock = lock(directory)?;
        let mut book = Self::read(directory)?;
        let changed = change(&mut book)?;
        replace(&directory.join(BOOK_FILE), book.text().as_bytes())?;
        Ok(changed)
    }

    fn text(&self) -> String {
        let entries = self.entries.iter();
        let publishers = entries.map(|(id, entry)| (hex::encode(id), entry.clone())).collect();
        let text = toml::to_string(&Written { publishers });
        format!("{HEAD}{}", text.expect("a book can be written as TOML"))
    }
}

impl Entry {
    /// An entry without a group and a note.
    #[must_use]
    pub fn new(standing: Standing, since: Timestamp) -> Self {
        Self { standing, group: None, note: None, since: Some(since.to_string()) }
    }
}

fn check(entry: &Entry) -> Result<(), String> {
    for (what, text, most) in [
        ("group", &entry.group, GROUP_CHARACTERS_MAX),
        ("note", &entry.note, NOTE_CHARACTERS_MAX),
        ("time", &entry.since, GROUP_CHARACTERS_MAX),
    ] {
        let Some(text) = text else { continue };
        let fits = (1..=most).contains(&text.chars().count());
        if !fits || text.chars().any(char::is_control) {
            return Err(format!("a {what} has 1 to {most} printable characters"));
        }
    }
    if entry.group.is_some() && entry.standing != Standing::Pinned {
        return Err("only publishers that are pinned have a group".to_owned());
    }
    Ok(())
}

/// A publisher's id from its 64 hexadecimal digits.
#[must_use]
pub fn publisher_id(text: &str) -> Option<PublisherId> {
    hex::decode(text).ok()?.try_into().ok()
}

fn lock(directory: &Path) -> Result<File, BookError> {
    let path = directory.join(LOCK_FILE);
    let failed = |source| BookError::File { operation: "locking", path: path.clone(), source };
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

/// Writes a file anew, so that at any instant the old or the new one is there as a whole.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), BookError> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| BookError::File {
        operation: "writing",
        path: path.to_owned(),
        source,
    })
}

/// What [`replace`] wrote as JSON; nothing where there is no file, or one that is damaged.
pub(super) fn recall<T: DeserializeOwned + Default>(path: &Path) -> T {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return T::default(),
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "what was remembered cannot be read");
            return T::default();
        }
    };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::error!(%error, path = %path.display(), "a damaged file begins anew");
        T::default()
    })
}

/// What tells one state of the file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl From<Metadata> for Stamp {
    fn from(file: Metadata) -> Self {
        let modified = (file.mtime(), file.mtime_nsec());
        Self { inode: file.ino(), length: file.len(), modified }
    }
}

/// The book of a directory as it stands now.
#[derive(Debug)]
pub(super) struct Current {
    directory: PathBuf,
    held: Mutex<(Option<Stamp>, Arc<Book>)>,
}

impl Current {
    pub(super) fn open(directory: &Path) -> Result<Self, BookError> {
        let stamp = stamp(directory);
        let held = Mutex::new((stamp, Arc::new(Book::read(directory)?)));
        Ok(Self { directory: directory.to_owned(), held })
    }

    /// The book, read anew when it has changed.
    pub(super) fn book(&self) -> Arc<Book> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.directory);
        if held.0 != stamp {
            held.0 = stamp;
            match Book::read(&self.directory) {
                Ok(book) => held.1 = Arc::new(book),
                Err(error) => {
                    tracing::error!(%error, "the trust book cannot be used; what held, holds")
                }
            }
        }
        Arc::clone(&held.1)
    }
}

fn stamp(directory: &Path) -> Option<Stamp> {
    std::fs::metadata(directory.join(BOOK_FILE)).ok().map(Stamp::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_secs_nanos(1_800_000_000, 0);

    fn set(directory: &Path, publisher: u8, entry: Entry) -> Result<(), BookError> {
        Book::change(directory, |book| book.set([publisher; 32], entry))
    }

    #[test]
    fn what_is_said_holds_at_once_and_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let current = Current::open(directory.path()).unwrap();
        assert!(current.book().is_empty());
        let pinned = Entry {
            group: Some("singapore".into()),
            note: Some("a \"quote\", ünd = more".into()),
            ..Entry::new(Standing::Pinned, AT)
        };
        set(directory.path(), 1, pinned.clone()).unwrap();
        set(directory.path(), 2, Entry::new(Standing::Blocked, AT)).unwrap();
        for current in [current, Current::open(directory.path()).unwrap()] {
            let book = current.book();
            assert_eq!(book.entry(&[1; 32]), Some(&pinned));
            assert_eq!(book.entry(&[2; 32]).unwrap().standing, Standing::Blocked);
            assert_eq!(book.entries().count(), 2);
        }
        let forgotten = Book::change(directory.path(), |book| Ok(book.forget(&[1; 32])));
        assert_eq!(forgotten.unwrap(), Some(pinned));
        assert_eq!(Book::read(directory.path()).unwrap().entries().count(), 1);
        let mode = std::fs::metadata(directory.path().join(BOOK_FILE)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_book_that_is_damaged_while_in_use_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        set(directory.path(), 1, Entry::new(Standing::Blocked, AT)).unwrap();
        let current = Current::open(directory.path()).unwrap();
        for damaged in ["publishers = 3", "[publishers.00]\nstanding = 'pinned'", "\u{0}"] {
            std::fs::write(directory.path().join(BOOK_FILE), damaged).unwrap();
            assert!(current.book().entry(&[1; 32]).is_some(), "{damaged}");
            assert!(Current::open(directory.path()).is_err(), "{damaged}");
            let change = set(directory.path(), 2, Entry::new(Standing::Pinned, AT));
            assert!(change.is_err(), "nothing is written over what cannot be read");
        }
        std::fs::write(directory.path().join(BOOK_FILE), "").unwrap();
        assert!(current.book().is_empty(), "mended by hand");
    }

    #[test]
    fn many_who_change_it_at_once_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for publisher in 0..16 {
                let directory = directory.path();
                scope.spawn(move || {
                    set(directory, publisher, Entry::new(Standing::Allowed, AT)).unwrap();
                });
            }
        });
        assert_eq!(Book::read(directory.path()).unwrap().entries().count(), 16);
    }

    #[test]
    fn what_no_entry_can_say_is_refused() {
        let mut book = Book::default();
        let entry = Entry::new(Standing::Pinned, AT);
        let named = |group: &str| Entry { group: Some(group.into()), ..entry.clone() };
        let blocked = Entry { standing: Standing::Blocked, ..named("a") };
        for wrong in [named(""), named("a\nb"), named(&"x".repeat(65)), blocked] {
            assert!(book.set([1; 32], wrong).is_err());
        }
        let note = Entry { note: Some("x".repeat(257)), ..entry };
        assert!(book.set([1; 32], note).is_err());
        assert!(book.is_empty());
        assert_eq!(publisher_id(&"0g".repeat(32)), None);
        assert_eq!(publisher_id("00"), None);
    }
}
