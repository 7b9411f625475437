//! The live source of what the kernel's tracepoints tell: drops with their reasons, queue activity,
//! retransmissions, socket states of control-plane sessions, stalled devices.
//!
//! ```text
//! open:  tracefs ─► format of each tracepoint ─► layout ─► load ─► attach        BTF ─► namespace
//! read:  wait ─► drain records ─► each interval: per-CPU counts ─► what has grown
//! ```
//!
//! Owns the tracepoint object, its attachments and its maps; none of them is shared with the
//! packet path. It never decodes a packet and never decides anything.
//!
//! **Invariant:** no offset of a field is assumed: it comes from the running kernel's `format` file
//! or BTF. A tracepoint that cannot be used is listed with the reason, and the others go on. Dropping
//! the source detaches everything; nothing is pinned, and a tracefs mounted for it was never visible.
//!
//! Needs `CAP_BPF` and `CAP_PERFMON`, and `CAP_SYS_ADMIN` where tracefs is not mounted.

mod btf;
mod counters;
mod error;
mod format;
mod layout;
mod object;
mod perf;
mod record;
mod source;
mod tracefs;

pub use btf::Types;
pub use counters::TraceCounters;
pub use error::{Missing, TraceError};
pub use format::{FIELDS_MAX, Field, Format, FormatError, SYMBOLS_MAX};
pub use layout::Tracepoint;
pub use object::object_embedded;
pub use source::{RECORDS_READ_MAX, TraceConfig, TraceSource};
pub use tracefs::{Origin, Tracefs};
