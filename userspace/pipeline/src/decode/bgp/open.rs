//! OPEN and the capabilities that change how later messages read (RFC 4271 §4.2, RFC 5492).
//!
//! **Invariant:** capabilities that are not understood are skipped, never a fault: they are the
//! two routers' business.

use super::{BgpError, Fault};
use edgelore_model::AddressFamily;

/// More address families than this in one OPEN are not kept: the registry has fewer in use.
const FAMILIES_MAX: usize = 64;

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
}

/// The capabilities that change how later messages read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Four-octet AS numbers (RFC 6793).
    pub as4: bool,
    /// Messages up to 65,535 octets (RFC 8654).
    pub extended_messages: bool,
    /// Multiprotocol (RFC 4760): AFI and SAFI.
    pub families: Vec<(u16, u8)>,
    /// Add-path (RFC 7911): AFI, SAFI, 1 = receive, 2 = send, 3 = both.
    pub add_path: Vec<(u16, u8, u8)>,
}

/// What two OPENs agree on, for the messages that one of the two sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// AS_PATH has four octets per AS.
    pub as4: bool,
    /// Families whose NLRI carry path identifiers.
    pub add_path: Vec<(u16, u8)>,
}

impl Open {
    /// Reads the body of an OPEN.
    ///
    /// # Errors
    /// [`Fault::Truncated`], [`Fault::Version`].
    pub fn parse(body: &[u8]) -> Result<Self, BgpError> {
        Self::read(body).map_err(|error| error.within("OPEN"))
    }

    fn read(body: &[u8]) -> Result<Self, BgpError> {
        let &[version, as_high, as_low, hold_high, hold_low, a, b, c, d, length, ref rest @ ..] =
            body
        else {
            return Err(BgpError::truncated(body.len(), 10));
        };
        if version != 4 {
            return Err(BgpError::new(0, Fault::Version(version)));
        }
        Ok(Self {
            my_as: u16::from_be_bytes([as_high, as_low]),
            hold_time_s: u16::from_be_bytes([hold_high, hold_low]),
            identifier: [a, b, c, d],
            capabilities: parameters(length, rest)?,
        })
    }
}

/// The optional parameters, in the classic form or with extended lengths (RFC 9072 §2).
fn parameters(length: u8, rest: &[u8]) -> Result<Capabilities, BgpError> {
    const CAPABILITIES: u8 = 2;
    let mut found = Capabilities::default();
    let extended = matches!((length, rest), (255, [255, ..]));
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
            found.read(value);
        }
        rest = next;
    }
    if rest.is_empty() {
        Ok(found)
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

impl Capabilities {
    /// Reads one capabilities parameter; stops quietly where it is cut short.
    fn read(&mut self, mut bytes: &[u8]) {
        while let Some((code, value, next)) = parameter(bytes, false) {
            self.capability(code, value);
            bytes = next;
        }
    }

    fn capability(&mut self, code: u8, value: &[u8]) {
        match (code, value) {
            (1, &[afi_high, afi_low, _, safi]) if self.families.len() < FAMILIES_MAX => {
                self.families.push((u16::from_be_bytes([afi_high, afi_low]), safi));
            }
            (6, _) => self.extended_messages = true,
            (65, [_, _, _, _]) => self.as4 = true,
            (69, entries) => {
                let room = FAMILIES_MAX.saturating_sub(self.add_path.len());
                self.add_path.extend(
                    entries
                        .chunks_exact(4)
                        .take(room)
                        .map(|e| (u16::from_be_bytes([e[0], e[1]]), e[2], e[3])),
                );
            }
            _ => {}
        }
    }
}

impl Negotiated {
    /// What holds for messages from `speaker` to `listener` once both have sent their OPEN.
    #[must_use]
    pub fn between(speaker: &Capabilities, listener: &Capabilities) -> Self {
        let listens = |afi: u16, safi: u8| {
            listener.add_path.iter().any(|&(a, s, mode)| (a, s) == (afi, safi) && mode & 1 != 0)
        };
        let add_path = speaker
            .add_path
            .iter()
            .filter(|&&(afi, safi, mode)| mode & 2 != 0 && listens(afi, safi))
            .map(|&(afi, safi, _)| (afi, safi))
            .collect();
        Self { as4: speaker.as4 && listener.as4, add_path }
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

    #[test]
    fn capabilities_are_read() {
        let body = open(&[
            2, 6, 1, 4, 0, 2, 0, 1, // multiprotocol IPv6 unicast
            2, 6, 65, 4, 0, 1, 0, 0, // four-octet AS
            2, 10, 69, 8, 0, 1, 1, 3, 0, 2, 1, 1, // add-path
            2, 2, 6, 0, // extended messages
        ]);
        let open = Open::parse(&body).unwrap();
        assert_eq!((open.hold_time_s, open.my_as), (180, 23456));
        let Capabilities { as4, extended_messages, families, add_path } = open.capabilities;
        assert!(as4 && extended_messages);
        assert_eq!(families, [(2, 1)]);
        assert_eq!(add_path, [(1, 1, 3), (2, 1, 1)]);
    }

    #[test]
    fn add_path_needs_a_sender_and_a_receiver() {
        let both = Capabilities { add_path: vec![(1, 1, 3)], ..Default::default() };
        let receives = Capabilities { add_path: vec![(1, 1, 1)], ..Default::default() };
        assert!(Negotiated::between(&both, &receives).path_ids(1, 1));
        assert!(!Negotiated::between(&receives, &both).path_ids(1, 1));
        assert!(!Negotiated::between(&both, &receives).path_ids(2, 1));
    }

    #[test]
    fn extended_parameters_are_read() {
        let parameters = [2, 0, 6, 65, 4, 0, 0, 0, 9];
        let mut body = vec![4, 0, 9, 0, 0, 10, 0, 0, 1, 255, 255, 0, parameters.len() as u8];
        body.extend_from_slice(&parameters);
        assert!(Open::parse(&body).unwrap().capabilities.as4);
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
