//! A forwarding table from recorded rtnetlink datagrams, read as [`super::FibSource`] reads them from its
//! socket: what a capture of an `nlmon` device holds, or a fuzzer makes up.
//!
//! Owns no socket and reads no clock; it never asks the kernel for what a message leaves open.
//!
//! **Invariant:** applying every change that was told, in order, to an empty map gives what holds.

use super::message::{self, Message, MessageError};
use super::table::{Bounds, Change, FibTable, Key};
use edgelore_model::{NextHop, Prefix};

/// Something else holds for a prefix from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedChange {
    /// The routing table (254 = main).
    pub table: u32,
    /// The prefix.
    pub prefix: Prefix,
    /// Its next hops, sorted, each once; empty when packets are discarded, `None` when nothing
    /// holds any more.
    pub next_hops: Option<Vec<NextHop>>,
}

/// The table that recorded datagrams add up to.
#[derive(Debug)]
pub struct RecordedTable {
    table: FibTable,
    messages: u64,
    overflows: u64,
}

impl RecordedTable {
    /// An empty one that holds at most so many prefixes and next-hop objects.
    #[must_use]
    pub fn new(prefixes_max: usize, objects_max: usize) -> Self {
        let table = FibTable::new(Bounds { prefixes_max, objects_max });
        Self { table, messages: 0, overflows: 0 }
    }

    /// Reads the messages of one datagram, up to the first that is damaged; tells what changed.
    ///
    /// # Errors
    /// When a message is cut short or its lengths do not fit; those before it count.
    pub fn apply(
        &mut self,
        datagram: &[u8],
        mut told: impl FnMut(RecordedChange),
    ) -> Result<(), MessageError> {
        for message in message::messages(datagram) {
            let (header, payload) = message?;
            let changes = match message::read(header, payload)? {
                Message::Route(route) => self.table.apply_route(route).change.into_iter().collect(),
                Message::NextHop(next_hop) => self.table.apply_next_hop(next_hop).0,
                _ => Vec::new(),
            };
            self.messages += 1;
            let overflow = self.table.overflow();
            self.overflows = overflow.prefixes + overflow.objects;
            for Change { key, holds } in changes {
                let next_hops = holds.map(|hops| hops.to_vec());
                told(RecordedChange { table: key.table, prefix: key.prefix, next_hops });
            }
        }
        Ok(())
    }

    /// What holds for a prefix; `None` when nothing does.
    #[must_use]
    pub fn holds(&self, table: u32, prefix: Prefix) -> Option<Vec<NextHop>> {
        self.table.holds(&Key { table, prefix }).map(|hops| hops.to_vec())
    }

    /// Prefixes held, with those that have no usable route now.
    #[must_use]
    pub fn prefixes(&self) -> usize {
        self.table.len()
    }

    /// Messages read.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// Routes and next-hop objects that did not fit.
    #[must_use]
    pub const fn overflows(&self) -> u64 {
        self.overflows
    }
}
