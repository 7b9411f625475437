//! What lies in the server, and how it is read.
//!
//! Owns the names of keys, the index record and the mapping of stream entries to cursors. Never
//! does I/O.
//!
//! ```text
//! record:  0        32         36        40        48        56
//!          │ id      │ prefixes │ nodes   │ expires │ pattern │   integers big-endian
//! ```
//! Prefixes and nodes are coordinates (milli-units), the expiry is in seconds since 1970, the pattern the
//! first eight bytes of its SHA-256. The severity's coordinate is the record's score.
//!
//! **Invariant:** reading never fails: what cannot be read is `None`.

use edgelore_kernels::sha256;
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::Opened;
use redis::Value;

use crate::backend::Cursor;
use crate::placement::Coordinates;
use crate::{Cell, PacketId};

/// Bits of a cursor that number the entries of one millisecond.
const SEQUENCE_BITS: u32 = 20;
const RECORD_BYTES: usize = 56;

/// Names of keys; the braces keep those of one space in one slot.
pub(super) struct Keys {
    pub(super) packets: String,
    pub(super) history: String,
    pub(super) cells: String,
    pub(super) cell: String,
    pub(super) expiry: String,
    pub(super) withdrawn: String,
    pub(super) meta: String,
    pub(super) beside: String,
}

impl Keys {
    pub(super) fn of(space: &Space) -> Self {
        let space = hex::encode(space.short_id());
        let key = |name: &str| format!("edgelore:1:{{{space}}}:{name}");
        Self {
            packets: key("packets"),
            history: key("history"),
            cells: key("cells"),
            cell: key("cell:"),
            expiry: key("expiry"),
            withdrawn: key("withdrawn"),
            meta: key("meta"),
            beside: key("beside"),
        }
    }

    /// The index of a coarse cell.
    pub(super) fn index(&self, cell: &Cell) -> String {
        format!("{}{cell}", self.cell)
    }
}

/// What the index says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: PacketId,
    pub(super) at: Coordinates,
    pub(super) expires_secs: i64,
    pub(super) pattern: [u8; 8],
}

impl Record {
    pub(super) fn of(packet: &Opened, at: Coordinates) -> Self {
        Self {
            id: packet.id,
            at,
            expires_secs: packet.outcome.expires.secs(),
            pattern: pattern_tag(&packet.outcome.resolution.pattern),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let [_, prefixes, nodes] = self.at.map(u32::to_be_bytes);
        let expires = self.expires_secs.to_be_bytes();
        [&self.id[..], &prefixes, &nodes, &expires, &self.pattern].concat()
    }

    /// Reads a member of a sorted set and its score.
    pub(super) fn decode(member: &[u8], score: &[u8]) -> Option<Self> {
        if member.len() != RECORD_BYTES {
            return None;
        }
        let (id, rest) = member.split_first_chunk::<32>()?;
        let (prefixes, rest) = rest.split_first_chunk::<4>()?;
        let (nodes, rest) = rest.split_first_chunk::<4>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let severity = std::str::from_utf8(score).ok()?.parse().ok()?;
        Some(Self {
            id: *id,
            at: [severity, u32::from_be_bytes(*prefixes), u32::from_be_bytes(*nodes)],
            expires_secs: i64::from_be_bytes(*expires),
            pattern: rest.try_into().ok()?,
        })
    }
}

/// What stands for a resolution pattern in the index.
pub(super) fn pattern_tag(pattern: &str) -> [u8; 8] {
    let mut digest = [[0; 32]];
    sha256::digest_many(&[pattern.as_bytes()], &mut digest);
    *digest[0].first_chunk().expect("32 bytes have a first 8")
}

/// The place of a stream entry (`MS-NUMBER`) in the order of arrival.
pub(super) fn cursor(entry: &[u8]) -> Option<Cursor> {
    let (ms, number) = std::str::from_utf8(entry).ok()?.split_once('-')?;
    let (ms, number): (u64, u64) = (ms.parse().ok()?, number.parse().ok()?);
    let fits = ms >> (u64::BITS - SEQUENCE_BITS) == 0 && number >> SEQUENCE_BITS == 0;
    fits.then_some(Cursor(ms << SEQUENCE_BITS | number))
}

/// The stream entry at a cursor.
pub(super) fn entry(cursor: Cursor) -> String {
    format!("{}-{}", cursor.0 >> SEQUENCE_BITS, cursor.0 & ((1 << SEQUENCE_BITS) - 1))
}

/// An entry of the history: its name in the stream, and the packet's id if it names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) id: Option<PacketId>,
    /// The exact cell, as its writer says.
    pub(super) cell: Option<Cell>,
}

/// The entries in the answer to XREAD of one stream; none in an empty answer.
pub(super) fn entries(answer: Value) -> Vec<Entry> {
    let stream = items(answer).into_iter().next();
    let list = stream.and_then(|stream| items(stream).into_iter().nth(1));
    list.map(items).unwrap_or_default().into_iter().filter_map(read_entry).collect()
}

fn read_entry(value: Value) -> Option<Entry> {
    let mut parts = items(value).into_iter();
    let name = bytes(parts.next()?)?;
    let (mut id, mut cell) = (None, None);
    let mut fields = parts.next().map(items).unwrap_or_default().into_iter();
    while let (Some(field), Some(value)) = (fields.next().and_then(bytes), fields.next()) {
        match (field.as_slice(), bytes(value)) {
            (b"i", Some(value)) => id = value.try_into().ok(),
            (b"c", Some(value)) => {
                cell = std::str::from_utf8(&value).ok().and_then(|path| path.parse().ok());
            }
            _ => {}
        }
    }
    Some(Entry { name, id, cell })
}

/// The items of an array; none of anything else.
pub(super) fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        _ => Vec::new(),
    }
}

/// The bytes of a string.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_and_nonsense_is_not() {
        let record = Record {
            id: [7; 32],
            at: [1, u32::MAX, 3],
            expires_secs: 1_800_000_000,
            pattern: pattern_tag("bfd_tuning"),
        };
        let member = record.encode();
        assert_eq!(Record::decode(&member, b"1"), Some(record));
        for (member, score) in [
            (&member[..55], "1"),
            (&[member.as_slice(), b"x"].concat(), "1"),
            (&member, "1.5"),
            (&member, "inf"),
            (&member, "-1"),
            (&[], "1"),
        ] {
            assert_eq!(Record::decode(member, score.as_bytes()), None, "{member:?} {score}");
        }
    }

    #[test]
    fn cursors_keep_the_order_of_the_stream() {
        let names = ["0-1", "1-0", "1-1048575", "2-0", "1800000000000-5"];
        let cursors: Vec<Cursor> =
            names.iter().map(|name| cursor(name.as_bytes()).expect("fits")).collect();
        assert!(cursors.is_sorted());
        let back: Vec<String> = cursors.into_iter().map(entry).collect();
        assert_eq!(back, names);
        for name in ["", "1", "1-", "-1", "1-1048576", "17592186044416-0", "x-y"] {
            assert_eq!(cursor(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn an_answer_of_another_shape_has_no_entries() {
        assert_eq!(entries(Value::Nil), []);
        assert_eq!(entries(Value::Array(vec![Value::Int(1)])), []);
        let text = |text: &str| Value::BulkString(text.into());
        let odd = Value::Array(vec![text("1-0"), Value::Array(vec![text("i"), text("short")])]);
        let stream = Value::Array(vec![text("history"), Value::Array(vec![odd, Value::Nil])]);
        let expected = Entry { name: b"1-0".to_vec(), id: None, cell: None };
        assert_eq!(entries(Value::Array(vec![stream])), [expected]);
    }
}
