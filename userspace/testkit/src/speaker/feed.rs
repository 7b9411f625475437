//! A full table that passes through a gateway, as often as wanted.
//!
//! Invariant: the table counts as complete when the receiving BIRD says so.

use super::{Bird, Identity, Neighbour, Speaker, table};
use crate::{Topology, wait_for};
use anyhow::Result;
use std::net::Ipv4Addr;
use std::time::Duration;

const SOURCE_ASN: u32 = 4_200_000_001;
const SINK_ASN: u32 = 4_200_000_000;
/// Long enough that a starved daemon does not lose its session to the storm around it.
const HOLD_TIME_S: u16 = 180;
/// How long a table of any size may take.
const TABLE_DEADLINE: Duration = Duration::from_secs(180);

/// A BIRD with a table behind the gateway's first peer link, and one without at the hub.
#[derive(Debug)]
pub struct Feed {
    source: Bird,
    sink: Bird,
    prefixes: u32,
}

impl Feed {
    /// Starts both, and waits until the table of `prefixes` IPv4 prefixes has arrived.
    ///
    /// # Errors
    /// When a BIRD does not come up or the table does not arrive.
    pub fn start(topology: &Topology, prefixes: u32) -> Result<Self> {
        let link = topology.link(0);
        let neighbour = |local, remote, asn, passive| Neighbour {
            local,
            remote,
            asn,
            hold_time_s: HOLD_TIME_S,
            passive,
        };
        let identity = |asn, last, neighbour| Identity {
            asn,
            router_id: Ipv4Addr::new(10, 90, 255, last),
            neighbours: vec![neighbour],
        };
        let waiting = neighbour(link.hub[0], link.peer[0], SOURCE_ASN, true);
        let calling = neighbour(link.peer[0], link.hub[0], SINK_ASN, false);
        let sink = Bird::start(topology.hub(), &identity(SINK_ASN, 1, waiting), &[])?;
        let routes = table(prefixes);
        let source = Bird::start(&topology.peers()[0], &identity(SOURCE_ASN, 2, calling), &routes)?;
        let feed = Self { source, sink, prefixes };
        feed.await_complete()?;
        Ok(feed)
    }

    /// Ends the session; it comes up again by itself and brings the table anew.
    ///
    /// # Errors
    /// When BIRD refuses, or the old table does not go.
    pub fn again(&self) -> Result<()> {
        self.sink.restart_sessions()?;
        wait_for(TABLE_DEADLINE, "the old table's end", || {
            self.sink.received().is_ok_and(|count| count < u64::from(self.prefixes))
        })
    }

    /// Waits until the receiver has the whole table.
    ///
    /// # Errors
    /// When it does not arrive within three minutes.
    pub fn await_complete(&self) -> Result<()> {
        let mut received = 0;
        wait_for(TABLE_DEADLINE, "the whole table", || {
            received = self.sink.received().unwrap_or_default();
            received == u64::from(self.prefixes)
        })
        .map_err(|error| error.context(format!("{received} of {} came", self.prefixes)))
    }

    /// Withdraws the whole table, and waits until the receiver has none of it.
    ///
    /// # Errors
    /// When BIRD refuses or routes remain.
    pub fn withdraw(&mut self) -> Result<()> {
        self.source.withdraw(&table(self.prefixes))?;
        wait_for(TABLE_DEADLINE, "the whole withdrawal", || {
            self.sink.received().is_ok_and(|count| count == 0)
        })
    }
}
