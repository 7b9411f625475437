//! From the wire to an incident: how long after a packet has passed the gateway a node knows what it
//! means.
//!
//! Real sockets speak BGP or BFD through a gateway in network namespaces; the node's own sources,
//! decoders and detector run as in `edgelore run`, the wait for slower sources included.
//!
//! **Invariant:** every round has a session of its own, so that its incident is no part of another's.

use crate::inputs::{Random, announcement};
use crate::measure::{Effort, PERCENTILES, latencies, percentiles_us};
use crate::report::Section;
use crate::ring::unavailable;
use anyhow::{Context as _, Result};
use edgelore_capture::Clock;
use edgelore_model::{EventType, Timestamp};
use edgelore_node::config::CaptureConfig;
use edgelore_node::engine::{Engine, Output};
use edgelore_node::live::Sources;
use edgelore_node::status::StatusSource;
use edgelore_pipeline::decode::DecodeConfig;
use edgelore_pipeline::detect::{DetectConfig, Detected};
use edgelore_testkit::{NetNs, Topology, Vantage, pause};
use hdrhistogram::Histogram;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const TITLE: &str = "From the wire to an incident";
const PATIENCE: Duration = Duration::from_secs(5);
/// Between a session's establishment and its end, and one ms more each round up to twice as long: no
/// round is in step with anything.
const ESTABLISHED: Duration = Duration::from_millis(20);
const BGP_PORT: u16 = 179;
const BFD_PORT: u16 = 3784;
const BFD_SOURCE_PORT: u16 = 49_152;

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    if let Some(why) = unavailable() {
        return Ok(vec![Section::without_rows(TITLE, why)]);
    }
    let rounds = effort.pick(240, 20);
    let columns: Vec<&str> =
        ["what opens it", "since", "rounds"].into_iter().chain(PERCENTILES).collect();
    let mut section = Section::new(TITLE, &columns);
    section.note(format!(
        "Packets of real sockets cross a forwarding gateway with XDP and tcx on both veth interfaces; \
         the sources, decoders and detector of a node run on it. A signal waits {} ms for those of \
         slower sources (`capture.reorder_ms`), which is in every figure. The incident is told when \
         the detector hands it out. The packet's own time is the kernel's, when the program saw it.",
        CaptureConfig::default().reorder_ms
    ));
    for (what, end) in
        [("BGP NOTIFICATION", bgp as fn(&Scene, u8) -> Result<Timestamp>), ("BFD Down", bfd)]
    {
        let latency = measure(rounds, end).with_context(|| format!("measure {what}"))?;
        for (since, histogram) in [("the packet's time", latency.seen), ("sending", latency.sent)] {
            let cells = [what.to_owned(), since.to_owned(), histogram.len().to_string()];
            section.row(cells.into_iter().chain(percentiles_us(&histogram)));
        }
    }
    Ok(vec![section])
}

/// Where the sessions are.
struct Scene {
    topology: Topology,
    clock: Clock,
    /// Takes the peer's side of TCP.
    listener: TcpListener,
    /// What BFD is sent to.
    _sinks: [UdpSocket; 2],
}

/// Since the program saw the packet, and since the call that sent it.
struct Latency {
    seen: Histogram<u64>,
    sent: Histogram<u64>,
}

fn measure(rounds: u8, end: fn(&Scene, u8) -> Result<Timestamp>) -> Result<Latency> {
    let scene = Scene::build(rounds)?;
    let watch = Watch::start(&scene)?;
    let mut latency = Latency { seen: latencies(), sent: latencies() };
    for round in 0..rounds {
        let sent = end(&scene, round)?;
        let (seen, told) = watch.opened.recv_timeout(PATIENCE).context("wait for the incident")?;
        let since = |then: Timestamp| (told - then).0.max(0).unsigned_abs();
        latency.seen.saturating_record(since(seen));
        latency.sent.saturating_record(since(sent));
    }
    Ok(latency)
}

impl Scene {
    fn build(rounds: u8) -> Result<Self> {
        let topology = Topology::build("wire", Vantage::Routed, 1)?;
        let (hub, peer) = (topology.hub(), &topology.peers()[0]);
        let add = |round| format!("addr add {}/24 dev gw0\n", peer_address(&topology, round));
        peer.ip(&(0..rounds).map(add).collect::<String>())?;
        let any = Ipv4Addr::UNSPECIFIED;
        let listener = peer.run(|| Ok(TcpListener::bind((any, BGP_PORT))?))?;
        let sink = |of: &NetNs| of.run(|| Ok(UdpSocket::bind((any, BFD_PORT))?));
        let sinks = [sink(hub)?, sink(peer)?];
        Ok(Self { clock: Clock::new(), listener, _sinks: sinks, topology })
    }

    fn hub_address(&self) -> IpAddr {
        self.topology.link(0).hub[0]
    }
}

/// One of the peer's further addresses, for each round another.
fn peer_address(topology: &Topology, round: u8) -> IpAddr {
    let IpAddr::V4(first) = topology.link(0).peer[0] else { return topology.link(0).peer[0] };
    Ipv4Addr::from_bits(first.to_bits() + 1 + u32::from(round)).into()
}

/// What a node runs between the wire and the incident.
struct Watch {
    /// When the packet that opened a convergence was seen, and when that was told.
    opened: Receiver<(Timestamp, Timestamp)>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(scene: &Scene) -> Result<Self> {
        let (clock, status) = (scene.clock, StatusSource::new(scene.clock));
        let interfaces = scene.topology.interfaces();
        let config = CaptureConfig { interfaces, ..CaptureConfig::default() };
        let gateway = scene.topology.gateway();
        let sources = gateway.run(|| Ok(Sources::open(&config, clock, &status)?))?;
        let (tell, opened) = channel();
        let output = move |output: Output<'_>| {
            if let Output::Detected(Detected::Opened(opened)) = output
                && opened.event == EventType::Convergence
            {
                // The other end goes when it has heard enough.
                let _ = tell.send((opened.at, clock.now()));
            }
        };
        let engine = Engine::start(1, &DecodeConfig::default(), DetectConfig::default(), output);
        let stop = Arc::<AtomicBool>::default();
        let until = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let _ = sources.run(engine, &until, &status).finish();
        })?;
        Ok(Self { opened, stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn established(round: u8) -> Result<()> {
    let more = Duration::from_millis(u64::from(round) % 20);
    pause(ESTABLISHED + more, "the session")
}

/// A session that carries a route and is shut down by its hub; says when that was sent.
fn bgp(scene: &Scene, round: u8) -> Result<Timestamp> {
    let to = (peer_address(&scene.topology, round), BGP_PORT);
    let mut hub = scene.topology.hub().run(|| Ok(TcpStream::connect(to)?))?;
    let (mut peer, _) = scene.listener.accept().context("accept the hub's connection")?;
    for end in [&hub, &peer] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(PATIENCE))?;
    }
    for message in [open(), message(bgp_type::KEEPALIVE, &[])] {
        pass(&mut hub, &mut peer, &message)?;
        pass(&mut peer, &mut hub, &message)?;
    }
    pass(&mut peer, &mut hub, &announcement(&[24, 20, 0, round], 1, &mut Random::new(7)))?;
    established(round)?;
    // Cease, Administrative Shutdown (RFC 4486 §4).
    let shutdown = message(bgp_type::NOTIFICATION, &[6, 2]);
    let sent = scene.clock.now();
    hub.write_all(&shutdown)?;
    Ok(sent)
}

/// Sends what the other end must get before anything follows.
fn pass(from: &mut TcpStream, to: &mut TcpStream, message: &[u8]) -> Result<()> {
    from.write_all(message)?;
    to.read_exact(&mut vec![0; message.len()]).context("read what was sent")
}

/// Message types of RFC 4271 §4.1.
mod bgp_type {
    pub(super) const OPEN: u8 = 1;
    pub(super) const NOTIFICATION: u8 = 3;
    pub(super) const KEEPALIVE: u8 = 4;
}

/// Version 4, AS 64512 in four octets too (RFC 6793), a hold time of 180 s.
fn open() -> Vec<u8> {
    let capability = [2, 6, 65, 4, 0, 0, 0xfc, 0];
    let fixed = [4, 0xfc, 0, 0, 180, 192, 0, 2, 1, capability.len() as u8];
    message(bgp_type::OPEN, &[&fixed[..], &capability].concat())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(19 + body.len()).expect("messages here are short");
    [&[0xff; 16][..], &[0, length, kind], body].concat()
}

/// A BFD session that is up at both ends and told down by the peer; says when that was sent.
fn bfd(scene: &Scene, round: u8) -> Result<Timestamp> {
    const UP: u8 = 0xc0;
    const DOWN: u8 = 0x40;
    let (hub, peer) = (scene.hub_address(), peer_address(&scene.topology, round));
    let bound = |of: &NetNs, to| of.run(|| Ok(UdpSocket::bind((to, BFD_SOURCE_PORT))?));
    let from_hub = bound(scene.topology.hub(), hub)?;
    let from_peer = bound(&scene.topology.peers()[0], peer)?;
    from_hub.send_to(&bfd_packet(UP, 0), (peer, BFD_PORT))?;
    from_peer.send_to(&bfd_packet(UP, 0), (hub, BFD_PORT))?;
    established(round)?;
    // Diagnostic 1: the detection time has expired (RFC 5880 §4.1).
    let down = bfd_packet(DOWN, 1);
    let sent = scene.clock.now();
    from_peer.send_to(&down, (hub, BFD_PORT))?;
    Ok(sent)
}

/// Version 1, multiplier 3, one second both ways, no echo.
fn bfd_packet(state: u8, diagnostic: u8) -> Vec<u8> {
    let second = 1_000_000_u32.to_be_bytes();
    let head = [0x20 | diagnostic, state, 3, 24, 0, 0, 0, 1, 0, 0, 0, 2];
    [&head[..], &second, &second, &[0; 4]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_pipeline::decode::bgp;

    #[test]
    fn messages_are_read_as_they_are_meant() {
        for (made, length) in [(open(), 37), (message(bgp_type::KEEPALIVE, &[]), 19)] {
            assert_eq!(made.len(), length);
            assert_eq!(bgp::message(&made).unwrap().body.len(), length - 19);
        }
        assert_eq!(bfd_packet(0xc0, 0).len(), 24);
    }
}
