//! Records of table dumps, counted (RFC 6396 §4.2 and §4.3, RFC 8050 §4).
//!
//! ```text
//! TABLE_DUMP:        view (2) | sequence (2) | one entry, in old dumps several:
//!                    prefix (4 or 16) | length (1) | status (1) | originated (4) |
//!                    peer (4 or 16) | peer AS (2 or 4) | attribute length (2) | attributes
//! PEER_INDEX_TABLE:  collector (4) | name length (2) | name | count (2) | peers:
//!                    type (1) | BGP identifier (4) | address (4 or 16) | AS (2 or 4)
//! RIB_IPV4_UNICAST…: sequence (4) | length (1) | prefix | count (2) | entries
//! RIB_GENERIC:       sequence (4) | AFI (2) | SAFI (1) | length (1) | prefix | count (2) | entries
//! entry:             peer index (2) | originated (4) | path id (4, RFC 8050) |
//!                    attribute length (2) | attributes
//! ```
//!
//! A dump says what a collector held at one moment. It is neither a message nor a change, so
//! nothing of it becomes an observation.
//!
//! **Invariant:** each record is counted once: its entries up to the first fault, and the fault as
//! undecodable.

use super::bgp::Attributes;
use edgelore_model::{Summary, TableCounts, TableRecord};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TABLE_DUMP: u16 = 12;
const TABLE_DUMP_V2: u16 = 13;
const PEER_INDEX_TABLE: u16 = 1;
/// Peers of the older format that are told apart; further ones are not counted.
const PEERS_MAX: usize = 65_536;
/// Bits of a peer's type (RFC 6396 §4.3.1).
const PEER_IPV6: u8 = 0x01;
const PEER_AS4: u8 = 0x02;

/// The record contradicts itself.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

/// What must be known of the records before to count the next.
#[derive(Debug, Default)]
pub(super) struct TableDumps {
    /// Peers in the last index table; `None` before the first, when a file begins within a dump.
    indexed: Option<u16>,
    /// Peers of the older format.
    peers: HashSet<IpAddr>,
    /// The prefix of the last entry in the older format: all entries of a prefix come in a row.
    last: Option<(IpAddr, u8)>,
}

impl TableDumps {
    /// Counts one record.
    pub(super) fn record(&mut self, record: &TableRecord, body: &[u8], summary: &mut Summary) {
        let mut body = Body(body);
        let counts = &mut summary.table;
        let read = match (record.kind, record.subtype) {
            (TABLE_DUMP, subtype) => self.entries(&mut body, subtype, counts),
            (TABLE_DUMP_V2, PEER_INDEX_TABLE) => self.peers(&mut body, counts),
            (TABLE_DUMP_V2, subtype) => self.rib(&mut body, subtype, counts),
            _ => Err(Malformed),
        };
        summary.undecodable += u64::from(read.is_err());
    }

    fn peers(&mut self, body: &mut Body<'_>, counts: &mut TableCounts) -> Result<(), Malformed> {
        body.take(4)?;
        let name = body.u16()?;
        body.take(name.into())?;
        let count = body.u16()?;
        self.indexed = Some(count);
        for _ in 0..count {
            let kind = body.u8()?;
            body.take(4)?;
            body.address(kind & PEER_IPV6 != 0)?;
            body.take(if kind & PEER_AS4 != 0 { 4 } else { 2 })?;
            counts.peers += 1;
        }
        Ok(())
    }

    fn rib(
        &self,
        body: &mut Body<'_>,
        subtype: u16,
        counts: &mut TableCounts,
    ) -> Result<(), Malformed> {
        // 2 to 6: unicast and multicast of IPv4, then of IPv6, then any family; 8 to 12 likewise
        // with path identifiers.
        let (family, add_path) = match subtype {
            2..=6 => (subtype - 2, false),
            8..=12 => (subtype - 8, true),
            _ => return Err(Malformed),
        };
        body.take(4)?;
        let bits_max = match family {
            0 | 1 => 32,
            2 | 3 => 128,
            _ => {
                body.take(3)?;
                u8::MAX
            }
        };
        let bits = body.u8()?;
        if bits > bits_max {
            return Err(Malformed);
        }
        body.take(usize::from(bits).div_ceil(8))?;
        counts.prefixes += 1;
        for _ in 0..body.u16()? {
            let peer = body.u16()?;
            body.take(if add_path { 8 } else { 4 })?;
            body.attributes()?;
            if self.indexed.is_some_and(|peers| peer >= peers) {
                return Err(Malformed);
            }
            counts.entries += 1;
        }
        body.end()
    }

    fn entries(
        &mut self,
        body: &mut Body<'_>,
        subtype: u16,
        counts: &mut TableCounts,
    ) -> Result<(), Malformed> {
        // 3 and 4 are in use for AS numbers of four octets, though RFC 6396 does not know them.
        let (ipv6, as4) = match subtype {
            1 => (false, false),
            2 => (true, false),
            3 => (false, true),
            4 => (true, true),
            _ => return Err(Malformed),
        };
        body.take(4)?;
        loop {
            let prefix = (body.address(ipv6)?, body.u8()?);
            body.take(5)?;
            let peer = body.address(ipv6)?;
            body.take(if as4 { 4 } else { 2 })?;
            body.attributes()?;
            counts.entries += 1;
            counts.prefixes += u64::from(self.last.replace(prefix) != Some(prefix));
            if self.peers.len() < PEERS_MAX {
                counts.peers += u64::from(self.peers.insert(peer));
            }
            if body.end().is_ok() {
                return Ok(());
            }
        }
    }
}

/// What is left of a body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn octets<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.octets().map(|[octet]| octet)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.octets().map(u16::from_be_bytes)
    }

    fn address(&mut self, ipv6: bool) -> Result<IpAddr, Malformed> {
        Ok(if ipv6 {
            Ipv6Addr::from(self.octets::<16>()?).into()
        } else {
            Ipv4Addr::from(self.octets::<4>()?).into()
        })
    }

    /// Only the framing is checked: MP_REACH_NLRI is abbreviated in a dump (RFC 6396 §4.3.4).
    fn attributes(&mut self) -> Result<(), Malformed> {
        let length = self.u16()?;
        let bytes = self.take(length.into())?;
        if Attributes::new(bytes).all(|attribute| attribute.is_ok()) {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    const fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::PayloadRef;
    use proptest::prelude::*;

    /// ORIGIN IGP.
    const ORIGIN: [u8; 4] = [0x40, 1, 1, 0];

    fn count(records: &[(u16, u16, Vec<u8>)]) -> (u64, u64, u64, u64) {
        let (mut dumps, mut summary) = (TableDumps::default(), Summary::default());
        for (kind, subtype, body) in records {
            let payload = PayloadRef::default();
            dumps.record(
                &TableRecord { kind: *kind, subtype: *subtype, payload },
                body,
                &mut summary,
            );
        }
        let TableCounts { peers, prefixes, entries } = summary.table;
        (peers, prefixes, entries, summary.undecodable)
    }

    /// Two peers, the second with an IPv6 address and an AS number of four octets.
    fn index() -> (u16, u16, Vec<u8>) {
        let peers =
            [&[0][..], &[9; 4], &[192, 0, 2, 1], &[0, 1], &[3], &[9; 4], &[0x20; 16], &[0; 4]];
        (13, 1, [&[192, 0, 2, 9, 0, 1, b'v', 0, 2][..], &peers.concat()].concat())
    }

    fn entry(peer: u8, add_path: bool) -> Vec<u8> {
        let path: &[u8] = if add_path { &[0, 0, 0, 7] } else { &[] };
        [&[0, peer, 0, 0, 0, 1][..], path, &[0, 4], &ORIGIN].concat()
    }

    fn rib(subtype: u16, nlri: &[u8], entries: &[Vec<u8>]) -> (u16, u16, Vec<u8>) {
        let count = [0, entries.len() as u8];
        (13, subtype, [&[0, 0, 0, 5][..], nlri, &count, &entries.concat()].concat())
    }

    #[test]
    fn the_second_format_counts_by_its_index() {
        let (plain, with_path) = (|peer| entry(peer, false), |peer| entry(peer, true));
        let good = [
            index(),
            rib(2, &[24, 198, 51, 100], &[plain(0), plain(1)]),
            rib(4, &[32, 0x20, 1, 0xd, 0xb8], &[plain(1)]),
            rib(8, &[8, 10], &[with_path(0), with_path(0)]),
            rib(6, &[0, 1, 128, 16, 1, 2], &[plain(0)]),
        ];
        assert_eq!(count(&good), (2, 4, 6, 0));
        for (name, bad) in [
            ("a peer that is not listed", rib(2, &[8, 10], &[plain(2)])),
            ("a prefix that is too long", rib(2, &[33, 1, 2, 3, 4, 5], &[])),
            (
                "octets left over",
                rib(2, &[8, 10], &[plain(0), plain(0)].map(|e| [e, vec![1]].concat())),
            ),
        ] {
            let (_, _, entries, undecodable) = count(&[index(), bad]);
            assert!(entries <= 1 && undecodable == 1, "{name}: {entries} {undecodable}");
        }
        // Without an index nothing is known of the peers, and the entries count all the same.
        assert_eq!(count(&[rib(2, &[8, 10], &[plain(9)])]), (0, 1, 1, 0));
    }

    #[test]
    fn the_first_format_names_peers_and_may_hold_several_entries() {
        let entry = |prefix: u8, peer: u8| {
            [&[prefix, 0, 0, 0, 8, 1, 0, 0, 0, 0][..], &[192, 0, 2, peer, 0, 1, 0, 4], &ORIGIN]
                .concat()
        };
        let record = |entries: &[Vec<u8>]| (12, 1, [&[0; 4][..], &entries.concat()].concat());
        let records =
            [record(&[entry(3, 1)]), record(&[entry(3, 2), entry(4, 1)]), record(&[entry(5, 2)])];
        assert_eq!(count(&records), (2, 3, 4, 0));
        assert_eq!(count(&[record(&[entry(3, 1), vec![4]])]), (1, 1, 1, 1));
    }

    proptest! {
        #[test]
        fn nothing_panics(
            kind in 12u16..14,
            subtype in 0u16..14,
            with_index in any::<bool>(),
            body in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut records = vec![(kind, subtype, body.clone())];
            if with_index {
                records.insert(0, index());
            }
            let (_, _, entries, _) = count(&records);
            prop_assert!(entries <= body.len() as u64 / 8);
        }
    }
}
