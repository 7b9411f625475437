//! Frames and the packet socket that live tests of the ring send and receive them with.
#![allow(dead_code, reason = "each test binary uses its own part")]

use edgelore_testkit::NetNs;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, OwnedFd};

/// A KEEPALIVE message.
pub(crate) const KEEPALIVE: [u8; 19] =
    *b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x13\x04";
/// A BFD packet in state Down.
pub(crate) const BFD_DOWN: [u8; 24] = bfd(0x40, 0);
/// A BFD packet in state Up.
pub(crate) const BFD_UP: [u8; 24] = bfd(0xc0, 9);

const fn bfd(state: u8, your_discriminator: u8) -> [u8; 24] {
    [
        0x20,
        state,
        3,
        24,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        your_discriminator,
        0,
        4,
        0x93,
        0xe0,
        0,
        4,
        0x93,
        0xe0,
        0,
        0,
        0,
        0,
    ]
}

/// An UPDATE that withdraws 198.51.`third`.0/24.
pub(crate) fn update(third: u8) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend_from_slice(&[0, 27, 2, 0, 4, 24, 198, 51, third, 0, 0]);
    bytes
}

/// A frame of a connection from 192.0.2.1 port 40000 to 192.0.2.2 port 179.
pub(crate) fn tcp_frame(seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0x9c, 0x40, 0, 179];
    tcp.extend_from_slice(&seq.to_be_bytes());
    tcp.extend_from_slice(&[0, 0, 0, 1, 0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    tcp.extend_from_slice(payload);
    ipv4(6, &tcp)
}

/// A UDP frame to `port` of 192.0.2.2.
pub(crate) fn udp_frame(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut udp = vec![0xc0, 0];
    udp.extend_from_slice(&port.to_be_bytes());
    udp.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(payload);
    ipv4(17, &udp)
}

/// A BFD frame.
pub(crate) fn bfd_frame(port: u16, payload: &[u8]) -> Vec<u8> {
    udp_frame(port, payload)
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0xc0];
    frame.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0x40, 0, 255, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend_from_slice(payload);
    frame
}

/// A segment of an LDP session from 192.0.2.1 port 40000 to 192.0.2.2.
pub(crate) fn ldp_frame(seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = tcp_frame(seq, flags, payload);
    frame[36..38].copy_from_slice(&646u16.to_be_bytes());
    frame
}

/// An LDP KeepAlive.
pub(crate) const fn ldp_keepalive(message_id: u8) -> [u8; 18] {
    [0, 1, 0, 14, 192, 0, 2, 1, 0, 0, 2, 1, 0, 4, 0, 0, 0, message_id]
}

/// An LDP hello to 192.0.2.2 with a hold time of `hold_time_s`.
pub(crate) fn ldp_hello_frame(message_id: u8, hold_time_s: u8) -> Vec<u8> {
    let head = [0, 1, 0, 22, 192, 0, 2, 1, 0, 0, 1, 0, 0, 12, 0, 0, 0, message_id];
    udp_frame(646, &[&head[..], &[4, 0, 0, 4, 0, hold_time_s, 0, 0]].concat())
}

/// An OSPFv2 hello with cryptographic authentication, whose sequence number and digest are no
/// change.
pub(crate) fn ospf_hello_frame(sequence: u8, dead_interval_s: u8) -> Vec<u8> {
    let head = [2, 1, 0, 44, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 16, 0, 0, 0, sequence];
    let body = [255, 255, 255, 0, 0, 10, 2, 1, 0, 0, 0, dead_interval_s, 0, 0, 0, 0, 0, 0, 0, 0];
    ipv4(89, &[&head[..], &body, &[sequence; 16]].concat())
}

/// A level 2 IS-IS hello, padded as on a link of 1,500 bytes.
pub(crate) fn isis_hello_frame(holding_time_s: u8) -> Vec<u8> {
    let mut pdu = vec![0x83, 27, 1, 0, 16, 1, 0, 0, 3, 1, 2, 3, 4, 5, 6, 0, holding_time_s];
    pdu.resize(1497, 8);
    isis_frame(&pdu)
}

/// An IS-IS PDU from 02:00:00:00:00:01 over LLC.
pub(crate) fn isis_frame(pdu: &[u8]) -> Vec<u8> {
    let [high, low] = (3 + pdu.len() as u16).to_be_bytes();
    let head = [1, 0x80, 0xc2, 0, 0, 0x15, 2, 0, 0, 0, 0, 1, high, low, 0xfe, 0xfe, 3];
    [&head[..], pdu].concat()
}

/// The frame's packet under an MPLS label.
pub(crate) fn labelled(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x88, 0x47, 0, 1, 0x01, 64], &frame[14..]].concat()
}

/// The frame with a service and a customer tag.
pub(crate) fn tagged_twice(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x88, 0xa8, 0, 200, 0x81, 0, 0, 30], &frame[12..]].concat()
}

/// The frame's packet within GRE with a key, between other addresses.
pub(crate) fn tunnelled(frame: &[u8]) -> Vec<u8> {
    let gre = [&[0x20, 0, frame[12], frame[13], 0, 0, 0, 7], &frame[14..]].concat();
    let mut outer = ipv4(47, &gre);
    outer[29] = 99;
    outer
}

/// A packet socket on one interface.
pub(crate) struct Tap {
    socket: OwnedFd,
}

impl Tap {
    /// Opens one in `ns`.
    pub(crate) fn open(ns: &NetNs, interface: &str) -> Self {
        let socket = ns
            .run(|| {
                let socket = socket(
                    AddressFamily::Packet,
                    SockType::Raw,
                    SockFlag::SOCK_CLOEXEC,
                    SockProtocol::EthAll,
                )?;
                bind(&socket, if_nametoindex(interface)?)?;
                let patience = TimeVal::seconds(20);
                nix::sys::socket::setsockopt(
                    &socket,
                    nix::sys::socket::sockopt::ReceiveTimeout,
                    &patience,
                )?;
                Ok(socket)
            })
            .unwrap();
        Self { socket }
    }

    /// Sends a frame as it is.
    pub(crate) fn send(&self, frame: &[u8]) {
        assert_eq!(nix::unistd::write(&self.socket, frame).unwrap(), frame.len());
    }

    /// The next frame of `len` bytes that others sent.
    pub(crate) fn receive(&self, len: usize) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        loop {
            let (received, outgoing) = receive(&self.socket, &mut buffer).unwrap();
            if !outgoing && received == len {
                buffer.truncate(received);
                return buffer;
            }
        }
    }
}

fn bind(socket: &OwnedFd, ifindex: u32) -> std::io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: ifindex as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of_val(&address) as u32;
    // SAFETY: `address` is a valid `sockaddr_ll` of `len` bytes that outlives the call.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Received length, and whether the frame was sent by this host.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> std::io::Result<(usize, bool)> {
    // SAFETY: all-zero bytes are a valid `sockaddr_ll`.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&from) as u32;
    // SAFETY: buffer and address are valid for the lengths given and outlive the call.
    let received = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            (&raw mut from).cast(),
            &raw mut len,
        )
    };
    match usize::try_from(received) {
        Ok(received) => Ok((received, from.sll_pkttype == libc::PACKET_OUTGOING)),
        Err(_) => Err(std::io::Error::last_os_error()),
    }
}
