//! OPEN and its capabilities: those that change how later messages read, and those that tell what
//! a session can bear (RFC 4271 §4.2, RFC 5492, RFC 9072).
//!
//! **Invariant:** a capability that is not understood is skipped, never a fault: it is the two
//! routers' business. One that is understood and malformed is passed over and named in
//! [`Open::passed_over`]; the others hold.

use super::{BgpError, Fault};
use edgelore_model::{AddressFamily, OpenCapabilities};

/// More address families than this in one capability are not kept: the registry has fewer in use.
const FAMILIES_MAX: usize = 64;
/// Octets before the optional parameters.
const FIXED_LEN: usize = 10;

/// What an OPEN says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The two-octet AS field; 23456 for a larger one.
    pub my_as: u16,
    /// Proposed hold time in seconds.
    pub hold_time_s: u16,
    /// BGP identifier.
    pub identifier: [u8; 4],
    /// The capabilities that matter here.
    pub capabilities: Capabilities,
    /// The first capability that is malformed.
    pub passed_over: Option<BgpError>,
}

/// The capabilities of one OPEN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The four-octet AS number (RFC 6793).
    pub as4: Option<u32>,
    /// Messages up to 65,535 octets (RFC 8654).
    pub extended_messages: bool,
    /// Multiprotocol (RFC 4760): AFI and SAFI.
    pub families: Vec<(u16, u8)>,
    /// Add-path (RFC 7911): AFI, SAFI, 1 = receive, 2 = send, 3 = both.
    pub add_path: Vec<(u16, u8, u8)>,
    /// Extended next hop encoding (RFC 8950): AFI, SAFI, and the AFI of the next hop.
    pub extended_next_hop: Vec<(u16, u8, u16)>,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// Enhanced route refresh (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// Graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// Long-lived graceful restart (RFC 9494).
    pub long_lived_graceful_restart: bool,
    /// BGP role (RFC 9234).
    pub role: Option<u8>,
}

/// The graceful restart capability (RFC 4724 §3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// The R bit: the sender has restarted.
    pub restarting: bool,
    /// The N bit (RFC 8538 §2): NOTIFICATIONs do not end graceful restart.
    pub notification: bool,
    /// Restart time in seconds, at most 4095.
    pub time_s: u16,
    /// AFI, SAFI, and whether the forwarding state was preserved.
    pub families: Vec<(u16, u8, bool)>,
}

/// What two OPENs agree on, for the messages that one of the two sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// AS_PATH has four octets per AS.
    pub as4: bool,
    /// The two are of different ASes.
    pub external: bool,
    /// Families whose NLRI carry path identifiers.
    pub add_path: Vec<(u16, u8)>,
}

impl Open {
    /// Reads the body of an OPEN.
    ///
    /// # Errors
    /// [`Fault::Truncated`], [`Fault::Trailing`], [`Fault::Version`], [`Fault::HoldTime`],
    /// [`Fault::Identifier`]: faults for which the receiver refuses the session (RFC 4271 §6.2).
    pub fn parse(body: &[u8]) -> Result<Self, BgpError> {
        Self::read(body).map_err(|error| error.within("OPEN"))
    }

    fn read(body: &[u8]) -> Result<Self, BgpError> {
        let &[version, as_high, as_low, hold_high, hold_low, a, b, c, d, length, ref rest @ ..] =
            body
        else {
            return Err(BgpError::truncated(body.len(), FIXED_LEN));
        };
        if version != 4 {
            return Err(BgpError::new(0, Fault::Version(version)));
        }
        let hold_time_s = u16::from_be_bytes([hold_high, hold_low]);
        if matches!(hold_time_s, 1 | 2) {
            return Err(BgpError::new(3, Fault::HoldTime(hold_time_s)));
        }
        let identifier = [a, b, c, d];
        if identifier == [0; 4] {
            return Err(BgpError::new(5, Fault::Identifier));
        }
        let (capabilities, passed_over) = parameters(length, rest)?;
        let my_as = u16::from_be_bytes([as_high, as_low]);
        let passed_over = passed_over.map(|error| error.within("OPEN"));
        Ok(Self { my_as, hold_time_s, identifier, capabilities, passed_over })
    }

    /// What detection reads of it.
    #[must_use]
    pub fn summary(&self) -> OpenCapabilities {
        let few = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        let all = &self.capabilities;
        let mode = |bit| few(all.add_path.iter().filter(|(.., mode)| mode & bit != 0).count());
        let restart = all.graceful_restart.as_ref();
        OpenCapabilities {
            asn: all.as4.unwrap_or(self.my_as.into()),
            four_octet_as: all.as4.is_some(),
            families: few(all.families.len().max(1)),
            add_path: !all.add_path.is_empty(),
            add_path_send: mode(2),
            add_path_receive: mode(1),
            extended_messages: all.extended_messages,
            extended_next_hop: !all.extended_next_hop.is_empty(),
            route_refresh: all.route_refresh,
            enhanced_route_refresh: all.enhanced_route_refresh,
            graceful_restart_s: restart.map(|restart| restart.time_s),
            graceful_restart_families: restart.map_or(0, |restart| few(restart.families.len())),
            restarting: restart.is_some_and(|restart| restart.restarting),
            graceful_notification: restart.is_some_and(|restart| restart.notification),
            long_lived_graceful_restart: all.long_lived_graceful_restart,
            role: all.role,
        }
    }

    /// The sender's AS number.
    pub(super) fn asn(&self) -> u32 {
        self.capabilities.as4.unwrap_or(self.my_as.into())
    }
}

/// The optional parameters, in the classic form or with extended lengths: the latter when the
/// first parameter's type is 255, whatever the classic length says unless it is 0 (RFC 9072 §2).
/// Hands out the first malformed capability beside those that are not.
fn parameters(length: u8, rest: &[u8]) -> Result<(Capabilities, Option<BgpError>), BgpError> {
    const CAPABILITIES: u8 = 2;
    let (mut found, mut passed_over) = (Capabilities::default(), None);
    let extended = length != 0 && rest.first() == Some(&255);
    let (mut rest, declared) = match *rest {
        [_, high, low, ref rest @ ..] if extended => {
            (rest, usize::from(u16::from_be_bytes([high, low])))
        }
        _ => (rest, usize::from(length)),
    };
    rest = rest
        .get(..declared)
        .ok_or(BgpError::truncated(rest.len(), declared).within("optional parameters"))?;
    while let Some((code, value, next)) = parameter(rest, extended) {
        if code == CAPABILITIES {
            let error = found.read(value).err();
            passed_over = passed_over.or(error);
        }
        rest = next;
    }
    if rest.is_empty() {
        Ok((found, passed_over))
    } else {
        Err(BgpError::new(declared - rest.len(), Fault::Trailing(rest.len()))
            .within("optional parameters"))
    }
}

fn parameter(bytes: &[u8], extended: bool) -> Option<(u8, &[u8], &[u8])> {
    let (code, length, rest) = match (extended, bytes) {
        (false, &[code, length, ref rest @ ..]) => (code, usize::from(length), rest),
        (true, &[code, high, low, ref rest @ ..]) => {
            (code, usize::from(u16::from_be_bytes([high, low])), rest)
        }
        _ => return None,
    };
    let (value, next) = rest.split_at_checked(length)?;
    Some((code, value, next))
}

const fn wide(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

impl Capabilities {
    /// Reads one capabilities parameter to its end, or to where it is cut short; hands out the
    /// first fault.
    fn read(&mut self, bytes: &[u8]) -> Result<(), BgpError> {
        let (mut rest, mut outcome) = (bytes, Ok(()));
        while let Some((code, value, next)) = parameter(rest, false) {
            if !self.capability(code, value) && outcome.is_ok() {
                let length = value.len() as u8;
                let fault = Fault::CapabilityLength { code, length };
                outcome = Err(BgpError::new(bytes.len() - rest.len(), fault));
            }
            rest = next;
        }
        if !rest.is_empty() && outcome.is_ok() {
            let there = rest.len();
            let needed = 2 + rest.get(1).map_or(0, |&length| usize::from(length));
            outcome = Err(BgpError::new(bytes.len() - there, Fault::Truncated { there, needed }));
        }
        outcome.map_err(|error| error.within("capabilities"))
    }

    /// Takes a capability in; false when its length is none that it can have.
    fn capability(&mut self, code: u8, value: &[u8]) -> bool {
        match (code, value) {
            (1, &[afi_high, afi_low, _, safi]) => {
                let family = (wide(afi_high, afi_low), safi);
                if self.families.len() < FAMILIES_MAX && !self.families.contains(&family) {
                    self.families.push(family);
                }
            }
            (2, []) => self.route_refresh = true,
            (5, entries) if entries.len().is_multiple_of(6) => {
                let family = |e: &[u8]| (wide(e[0], e[1]), e[3], wide(e[4], e[5]));
                extend(&mut self.extended_next_hop, entries.chunks_exact(6).map(family));
            }
            (6, []) => self.extended_messages = true,
            (9, &[role]) => self.role = Some(role),
            (64, &[high, low, ref families @ ..]) if families.len().is_multiple_of(4) => {
                self.graceful_restart = Some(graceful_restart(high, low, families));
            }
            (65, &[a, b, c, d]) => self.as4 = Some(u32::from_be_bytes([a, b, c, d])),
            (69, entries) if entries.len().is_multiple_of(4) => {
                let family = |e: &[u8]| (wide(e[0], e[1]), e[2], e[3]);
                extend(&mut self.add_path, entries.chunks_exact(4).map(family));
            }
            (70, []) => self.enhanced_route_refresh = true,
            (71, entries) if entries.len().is_multiple_of(7) => {
                self.long_lived_graceful_restart = true;
            }
            (1 | 2 | 5 | 6 | 9 | 64 | 65 | 69..=71, _) => return false,
            _ => {}
        }
        true
    }
}

/// Fills a list of families up to its bound.
fn extend<T>(list: &mut Vec<T>, families: impl Iterator<Item = T>) {
    list.extend(families.take(FAMILIES_MAX.saturating_sub(list.len())));
}

fn graceful_restart(high: u8, low: u8, families: &[u8]) -> GracefulRestart {
    const RESTARTED: u8 = 0x80;
    const NOTIFICATION: u8 = 0x40;
    const FORWARDING_PRESERVED: u8 = 0x80;
    let mut restart = GracefulRestart {
        restarting: high & RESTARTED != 0,
        notification: high & NOTIFICATION != 0,
        time_s: wide(high & 0x0f, low),
        families: Vec::new(),
    };
    let family = |e: &[u8]| (wide(e[0], e[1]), e[2], e[3] & FORWARDING_PRESERVED != 0);
    extend(&mut restart.families, families.chunks_exact(4).map(family));
    restart
}

impl Negotiated {
    /// What holds for messages from `speaker` to `listener` once both have sent their OPEN.
    #[must_use]
    pub fn between(speaker: &Open, listener: &Open) -> Self {
        let (external, listener) = (speaker.asn() != listener.asn(), &listener.capabilities);
        let speaker = &speaker.capabilities;
        let listens = |afi: u16, safi: u8| {
            listener.add_path.iter().any(|&(a, s, mode)| (a, s) == (afi, safi) && mode & 1 != 0)
        };
        let add_path = speaker
            .add_path
            .iter()
            .filter(|&&(afi, safi, mode)| mode & 2 != 0 && listens(afi, safi))
            .map(|&(afi, safi, _)| (afi, safi))
            .collect();
        Self { as4: speaker.as4.is_some() && listener.as4.is_some(), external, add_path }
    }

    /// Whether NLRI of this family carry path identifiers.
    #[must_use]
    pub fn path_ids(&self, afi: u16, safi: u8) -> bool {
        self.add_path.contains(&(afi, safi))
    }
}

/// The AFI of RFC 4760 for the families that carry unicast prefixes here.
#[must_use]
pub(in crate::decode) const fn family_of(afi: u16) -> Option<AddressFamily> {
    match afi {
        1 => Some(AddressFamily::Ipv4),
        2 => Some(AddressFamily::Ipv6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(parameters: &[u8]) -> Vec<u8> {
        let mut body = vec![4, 0x5b, 0xa0, 0, 180, 10, 0, 0, 1, parameters.len() as u8];
        body.extend_from_slice(parameters);
        body
    }

    /// An OPEN with these capabilities, each in a parameter of its own.
    fn offering(capabilities: &[&[u8]]) -> Open {
        let parameters: Vec<u8> =
            capabilities.iter().flat_map(|c| [&[2, c.len() as u8][..], c].concat()).collect();
        Open::parse(&open(&parameters)).unwrap()
    }

    #[test]
    fn capabilities_are_read() {
        let open = offering(&[
            &[1, 4, 0, 2, 0, 1],
            &[65, 4, 0, 1, 0, 0],
            &[69, 8, 0, 1, 1, 3, 0, 2, 1, 1],
            &[6, 0, 70, 0, 2, 0],
            &[5, 6, 0, 1, 0, 1, 0, 2],
            &[64, 6, 0xc0, 120, 0, 1, 1, 0x80],
            &[71, 7, 0, 1, 1, 0x80, 0, 1, 0],
            &[9, 1, 3, 73, 2, 1, 65],
        ]);
        assert_eq!((open.hold_time_s, open.my_as, open.passed_over), (180, 23456, None));
        let all = &open.capabilities;
        assert_eq!((all.as4, all.families.as_slice()), (Some(65_536), &[(2, 1)][..]));
        assert_eq!(all.add_path, [(1, 1, 3), (2, 1, 1)]);
        assert_eq!(all.extended_next_hop, [(1, 1, 2)]);
        let families = vec![(1, 1, true)];
        let restart =
            GracefulRestart { restarting: true, notification: true, time_s: 120, families };
        assert_eq!(all.graceful_restart, Some(restart));
        let expected = OpenCapabilities {
            asn: 65_536,
            four_octet_as: true,
            families: 1,
            add_path: true,
            add_path_send: 1,
            add_path_receive: 2,
            extended_messages: true,
            extended_next_hop: true,
            route_refresh: true,
            enhanced_route_refresh: true,
            graceful_restart_s: Some(120),
            graceful_restart_families: 1,
            restarting: true,
            graceful_notification: true,
            long_lived_graceful_restart: true,
            role: Some(3),
        };
        assert_eq!(open.summary(), expected);
    }

    #[test]
    fn without_capabilities_ipv4_unicast_is_offered() {
        let summary = offering(&[]).summary();
        assert_eq!((summary.asn, summary.families, summary.four_octet_as), (23_456, 1, false));
    }

    #[test]
    fn a_malformed_capability_is_passed_over_and_named() {
        let open = offering(&[&[65, 3, 0, 0, 1], &[2, 0]]);
        assert_eq!((open.capabilities.as4, open.capabilities.route_refresh), (None, true));
        assert_eq!(
            open.passed_over.unwrap().to_string(),
            "in OPEN: in capabilities: at byte 0: length 3 of capability 65 is not one it can have"
        );
        let open = offering(&[&[2, 0, 65, 4, 0]]);
        assert!(open.capabilities.route_refresh);
        assert_eq!(open.passed_over.unwrap().fault, Fault::Truncated { there: 3, needed: 6 });
    }

    #[test]
    fn what_nobody_may_accept_is_refused() {
        let with = |at: usize, value: u8| {
            let mut body = open(&[]);
            body[8] = 0;
            body[at] = value;
            Open::parse(&body).unwrap_err().fault
        };
        assert_eq!(with(0, 3), Fault::Version(3));
        assert_eq!(with(4, 2), Fault::HoldTime(2));
        assert_eq!(with(5, 0), Fault::Identifier);
    }

    #[test]
    fn add_path_needs_a_sender_and_a_receiver() {
        let both = offering(&[&[69, 8, 0, 1, 1, 3, 0, 1, 128, 2]]);
        let receives = offering(&[&[69, 12, 0, 1, 1, 1, 0, 2, 1, 1, 0, 1, 128, 1]]);
        let there = Negotiated::between(&both, &receives);
        assert!(there.path_ids(1, 1) && there.path_ids(1, 128) && !there.path_ids(2, 1));
        assert!(!there.external);
        assert_eq!(Negotiated::between(&receives, &both).add_path, []);
    }

    #[test]
    fn extended_parameters_are_read() {
        let parameters = [2, 0, 6, 65, 4, 0, 0, 0, 9];
        let mut body = vec![4, 0, 9, 0, 0, 10, 0, 0, 1, 255, 255, 0, parameters.len() as u8];
        body.extend_from_slice(&parameters);
        assert_eq!(Open::parse(&body).unwrap().capabilities.as4, Some(9));
        body[9] = 7;
        assert_eq!(Open::parse(&body).unwrap().capabilities.as4, Some(9), "the type decides");
    }

    #[test]
    fn faults_name_their_place() {
        assert_eq!(
            Open::parse(&[4, 0, 1]).unwrap_err().to_string(),
            "in OPEN: at byte 3: 3 octets where 10 are needed"
        );
        let mut short = open(&[2, 6, 65]);
        short[9] = 9;
        assert_eq!(
            Open::parse(&short).unwrap_err().to_string(),
            "in OPEN: in optional parameters: at byte 3: 3 octets where 9 are needed"
        );
    }
}
