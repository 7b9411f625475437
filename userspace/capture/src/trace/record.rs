//! Owns the conversion of the tracepoints' records into signals: one length check, one conversion.
//!
//! **Invariant:** no record, whatever its bytes, makes this panic or read past its end.

use bytemuck::pod_read_unaligned;
use edgelore_events::trace::{StateRecord, TimeoutRecord, record};
use edgelore_model::{KernelEvent, TcpState};
use std::mem::offset_of;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub(super) ktime_ns: u64,
    /// The device that it is about; `None` for a socket.
    pub(super) device: Option<String>,
    pub(super) event: KernelEvent,
}

/// Reads a record; `None` when it does not have the agreed form.
pub(super) fn parse(bytes: &[u8]) -> Option<Told> {
    let at = offset_of!(StateRecord, kind);
    match u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?) {
        record::STATE => state(pod_read_unaligned(bytes.get(..size_of::<StateRecord>())?)),
        record::TIMEOUT => {
            Some(timeout(pod_read_unaligned(bytes.get(..size_of::<TimeoutRecord>())?)))
        }
        _ => None,
    }
}

fn state(record: StateRecord) -> Option<Told> {
    let connection = record.connection;
    let event = KernelEvent::SocketState {
        local: SocketAddr::new(address(connection.local), connection.local_port),
        peer: SocketAddr::new(address(connection.peer), connection.peer_port),
        old: TcpState::from_kernel(record.old)?,
        new: TcpState::from_kernel(record.new)?,
    };
    Some(Told { ktime_ns: record.ktime_ns, device: None, event })
}

fn timeout(record: TimeoutRecord) -> Told {
    let name = record.name.split(|&octet| octet == 0).next().unwrap_or_default();
    Told {
        ktime_ns: record.ktime_ns,
        device: Some(String::from_utf8_lossy(name).into_owned()),
        event: KernelEvent::TransmitTimeout { queue: record.queue },
    }
}

/// An address of a socket. A mapped one is IPv4: that is what the packets carry, also when the
/// socket itself is of IPv6.
pub(super) fn address(octets: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(octets);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_events::trace::Connection;
    use proptest::prelude::*;

    fn state_record() -> StateRecord {
        let mut local = [0; 16];
        local[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        let connection =
            Connection { local, peer: Ipv6Addr::LOCALHOST.octets(), local_port: 179, peer_port: 7 };
        StateRecord { ktime_ns: 5, kind: record::STATE, connection, old: 7, new: 10 }
    }

    #[test]
    fn a_state_has_both_ends() {
        let told = parse(bytemuck::bytes_of(&state_record())).unwrap();
        let expected = KernelEvent::SocketState {
            local: "192.0.2.1:179".parse().unwrap(),
            peer: "[::1]:7".parse().unwrap(),
            old: TcpState::Close,
            new: TcpState::Listen,
        };
        assert_eq!(told, Told { ktime_ns: 5, device: None, event: expected });
    }

    #[test]
    fn a_timeout_has_its_device() {
        let mut name = [0; 16];
        name[..4].copy_from_slice(b"eth0");
        let record = TimeoutRecord { ktime_ns: 9, kind: record::TIMEOUT, queue: 3, name };
        let told = parse(bytemuck::bytes_of(&record)).unwrap();
        assert_eq!(told.device.as_deref(), Some("eth0"));
        assert_eq!(told.event, KernelEvent::TransmitTimeout { queue: 3 });
    }

    #[test]
    fn what_is_not_as_agreed_is_refused() {
        let whole = state_record();
        for (name, bytes) in [
            ("empty", vec![]),
            ("cut", bytemuck::bytes_of(&whole)[..55].to_vec()),
            ("kind", bytemuck::bytes_of(&StateRecord { kind: 3, ..whole }).to_vec()),
            ("old state", bytemuck::bytes_of(&StateRecord { old: 0, ..whole }).to_vec()),
            ("new state", bytemuck::bytes_of(&StateRecord { new: 99, ..whole }).to_vec()),
        ] {
            assert_eq!(parse(&bytes), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn random_records_never_panic(
            kind in 0u32..4, bytes in proptest::collection::vec(any::<u8>(), 0..80)
        ) {
            let mut bytes = bytes;
            if let Some(place) = bytes.get_mut(8..12) {
                place.copy_from_slice(&kind.to_ne_bytes());
            }
            parse(&bytes);
        }
    }
}
