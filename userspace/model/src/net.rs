//! Addresses, prefixes and the identity of a routing session.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// IPv4 or IPv6 (the AFI of RFC 4760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressFamily {
    /// AFI 1.
    Ipv4,
    /// AFI 2.
    Ipv6,
}

impl AddressFamily {
    /// The longest prefix length in bits: 32 or 128.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }
}

/// Why a prefix is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The length exceeds what the family has.
    #[error("prefix length {length} exceeds {max} bits")]
    PrefixLength {
        /// The length that was asked for, in bits.
        length: u8,
        /// The family's longest, in bits.
        max: u8,
    },
    /// The text is not `address/length`.
    #[error("'{0}' is not an address and a prefix length")]
    PrefixSyntax(String),
}

/// An IP prefix in canonical form: the bits past its length are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    family: AddressFamily,
    octets: [u8; 16],
    length: u8,
}

impl Prefix {
    /// From the leading octets as BGP's NLRI carries them (RFC 4271 §4.3), whatever follows them:
    /// missing octets are zero, and bits past `length` are cleared (their value is irrelevant there).
    ///
    /// # Errors
    /// [`NetError::PrefixLength`] when `length` exceeds the family's bits.
    #[inline]
    pub fn from_octets(
        family: AddressFamily,
        leading: &[u8],
        length: u8,
    ) -> Result<Self, NetError> {
        if length > family.bits() {
            return Err(NetError::PrefixLength { length, max: family.bits() });
        }
        let bits = match family {
            AddressFamily::Ipv4 => {
                let word = u32::from_be_bytes(match *leading {
                    [a, b, c, d, ..] => [a, b, c, d],
                    [a, b, c] => [a, b, c, 0],
                    _ => padded(leading),
                });
                let past = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                u128::from(word & !past) << 96
            }
            AddressFamily::Ipv6 => {
                let past = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                let all = leading.first_chunk().copied();
                u128::from_be_bytes(all.unwrap_or_else(|| padded(leading))) & !past
            }
        };
        let octets = bits.to_be_bytes();
        Ok(Self { family, octets, length })
    }

    /// From an address, clearing the bits past `length`.
    ///
    /// # Errors
    /// [`NetError::PrefixLength`] when `length` exceeds the family's bits.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, NetError> {
        match address {
            IpAddr::V4(v4) => Self::from_octets(AddressFamily::Ipv4, &v4.octets(), length),
            IpAddr::V6(v6) => Self::from_octets(AddressFamily::Ipv6, &v6.octets(), length),
        }
    }

    /// The family.
    #[must_use]
    pub const fn family(self) -> AddressFamily {
        self.family
    }

    /// The length in bits.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }

    /// The network address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match self.family {
            AddressFamily::Ipv4 => {
                let [a, b, c, d, ..] = self.octets;
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            AddressFamily::Ipv6 => IpAddr::V6(Ipv6Addr::from(self.octets)),
        }
    }
}

/// Fewer octets than there could be, and zeroes. Apart, for a copy of a length that only run time
/// knows is a call.
#[inline(never)]
fn padded<const N: usize>(octets: &[u8]) -> [u8; N] {
    let mut all = [0; N];
    all[..octets.len()].copy_from_slice(octets);
    all
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Prefix {
    type Err = NetError;
    fn from_str(text: &str) -> Result<Self, NetError> {
        let syntax = || NetError::PrefixSyntax(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(syntax)?;
        Self::new(address.parse().map_err(|_| syntax())?, length.parse().map_err(|_| syntax())?)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which way a packet went past the point of capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the gateway (XDP, tcx ingress), or unknown because it was read from a file.
    Ingress,
    /// Sent by the gateway (tcx egress).
    Egress,
}

/// A routing session: the unordered pair of its two addresses. A new TCP connection between
/// the same two routers is the same session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    low: IpAddr,
    high: IpAddr,
    /// Tells apart the routing instances of one router whose peers have equal addresses; 0 in
    /// the default instance, and left out of the written form then.
    #[serde(default, skip_serializing_if = "is_default_instance")]
    instance: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_default_instance(instance: &u64) -> bool {
    *instance == 0
}

impl SessionKey {
    /// The session between two addresses, in whichever order.
    #[must_use]
    pub fn between(a: IpAddr, b: IpAddr) -> Self {
        Self::within(a, b, 0)
    }

    /// The session between two addresses in the routing instance that `instance` names, such as
    /// BMP's peer distinguisher (RFC 7854 §4.2).
    #[must_use]
    pub fn within(a: IpAddr, b: IpAddr, instance: u64) -> Self {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        Self { low, high, instance }
    }

    /// The routing instance; 0 for the default one.
    #[must_use]
    pub const fn instance(self) -> u64 {
        self.instance
    }

    /// Both addresses, the smaller first.
    #[must_use]
    pub const fn addresses(self) -> (IpAddr, IpAddr) {
        (self.low, self.high)
    }

    /// The other end as seen from `one`; `None` when `one` is neither.
    #[must_use]
    pub fn other(self, one: IpAddr) -> Option<IpAddr> {
        match one {
            x if x == self.low => Some(self.high),
            x if x == self.high => Some(self.low),
            _ => None,
        }
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{}", self.low, self.high)?;
        if self.instance == 0 { Ok(()) } else { write!(f, " in {:016x}", self.instance) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_canonical() {
        for (text, canonical) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("203.0.113.255/25", "203.0.113.128/25"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8:ffff::1/33", "2001:db8:8000::/33"),
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), canonical);
        }
        assert!("10.0.0.0/33".parse::<Prefix>().is_err());
        assert!("10.0.0.0".parse::<Prefix>().is_err());
    }

    #[test]
    fn what_follows_a_prefix_and_what_is_missing_are_nothing() {
        use AddressFamily::{Ipv4, Ipv6};
        for (family, octets, length, text) in [
            (Ipv4, &[198, 51, 100, 24, 203][..], 24, "198.51.100.0/24"),
            (Ipv4, &[198, 51, 100], 24, "198.51.100.0/24"),
            (Ipv4, &[198, 51], 15, "198.50.0.0/15"),
            (Ipv4, &[198], 24, "198.0.0.0/24"),
            (Ipv4, &[], 0, "0.0.0.0/0"),
            (Ipv4, &[198, 51, 100, 7], 32, "198.51.100.7/32"),
            (Ipv6, &[0x20, 1, 0xd, 0xb8, 0xff], 33, "2001:db8:8000::/33"),
            (Ipv6, &[0xff; 17], 8, "ff00::/8"),
            (Ipv6, &[0xff; 16], 127, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"),
        ] {
            let prefix = Prefix::from_octets(family, octets, length).unwrap();
            assert_eq!(prefix.to_string(), text);
        }
        assert!(Prefix::from_octets(Ipv4, &[0; 5], 33).is_err());
    }

    #[test]
    fn a_session_has_no_direction() {
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        assert_eq!(SessionKey::between(a, b), SessionKey::between(b, a));
        assert_eq!(SessionKey::between(a, b).other(a), Some(b));
    }

    #[test]
    fn instances_keep_sessions_apart() {
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let (default, other) = (SessionKey::between(a, b), SessionKey::within(b, a, 7));
        assert_ne!(default, other);
        assert_eq!(default, SessionKey::within(b, a, 0));
        assert_eq!(other.to_string(), "192.0.2.1–192.0.2.2 in 0000000000000007");
    }
}
