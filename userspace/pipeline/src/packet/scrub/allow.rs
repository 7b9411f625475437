//! Words that the operator says are harmless.
//!
//! An entry is a word, or a pattern with `*`, `?` and `[…]` as in a shell; it is compared with
//! whole words, without regard to case. It frees a word from every pattern, but never what is
//! known to identify this network: its names and AS numbers.

use super::fold::Folded;
use glob::Pattern;

/// Entries of an allow-list.
pub const ALLOWED_MAX: usize = 256;
/// The longest entry, bytes.
pub const ALLOWED_BYTES_MAX: usize = 64;

/// Why an allow-list is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// More than [`ALLOWED_MAX`].
    #[error("{0} allowed words are more than {ALLOWED_MAX}")]
    Many(usize),
    /// It is no word, or its pattern is malformed or allows nearly everything.
    #[error(
        "'{0}' is not a word of at most {ALLOWED_BYTES_MAX} bytes, or a pattern with two letters or \
         digits at least"
    )]
    Entry(String),
}

/// The allow-list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Vec<Pattern>);

impl Allowed {
    /// From its entries.
    ///
    /// # Errors
    /// See [`AllowError`].
    pub fn new(entries: &[String]) -> Result<Self, AllowError> {
        if entries.len() > ALLOWED_MAX {
            return Err(AllowError::Many(entries.len()));
        }
        entries.iter().map(|entry| pattern(entry)).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn frees(&self, word: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(word))
    }
}

fn pattern(entry: &str) -> Result<Pattern, AllowError> {
    let refused = || AllowError::Entry(entry.chars().take(ALLOWED_BYTES_MAX).collect());
    // What a class holds is a choice, not a letter that must be there.
    let mut depth = 0_u32;
    let literal = |c: &char| {
        depth = (depth + u32::from(*c == '[')).saturating_sub(u32::from(*c == ']'));
        depth == 0 && c.is_alphanumeric()
    };
    let literals = entry.chars().filter(literal).count();
    let plain = !entry.contains(['*', '?', '[']);
    let word = !entry.is_empty() && !entry.contains(char::is_whitespace);
    if entry.len() > ALLOWED_BYTES_MAX || !word || (literals < 2 && !(plain && literals == 1)) {
        return Err(refused());
    }
    Pattern::new(&Folded::new(entry).text).map_err(|_| refused())
}
