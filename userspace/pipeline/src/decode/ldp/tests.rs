//! PDUs from hand-made bytes, and from any bytes.

use super::*;
use crate::decode::{DecodeConfig, Decoder};
use edgelore_model::{
    Batch, Datagram, Direction, LdpChange, Observed, Segment, SessionKey, Signal, SignalKind,
    StreamProtocol, Summary, Timestamp, tcp_flags,
};
use proptest::prelude::*;
use std::net::SocketAddr;

const A: &str = "10.0.0.1:40000";
const B: &str = "10.0.0.2:646";

fn tlv(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
}

fn message(kind: u16, tlvs: &[u8]) -> Vec<u8> {
    let length = (4 + tlvs.len()) as u16;
    [&kind.to_be_bytes()[..], &length.to_be_bytes(), &[0, 0, 0, 9], tlvs].concat()
}

fn pdu(messages: &[Vec<u8>]) -> Vec<u8> {
    let messages = messages.concat();
    let length = (6 + messages.len()) as u16;
    [&[0, 1][..], &length.to_be_bytes(), &[10, 0, 0, 1, 0, 0], &messages].concat()
}

fn initialization(keepalive_s: u16) -> Vec<u8> {
    let [high, low] = keepalive_s.to_be_bytes();
    let value = [0, 1, high, low, 0, 0, 16, 0, 10, 0, 0, 2, 0, 0];
    message(message_type::INITIALIZATION, &tlv(tlv_type::COMMON_SESSION_PARAMETERS, &value))
}

fn keepalive() -> Vec<u8> {
    message(message_type::KEEPALIVE, &[])
}

fn notification(status: u32) -> Vec<u8> {
    let value = [&status.to_be_bytes()[..], &[0; 6]].concat();
    message(message_type::NOTIFICATION, &tlv(tlv_type::STATUS, &value))
}

fn label(kind: u16, fec: &[u8]) -> Vec<u8> {
    message(kind, &[tlv(tlv_type::FEC, fec), tlv(0x0200, &[0, 0, 0, 3])].concat())
}

fn hello(hold_time_s: u16, flags: u8, more: &[u8]) -> Vec<u8> {
    let [high, low] = hold_time_s.to_be_bytes();
    let common = tlv(tlv_type::COMMON_HELLO_PARAMETERS, &[high, low, flags, 0]);
    pdu(&[message(message_type::HELLO, &[&common[..], more].concat())])
}

#[derive(Default)]
struct Wire {
    batch: Batch,
    next: std::collections::HashMap<(SocketAddr, SocketAddr), u32>,
}

impl Wire {
    fn segment(&mut self, from: &str, to: &str, flags: u8, payload: &[u8]) -> &mut Self {
        let (src, dst) = (from.parse().unwrap(), to.parse().unwrap());
        let next = self.next.entry((src, dst)).or_insert(1_000);
        let seq = *next;
        let turns = flags & (tcp_flags::SYN | tcp_flags::FIN) != 0;
        *next = seq.wrapping_add(payload.len() as u32 + u32::from(turns));
        self.push(src, dst, seq, flags, 0, payload)
    }

    fn push(
        &mut self,
        src: SocketAddr,
        dst: SocketAddr,
        seq: u32,
        flags: u8,
        suppressed_bytes: u32,
        payload: &[u8],
    ) -> &mut Self {
        let payload = self.batch.append(payload);
        let kind = SignalKind::Segment(Segment {
            protocol: StreamProtocol::Ldp,
            src,
            dst,
            seq,
            flags,
            gap: None,
            suppressed_bytes,
            wire_len: payload.len,
            payload,
            direction: Direction::Ingress,
        });
        let at = Timestamp(self.batch.signals.len() as i64);
        self.batch.signals.push(Signal { at, link: 1, kind });
        self
    }

    fn hello(&mut self, from: &str, to: &str, payload: &[u8]) -> &mut Self {
        let payload = self.batch.append(payload);
        let (src, dst) = (from.parse().unwrap(), to.parse().unwrap());
        let direction = Direction::Ingress;
        let kind =
            SignalKind::LdpHello(Datagram { src, dst, port: 646, payload, direction, heard: None });
        self.batch.signals.push(Signal { at: Timestamp(0), link: 1, kind });
        self
    }

    fn handshake(&mut self) -> &mut Self {
        self.segment(A, B, tcp_flags::SYN, &[]).segment(B, A, tcp_flags::SYN | tcp_flags::ACK, &[])
    }

    fn establish(&mut self) -> &mut Self {
        self.handshake()
            .segment(A, B, tcp_flags::ACK, &pdu(&[initialization(180)]))
            .segment(B, A, tcp_flags::ACK, &pdu(&[initialization(45), keepalive()]))
            .segment(A, B, tcp_flags::ACK, &pdu(&[keepalive()]))
    }

    fn read(&self) -> (Vec<String>, Summary) {
        let mut decoder = Decoder::new(DecodeConfig::default());
        let mut seen = Vec::new();
        decoder.decode(&self.batch, &mut |_, observation| seen.push(name(&observation.what)));
        decoder.finish(&mut |_, observation| seen.push(name(&observation.what)));
        (seen, *decoder.summary())
    }
}

fn name(what: &Observed) -> String {
    match what {
        Observed::Ldp(LdpChange::Hello { hold_time_s, targeted, transport_address, .. }) => {
            format!("hello {hold_time_s} {targeted} {transport_address:?}")
        }
        Observed::Ldp(LdpChange::SessionUp { keepalive_time_s, session }) => {
            let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
            assert_eq!(*session, SessionKey::between(a, b));
            format!("up {keepalive_time_s}")
        }
        Observed::Ldp(LdpChange::SessionDown { cause, .. }) => format!("down {cause:?}"),
        Observed::Ldp(LdpChange::Notification { status, fatal, .. }) => {
            format!("notification {status} {fatal}")
        }
        Observed::Ldp(LdpChange::Labels { speaker, mapped, withdrawn, withdrawn_all, .. }) => {
            format!("{speaker} +{mapped:?} -{withdrawn:?} {withdrawn_all}")
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn a_session_comes_up_moves_labels_and_ends_once() {
    let mut wire = Wire::default();
    wire.establish()
        .segment(
            B,
            A,
            tcp_flags::ACK,
            &pdu(&[
                message(message_type::ADDRESS, &tlv(0x0101, &[0, 1, 10, 0, 0, 2])),
                label(message_type::LABEL_MAPPING, &[2, 0, 1, 24, 192, 0, 2]),
                label(message_type::LABEL_MAPPING, &[2, 0, 2, 16, 0x20, 1]),
                label(message_type::LABEL_REQUEST, &[2, 0, 1, 8, 10]),
            ]),
        )
        .segment(
            B,
            A,
            tcp_flags::ACK,
            &pdu(&[
                label(message_type::LABEL_WITHDRAW, &[2, 0, 1, 24, 192, 0, 2, 2, 0, 1, 8, 10]),
                label(message_type::LABEL_RELEASE, &[1]),
                label(message_type::LABEL_WITHDRAW, &[1]),
                message(message_type::ADDRESS_WITHDRAW, &[]),
            ]),
        )
        .segment(A, B, tcp_flags::ACK, &pdu(&[notification(0x2000_0011)]))
        .segment(A, B, tcp_flags::ACK, &pdu(&[notification(0xc000_000a)]))
        .segment(A, B, tcp_flags::FIN, &[])
        .segment(B, A, tcp_flags::RST, &[]);
    let (seen, summary) = wire.read();
    assert_eq!(
        seen,
        [
            "up 45",
            "10.0.0.2 +[192.0.2.0/24] -[] false",
            "10.0.0.2 +[2001::/16] -[] false",
            "10.0.0.2 +[] -[192.0.2.0/24, 10.0.0.0/8] false",
            "10.0.0.2 +[] -[] true",
            "notification 536870929 false",
            "notification 10 true",
            "down Notification",
        ]
    );
    let ldp = summary.ldp;
    assert_eq!((ldp.initialization, ldp.keepalive, ldp.notification), (2, 2, 2));
    assert_eq!((ldp.address, ldp.address_withdraw), (1, 1));
    assert_eq!((ldp.label_mapping, ldp.label_request), (2, 1));
    assert_eq!((ldp.label_withdraw, ldp.label_release), (2, 1));
    assert_eq!((summary.undecodable, summary.gaps, summary.streams), (0, 0, 1));
}

#[test]
fn the_end_is_told_by_what_is_seen_first() {
    for (flags, cause) in [
        (tcp_flags::FIN, "down Closed"),
        (tcp_flags::RST | tcp_flags::ACK, "down Reset"),
        // Without ACK: there is no such connection any more.
        (tcp_flags::RST, "down Forgotten"),
    ] {
        let mut wire = Wire::default();
        wire.establish().segment(B, A, flags, &[]).segment(A, B, tcp_flags::RST, &[]);
        assert_eq!(wire.read().0, ["up 45", cause]);
    }
    let mut refused = Wire::default();
    refused
        .handshake()
        .segment(A, B, tcp_flags::ACK, &pdu(&[initialization(180)]))
        .segment(B, A, tcp_flags::ACK, &pdu(&[notification(0x8000_0010)]))
        .segment(B, A, tcp_flags::FIN, &[]);
    assert_eq!(refused.read().0, ["notification 16 true"], "it never was up");
}

#[test]
fn a_connection_found_in_its_middle_is_presumed_up() {
    let mut wire = Wire::default();
    wire.segment(B, A, tcp_flags::ACK, &pdu(&[keepalive()])).segment(A, B, tcp_flags::RST, &[]);
    assert_eq!(wire.read().0, ["down Forgotten"]);
}

#[test]
fn withheld_keepalives_are_no_gap() {
    let mut wire = Wire::default();
    wire.establish();
    let (a, b): (SocketAddr, SocketAddr) = (A.parse().unwrap(), B.parse().unwrap());
    let next = wire.next[&(b, a)];
    let mapping = pdu(&[label(message_type::LABEL_MAPPING, &[2, 0, 1, 8, 10])]);
    let withheld = 2 * KEEPALIVE_PDU_LEN as u32;
    wire.push(b, a, next.wrapping_add(withheld), tcp_flags::ACK, withheld, &mapping);
    let (seen, summary) = wire.read();
    assert_eq!(seen, ["up 45", "10.0.0.2 +[10.0.0.0/8] -[] false"]);
    assert_eq!(summary.gaps, 0);
    assert_eq!(pdu(&[keepalive()]).len(), KEEPALIVE_PDU_LEN);
}

#[test]
fn hellos_are_told_when_they_change() {
    let address = tlv(tlv_type::IPV4_TRANSPORT_ADDRESS, &[10, 0, 0, 9]);
    let mut wire = Wire::default();
    let all = "224.0.0.2";
    wire.hello("10.0.1.1", all, &hello(15, 0, &address))
        .hello("10.0.1.1", all, &hello(15, 0, &address))
        .hello("10.0.1.1", all, &hello(30, 0, &address))
        .hello("10.0.1.1", "10.0.0.7", &hello(0, 0x80, &[]))
        .hello("10.0.1.1", all, &hello(30, 0, &address)[..12]);
    let (seen, summary) = wire.read();
    assert_eq!(
        seen,
        ["hello 15 false Some(10.0.0.9)", "hello 30 false Some(10.0.0.9)", "hello 0 true None"]
    );
    assert_eq!((summary.ldp.hello, summary.undecodable), (4, 1));
}

#[test]
fn unknown_elements_end_a_fec_and_faults_discard_it() {
    let read = |fec: &[u8]| {
        let bytes = pdu(&[label(message_type::LABEL_MAPPING, fec)]);
        let pdu = Pdu::parse(&bytes).unwrap();
        Fec::parse(&pdu.messages().next().unwrap().unwrap())
    };
    assert_eq!(read(&[0x80, 1, 2, 3]).unwrap(), Fec::default(), "a pseudowire");
    assert!(read(&[5, 2, 2, 0, 1]).unwrap().all, "typed wildcard of IPv4 prefixes");
    assert!(!read(&[5, 0x80, 1, 0]).unwrap().all, "typed wildcard of pseudowires");
    for bad in [&[2, 0, 1, 33, 1, 2, 3, 4, 5][..], &[2, 0, 7, 0], &[2, 0, 1, 24, 1], &[5, 2, 9]] {
        assert!(read(bad).is_err(), "{bad:?}");
    }
    assert_eq!(
        read(&[2, 0, 1, 24, 1]).unwrap_err().to_string(),
        "in LDP prefix FEC: at byte 4: 6 octets are needed"
    );
}

#[test]
fn frames_are_measured() {
    let whole = pdu(&[keepalive()]);
    assert_eq!(frame(&whole), Ok(Some(18)));
    for cut in 0..18 {
        assert_eq!(frame(&whole[..cut]), Ok(None), "cut at {cut}");
    }
    assert_eq!(frame(&[0, 2, 0, 14]), Err(LdpError::Version(2)));
    assert_eq!(frame(&[0, 1, 0, 5]), Err(LdpError::PduLength(5)));
    assert_eq!(plausible_start(&whole), Some(true));
    assert_eq!(plausible_start(&whole[..12]), None);
}

proptest! {
    /// Whatever comes in a PDU, reading it ends, and counts no more messages than fit.
    #[test]
    fn any_bytes_are_read(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        known in proptest::collection::vec((0usize..11, proptest::collection::vec(any::<u8>(), 0..24)), 0..8),
    ) {
        const KINDS: [u16; 11] =
            [1, 0x100, 0x200, 0x201, 0x202, 0x300, 0x301, 0x400, 0x401, 0x402, 0x403];
        let mut messages: Vec<_> = known
            .iter()
            .map(|(kind, value)| message(KINDS[*kind], &tlv(tlv_type::FEC, value)))
            .collect();
        messages.push(body);
        let bytes = pdu(&messages);
        let mut wire = Wire::default();
        wire.handshake().segment(A, B, tcp_flags::ACK, &bytes);
        wire.hello("10.0.1.1", "224.0.0.2", &bytes);
        let (_, summary) = wire.read();
        let ldp = serde_json::to_value(summary.ldp).unwrap();
        let count: u64 = ldp.as_object().unwrap().values().filter_map(|v| v.as_u64()).sum();
        prop_assert!(count <= 2 * (bytes.len() / MESSAGE_HEADER_LEN) as u64);
    }
}
