//! Captures and messages made to break decoders: every one is read to its end by `decode` and by
//! `replay`, in a process that must neither crash, nor hang, nor grow.
//!
//! Needs the folder of `EDGELORE_DATA`; without it, captures of the fixtures are cut and damaged,
//! so that the test says something everywhere.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgelore_testkit::{Process, scratch, wait_for};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const EDGELORE: &str = env!("CARGO_BIN_EXE_edgelore");
/// Generous: the largest takes a fraction of a second.
const DEADLINE: Duration = Duration::from_secs(120);
/// Memory that a child may write to, kB. The kernel refuses more, which ends the child; its stacks
/// count.
const DATA_KB_MAX: u64 = 100 * 1024;
/// Sets that limit (RLIMIT_DATA, which a shell counts in kB) and becomes the program.
const LIMITED: &str = "ulimit -d $0 && exec \"$@\"";
const BGP_PORT: u16 = 179;
const OSPF: u8 = 89;
const TCP: u8 = 6;
/// Bits flipped in turn in each fixture.
const DAMAGES: usize = 24;

/// What is to be read: the folder's files, with bare messages wrapped into captures.
fn inputs(directory: &Path) -> Vec<PathBuf> {
    let Some(data) = std::env::var_os("EDGELORE_DATA").map(PathBuf::from) else {
        return damaged_fixtures(directory);
    };
    let mut found: Vec<PathBuf> = std::fs::read_dir(data.join("hostile"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let bare = path.extension().is_some_and(|extension| extension == "bin");
            if bare { wrapped(&path, directory) } else { path }
        })
        .collect();
    found.sort();
    found.extend(damaged_fixtures(directory));
    found
}

/// A bare message as the only packet of a capture.
fn wrapped(path: &Path, directory: &Path) -> PathBuf {
    let (name, message) = (path.file_name().unwrap(), std::fs::read(path).unwrap());
    let packet = if name.to_string_lossy().contains("ospfd") {
        ipv4(OSPF, &message)
    } else {
        ipv4(TCP, &[&tcp_header()[..], &message].concat())
    };
    let to = directory.join(name).with_extension("pcap");
    std::fs::write(&to, capture(&packet)).unwrap();
    to
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0xc0, length[0], length[1], 0, 0, 0x40, 0, 1, protocol, 0, 0];
    packet.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend(payload);
    packet
}

fn tcp_header() -> [u8; 20] {
    let mut header = [0; 20];
    header[..2].copy_from_slice(&40_000u16.to_be_bytes());
    header[2..4].copy_from_slice(&BGP_PORT.to_be_bytes());
    (header[12], header[13]) = (0x50, 0x18);
    header
}

/// A pcap file of one raw IP packet (LINKTYPE_RAW, 101).
fn capture(packet: &[u8]) -> Vec<u8> {
    let length = u32::try_from(packet.len()).unwrap();
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    for word in [0, 0, 65_535, 101, 1_600_000_000, 0, length, length] {
        file.extend(u32::to_le_bytes(word));
    }
    file.extend(packet);
    file
}

/// Each fixture cut in the middle, and with single bits flipped all over.
fn damaged_fixtures(directory: &Path) -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures");
    let mut made = Vec::new();
    for name in ["tcpdump.bgp-bfd-cease.pcap", "trafrepro.pcaps_bgp-traffic.pcap"] {
        let whole = std::fs::read(fixtures.join(name)).unwrap();
        let mut add = |bytes: &[u8]| {
            let path = directory.join(format!("{}.{name}", made.len()));
            std::fs::write(&path, bytes).unwrap();
            made.push(path);
        };
        add(&whole[..whole.len() / 2]);
        for damage in 1..=DAMAGES {
            let mut bytes = whole.clone();
            bytes[damage * whole.len() / (DAMAGES + 1)] ^= 1 << (damage % 8);
            add(&bytes);
        }
    }
    made
}

/// Runs a command over a file within the limit.
fn read_to_its_end(command: &str, path: &Path, log: &Path) {
    let mut started = Command::new("sh");
    started.args(["-c", LIMITED, &DATA_KB_MAX.to_string(), EDGELORE, command]).arg(path);
    let mut process = Process::spawn(command, &mut started, log).unwrap();
    let mut status = None;
    let done = wait_for(DEADLINE, "its end", || {
        status = process.exited();
        status.is_some()
    });
    assert!(done.is_ok(), "{command} {}: it hangs", path.display());
    // 0: read; 1: refused, with a reason. Anything else is a crash.
    let (code, told) = (status.unwrap().code(), process.log_tail());
    assert!(matches!(code, Some(0 | 1)), "{command} {}: {code:?} {told}", path.display());
    assert!(code == Some(0) || told.contains("edgelore: "), "it says why: {told}");
}

#[test]
fn the_limit_of_memory_holds() {
    // A shell that doubles a variable forever: it must meet the limit.
    let grow = "x=0123456789; while :; do x=$x$x; done";
    let mut started = Command::new("sh");
    started.args(["-c", LIMITED, &DATA_KB_MAX.to_string(), "sh", "-c", grow]);
    assert!(!started.output().unwrap().status.success());
}

#[test]
fn hostile_captures_are_read_to_their_end_in_bounded_memory() {
    let directory = scratch("hostile").unwrap();
    let (inputs, log) = (inputs(directory.path()), directory.path().join("log"));
    assert!(!inputs.is_empty());
    for path in &inputs {
        ["decode", "replay"].iter().for_each(|command| read_to_its_end(command, path, &log));
    }
    println!("{} files", inputs.len());
}
