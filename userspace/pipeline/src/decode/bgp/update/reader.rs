//! From the attributes of an UPDATE to what it moves.
//!
//! Owns what is gathered on the way through one message; nothing outlives it.
//!
//! **Invariant:** every attribute counts at most once, and a fault's meaning is RFC 7606's.

use super::super::attribute_code as code;
use super::super::attributes::secure_path;
use super::super::check::check;
use super::super::hash::AttributesHash;
use super::super::nlri::count_apart;
use super::super::open::family_of;
use super::super::{
    AsPath, Attribute, BgpError, Fault, MpReach, MpUnreach, PathIds, Prefixes, count_other,
};
use super::{Delta, Encoding, Update};
use edgelore_model::{AddressFamily, FaultHandling, PathSummary, Prefix};
use std::net::IpAddr;

/// SAFI of unicast (RFC 4760 §6).
const UNICAST: u8 = 1;

/// Reads one UPDATE.
pub(super) struct Reader<'e, 'a> {
    encoding: &'e Encoding<'e>,
    /// A neighbour sent it, so nothing mandatory may be missing.
    complete: bool,
    /// Where it goes: written in place, for moving it takes as long as reading a prefix or two.
    delta: &'e mut Delta,
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
    /// Of an UPDATE that a neighbour sent if it is `complete`; else of one that a monitored router
    /// made of its tables, which may lack attributes.
    pub(super) fn new(encoding: &'e Encoding<'e>, delta: &'e mut Delta, complete: bool) -> Self {
        Self {
            encoding,
            complete,
            delta,
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

    pub(super) fn read(mut self, body: &'a [u8]) -> Result<(), BgpError> {
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
        Ok(())
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
        let delta = &mut *self.delta;
        if !delta.announced_path_ids.is_empty() {
            pad(&delta.withdrawn, &mut delta.withdrawn_path_ids);
            delta.withdrawn_path_ids.resize(delta.withdrawn.len(), 0);
            delta.withdrawn_path_ids.append(&mut delta.announced_path_ids);
        }
        delta.withdrawn.append(&mut delta.announced);
        delta.path = None;
    }

    fn announce(&mut self, afi: u16, safi: u8, bytes: &[u8]) -> Result<(), BgpError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (delta, encoding) = (&mut *self.delta, self.encoding);
        let Some(family) = unicast(afi, safi) else {
            let count = count_other(afi, safi, encoding.path_ids(afi, safi), bytes);
            count_apart(&mut delta.counts, afi, safi, true, count);
            return Ok(());
        };
        let ids = encoding.form(afi, safi).resolve(family, bytes);
        let list = Prefixes::new(family, ids, bytes);
        let before = delta.announced.len();
        let read =
            collect(&mut delta.announced, &mut delta.announced_path_ids, ids, list, bytes.len());
        let count = (delta.announced.len() - before) as u64;
        match family {
            AddressFamily::Ipv4 => delta.counts.ipv4_announced += count,
            AddressFamily::Ipv6 => delta.counts.ipv6_announced += count,
        }
        read
    }

    fn withdraw(&mut self, afi: u16, safi: u8, bytes: &[u8]) -> Result<(), BgpError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (delta, encoding) = (&mut *self.delta, self.encoding);
        let Some(family) = unicast(afi, safi) else {
            let count = count_other(afi, safi, encoding.path_ids(afi, safi), bytes);
            count_apart(&mut delta.counts, afi, safi, false, count);
            return Ok(());
        };
        let ids = encoding.form(afi, safi).resolve(family, bytes);
        let list = Prefixes::new(family, ids, bytes);
        let before = delta.withdrawn.len();
        let read =
            collect(&mut delta.withdrawn, &mut delta.withdrawn_path_ids, ids, list, bytes.len());
        let count = (delta.withdrawn.len() - before) as u64;
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

/// Appends a list's prefixes up to its end or its first fault.
fn collect(
    into: &mut Vec<Prefix>,
    path_ids: &mut Vec<u32>,
    ids: PathIds,
    mut list: Prefixes<'_>,
    octets: usize,
) -> Result<(), BgpError> {
    // The shortest form of a typical prefix is four octets; one reservation nearly always does.
    into.reserve(octets.div_ceil(4));
    if ids == PathIds::Absent {
        while let Some(prefix) = list.sound() {
            into.push(prefix);
        }
    } else {
        path_ids.resize(into.len(), 0);
        while let Some(prefix) = list.sound() {
            into.push(prefix);
            path_ids.push(list.path_id());
        }
    }
    list.fault().map_or(Ok(()), Err)
}

/// One path identifier for each prefix once there is any: families without them have 0.
fn pad(prefixes: &[Prefix], path_ids: &mut Vec<u32>) {
    if !path_ids.is_empty() {
        path_ids.resize(prefixes.len(), 0);
    }
}
