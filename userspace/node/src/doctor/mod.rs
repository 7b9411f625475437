//! What stands between this machine and a node that works, and what to do about it.
//!
//! ```text
//! gather (asks the machine) ─► Facts ─► judge (pure) ─► Findings ─► table or JSON
//! ```
//!
//! **Invariant:** nothing is attached to an interface unless asked for, nothing is left behind, and
//! nothing is changed but a file that is made and removed to see whether the data directory can be
//! written.

mod gather;
mod judge;

use edgelore_capture::netlink::Device;
use serde::Serialize;
use std::path::PathBuf;

use crate::egress::{Egress, OnlyThere};
use crate::status::Status;
pub use gather::gather;
pub use judge::judge;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// The node works, but less well, or sees less.
    Warning,
    /// The node does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was looked at.
    pub check: String,
    /// What was found.
    pub found: String,
    /// What to do about it; empty when all is well.
    pub advice: String,
}

/// What to look at.
#[derive(Clone, Debug)]
pub struct Examination {
    /// The configuration file.
    pub config: PathBuf,
    /// Attach the programs to the configured interfaces, and detach them again.
    pub attach: bool,
}

/// What the machine answered. Where asking failed, the text says why.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The kernel's release, such as `6.6.8-1`.
    pub kernel: String,
    /// The kernel shows its types (BTF).
    pub btf: bool,
    /// Effective capabilities of this process, a bit each; `None` when they cannot be read.
    pub capabilities: Option<u64>,
    /// `kernel.unprivileged_bpf_disabled`; `None` when there is no such setting.
    pub unprivileged_bpf_disabled: Option<u8>,
    /// Whether this binary carries both eBPF objects.
    pub objects_embedded: bool,
    /// The configuration is valid.
    pub config: Result<(), String>,
    /// The programs load and pass their self-test.
    pub programs: Result<(), String>,
    /// The interfaces that the configuration selects now, and those it names that are not there.
    pub interfaces: Vec<Interface>,
    /// Routers are listened to over BMP.
    pub routers: bool,
    /// Whether what leaves an interface is watched.
    pub egress: Egress,
    /// What is to be seen only there.
    pub only_there: OnlyThere,
    /// How the programs were attached, if that was asked for.
    pub attached: Option<Result<Vec<String>, String>>,
    /// Tracepoints; `None` when they are not wanted.
    pub tracepoints: Option<Result<Tracepoints, String>>,
    /// The ring's size in bytes.
    pub ring_bytes: u64,
    /// Memory that can be had, in bytes; `None` when the kernel does not say.
    pub memory_bytes: Option<u64>,
    /// The data directory can be written.
    pub data_dir: Result<(), String>,
    /// The signing key can be used; `None` when there is none yet.
    pub key: Option<Result<(), String>>,
    /// The kernel's routing tables can be read.
    pub fib: Result<(), String>,
    /// What a running node says; `None` when none runs.
    pub node: Option<Result<Status, String>>,
}

/// A configured interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What the kernel says of it; `None` when it is not there.
    pub device: Result<Option<Device>, String>,
}

/// What the tracepoint source could have.
#[derive(Clone, Debug, Default)]
pub struct Tracepoints {
    /// Those that were attached.
    pub attached: Vec<String>,
    /// Those that were not, and why.
    pub missing: Vec<(String, String)>,
    /// Where tracefs was found.
    pub tracefs: String,
}
