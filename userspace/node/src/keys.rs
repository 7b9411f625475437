//! The signing key's file: 64 hexadecimal digits of an Ed25519 seed, its owner's alone.
//!
//! Beside a key that succeeds another one lies `KEY.succession`, the statement that says so; the
//! node tells it to its store.
//!
//! **Invariant:** a key file is never overwritten, and never used when others could have read it;
//! every buffer that held the secret is wiped.

use edgelore_model::Timestamp;
use edgelore_pipeline::packet::{PacketError, SigningKey, statement};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of a key file: the digits and the end of the line.
const FILE_BYTES: usize = 65;

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
    /// It is there already.
    #[error("key file {path}: exists, and a key is never overwritten; choose another name")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("key file {path}: mode {mode:o} lets others read it; run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("key file {path}: belongs to user {owner}, not to {user} who runs this")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// It does not hold a key.
    #[error("key file {path}: not 64 hexadecimal digits")]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// The statement beside it is none, or is about another key.
    #[error("succession {path}: {reason}")]
    Succession {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system gave no random bytes.
    #[error("making a key: no random bytes from the system: {0}")]
    Random(getrandom::Error),
}

/// Makes a key and writes it to a file that must not exist yet, mode 600.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn generate(path: &Path) -> Result<SigningKey, KeyError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *seed).map_err(KeyError::Random)?;
    let mut text = Zeroizing::new([b'\n'; FILE_BYTES]);
    hex::encode_to_slice(*seed, &mut text[..64]).expect("32 bytes are 64 digits");
    write_private(path, &*text)?;
    Ok(SigningKey::from_seed(&mut seed))
}

/// Writes a file that must not exist yet, for its owner alone, durably.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => KeyError::File { path: path.to_owned(), source },
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    // Whatever the process's mask makes of the mode.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

/// Reads a key.
///
/// # Errors
/// When the file cannot be read, belongs to somebody else, others may read it, or it holds no key.
pub fn load(path: &Path) -> Result<SigningKey, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    check(path, &file)?;
    // A buffer of fixed size: a growing one would leave copies behind.
    let mut text = Zeroizing::new([0u8; FILE_BYTES + 16]);
    let length = read_up_to(&mut file, &mut *text).map_err(failed)?;
    let mut seed = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(text[..length].trim_ascii(), &mut *seed)
        .map_err(|_| KeyError::Content { path: path.to_owned() })?;
    Ok(SigningKey::from_seed(&mut seed))
}

/// Refuses a file that others can read, or whose owner could change it behind our back.
fn check(path: &Path, file: &File) -> Result<(), KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let user = std::fs::metadata("/proc/self").map_err(failed)?.uid();
    let owner = metadata.uid();
    if owner != user {
        return Err(KeyError::Foreign { path: path.to_owned(), owner, user });
    }
    Ok(())
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

/// Reads a key, making it first when the file does not exist.
///
/// # Errors
/// See [`generate`] and [`load`].
pub fn load_or_generate(path: &Path) -> Result<SigningKey, KeyError> {
    if path.exists() { load(path) } else { generate(path) }
}

/// Where the statement lies that a key succeeds another one.
#[must_use]
pub fn succession_path(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".succession");
    name.into()
}

/// Makes a key that succeeds the one in `old`, and the statement that says so, signed by both,
/// beside it.
///
/// # Errors
/// See [`generate`] and [`load`].
pub fn rotate(old: &Path, new: &Path, now: Timestamp) -> Result<(SigningKey, Vec<u8>), KeyError> {
    let old = load(old)?;
    let beside = succession_path(new);
    if beside.exists() {
        return Err(KeyError::Exists { path: beside });
    }
    let key = generate(new)?;
    let statement = statement::succession(&old, &key, now);
    write_private(&beside, &statement)?;
    Ok((key, statement))
}

/// The statement beside a key that it succeeds another one, if there is one.
///
/// # Errors
/// When it cannot be read or is no statement.
pub fn succession(key: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    let path = succession_path(key);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeyError::File { path, source }),
    };
    let reason =
        |error: PacketError| KeyError::Succession { path: path.clone(), reason: error.to_string() };
    statement::open(&bytes).map_err(reason)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_pipeline::packet::statement::Said;

    #[test]
    fn a_key_survives_its_file_and_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let made = generate(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load(&path).unwrap().publisher(), made.publisher());
        let refused = generate(&path).unwrap_err();
        assert!(matches!(refused, KeyError::Exists { .. }), "{refused}");
        assert_eq!(load(&path).unwrap().publisher(), made.publisher());
    }

    #[test]
    fn an_exposed_or_damaged_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        generate(&path).unwrap();
        for mode in [0o644, 0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = load(&path).unwrap_err();
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert!(load(&path).is_ok(), "the owner alone may read it");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for content in ["not a key", "", &"0".repeat(63), &"0".repeat(200)] {
            std::fs::write(&path, content).unwrap();
            assert!(matches!(load(&path), Err(KeyError::Content { .. })), "{content}");
        }
    }

    #[test]
    fn a_rotated_key_says_whom_it_succeeds() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (directory.path().join("key"), directory.path().join("key2"));
        let before = generate(&old).unwrap();
        assert_eq!(succession(&old).unwrap(), None);
        let (after, bytes) = rotate(&old, &new, Timestamp(1_780_000_000_000_000_000)).unwrap();
        assert_eq!(succession(&new).unwrap().as_deref(), Some(bytes.as_slice()));
        let said = statement::open(&bytes).unwrap();
        assert_eq!(said.publisher, before.publisher());
        let (key, publisher) = (after.public(), after.publisher());
        assert_eq!(said.said, Said::Succeeded { key, publisher });
        assert_eq!(load(&old).unwrap().publisher(), before.publisher(), "both may publish");
        assert!(rotate(&old, &new, Timestamp(0)).is_err(), "nothing is overwritten");
        std::fs::write(succession_path(&new), "nonsense").unwrap();
        let refused = succession(&new).unwrap_err().to_string();
        assert!(refused.contains("key2.succession"), "{refused}");
    }
}
