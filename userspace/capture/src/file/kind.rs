//! What a file is, told by its first bytes, and what its compression hides.
//!
//! Owns the reading of the file itself: how far it is, and the decompression. Knows no record.
//!
//! **Invariant:** decompression is a stream: its memory is bounded by [`WINDOW_LEN_MAX`], however
//! much comes out of it, and a file whose compression asks for more is refused.

use super::mrt::Header;
use super::zst::ZstReader;
use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes looked at: an MRT header.
const LOOK_LEN: usize = 12;
const READ_LEN: usize = 256 * 1024;
/// How far back in the content a decompressor may look, in bytes: what `zstd --long` and twice what
/// `xz -9` use. A file says for itself how much it wants, up to 4 GiB.
pub(super) const WINDOW_LEN_MAX: u64 = 128 << 20;
/// What the decompressor of xz needs beside its window, in KiB.
const XZ_OVERHEAD_KIB: u32 = 1024;

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
    /// Bytes of the file, as it lies on the disk; 0 where that is not known.
    pub(super) length: u64,
    /// Bytes of it that were read so far.
    pub(super) read: Arc<AtomicU64>,
}

pub(super) enum OpenFault {
    Open(io::Error),
    Read(io::Error),
}

/// Counts what is read of a file.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Opens a file, takes compression off, and tells what is within.
pub(super) fn open(path: &Path) -> Result<Opened, OpenFault> {
    let file = File::open(path).map_err(OpenFault::Open)?;
    let data = file.metadata().map_err(OpenFault::Open)?;
    if data.is_dir() {
        return Err(OpenFault::Open(io::ErrorKind::IsADirectory.into()));
    }
    let read = Arc::new(AtomicU64::new(0));
    let counted = Counted { file, read: Arc::clone(&read) };
    let (start, content) = decompressed(Box::new(counted)).map_err(OpenFault::Read)?;
    let content = Box::new(BufReader::with_capacity(READ_LEN, content));
    Ok(Opened { kind: kind(&start), content, length: data.len(), read })
}

/// The first bytes of what is within, and the whole of it.
fn decompressed(raw: Content) -> io::Result<(Vec<u8>, Content)> {
    let (start, raw) = look(raw)?;
    let raw = BufReader::with_capacity(READ_LEN, raw);
    look(match *start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(raw)),
        [b'B', b'Z', b'h', ..] => Box::new(MultiBzDecoder::new(raw)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let limit = (WINDOW_LEN_MAX >> 10) as u32 + XZ_OVERHEAD_KIB;
            Box::new(XzReader::new_mem_limit(raw, true, limit))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(ZstReader::new(raw))
        }
        _ => Box::new(raw),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn content(raw: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        decompressed(Box::new(Cursor::new(raw)))?.1.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zst(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    /// `printf 'one, ' | xz`, as the tool wrote it.
    const XZ: [u8; 64] = [
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21,
        0x01, 0x16, 0x00, 0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0x01, 0x00, 0x04, 0x6f, 0x6e, 0x65,
        0x2c, 0x20, 0x00, 0x00, 0x00, 0x00, 0xc4, 0xfc, 0xd4, 0xd1, 0x16, 0x43, 0xb3, 0x2f, 0x00,
        0x01, 0x1d, 0x05, 0xb8, 0x2d, 0x80, 0xaf, 0x1f, 0xb6, 0xf3, 0x7d, 0x01, 0x00, 0x00, 0x00,
        0x00, 0x04, 0x59, 0x5a,
    ];

    #[test]
    fn several_members_are_one_content() {
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        for (name, raw, expected) in [
            ("plain", b"one, two".to_vec(), "one, two"),
            ("gz", [gz(b"one, "), gz(b"two")].concat(), "one, two"),
            ("zst", [zst(b"one, "), zst(b"two")].concat(), "one, two"),
            ("zst, skippable frames", [&skippable[..], &zst(b"one"), &skippable].concat(), "one"),
            ("xz", [XZ, XZ].concat(), "one, one, "),
        ] {
            assert_eq!(content(raw).expect(name), expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn damaged_compression_is_an_error() {
        let long: Vec<u8> = (0..100_000u32).flat_map(|n| n.wrapping_mul(n).to_be_bytes()).collect();
        for (name, whole) in [("gz", gz(&long)), ("zst", zst(&long)), ("xz", XZ.to_vec())] {
            assert!(content(whole.clone()).is_ok(), "{name}");
            assert!(content(whole[..whole.len() - 9].to_vec()).is_err(), "{name}: cut");
            let mut altered = whole.clone();
            let at = whole.len() / 2;
            altered[at] ^= 0x10;
            assert_ne!(content(altered).ok(), content(whole).ok(), "{name}: altered");
        }
    }

    /// The frame's header asks for a window of 3.75 TiB, the block header of xz for 4 GiB.
    #[test]
    fn a_window_past_the_bound_is_refused() {
        let zst = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0x01, 0x00, 0x00];
        assert!(content(zst.to_vec()).is_err());
        let mut xz = XZ.to_vec();
        // Size, flags, filter LZMA2 (0x21) with one byte of properties: the dictionary's size.
        assert_eq!(xz[12..17], [2, 0, 0x21, 1, 0x16]);
        xz[16] = 40;
        let sum = crc32(&xz[12..20]);
        xz[20..24].copy_from_slice(&sum.to_le_bytes());
        let error = content(xz).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory, "{error}");
    }

    /// Of IEEE 802.3, bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |sum, &byte| {
            (0..8).fold(sum ^ u32::from(byte), |sum, _| sum >> 1 ^ (0xedb8_8320 * (sum & 1)))
        })
    }
}
