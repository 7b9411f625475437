//! NOTIFICATION: why a session ends, and what its operator says about it (RFC 4271 §4.5,
//! RFC 4486, RFC 8538, RFC 9003).
//!
//! ```text
//! code (1) | subcode (1) | data
//! data of Cease / Administrative Shutdown or Reset: length (1) | UTF-8
//! data of Cease / Hard Reset: the NOTIFICATION that it wraps, as above
//! ```
//!
//! **Invariant:** a communication that is cut short or no UTF-8 is none; one that is handed out
//! has no control characters, so that it can be shown.

use super::BgpError;

const CEASE: u8 = 6;
const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
const ADMINISTRATIVE_RESET: u8 = 4;
const HARD_RESET: u8 = 9;

/// Why a session ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code; of the NOTIFICATION inside a Hard Reset if it has one.
    pub code: u8,
    /// Error subcode, likewise.
    pub subcode: u8,
    /// It is a Hard Reset (RFC 8538 §3): graceful restart does not apply.
    pub hard_reset: bool,
    /// Shutdown communication, at most 255 octets.
    pub communication: Option<String>,
}

impl Notification {
    /// Reads the body of a NOTIFICATION.
    ///
    /// # Errors
    /// [`super::Fault::Truncated`] when it is shorter than two octets.
    pub fn parse(body: &[u8]) -> Result<Self, BgpError> {
        match *body {
            [CEASE, HARD_RESET, code, subcode, ref data @ ..] => {
                Ok(Self::new(code, subcode, true, data))
            }
            [code, subcode, ref data @ ..] => {
                Ok(Self::new(code, subcode, (code, subcode) == (CEASE, HARD_RESET), data))
            }
            _ => Err(BgpError::truncated(body.len(), 2).within("NOTIFICATION")),
        }
    }

    fn new(code: u8, subcode: u8, hard_reset: bool, data: &[u8]) -> Self {
        let administrative = matches!(subcode, ADMINISTRATIVE_SHUTDOWN | ADMINISTRATIVE_RESET);
        let communication = Some(data).filter(|_| code == CEASE && administrative);
        Self { code, subcode, hard_reset, communication: communication.and_then(words) }
    }
}

/// The text of a shutdown communication (RFC 9003 §2).
fn words(data: &[u8]) -> Option<String> {
    let (&length, rest) = data.split_first()?;
    let text = std::str::from_utf8(rest.get(..usize::from(length))?).ok()?;
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    (!text.is_empty()).then(|| text.chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communications_are_read() {
        let text = "Wartung um 3 Uhr, TT-9: ü";
        let data = [&[text.len() as u8], text.as_bytes()].concat();
        for (name, head, hard_reset) in [
            ("shutdown", &[6, 2][..], false),
            ("reset", &[6, 4], false),
            ("hard reset", &[6, 9, 6, 4], true),
        ] {
            let read = Notification::parse(&[head, &data].concat()).unwrap();
            assert_eq!((read.code, read.hard_reset), (6, hard_reset), "{name}");
            assert_eq!(read.communication.as_deref(), Some(text), "{name}");
        }
    }

    #[test]
    fn what_is_no_communication_is_left_out() {
        for (name, body) in [
            ("another subcode", &[6, 3, 2, b'o', b'k'][..]),
            ("another code", &[4, 2, 2, b'o', b'k']),
            ("cut short", &[6, 2, 9, b'o', b'k']),
            ("no UTF-8", &[6, 2, 2, 0xc3, 0x28]),
            ("empty", &[6, 2, 0]),
            ("none", &[6, 2]),
        ] {
            assert_eq!(Notification::parse(body).unwrap().communication, None, "{name}");
        }
        let escape = Notification::parse(&[6, 2, 3, 0x1b, b'[', b'm']).unwrap();
        assert_eq!(escape.communication.as_deref(), Some("\u{fffd}[m"));
    }

    #[test]
    fn a_hard_reset_shows_what_it_wraps() {
        let read = Notification::parse(&[6, 9, 6, 10]).unwrap();
        assert_eq!((read.code, read.subcode, read.hard_reset), (6, 10, true));
        let bare = Notification::parse(&[6, 9]).unwrap();
        assert_eq!((bare.code, bare.subcode, bare.hard_reset), (6, 9, true));
        let error = Notification::parse(&[6]).unwrap_err();
        assert_eq!(error.to_string(), "in NOTIFICATION: at byte 1: 1 octets where 2 are needed");
    }
}
