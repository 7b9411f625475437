//! UPDATE: a walk that allocates nothing, and the route delta made of it (RFC 4271 §4.3).
//!
//! ```text
//! withdrawn length (2) | withdrawn | attributes length (2) | attributes | NLRI to the end
//! ```
//!
//! **Invariant:** what a fault means is RFC 7606's: a wrong attribute is passed over or makes the
//! announcements withdrawals, and where the routes themselves cannot be found there is no delta.
//! One exception: a fault in the NLRI that end the message leaves what was read before it, as
//! bgpdump does; [`Delta::fault`] says so.

mod reader;

use super::{Attributes, BgpError, Fault, PathIds, Prefixes};
use edgelore_model::{
    AddressFamily, FaultHandling, Observed, PathSummary, Prefix, PrefixCounts, Rib, RouteDelta,
    SessionKey,
};
use reader::Reader;
use std::net::IpAddr;

pub use super::encoding::{Encoding, PathIdHint};

/// The three sections of an UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    withdrawn: &'a [u8],
    attributes: &'a [u8],
    nlri: &'a [u8],
}

impl<'a> Update<'a> {
    /// Cuts an UPDATE's body (the message without its header) into its sections.
    ///
    /// # Errors
    /// [`Fault::Truncated`] when the lengths exceed the message.
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Self, BgpError> {
        let (withdrawn, rest) = section(body, 0).map_err(|e| e.within("withdrawn routes"))?;
        let (attributes, nlri) =
            section(rest, 2 + withdrawn.len()).map_err(|e| e.within("path attributes"))?;
        Ok(Self { withdrawn, attributes, nlri })
    }

    /// IPv4 unicast prefixes withdrawn outside of MP_UNREACH_NLRI.
    #[inline]
    #[must_use]
    pub const fn withdrawn(&self, ids: PathIds) -> Prefixes<'a> {
        Prefixes::new(AddressFamily::Ipv4, ids, self.withdrawn)
    }

    /// IPv4 unicast prefixes announced outside of MP_REACH_NLRI.
    #[inline]
    #[must_use]
    pub const fn announced(&self, ids: PathIds) -> Prefixes<'a> {
        Prefixes::new(AddressFamily::Ipv4, ids, self.nlri)
    }

    /// The path attributes.
    #[inline]
    #[must_use]
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.attributes)
    }
}

#[inline]
fn section(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), BgpError> {
    let cut = |needed| BgpError::new(at, Fault::Truncated { there: bytes.len(), needed });
    let &[high, low, ref rest @ ..] = bytes else { return Err(cut(2)) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    rest.split_at_checked(length).ok_or(cut(2 + length))
}

/// What one UPDATE moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Unicast prefixes withdrawn: IPv4 first, then MP_UNREACH_NLRI, then what was announced
    /// with a fault that makes it a withdrawal.
    pub withdrawn: Vec<Prefix>,
    /// Unicast prefixes announced: MP_REACH_NLRI and NLRI in wire order.
    pub announced: Vec<Prefix>,
    /// Path identifiers of `withdrawn`; empty when there are none.
    pub withdrawn_path_ids: Vec<u32>,
    /// Path identifiers of `announced`; empty when there are none.
    pub announced_path_ids: Vec<u32>,
    /// Attributes of what was announced.
    pub path: Option<PathSummary>,
    /// All of it counted as sent, other families included.
    pub counts: PrefixCounts,
    /// It marks the end of a family's initial routes (RFC 4724 §2): AFI and SAFI.
    pub end_of_rib: Option<(u16, u8)>,
    /// The gravest fault, the first of them if there are several. With
    /// [`FaultHandling::SessionReset`] the NLRI at the message's end have the fault, and what
    /// follows it was not read.
    pub fault: Option<(FaultHandling, BgpError)>,
}

impl Delta {
    /// Reads an UPDATE's body.
    ///
    /// # Errors
    /// The first fault for which a receiver ends the session, with its place within the UPDATE.
    pub fn read(body: &[u8], encoding: &Encoding<'_>) -> Result<Self, BgpError> {
        Self::of(body, encoding, true)
    }

    /// Reads an UPDATE that a monitored router made of an entry of its tables: routes of its own
    /// have no AS_PATH, and may lack other attributes that a neighbour must send (RFC 7854 §5).
    ///
    /// # Errors
    /// As [`Delta::read`].
    pub fn reported(body: &[u8], encoding: &Encoding<'_>) -> Result<Self, BgpError> {
        Self::of(body, encoding, false)
    }

    fn of(body: &[u8], encoding: &Encoding<'_>, complete: bool) -> Result<Self, BgpError> {
        let mut delta = Self::default();
        match Reader::new(encoding, &mut delta, complete).read(body) {
            Ok(()) => Ok(delta),
            Err(error) => Err(error.within("UPDATE")),
        }
    }

    /// What it moved in a table, or that a table is complete; `None` when it says neither.
    pub(in crate::decode) fn observed(
        self,
        session: SessionKey,
        speaker: IpAddr,
        rib: Rib,
    ) -> Option<Observed> {
        if self.withdrawn.is_empty() && self.announced.is_empty() {
            let (afi, safi) = self.end_of_rib?;
            return Some(Observed::EndOfRib { session, speaker, rib, afi, safi });
        }
        Some(Observed::Routes(RouteDelta {
            session,
            speaker,
            rib,
            withdrawn: self.withdrawn,
            announced: self.announced,
            withdrawn_path_ids: self.withdrawn_path_ids,
            announced_path_ids: self.announced_path_ids,
            path: self.path,
        }))
    }

    /// Forgets withdrawals, with their path identifiers, that are not to be believed.
    pub(in crate::decode) fn retain_withdrawn(&mut self, believed: impl Fn(&Prefix) -> bool) {
        let mut verdicts = self.withdrawn.iter().map(&believed);
        self.withdrawn_path_ids.retain(|_| verdicts.next().unwrap_or(true));
        self.withdrawn.retain(believed);
    }

    /// Notes a fault unless there is one as grave.
    fn note(&mut self, handling: FaultHandling, error: BgpError) {
        if self.fault.is_none_or(|(known, _)| known < handling) {
            self.fault = Some((handling, error.within("UPDATE")));
        }
    }
}

#[cfg(test)]
mod tests;
