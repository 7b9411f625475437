//! What the XDP and tcx programs cost a packet: `BPF_PROG_TEST_RUN` on made-up frames, beside a program
//! that does nothing, which is the floor of that harness, and beside the same first look in C.
//!
//! Every run of that harness exchanges the program behind the kernel's dispatcher, which takes far
//! longer than a program does; so a round repeats often and there are few of them.

use crate::frames;
use crate::measure::{Contender, Effort, Series, Work, interleave};
use crate::report::Section;
use crate::ring::{open, unavailable};
use anyhow::{Context as _, Result, ensure};
use aya::programs::{Program as AyaProgram, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use edgelore_capture::ring::{Program, Ring};
use nix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Runs in one round: long enough to hide the system call, short enough to fit a time slice.
const REPEAT: u32 = 50_000;
/// Copies of each program.
const LOADS: usize = 21;
/// What builds the program in C; another version would be another peer.
const CLANG: &str = "clang-22";
const C_SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/xdp.c");

/// Where a program stands, and what it is compared with.
#[derive(Clone, Copy)]
struct Hook {
    title: &'static str,
    ours: Program,
    /// The empty program: ours, or none of ours and that of the C object.
    empty: Option<Program>,
    c_empty: &'static str,
    c_first_look: &'static str,
}

const XDP: Hook = Hook {
    title: "XDP program, ns a packet",
    ours: Program::Xdp,
    empty: Some(Program::Empty),
    c_empty: "c_empty",
    c_first_look: "c_first_look",
};
const TCX: Hook = Hook {
    title: "tcx program, ns a packet",
    ours: Program::TcxEgress,
    empty: None,
    c_empty: "c_skb_empty",
    c_first_look: "c_skb_first_look",
};

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    if let Some(why) = unavailable() {
        return Ok(vec![Section::without_rows(XDP.title, why)]);
    }
    let rings = (0..LOADS).map(|_| open()).collect::<Result<Vec<_>>>()?;
    let peers = (0..LOADS).map(|_| Peer::build()).collect::<Result<Vec<_>>>();
    let peers = peers.unwrap_or_else(|error| {
        eprintln!("the programs in C are skipped: {error:#}");
        Vec::new()
    });
    let mut sections = vec![programs(XDP, &rings, &peers, effort)?];
    sections.push(if peers.is_empty() {
        Section::without_rows(TCX.title, format!("Not measured: needs {CLANG}."))
    } else {
        programs(TCX, &rings, &peers, effort)?
    });
    Ok(sections)
}

/// The table of one hook.
fn programs(hook: Hook, rings: &[Ring], peers: &[Peer], effort: Effort) -> Result<Section> {
    let columns = [
        "frame",
        "bytes",
        "empty",
        "min",
        "Edgelore",
        "min",
        "difference",
        "of minima",
        "ratio",
        "C: difference",
        "of minima",
        "Edgelore / C",
    ];
    let mut section = Section::new(hook.title, &columns);
    section.note(format!(
        "`BPF_PROG_TEST_RUN`, many repetitions a round. Every program is loaded {LOADS} times, and the \
         rounds take the copies in turn: where in memory the kernel puts a program is worth as much as \
         what is told apart here. The empty program is the harness's floor; \
         the difference is the median of differences taken round by round, and beside it that of \
         the fastest rounds, which other load on the machine disturbs least; the ratio is the \
         median of ratios to the empty program. The first four frames are not control plane, the \
         last two are control plane that is withheld. The peer is `bench/peers/xdp.c` by clang 22: \
         it finds the same of the first four by the same tests, counts them in the same way, and does \
         nothing with the others.",
    ));
    let cases = [
        ("UDP over IPv4", frames::udp(), true),
        ("TCP, not BGP", frames::tcp_other(), true),
        ("UDP in a VLAN", frames::vlan_udp(), true),
        ("UDP over IPv6", frames::ipv6_udp(), true),
        ("BGP, pure ACK", frames::pure_ack(), false),
        ("BGP, KEEPALIVE", frames::keepalive(), false),
    ];
    for (name, frame, comparable) in &cases {
        let series = measure(hook, rings, peers, *comparable, frame, effort)?;
        section.row(cells(name, frame.len(), &series));
    }
    Ok(section)
}

/// The same first look in C, at both hooks.
struct Peer(Ebpf);

impl Peer {
    /// Compiles and loads them.
    fn build() -> Result<Self> {
        let directory = tempfile::tempdir().context("make a temporary directory")?;
        let object = directory.path().join("xdp.o");
        let status = Command::new(CLANG)
            .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-c", C_SOURCE, "-o"])
            .arg(&object)
            .status()
            .with_context(|| format!("run {CLANG}"))?;
        ensure!(status.success(), "{CLANG} failed: {status}");
        Self::load(&object)
    }

    fn load(object: &Path) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load_file(object).context("load the programs in C")?;
        for (name, program) in ebpf.programs_mut() {
            let loaded = match program {
                AyaProgram::Xdp(xdp) => xdp.load(),
                AyaProgram::SchedClassifier(classifier) => classifier.load(),
                _ => anyhow::bail!("{name} is no program of a packet"),
            };
            loaded.with_context(|| format!("load {name}"))?;
        }
        Ok(Self(ebpf))
    }

    /// This thread's CPU time for `repeat` runs, as [`Ring::inject`] takes it.
    fn time(&self, program: &str, frame: &[u8], repeat: u32) -> Result<Duration> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let found = self.0.program(program);
        let start = thread_cpu_time()?;
        let result = match found {
            Some(AyaProgram::Xdp(xdp)) => xdp.test_run(options),
            Some(AyaProgram::SchedClassifier(classifier)) => classifier.test_run(options),
            _ => anyhow::bail!("{program} is not in the object"),
        };
        result.with_context(|| format!("run {program}"))?;
        Ok(thread_cpu_time()?.saturating_sub(start))
    }
}

fn thread_cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// The empty program, ours, and the one in C if it is `comparable` and there, in this order.
fn measure(
    hook: Hook,
    rings: &[Ring],
    peers: &[Peer],
    comparable: bool,
    frame: &[u8],
    effort: Effort,
) -> Result<Vec<Series>> {
    let ours = |name, program| {
        in_turn(name, rings, move |ring: &Ring| Ok(ring.inject(program, frame, REPEAT)?))
    };
    let theirs = |name, program: &'static str| {
        in_turn(name, peers, move |peer: &Peer| peer.time(program, frame, REPEAT))
    };
    let empty = hook.empty.map(|program| ours("empty", program));
    let mut contenders =
        vec![empty.unwrap_or_else(|| theirs("empty", hook.c_empty)), ours("edgelore", hook.ours)];
    if comparable && !peers.is_empty() {
        contenders.push(theirs("C", hook.c_first_look));
    }
    interleave(effort.pick(201, 41), contenders)
}

/// One program, of whose copies each round takes the next.
fn in_turn<'a, T>(
    name: &str,
    copies: &'a [T],
    run: impl Fn(&T) -> Result<Duration> + 'a,
) -> Contender<'a> {
    let mut copies = copies.iter().cycle();
    Contender::new(name, move || {
        let copy = copies.next().context("no copy of the program is loaded")?;
        Ok(Work { units: u64::from(REPEAT), elapsed: run(copy)? })
    })
}

fn cells(name: &str, bytes: usize, series: &[Series]) -> [String; 12] {
    let (empty, ours) = (&series[0], &series[1]);
    let ((empty_min, _), (min, _)) = (empty.ns_range(), ours.ns_range());
    let ns = |value: f64| format!("{value:.2}");
    let none = || "–".to_owned();
    let peer = series.get(2);
    [
        name.to_owned(),
        bytes.to_string(),
        ns(empty.ns()),
        ns(empty_min),
        ns(ours.ns()),
        ns(min),
        ns(ours.ns_above(empty)),
        ns(min - empty_min),
        ns(empty.speedup_over(ours)),
        peer.map_or_else(none, |peer| ns(peer.ns_above(empty))),
        peer.map_or_else(none, |peer| ns(peer.ns_range().0 - empty_min)),
        peer.map_or_else(none, |peer| ns(peer.speedup_over(ours))),
    ]
}
