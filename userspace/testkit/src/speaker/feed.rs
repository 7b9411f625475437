//! Full tables that pass through a gateway, one from each peer, as often as wanted.
//!
//! Invariant: the tables count as complete when the receiving BIRD says so.

use super::{Bird, Identity, Neighbour, Speaker, table};
use crate::{Link, NetNs, Topology, wait_for};
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Of the first peer; the others' follow.
const SOURCE_ASN: u32 = 4_200_000_001;
const SINK_ASN: u32 = 4_200_000_000;
/// Long enough that a starved daemon does not lose its session to the storm around it.
const HOLD_TIME_S: u16 = 180;
/// How long a table of any size may take.
const TABLE_DEADLINE: Duration = Duration::from_secs(180);

/// A BIRD with a table behind each of the gateway's peer links, and one without at the hub.
#[derive(Debug)]
pub struct Feed {
    sources: Vec<Bird>,
    sink: Bird,
    /// Of each table.
    prefixes: u32,
}

impl Feed {
    /// Starts all, and waits until every peer's table of the same `prefixes` IPv4 prefixes has
    /// arrived.
    ///
    /// # Errors
    /// When a BIRD does not come up or a table does not arrive.
    pub fn start(topology: &Topology, prefixes: u32) -> Result<Self> {
        let links: Vec<Link> =
            (0..topology.peers().len()).map(|number| topology.link(number)).collect();
        let waiting = (0..)
            .zip(&links)
            .map(|(number, link)| neighbour(link.hub[0], link.peer[0], SOURCE_ASN + number, true));
        let sink = Bird::start(topology.hub(), &identity(SINK_ASN, 1, waiting.collect()), &[])?;
        let routes = table(prefixes);
        let start = |((number, link), peer): ((u8, &Link), &NetNs)| {
            let calling = vec![neighbour(link.peer[0], link.hub[0], SINK_ASN, false)];
            let asn = SOURCE_ASN + u32::from(number);
            Bird::start(peer, &identity(asn, 2 + number, calling), &routes)
        };
        let sources = (0..).zip(&links).zip(topology.peers()).map(start);
        let feed = Self { sources: sources.collect::<Result<_>>()?, sink, prefixes };
        feed.await_complete()?;
        Ok(feed)
    }

    /// Prefixes that the receiver has when all tables are there.
    fn whole(&self) -> u64 {
        u64::from(self.prefixes) * self.sources.len() as u64
    }

    /// Ends the sessions; they come up again by themselves and bring the tables anew.
    ///
    /// # Errors
    /// When BIRD refuses, or the old tables do not go.
    pub fn again(&self) -> Result<()> {
        self.sink.restart_sessions()?;
        wait_for(TABLE_DEADLINE, "the old table's end", || {
            self.sink.received().is_ok_and(|count| count < self.whole())
        })
    }

    /// Waits until the receiver has every table whole.
    ///
    /// # Errors
    /// When it does not arrive within three minutes.
    pub fn await_complete(&self) -> Result<()> {
        let mut received = 0;
        wait_for(TABLE_DEADLINE, "the whole table", || {
            received = self.sink.received().unwrap_or_default();
            received == self.whole()
        })
        .map_err(|error| error.context(format!("{received} of {} came", self.whole())))
    }

    /// Withdraws every table, and waits until the receiver has none of it.
    ///
    /// # Errors
    /// When BIRD refuses or routes remain.
    pub fn withdraw(&mut self) -> Result<()> {
        let table = table(self.prefixes);
        self.sources.iter_mut().try_for_each(|source| source.withdraw(&table))?;
        wait_for(TABLE_DEADLINE, "the whole withdrawal", || {
            self.sink.received().is_ok_and(|count| count == 0)
        })
    }
}

const fn neighbour(local: IpAddr, remote: IpAddr, asn: u32, passive: bool) -> Neighbour {
    Neighbour { local, remote, asn, hold_time_s: HOLD_TIME_S, passive }
}

const fn identity(asn: u32, last: u8, neighbours: Vec<Neighbour>) -> Identity {
    Identity { asn, router_id: Ipv4Addr::new(10, 90, 255, last), neighbours }
}
