//! Which instructions this machine has, asked once.
//!
//! Owns the choice of an implementation; never runs a kernel. A variable of the environment forces
//! one, for tests: the value is its name. Where this machine lacks the one that is named, the
//! choice is as if nothing were, and standard error says so.
//!
//! **Invariant:** the answer does not change while the process lives.

use std::sync::OnceLock;

use crate::{sha256, similarity};

/// Forces a SHA-256 implementation: `portable`, `avx2`, `shani`, `avx512vl`, `avx512`, `neon`.
pub const SHA256_VARIABLE: &str = "EDGELORE_SHA256";

/// Forces a scan for similar codes: `portable`, `avx2`, `avx512`.
pub const SIMILARITY_VARIABLE: &str = "EDGELORE_SIMILARITY";

/// An implementation was asked for that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unavailable {
    variable: &'static str,
    asked: String,
    available: Vec<&'static str>,
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { variable, asked, available } = self;
        let available = available.join(", ");
        write!(f, "{variable} asks for '{asked}', and this machine has {available}")
    }
}

/// The SHA-256 implementation that is forced, or else the one that this machine runs fastest.
#[must_use]
pub fn sha256() -> &'static sha256::Implementation {
    static CHOICE: OnceLock<sha256::Implementation> = OnceLock::new();
    CHOICE.get_or_init(|| {
        let all = sha256::Implementation::available();
        choose(SHA256_VARIABLE, all, sha256::Implementation::name)
    })
}

/// The scan for similar codes that is forced, or else the one that this machine runs fastest.
#[must_use]
pub fn similarity() -> &'static similarity::Implementation {
    static CHOICE: OnceLock<similarity::Implementation> = OnceLock::new();
    CHOICE.get_or_init(|| {
        let all = similarity::Implementation::available();
        choose(SIMILARITY_VARIABLE, all, similarity::Implementation::name)
    })
}

/// The implementation that the variable names, or else the last.
fn choose<T>(variable: &'static str, mut all: Vec<T>, name: fn(&T) -> &'static str) -> T {
    let forced = std::env::var(variable).ok();
    let names: Vec<_> = all.iter().map(name).collect();
    let place = position(variable, forced.as_deref(), &names);
    let place = place.unwrap_or_else(|error| {
        eprintln!("warning: {error}");
        all.len() - 1
    });
    all.swap_remove(place)
}

/// Where in `names`, of which there is one, the implementation to use stands.
fn position(
    variable: &'static str,
    forced: Option<&str>,
    names: &[&'static str],
) -> Result<usize, Unavailable> {
    let Some(asked) = forced.filter(|asked| !asked.is_empty()) else { return Ok(names.len() - 1) };
    names.iter().position(|name| *name == asked).ok_or_else(|| Unavailable {
        variable,
        asked: asked.to_owned(),
        available: names.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_taken_unless_one_is_forced() {
        let names = ["portable", "shani", "avx512"];
        let place = |forced| position(SHA256_VARIABLE, forced, &names);
        assert_eq!((place(None), place(Some(""))), (Ok(2), Ok(2)));
        assert_eq!((place(Some("portable")), place(Some("shani"))), (Ok(0), Ok(1)));
        let error = place(Some("neon")).unwrap_err().to_string();
        let expected =
            "EDGELORE_SHA256 asks for 'neon', and this machine has portable, shani, avx512";
        assert_eq!(error, expected);
    }

    #[test]
    fn the_variables_are_obeyed() {
        let expected = |variable, names: Vec<&'static str>| {
            let forced = std::env::var(variable).unwrap_or_default();
            names.iter().find(|name| **name == forced).or(names.last()).copied()
        };
        let names = sha256::Implementation::available().iter().map(|one| one.name()).collect();
        assert_eq!(Some(sha256().name()), expected(SHA256_VARIABLE, names));
        let names = similarity::Implementation::available().iter().map(|one| one.name()).collect();
        assert_eq!(Some(similarity().name()), expected(SIMILARITY_VARIABLE, names));
    }
}
