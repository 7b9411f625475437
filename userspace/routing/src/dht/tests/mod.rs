//! Nodes among peers that lie, that are silent, and that cannot be reached.

mod hostile;
mod network;
#[path = "../../../tests/suite/packets.rs"]
#[allow(dead_code, reason = "the suite of all backends uses more of it")]
mod packets;
mod partition;
