//! Captures and dumps read from disk: pcap, pcapng and MRT, plain or compressed (gz, bz2, xz, zst).
//!
//! The kind is told by the content, never by the name. Files are read as streams, so that their
//! size does not matter.
//!
//! **Invariant:** a fault is reported after everything before it was handed out, and names the
//! file, the offset in its uncompressed content, and the reason. A file that ends within a record,
//! as one does that is still being written, is no such fault: the cut is counted and told like any
//! other damage that can be stepped over.

mod kind;
mod mrt;
mod pcap;
mod zst;

use edgelore_model::Batch;
use kind::Kind;
use mrt::MrtReader;
use pcap::PcapReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Signals in one batch.
pub const BATCH_SIGNALS_MAX: usize = 1024;
/// Payload bytes in one batch; one signal may go past it.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Faults that are kept word by word; further ones are only counted.
pub const FAULTS_KEPT_MAX: usize = 16;

/// Why a file cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened.
    #[error("cannot open '{}'", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It cannot be read on; broken compression shows so.
    #[error("cannot read '{}' after byte {offset}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Bytes of uncompressed content read before.
        offset: u64,
        /// What the system or the decompression says.
        source: std::io::Error,
    },
    /// It is neither pcap nor pcapng nor MRT.
    #[error("cannot read '{}': its start is neither pcap, pcapng nor MRT", path.display())]
    UnknownKind {
        /// The file.
        path: PathBuf,
    },
    /// Its content breaks its format, and there is no way to go on.
    #[error("cannot read '{}' at byte {offset}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Of the record or block, in the uncompressed content.
        offset: u64,
        /// What is wrong.
        reason: FormatFault,
    },
}

/// How a file breaks its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatFault {
    /// It ends within a record, packet or block.
    #[error("the file ends within a record")]
    Truncated,
    /// A record or block is longer than any can be.
    #[error("a record is too long to be one")]
    TooLong,
    /// The block structure of pcapng, or the header of a pcap, does not hold.
    #[error("a block is malformed")]
    Block,
    /// An MRT header has a type or length that none can have.
    #[error("an MRT header is implausible")]
    MrtHeader,
    /// The content of an MRT record contradicts its header.
    #[error("an MRT record is malformed")]
    MrtRecord,
}

/// What a file held that is no signal, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Packets of a capture, or records of a dump.
    pub records: u64,
    /// Packets that are not control plane, and records of other protocols.
    pub skipped: u64,
    /// IP fragments that may have been control plane.
    pub fragments: u64,
    /// Packets whose headers are cut off.
    pub truncated: u64,
    /// Packets of a link type that is not read.
    pub unknown_link: u64,
    /// Faults that were stepped over, a cut end among them; each is also a `Lost` signal.
    pub faults: u64,
}

/// How far a file was read, in bytes as they lie on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileProgress {
    /// Read so far; decompression and parsing read ahead by a few hundred KiB.
    pub read: u64,
    /// The whole file; 0 where that is not known.
    pub length: u64,
}

/// A fault that was stepped over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteppedOver {
    /// In the uncompressed content.
    pub offset: u64,
    /// What was wrong.
    pub reason: FormatFault,
}

enum Reader {
    Pcap(PcapReader),
    Mrt(MrtReader),
}

/// A fault without the file's name.
enum Fault {
    Read(u64, std::io::Error),
    Format(u64, FormatFault),
}

/// A capture or dump as a source of signals.
pub struct FileSource {
    path: PathBuf,
    reader: Reader,
    /// Reported at the next call, after the signals before it.
    fault: Option<Fault>,
    ended: bool,
    length: u64,
    read: Arc<AtomicU64>,
}

impl FileSource {
    /// Opens a file and finds out what it is.
    ///
    /// # Errors
    /// [`FileError::Open`], [`FileError::Read`], [`FileError::UnknownKind`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref().to_path_buf();
        let opened = match kind::open(&path) {
            Ok(opened) => opened,
            Err(kind::OpenFault::Open(source)) => return Err(FileError::Open { path, source }),
            Err(kind::OpenFault::Read(source)) => {
                return Err(FileError::Read { path, offset: 0, source });
            }
        };
        let reader = match opened.kind {
            Kind::Empty | Kind::Unknown => return Err(FileError::UnknownKind { path }),
            Kind::Mrt => Reader::Mrt(MrtReader::new(opened.content)),
            Kind::Pcap => match PcapReader::new(opened.content) {
                Ok(reader) => Reader::Pcap(reader),
                Err(fault) => return Err(fault.of(&path)),
            },
        };
        let (length, read) = (opened.length, opened.read);
        Ok(Self { path, reader, fault: None, ended: false, length, read })
    }

    /// Empties `batch` and fills it with the next signals. `false` at the end: no further call
    /// will bring any. A batch may be filled and the answer be `false` in the same call.
    ///
    /// # Errors
    /// The file cannot be read on: [`FileError::Read`], [`FileError::Format`]. The signals before
    /// the fault have been handed out by the calls before; after it there is nothing.
    pub fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, FileError> {
        batch.clear();
        if let Some(fault) = self.fault.take() {
            self.ended = true;
            return Err(fault.of(&self.path));
        }
        while !self.ended && !full(batch) {
            let read = match &mut self.reader {
                Reader::Pcap(reader) => reader.next_signal(batch),
                Reader::Mrt(reader) => reader.next_signal(batch),
            };
            match read {
                Ok(more) => self.ended = !more,
                Err(fault) if batch.signals.is_empty() => {
                    self.ended = true;
                    return Err(fault.of(&self.path));
                }
                Err(fault) => {
                    self.fault = Some(fault);
                    return Ok(true);
                }
            }
        }
        Ok(!self.ended)
    }

    /// How far the file was read.
    #[must_use]
    pub fn progress(&self) -> FileProgress {
        FileProgress { read: self.read.load(Ordering::Relaxed), length: self.length }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> FileCounts {
        match &self.reader {
            Reader::Pcap(reader) => reader.counts(),
            Reader::Mrt(reader) => reader.counts(),
        }
    }

    /// The first faults that were stepped over, at most [`FAULTS_KEPT_MAX`].
    #[must_use]
    pub fn stepped_over(&self) -> &[SteppedOver] {
        match &self.reader {
            Reader::Pcap(reader) => reader.stepped_over(),
            Reader::Mrt(reader) => reader.stepped_over(),
        }
    }
}

impl Fault {
    fn of(self, path: &Path) -> FileError {
        let path = path.to_path_buf();
        match self {
            Self::Read(offset, source) => FileError::Read { path, offset, source },
            Self::Format(offset, reason) => FileError::Format { path, offset, reason },
        }
    }
}

fn full(batch: &Batch) -> bool {
    batch.signals.len() >= BATCH_SIGNALS_MAX || batch.bytes.len() >= BATCH_BYTES_MAX
}
