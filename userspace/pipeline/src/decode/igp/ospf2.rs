//! The advertisements of OSPF version 2 (RFC 2328 §A.4): router, network, summary, AS-external
//! and NSSA, and the grace LSA among the opaque ones (RFC 5250, RFC 3623).
//!
//! **Invariant:** what nobody would route by, an unreachable destination or a type that is not
//! read, gives content without neighbours and prefixes, not an error.

use super::content::Content;
use super::ospf::LsaHeader;
use super::reader::{Fault, IgpError, Reader};
use edgelore_model::{NodeId, Span, TopologyEdge, TopologyPrefix};

/// A metric that says "unreachable" (RFC 2328 §B).
const LS_INFINITY: u32 = 0xff_ffff;
/// The metric of a link that is not to be used for transit (RFC 6987 §2).
pub(super) const MAX_LINK_METRIC: u16 = 0xffff;
/// Opaque type of the grace LSA (RFC 3623 §A).
const OPAQUE_GRACE: u32 = 3;
/// Its TLV for the grace period, in seconds.
const TLV_GRACE_PERIOD: u16 = 1;

/// Reads the body of an advertisement.
///
/// # Errors
/// [`IgpError`] when it is cut short or contradicts itself.
pub fn content(header: &LsaHeader, body: &[u8]) -> Result<Content, IgpError> {
    let origin = NodeId::ospf(header.advertising_router);
    match header.ls_type {
        1 => router(origin, body),
        2 => network(header, body),
        3 | 5 | 7 => destination(header, body),
        9 if header.link_state_id >> 24 == OPAQUE_GRACE => grace(origin, body),
        _ => Ok(Content::of(origin)),
    }
}

/// §A.4.2.
fn router(origin: NodeId, body: &[u8]) -> Result<Content, IgpError> {
    let mut reader = Reader::new("router-LSA", body);
    let mut content = Content::of(origin);
    reader.skip(2)?;
    let links = reader.u16()?;
    let mut metrics = Vec::new();
    for _ in 0..links {
        let (id, data) = (reader.u32()?, reader.u32()?);
        let (kind, tos_metrics, metric) = (reader.u8()?, reader.u8()?, reader.u16()?);
        reader.skip(4 * usize::from(tos_metrics))?;
        let cost = u32::from(metric);
        let to = match kind {
            // Point-to-point, and virtual.
            1 | 4 => NodeId::ospf(id),
            // A network, named by the address of its designated router.
            2 if id != 0 => NodeId::ospf(0).with_pseudonode(id),
            3 => {
                let prefix = reader.masked(id, data)?;
                content.prefixes.push(TopologyPrefix { prefix, cost });
                continue;
            }
            2 => return Err(reader.error(Fault::Pseudonode)),
            other => return Err(reader.error(Fault::LinkType(other))),
        };
        metrics.push(metric);
        content.neighbours.push(TopologyEdge { to, cost });
    }
    content.overload = is_stub_router(&metrics);
    Ok(content.sorted())
}

/// No link of the router is to be used for transit (RFC 6987 §2).
pub(super) fn is_stub_router(metrics: &[u16]) -> bool {
    !metrics.is_empty() && metrics.iter().all(|&metric| metric == MAX_LINK_METRIC)
}

/// §A.4.3.
fn network(header: &LsaHeader, body: &[u8]) -> Result<Content, IgpError> {
    let mut reader = Reader::new("network-LSA", body);
    if header.link_state_id == 0 {
        return Err(reader.error(Fault::Pseudonode));
    }
    let origin = NodeId::ospf(header.advertising_router).with_pseudonode(header.link_state_id);
    let mut content = Content::of(origin);
    let mask = reader.u32()?;
    let prefix = reader.masked(header.link_state_id, mask)?;
    content.prefixes.push(TopologyPrefix { prefix, cost: 0 });
    while !reader.is_empty() {
        content.neighbours.push(TopologyEdge { to: NodeId::ospf(reader.u32()?), cost: 0 });
    }
    Ok(content.sorted())
}

/// §A.4.4 and §A.4.5, RFC 3101 §2.4: a destination in another area or beyond the AS. Metrics for
/// types of service may follow.
fn destination(header: &LsaHeader, body: &[u8]) -> Result<Content, IgpError> {
    let mut reader = Reader::new("summary- or AS-external-LSA", body);
    let mut content = Content::of(NodeId::ospf(header.advertising_router));
    let mask = reader.u32()?;
    reader.skip(1)?;
    let cost = reader.u24()?;
    let prefix = reader.masked(header.link_state_id, mask)?;
    if cost < LS_INFINITY {
        content.prefixes.push(TopologyPrefix { prefix, cost });
    }
    Ok(content)
}

/// RFC 3623 §A; RFC 5187 has the same TLVs in version 3.
pub(super) fn grace(origin: NodeId, body: &[u8]) -> Result<Content, IgpError> {
    let mut reader = Reader::new("grace-LSA", body);
    let mut content = Content::of(origin);
    while !reader.is_empty() {
        let (kind, length) = (reader.u16()?, usize::from(reader.u16()?));
        let value = reader.take(length)?;
        if kind == TLV_GRACE_PERIOD {
            let period_s = Reader::new("grace period", value).u32()?;
            content.grace = Some(Span::from_millis(i64::from(period_s) * 1_000));
        }
        // TLVs are padded to four octets, which the length does not count.
        reader.skip((4 - length % 4) % 4)?;
    }
    Ok(content)
}
