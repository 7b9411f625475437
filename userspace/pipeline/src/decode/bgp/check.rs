//! The form of single path attributes, and what a fault in one means (RFC 7606 §7).
//!
//! Owns the table of flags and lengths. Never looks at routes.
//!
//! **Invariant:** an attribute that is not in the table is never at fault: it is forwarded or
//! dropped by the routers, and means nothing here.

use super::attribute_code as code;
use super::{Attribute, Fault};
use edgelore_model::FaultHandling;

const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;

/// Lengths that an attribute can have, in octets.
#[derive(Clone, Copy)]
enum Length {
    Exactly(usize),
    Either(usize, usize),
    /// A multiple, but not zero.
    Multiple(usize),
    /// Its own reader checks it.
    Any,
}

impl Length {
    const fn allows(self, length: usize) -> bool {
        match self {
            Self::Exactly(one) => length == one,
            Self::Either(one, other) => length == one || length == other,
            Self::Multiple(of) => length > 0 && length.is_multiple_of(of),
            Self::Any => true,
        }
    }
}

struct Rule {
    flags: u8,
    length: Length,
    handling: FaultHandling,
    /// Ignored when an external neighbour sends it.
    internal: bool,
}

/// [`rule`] of every code, looked up: sorting them apart at every attribute takes longer.
static RULES: [Option<Rule>; 256] = {
    let mut rules = [const { None }; 256];
    let mut code = 0;
    while code < rules.len() {
        rules[code] = rule(code as u8);
        code += 1;
    }
    rules
};

const fn rule(code: u8) -> Option<Rule> {
    use FaultHandling::{AttributeDiscard, TreatAsWithdraw};
    let both = OPTIONAL | TRANSITIVE;
    let (flags, length, handling) = match code {
        code::ORIGIN => (TRANSITIVE, Length::Exactly(1), TreatAsWithdraw),
        code::AS_PATH => (TRANSITIVE, Length::Any, TreatAsWithdraw),
        code::NEXT_HOP => (TRANSITIVE, Length::Exactly(4), TreatAsWithdraw),
        code::MULTI_EXIT_DISC => (OPTIONAL, Length::Exactly(4), TreatAsWithdraw),
        code::LOCAL_PREF => (TRANSITIVE, Length::Exactly(4), TreatAsWithdraw),
        code::ATOMIC_AGGREGATE => (TRANSITIVE, Length::Exactly(0), AttributeDiscard),
        code::AGGREGATOR => (both, Length::Either(6, 8), AttributeDiscard),
        code::COMMUNITIES => (both, Length::Multiple(4), TreatAsWithdraw),
        code::ORIGINATOR_ID => (OPTIONAL, Length::Exactly(4), TreatAsWithdraw),
        code::CLUSTER_LIST => (OPTIONAL, Length::Multiple(4), TreatAsWithdraw),
        code::MP_REACH_NLRI | code::MP_UNREACH_NLRI => (OPTIONAL, Length::Any, TreatAsWithdraw),
        code::EXTENDED_COMMUNITIES => (both, Length::Multiple(8), TreatAsWithdraw),
        code::AS4_PATH => (both, Length::Multiple(2), AttributeDiscard),
        code::AS4_AGGREGATOR => (both, Length::Exactly(8), AttributeDiscard),
        code::IPV6_EXTENDED_COMMUNITIES => (both, Length::Multiple(20), TreatAsWithdraw),
        code::LARGE_COMMUNITIES => (both, Length::Multiple(12), TreatAsWithdraw),
        _ => return None,
    };
    let internal = matches!(code, code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST);
    Some(Rule { flags, length, handling, internal })
}

/// What is wrong with an attribute by itself, and what it means for the UPDATE. `external` when
/// the session is known to be between different ASes.
///
/// # Errors
/// The fault and its handling, never [`FaultHandling::SessionReset`].
pub(super) fn check(
    attribute: &Attribute<'_>,
    external: bool,
) -> Result<(), (FaultHandling, Fault)> {
    let &Attribute { flags, code, value, .. } = attribute;
    let Some(rule) = &RULES[usize::from(code)] else { return Ok(()) };
    if rule.internal && external {
        return Err((FaultHandling::AttributeDiscard, Fault::InternalAttribute(code)));
    }
    if flags & (OPTIONAL | TRANSITIVE) != rule.flags {
        return Err((rule.handling, Fault::AttributeFlags { code, flags }));
    }
    if !rule.length.allows(value.len()) {
        return Err((rule.handling, Fault::AttributeLength { code, length: value.len() }));
    }
    match *value {
        [origin] if code == code::ORIGIN && origin > 2 => {
            Err((rule.handling, Fault::Origin(origin)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultHandling::{AttributeDiscard, TreatAsWithdraw};

    fn checked(flags: u8, code: u8, value: &[u8], external: bool) -> Option<FaultHandling> {
        let attribute = Attribute { flags, code, value, raw: &[] };
        check(&attribute, external).err().map(|(handling, _)| handling)
    }

    #[test]
    fn each_attribute_has_its_handling() {
        for (name, flags, code, value, expected) in [
            ("origin", 0x40, 1, &[2][..], None),
            ("an unknown origin", 0x40, 1, &[3], Some(TreatAsWithdraw)),
            ("an optional origin", 0xc0, 1, &[0], Some(TreatAsWithdraw)),
            ("extended length and partial do not matter", 0x70, 1, &[0], None),
            ("a next hop", 0x40, 3, &[1; 4], None),
            ("an IPv6 next hop", 0x40, 3, &[1; 16], Some(TreatAsWithdraw)),
            ("atomic aggregate", 0x40, 6, &[0], Some(AttributeDiscard)),
            ("aggregator of an old speaker", 0xc0, 7, &[0; 6], None),
            ("aggregator", 0xc0, 7, &[0; 7], Some(AttributeDiscard)),
            ("communities", 0xc0, 8, &[0; 6], Some(TreatAsWithdraw)),
            ("no communities", 0xc0, 8, &[], Some(TreatAsWithdraw)),
            ("extended communities", 0xc0, 16, &[0; 12], Some(TreatAsWithdraw)),
            ("IPv6 extended communities", 0xc0, 25, &[0; 40], None),
            ("large communities", 0xc0, 32, &[0; 24], None),
            ("unknown", 0x00, 99, &[], None),
        ] {
            assert_eq!(checked(flags, code, value, false), expected, "{name}");
        }
    }

    #[test]
    fn an_external_neighbour_has_no_say_in_internal_attributes() {
        assert_eq!(checked(0x40, 5, &[0; 3], false), Some(TreatAsWithdraw));
        assert_eq!(checked(0x40, 5, &[0; 3], true), Some(AttributeDiscard));
        assert_eq!(checked(0x80, 10, &[0; 4], true), Some(AttributeDiscard));
    }
}
