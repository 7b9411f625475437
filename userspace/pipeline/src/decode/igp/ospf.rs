//! OSPF packets: the common header, hellos, and the advertisements of a link state update
//! (RFC 2328 §A.3, RFC 5340 §A.3).
//!
//! ```text
//! |version|type |length       |      version 2:  |checksum |instance|AuType|
//! |router id                  |                  |authentication, 64 bits  |
//! |area id                    |      version 3:  |checksum |instance| 0    |
//! ```
//!
//! What follows the length that the header states (cryptographic digests, link-local signalling,
//! the authentication trailer of RFC 7166) is not looked at.
//!
//! **Invariant:** keeps no state, and verifies no authentication.

use super::content::Content;
use super::reader::{Fault, IgpError, Reader};
use super::{fletcher, ospf2, ospf3};
use edgelore_model::{IgpArea, IgpProtocol, NodeId, OspfCounts, Span};

/// RFC 2328 §A.3.1: the header of version 2 with its authentication field.
const HEADER_LEN_V2: usize = 24;
/// RFC 5340 §A.3.1.
const HEADER_LEN_V3: usize = 16;
/// Where version 2 carries what its checksum leaves out.
const AUTHENTICATION_V2: std::ops::Range<usize> = 16..24;
/// AuType of RFC 2328 §D: the checksum is zero and a digest follows.
const AUTYPE_CRYPTOGRAPHIC: u8 = 2;
/// RFC 2328 §A.4.1, the same length in version 3.
pub const LSA_HEADER_LEN: usize = 20;
/// The age at which an advertisement is withdrawn, in seconds (RFC 2328 §B).
pub const MAX_AGE_S: u16 = 3600;
/// The top bit of the age: it does not grow (RFC 1793 §2.2).
const DO_NOT_AGE: u16 = 0x8000;

/// Which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 2328.
    V2,
    /// RFC 5340.
    V3,
}

/// What a packet is for, with what follows its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Type 1.
    Hello(&'a [u8]),
    /// Type 2.
    DatabaseDescription(&'a [u8]),
    /// Type 3.
    LinkStateRequest(&'a [u8]),
    /// Type 4.
    LinkStateUpdate(&'a [u8]),
    /// Type 5.
    LinkStateAck(&'a [u8]),
}

impl Body<'_> {
    /// Counts the packet by its type.
    pub fn count(&self, counts: &mut OspfCounts) {
        match self {
            Self::Hello(_) => counts.hello += 1,
            Self::DatabaseDescription(_) => counts.database_description += 1,
            Self::LinkStateRequest(_) => counts.link_state_request += 1,
            Self::LinkStateUpdate(_) => counts.link_state_update += 1,
            Self::LinkStateAck(_) => counts.link_state_ack += 1,
        }
    }
}

/// A packet's header and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Version.
    pub version: Version,
    /// The sender's router id.
    pub router_id: u32,
    /// The area that the packet belongs to.
    pub area_id: u32,
    /// Several instances may share a link.
    pub instance: u8,
    /// What it is for.
    pub body: Body<'a>,
    /// Why what is in it must not be relied upon, if so.
    unreliable: Option<IgpError>,
}

impl<'a> Packet<'a> {
    /// Reads what follows the IP header. A packet that was cut short or damaged still tells its
    /// type; see [`Packet::check_whole`].
    ///
    /// # Errors
    /// [`IgpError`] when the header is not there, or not one of OSPF version 2 or 3.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IgpError> {
        let mut reader = Reader::new("OSPF packet", bytes);
        let version = match reader.u8()? {
            2 => Version::V2,
            3 => Version::V3,
            other => return Err(reader.error(Fault::Version(other))),
        };
        let kind = reader.u8()?;
        let length = reader.u16()?;
        let (router_id, area_id) = (reader.u32()?, reader.u32()?);
        reader.skip(2)?;
        let (instance, autype) = (reader.u8()?, reader.u8()?);
        let header_len = if version == Version::V2 { HEADER_LEN_V2 } else { HEADER_LEN_V3 };
        let end = usize::from(length);
        if end < header_len {
            return Err(reader.error(Fault::Length(length)));
        }
        reader.skip(header_len - HEADER_LEN_V3)?;
        let captured = &bytes[..end.min(bytes.len())];
        let body =
            body(kind, &captured[header_len..]).ok_or_else(|| reader.error(Fault::Type(kind)))?;
        let summed = version == Version::V2 && autype != AUTYPE_CRYPTOGRAPHIC;
        let sound = !summed
            || fletcher::internet_holds([
                &captured[..AUTHENTICATION_V2.start],
                &captured[AUTHENTICATION_V2.end..],
            ]);
        let unreliable = if captured.len() < end {
            Some(reader.error(Fault::Truncated { there: captured.len(), needed: end }))
        } else {
            (!sound).then(|| reader.error(Fault::Checksum))
        };
        Ok(Self { version, router_id, area_id, instance, body, unreliable })
    }

    /// All of the packet is there, and its checksum holds where it is verified: in version 2
    /// without cryptographic authentication. Version 3's is often left to the network card, so
    /// that a packet seen at its sender carries a partial one.
    ///
    /// # Errors
    /// [`IgpError`] when what is in the packet must not be relied upon.
    pub fn check_whole(&self) -> Result<(), IgpError> {
        self.unreliable.map_or(Ok(()), Err)
    }

    /// Where what the packet says belongs.
    #[must_use]
    pub fn area(&self) -> IgpArea {
        let protocol = match self.version {
            Version::V2 => IgpProtocol::OspfV2,
            Version::V3 => IgpProtocol::OspfV3,
        };
        IgpArea { protocol, instance: u16::from(self.instance), area: self.area_id }
    }
}

fn body(kind: u8, bytes: &[u8]) -> Option<Body<'_>> {
    Some(match kind {
        1 => Body::Hello(bytes),
        2 => Body::DatabaseDescription(bytes),
        3 => Body::LinkStateRequest(bytes),
        4 => Body::LinkStateUpdate(bytes),
        5 => Body::LinkStateAck(bytes),
        _ => return None,
    })
}

/// A hello (RFC 2328 §A.3.2, RFC 5340 §A.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The interface it was sent from; version 3 alone says it.
    pub interface_id: Option<u32>,
    /// What the sender can do, 8 bits in version 2 and 24 in version 3.
    pub options: u32,
    /// Seconds; 0 where hellos are sent several times a second.
    pub hello_interval_s: u16,
    /// Seconds.
    pub dead_interval_s: u32,
    /// Its interface's address (version 2) or its router id (version 3); 0 without one.
    pub designated: u32,
    /// Likewise.
    pub backup_designated: u32,
    /// Router ids of the neighbours heard lately, in wire order.
    pub neighbours: Vec<u32>,
}

impl Hello {
    /// Reads a hello's body.
    ///
    /// # Errors
    /// [`IgpError`] when it is cut short or ends within a neighbour.
    pub fn parse(version: Version, bytes: &[u8]) -> Result<Self, IgpError> {
        let mut reader = Reader::new("OSPF hello", bytes);
        let mut hello = match version {
            Version::V2 => {
                reader.skip(4)?;
                let (hello_interval_s, options) = (reader.u16()?, u32::from(reader.u8()?));
                reader.skip(1)?;
                Self::new(None, options, hello_interval_s, reader.u32()?)
            }
            Version::V3 => {
                let interface_id = Some(reader.u32()?);
                reader.skip(1)?;
                let (options, hello_interval_s) = (reader.u24()?, reader.u16()?);
                Self::new(interface_id, options, hello_interval_s, u32::from(reader.u16()?))
            }
        };
        (hello.designated, hello.backup_designated) = (reader.u32()?, reader.u32()?);
        while !reader.is_empty() {
            hello.neighbours.push(reader.u32()?);
        }
        Ok(hello)
    }

    const fn new(
        interface_id: Option<u32>,
        options: u32,
        hello_interval_s: u16,
        dead_interval_s: u32,
    ) -> Self {
        Self {
            interface_id,
            options,
            hello_interval_s,
            dead_interval_s,
            designated: 0,
            backup_designated: 0,
            neighbours: Vec::new(),
        }
    }

    /// The designated router in the model's terms.
    #[must_use]
    pub fn designated(&self, version: Version) -> Option<NodeId> {
        match (self.designated, version) {
            (0, _) => None,
            (address, Version::V2) => Some(NodeId::ospf(0).with_pseudonode(address)),
            (router_id, Version::V3) => Some(NodeId::ospf(router_id)),
        }
    }
}

/// An advertisement's header (RFC 2328 §A.4.1, RFC 5340 §A.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LsaHeader {
    /// Seconds since it was originated, without the bit of [`LsaHeader::do_not_age`].
    pub age_s: u16,
    /// Its age does not grow (RFC 1793).
    pub do_not_age: bool,
    /// Version 2's options; 0 in version 3, which has them in the bodies.
    pub options: u8,
    /// Version 2: 1 to 11; version 3: with the bits for scope and handling.
    pub ls_type: u16,
    /// Link State ID.
    pub link_state_id: u32,
    /// Router id of the originator.
    pub advertising_router: u32,
    /// A signed number, from 0x80000001 on.
    pub sequence: u32,
    /// Fletcher's, over all but the age.
    pub checksum: u16,
    /// In octets, header included.
    pub length: u16,
}

impl LsaHeader {
    fn read(version: Version, reader: &mut Reader<'_>) -> Result<Self, IgpError> {
        let age = reader.u16()?;
        let [high, low] = reader.array()?;
        let (options, ls_type) = match version {
            Version::V2 => (high, u16::from(low)),
            Version::V3 => (0, u16::from_be_bytes([high, low])),
        };
        Ok(Self {
            age_s: (age & !DO_NOT_AGE).min(MAX_AGE_S),
            do_not_age: age & DO_NOT_AGE != 0,
            options,
            ls_type,
            link_state_id: reader.u32()?,
            advertising_router: reader.u32()?,
            sequence: reader.u32()?,
            checksum: reader.u16()?,
            length: reader.u16()?,
        })
    }

    /// Its age is MaxAge: it is being withdrawn.
    #[must_use]
    pub const fn is_flushed(&self) -> bool {
        self.age_s >= MAX_AGE_S
    }

    /// Flooded on one link alone (RFC 5250 §3, RFC 5340 §A.4.2.1).
    #[must_use]
    pub const fn is_link_scoped(&self, version: Version) -> bool {
        match version {
            Version::V2 => self.ls_type == 9,
            Version::V3 => self.ls_type & 0x6000 == 0,
        }
    }

    /// LS age as a span.
    #[must_use]
    pub const fn age(&self) -> Span {
        Span::from_millis(self.age_s as i64 * 1_000)
    }
}

/// A whole advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lsa<'a> {
    /// Its header.
    pub header: LsaHeader,
    /// What follows the header.
    pub body: &'a [u8],
    /// Its checksum holds.
    pub sound: bool,
}

impl Lsa<'_> {
    /// What it says of the topology.
    ///
    /// # Errors
    /// [`IgpError`] when its checksum does not hold or its body does not decode.
    pub fn content(&self, packet: &Packet<'_>) -> Result<Content, IgpError> {
        if !self.sound {
            return Err(Reader::new("LSA", self.body).error(Fault::Checksum));
        }
        match packet.version {
            Version::V2 => ospf2::content(&self.header, self.body),
            Version::V3 => ospf3::content(&self.header, packet.instance, self.body),
        }
    }
}

/// The advertisements of a link state update, up to the first that is not framed; after an error
/// there is nothing more.
#[derive(Clone, Copy, Debug)]
pub struct Lsas<'a> {
    version: Version,
    left: u32,
    reader: Reader<'a>,
}

impl<'a> Lsas<'a> {
    /// Reads the body of a link state update (RFC 2328 §A.3.5).
    ///
    /// # Errors
    /// [`IgpError`] when the number of advertisements is not there.
    pub fn of_update(version: Version, bytes: &'a [u8]) -> Result<Self, IgpError> {
        let mut reader = Reader::new("link state update", bytes);
        let left = reader.u32()?;
        Ok(Self { version, left, reader })
    }

    fn read(&mut self) -> Result<Lsa<'a>, IgpError> {
        let bytes = self.reader.rest();
        let mut reader = self.reader;
        let header = LsaHeader::read(self.version, &mut reader)?;
        let length = usize::from(header.length);
        if length < LSA_HEADER_LEN {
            return Err(reader.error(Fault::Length(header.length)));
        }
        self.reader.skip(length)?;
        let lsa = &bytes[..length];
        Ok(Lsa { header, body: &lsa[LSA_HEADER_LEN..], sound: fletcher::holds(&lsa[2..]) })
    }
}

impl<'a> Iterator for Lsas<'a> {
    type Item = Result<Lsa<'a>, IgpError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let read = self.read();
        if read.is_err() {
            self.left = 0;
        }
        Some(read)
    }
}

/// Checks how the headers of a database description or an acknowledgment are framed. They tell
/// what a neighbour holds, not what it says, so nothing else is taken from them.
///
/// # Errors
/// [`IgpError`] when the fixed part is cut short or the headers do not add up.
pub fn check_headers(version: Version, body: &Body<'_>) -> Result<(), IgpError> {
    let (bytes, fixed, each) = match (body, version) {
        (Body::DatabaseDescription(bytes), Version::V2) => (bytes, 8, LSA_HEADER_LEN),
        (Body::DatabaseDescription(bytes), Version::V3) => (bytes, 12, LSA_HEADER_LEN),
        (Body::LinkStateAck(bytes), _) => (bytes, 0, LSA_HEADER_LEN),
        (Body::LinkStateRequest(bytes), _) => (bytes, 0, 12),
        (Body::Hello(_) | Body::LinkStateUpdate(_), _) => return Ok(()),
    };
    let mut reader = Reader::new("list of advertisements", bytes);
    reader.skip(fixed)?;
    let left = reader.rest().len();
    reader.skip(left - left % each)?;
    if reader.is_empty() { Ok(()) } else { reader.skip(each) }
}
