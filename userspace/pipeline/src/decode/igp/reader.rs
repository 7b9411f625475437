//! Reads fields one after another, each checked against what is there.
//!
//! **Invariant:** never reads past the end; an error names what was being read and where in it,
//! and making one allocates nothing.

use edgelore_model::{AddressFamily, Prefix};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Fewer octets than announced.
    #[error("{there} octets where {needed} are needed")]
    Truncated {
        /// Octets there.
        there: usize,
        /// Octets needed.
        needed: usize,
    },
    /// A version that is not read.
    #[error("version {0} is not known")]
    Version(u8),
    /// A packet or PDU type nobody defined.
    #[error("type {0} is not known")]
    Type(u8),
    /// A length field that cannot be.
    #[error("length {0} is out of bounds")]
    Length(u16),
    /// System ids of another length than six octets.
    #[error("system ids of {0} octets are not read")]
    IdLength(u8),
    /// It is not the protocol that it was taken for.
    #[error("protocol discriminator {0:#04x} is not that of IS-IS")]
    Discriminator(u8),
    /// A checksum that does not match.
    #[error("the checksum does not match")]
    Checksum,
    /// A prefix length past what the family has.
    #[error("prefix length {length} exceeds {max} bits")]
    PrefixLength {
        /// As on the wire, in bits.
        length: u8,
        /// The family's longest, in bits.
        max: u8,
    },
    /// An address mask with holes.
    #[error("mask {0:#010x} is not contiguous")]
    Mask(u32),
    /// A link type nobody defined.
    #[error("link type {0} is not known")]
    LinkType(u8),
    /// A network LSA that names no interface.
    #[error("the pseudonode is zero")]
    Pseudonode,
}

/// A fault with its place: `in router-LSA: at byte 4: …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("in {context}: at byte {offset}: {fault}")]
pub struct IgpError {
    /// What was being read.
    pub context: &'static str,
    /// Octets from its start.
    pub offset: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// Octets with a place in them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    context: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(context: &'static str, bytes: &'a [u8]) -> Self {
        Self { context, bytes, at: 0 }
    }

    /// An error at the current place.
    pub(super) const fn error(&self, fault: Fault) -> IgpError {
        IgpError { context: self.context, offset: self.at, fault }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], IgpError> {
        let rest = self.rest();
        let Some(taken) = rest.get(..length) else {
            return Err(self.error(Fault::Truncated { there: rest.len(), needed: length }));
        };
        self.at += length;
        Ok(taken)
    }

    pub(super) fn skip(&mut self, length: usize) -> Result<(), IgpError> {
        self.take(length).map(|_| ())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], IgpError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("as many octets were taken as the array has"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, IgpError> {
        self.array().map(|[octet]| octet)
    }

    pub(super) fn u16(&mut self) -> Result<u16, IgpError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u24(&mut self) -> Result<u32, IgpError> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, IgpError> {
        self.array().map(u32::from_be_bytes)
    }

    /// The leading octets of a prefix of `length` bits.
    pub(super) fn prefix(
        &self,
        family: AddressFamily,
        leading: &[u8],
        length: u8,
    ) -> Result<Prefix, IgpError> {
        Prefix::from_octets(family, leading, length)
            .map_err(|_| self.error(Fault::PrefixLength { length, max: family.bits() }))
    }

    /// The IPv4 prefix of an address and a mask.
    pub(super) fn masked(&self, address: u32, mask: u32) -> Result<Prefix, IgpError> {
        let length = mask.leading_ones();
        if mask.checked_shl(length).unwrap_or(0) != 0 {
            return Err(self.error(Fault::Mask(mask)));
        }
        self.prefix(AddressFamily::Ipv4, &address.to_be_bytes(), length as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut reader = Reader::new("test", &[1, 2, 3, 4, 5, 6]);
        assert_eq!((reader.u16().unwrap(), reader.u24().unwrap()), (0x0102, 0x03_0405));
        let error = reader.u32().unwrap_err();
        assert_eq!(error.to_string(), "in test: at byte 5: 1 octets where 4 are needed");
        assert_eq!(reader.u8().unwrap(), 6, "a failed read takes nothing");
        assert!(reader.is_empty());
    }

    #[test]
    fn masks_become_lengths() {
        let reader = Reader::new("test", &[]);
        for (mask, expected) in [
            (0, Some("0.0.0.0/0")),
            (0xffff_ff00, Some("10.1.2.0/24")),
            (0xffff_ffff, Some("10.1.2.3/32")),
            (0xff00_ff00, None),
            (0x0000_00ff, None),
        ] {
            let prefix = reader.masked(0x0a01_0203, mask).ok().map(|prefix| prefix.to_string());
            assert_eq!(prefix.as_deref(), expected, "{mask:#x}");
        }
    }
}
