//! The signing key's file: 64 hexadecimal digits of an Ed25519 seed, readable by its owner alone.

use edgelore_pipeline::packet::SigningKey;
use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read or written.
    #[error("key file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("key file {path}: mode {mode:o} lets others read it; run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It does not hold a key.
    #[error("key file {path}: not 64 hexadecimal digits")]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("making a key: no random bytes from the system: {0}")]
    Random(getrandom::Error),
}

/// Makes a key and writes it to a file that must not exist yet.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn generate(path: &Path) -> Result<SigningKey, KeyError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *seed).map_err(KeyError::Random)?;
    let text = Zeroizing::new(hex::encode(*seed) + "\n");
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(SigningKey::from_seed(&mut seed))
}

/// Reads a key.
///
/// # Errors
/// When the file cannot be read, others may read it, or it holds no key.
pub fn load(path: &Path) -> Result<SigningKey, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    let mut seed = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(text.trim(), &mut *seed)
        .map_err(|_| KeyError::Content { path: path.to_owned() })?;
    Ok(SigningKey::from_seed(&mut seed))
}

/// Reads a key, making it first when the file does not exist.
///
/// # Errors
/// See [`generate`] and [`load`].
pub fn load_or_generate(path: &Path) -> Result<SigningKey, KeyError> {
    if path.exists() { load(path) } else { generate(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let made = generate(&path).unwrap();
        assert_eq!(load(&path).unwrap().publisher(), made.publisher());
        assert!(matches!(generate(&path), Err(KeyError::File { .. })));
    }

    #[test]
    fn an_exposed_or_damaged_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        generate(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load(&path), Err(KeyError::Exposed { mode: 0o644, .. })));
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "not a key").unwrap();
        assert!(matches!(load(&path), Err(KeyError::Content { .. })));
    }
}
