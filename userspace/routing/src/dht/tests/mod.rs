//! Nodes among peers that lie, that are silent, and that cannot be reached.

mod hostile;
mod network;
mod partition;
mod statements;

use crate::packets;
