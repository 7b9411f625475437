//! Why the tracepoint source, or one tracepoint of it, cannot be used.

use std::io;

/// An error of the whole source.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// No BPF object is embedded.
    #[error("this binary was built without the tracepoints' eBPF object: run `cargo xtask build`")]
    NoObject,
    /// The kernel refused the object's maps.
    #[error("load the tracepoints' eBPF object")]
    Load(#[source] Box<aya::EbpfError>),
    /// The object lacks something that it must have.
    #[error("find {0} in the tracepoints' eBPF object")]
    Missing(&'static str),
    /// The object and this binary disagree about what crosses their border.
    #[error(
        "tracepoints' eBPF object has ABI version {found}, this binary {expected}: run `cargo xtask build`"
    )]
    Abi {
        /// Of the object.
        found: u32,
        /// Of this binary.
        expected: u32,
    },
    /// A map could not be read or written.
    #[error("access eBPF map {map}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<aya::maps::MapError>,
    },
    /// More interfaces were named than are watched.
    #[error("tracepoint source: {named} interfaces named, at most {max} are watched")]
    TooManyInterfaces {
        /// How many were named.
        named: usize,
        /// The bound.
        max: usize,
    },
    /// The interval is out of range.
    #[error("tracepoint source: interval of {0:?} is not between 10 ms and 10 s")]
    Interval(std::time::Duration),
    /// A system call failed.
    #[error("tracepoint source: {operation}")]
    System {
        /// What was being done.
        operation: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Something that this kernel, or this process, cannot have; the rest goes on without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What, such as `skb:kfree_skb`.
    pub name: &'static str,
    /// Why.
    pub why: String,
}
