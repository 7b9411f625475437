//! Storing, by one script in the server.
//!
//! Owns the script's arguments and answers. Never decides what is admitted.
//!
//! **Invariant:** what is acknowledged was executed by the server as a whole.

use std::sync::LazyLock;

use edgelore_model::Timestamp;
use edgelore_pipeline::packet::Opened;
use redis::{Script, cmd};

use super::Shared;
use super::connect::failed;
use super::layout::Record;
use crate::Cell;
use crate::backend::{BackendError, Stored};
use crate::placement::withdraws;

/// Expired packets that one call purges.
const PURGE_MAX: usize = 64;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("store.lua")));

/// Stores an admitted packet.
pub(super) async fn store(
    shared: &Shared,
    packet: &Opened,
    now: Timestamp,
) -> Result<Stored, BackendError> {
    let (keys, space) = (&shared.keys, &shared.verifier.space);
    let at = space.coordinates(&packet.outcome.situation);
    let withdrawn: Vec<u8> =
        withdraws(packet).flat_map(|id| [packet.publisher, id].concat()).collect();
    let mut call = SCRIPT.prepare_invoke();
    for key in
        [&keys.packets, &keys.history, &keys.cells, &keys.expiry, &keys.withdrawn, &keys.meta]
    {
        call.key(key);
    }
    call.arg(&packet.id[..])
        .arg(packet.bytes.as_slice())
        .arg(Cell::exact(space, &packet.outcome.situation).to_string())
        .arg(Record::of(packet, at).encode())
        .arg(at[0])
        .arg(packet.outcome.expires.secs())
        .arg(withdrawn)
        .arg(now.secs())
        .arg(shared.packets_max)
        .arg(PURGE_MAX)
        .arg(&keys.cell);
    let mut connection = shared.server.connection().await?;
    let answer: i64 = call.invoke_async(&mut connection).await.map_err(|error| failed(&error))?;
    match answer {
        -1 => Err(BackendError::Full),
        new => Ok(Stored { id: packet.id, new: new == 1 }),
    }
}

/// How many packets the server holds.
pub(super) async fn held(shared: &Shared) -> Result<u64, BackendError> {
    let mut connection = shared.server.connection().await?;
    let mut command = cmd("HLEN");
    command.arg(&shared.keys.packets);
    command.query_async(&mut connection).await.map_err(|error| failed(&error))
}
