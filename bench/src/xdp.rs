//! What the XDP program costs a packet: `BPF_PROG_TEST_RUN` on made-up frames, beside a program
//! that does nothing, which is the floor of that harness.

use crate::frames;
use crate::measure::{Contender, Effort, Series, Work, interleave};
use crate::report::Section;
use crate::ring::{open, unavailable};
use anyhow::Result;
use edgelore_capture::ring::{Program, Ring};

const TITLE: &str = "XDP program, ns a packet";
/// Runs in one round: long enough to hide the system call, short enough to fit a time slice.
const REPEAT: u32 = 50_000;

pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    if let Some(why) = unavailable() {
        return Ok(vec![Section::without_rows(TITLE, why)]);
    }
    let ring = open()?;
    let columns = [
        "frame",
        "bytes",
        "empty",
        "min",
        "Edgelore",
        "min",
        "max",
        "difference",
        "of minima",
        "ratio",
    ];
    let mut section = Section::new(TITLE, &columns);
    section.note(
        "`BPF_PROG_TEST_RUN`, many repetitions a round. The empty program is the harness's floor; \
         the difference is the median of differences taken round by round, and beside it that of \
         the fastest rounds, which other load on the machine disturbs least. The first four \
         frames are not control plane, the last two are control plane that is withheld.",
    );
    let cases = [
        ("UDP over IPv4", frames::udp()),
        ("TCP, not BGP", frames::tcp_other()),
        ("UDP in a VLAN", frames::vlan_udp()),
        ("UDP over IPv6", frames::ipv6_udp()),
        ("BGP, pure ACK", frames::pure_ack()),
        ("BGP, KEEPALIVE", frames::keepalive()),
    ];
    for (name, frame) in &cases {
        let series = measure(&ring, frame, effort)?;
        section.row(cells(name, frame.len(), &series));
    }
    Ok(vec![section])
}

/// The empty program and ours, in this order.
fn measure(ring: &Ring, frame: &[u8], effort: Effort) -> Result<Vec<Series>> {
    let contender = |name, program| {
        Contender::new(name, move || {
            let elapsed = ring.inject(program, frame, REPEAT)?;
            Ok(Work { units: u64::from(REPEAT), elapsed })
        })
    };
    let contenders = vec![contender("empty", Program::Empty), contender("edgelore", Program::Xdp)];
    interleave(effort.pick(201, 21), contenders)
}

fn cells(name: &str, bytes: usize, series: &[Series]) -> [String; 10] {
    let (empty, ours) = (&series[0], &series[1]);
    let ((empty_min, _), (min, max)) = (empty.ns_range(), ours.ns_range());
    let ns = |value: f64| format!("{value:.2}");
    [
        name.to_owned(),
        bytes.to_string(),
        ns(empty.ns()),
        ns(empty_min),
        ns(ours.ns()),
        ns(min),
        ns(max),
        ns(ours.ns_above(empty)),
        ns(min - empty_min),
        ns(empty.speedup_over(ours)),
    ]
}
