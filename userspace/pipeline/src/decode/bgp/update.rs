//! UPDATE: a walk that allocates nothing, and the route delta made of it (RFC 4271 §4.3).
//!
//! ```text
//! withdrawn length (2) | withdrawn | attributes length (2) | attributes | NLRI to the end
//! ```
//!
//! **Invariant:** a delta is all of an UPDATE or nothing: a fault yields no routes. One exception:
//! a fault in the NLRI that end the message leaves what was read before it, as bgpdump does, and
//! says so in [`Delta::cut_short`].

use super::attributes::attribute_code::{AS_PATH, AS4_PATH, MP_REACH_NLRI, MP_UNREACH_NLRI};
use super::open::family_of;
use super::{
    AsPath, AsWidth, Attribute, Attributes, BgpError, Fault, MpReach, MpUnreach, Negotiated,
    NlriForm, PathIds, Prefixes, count_other,
};
use edgelore_model::{AddressFamily, PathSummary, Prefix, PrefixCounts};
use sha2::{Digest, Sha256};

/// SAFI of unicast (RFC 4760 §6).
const UNICAST: u8 = 1;

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
    const fn width(&self) -> AsWidth {
        match *self {
            Self::Negotiated(Negotiated { as4: true, .. }) => AsWidth::Four,
            Self::Negotiated(_) => AsWidth::Two,
            Self::Presumed { width, .. } => width,
        }
    }

    fn form(&self, afi: u16, safi: u8) -> NlriForm {
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
    fn path_ids(&self, afi: u16, safi: u8) -> PathIds {
        match self.form(afi, safi) {
            NlriForm::Known(ids) => ids,
            NlriForm::Guess { hint: true } => PathIds::Present,
            NlriForm::Guess { hint: false } => PathIds::Absent,
        }
    }
}

/// What one UPDATE moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Unicast prefixes withdrawn: IPv4 first, then MP_UNREACH_NLRI.
    pub withdrawn: Vec<Prefix>,
    /// Unicast prefixes announced: MP_REACH_NLRI and NLRI in wire order.
    pub announced: Vec<Prefix>,
    /// Attributes of what was announced.
    pub path: Option<PathSummary>,
    /// All of it counted, other families included.
    pub counts: PrefixCounts,
    /// The NLRI at the message's end have a fault: what follows it was not read.
    pub cut_short: Option<BgpError>,
}

impl Delta {
    /// Reads an UPDATE's body.
    ///
    /// # Errors
    /// The first fault, with its place within the UPDATE.
    pub fn read(body: &[u8], encoding: &Encoding<'_>) -> Result<Self, BgpError> {
        Reader { encoding, delta: Self::default(), path: None, as4_path: None, seen: [0; 4] }
            .read(body)
            .map_err(|error| error.within("UPDATE"))
    }
}

struct Reader<'e, 'a> {
    encoding: &'e Encoding<'e>,
    delta: Delta,
    path: Option<&'a [u8]>,
    as4_path: Option<&'a [u8]>,
    /// Attribute codes already seen, one bit each.
    seen: [u64; 4],
}

impl<'a> Reader<'_, 'a> {
    fn read(mut self, body: &'a [u8]) -> Result<Delta, BgpError> {
        let update = Update::parse(body)?;
        self.withdraw(1, UNICAST, update.withdrawn).map_err(|e| e.within("withdrawn routes"))?;
        for attribute in update.attributes() {
            let attribute = attribute.map_err(|e| e.within("path attributes"))?;
            self.attribute(&attribute)?;
        }
        let announced = self.announce(1, UNICAST, update.nlri);
        self.delta.cut_short = announced.err().map(|e| e.within("NLRI").within("UPDATE"));
        let path =
            self.path.map(|value| AsPath::parse(value, self.encoding.width())).transpose()?;
        if !self.delta.announced.is_empty() {
            let mut summary = PathSummary { attributes_hash: hash(&update), ..Default::default() };
            if let Some(path) = path {
                path.summarise(self.as4_path, &mut summary);
            }
            self.delta.path = Some(summary);
        }
        Ok(self.delta)
    }

    fn attribute(&mut self, attribute: &Attribute<'a>) -> Result<(), BgpError> {
        let value = attribute.value;
        let (word, bit) = (usize::from(attribute.code >> 6), 1 << (attribute.code & 63));
        let repeated = self.seen[word] & bit != 0;
        self.seen[word] |= bit;
        match attribute.code {
            // RFC 7606 §3 (g): of other attributes the first counts, these two may not repeat.
            code @ (MP_REACH_NLRI | MP_UNREACH_NLRI) if repeated => {
                Err(BgpError::new(0, Fault::RepeatedAttribute(code)).within("path attributes"))
            }
            _ if repeated => Ok(()),
            AS_PATH => {
                self.path = Some(value);
                Ok(())
            }
            AS4_PATH => {
                self.as4_path = Some(value);
                Ok(())
            }
            MP_REACH_NLRI => {
                let reach = MpReach::parse(value)?;
                self.announce(reach.afi, reach.safi, reach.nlri)
                    .map_err(|e| e.within("MP_REACH_NLRI"))
            }
            MP_UNREACH_NLRI => {
                let unreach = MpUnreach::parse(value)?;
                self.withdraw(unreach.afi, unreach.safi, unreach.nlri)
                    .map_err(|e| e.within("MP_UNREACH_NLRI"))
            }
            _ => Ok(()),
        }
    }

    fn announce(&mut self, afi: u16, safi: u8, bytes: &[u8]) -> Result<(), BgpError> {
        let Some(family) = unicast(afi, safi) else {
            let ids = self.encoding.path_ids(afi, safi);
            self.delta.counts.other_announced += count_other(afi, safi, ids, bytes);
            return Ok(());
        };
        let ids = self.encoding.form(afi, safi).resolve(family, bytes);
        let (count, read) = collect(&mut self.delta.announced, family, ids, bytes);
        match family {
            AddressFamily::Ipv4 => self.delta.counts.ipv4_announced += count,
            AddressFamily::Ipv6 => self.delta.counts.ipv6_announced += count,
        }
        read
    }

    fn withdraw(&mut self, afi: u16, safi: u8, bytes: &[u8]) -> Result<(), BgpError> {
        let Some(family) = unicast(afi, safi) else {
            let ids = self.encoding.path_ids(afi, safi);
            self.delta.counts.other_withdrawn += count_other(afi, safi, ids, bytes);
            return Ok(());
        };
        let ids = self.encoding.form(afi, safi).resolve(family, bytes);
        let (count, read) = collect(&mut self.delta.withdrawn, family, ids, bytes);
        match family {
            AddressFamily::Ipv4 => self.delta.counts.ipv4_withdrawn += count,
            AddressFamily::Ipv6 => self.delta.counts.ipv6_withdrawn += count,
        }
        read
    }
}

const fn unicast(afi: u16, safi: u8) -> Option<AddressFamily> {
    if safi == UNICAST { family_of(afi) } else { None }
}

/// Appends a list's prefixes up to its end or its first fault, and says how many they are.
fn collect(
    into: &mut Vec<Prefix>,
    family: AddressFamily,
    ids: PathIds,
    bytes: &[u8],
) -> (u64, Result<(), BgpError>) {
    let before = into.len();
    // The shortest form of a typical prefix is four octets; one reservation nearly always does.
    into.reserve(bytes.len().div_ceil(4));
    let mut fault = Ok(());
    for prefix in Prefixes::new(family, ids, bytes) {
        match prefix {
            Ok(prefix) => into.push(prefix),
            Err(error) => fault = Err(error),
        }
    }
    ((into.len() - before) as u64, fault)
}

/// First 64 bits of SHA-256 of the attributes without the two that carry routes.
fn hash(update: &Update<'_>) -> u64 {
    let mut hasher = Sha256::new();
    for attribute in update.attributes().flatten() {
        if !matches!(attribute.code, MP_REACH_NLRI | MP_UNREACH_NLRI) {
            hasher.update(attribute.raw);
        }
    }
    let digest = hasher.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 octets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUESS: Encoding<'static> =
        Encoding::Presumed { width: AsWidth::Four, path_ids: PathIdHint::Unlikely };

    fn body(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
        let length = |part: &[u8]| (part.len() as u16).to_be_bytes();
        [&length(withdrawn), withdrawn, &length(attributes), attributes, nlri].concat()
    }

    const PATH: [u8; 13] = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8];

    #[test]
    fn a_delta_holds_everything() {
        let reach = [0x80, 14, 9, 0, 2, 1, 0, 0, 24, 0x20, 1, 0x0d];
        let unreach = [0x80, 15, 5, 0, 1, 2, 8, 10];
        let attributes = [&PATH[..], &reach, &unreach].concat();
        let body = body(&[8, 10], &attributes, &[24, 192, 0, 2]);
        let delta = Delta::read(&body, &GUESS).unwrap();
        let texts = |list: &[Prefix]| list.iter().map(Prefix::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&delta.withdrawn), ["10.0.0.0/8"]);
        assert_eq!(texts(&delta.announced), ["2001:d00::/24", "192.0.2.0/24"]);
        let path = delta.path.unwrap();
        assert_eq!((path.length, path.origin_as), (1, 65_000));
        let expected = PrefixCounts {
            ipv4_announced: 1,
            ipv4_withdrawn: 1,
            ipv6_announced: 1,
            other_withdrawn: 1,
            ..Default::default()
        };
        assert_eq!(delta.counts, expected);
    }

    #[test]
    fn the_hash_is_of_the_attributes_without_routes() {
        let with = |extra: &[u8]| {
            let attributes = [&PATH[..], extra].concat();
            let delta = Delta::read(&body(&[], &attributes, &[8, 10]), &GUESS).unwrap();
            delta.path.unwrap().attributes_hash
        };
        let sha = Sha256::digest(PATH);
        assert_eq!(with(&[]), u64::from_be_bytes(sha[..8].try_into().unwrap()));
        assert_eq!(with(&[]), with(&[0x80, 15, 3, 0, 2, 1]), "an empty MP_UNREACH_NLRI");
        assert_ne!(with(&[]), with(&[0x80, 4, 4, 0, 0, 0, 1]), "MULTI_EXIT_DISC");
    }

    #[test]
    fn a_fault_names_its_place() {
        for (body, expected) in [
            (
                body(&[8], &[], &[]),
                "in UPDATE: in withdrawn routes: at byte 0: 1 octets where 2 are needed",
            ),
            (
                body(&[], &PATH[..12], &[]),
                "in UPDATE: in path attributes: at byte 4: 8 octets where 9 are needed",
            ),
            (
                vec![0, 9, 1],
                "in UPDATE: in withdrawn routes: at byte 0: 3 octets where 11 are needed",
            ),
        ] {
            assert_eq!(Delta::read(&body, &GUESS).unwrap_err().to_string(), expected);
        }
        let twice = [0x80, 15, 3, 0, 2, 1, 0x80, 15, 3, 0, 2, 1];
        assert_eq!(
            Delta::read(&body(&[], &twice, &[]), &GUESS).unwrap_err().fault,
            Fault::RepeatedAttribute(15)
        );
    }

    #[test]
    fn a_fault_in_the_last_list_leaves_what_came_before() {
        let delta = Delta::read(&body(&[], &PATH, &[8, 10, 33, 0]), &GUESS).unwrap();
        assert_eq!((delta.announced.len(), delta.counts.ipv4_announced), (1, 1));
        assert_eq!(
            delta.cut_short.unwrap().to_string(),
            "in UPDATE: in NLRI: at byte 2: 2 octets where 6 are needed"
        );
    }

    #[test]
    fn negotiated_path_identifiers_are_read() {
        let negotiated = Negotiated { as4: true, add_path: vec![(1, 1)] };
        let body = body(&[], &PATH, &[1, 2, 3, 4, 8, 10]);
        let delta = Delta::read(&body, &Encoding::Negotiated(&negotiated)).unwrap();
        assert_eq!(delta.announced[0].to_string(), "10.0.0.0/8");
    }

    #[test]
    fn end_of_rib_moves_nothing() {
        for body in [body(&[], &[], &[]), body(&[], &[0x80, 15, 3, 0, 2, 1], &[])] {
            assert_eq!(Delta::read(&body, &GUESS).unwrap(), Delta::default());
        }
    }
}
