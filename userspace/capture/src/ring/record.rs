//! Owns the conversion of ring records into signals: one length check, one conversion.
//!
//! **Invariant:** no record, whatever its bytes, makes this panic or read past its end.

use crate::Clock;
use bytemuck::pod_read_unaligned;
use edgelore_events::{CHUNK_LEN, RECORD_HEADER_LEN, RecordHeader, direction, kind};
use edgelore_model::{
    Batch, Datagram, Direction, Heard, IsisFrame, PayloadRef, Segment, Signal, SignalKind, Span,
    StreamProtocol,
};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Why a record is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Shorter than a header.
    #[error("record of {0} bytes is shorter than its header")]
    Short(usize),
    /// The header promises payload that is not there, or more than a chunk.
    #[error("record of {record} bytes states a payload of {payload} bytes")]
    PayloadLength {
        /// Bytes of the whole record.
        record: usize,
        /// Bytes of payload that the header states.
        payload: u32,
    },
    /// The payload exceeds what it stands for.
    #[error("record holds {payload} bytes for {wire} on the wire")]
    WireLength {
        /// Bytes of payload.
        payload: u32,
        /// Bytes on the wire.
        wire: u32,
    },
    /// No known protocol.
    #[error("record kind {0} is unknown")]
    Kind(u8),
    /// Neither in nor out.
    #[error("record direction {0} is unknown")]
    Direction(u8),
    /// Neither 4 nor 6, or one where there is no IP.
    #[error("record of kind {kind} states ip version {version}")]
    IpVersion {
        /// The record's kind.
        kind: u8,
        /// The version stated.
        version: u8,
    },
}

/// Splits a record into header and payload. The ring pads nothing within a record, but whatever
/// follows the stated payload is ignored.
///
/// # Errors
/// [`RecordError`] when lengths or codes are not as agreed.
pub fn parse(record: &[u8]) -> Result<(RecordHeader, &[u8]), RecordError> {
    let Some((head, rest)) = record.split_at_checked(RECORD_HEADER_LEN) else {
        return Err(RecordError::Short(record.len()));
    };
    let header: RecordHeader = pod_read_unaligned(head);
    let stated = header.payload_len as usize;
    let payload = rest
        .get(..stated)
        .filter(|_| stated <= CHUNK_LEN)
        .ok_or(RecordError::PayloadLength { record: record.len(), payload: header.payload_len })?;
    if header.payload_len > header.wire_len {
        return Err(RecordError::WireLength { payload: header.payload_len, wire: header.wire_len });
    }
    let version_fits = match header.kind {
        kind::ISIS => header.ip_version == 0,
        kind::BGP | kind::BFD | kind::OSPF | kind::LDP | kind::LDP_HELLO => {
            matches!(header.ip_version, 4 | 6)
        }
        unknown => return Err(RecordError::Kind(unknown)),
    };
    if u32::from(header.direction) >= direction::COUNT {
        return Err(RecordError::Direction(header.direction));
    }
    if !version_fits {
        return Err(RecordError::IpVersion { kind: header.kind, version: header.ip_version });
    }
    Ok((header, payload))
}

/// Converts a record into a signal whose payload lies in `batch`'s arena; the caller appends it.
///
/// # Errors
/// As [`parse`].
pub fn signal_of(record: &[u8], clock: &Clock, batch: &mut Batch) -> Result<Signal, RecordError> {
    let (header, payload) = parse(record)?;
    let payload = batch.append(payload);
    let kind = match header.kind {
        kind::BGP => SignalKind::Segment(segment(&header, StreamProtocol::Bgp, payload)),
        kind::LDP => SignalKind::Segment(segment(&header, StreamProtocol::Ldp, payload)),
        kind::BFD => SignalKind::Bfd(datagram(&header, payload)),
        kind::OSPF => SignalKind::Ospf(datagram(&header, payload)),
        kind::LDP_HELLO => SignalKind::LdpHello(datagram(&header, payload)),
        // `parse` lets no other kind pass.
        _ => {
            let [a, b, c, d, e, f, ..] = header.flow.src;
            let src = [a, b, c, d, e, f];
            let heard = Some(heard(&header));
            SignalKind::Isis(IsisFrame { src, payload, direction: direction_of(&header), heard })
        }
    };
    Ok(Signal { at: clock.from_monotonic_ns(header.ktime_ns), link: header.ifindex, kind })
}

fn segment(header: &RecordHeader, protocol: StreamProtocol, payload: PayloadRef) -> Segment {
    Segment {
        protocol,
        src: SocketAddr::new(address(header, header.flow.src), header.flow.src_port),
        dst: SocketAddr::new(address(header, header.flow.dst), header.flow.dst_port),
        seq: header.seq,
        flags: header.tcp_flags,
        gap: (header.gap_ms > 0).then(|| Span::from_millis(i64::from(header.gap_ms))),
        suppressed_bytes: header.suppressed_bytes,
        wire_len: header.wire_len,
        payload,
        direction: direction_of(header),
    }
}

fn datagram(header: &RecordHeader, payload: PayloadRef) -> Datagram {
    Datagram {
        src: address(header, header.flow.src),
        dst: address(header, header.flow.dst),
        port: header.flow.dst_port,
        payload,
        direction: direction_of(header),
        heard: Some(heard(header)),
    }
}

/// What the header of a BFD packet or a hello says of those before it.
fn heard(header: &RecordHeader) -> Heard {
    let gap = Span(i64::from(header.suppressed_bytes) * 1_000);
    Heard { gap, count: header.seq }
}

fn direction_of(header: &RecordHeader) -> Direction {
    if header.direction == direction::EGRESS { Direction::Egress } else { Direction::Ingress }
}

fn address(header: &RecordHeader, octets: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(octets);
    match v6.to_ipv4_mapped() {
        Some(v4) if header.ip_version == 4 => IpAddr::V4(v4),
        _ => IpAddr::V6(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(payload_len: u32) -> RecordHeader {
        let mut src = [0; 16];
        src[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        let mut header = RecordHeader {
            kind: kind::BGP,
            direction: direction::EGRESS,
            ip_version: 4,
            tcp_flags: 0x18,
            ifindex: 7,
            seq: 99,
            wire_len: payload_len,
            payload_len,
            suppressed_bytes: 38,
            ..RecordHeader::default()
        };
        header.flow.src = src;
        header.flow.dst = src;
        header.flow.src_port = 179;
        header.flow.dst_port = 40000;
        header
    }

    fn record(header: RecordHeader, payload: &[u8]) -> Vec<u8> {
        [bytemuck::bytes_of(&header), payload].concat()
    }

    #[test]
    fn a_record_becomes_a_segment() {
        let mut batch = Batch::default();
        let clock = Clock::new();
        let signal = signal_of(&record(header(3), b"abc"), &clock, &mut batch).unwrap();
        assert_eq!((signal.link, signal.at), (7, clock.from_monotonic_ns(0)));
        let SignalKind::Segment(segment) = signal.kind else { panic!("not a segment") };
        assert_eq!(segment.src, "192.0.2.1:179".parse().unwrap());
        assert_eq!((segment.seq, segment.suppressed_bytes, segment.wire_len), (99, 38, 3));
        assert_eq!(segment.direction, Direction::Egress);
        assert_eq!(batch.payload(segment.payload), b"abc");
    }

    #[test]
    fn a_mapped_address_in_ipv6_stays_one() {
        let header = RecordHeader { kind: kind::BFD, ip_version: 6, ..header(0) };
        let signal = signal_of(&record(header, b""), &Clock::new(), &mut Batch::default()).unwrap();
        let SignalKind::Bfd(bfd) = signal.kind else { panic!("not BFD") };
        assert_eq!(bfd.src, "::ffff:192.0.2.1".parse::<IpAddr>().unwrap());
        assert!(bfd.src.is_ipv6());
    }

    #[test]
    fn every_kind_becomes_its_signal() {
        let clock = Clock::new();
        for kind in [kind::BFD, kind::OSPF, kind::LDP, kind::LDP_HELLO, kind::ISIS] {
            let ip_version = if kind == kind::ISIS { 0 } else { 4 };
            let record = record(RecordHeader { kind, ip_version, ..header(3) }, b"abc");
            let mut batch = Batch::default();
            let signal = signal_of(&record, &clock, &mut batch).unwrap();
            let payload = match (kind, signal.kind) {
                (kind::BFD, SignalKind::Bfd(datagram))
                | (kind::OSPF, SignalKind::Ospf(datagram))
                | (kind::LDP_HELLO, SignalKind::LdpHello(datagram)) => {
                    assert_eq!(datagram.src, "192.0.2.1".parse::<IpAddr>().unwrap());
                    assert_eq!((datagram.port, datagram.direction), (40000, Direction::Egress));
                    datagram.payload
                }
                (kind::LDP, SignalKind::Segment(segment)) => {
                    assert_eq!(segment.protocol, StreamProtocol::Ldp);
                    segment.payload
                }
                (kind::ISIS, SignalKind::Isis(frame)) => {
                    assert_eq!(frame.src, [0; 6], "the first octets of the address");
                    frame.payload
                }
                (kind, other) => panic!("{kind} became {other:?}"),
            };
            assert_eq!(batch.payload(payload), b"abc");
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        let good = header(3);
        let length =
            |payload| RecordError::PayloadLength { record: RECORD_HEADER_LEN + 3, payload };
        for (name, record, expected) in [
            ("empty", vec![], RecordError::Short(0)),
            ("short", vec![0; 50], RecordError::Short(50)),
            ("payload missing", record(header(4), b"abc"), length(4)),
            ("payload absurd", record(header(u32::MAX), b"abc"), length(u32::MAX)),
            (
                "more than on the wire",
                record(RecordHeader { wire_len: 2, ..good }, b"abc"),
                RecordError::WireLength { payload: 3, wire: 2 },
            ),
            ("kind", record(RecordHeader { kind: 9, ..good }, b"abc"), RecordError::Kind(9)),
            (
                "direction",
                record(RecordHeader { direction: 2, ..good }, b"abc"),
                RecordError::Direction(2),
            ),
            (
                "ip version",
                record(RecordHeader { ip_version: 0, ..good }, b"abc"),
                RecordError::IpVersion { kind: kind::BGP, version: 0 },
            ),
            (
                "ip in IS-IS",
                record(RecordHeader { kind: kind::ISIS, ..good }, b"abc"),
                RecordError::IpVersion { kind: kind::ISIS, version: 4 },
            ),
        ] {
            assert_eq!(parse(&record).unwrap_err(), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn random_records_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut batch = Batch::default();
            if let Ok(signal) = signal_of(&bytes, &Clock::new(), &mut batch)
                && let SignalKind::Segment(segment) = signal.kind
            {
                prop_assert!(segment.payload.len <= segment.wire_len);
            }
        }
    }
}
