//! What can be wrong with a BGP message, and where.
//!
//! **Invariant:** making an error allocates nothing; hostile input cannot make decoding slow by
//! being wrong.

use std::fmt;

/// How deep the chain of contexts may get: message, section, attribute, part.
const CONTEXTS_MAX: usize = 4;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The marker is not all ones (RFC 4271 §4.1).
    #[error("marker is not all ones")]
    Marker,
    /// The length field is out of bounds for the type.
    #[error("message length {0} is out of bounds")]
    MessageLength(u16),
    /// Fewer octets than announced.
    #[error("{there} octets where {needed} are needed")]
    Truncated {
        /// Octets there.
        there: usize,
        /// Octets needed.
        needed: usize,
    },
    /// Octets are left over where nothing may follow.
    #[error("{0} octets too many")]
    Trailing(usize),
    /// A prefix length past what the family has.
    #[error("prefix length {length} exceeds {max} bits")]
    PrefixLength {
        /// As on the wire, in bits.
        length: u8,
        /// The family's longest, in bits.
        max: u8,
    },
    /// An AS_PATH that reads neither with two nor with four octets per AS.
    #[error("path segments do not add up")]
    PathSegments,
    /// An attribute that may stand once stands twice (RFC 7606 §3).
    #[error("attribute {0} is repeated")]
    RepeatedAttribute(u8),
    /// The optional and transitive bits are not those of the attribute (RFC 7606 §3 (c)).
    #[error("flags {flags:#04x} of attribute {code} conflict with its kind")]
    AttributeFlags {
        /// The attribute's type code.
        code: u8,
        /// Its flags as sent.
        flags: u8,
    },
    /// The length is none that the attribute can have (RFC 7606 §7).
    #[error("length {length} of attribute {code} is not one it can have")]
    AttributeLength {
        /// The attribute's type code.
        code: u8,
        /// Its length in octets.
        length: usize,
    },
    /// ORIGIN is none of the three values (RFC 4271 §5.1.1).
    #[error("origin {0} is unknown")]
    Origin(u8),
    /// Routes are announced without a well-known mandatory attribute (RFC 7606 §3 (d)).
    #[error("attribute {0} is missing")]
    MissingAttribute(u8),
    /// An attribute that only an internal session may carry came from an external neighbour.
    #[error("attribute {0} is not for external sessions")]
    InternalAttribute(u8),
    /// A hold time of one or two seconds (RFC 4271 §6.2).
    #[error("hold time {0} s is not acceptable")]
    HoldTime(u16),
    /// A BGP identifier of zero (RFC 6286 §2.1).
    #[error("BGP identifier is zero")]
    Identifier,
    /// A capability whose length is none that it can have (RFC 5492 §4).
    #[error("length {length} of capability {code} is not one it can have")]
    CapabilityLength {
        /// The capability's code.
        code: u8,
        /// Its length in octets.
        length: u8,
    },
    /// A message type nobody defined.
    #[error("message type {0} is unknown")]
    MessageType(u8),
    /// A version other than 4 in an OPEN.
    #[error("version {0} is not 4")]
    Version(u8),
}

/// A fault with its place: `in UPDATE: in AS_PATH: at byte 4: path segments do not add up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BgpError {
    /// Octets from the start of the innermost context.
    pub offset: usize,
    /// What is wrong there.
    pub fault: Fault,
    contexts: [&'static str; CONTEXTS_MAX],
}

impl BgpError {
    pub(super) const fn new(offset: usize, fault: Fault) -> Self {
        Self { offset, fault, contexts: [""; CONTEXTS_MAX] }
    }

    pub(super) const fn truncated(there: usize, needed: usize) -> Self {
        Self::new(there, Fault::Truncated { there, needed })
    }

    /// Adds the context around those it has; past the deepest the outermost is replaced.
    #[must_use]
    pub(super) fn within(mut self, context: &'static str) -> Self {
        let free = self.contexts.iter().position(|c| c.is_empty());
        self.contexts[free.unwrap_or(CONTEXTS_MAX - 1)] = context;
        self
    }
}

impl fmt::Display for BgpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for context in self.contexts.iter().rev().filter(|c| !c.is_empty()) {
            write!(f, "in {context}: ")?;
        }
        write!(f, "at byte {}: {}", self.offset, self.fault)
    }
}

impl std::error::Error for BgpError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_read_from_the_outside_in() {
        let error = BgpError::new(4, Fault::PathSegments).within("AS_PATH").within("UPDATE");
        assert_eq!(
            error.to_string(),
            "in UPDATE: in AS_PATH: at byte 4: path segments do not add up"
        );
    }
}
