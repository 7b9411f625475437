//! Owns the proof that each program runs in this kernel: a made-up BGP UPDATE through
//! `BPF_PROG_TEST_RUN`, whose record must come out of the ring and whose bytes must stay as they are.
//!
//! It runs before anything is attached, so its record never mixes with real ones; what it counted
//! is subtracted from every later reading of the counters.

use super::object::{Object, Program};
use super::{Counters, RingError, parse};
use edgelore_events::{RecordHeader, direction, flag};

/// Documentation addresses (RFC 5737) and port 179 in a frame whose payload is an UPDATE that
/// withdraws 198.51.100.0/24.
#[rustfmt::skip]
const FRAME: [u8; 81] = [
    // Ethernet: locally administered addresses, IPv4.
    2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00,
    // IPv4: 67 bytes, do not fragment, TTL 1, TCP, 192.0.2.1 to 192.0.2.2.
    0x45, 0xc0, 0, 67, 0, 0, 0x40, 0, 1, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
    // TCP: 40000 to 179, sequence number 1, PSH and ACK.
    0x9c, 0x40, 0, 179, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x10, 0, 0, 0, 0, 0,
    // BGP: marker, 27 bytes, UPDATE, 4 bytes of withdrawn routes, no attributes.
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0, 27, 2, 0, 4, 24, 198, 51, 100, 0, 0,
];
const PAYLOAD_OFFSET: usize = 54;
/// `XDP_PASS`.
const XDP_PASS: u32 = 2;
/// `TCX_NEXT`.
const TCX_NEXT: u32 = u32::MAX;

/// Runs every program that can be attached.
///
/// # Errors
/// [`RingError::SelfTest`] names the program and what it did wrong.
pub(super) fn run(object: &mut Object) -> Result<(), RingError> {
    for (program, verdict, direction) in [
        (Program::Xdp, XDP_PASS, direction::INGRESS),
        (Program::TcxIngress, TCX_NEXT, direction::INGRESS),
        (Program::TcxEgress, TCX_NEXT, direction::EGRESS),
    ] {
        let failed = |what| RingError::SelfTest { program: program.name(), what };
        let before = Counters::read(&object.counters)?;
        let mut output = [0; FRAME.len()];
        let result = object.run(program, &FRAME, Some(&mut output), 1)?;
        if result.return_value != verdict {
            return Err(failed(format!("verdict {} instead of {verdict}", result.return_value)));
        }
        if output != FRAME {
            return Err(failed("the frame was altered".to_owned()));
        }
        let grown = Counters::read(&object.counters)?.since(&before);
        let (seen, unseen) = if direction == direction::INGRESS {
            (grown.ingress, grown.egress)
        } else {
            (grown.egress, grown.ingress)
        };
        if (seen.control, seen.records, unseen.control) != (1, 1, 0) {
            return Err(failed(format!("counted {seen:?} and {unseen:?}")));
        }
        let record = object.events.next().ok_or_else(|| failed("no record came".to_owned()))?;
        let (header, payload) = parse(&record).map_err(|error| failed(error.to_string()))?;
        if payload != &FRAME[PAYLOAD_OFFSET..] || !header_matches(&header, direction) {
            return Err(failed(format!("record differs: {header:?}")));
        }
    }
    Ok(())
}

fn header_matches(header: &RecordHeader, direction: u8) -> bool {
    header.direction == direction
        && (header.flow.src_port, header.flow.dst_port) == (40000, 179)
        && (header.seq, header.tcp_flags, header.ip_version) == (1, 0x18, 4)
        && header.flags == flag::DELTA | flag::BGP_LENGTHS
        && header.bgp().is_some_and(|delta| {
            (delta.message_type, delta.withdrawn_len) == (2, 4)
                && (delta.attributes_len, delta.nlri_len) == (0, 0)
        })
}
