//! Why a ring cannot be opened or read.

use std::io;

/// An error of the ring source.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// No BPF object is embedded.
    #[error("this binary was built without the eBPF object: run `cargo xtask build`")]
    NoObject,
    /// The ring size is not one that the kernel takes.
    #[error("ring size {0} bytes is not a power of two between {min} and {max}", min = super::object::RING_BYTES_MIN, max = super::object::RING_BYTES_MAX)]
    RingBytes(u32),
    /// The kernel refused the object.
    #[error("load the eBPF object")]
    Load(#[source] Box<aya::EbpfError>),
    /// The object lacks something that it must have.
    #[error("find {0} in the eBPF object")]
    Missing(&'static str),
    /// The object and this binary disagree about what crosses the ring.
    #[error("eBPF object has ABI version {found}, this binary {expected}: run `cargo xtask build`")]
    Abi {
        /// Of the object.
        found: u32,
        /// Of this binary.
        expected: u32,
    },
    /// The verifier refused a program, or it could not be run.
    #[error("{action} eBPF program {program}")]
    Program {
        /// What was tried: load, run.
        action: &'static str,
        /// The program's name.
        program: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// A program could not be attached in any mode.
    #[error("attach to {hook} of interface {interface}")]
    Attach {
        /// XDP or tcx.
        hook: &'static str,
        /// The interface's name.
        interface: String,
        /// What the kernel said.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// The kernel took the attachment but does not list the program.
    #[error(
        "program {program} does not run on interface {interface} although its attachment succeeded"
    )]
    NotRunning {
        /// The program's name.
        program: &'static str,
        /// The interface's name.
        interface: String,
    },
    /// The interfaces could not be listed.
    #[error("list the interfaces")]
    Interfaces(#[source] io::Error),
    /// There is no such interface in this network namespace.
    #[error("find interface {0}")]
    NoInterface(String),
    /// A program ran on a made-up packet and did not do what it must.
    #[error("self-test of eBPF program {program}: {what}")]
    SelfTest {
        /// The program's name.
        program: &'static str,
        /// What was wrong.
        what: String,
    },
    /// A map could not be read.
    #[error("read eBPF map {map}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<aya::maps::MapError>,
    },
    /// The ring's memory could not be mapped.
    #[error("map the pages of eBPF map {map}")]
    MapPages {
        /// The map's name.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Waiting for records failed.
    #[error("wait for records")]
    Wait(#[source] io::Error),
}
