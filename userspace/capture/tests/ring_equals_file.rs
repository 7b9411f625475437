//! Live equals file: a capture replayed onto a veth whose other end is watched gives the same
//! observations as reading the capture.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod packets;

use edgelore_capture::Clock;
use edgelore_capture::file::FileSource;
use edgelore_capture::ring::{Mode, Ring, RingConfig, Watch};
use edgelore_model::{Batch, Observation, Observed, Summary};
use edgelore_pipeline::decode::{DecodeConfig, Decoder};
use edgelore_testkit::{NetNs, live, veth};
use packets::Tap;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{LegacyPcapReader, Linktype, PcapBlockOwned, PcapError};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// Frames in flight at most: a veth's queue holds 256.
const IN_FLIGHT_MAX: usize = 64;
/// Jumbo frames: XDP sees the first 3.5 kB of one linear, the rest in fragments.
const MTU: usize = 9000;
/// No Ethernet frame of the captures is shorter on a wire; a packet socket refuses less.
const FRAME_LEN_MIN: usize = 14;

/// What a decoder made of the signals: comparable between live and file.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    observed: Vec<Observed>,
    summary: Summary,
}

impl Seen {
    fn finish(mut self, mut decoder: Decoder) -> Self {
        decoder.finish(&mut |_, observation: Observation| self.observed.push(observation.what));
        self.summary = *decoder.summary();
        // Withheld in the kernel: keepalives, unchanged BFD, and connections of which nothing but
        // these was captured.
        self.summary.bgp.keepalive = 0;
        self.summary.bfd = Default::default();
        self.summary.streams = 0;
        self
    }
}

fn decode(decoder: &mut Decoder, batch: &Batch, seen: &mut Seen) {
    decoder.decode(batch, &mut |_, observation: Observation| {
        // What comes late or again depends on when: the frames are sent as fast as they go.
        let timed = matches!(observation.what, Observed::Late(_) | Observed::SentAgain(_));
        if !timed {
            seen.observed.push(observation.what);
        }
    });
}

fn from_file(path: &Path) -> Seen {
    let (mut seen, mut decoder) = (Seen::default(), Decoder::new(DecodeConfig::default()));
    let mut source = FileSource::open(path).unwrap();
    let mut batch = Batch::default();
    while source.next_batch(&mut batch).unwrap() {
        decode(&mut decoder, &batch, &mut seen);
    }
    decode(&mut decoder, &batch, &mut seen);
    seen.finish(decoder)
}

/// The frames of an Ethernet pcap file.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = LegacyPcapReader::new(1 << 16, File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        assert_eq!(header.network, Linktype::ETHERNET, "{}", path.display());
                    }
                    PcapBlockOwned::Legacy(packet) => frames.push(packet.data.to_vec()),
                    PcapBlockOwned::NG(_) => panic!("{} is pcapng", path.display()),
                }
                reader.consume(offset);
            }
            Err(PcapError::Eof) => return frames,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

/// Packets that the ring's programs have looked at.
fn looked_at(ring: &Ring) -> usize {
    let counters = ring.counters().unwrap().ingress;
    (counters.other + counters.control + counters.fragments + counters.truncated) as usize
}

/// Sends the frames one by one past the watched interface and decodes what comes out of the ring.
fn from_ring(ring: &mut Ring, tap: &Tap, frames: &[Vec<u8>]) -> Seen {
    let (mut seen, mut decoder) = (Seen::default(), Decoder::new(DecodeConfig::default()));
    let mut take = |ring: &mut Ring| {
        let mut batch = Batch::default();
        ring.poll(Duration::from_millis(1), &mut batch).unwrap();
        decode(&mut decoder, &batch, &mut seen);
        batch.signals.len()
    };
    let deadline = Instant::now() + PATIENCE;
    for (index, frame) in frames.iter().enumerate() {
        tap.send(frame);
        if index % IN_FLIGHT_MAX == 0 || index + 1 == frames.len() {
            while looked_at(ring) <= index {
                assert!(Instant::now() < deadline, "{} of {index} frames", looked_at(ring));
                take(ring);
            }
        }
    }
    while take(ring) > 0 {}
    seen.finish(decoder)
}

fn compare(path: &Path, name: &str) {
    let frames: Vec<_> =
        frames(path).into_iter().filter(|frame| frame.len() >= FRAME_LEN_MIN).collect();
    assert!(frames.iter().all(|frame| frame.len() <= MTU), "{} fits", path.display());
    let (gateway, peer) =
        (NetNs::new(&format!("{name}g")).unwrap(), NetNs::new(&format!("{name}p")).unwrap());
    for ns in [&gateway, &peer] {
        ns.sysctl(&[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")])
            .unwrap();
    }
    veth((&gateway, "gw0"), (&peer, "peer0")).unwrap();
    gateway.ip(&format!("link set gw0 mtu {MTU}")).unwrap();
    peer.ip(&format!("link set peer0 mtu {MTU}")).unwrap();
    let watch = Watch { egress: false, ..Watch::both("gw0") };
    let config = RingConfig { watch: vec![watch], ring_bytes: 8 << 20 };
    let mut ring = gateway.run(|| Ok(Ring::open(&config, Clock::new())?)).unwrap();
    assert_eq!(ring.attachments()[0].mode, Mode::XdpNative);
    let tap = Tap::open(&peer, "peer0");

    let live = from_ring(&mut ring, &tap, &frames);
    let file = from_file(path);
    let counters = ring.counters().unwrap();
    assert_eq!(counters.ingress.ring_full + counters.ingress.cut + counters.malformed, 0);
    assert!(!file.observed.is_empty(), "{} says something", path.display());
    for (index, (live, file)) in live.observed.iter().zip(&file.observed).enumerate() {
        assert_eq!(live, file, "{}: observation {index} (live, file)", path.display());
    }
    assert_eq!(live, file, "{} (live, file)", path.display());
    eprintln!(
        "{}: {} frames, {} observations, {:?}",
        path.display(),
        frames.len(),
        file.observed.len(),
        counters.ingress
    );
}

#[test]
fn live_equals_file_on_the_fixtures() {
    if !live("live_equals_file_on_the_fixtures") {
        return;
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures");
    for (index, name) in [
        "bgpdump.et2015.first300.pcap",
        "tcpdump.bgp-bgpsec.pcap",
        "tcpdump.bgp-bfd-cease.pcap",
        "tcpdump.bgp-sr-te-tunnel-policy.pcap",
        "trafrepro.pcap_processing_bgp-multi-sources.pcap",
        "trafrepro.pcaps_bgp-traffic.pcap",
        "tcpdump.bfd-multihop.pcap",
        "tcpdump.bfd-raw-auth-md5.pcap",
        "tcpdump.bfd-raw-auth-simple.pcap",
    ]
    .iter()
    .enumerate()
    {
        compare(&fixtures.join(name), &format!("f{index}"));
    }
}

#[test]
fn live_equals_file_on_large_captures() {
    if !live("live_equals_file_on_large_captures") {
        return;
    }
    let Some(data) = std::env::var_os("EDGELORE_DATA").map(PathBuf::from) else {
        // The harness captures `eprintln!`, not a direct write.
        let line = "SKIP live_equals_file_on_large_captures: EDGELORE_DATA names no folder\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    };
    for (index, name) in [
        "derived.et2015-8k-ooo-retx-vlan.pcap",
        "derived.rrc01-20100827-4peers-qinq-ooo-v6.pcap",
        "derived.sydney0415-3peers-clean.pcap",
    ]
    .iter()
    .enumerate()
    {
        compare(&data.join("bgp-pcap").join(name), &format!("l{index}"));
    }
}
