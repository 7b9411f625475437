//! IS-IS PDUs: the common header, and hellos (ISO 10589 §9, RFC 5303, RFC 8202).
//!
//! ```text
//! |0x83|header length|1|id length|type|1|0|areas|
//! LAN hello:            |circuit|source id, 6|holding|PDU length|priority|LAN id, 7   |TLVs
//! point-to-point hello: |circuit|source id, 6|holding|PDU length|circuit id           |TLVs
//! LSP:                  |PDU length|lifetime|LSP id, 8|sequence, 4|checksum|flags     |TLVs
//! ```
//!
//! **Invariant:** keeps no state, verifies no authentication, and never reads a host name.

use super::lsp::Lsp;
use super::reader::{Fault, IgpError, Reader};
use edgelore_model::{IsisCounts, NodeId};

/// The network layer protocol identifier of IS-IS.
const DISCRIMINATOR: u8 = 0x83;
/// System ids of six octets say so by 0 or 6.
const ID_LENGTHS: [u8; 2] = [0, 6];

const TLV_LAN_NEIGHBOURS: u8 = 6;
const TLV_INSTANCE: u8 = 7;
const TLV_THREE_WAY: u8 = 240;
/// The octets of RFC 5303's TLV before the neighbour's system id: state and own circuit id.
const THREE_WAY_OWN_LEN: usize = 5;

/// Level 1, within an area, or level 2, between areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Within an area.
    One,
    /// Between areas.
    Two,
}

/// What a PDU is, with what follows the common header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pdu<'a> {
    /// Types 15 and 16.
    LanHello(Level, Body<'a>),
    /// Type 17.
    PointToPointHello(Body<'a>),
    /// Types 18 and 20.
    LinkState(Level, Body<'a>),
    /// Types 24 and 25.
    CompleteSequenceNumbers(Level, Body<'a>),
    /// Types 26 and 27.
    PartialSequenceNumbers(Level, Body<'a>),
}

/// What follows the common header, perhaps with padding of the link behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// The fixed part and the TLVs.
    bytes: &'a [u8],
    /// Octets of the common header and the fixed part together, as the header states.
    indicated: u8,
}

/// Octets of the common header.
const HEADER_LEN: usize = 8;

impl<'a> Pdu<'a> {
    /// Reads a PDU from its discriminator on. One that was cut short still tells its type.
    ///
    /// # Errors
    /// [`IgpError`] when the common header is not there, or not one of IS-IS version 1.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IgpError> {
        let mut reader = Reader::new("IS-IS PDU", bytes);
        let discriminator = reader.u8()?;
        if discriminator != DISCRIMINATOR {
            return Err(reader.error(Fault::Discriminator(discriminator)));
        }
        let (indicated, _, id_length) = (reader.u8()?, reader.u8()?, reader.u8()?);
        let kind = reader.u8()? & 0x1f;
        let version = reader.u8()?;
        reader.skip(2)?;
        if version != 1 {
            return Err(reader.error(Fault::Version(version)));
        }
        if !ID_LENGTHS.contains(&id_length) {
            return Err(reader.error(Fault::IdLength(id_length)));
        }
        let body = Body { bytes: reader.rest(), indicated };
        Ok(match kind {
            15 => Self::LanHello(Level::One, body),
            16 => Self::LanHello(Level::Two, body),
            17 => Self::PointToPointHello(body),
            18 => Self::LinkState(Level::One, body),
            20 => Self::LinkState(Level::Two, body),
            24 => Self::CompleteSequenceNumbers(Level::One, body),
            25 => Self::CompleteSequenceNumbers(Level::Two, body),
            26 => Self::PartialSequenceNumbers(Level::One, body),
            27 => Self::PartialSequenceNumbers(Level::Two, body),
            other => return Err(reader.error(Fault::Type(other))),
        })
    }

    /// Counts the PDU by its type.
    pub fn count(&self, counts: &mut IsisCounts) {
        match self {
            Self::LanHello(..) | Self::PointToPointHello(_) => counts.hello += 1,
            Self::LinkState(..) => counts.lsp += 1,
            Self::CompleteSequenceNumbers(..) => counts.csnp += 1,
            Self::PartialSequenceNumbers(..) => counts.psnp += 1,
        }
    }
}

/// The TLVs of a PDU: code and value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tlvs<'a>(Reader<'a>);

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<(u8, &'a [u8]), IgpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut read = || {
            let (code, length) = (self.0.u8()?, self.0.u8()?);
            Ok((code, self.0.take(usize::from(length))?))
        };
        let tlv = read();
        if tlv.is_err() {
            self.0 = Reader::new("TLVs", &[]);
        }
        Some(tlv)
    }
}

impl<'a> Body<'a> {
    /// A reader over the fixed part alone, which has `fixed_len` octets in a PDU of its type.
    fn fixed(self, context: &'static str, fixed_len: usize) -> Result<Reader<'a>, IgpError> {
        let mut reader = Reader::new(context, self.bytes);
        if usize::from(self.indicated) != HEADER_LEN + fixed_len {
            return Err(reader.error(Fault::Length(u16::from(self.indicated))));
        }
        reader.take(fixed_len).map(|fixed| Reader::new(context, fixed))
    }

    /// The PDU without what the link padded, given the length that it states.
    fn within(self, length: u16) -> Result<&'a [u8], IgpError> {
        let mut reader = Reader::new("IS-IS PDU", self.bytes);
        match usize::from(length).checked_sub(HEADER_LEN) {
            Some(length) => reader.take(length),
            None => Err(reader.error(Fault::Length(length))),
        }
    }

    /// The TLVs behind a fixed part.
    fn tlvs(self, fixed_len: usize, length: u16) -> Result<Tlvs<'a>, IgpError> {
        let bytes = self.within(length)?;
        let mut reader = Reader::new("TLVs", bytes);
        reader.skip(fixed_len)?;
        Ok(Tlvs(Reader::new("TLVs", reader.rest())))
    }

    /// Reads a hello on a LAN (ISO 10589 §9.5 and §9.6).
    ///
    /// # Errors
    /// [`IgpError`] when it is cut short or contradicts itself.
    pub fn lan_hello(self) -> Result<Hello, IgpError> {
        const FIXED_LEN: usize = 19;
        let mut reader = self.fixed("LAN hello", FIXED_LEN)?;
        reader.skip(1)?;
        let system = reader.array()?;
        let (holding_time_s, length) = (reader.u16()?, reader.u16()?);
        reader.skip(1)?;
        let designated = lan_id(&mut reader)?;
        let designated = (!designated.is_router()).then_some(designated);
        let mut hello = Hello { designated, ..Hello::new(system, holding_time_s) };
        for tlv in self.tlvs(FIXED_LEN, length)? {
            match tlv? {
                (TLV_LAN_NEIGHBOURS, value) => {
                    let mut reader = Reader::new("LAN neighbours", value);
                    while !reader.is_empty() {
                        hello.heard.push(reader.array()?);
                    }
                }
                (TLV_INSTANCE, value) => hello.instance = instance(value)?,
                _ => {}
            }
        }
        Ok(hello)
    }

    /// Reads a hello on a point-to-point link (ISO 10589 §9.7, RFC 5303).
    ///
    /// # Errors
    /// [`IgpError`] when it is cut short or contradicts itself.
    pub fn point_to_point_hello(self) -> Result<Hello, IgpError> {
        const FIXED_LEN: usize = 12;
        let mut reader = self.fixed("point-to-point hello", FIXED_LEN)?;
        let levels = reader.u8()? & 3;
        let system = reader.array()?;
        let (holding_time_s, length) = (reader.u16()?, reader.u16()?);
        let circuit = reader.u8()?;
        let mut hello = Hello { levels, circuit, ..Hello::new(system, holding_time_s) };
        for tlv in self.tlvs(FIXED_LEN, length)? {
            match tlv? {
                (TLV_THREE_WAY, value) => {
                    let mut reader = Reader::new("three-way adjacency", value);
                    reader.skip(1)?;
                    // An implementation may stop after its state, or after its own circuit.
                    if value.len() > THREE_WAY_OWN_LEN {
                        reader.skip(4)?;
                        hello.neighbour = Some(NodeId::isis(reader.array()?));
                    }
                }
                (TLV_INSTANCE, value) => hello.instance = instance(value)?,
                _ => {}
            }
        }
        Ok(hello)
    }

    /// Reads a link state PDU (ISO 10589 §9.8 and §9.9).
    ///
    /// # Errors
    /// [`IgpError`] when it is cut short, contradicts itself, or its checksum does not hold.
    pub fn link_state(self) -> Result<Lsp, IgpError> {
        const FIXED_LEN: usize = 19;
        let mut reader = self.fixed("LSP", FIXED_LEN)?;
        let length = reader.u16()?;
        Lsp::read(reader, self.within(length)?, self.tlvs(FIXED_LEN, length)?)
    }

    /// Checks how a sequence numbers PDU is framed. It tells what its sender holds, not what it
    /// says, so nothing is taken from it (ISO 10589 §9.10 to §9.13).
    ///
    /// # Errors
    /// [`IgpError`] when it is cut short.
    pub fn check_sequence_numbers(self, complete: bool) -> Result<(), IgpError> {
        let fixed_len = if complete { 25 } else { 9 };
        let mut reader = self.fixed("sequence numbers PDU", fixed_len)?;
        let length = reader.u16()?;
        self.tlvs(fixed_len, length)?.try_for_each(|tlv| tlv.map(|_| ()))
    }
}

/// A system id and a pseudonode number.
pub(super) fn lan_id(reader: &mut Reader<'_>) -> Result<NodeId, IgpError> {
    let system = NodeId::isis(reader.array()?);
    Ok(system.with_pseudonode(u32::from(reader.u8()?)))
}

/// RFC 8202 §2.1: the instance, then the topologies that it serves.
pub(super) fn instance(value: &[u8]) -> Result<u16, IgpError> {
    Reader::new("instance identifier", value).u16()
}

/// A hello of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who sent it.
    pub system: [u8; 6],
    /// Seconds until its neighbours give it up.
    pub holding_time_s: u16,
    /// Instance; 0 without one.
    pub instance: u16,
    /// Bit 0 for level 1, bit 1 for level 2; 0 on a LAN, where the PDU type says it.
    pub levels: u8,
    /// The sender's number of a point-to-point link; 0 on a LAN.
    pub circuit: u8,
    /// The LAN's pseudonode, once there is a designated one.
    pub designated: Option<NodeId>,
    /// Hardware addresses heard on the LAN, in wire order; they stay on the gateway.
    pub heard: Vec<[u8; 6]>,
    /// Whom it hears on a point-to-point link.
    pub neighbour: Option<NodeId>,
}

impl Hello {
    const fn new(system: [u8; 6], holding_time_s: u16) -> Self {
        Self {
            system,
            holding_time_s,
            instance: 0,
            levels: 0,
            circuit: 0,
            designated: None,
            heard: Vec::new(),
            neighbour: None,
        }
    }
}
