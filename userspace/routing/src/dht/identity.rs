//! The key by which other nodes know this one.
//!
//! It is made at the first start and has nothing to do with the key that signs outcomes: whoever
//! sees a node on the network learns nothing of what it publishes.
//!
//! Owns the file `node.key`. Never shows the key.
//!
//! **Invariant:** the file is readable by its owner alone.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use libp2p::identity::Keypair;

use crate::backend::BackendError;

const FILE: &str = "node.key";

/// Reads the key in a directory, or makes one.
pub(super) fn load(directory: &Path) -> Result<Keypair, BackendError> {
    let path = directory.join(FILE);
    let failed = |reason: String| {
        BackendError::Storage(format!("the node's key, {}: {reason}", path.display()))
    };
    match std::fs::read(&path) {
        Ok(bytes) => Keypair::from_protobuf_encoding(&bytes).map_err(|e| failed(e.to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = Keypair::generate_ed25519();
            let bytes = key.to_protobuf_encoding().map_err(|error| failed(error.to_string()))?;
            write(directory, &path, &bytes).map_err(|error| failed(error.to_string()))?;
            Ok(key)
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Whole or not at all, whenever the machine stops.
fn write(directory: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = directory.join("node.key.new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    std::fs::File::open(directory)?.sync_all()
}
