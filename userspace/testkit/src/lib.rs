//! Network namespaces, real daemons and the laboratory in which Edgelore is measured.
//!
//! Owns: the gate of live tests ([`live`]), guards that remove what a test created ([`NetNs`],
//! [`Process`]), waiting on conditions ([`wait_for`]), BGP daemons of every make ([`speaker`]), the
//! places from which a gateway sees them ([`Topology`]), the [`lab`] of the demo, and the database
//! servers that the tests of backends run against ([`server`]).
//!
//! Never does: anything outside the namespaces it created but on loopback, and nothing that Edgelore's
//! own code takes part in; what it reports is the truth that Edgelore is held against.
//!
//! Invariant: whatever happens, a panic or an interrupt included, no namespace and no process
//! outlives its guard. What a killed run left is removed by the next one ([`remove_stale`]).
#![forbid(unsafe_code)]

mod clock;
mod frr;
mod gate;
pub mod lab;
mod netns;
mod process;
mod rtnetlink;
pub mod server;
pub mod speaker;
mod storm;
mod vantage;
mod wait;

pub use clock::now;
pub use frr::{Frr, FrrDaemon, frr_missing};
pub use gate::{LOG_VARIABLE, REQUIRE_VARIABLE, live};
pub use netns::{NetNs, remove_stale, scratch, veth};
pub use process::Process;
pub use rtnetlink::{Injection, set_link};
pub use speaker::speakers_missing;
pub use storm::{Drain, Storm, Traffic, traffic};
pub use vantage::{Link, Topology, Vantage};
pub use wait::{POLL_INTERVAL, interrupted, pause, wait_for, wait_for_some, watch_signals};
