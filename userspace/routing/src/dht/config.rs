//! How a node of the DHT is set up, and its URL.
//!
//! ```text
//! dht:///DIRECTORY?listen=ADDRESS&bootstrap=ADDRESS/p2p/ID&…
//! ```
//!
//! | parameter | value | without it |
//! |---|---|---|
//! | `listen` | address to listen at, may be repeated | loopback, TCP and QUIC, any port |
//! | `bootstrap` | address of a known node with its id, may be repeated | none: the node waits for others |
//! | `announce` | address at which others reach this node, may be repeated | those it listens at |
//! | `private` | file with a pre-shared key in libp2p's format | an open network |
//! | `mdns` | `on`: look for nodes in the local network | `off` |
//! | `replicas` | nodes that keep each packet, 1 to 20 | 20 |
//! | `packets` | packets kept here at most | 1,000,000 |
//!
//! Owns what can be said there. Never opens anything but the file of the pre-shared key.
//!
//! **Invariant:** what is accepted can be used: an address that nothing here can listen at or dial is
//! refused with a reason.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edgelore_pipeline::fingerprint::Space;
use libp2p::multiaddr::Protocol;
use libp2p::pnet::PreSharedKey;
use libp2p::{Multiaddr, PeerId};
use reqwest::Url;

use crate::backend::BackendError;
use crate::embedded::{Now, system_time};

/// The most nodes that keep one packet: Kademlia's k.
pub const REPLICAS_MAX: usize = 20;
/// Addresses of one kind.
const ADDRESSES_MAX: usize = 64;
const LOOPBACK: [&str; 2] = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"];

/// How a node is started.
#[derive(Clone)]
pub struct DhtConfig {
    /// Where its packets and its key lie.
    pub directory: PathBuf,
    /// Addresses to listen at, as multiaddresses.
    pub listen: Vec<String>,
    /// Nodes to begin with, as multiaddresses that end in `/p2p/ID`.
    pub bootstrap: Vec<String>,
    /// Addresses at which others reach it.
    pub announce: Vec<String>,
    /// A key without which nobody joins, in libp2p's format for such files; TCP only.
    pub private: Option<String>,
    /// Look for nodes in the local network.
    pub mdns: bool,
    /// Nodes that keep each packet, at most [`REPLICAS_MAX`]. The same in the whole network.
    pub replicas: usize,
    /// Packets kept here at most.
    pub packets_max: usize,
    /// How often the node looks for copies that are missing, here and elsewhere.
    pub upkeep: Duration,
    /// The similarity definition.
    pub space: Space,
    /// The clock; packets expire by it.
    pub now: Now,
}

impl fmt::Debug for DhtConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the pre-shared key.
        f.debug_struct("DhtConfig")
            .field("directory", &self.directory)
            .field("listen", &self.listen)
            .field("bootstrap", &self.bootstrap)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

impl DhtConfig {
    /// A node on loopback that knows nobody, with the shipped similarity definition and the
    /// system's clock.
    #[must_use]
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            listen: LOOPBACK.map(str::to_owned).to_vec(),
            bootstrap: Vec::new(),
            announce: Vec::new(),
            private: None,
            mdns: false,
            replicas: REPLICAS_MAX,
            packets_max: 1_000_000,
            upkeep: Duration::from_secs(10),
            space: Space::default_definition(),
            now: Arc::new(system_time),
        }
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// [`BackendError::Request`] that says which parameter is wrong and why.
    pub fn from_url(url: &str) -> Result<Self, BackendError> {
        let url = Url::parse(url).map_err(|error| refused(&error.to_string()))?;
        if url.scheme() != "dht" || url.host_str().is_some_and(|host| !host.is_empty()) {
            return Err(refused("it is not of the form dht:///DIRECTORY?…"));
        }
        let directory = url.to_file_path().ok().filter(|path| path.file_name().is_some());
        let directory = directory.ok_or_else(|| refused("it names no directory"))?;
        let (mut config, mut listen) = (Self::in_directory(directory), Vec::new());
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "listen" => listen.push(value.into_owned()),
                "bootstrap" => config.bootstrap.push(value.into_owned()),
                "announce" => config.announce.push(value.into_owned()),
                "private" => config.private = Some(key_file(&value)?),
                "mdns" => config.mdns = switch(&value)?,
                "replicas" => config.replicas = number("replicas", &value, REPLICAS_MAX)?,
                "packets" => config.packets_max = number("packets", &value, usize::MAX)?,
                other => return Err(refused(&format!("it has no parameter '{other}'"))),
            }
        }
        if !listen.is_empty() {
            config.listen = listen;
        } else if config.private.is_some() {
            config.listen.retain(|address| address.contains("/tcp/"));
        }
        config.check()?;
        Ok(config)
    }

    /// What the addresses and the key say.
    pub(super) fn check(&self) -> Result<Checked, BackendError> {
        let private = self.private.as_deref().map(pre_shared).transpose()?;
        let tcp_only = private.is_some();
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            return Err(refused(&format!("replicas are 1 to {REPLICAS_MAX}")));
        }
        Ok(Checked {
            listen: addresses("listen", &self.listen, tcp_only)?,
            announce: addresses("announce", &self.announce, tcp_only)?,
            bootstrap: addresses("bootstrap", &self.bootstrap, tcp_only)?
                .into_iter()
                .map(known)
                .collect::<Result<_, _>>()?,
            private,
        })
    }
}

/// A configuration that can be used.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) listen: Vec<Multiaddr>,
    pub(super) announce: Vec<Multiaddr>,
    pub(super) bootstrap: Vec<(PeerId, Multiaddr)>,
    pub(super) private: Option<PreSharedKey>,
}

fn refused(reason: &str) -> BackendError {
    BackendError::Request(format!("the URL of the DHT: {reason}"))
}

fn addresses(name: &str, texts: &[String], tcp_only: bool) -> Result<Vec<Multiaddr>, BackendError> {
    if texts.len() > ADDRESSES_MAX {
        return Err(refused(&format!("more than {ADDRESSES_MAX} addresses to {name}")));
    }
    texts.iter().map(|text| address(name, text, tcp_only)).collect()
}

fn address(name: &str, text: &str, tcp_only: bool) -> Result<Multiaddr, BackendError> {
    let wrong = |reason: &str| refused(&format!("{name} '{text}': {reason}"));
    let address: Multiaddr = text.parse().map_err(|error| wrong(&format!("{error}")))?;
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let transport = match parts.as_slice() {
        [Protocol::Ip4(_) | Protocol::Ip6(_), transport @ ..] => transport,
        _ => return Err(wrong("it does not begin with /ip4/ or /ip6/")),
    };
    match transport {
        [Protocol::Tcp(_)] | [Protocol::Tcp(_), Protocol::P2p(_)] => Ok(address),
        [Protocol::Udp(_), Protocol::QuicV1]
        | [Protocol::Udp(_), Protocol::QuicV1, Protocol::P2p(_)] => match tcp_only {
            true => Err(wrong("a private network speaks TCP only")),
            false => Ok(address),
        },
        _ => Err(wrong("it is neither /tcp/PORT nor /udp/PORT/quic-v1")),
    }
}

/// An address with the id of the node there.
fn known(address: Multiaddr) -> Result<(PeerId, Multiaddr), BackendError> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Ok((peer, address)),
        _ => Err(refused(&format!("bootstrap '{address}': it does not end in /p2p/ID"))),
    }
}

fn number(name: &str, value: &str, most: usize) -> Result<usize, BackendError> {
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| refused(&format!("{name}={value} is no number from 1 to {most}")))
}

fn switch(value: &str) -> Result<bool, BackendError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(refused(&format!("mdns={value} is neither on nor off"))),
    }
}

fn key_file(path: &str) -> Result<String, BackendError> {
    std::fs::read_to_string(path).map_err(|error| refused(&format!("reading {path}: {error}")))
}

fn pre_shared(text: &str) -> Result<PreSharedKey, BackendError> {
    text.parse().map_err(|error| refused(&format!("the pre-shared key: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    #[test]
    fn a_url_says_everything() {
        let text = format!(
            "dht:///var/lib/a%20b?listen=/ip4/0.0.0.0/tcp/4601&listen=/ip6/::/udp/4601/quic-v1\
             &bootstrap=/ip4/192.0.2.1/tcp/1/p2p/{ID}&announce=/ip4/192.0.2.9/tcp/2\
             &mdns=on&replicas=7&packets=5000"
        );
        let config = DhtConfig::from_url(&text).unwrap();
        assert_eq!(config.directory, PathBuf::from("/var/lib/a b"));
        assert_eq!((config.listen.len(), config.replicas, config.packets_max), (2, 7, 5_000));
        assert!(config.mdns && config.private.is_none());
        let checked = config.check().unwrap();
        assert_eq!(checked.bootstrap[0].0.to_string(), ID);
        assert_eq!(checked.announce.len(), 1);
        let plain = DhtConfig::from_url("dht:///x").unwrap();
        assert_eq!(plain.directory, PathBuf::from("/x"));
        assert!(plain.listen.iter().all(|address| address.starts_with("/ip4/127.0.0.1/")));
        assert_eq!((plain.replicas, plain.mdns), (REPLICAS_MAX, false));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_reason() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let psk = format!("/key/swarm/psk/1.0.0/\n/base16/\n{}", "a5".repeat(32));
        std::fs::write(file.path(), psk).unwrap();
        let private = file.path().display();
        for (url, reason) in [
            ("redis://x".to_owned(), "form dht:///DIRECTORY"),
            ("dht://host/x".to_owned(), "form dht:///DIRECTORY"),
            ("dht:///".to_owned(), "names no directory"),
            ("dht:///x?color=red".to_owned(), "no parameter 'color'"),
            ("dht:///x?listen=127.0.0.1:80".to_owned(), "listen '127.0.0.1:80'"),
            ("dht:///x?listen=/dns4/a/tcp/1".to_owned(), "begin with /ip4/ or /ip6/"),
            ("dht:///x?listen=/ip4/0.0.0.0/tcp/1/ws".to_owned(), "neither /tcp/PORT"),
            ("dht:///x?bootstrap=/ip4/192.0.2.1/tcp/1".to_owned(), "end in /p2p/ID"),
            ("dht:///x?mdns=yes".to_owned(), "neither on nor off"),
            ("dht:///x?replicas=0".to_owned(), "1 to 20"),
            ("dht:///x?replicas=21".to_owned(), "1 to 20"),
            ("dht:///x?packets=many".to_owned(), "packets=many"),
            ("dht:///x?private=/nonexistent/file".to_owned(), "/nonexistent/file"),
            ("dht:///x?private=/dev/null".to_owned(), "pre-shared key"),
            (
                format!("dht:///x?private={private}&listen=/ip4/0.0.0.0/udp/1/quic-v1"),
                "speaks TCP only",
            ),
        ] {
            let error = DhtConfig::from_url(&url).unwrap_err();
            assert!(error.is_final() && error.to_string().contains(reason), "{url}: {error}");
        }
        let config = DhtConfig::from_url(&format!("dht:///x?private={private}")).unwrap();
        assert_eq!(config.listen, ["/ip4/127.0.0.1/tcp/0"]);
        assert!(!format!("{config:?}").contains("a5a5"));
    }
}
