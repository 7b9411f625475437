//! How a session's UPDATEs are encoded, as far as is known: the width of AS numbers, path identifiers.
//!
//! Owns the question alone: it reads no message and remembers none.
//!
//! **Invariant:** what both OPENs settled is never guessed.

use super::{AsWidth, Negotiated, NlriForm, PathIds};

/// What is known about the session when an UPDATE is read.
#[derive(Clone, Copy, Debug)]
pub enum Encoding<'a> {
    /// Both OPENs were seen.
    Negotiated(&'a Negotiated),
    /// Only what the source says, or nothing.
    Presumed {
        /// The likelier width of AS numbers.
        width: AsWidth,
        /// Whether path identifiers are likely.
        path_ids: PathIdHint<'a>,
    },
}

/// Whether path identifiers are likely in a session whose OPENs do not settle it.
#[derive(Clone, Copy, Debug)]
pub enum PathIdHint<'a> {
    /// Nothing speaks for them.
    Unlikely,
    /// The record type says that the session has them in some family (RFC 8050 §3).
    Likely,
    /// OPENs of the session say so, though the record type does not.
    As(&'a Negotiated),
}

impl Encoding<'_> {
    pub(super) const fn width(&self) -> AsWidth {
        match *self {
            Self::Negotiated(Negotiated { as4: true, .. }) => AsWidth::Four,
            Self::Negotiated(_) => AsWidth::Two,
            Self::Presumed { width, .. } => width,
        }
    }

    /// The session is known to be between different ASes.
    pub(super) const fn external(&self) -> bool {
        matches!(*self, Self::Negotiated(Negotiated { external: true, .. }))
    }

    pub(super) fn form(&self, afi: u16, safi: u8) -> NlriForm {
        let known = |present| if present { PathIds::Present } else { PathIds::Absent };
        match *self {
            Self::Negotiated(negotiated) => NlriForm::Known(known(negotiated.path_ids(afi, safi))),
            Self::Presumed { path_ids, .. } => NlriForm::Guess {
                hint: match path_ids {
                    PathIdHint::Unlikely => false,
                    PathIdHint::Likely => true,
                    PathIdHint::As(negotiated) => negotiated.path_ids(afi, safi),
                },
            },
        }
    }

    /// Other families are only counted, so their form is not guessed.
    pub(super) fn path_ids(&self, afi: u16, safi: u8) -> PathIds {
        match self.form(afi, safi) {
            NlriForm::Known(ids) => ids,
            NlriForm::Guess { hint: true } => PathIds::Present,
            NlriForm::Guess { hint: false } => PathIds::Absent,
        }
    }
}
