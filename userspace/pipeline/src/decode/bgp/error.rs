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
