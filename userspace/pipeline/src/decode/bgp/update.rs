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

use super::attribute_code as code;
use super::attributes::secure_path;
use super::check::check;
use super::hash::AttributesHash;
use super::nlri::count_apart;
use super::open::family_of;
use super::{
    AsPath, AsWidth, Attribute, Attributes, BgpError, Fault, MpReach, MpUnreach, Negotiated,
    NlriForm, PathIds, Prefixes, count_other,
};
use edgelore_model::{
    AddressFamily, FaultHandling, Observed, PathSummary, Prefix, PrefixCounts, Rib, RouteDelta,
    SessionKey,
};
use std::net::IpAddr;

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

    /// The session is known to be between different ASes.
    const fn external(&self) -> bool {
        matches!(*self, Self::Negotiated(Negotiated { external: true, .. }))
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
        Reader::new(encoding).read(body).map_err(|error| error.within("UPDATE"))
    }

    /// Reads an UPDATE that a monitored router made of an entry of its tables: routes of its own
    /// have no AS_PATH, and may lack other attributes that a neighbour must send (RFC 7854 §5).
    ///
    /// # Errors
    /// As [`Delta::read`].
    pub fn reported(body: &[u8], encoding: &Encoding<'_>) -> Result<Self, BgpError> {
        let reader = Reader { complete: false, ..Reader::new(encoding) };
        reader.read(body).map_err(|error| error.within("UPDATE"))
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

struct Reader<'e, 'a> {
    encoding: &'e Encoding<'e>,
    /// A neighbour sent it, so nothing mandatory may be missing.
    complete: bool,
    delta: Delta,
    path: Option<&'a [u8]>,
    as4_path: Option<&'a [u8]>,
    secure_path: Option<&'a [u8]>,
    next_hop: Option<IpAddr>,
    /// That of MP_REACH_NLRI, when it announces unicast prefixes.
    mp_next_hop: Option<IpAddr>,
    communities: usize,
    hash: AttributesHash,
    /// The announcements count as withdrawals.
    withdraw_all: bool,
    /// Attribute codes already seen, one bit each.
    seen: [u64; 4],
}

impl<'e, 'a> Reader<'e, 'a> {
    fn new(encoding: &'e Encoding<'e>) -> Self {
        Self {
            encoding,
            complete: true,
            delta: Delta::default(),
            path: None,
            as4_path: None,
            secure_path: None,
            next_hop: None,
            mp_next_hop: None,
            communities: 0,
            hash: AttributesHash::new(),
            withdraw_all: false,
            seen: [0; 4],
        }
    }

    fn read(mut self, body: &'a [u8]) -> Result<Delta, BgpError> {
        let update = Update::parse(body)?;
        self.withdraw(1, UNICAST, update.withdrawn).map_err(|e| e.within("withdrawn routes"))?;
        for attribute in update.attributes() {
            match attribute {
                Ok(attribute) => self.attribute(&attribute)?,
                Err(error) => self.overrun(error.within("path attributes"), &update)?,
            }
        }
        if let Err(error) = self.announce(1, UNICAST, update.nlri) {
            self.delta.note(FaultHandling::SessionReset, error.within("NLRI"));
        }
        if self.complete {
            self.mandatory(&update);
        }
        self.path(!update.nlri.is_empty());
        self.delta.end_of_rib = self.end_of_rib(&update);
        pad(&self.delta.announced, &mut self.delta.announced_path_ids);
        if self.withdraw_all {
            self.treat_as_withdraw();
        }
        pad(&self.delta.withdrawn, &mut self.delta.withdrawn_path_ids);
        Ok(self.delta)
    }

    /// The attributes do not end where they should: what follows is lost, and if no routes are
    /// found elsewhere nobody can say which are meant (RFC 7606 §4 and §5.2).
    fn overrun(&mut self, error: BgpError, update: &Update<'_>) -> Result<(), BgpError> {
        let found = !(update.nlri.is_empty() && update.withdrawn.is_empty())
            || self.has(code::MP_REACH_NLRI)
            || self.has(code::MP_UNREACH_NLRI);
        if !found {
            return Err(error);
        }
        self.fault(FaultHandling::TreatAsWithdraw, error);
        Ok(())
    }

    fn fault(&mut self, handling: FaultHandling, error: BgpError) {
        self.withdraw_all |= handling == FaultHandling::TreatAsWithdraw;
        self.delta.note(handling, error);
    }

    const fn has(&self, code: u8) -> bool {
        self.seen[(code >> 6) as usize] & (1 << (code & 63)) != 0
    }

    fn attribute(&mut self, attribute: &Attribute<'a>) -> Result<(), BgpError> {
        let &Attribute { code, raw, .. } = attribute;
        let routes = matches!(code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI);
        if !routes {
            self.hash.add(raw);
        }
        if self.has(code) {
            let error = BgpError::new(0, Fault::RepeatedAttribute(code)).within("path attributes");
            // RFC 7606 §3 (g): of other attributes the first counts, these two may not repeat.
            if routes {
                return Err(error);
            }
            self.fault(FaultHandling::AttributeDiscard, error);
            return Ok(());
        }
        self.seen[usize::from(code >> 6)] |= 1 << (code & 63);
        match check(attribute, self.encoding.external()) {
            Ok(()) => self.value(attribute),
            Err((handling, fault)) => {
                self.fault(handling, BgpError::new(0, fault).within("path attributes"));
                // The routes are meant all the same.
                if routes { self.value(attribute) } else { Ok(()) }
            }
        }
    }

    fn value(&mut self, attribute: &Attribute<'a>) -> Result<(), BgpError> {
        let value = attribute.value;
        match attribute.code {
            code::AS_PATH => self.path = Some(value),
            code::AS4_PATH => self.as4_path = Some(value),
            code::BGPSEC_PATH => self.secure_path = Some(value),
            code::NEXT_HOP => {
                self.next_hop = value.first_chunk::<4>().map(|&octets| octets.into());
            }
            code::COMMUNITIES => self.communities += value.len() / 4,
            code::EXTENDED_COMMUNITIES => self.communities += value.len() / 8,
            code::IPV6_EXTENDED_COMMUNITIES => self.communities += value.len() / 20,
            code::LARGE_COMMUNITIES => self.communities += value.len() / 12,
            code::MP_REACH_NLRI => {
                let reach = MpReach::parse(value)?;
                if unicast(reach.afi, reach.safi).is_some() {
                    self.mp_next_hop = reach.next_hop_address();
                }
                self.announce(reach.afi, reach.safi, reach.nlri)
                    .map_err(|e| e.within("MP_REACH_NLRI"))?;
            }
            code::MP_UNREACH_NLRI => {
                let unreach = MpUnreach::parse(value)?;
                self.withdraw(unreach.afi, unreach.safi, unreach.nlri)
                    .map_err(|e| e.within("MP_UNREACH_NLRI"))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Routes need ORIGIN and AS_PATH or BGPsec_PATH, those outside of MP_REACH_NLRI also NEXT_HOP
    /// (RFC 7606 §3 (d), RFC 4760 §3, RFC 8205 §4).
    fn mandatory(&mut self, update: &Update<'_>) {
        let classic = !update.nlri.is_empty();
        if !classic && !self.has(code::MP_REACH_NLRI) {
            return;
        }
        let path = !self.has(code::BGPSEC_PATH);
        let needed = [(code::ORIGIN, true), (code::AS_PATH, path), (code::NEXT_HOP, classic)];
        for (code, needed) in needed {
            if needed && !self.has(code) {
                let error = BgpError::new(0, Fault::MissingAttribute(code));
                self.fault(FaultHandling::TreatAsWithdraw, error.within("path attributes"));
            }
        }
    }

    /// Sums up the attributes of what is announced. NEXT_HOP holds for prefixes outside of
    /// MP_REACH_NLRI alone (RFC 4760 §3).
    fn path(&mut self, classic: bool) {
        let width = self.encoding.width();
        let path = match self.path.map(|value| AsPath::parse(value, width)).transpose() {
            Ok(path) => path,
            Err(error) => return self.fault(FaultHandling::TreatAsWithdraw, error),
        };
        if self.delta.announced.is_empty() {
            return;
        }
        let (length, origin_as) = match (path, self.secure_path.and_then(secure_path)) {
            (Some(path), _) => (path.length(), path.origin_with(self.as4_path)),
            (None, secure) => secure.unwrap_or_default(),
        };
        self.delta.path = Some(PathSummary {
            length,
            origin_as,
            next_hop: if classic { self.next_hop } else { self.mp_next_hop },
            communities: u16::try_from(self.communities).unwrap_or(u16::MAX),
            attributes_hash: self.hash.finish(),
        });
    }

    /// RFC 4724 §2: an UPDATE without anything, or with an empty MP_UNREACH_NLRI alone.
    fn end_of_rib(&self, update: &Update<'_>) -> Option<(u16, u8)> {
        if !update.nlri.is_empty() || !update.withdrawn.is_empty() {
            return None;
        }
        let mut attributes = update.attributes();
        match (attributes.next(), attributes.next()) {
            (None, _) => Some((1, UNICAST)),
            (Some(Ok(Attribute { code: code::MP_UNREACH_NLRI, value, .. })), None) => {
                let unreach = MpUnreach::parse(value).ok()?;
                unreach.nlri.is_empty().then_some((unreach.afi, unreach.safi))
            }
            _ => None,
        }
    }

    /// RFC 7606 §2: the routes announced were withdrawn.
    fn treat_as_withdraw(&mut self) {
        let delta = &mut self.delta;
        if !delta.announced_path_ids.is_empty() {
            pad(&delta.withdrawn, &mut delta.withdrawn_path_ids);
            delta.withdrawn_path_ids.resize(delta.withdrawn.len(), 0);
            delta.withdrawn_path_ids.append(&mut delta.announced_path_ids);
        }
        delta.withdrawn.append(&mut delta.announced);
        delta.path = None;
    }

    fn announce(&mut self, afi: u16, safi: u8, bytes: &[u8]) -> Result<(), BgpError> {
        let (delta, encoding) = (&mut self.delta, self.encoding);
        let Some(family) = unicast(afi, safi) else {
            let count = count_other(afi, safi, encoding.path_ids(afi, safi), bytes);
            count_apart(&mut delta.counts, afi, safi, true, count);
            return Ok(());
        };
        let ids = encoding.form(afi, safi).resolve(family, bytes);
        let list = Prefixes::new(family, ids, bytes);
        let (count, read) =
            collect(&mut delta.announced, &mut delta.announced_path_ids, ids, list, bytes.len());
        match family {
            AddressFamily::Ipv4 => delta.counts.ipv4_announced += count,
            AddressFamily::Ipv6 => delta.counts.ipv6_announced += count,
        }
        read
    }

    fn withdraw(&mut self, afi: u16, safi: u8, bytes: &[u8]) -> Result<(), BgpError> {
        let (delta, encoding) = (&mut self.delta, self.encoding);
        let Some(family) = unicast(afi, safi) else {
            let count = count_other(afi, safi, encoding.path_ids(afi, safi), bytes);
            count_apart(&mut delta.counts, afi, safi, false, count);
            return Ok(());
        };
        let ids = encoding.form(afi, safi).resolve(family, bytes);
        let list = Prefixes::new(family, ids, bytes);
        let (count, read) =
            collect(&mut delta.withdrawn, &mut delta.withdrawn_path_ids, ids, list, bytes.len());
        match family {
            AddressFamily::Ipv4 => delta.counts.ipv4_withdrawn += count,
            AddressFamily::Ipv6 => delta.counts.ipv6_withdrawn += count,
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
    path_ids: &mut Vec<u32>,
    ids: PathIds,
    mut list: Prefixes<'_>,
    octets: usize,
) -> (u64, Result<(), BgpError>) {
    let before = into.len();
    // The shortest form of a typical prefix is four octets; one reservation nearly always does.
    into.reserve(octets.div_ceil(4));
    let with_ids = ids == PathIds::Present;
    if with_ids {
        path_ids.resize(before, 0);
    }
    while let Some(prefix) = list.next() {
        match prefix {
            Ok(prefix) => into.push(prefix),
            Err(error) => return ((into.len() - before) as u64, Err(error)),
        }
        if with_ids {
            path_ids.push(list.path_id());
        }
    }
    ((into.len() - before) as u64, Ok(()))
}

/// One path identifier for each prefix once there is any: families without them have 0.
fn pad(prefixes: &[Prefix], path_ids: &mut Vec<u32>) {
    if !path_ids.is_empty() {
        path_ids.resize(prefixes.len(), 0);
    }
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

    const PATH: [u8; 20] =
        [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8, 0x40, 3, 4, 192, 0, 2, 7];

    fn texts(list: &[Prefix]) -> Vec<String> {
        list.iter().map(Prefix::to_string).collect()
    }

    /// The delta of an UPDATE with these attributes and one prefix.
    fn with(attributes: &[&[u8]]) -> Delta {
        Delta::read(&body(&[], &attributes.concat(), &[8, 10]), &GUESS).unwrap()
    }

    #[test]
    fn a_delta_holds_everything() {
        let reach = [0x80, 14, 9, 0, 2, 1, 0, 0, 24, 0x20, 1, 0x0d];
        let unreach = [0x80, 15, 5, 0, 1, 2, 8, 10];
        let attributes = [&PATH[..], &reach, &unreach].concat();
        let body = body(&[8, 10], &attributes, &[24, 192, 0, 2]);
        let delta = Delta::read(&body, &GUESS).unwrap();
        assert_eq!(texts(&delta.withdrawn), ["10.0.0.0/8"]);
        assert_eq!(texts(&delta.announced), ["2001:d00::/24", "192.0.2.0/24"]);
        let path = delta.path.unwrap();
        assert_eq!((path.length, path.origin_as), (1, 65_000));
        let expected = PrefixCounts {
            ipv4_announced: 1,
            ipv4_withdrawn: 1,
            ipv6_announced: 1,
            other_withdrawn: 1,
            multicast_withdrawn: 1,
            ..Default::default()
        };
        assert_eq!(delta.counts, expected);
    }

    #[test]
    fn the_hash_is_of_the_attributes_without_routes() {
        let hash = |extra: &[u8]| with(&[&PATH, extra]).path.unwrap().attributes_hash;
        assert_eq!(hash(&[]), hash(&[0x80, 15, 3, 0, 2, 1]), "an empty MP_UNREACH_NLRI");
        assert_ne!(hash(&[]), hash(&[0x80, 4, 4, 0, 0, 0, 1]), "MULTI_EXIT_DISC");
    }

    #[test]
    fn attributes_are_summed_up() {
        let communities = [
            &[0xc0, 8, 8, 0, 1, 0, 2, 0, 3, 0, 4][..],
            &[0xc0, 16, 8, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0xc0, 32, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        ];
        let path = with(&[&PATH, &communities.concat()]).path.unwrap();
        assert_eq!((path.length, path.origin_as, path.communities), (1, 65_000, 4));
        assert_eq!(path.next_hop, Some("192.0.2.7".parse().unwrap()));
        let mut reach = vec![0x80, 14, 25, 0, 2, 1, 16];
        reach.extend_from_slice(&"2001:db8::9".parse::<std::net::Ipv6Addr>().unwrap().octets());
        reach.extend_from_slice(&[0, 24, 0x20, 1, 0x0d]);
        let body = body(&[], &[&PATH, &reach[..]].concat(), &[]);
        let path = Delta::read(&body, &GUESS).unwrap().path.unwrap();
        assert_eq!(path.next_hop, Some("2001:db8::9".parse().unwrap()));
    }

    #[test]
    fn faults_mean_what_rfc_7606_says() {
        use FaultHandling::{AttributeDiscard, TreatAsWithdraw};
        for (name, attributes, expected) in [
            ("sound", PATH.to_vec(), None),
            ("no next hop", PATH[..13].to_vec(), Some(TreatAsWithdraw)),
            ("no path", [&PATH[..4], &PATH[13..]].concat(), Some(TreatAsWithdraw)),
            (
                "a path that does not add up",
                [&PATH[..4], &[0x40, 2, 3, 2, 1, 0], &PATH[13..]].concat(),
                Some(TreatAsWithdraw),
            ),
            ("communities", [&PATH[..], &[0xc0, 8, 3, 1, 2, 3]].concat(), Some(TreatAsWithdraw)),
            ("cut short", PATH[..19].to_vec(), Some(TreatAsWithdraw)),
            ("twice", [&PATH[..], &PATH[..4]].concat(), Some(AttributeDiscard)),
            ("aggregator", [&PATH[..], &[0xc0, 7, 1, 0]].concat(), Some(AttributeDiscard)),
            ("discarded and withdrawn", [&PATH[..13], &PATH[..4]].concat(), Some(TreatAsWithdraw)),
        ] {
            let delta = with(&[&attributes]);
            assert_eq!(delta.fault.map(|(handling, _)| handling), expected, "{name}");
            let withdrawn = expected == Some(TreatAsWithdraw);
            let lists = (texts(&delta.announced), texts(&delta.withdrawn));
            let (there, none) = (vec!["10.0.0.0/8".to_owned()], vec![]);
            assert_eq!(lists, if withdrawn { (none, there) } else { (there, none) }, "{name}");
            assert_eq!((delta.path.is_none(), delta.counts.ipv4_announced), (withdrawn, 1));
        }
    }

    #[test]
    fn an_external_neighbour_has_no_local_preference() {
        let body = body(&[], &[&PATH[..], &[0x40, 5, 4, 0, 0, 0, 9]].concat(), &[8, 10]);
        let negotiated = Negotiated { as4: true, external: true, add_path: vec![] };
        let delta = Delta::read(&body, &Encoding::Negotiated(&negotiated)).unwrap();
        let (handling, error) = delta.fault.unwrap();
        assert_eq!((handling, delta.announced.len()), (FaultHandling::AttributeDiscard, 1));
        let expected =
            "in UPDATE: in path attributes: at byte 0: attribute 5 is not for external sessions";
        assert_eq!(error.to_string(), expected);
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
            delta.fault.map(|(handling, error)| (handling, error.to_string())),
            Some((
                FaultHandling::SessionReset,
                "in UPDATE: in NLRI: at byte 2: 2 octets where 6 are needed".to_owned()
            ))
        );
    }

    #[test]
    fn negotiated_path_identifiers_are_read() {
        let negotiated = Negotiated { as4: true, add_path: vec![(1, 1)], ..Default::default() };
        let encoding = Encoding::Negotiated(&negotiated);
        let body = body(&[0, 0, 0, 9, 8, 11], &PATH, &[1, 2, 3, 4, 8, 10]);
        let delta = Delta::read(&body, &encoding).unwrap();
        assert_eq!(delta.announced[0].to_string(), "10.0.0.0/8");
        assert_eq!(
            (delta.announced_path_ids, delta.withdrawn_path_ids),
            (vec![0x0102_0304], vec![9])
        );
        let mut faulty = body.clone();
        faulty[13] = 9;
        let delta = Delta::read(&faulty, &encoding).unwrap();
        assert_eq!(delta.fault.map(|(handling, _)| handling), Some(FaultHandling::TreatAsWithdraw));
        assert_eq!((delta.withdrawn.len(), delta.withdrawn_path_ids), (2, vec![9, 0x0102_0304]));
    }

    #[test]
    fn families_without_path_identifiers_have_zero() {
        let negotiated = Negotiated { as4: true, add_path: vec![(1, 1)], ..Default::default() };
        let mut reach = vec![0x80, 14, 25, 0, 2, 1, 16];
        reach.extend_from_slice(&[0x20; 16]);
        reach.extend_from_slice(&[0, 24, 0x20, 1, 0x0d]);
        let body = body(&[], &[&PATH[..], &reach].concat(), &[1, 2, 3, 4, 8, 10]);
        let delta = Delta::read(&body, &Encoding::Negotiated(&negotiated)).unwrap();
        assert_eq!((delta.announced.len(), delta.announced_path_ids), (2, vec![0, 0x0102_0304]));
    }

    #[test]
    fn end_of_rib_names_its_family() {
        for (name, body, expected) in [
            ("IPv4", body(&[], &[], &[]), Some((1, 1))),
            ("IPv6", body(&[], &[0x80, 15, 3, 0, 2, 1], &[]), Some((2, 1))),
            ("VPN", body(&[], &[0x90, 15, 0, 3, 0, 1, 128], &[]), Some((1, 128))),
            (
                "with another attribute",
                body(&[], &[&PATH[..], &[0x80, 15, 3, 0, 2, 1]].concat(), &[]),
                None,
            ),
            ("a withdrawal", body(&[8, 10], &[], &[]), None),
        ] {
            let delta = Delta::read(&body, &GUESS).unwrap();
            assert_eq!(delta.end_of_rib, expected, "{name}");
            assert_eq!(delta.announced, [], "{name}");
        }
    }
}
