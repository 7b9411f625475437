//! What matters of an interface before programs are attached to it.
//!
//! Asks once and changes nothing.
//!
//! **Invariant:** no answer of the kernel makes this panic.

use super::NetlinkError;
use super::message::{self, NLMSG_ERROR, RTM_GETLINK, RTM_NEWLINK};
use super::socket::{Received, RouteSocket};
use netlink_packet_core::NlasIterator;
use nix::libc;
use nix::net::if_::if_nametoindex;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFF_UP: u32 = 0x1;
const IFF_LOWER_UP: u32 = 0x1_0000;
const LINK_HEADER: usize = 16;
/// Kinds of interfaces that stand on others of their namespace, and those where nothing comes in.
const STACKED: [&[u8]; 9] =
    [b"bridge", b"bond", b"team", b"vlan", b"macvlan", b"ipvlan", b"vrf", b"dummy", b"nlmon"];
/// The nested flag and the byte order flag of an attribute's type.
const TYPE_MASK: u16 = 0x3fff;
/// `ETHTOOL_GFLAGS` and `ETH_FLAG_LRO` of `linux/ethtool.h`.
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_LRO: u32 = 1 << 15;
/// Of `linux/sockios.h`.
const SIOCETHTOOL: u32 = 0x8946;

/// An interface as the kernel describes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its index.
    pub index: u32,
    /// Administratively up.
    pub admin_up: bool,
    /// Lower layer up.
    pub carrier: bool,
    /// Bytes of a packet at most.
    pub mtu: u32,
    /// The XDP program that is attached, by its number in the kernel.
    pub xdp_program: Option<u32>,
    /// Whatever comes in here has come in through another interface of this namespace before: a
    /// bridge, a bond, a VLAN; or nothing comes in at all.
    pub stacked: bool,
    /// Whether the card merges received segments (LRO); `None` when the driver does not say.
    pub lro: Option<bool>,
}

impl Device {
    /// Asks for an interface of this thread's network namespace; `None` when there is none of
    /// that name.
    ///
    /// # Errors
    /// When a socket call fails or the answer does not decode.
    pub fn find(name: &str) -> Result<Option<Self>, NetlinkError> {
        let Ok(index) = if_nametoindex(name) else { return Ok(None) };
        let mut socket = RouteSocket::open()?;
        let sequence = socket.next_sequence();
        let header = message::link_header(index);
        socket.send(&message::request(RTM_GETLINK, 0, sequence, &header, None))?;
        while let Received::Datagram(length) = socket.receive()? {
            for message in message::messages(socket.datagram(length)) {
                let Ok((header, payload)) = message else { break };
                match header.kind {
                    RTM_NEWLINK if header.sequence == sequence => {
                        return Ok(read(payload).map(|read| Self { lro: lro(name), ..read }));
                    }
                    NLMSG_ERROR => return Ok(None),
                    _ => {}
                }
            }
        }
        let source = io::Error::from(io::ErrorKind::UnexpectedEof);
        Err(NetlinkError::Refused { request: "RTM_GETLINK", source })
    }
}

/// Reads the answer; `None` when it is cut short.
fn read(payload: &[u8]) -> Option<Device> {
    let (header, attributes) = payload.split_at_checked(LINK_HEADER)?;
    let flags = word(header.get(8..)?)?;
    let mut device = Device {
        index: word(header.get(4..)?)?,
        admin_up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        ..Device::default()
    };
    let mut elsewhere = false;
    for attribute in NlasIterator::new(attributes) {
        let Ok(attribute) = attribute else { break };
        match attribute.kind() & TYPE_MASK {
            IFLA_LINK_NETNSID => elsewhere = true,
            IFLA_LINKINFO => device.stacked = stacked(attribute.value()),
            IFLA_MTU => device.mtu = word(attribute.value()).unwrap_or_default(),
            IFLA_XDP => device.xdp_program = program(attribute.value()),
            _ => {}
        }
    }
    device.stacked &= !elsewhere;
    Some(device)
}

fn stacked(nested: &[u8]) -> bool {
    let known = |kind: &[u8]| STACKED.contains(&kind.strip_suffix(&[0]).unwrap_or(kind));
    inside(nested, IFLA_INFO_KIND, known).unwrap_or_default()
}

fn program(nested: &[u8]) -> Option<u32> {
    inside(nested, IFLA_XDP_PROG_ID, word)?.filter(|number| *number != 0)
}

/// What `read` makes of the first attribute of a kind among nested ones.
fn inside<R>(nested: &[u8], kind: u16, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let mut attributes = NlasIterator::new(nested).map_while(Result::ok);
    let found = attributes.find(|attribute| attribute.kind() & TYPE_MASK == kind)?;
    Some(read(found.value()))
}

fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// `struct ethtool_value`.
#[repr(C)]
struct Flags {
    command: u32,
    flags: u32,
}

fn lro(name: &str) -> Option<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let mut flags = Flags { command: ETHTOOL_GFLAGS, flags: 0 };
    // SAFETY: all zeros is a valid value of this structure of integers and pointers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (place, octet) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *place = octet as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut flags).cast();
    // SAFETY: the request and the flags it points to are valid for reading and writing, and the
    // name ends in zero.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    (result == 0).then_some(flags.flags & ETH_FLAG_LRO != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_described_and_what_is_not_there_is_not() {
        let loopback = Device::find("lo").unwrap().expect("every namespace has a loopback");
        assert_eq!((loopback.index, loopback.xdp_program), (1, None));
        assert!(loopback.mtu >= 576);
        assert_eq!(Device::find("el_none").unwrap(), None);
    }

    #[test]
    fn an_answer_is_read_attribute_by_attribute_and_cut_ones_are_harmless() {
        let mut answer = vec![0; LINK_HEADER];
        answer[4] = 7;
        answer[8] = 1;
        answer.extend([8, 0, 4, 0, 0xdc, 5, 0, 0]);
        answer.extend([16, 0, 18, 0x80, 11, 0, 1, 0]);
        answer.extend(b"bridge\0\0");
        answer.extend([20, 0, 43, 0x80, 5, 0, 2, 0, 1, 0, 0, 0, 8, 0, 4, 0, 9, 0, 0, 0]);
        let device = read(&answer).unwrap();
        assert_eq!((device.index, device.mtu, device.xdp_program), (7, 1500, Some(9)));
        assert!(device.admin_up && !device.carrier && device.stacked);
        for cut in 0..answer.len() {
            assert_eq!(read(&answer[..cut]).is_some(), cut >= LINK_HEADER);
        }
        // What it stands on is in another namespace.
        answer.extend([8, 0, 37, 0, 1, 0, 0, 0]);
        assert!(!read(&answer).unwrap().stacked);
    }
}
