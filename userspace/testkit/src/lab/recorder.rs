//! What passed a vantage point, as a capture file: the control plane's packets of some interfaces,
//! read from one `AF_PACKET` socket and written as pcapng with one section and an interface each.
//!
//! Never does: use any of Edgelore's own ways to a packet.
//!
//! Invariant: packets are in the order in which the kernel stamped them per interface, with
//! nanoseconds; a packet that the socket's buffer could not hold is counted, and then
//! [`Recorder::finish`] refuses the file.

use crate::NetNs;
use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
    recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal};
use std::fs::File;
use std::io::{BufWriter, IoSliceMut, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Bytes kept of a packet: more than any, segments before segmentation included.
const SNAP_BYTES: usize = 128 << 10;
/// Receive buffer of the socket, bytes.
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;
/// How often the thread looks whether it should end, in µs.
const STOP_CHECK_US: i64 = 50_000;
/// `PACKET_OUTGOING` (packet(7)).
const OUTGOING: u8 = 4;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;
/// BGP, LDP, BMP.
const TCP_PORTS: [u16; 3] = [179, 646, 1790];
/// LDP hellos; BFD control, echo and multihop.
const UDP_PORTS: [u16; 4] = [646, 3784, 3785, 4784];
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_OSPF: u8 = 89;

/// Which way packets must go to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Both: a router, where a packet of a session is seen once.
    Both,
    /// What comes in: a bridge, where all that goes out came in before.
    Incoming,
}

/// A running recording.
#[derive(Debug)]
pub struct Recorder {
    file: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Recorded>>>,
}

/// What a recording holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Packets written.
    pub packets: u64,
    /// Packets of any kind that the socket lost.
    pub lost: u32,
}

impl Recorder {
    /// Starts writing to `file` what passes `interfaces` of a namespace. Needs root.
    ///
    /// # Errors
    /// When an interface does not exist, or socket or file cannot be opened.
    pub fn start(namespace: &NetNs, interfaces: &[&str], ways: Ways, file: &Path) -> Result<Self> {
        let (socket, indices) = namespace.run(|| {
            let indices = interfaces
                .iter()
                .map(|name| if_nametoindex(*name).with_context(|| format!("find {name}")))
                .collect::<Result<Vec<u32>>>()?;
            Ok((open()?, indices))
        })?;
        let mut out = BufWriter::new(
            File::create(file).with_context(|| format!("create {}", file.display()))?,
        );
        write_head(&mut out, interfaces).context("write the capture's head")?;
        let stop = Arc::<AtomicBool>::default();
        let theirs = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || record(&socket, &indices, ways, out, &theirs))
            .context("start the recorder")?;
        Ok(Self { file: file.to_owned(), stop, thread: Some(thread) })
    }

    /// Ends the recording; the file is whole then.
    ///
    /// # Errors
    /// When it could not be written, or packets were lost.
    pub fn finish(mut self) -> Result<Recorded> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().expect("it is taken only here and when dropped");
        let recorded = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let recorded = recorded.with_context(|| format!("record {}", self.file.display()))?;
        ensure!(
            recorded.lost == 0,
            "the recording {} lost {} packets",
            self.file.display(),
            recorded.lost
        );
        Ok(recorded)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open() -> Result<OwnedFd> {
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
            .context("open a packet socket")?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)
        .and_then(|()| setsockopt(&socket, sockopt::ReceiveTimestampns, &true))
        .and_then(|()| setsockopt(&socket, sockopt::RxqOvfl, &1))
        .and_then(|()| {
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, STOP_CHECK_US))
        })
        .context("set the packet socket's options")?;
    Ok(socket)
}

fn record(
    socket: &OwnedFd,
    indices: &[u32],
    ways: Ways,
    mut out: BufWriter<File>,
    stop: &AtomicBool,
) -> Result<Recorded> {
    let mut recorded = Recorded::default();
    let mut buffer = vec![0; SNAP_BYTES];
    let mut control = nix::cmsg_space!(TimeSpec, u32);
    // What was in the buffer when the end was asked for is still written.
    loop {
        let ending = stop.load(Ordering::Acquire);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = if ending { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
        let received =
            recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags);
        let (length, from, at) = match received {
            Ok(message) => {
                let (at, lost) = stamps(&message)?;
                recorded.lost = recorded.lost.max(lost);
                (message.bytes, message.address, at)
            }
            Err(nix::errno::Errno::EAGAIN) if ending => break,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => continue,
            // A bound interface that went down says so once; the others go on.
            Err(nix::errno::Errno::ENETDOWN) => continue,
            Err(error) => return Err(error).context("read the packet socket"),
        };
        let Some((from, at)) = from.zip(at) else { continue };
        let outgoing = from.pkttype() == OUTGOING;
        let index = indices.iter().position(|index| *index as usize == from.ifindex());
        let wanted = !(outgoing && ways == Ways::Incoming) && is_control(&buffer[..length]);
        if let (Some(interface), true) = (index, wanted) {
            write_packet(&mut out, u32::try_from(interface).unwrap_or(0), at, &buffer[..length])
                .context("write a packet")?;
            recorded.packets += 1;
        }
    }
    out.flush().context("write the rest")?;
    Ok(recorded)
}

/// The kernel's time of arrival, ns since the Unix epoch, and what it has lost so far.
fn stamps<S>(message: &nix::sys::socket::RecvMsg<'_, '_, S>) -> Result<(Option<u64>, u32)> {
    let (mut at, mut lost) = (None, 0);
    for control in message.cmsgs().context("read a packet's control messages")? {
        match control {
            ControlMessageOwned::ScmTimestampns(time) => {
                at = u64::try_from(time.tv_sec())
                    .ok()
                    .zip(u64::try_from(time.tv_nsec()).ok())
                    .map(|(seconds, nanos)| seconds * 1_000_000_000 + nanos);
            }
            ControlMessageOwned::RxqOvfl(count) => lost = count,
            _ => {}
        }
    }
    Ok((at, lost))
}

/// The packet is one of the protocols that gateways steer by.
fn is_control(frame: &[u8]) -> bool {
    control(frame).unwrap_or(false)
}

fn control(frame: &[u8]) -> Option<bool> {
    let be16 = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let (protocol, ports) = match be16(12)? {
        0x0800 => (*frame.get(23)?, 14 + usize::from(frame.get(14)? & 0x0f) * 4),
        0x86dd => (*frame.get(20)?, 54),
        // A length: IS-IS is behind LLC (ISO 10589 §8).
        0..=1500 => return Some(frame.get(14..17)? == [0xfe, 0xfe, 0x03]),
        _ => return Some(false),
    };
    let of = |known: &[u16]| -> Option<bool> {
        Some(known.contains(&be16(ports)?) || known.contains(&be16(ports + 2)?))
    };
    match protocol {
        PROTOCOL_OSPF => Some(true),
        PROTOCOL_TCP => of(&TCP_PORTS),
        PROTOCOL_UDP => of(&UDP_PORTS),
        _ => Some(false),
    }
}

/// Section header and interface descriptions (draft-ietf-opsawg-pcapng §4.1, §4.2).
fn write_head(out: &mut impl Write, interfaces: &[&str]) -> std::io::Result<()> {
    let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0]); // version 1.0
    section.extend(u64::MAX.to_le_bytes()); // a section of unknown length
    write_block(out, 0x0a0d_0d0a, &section)?;
    for name in interfaces {
        let mut body = ETHERNET.to_le_bytes().to_vec();
        body.extend([0; 2]);
        body.extend(0u32.to_le_bytes()); // no limit
        option(&mut body, 2, name.as_bytes()); // if_name
        option(&mut body, 9, &[9]); // if_tsresol: nanoseconds
        option(&mut body, 0, &[]);
        write_block(out, 1, &body)?;
    }
    Ok(())
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Enhanced packet block (§4.3).
fn write_packet(
    out: &mut impl Write,
    interface: u32,
    at_ns: u64,
    frame: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut body = interface.to_le_bytes().to_vec();
    body.extend(u32::try_from(at_ns >> 32).unwrap_or(0).to_le_bytes());
    body.extend(u32::try_from(at_ns & 0xffff_ffff).unwrap_or(0).to_le_bytes());
    body.extend(length);
    body.extend(length);
    body.extend(frame);
    body.resize(body.len().next_multiple_of(4), 0);
    write_block(out, 6, &body)
}

fn write_block(out: &mut impl Write, kind: u32, body: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    for part in [&kind.to_le_bytes()[..], &length, body, &length] {
        out.write_all(part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45]);
        frame.resize(23, 0);
        frame.push(protocol);
        frame.resize(34, 0);
        frame.extend(ports.map(u16::to_be_bytes).concat());
        frame
    }

    #[test]
    fn the_control_plane_is_told_from_what_users_send() {
        let isis = [&[0; 12][..], &[0, 3, 0xfe, 0xfe, 3]].concat();
        for (name, frame, expected) in [
            ("bgp", ipv4(PROTOCOL_TCP, [40_000, 179]), true),
            ("bmp", ipv4(PROTOCOL_TCP, [1790, 40_000]), true),
            ("http", ipv4(PROTOCOL_TCP, [40_000, 80]), false),
            ("bfd", ipv4(PROTOCOL_UDP, [50_000, 3784]), true),
            ("echo", ipv4(PROTOCOL_UDP, [50_000, 7]), false),
            ("ospf", ipv4(PROTOCOL_OSPF, [0, 0]), true),
            ("is-is", isis, true),
            ("arp", [&[0; 12][..], &[0x08, 0x06, 0, 1]].concat(), false),
            ("cut", vec![0; 13], false),
        ] {
            assert_eq!(is_control(&frame), expected, "{name}");
        }
    }

    #[test]
    fn blocks_state_their_length_twice_and_are_padded() {
        let mut out = Vec::new();
        write_head(&mut out, &["up0", "x"]).unwrap();
        let head = out.len();
        write_packet(&mut out, 1, 5_000_000_000, &[7; 5]).unwrap();
        let mut rest = &out[..];
        let mut kinds = Vec::new();
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let length = word(4) as usize;
            assert_eq!((length % 4, word(length - 4) as usize), (0, length));
            kinds.push(word(0));
            rest = &rest[length..];
        }
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 1, 6]);
        // Interface, both halves of the time, both lengths, five octets and their padding.
        let packet = &out[head + 8..];
        assert_eq!(packet[..4], 1u32.to_le_bytes());
        assert_eq!(packet[4..8], 1u32.to_le_bytes());
        assert_eq!(packet[8..12], 705_032_704u32.to_le_bytes());
        assert_eq!(packet[12..16], 5u32.to_le_bytes());
        assert_eq!(packet[20..28], [7, 7, 7, 7, 7, 0, 0, 0]);
    }
}
