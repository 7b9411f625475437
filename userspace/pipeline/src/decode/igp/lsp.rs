//! IS-IS link state PDUs and the TLVs that tell of the topology (ISO 10589 §9.8, RFC 1195,
//! RFC 5305, RFC 5308, RFC 5120).
//!
//! ```text
//! neighbours   2: 11 octets each, narrow     22: 7 + metric 3 + sub-TLVs   222: topology + as 22
//! prefixes   128, 130: 12 octets, narrow    135: metric 4, control, IPv4   235: topology + as 135
//!                                           236: metric 4, flags, IPv6     237: topology + as 236
//! ```
//!
//! The same neighbour or prefix may be told in several of them while a network moves from narrow
//! to wide metrics, or by topology: the wide one counts, then the narrow one, then that of another
//! topology than the standard one.
//!
//! **Invariant:** never reads a host name; a TLV that does not add up makes the whole undecodable.

use super::content::Content;
use super::fletcher;
use super::isis::{Tlvs, instance};
use super::lsdb::Digest;
use super::reader::{Fault, IgpError, Reader};
use edgelore_model::{AddressFamily, NodeId, Prefix, Span, TopologyEdge, TopologyPrefix};

/// Seconds that an LSP lives from its origination on (ISO 10589 §7.5.1, MaxAge).
const MAX_AGE_S: u16 = 1200;
/// Octets before what the checksum covers: length and remaining lifetime.
const UNSUMMED_LEN: usize = 4;
/// Of the flags' octet.
const OVERLOAD: u8 = 0x04;
/// Of a narrow metric's octet; above it are whether it is external, and supported.
const NARROW_METRIC: u8 = 0x3f;
/// A wide metric above which a prefix is not considered (RFC 5305 §4).
const MAX_PATH_METRIC: u32 = 0xfe00_0000;

/// Authentication and extended sequence number, which differ each time that the same is said
/// again (RFC 5304, RFC 7602).
const UNTOLD: [u8; 2] = [10, 11];

const TLV_NEIGHBOURS: u8 = 2;
const TLV_INSTANCE: u8 = 7;
const TLV_WIDE_NEIGHBOURS: u8 = 22;
const TLV_INTERNAL: u8 = 128;
const TLV_EXTERNAL: u8 = 130;
const TLV_WIDE_IPV4: u8 = 135;
const TLV_TOPOLOGY_NEIGHBOURS: u8 = 222;
const TLV_TOPOLOGY_IPV4: u8 = 235;
const TLV_IPV6: u8 = 236;
const TLV_TOPOLOGY_IPV6: u8 = 237;

/// Which TLV counts where several name the same; the smallest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Wide,
    Narrow,
    OtherTopology,
}

/// A link state PDU: one fragment of what a system or pseudonode says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lsp {
    /// Seconds until it expires; 0 withdraws it.
    pub lifetime_s: u16,
    /// Number of the fragment.
    pub fragment: u8,
    /// Sequence number, from 1 on.
    pub sequence: u32,
    /// As sent; 0 where the sender left it out.
    pub checksum: u16,
    /// Instance; 0 without one.
    pub instance: u16,
    /// What it says; nothing when it is withdrawn.
    pub content: Content,
    /// A digest of everything in it that is neither identity, sequence, lifetime, checksum nor
    /// authentication.
    pub digest: u64,
}

impl Lsp {
    /// Reads on behind the length. `pdu` begins with the length, `tlvs` behind the fixed part.
    pub(super) fn read(
        mut reader: Reader<'_>,
        pdu: &[u8],
        tlvs: Tlvs<'_>,
    ) -> Result<Self, IgpError> {
        let lifetime_s = reader.u16()?;
        let origin = super::isis::lan_id(&mut reader)?;
        let (fragment, sequence) = (reader.u8()?, reader.u32()?);
        let (checksum, flags) = (reader.u16()?, reader.u8()?);
        // What expired was cut down to its header by whoever noticed, and is no longer summed.
        let summed = lifetime_s != 0 && checksum != 0;
        if summed && !fletcher::holds(pdu.get(UNSUMMED_LEN..).unwrap_or_default()) {
            return Err(reader.error(Fault::Checksum));
        }
        let (mut topology, mut digest) = (Topology::default(), Digest::NONE.and(&[flags]));
        for tlv in tlvs {
            let (code, value) = tlv?;
            topology.tlv(code, value)?;
            if !UNTOLD.contains(&code) {
                digest = digest.and(&[code]).and(value);
            }
        }
        let mut content = Content { overload: flags & OVERLOAD != 0, ..Content::of(origin) };
        let instance = topology.instance;
        if lifetime_s != 0 {
            topology.tell(&mut content);
        }
        let digest = digest.value();
        Ok(Self { lifetime_s, fragment, sequence, checksum, instance, content, digest })
    }

    /// How much of the usual lifetime has gone.
    #[must_use]
    pub const fn age(&self) -> Span {
        Span::from_millis(MAX_AGE_S.saturating_sub(self.lifetime_s) as i64 * 1_000)
    }
}

/// What the TLVs tell, before it is decided which of them counts.
#[derive(Default)]
struct Topology {
    instance: u16,
    neighbours: Vec<(NodeId, Rank, u32)>,
    prefixes: Vec<(Prefix, Rank, u32)>,
}

impl Topology {
    fn tlv(&mut self, code: u8, value: &[u8]) -> Result<(), IgpError> {
        match code {
            TLV_NEIGHBOURS => self.narrow_neighbours(value),
            TLV_WIDE_NEIGHBOURS => {
                self.wide_neighbours(Reader::new("IS reachability", value), Rank::Wide)
            }
            TLV_TOPOLOGY_NEIGHBOURS => {
                let (reader, rank) = by_topology("MT IS reachability", value)?;
                self.wide_neighbours(reader, rank)
            }
            TLV_INTERNAL | TLV_EXTERNAL => self.narrow_prefixes(value),
            TLV_WIDE_IPV4 => self.ipv4(Reader::new("IPv4 reachability", value), Rank::Wide),
            TLV_TOPOLOGY_IPV4 => {
                let (reader, rank) = by_topology("MT IPv4 reachability", value)?;
                self.ipv4(reader, rank)
            }
            TLV_IPV6 => self.ipv6(Reader::new("IPv6 reachability", value), Rank::Wide),
            TLV_TOPOLOGY_IPV6 => {
                let (reader, rank) = by_topology("MT IPv6 reachability", value)?;
                self.ipv6(reader, rank)
            }
            TLV_INSTANCE => {
                self.instance = instance(value)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// ISO 10589 §9.8: a flag, then four metrics and a neighbour each time.
    fn narrow_neighbours(&mut self, value: &[u8]) -> Result<(), IgpError> {
        let mut reader = Reader::new("narrow IS reachability", value);
        reader.skip(1)?;
        while !reader.is_empty() {
            let metric = reader.u8()? & NARROW_METRIC;
            reader.skip(3)?;
            let to = super::isis::lan_id(&mut reader)?;
            self.neighbours.push((to, Rank::Narrow, u32::from(metric)));
        }
        Ok(())
    }

    /// RFC 5305 §3.
    fn wide_neighbours(&mut self, mut reader: Reader<'_>, rank: Rank) -> Result<(), IgpError> {
        while !reader.is_empty() {
            let to = super::isis::lan_id(&mut reader)?;
            let metric = reader.u24()?;
            let sub_tlvs = reader.u8()?;
            reader.skip(usize::from(sub_tlvs))?;
            self.neighbours.push((to, rank, metric));
        }
        Ok(())
    }

    /// RFC 1195 §3.2 and §5.3.4.
    fn narrow_prefixes(&mut self, value: &[u8]) -> Result<(), IgpError> {
        let mut reader = Reader::new("narrow IPv4 reachability", value);
        while !reader.is_empty() {
            let metric = reader.u8()? & NARROW_METRIC;
            reader.skip(3)?;
            let (address, mask) = (reader.u32()?, reader.u32()?);
            let prefix = reader.masked(address, mask)?;
            self.prefixes.push((prefix, Rank::Narrow, u32::from(metric)));
        }
        Ok(())
    }

    /// RFC 5305 §4.
    fn ipv4(&mut self, mut reader: Reader<'_>, rank: Rank) -> Result<(), IgpError> {
        const SUB_TLVS: u8 = 0x40;
        while !reader.is_empty() {
            let metric = reader.u32()?;
            let control = reader.u8()?;
            let length = control & 0x3f;
            let leading = reader.take(usize::from(length).div_ceil(8))?;
            let prefix = reader.prefix(AddressFamily::Ipv4, leading, length)?;
            self.wide_prefix(&mut reader, control & SUB_TLVS != 0, (prefix, rank, metric))?;
        }
        Ok(())
    }

    /// RFC 5308 §2.
    fn ipv6(&mut self, mut reader: Reader<'_>, rank: Rank) -> Result<(), IgpError> {
        const SUB_TLVS: u8 = 0x20;
        while !reader.is_empty() {
            let metric = reader.u32()?;
            let (control, length) = (reader.u8()?, reader.u8()?);
            let leading = reader.take(usize::from(length).div_ceil(8))?;
            let prefix = reader.prefix(AddressFamily::Ipv6, leading, length)?;
            self.wide_prefix(&mut reader, control & SUB_TLVS != 0, (prefix, rank, metric))?;
        }
        Ok(())
    }

    fn wide_prefix(
        &mut self,
        reader: &mut Reader<'_>,
        sub_tlvs: bool,
        prefix: (Prefix, Rank, u32),
    ) -> Result<(), IgpError> {
        if sub_tlvs {
            let length = reader.u8()?;
            reader.skip(usize::from(length))?;
        }
        if prefix.2 <= MAX_PATH_METRIC {
            self.prefixes.push(prefix);
        }
        Ok(())
    }

    fn tell(self, content: &mut Content) {
        content.neighbours =
            best(self.neighbours).map(|(to, cost)| TopologyEdge { to, cost }).collect();
        content.prefixes =
            best(self.prefixes).map(|(prefix, cost)| TopologyPrefix { prefix, cost }).collect();
    }
}

/// RFC 5120 §7: four reserved bits and the topology; 0 is the standard one.
fn by_topology<'a>(context: &'static str, value: &'a [u8]) -> Result<(Reader<'a>, Rank), IgpError> {
    let mut reader = Reader::new(context, value);
    let standard = reader.u16()? & 0x0fff == 0;
    Ok((reader, if standard { Rank::Wide } else { Rank::OtherTopology }))
}

/// What each name has at its best rank, sorted.
fn best<T: Ord + Copy>(mut told: Vec<(T, Rank, u32)>) -> impl Iterator<Item = (T, u32)> {
    told.sort_unstable();
    told.dedup();
    let mut last: Option<(T, Rank)> = None;
    told.into_iter().filter_map(move |(name, rank, metric)| {
        if last.is_none_or(|(before, _)| before != name) {
            last = Some((name, rank));
        }
        (last == Some((name, rank))).then_some((name, metric))
    })
}
