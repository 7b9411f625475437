//! Nodes among peers that lie, that are silent, and that cannot be reached.

mod busy;
mod hostile;
mod network;
mod partition;
mod statements;
mod versions;

use crate::packets;
