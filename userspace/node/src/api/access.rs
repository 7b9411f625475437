//! Who asks: bearer tokens, certificates, addresses.
//!
//! Owns the tokens that are taken and the [`Caller`] under which requests are counted. Never
//! decides what a caller may ask for: whoever is let in may ask for everything.
//!
//! **Invariant:** comparing a token takes equally long wherever it differs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, header};

/// The most tokens that a server takes.
pub const TOKENS_MAX: usize = 1_024;
/// The shortest token, characters: what can be guessed protects nothing.
pub const TOKEN_CHARACTERS_MIN: usize = 16;

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("token file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds something that is no token, none or too many.
    #[error("token file {path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The bearer tokens (RFC 6750) that a server takes; with none, nobody is asked for one.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Box<str>>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// One token.
    #[must_use]
    pub fn one(token: &str) -> Self {
        Self(vec![token.into()])
    }

    /// Reads a file with a token a line; empty lines and lines that begin with `#` say nothing.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no token, more than [`TOKENS_MAX`], or one that is
    /// shorter than [`TOKEN_CHARACTERS_MIN`] or has other characters than RFC 6750 allows.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TokenError::Read { path: path.to_owned(), source })?;
        let wrong = |reason: String| TokenError::Content { path: path.to_owned(), reason };
        let mut tokens = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let token = line.trim();
            if token.is_empty() || token.starts_with('#') {
                continue;
            }
            check(token).map_err(|reason| wrong(format!("line {}: {reason}", number + 1)))?;
            tokens.push(token.into());
        }
        match tokens.len() {
            0 => Err(wrong("holds no token".into())),
            count if count > TOKENS_MAX => {
                Err(wrong(format!("holds {count} tokens, more than {TOKENS_MAX}")))
            }
            _ => Ok(Self(tokens)),
        }
    }

    /// Reads a file with the one token that a client presents.
    ///
    /// # Errors
    /// See [`Tokens::read`]; and when the file holds more than one.
    pub fn read_one(path: &Path) -> Result<String, TokenError> {
        let mut tokens = Self::read(path)?.0;
        if tokens.len() > 1 {
            let reason = format!("holds {} tokens, a client presents one", tokens.len());
            return Err(TokenError::Content { path: path.to_owned(), reason });
        }
        Ok(tokens.remove(0).into())
    }

    /// Nobody is asked for a token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which token the request carries, if it is one of these.
    fn carried(&self, headers: &HeaderMap) -> Option<usize> {
        let given = headers.get(header::AUTHORIZATION)?.as_bytes().strip_prefix(b"Bearer ")?;
        let matches = self.0.iter().map(|token| same(given, token.as_bytes()));
        // All are compared, so that the time does not tell which one it was.
        matches
            .enumerate()
            .fold(None, |found, (number, same)| if same { Some(number) } else { found })
    }
}

fn check(token: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    if !token.chars().all(allowed) {
        return Err("a token has letters, digits and -._~+/= only".into());
    }
    if token.len() < TOKEN_CHARACTERS_MIN {
        return Err(format!("a token has at least {TOKEN_CHARACTERS_MIN} characters"));
    }
    Ok(())
}

/// Compares without telling by its duration where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// SHA-256 of the certificate that it proved to own.
    pub(crate) certificate: Option<[u8; 32]>,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// By the number of its token.
    Token(usize),
    /// By the SHA-256 of its certificate.
    Certificate([u8; 32]),
    Address(IpAddr),
    /// Everybody for whom there was no place of their own.
    Others,
}

/// Who sends a request; `None` for one that does not carry a token that it needs.
pub(super) fn identify(
    tokens: &Tokens,
    peer: Option<&Peer>,
    headers: &HeaderMap,
) -> Option<Caller> {
    if !tokens.is_empty() {
        return tokens.carried(headers).map(Caller::Token);
    }
    let unknown = Caller::Address(Ipv4Addr::UNSPECIFIED.into());
    Some(peer.map_or(unknown, |peer| {
        peer.certificate.map_or(Caller::Address(peer.address.ip()), Caller::Certificate)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_compare_whole() {
        assert!(same(b"secret", b"secret") && same(b"", b""));
        assert!(!same(b"secret", b"secreT") && !same(b"secret", b"secre"));
    }

    #[test]
    fn a_file_holds_a_token_a_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            Tokens::read(file.path())
        };
        let tokens = read("# Singapore\nof-singapore-0123\n\n  of-denver-01234567 \n").unwrap();
        let carried = |value: &str| {
            let value = value.parse().unwrap();
            tokens.carried(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
        };
        assert_eq!(carried("Bearer of-singapore-0123"), Some(0));
        assert_eq!(carried("Bearer of-denver-01234567"), Some(1));
        for wrong in ["Bearer of-denver", "of-denver-01234567", "Basic of-denver-01234567"] {
            assert_eq!(carried(wrong), None, "{wrong}");
        }
        for (text, named) in [
            ("# none\n", "no token"),
            ("short\n", "line 1: a token has at least 16"),
            ("0123456789abcdef\nwith a blank inside\n", "line 2: a token has letters"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        assert_eq!(format!("{tokens:?}"), "2 tokens", "tokens are not printed");
    }
}
