//! rtnetlink: what the kernel knows of its links, its forwarding table and its counters.
//!
//! ```text
//!             multicast groups          ┌───────────┐
//! kernel ──── LINK, ROUTE, NEXTHOP ────►│ FibSource │──► Signal{Link}, Signal{Fib}, Signal{Lost}
//!        ◄─── dumps (strictly checked) ─│           │
//!             RTM_GETSTATS each 10 ms   ├───────────┤
//!        ◄──────────────────────────────│ Counter-  │──► Signal{Counters}
//!                                       │ Source    │
//!             TC; dump each 100 ms      ├───────────┤
//!        ◄─────────────────────────────►│ Queue-    │──► Signal{Queue}, Signal{Lost}
//!                                       │ Source    │
//!             NEIGH; dump each 500 ms   ├───────────┤
//!        ◄─────────────────────────────►│ Neighbour-│──► Signal{Neighbour}, Signal{Lost}
//!                                       │ Source    │
//!                                       └───────────┘
//! ```
//!
//! The sources are synchronous, work in the network namespace of the thread that opened them and
//! may afterwards be moved to another thread. None ever changes anything in the kernel.
//!
//! The messages are read by this module's own bounds-checked reader (`message`) on top of
//! `netlink-packet-core`: `netlink-packet-route` knows neither next-hop objects (RTM_NEWNEXTHOP,
//! RTA_NH_ID) nor RTM_NEWSTATS, allocates per attribute, and rejects a whole message for an
//! attribute of unexpected length. It serves as an independent encoder in the tests.
//!
//! **Invariant:** when [`FibSource::read`] returned 0 and [`FibSource::settled`] holds, the signals
//! emitted so far add up to the kernel's table as of some moment after that call began, unless a
//! counter in [`FibCounters`] says otherwise.

mod counters;
mod device;
mod fib;
mod message;
mod neighbour;
mod queue;
mod recorded;
mod sampled;
mod socket;
mod subscription;
mod table;

pub use counters::{CounterConfig, CounterSource, SAMPLE_UNCERTAINTY, SamplerCounters};
pub use device::Device;
pub use fib::{FibConfig, FibCounters, FibSource, TABLE_MAIN};
pub use message::MessageError;
pub use neighbour::NeighbourSource;
pub use queue::QueueSource;
pub use recorded::{RecordedChange, RecordedTable};
pub use sampled::{TableConfig, TableCounters, TableSource};

use std::io;

/// Why an rtnetlink source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// A socket call failed.
    #[error("netlink {operation}: {source}")]
    Socket {
        /// What was being done.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("netlink request {request}: {source}")]
    Refused {
        /// The request's message type by name.
        request: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel did not finish its answer in time.
    #[error("netlink request {request}: no answer within {seconds} s")]
    Timeout {
        /// The request's message type by name.
        request: &'static str,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// The kernel's answer does not decode.
    #[error("netlink answer to {request}: {source}")]
    Undecodable {
        /// The request's message type by name.
        request: &'static str,
        /// What is wrong with it.
        source: MessageError,
    },
    /// More interfaces were named than one source samples.
    #[error("counter source: {named} interfaces named, at most {max} are sampled")]
    TooManyInterfaces {
        /// How many were named.
        named: usize,
        /// The bound.
        max: usize,
    },
    /// The sampling interval is out of range.
    #[error("counter source: interval of {0:?} is not between 1 ms and 10 s")]
    Interval(std::time::Duration),
    /// The interval between two dumps is out of range.
    #[error("table source: interval of {0:?} is not between 10 ms and 10 s")]
    TableInterval(std::time::Duration),
}
