//! FEC TLVs: which prefixes a label message speaks of (RFC 5036 §3.4.1, RFC 5918).
//!
//! ```text
//! wildcard        1
//! prefix          2 | address family, 2 | length in bits, 1 | ceil(length / 8) octets
//! typed wildcard  5 | FEC type, 1 | length, 1 | …
//! ```
//!
//! **Invariant:** an element of any other type (pseudowires, multipoint trees) ends the TLV: its
//! length is its type's own affair, and such elements stand alone.

use super::{LdpError, Message, tlv_type};
use edgelore_model::{AddressFamily, Prefix};

const WILDCARD: u8 = 1;
const PREFIX: u8 = 2;
const TYPED_WILDCARD: u8 = 5;

/// What the FEC TLVs of a message name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fec {
    /// Prefixes in wire order.
    pub prefixes: Vec<Prefix>,
    /// A wildcard, or a typed wildcard of prefixes.
    pub all: bool,
}

impl Fec {
    /// Reads the FEC TLVs of a label message.
    ///
    /// # Errors
    /// [`LdpError::Missing`] when there is none; [`LdpError::Truncated`] and [`LdpError::Fec`]
    /// at the first fault: nothing of the message is believed then.
    pub fn parse(message: &Message<'_>) -> Result<Self, LdpError> {
        let (mut fec, mut found) = (Self::default(), false);
        for tlv in message.tlvs() {
            let (kind, value) = tlv?;
            if kind == tlv_type::FEC {
                found = true;
                fec.elements(value)?;
            }
        }
        if found { Ok(fec) } else { Err(LdpError::Missing("label message")) }
    }

    fn elements(&mut self, mut bytes: &[u8]) -> Result<(), LdpError> {
        while let Some((&kind, rest)) = bytes.split_first() {
            bytes = match kind {
                WILDCARD => {
                    self.all = true;
                    rest
                }
                PREFIX => {
                    let (prefix, rest) = prefix(rest)?;
                    self.prefixes.push(prefix);
                    rest
                }
                TYPED_WILDCARD => {
                    let needed = |needed| LdpError::Truncated {
                        what: "typed wildcard",
                        there: rest.len(),
                        needed,
                    };
                    let &[of, length, ref rest @ ..] = rest else { return Err(needed(2)) };
                    self.all |= of == PREFIX;
                    rest.get(usize::from(length)..).ok_or(needed(2 + usize::from(length)))?
                }
                _ => return Ok(()),
            };
        }
        Ok(())
    }
}

fn prefix(bytes: &[u8]) -> Result<(Prefix, &[u8]), LdpError> {
    let cut = |needed| LdpError::Truncated { what: "prefix FEC", there: bytes.len(), needed };
    let &[high, low, length, ref rest @ ..] = bytes else { return Err(cut(3)) };
    let family = match u16::from_be_bytes([high, low]) {
        1 => AddressFamily::Ipv4,
        2 => AddressFamily::Ipv6,
        _ => return Err(LdpError::Fec),
    };
    let octets = usize::from(length).div_ceil(8);
    let (leading, rest) = rest.split_at_checked(octets).ok_or(cut(3 + octets))?;
    let prefix = Prefix::from_octets(family, leading, length).map_err(|_| LdpError::Fec)?;
    Ok((prefix, rest))
}
