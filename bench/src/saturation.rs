//! A gateway that forwards as many small packets as it can while a full table passes through it:
//! what watching costs the traffic, and whether a BGP message is lost over it.
//!
//! The traffic crosses two interfaces of the gateway in network namespaces. The contenders are
//! programs attached to both: one that does nothing, and Edgelore's, as a node attaches them.
//!
//! **Invariant:** a table's pass counts only when the receiving BIRD has it whole; what the decoder
//! must have seen is what that BIRD says, not what was meant to be sent.

use crate::attached::Empty;
use crate::measure::{Contender, Effort, Series, Work, interleave};
use crate::report::{Section, grouped};
use crate::ring::unavailable;
use anyhow::{Result, ensure};
use edgelore_capture::Clock;
use edgelore_capture::ring::{Counters, Ring, RingConfig};
use edgelore_model::{Batch, SignalKind, Summary};
use edgelore_node::egress::OnlyThere;
use edgelore_node::interfaces::Selection;
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use edgelore_testkit::speaker::{Feed, Make, speakers_missing};
use edgelore_testkit::{Storm, Topology, Vantage, pause, traffic, wait_for};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TITLE: &str = "Saturation: a full table through a storm";
/// Payload of the storm's datagrams: 64-byte frames.
pub(crate) const STORM_PAYLOAD_LEN: usize = 22;
/// How long packets are counted: about as long as a table takes to come anew.
const WINDOW: Duration = Duration::from_secs(20);
const WINDOW_QUICK: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    if let Some(why) = unavailable().or_else(bird_missing) {
        return Ok(vec![Section::without_rows(TITLE, why)]);
    }
    let prefixes = effort.pick(900_000, 100_000);
    let topology = Topology::build("sat", Vantage::Routed, 1)?;
    let empty_program = RefCell::new(Empty::load()?);
    let feed = Feed::start(&topology, prefixes)?;
    let scene = Scene {
        passes: RefCell::default(),
        topology: &topology,
        feed: &feed,
        window: effort.pick(WINDOW, WINDOW_QUICK),
        empty: &empty_program,
    };
    let watched = Selection::new(&topology.interfaces())?;
    let auto = topology.gateway().run(|| Ok(OnlyThere::beside(watched).reason().is_some()))?;
    let [empty, ours, leaving, control] = [const { RefCell::new(Vec::new()) }; 4];
    let contenders = vec![
        Contender::new("empty program", || scene.beside_nothing(&mut empty.borrow_mut())),
        Contender::new("Edgelore", || scene.beside_edgelore(auto, &mut ours.borrow_mut())),
        Contender::new("Edgelore, egress watched", || {
            scene.beside_edgelore(true, &mut leaving.borrow_mut())
        }),
        // The same again: how far its ratio is from 1 is how little the others' can be trusted.
        Contender::new("empty program, control", || {
            scene.beside_nothing(&mut control.borrow_mut())
        }),
    ];
    let series = interleave(effort.pick(7, 2), contenders)?;
    let costs: Vec<Series> = series
        .iter()
        .zip([empty, ours, leaving, control])
        // The first round warms up, there as here.
        .map(|(series, costs)| Series::beside(&series.name, costs.take().split_off(1)))
        .collect();
    let section = throughput(&series, &costs, prefixes);
    Ok(vec![section, losses(&scene.passes.take(), prefixes)])
}

/// Why there can be no table here.
pub(crate) fn bird_missing() -> Option<String> {
    let bird = speakers_missing().iter().any(|path| path.ends_with("bird"));
    bird.then(|| format!("Not measured: {:?} is not installed (`cargo xtask setup`).", Make::Bird))
}

struct Scene<'a> {
    /// What came of the tables.
    passes: RefCell<Vec<Pass>>,
    topology: &'a Topology,
    feed: &'a Feed,
    /// How long packets are counted.
    window: Duration,
    empty: &'a RefCell<Empty>,
}

/// What the decoder made of one pass of the table.
#[derive(Clone, Copy, Debug)]
struct Pass {
    summary: Summary,
    counters: Counters,
    lost: u64,
}

impl Scene<'_> {
    fn beside_nothing(&self, costs: &mut Vec<f64>) -> Result<Work> {
        let (gateway, interfaces) = (self.topology.gateway(), self.topology.interfaces());
        self.empty.borrow_mut().attached(gateway, &interfaces, || self.storm(costs))
    }

    fn beside_edgelore(&self, egress: bool, costs: &mut Vec<f64>) -> Result<Work> {
        let listener = Listener::start(self.topology, egress)?;
        let before = listener.seen().summary.prefixes.ipv4_announced;
        ensure!(before == 0, "{before} prefixes came before the table");
        let work = self.storm(costs)?;
        self.passes.borrow_mut().push(listener.finish()?);
        Ok(work)
    }

    /// The table comes anew amid the storm; counts what gets through during the window, and adds
    /// the sender's CPU time for each packet to `costs`, in ns.
    fn storm(&self, costs: &mut Vec<f64>) -> Result<Work> {
        let (from, to) = (&self.topology.peers()[0], self.topology.hub());
        let storm = Storm::start(from, (to, self.topology.link(0).hub[0]), STORM_PAYLOAD_LEN)?;
        self.feed.again()?;
        let arrived = || traffic(to, "gw0").map(|counted| counted.rx_packets);
        let (start, before) = (Instant::now(), arrived()?);
        let (sent, cpu) = (storm.sent(), storm.cpu());
        pause(self.window, "the storm")?;
        let (sent, cpu) = (storm.sent() - sent, storm.cpu().saturating_sub(cpu));
        costs.push(cpu.as_nanos() as f64 / sent.max(1) as f64);
        let work = Work { units: arrived()? - before, elapsed: start.elapsed() };
        self.feed.await_complete()?;
        drop(storm);
        Ok(work)
    }
}

/// Reads and decodes on a thread of its own, as a node does.
struct Listener {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Counters>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    summary: Summary,
    lost: u64,
}

impl Listener {
    fn start(topology: &Topology, egress: bool) -> Result<Self> {
        let mut config = RingConfig::watching(topology.interfaces());
        config.watch.iter_mut().for_each(|watch| watch.egress = egress);
        let ring = topology.gateway().run(|| Ok(Ring::open(&config, Clock::new())?))?;
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (theirs, until) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("listener".to_owned())
            .spawn(move || listen(ring, &theirs, &until))?;
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Once nothing comes any more.
    fn finish(mut self) -> Result<Pass> {
        let mut last = self.seen().summary;
        wait_for(PATIENCE, "the last record", || {
            std::thread::sleep(2 * POLL);
            let now = self.seen().summary;
            std::mem::replace(&mut last, now) == now
        })?;
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().expect("it was started and not yet joined");
        let counters = thread.join().expect("the listener does not panic")?;
        let Seen { summary, lost } = self.seen();
        Ok(Pass { summary, counters, lost })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(mut ring: Ring, seen: &Mutex<Seen>, stop: &AtomicBool) -> Result<Counters> {
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut batch = Batch::default();
    while !stop.load(Ordering::Acquire) {
        batch.clear();
        ring.poll(POLL, &mut batch)?;
        decoder.decode(&batch, &mut |_, _| {});
        let lost = batch.signals.iter().map(|signal| match signal.kind {
            SignalKind::Lost { count, .. } => count,
            _ => 0,
        });
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.lost += lost.sum::<u64>();
        seen.summary = *decoder.summary();
    }
    Ok(ring.counters()?)
}

fn throughput(series: &[Series], costs: &[Series], prefixes: u32) -> Section {
    let columns =
        ["attached", "k packets/s", "min", "max", "ratio", "CPU ns a packet", "CPU ratio"];
    let mut section = Section::new(TITLE, &columns);
    section.note(format!(
        "64-byte UDP packets as fast as one thread sends them, forwarded between two veth \
         interfaces, while {} prefixes arrive from BIRD through the same gateway. What arrived is \
         counted. A node watches both interfaces as its defaults have it: on a gateway of which \
         every interface is watched, what leaves is watched only where a routing daemon runs, as \
         in the third row, and a packet is looked at twice then. Goal: a ratio of 0.97. The \
         sender's CPU time holds sending, and the forwarding and programs that run within it. The \
         control is the empty program once more: a difference smaller than its own from 1 says \
         nothing, and neither does Edgelore being faster than a program that does nothing.",
        grouped(prefixes.into())
    ));
    for (one, cost) in series.iter().zip(costs) {
        let thousand = |per_second: f64| format!("{:.0}", per_second / 1e3);
        let (slow, fast) = one.per_second_range();
        section.row([
            one.name.clone(),
            thousand(one.per_second()),
            thousand(slow),
            thousand(fast),
            format!("{:.3}", one.speedup_over(&series[0])),
            format!("{:.0}", cost.ns()),
            format!("{:.3}", cost.speedup_over(&costs[0])),
        ]);
    }
    section
}

fn losses(passes: &[Pass], prefixes: u32) -> Section {
    let columns =
        ["pass", "prefixes at BIRD", "decoded", "UPDATEs", "gaps", "ring full", "cut", "lost"];
    let mut section = Section::new("Saturation: what came of the table", &columns);
    section.note("Each pass of the table through the storm; the last four must be 0.");
    for (number, pass) in passes.iter().enumerate() {
        let (ingress, egress) = (pass.counters.ingress, pass.counters.egress);
        section.row([
            format!("{}", number + 1),
            grouped(prefixes.into()),
            grouped(pass.summary.prefixes.ipv4_announced),
            grouped(pass.summary.bgp.update),
            grouped(pass.summary.gaps),
            grouped(ingress.ring_full + egress.ring_full),
            grouped(ingress.cut + egress.cut),
            grouped(pass.lost),
        ]);
    }
    section
}
