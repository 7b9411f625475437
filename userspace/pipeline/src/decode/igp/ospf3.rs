//! The advertisements of OSPF version 3 (RFC 5340 §A.4), for IPv6 and, by instance, for IPv4
//! (RFC 5838): router, network, inter-area prefix, AS-external, NSSA, intra-area prefix, and the
//! grace LSA (RFC 5187).
//!
//! Link-LSAs tell what the designated router then tells in an intra-area prefix LSA; they, and
//! the extended LSAs of RFC 8362, are kept track of without their content.
//!
//! **Invariant:** what nobody would route by, an unreachable destination or a type that is not
//! read, gives content without neighbours and prefixes, not an error.

use super::content::Content;
use super::ospf::LsaHeader;
use super::ospf2::{grace, is_stub_router};
use super::reader::{Fault, IgpError, Reader};
use edgelore_model::{AddressFamily, NodeId, TopologyEdge, TopologyPrefix};

/// A metric that says "unreachable" (RFC 5340 §B).
const LS_INFINITY: u32 = 0xff_ffff;
/// The router takes transit traffic (RFC 5340 §A.2).
const OPTION_R: u32 = 0x10;
/// The prefix is not to be used for unicast (RFC 5340 §A.4.1.1).
const PREFIX_NO_UNICAST: u8 = 0x01;

const LS_ROUTER: u16 = 0x2001;
const LS_NETWORK: u16 = 0x2002;
const LS_INTER_AREA_PREFIX: u16 = 0x2003;
const LS_NSSA: u16 = 0x2007;
const LS_INTRA_AREA_PREFIX: u16 = 0x2009;
const LS_AS_EXTERNAL: u16 = 0x4005;
const LS_GRACE: u16 = 0x000b;

/// What an instance routes (RFC 5838 §2.1).
const fn family(instance: u8) -> AddressFamily {
    match instance {
        64..=127 => AddressFamily::Ipv4,
        _ => AddressFamily::Ipv6,
    }
}

/// Reads the body of an advertisement of an instance.
///
/// # Errors
/// [`IgpError`] when it is cut short or contradicts itself.
pub fn content(header: &LsaHeader, instance: u8, body: &[u8]) -> Result<Content, IgpError> {
    let origin = NodeId::ospf(header.advertising_router);
    let family = family(instance);
    match header.ls_type {
        LS_ROUTER => router(origin, body),
        LS_NETWORK => network(header, body),
        LS_INTER_AREA_PREFIX | LS_NSSA | LS_AS_EXTERNAL => destination(origin, family, body),
        LS_INTRA_AREA_PREFIX => intra_area(origin, family, body),
        LS_GRACE => grace(origin, body),
        _ => Ok(Content::of(origin)),
    }
}

/// §A.4.3.
fn router(origin: NodeId, body: &[u8]) -> Result<Content, IgpError> {
    let mut reader = Reader::new("router-LSA", body);
    let mut content = Content::of(origin);
    reader.skip(1)?;
    let options = reader.u24()?;
    let mut metrics = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u8()?;
        reader.skip(1)?;
        let metric = reader.u16()?;
        reader.skip(4)?;
        let (interface_id, router_id) = (reader.u32()?, reader.u32()?);
        let to = match kind {
            // Point-to-point, and virtual.
            1 | 4 => NodeId::ospf(router_id),
            2 if interface_id != 0 => NodeId::ospf(router_id).with_pseudonode(interface_id),
            2 => return Err(reader.error(Fault::Pseudonode)),
            other => return Err(reader.error(Fault::LinkType(other))),
        };
        metrics.push(metric);
        content.neighbours.push(TopologyEdge { to, cost: u32::from(metric) });
    }
    content.overload = options & OPTION_R == 0 || is_stub_router(&metrics);
    Ok(content.sorted())
}

/// §A.4.4.
fn network(header: &LsaHeader, body: &[u8]) -> Result<Content, IgpError> {
    let mut reader = Reader::new("network-LSA", body);
    if header.link_state_id == 0 {
        return Err(reader.error(Fault::Pseudonode));
    }
    let origin = NodeId::ospf(header.advertising_router).with_pseudonode(header.link_state_id);
    let mut content = Content::of(origin);
    reader.skip(4)?;
    while !reader.is_empty() {
        content.neighbours.push(TopologyEdge { to: NodeId::ospf(reader.u32()?), cost: 0 });
    }
    Ok(content.sorted())
}

/// §A.4.5, §A.4.7 and §A.4.8: a destination in another area or beyond the AS. What follows its
/// prefix, a forwarding address and tags, is not read.
fn destination(origin: NodeId, family: AddressFamily, body: &[u8]) -> Result<Content, IgpError> {
    let mut reader = Reader::new("inter-area-prefix- or AS-external-LSA", body);
    let mut content = Content::of(origin);
    reader.skip(1)?;
    let cost = reader.u24()?;
    let (length, options) = (reader.u8()?, reader.u8()?);
    reader.skip(2)?;
    let prefix = TopologyPrefix { prefix: prefix(&mut reader, family, length)?, cost };
    if cost < LS_INFINITY && options & PREFIX_NO_UNICAST == 0 {
        content.prefixes.push(prefix);
    }
    Ok(content)
}

/// §A.4.10: prefixes of the router, or of a network whose designated router it is.
fn intra_area(router: NodeId, family: AddressFamily, body: &[u8]) -> Result<Content, IgpError> {
    let mut reader = Reader::new("intra-area-prefix-LSA", body);
    let prefixes = reader.u16()?;
    let (referenced, link_state_id) = (reader.u16()?, reader.u32()?);
    reader.skip(4)?;
    let origin = match referenced {
        LS_NETWORK if link_state_id == 0 => return Err(reader.error(Fault::Pseudonode)),
        LS_NETWORK => router.with_pseudonode(link_state_id),
        _ => router,
    };
    let mut content = Content::of(origin);
    for _ in 0..prefixes {
        let (length, options) = (reader.u8()?, reader.u8()?);
        let cost = u32::from(reader.u16()?);
        let prefix = prefix(&mut reader, family, length)?;
        if options & PREFIX_NO_UNICAST == 0 {
            content.prefixes.push(TopologyPrefix { prefix, cost });
        }
    }
    Ok(content.sorted())
}

/// §A.4.1: as many 32-bit words as the length needs.
fn prefix(
    reader: &mut Reader<'_>,
    family: AddressFamily,
    length: u8,
) -> Result<edgelore_model::Prefix, IgpError> {
    let words = usize::from(length).div_ceil(32);
    let leading = reader.take(4 * words)?;
    reader.prefix(family, leading, length)
}
