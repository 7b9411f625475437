//! What a file is, told by its first bytes.

use super::mrt::Header;
use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

/// Bytes looked at: an MRT header.
const LOOK_LEN: usize = 12;
const READ_LEN: usize = 256 * 1024;

/// A file's content, decompressed.
pub(super) type Content = Box<dyn Read + Send>;

pub(super) enum Kind {
    Pcap,
    Mrt,
    Empty,
    Unknown,
}

pub(super) struct Opened {
    pub(super) kind: Kind,
    pub(super) content: Content,
}

pub(super) enum OpenFault {
    Open(io::Error),
    Read(io::Error),
}

/// Opens a file, takes compression off, and tells what is within.
pub(super) fn open(path: &Path) -> Result<Opened, OpenFault> {
    let file = File::open(path).map_err(OpenFault::Open)?;
    if file.metadata().is_ok_and(|data| data.is_dir()) {
        return Err(OpenFault::Open(io::ErrorKind::IsADirectory.into()));
    }
    let (start, raw) = look(Box::new(file)).map_err(OpenFault::Read)?;
    let raw = BufReader::with_capacity(READ_LEN, raw);
    let content: Content = match *start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(raw)),
        [b'B', b'Z', b'h', ..] => Box::new(MultiBzDecoder::new(raw)),
        _ => Box::new(raw),
    };
    let (start, content) = look(content).map_err(OpenFault::Read)?;
    let content = Box::new(BufReader::with_capacity(READ_LEN, content));
    Ok(Opened { kind: kind(&start), content })
}

/// The first bytes, and the content with them put back.
fn look(mut content: Content) -> io::Result<(Vec<u8>, Content)> {
    let mut start = Vec::with_capacity(LOOK_LEN);
    content.by_ref().take(LOOK_LEN as u64).read_to_end(&mut start)?;
    Ok((start.clone(), Box::new(Cursor::new(start).chain(content))))
}

fn kind(start: &[u8]) -> Kind {
    match start {
        [] => Kind::Empty,
        [0xa1, 0xb2, 0xc3, 0xd4, ..]
        | [0xa1, 0xb2, 0x3c, 0x4d, ..]
        | [0xd4, 0xc3, 0xb2, 0xa1, ..]
        | [0x4d, 0x3c, 0xb2, 0xa1, ..]
        | [0x34, 0xcd, 0xb2, 0xa1, ..]
        | [0x0a, 0x0d, 0x0d, 0x0a, ..] => Kind::Pcap,
        _ if Header::read(start).is_some_and(|header| header.plausible()) => Kind::Mrt,
        _ => Kind::Unknown,
    }
}
