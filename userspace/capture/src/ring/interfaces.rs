//! Owns the question which interfaces there are. Never changes one.

use super::RingError;
use nix::net::if_::if_nameindex;

/// Index and name of every interface in the network namespace of the calling thread, as of now.
/// A name that is not UTF-8 is left out: no configuration can name it.
///
/// # Errors
/// [`RingError::Interfaces`] when the kernel does not tell.
pub fn interfaces() -> Result<Vec<(u32, String)>, RingError> {
    let all = if_nameindex().map_err(|errno| RingError::Interfaces(errno.into()))?;
    let named = |interface: &nix::net::if_::Interface| {
        Some((interface.index(), interface.name().to_str().ok()?.to_owned()))
    };
    Ok(all.iter().filter_map(named).collect())
}
