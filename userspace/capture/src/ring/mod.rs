//! The live source of control-plane packets: BPF programs on XDP and tcx, and their ring buffer.
//!
//! Owns the embedded BPF object, its loading, the self-test, the attachments and the reading of
//! records. It never decodes a payload, never decides anything, and never alters a packet.
//!
//! ```text
//! open: load ─► compare ABI ─► self-test each program ─► attach ─► verify
//! poll: wait ─► drain records into a Batch ─► turn grown loss counters into signals
//! ```
//!
//! **Invariant:** dropping a [`Ring`] detaches everything it attached; nothing is pinned. Whatever
//! the kernel could not hand over is counted there and appears as a `Lost` signal.
//!
//! Needs Linux 6.6 (tcx) and `CAP_BPF`, `CAP_NET_ADMIN`, `CAP_PERFMON`; attaches in the network
//! namespace of the thread that opens the ring.

mod attach;
mod counters;
mod error;
mod log;
mod object;
mod reader;
mod record;
mod selftest;

pub use attach::{Attachment, Mode, Watch};
pub use counters::{Classified, Counters, DirectionCounters};
pub use error::RingError;
pub use object::{Program, object_embedded};
pub use reader::{BATCH_BYTES_MAX, BATCH_SIGNALS_MAX, Ring, RingConfig};
pub use record::{RecordError, parse, signal_of};
