//! Which routing protocols this machine itself speaks, as its sockets tell.
//!
//! Owns the kernel's lists of sockets of one network namespace. Never learns who holds a socket:
//! a daemon of any name that speaks is heard, and one that runs elsewhere is not.
//!
//! **Invariant:** a list is read to at most `LIST_BYTES_MAX`; listening sockets come first.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};

/// So much of a list is read, in bytes: some 13,000 sockets.
const LIST_BYTES_MAX: u64 = 2 << 20;

/// Where the kernel lists the sockets of the calling thread's network namespace.
const LISTS: &str = "/proc/thread-self/net";
/// `TCP_TIME_WAIT` as the list has it: nobody speaks there any more.
const TIME_WAIT: &str = "06";
/// IANA's numbers.
const BGP: u16 = 179;
const LDP: u16 = 646;
/// RFC 5881, RFC 5883 and RFC 7130.
const BFD: [u16; 3] = [3784, 4784, 6784];
const OSPF: u16 = 89;
/// `SOCK_DGRAM` and `ETH_P_ALL`, `ETH_P_802_2`: frames of 802.2 without their Ethernet header.
const ISIS_TYPE: &str = "2";
const ISIS_PROTOCOLS: [&str; 2] = ["0003", "0004"];

/// How a list is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    Raw,
    Packet,
}

/// A kernel may have no IPv6, or no packet sockets.
const ALL: [(&str, Kind); 7] = [
    ("tcp", Kind::Tcp),
    ("tcp6", Kind::Tcp),
    ("udp", Kind::Udp),
    ("udp6", Kind::Udp),
    ("raw", Kind::Raw),
    ("raw6", Kind::Raw),
    ("packet", Kind::Packet),
];

/// The sockets of a network namespace.
#[derive(Debug)]
pub struct Sockets(Vec<(Kind, File)>);

impl Sockets {
    /// Opens the lists of the calling thread's network namespace; they stay those of that
    /// namespace, whichever thread reads them.
    ///
    /// # Errors
    /// When one of IPv4's cannot be opened, as where `/proc` is not mounted.
    pub fn open() -> io::Result<Self> {
        let mut lists = Vec::with_capacity(ALL.len());
        for (name, kind) in ALL {
            match File::open(format!("{LISTS}/{name}")) {
                Ok(list) => lists.push((kind, list)),
                Err(error) if name == "tcp" => return Err(error),
                Err(_) => {}
            }
        }
        Ok(Self(lists))
    }

    /// The routing protocols that are spoken now: sockets that listen, are connected or are bound.
    ///
    /// # Errors
    /// When a list cannot be read.
    pub fn spoken(&mut self) -> io::Result<BTreeSet<&'static str>> {
        let mut spoken = BTreeSet::new();
        for (kind, list) in &mut self.0 {
            list.rewind()?;
            for line in BufReader::new(list.take(LIST_BYTES_MAX)).lines().skip(1) {
                spoken.extend(protocol(*kind, &line?));
            }
        }
        Ok(spoken)
    }
}

/// The routing protocol of a line's socket.
fn protocol(kind: Kind, line: &str) -> Option<&'static str> {
    let mut words = line.split_ascii_whitespace();
    if kind == Kind::Packet {
        let (of, protocol) = (words.nth(2)?, words.next()?);
        return (of == ISIS_TYPE && ISIS_PROTOCOLS.contains(&protocol)).then_some("IS-IS");
    }
    let (local, remote) = (port(words.nth(1)?)?, port(words.next()?)?);
    let state = words.next()?;
    let either = |number| local == number || remote == number;
    match kind {
        Kind::Tcp if state == TIME_WAIT => None,
        Kind::Tcp if either(BGP) => Some("BGP"),
        Kind::Tcp | Kind::Udp if either(LDP) => Some("LDP"),
        Kind::Udp if BFD.contains(&local) => Some("BFD"),
        Kind::Raw if local == OSPF => Some("OSPF"),
        _ => None,
    }
}

/// `0100007F:00B3` ends in the port; a raw socket has its protocol there.
fn port(address: &str) -> Option<u16> {
    u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_told_apart() {
        // As the daemons of FRR 8.4 are listed, and others beside them.
        let lines = [
            (Kind::Tcp, "0: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:0", Some("BGP")),
            (Kind::Tcp, "4: 0100000A:D431 0200000A:00B3 01 00000000:00000000 00:0", Some("BGP")),
            (Kind::Tcp, "5: 0100000A:D431 0200000A:00B3 06 00000000:00000000 00:0", None),
            (Kind::Tcp, "1: 0100000A:0286 00000000:0000 0A 00000000:00000000 00:0", Some("LDP")),
            (Kind::Tcp, "2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:0", None),
            (Kind::Udp, "91: 00000000:0286 00000000:0000 07 00000000:00000000 00", Some("LDP")),
            (
                Kind::Udp,
                "1226: 00000000000000000000000000000000:0EC8 \
                 00000000000000000000000000000000:0000 07 00000000:00000000 00",
                Some("BFD"),
            ),
            (Kind::Udp, "13263: 00000000:12B0 00000000:0000 07 00000000:0000", Some("BFD")),
            (Kind::Udp, "13263: 00000000:00B3 00000000:0000 07 00000000:0000", None),
            (Kind::Raw, "162: 00000000:0059 00000000:0000 07 00000000:00000000", Some("OSPF")),
            (Kind::Raw, "1: 00000000:0001 00000000:0000 07 00000000:00000000 0", None),
            (Kind::Packet, "cab3d3d3 3      2    0003   3     1 0      104    50", Some("IS-IS")),
            (Kind::Packet, "5fa6dd90 3      3    0800   0     1 0      104    51", None),
            (Kind::Packet, "5fa6dd90 3      3    0003   2     1 0      104    51", None),
        ];
        for (kind, line, expected) in lines {
            assert_eq!(protocol(kind, line), expected, "{line}");
            for cut in 0..line.len() {
                // Nothing but a cut that looks like another socket: never a panic.
                let _ = protocol(kind, &line[..cut]);
            }
        }
    }
}
