//! The similarity definition that a node, a server or a command measures with.
//!
//! Owns reading the file. Never changes it: another definition is another space, and what was
//! published under the former is not found in it.

use edgelore_pipeline::fingerprint::{Space, SpaceError};
use std::path::{Path, PathBuf};

/// Why a similarity definition cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The file cannot be read.
    #[error("reading similarity definition {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not valid; the message names the line and the reason.
    #[error("in {path}: {source}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: SpaceError,
    },
}

/// Reads a definition; the one that ships with Edgelore without a file.
///
/// # Errors
/// When the file cannot be read or is not a definition.
pub fn load(file: Option<&Path>) -> Result<Space, DefinitionError> {
    let Some(path) = file else { return Ok(Space::default_definition()) };
    let text = std::fs::read_to_string(path)
        .map_err(|source| DefinitionError::Read { path: path.to_owned(), source })?;
    Space::parse(&text).map_err(|source| DefinitionError::Invalid { path: path.to_owned(), source })
}
