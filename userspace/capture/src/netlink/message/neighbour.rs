//! Neighbours: RTM_NEWNEIGH, RTM_DELNEIGH.
//!
//! Owns the reading of `ndmsg`; remembers nothing.
//!
//! **Invariant:** no input panics; entries that resolve no unicast IP address concern no source.

use super::{
    Header, Message, MessageError, NEIGHBOUR_HEADER, RTM_DELNEIGH, address, each_attribute,
    family_of, split, u32_at,
};
use edgelore_model::{NeighbourChange, NeighbourState};

const NDA_DST: u16 = 1;
/// `rtm_type` of an entry that is no multicast, broadcast or local address.
const RTN_UNICAST: u8 = 1;
/// An entry by which this gateway answers for others.
const NTF_PROXY: u8 = 0x08;

pub(in crate::netlink) fn read_neighbour(
    header: Header,
    payload: &[u8],
) -> Result<Message, MessageError> {
    let (fixed, attributes) = split("neighbour", payload, NEIGHBOUR_HEADER)?;
    // Of another family than IP are the entries of a bridge's forwarding database.
    let ip = family_of(fixed[0]).is_some();
    let state = state(u16::from_ne_bytes([fixed[8], fixed[9]]));
    let (flags, kind) = (fixed[10], fixed[11]);
    let mut destination = None;
    each_attribute("neighbour", attributes, |attribute, value| {
        if attribute == NDA_DST {
            destination = address(value);
        }
    })?;
    let (Some(state), true) = (state, ip && kind == RTN_UNICAST && flags & NTF_PROXY == 0) else {
        return Ok(Message::Other);
    };
    let address =
        destination.ok_or(MessageError::Missing { part: "neighbour", attribute: "NDA_DST" })?;
    let change = NeighbourChange { address, state, present: header.kind != RTM_DELNEIGH };
    Ok(Message::Neighbour { link: u32_at(fixed, 4), change })
}

/// `NUD_*`; `None` for an entry that has no state yet.
fn state(bits: u16) -> Option<NeighbourState> {
    Some(match bits {
        0x01 => NeighbourState::Incomplete,
        0x02 => NeighbourState::Reachable,
        0x04 => NeighbourState::Stale,
        0x08 => NeighbourState::Delay,
        0x10 => NeighbourState::Probe,
        0x20 => NeighbourState::Failed,
        0x40 | 0x80 => NeighbourState::Permanent,
        _ => return None,
    })
}
