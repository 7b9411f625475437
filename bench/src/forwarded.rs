//! What each part of watching costs the packets that a gateway forwards: nothing but a storm of
//! small packets, and now this, now that attached for a moment.
//!
//! Never measures anything but packets; the table that passes beside them is another section's.
//!
//! **Invariant:** between two figures that are compared lies no more than one round, so that a slow
//! moment of the machine hits them alike; what is attached is detached before the next one begins.

use crate::attached::Empty;
use crate::measure::{Contender, Effort, Series, Work, interleave};
use crate::report::Section;
use crate::ring::unavailable;
use crate::saturation::STORM_PAYLOAD_LEN;
use anyhow::Result;
use edgelore_capture::Clock;
use edgelore_capture::ring::{Ring, Watch};
use edgelore_capture::trace::{TraceConfig, TraceSource};
use edgelore_testkit::{NetNs, Storm, Topology, Vantage, pause, traffic};
use std::cell::RefCell;
use std::time::{Duration, Instant};

const TITLE: &str = "Saturation: what each part of watching costs";
const TITLE_DROPPED: &str = "Saturation: the same where every packet is dropped in the end";
/// How long packets are counted: many short moments tell more than few long ones.
const WINDOW: Duration = Duration::from_millis(400);
/// How long nothing is counted after something was attached.
const SETTLE: Duration = Duration::from_millis(40);

/// What is attached to both interfaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watched {
    Empty,
    Ingress,
    Both,
    Tracepoints,
    Control,
}

impl Watched {
    /// The first is what all are compared with.
    const ALL: [Self; 5] =
        [Self::Empty, Self::Ingress, Self::Both, Self::Tracepoints, Self::Control];
    /// Those that see a drop, and what they are compared with.
    const DROPS: [Self; 4] = [Self::Empty, Self::Both, Self::Tracepoints, Self::Control];

    const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty XDP program",
            Self::Ingress => "Edgelore's XDP program",
            Self::Both => "and tcx on egress",
            Self::Tracepoints => "and the tracepoints",
            Self::Control => "empty XDP program, control",
        }
    }
}

/// A storm that goes on, and what can be attached beside it.
struct Stage<'a> {
    topology: &'a Topology,
    storm: Storm,
    empty: RefCell<Empty>,
    ring: RefCell<Ring>,
}

/// One contender's costs, round by round, beside its packets a second.
type Costs = RefCell<Vec<f64>>;

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    if let Some(why) = unavailable() {
        return Ok(vec![Section::without_rows(TITLE, why)]);
    }
    let topology = &Topology::build("fwd", Vantage::Routed, 1)?;
    let (from, to) = (&topology.peers()[0], topology.hub());
    let stage = Stage {
        topology,
        storm: Storm::start(from, (to, topology.link(0).hub[0]), STORM_PAYLOAD_LEN)?,
        empty: RefCell::new(Empty::load()?),
        ring: RefCell::new(topology.gateway().run(crate::ring::open)?),
    };
    let drain = stage.storm.drain()?;
    let mut taken = stage.table(TITLE, &Watched::ALL, effort)?;
    taken.note("A thread takes every packet out of the socket in which the storm ends.");
    drop(drain);
    let mut dropped = stage.table(TITLE_DROPPED, &Watched::DROPS, effort)?;
    dropped.note(
        "Nobody reads the socket in which the storm ends, so this machine drops every packet, and \
         the tracepoint of drops sees each.",
    );
    Ok(vec![taken, dropped])
}

impl Stage<'_> {
    /// Each of these in turn.
    fn table(&self, title: &str, watched: &[Watched], effort: Effort) -> Result<Section> {
        let costs: Vec<Costs> = watched.iter().map(|_| Costs::default()).collect();
        let contenders = watched.iter().zip(&costs).map(|(watched, costs)| {
            Contender::new(watched.name(), move || {
                let (work, cost) = self.measure(*watched)?;
                costs.borrow_mut().push(cost);
                Ok(work)
            })
        });
        let series = interleave(effort.pick(40, 6), contenders.collect())?;
        let costs = watched.iter().zip(costs).map(|(watched, costs)| {
            // The first round warms up, there as here.
            Series::beside(watched.name(), costs.take().split_off(1))
        });
        Ok(table(title, &series, &costs.collect::<Vec<_>>()))
    }

    fn measure(&self, watched: Watched) -> Result<(Work, f64)> {
        let (gateway, interfaces) = (self.topology.gateway(), self.topology.interfaces());
        match watched {
            Watched::Empty | Watched::Control => {
                let mut empty = self.empty.borrow_mut();
                empty.attached(gateway, &interfaces, || self.count())
            }
            Watched::Ingress => self.watching(&interfaces, false),
            Watched::Both => self.watching(&interfaces, true),
            Watched::Tracepoints => {
                let links = gateway.run(|| indices(&interfaces))?;
                let _traced = TraceSource::open(&TraceConfig::new(Clock::new(), links))?;
                self.watching(&interfaces, true)
            }
        }
    }

    fn watching(&self, interfaces: &[String], egress: bool) -> Result<(Work, f64)> {
        let gateway = self.topology.gateway();
        let mut ring = self.ring.borrow_mut();
        let ring = &mut *ring;
        each(gateway, interfaces, |name| Ok(ring.attach(&Watch { egress, ..Watch::both(name) })?))?;
        let counted = self.count();
        each(gateway, interfaces, |name| Ok(ring.detach(name)?))?;
        counted
    }

    /// What arrives during a window, and what sending a packet costs the sender then, ns.
    fn count(&self) -> Result<(Work, f64)> {
        pause(SETTLE, "the storm")?;
        let arrived = || traffic(self.topology.hub(), "gw0").map(|counted| counted.rx_packets);
        let (start, before) = (Instant::now(), arrived()?);
        let (sent, cpu) = (self.storm.sent(), self.storm.cpu());
        pause(WINDOW, "the storm")?;
        let (sent, cpu) = (self.storm.sent() - sent, self.storm.cpu().saturating_sub(cpu));
        let work = Work { units: arrived()? - before, elapsed: start.elapsed() };
        Ok((work, cpu.as_nanos() as f64 / sent.max(1) as f64))
    }
}

fn indices(interfaces: &[String]) -> Result<Vec<u32>> {
    let index = |name: &String| Ok(nix::net::if_::if_nametoindex(name.as_str())?);
    interfaces.iter().map(index).collect()
}

/// In the gateway's namespace.
fn each(
    gateway: &NetNs,
    interfaces: &[String],
    mut act: impl FnMut(&str) -> Result<()> + Send,
) -> Result<()> {
    gateway.run(|| interfaces.iter().try_for_each(|name| act(name)))
}

fn table(title: &str, series: &[Series], costs: &[Series]) -> Section {
    let columns = [
        "attached",
        "k packets/s",
        "ratio",
        "quartiles",
        "CPU ns a packet",
        "more",
        "CPU ratio",
        "quartiles",
    ];
    let mut section = Section::new(title, &columns);
    section.note(
        "64-byte UDP packets as fast as one thread sends them, forwarded between two veth \
         interfaces; no table passes. The ratios are medians of ratios taken round by round, with \
         their first and third quartile. The sender's CPU time holds sending, and the forwarding \
         and programs that run within it; other load on the machine disturbs it less than the \
         packets that arrive. The control is the empty program once more: what is nearer to it \
         than its own quartiles are to each other is no difference.",
    );
    let quartiles = |of: &Series, base: &Series| {
        let (low, high) = of.speedup_quartiles(base);
        format!("{low:.3}..{high:.3}")
    };
    for (one, cost) in series.iter().zip(costs) {
        section.row([
            one.name.clone(),
            format!("{:.0}", one.per_second() / 1e3),
            format!("{:.3}", one.speedup_over(&series[0])),
            quartiles(one, &series[0]),
            format!("{:.0}", cost.ns()),
            format!("{:.0}", cost.ns_above(&costs[0])),
            format!("{:.3}", cost.speedup_over(&costs[0])),
            quartiles(cost, &costs[0]),
        ]);
    }
    section
}
