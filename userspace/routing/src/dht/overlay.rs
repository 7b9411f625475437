//! The libp2p node: which transports and protocols it has, and their bounds.
//!
//! TCP with noise and yamux, or QUIC; Kademlia to find who is near a key, requests for packets,
//! gossip for news. Kademlia's own records are not used: a record has one value, and what several
//! nodes append to a cell at once would overwrite one another.
//!
//! Owns the parameters. Never handles an event.
//!
//! **Invariant:** connections, streams, frames and the gossip's messages have bounds.

use std::time::Duration;

use edgelore_kernels::sha256;
use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::pnet::{PnetConfig, PreSharedKey};
use libp2p::request_response::ProtocolSupport;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, Transport as _, gossipsub, identify,
    kad, mdns, noise, request_response, tcp, yamux,
};

use super::backoff;
use super::wire::{Codec, Protocols};
use crate::backend::BackendError;

/// Connections at the same time; two of one peer.
pub const CONNECTIONS_MAX: u32 = 256;
/// How long an answer of a peer is waited for.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a lookup of the nodes near a key takes at most.
pub(super) const LOOKUP_MAX: Duration = Duration::from_secs(5);
/// Requests of one connection that are answered at the same time.
const STREAMS_MAX: usize = 64;
/// Bytes of a message of the gossip: a packet and its frame.
const GOSSIP_BYTES_MAX: usize = 1_024;
/// Addresses that are believed of one peer.
const PEER_ADDRESSES_MAX: usize = 8;
/// How long a connection without use stays.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// The protocols of a node.
#[derive(NetworkBehaviour)]
pub(super) struct Overlay {
    blocked: allow_block_list::Behaviour<BlockedPeers>,
    limits: connection_limits::Behaviour,
    backoff: backoff::Behaviour,
    identify: identify::Behaviour,
    pub(super) kad: kad::Behaviour<MemoryStore>,
    pub(super) gossip: gossipsub::Behaviour,
    pub(super) wire: request_response::Behaviour<Codec>,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Overlay {
    fn new(key: &Keypair, protocols: Protocols, mdns: bool) -> Result<Self, BackendError> {
        let peer = key.public().to_peer_id();
        let identify = identify::Config::new("/edgelore/1".to_owned(), key.public())
            .with_agent_version(format!("edgelore/{}", env!("CARGO_PKG_VERSION")));
        let mdns = mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer));
        let requests = request_response::Config::default()
            .with_request_timeout(ANSWER_MAX)
            .with_max_concurrent_streams(STREAMS_MAX);
        Ok(Self {
            blocked: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(limits()),
            backoff: backoff::Behaviour::default(),
            identify: identify::Behaviour::new(identify),
            kad: kademlia(peer, protocols.kademlia),
            gossip: gossip().map_err(|reason| unable("the gossip", &reason))?,
            wire: request_response::Behaviour::new(
                [protocols.statements, protocols.requests].map(|one| (one, ProtocolSupport::Full)),
                requests,
            ),
            mdns: mdns.transpose().map_err(|error| unable("mDNS", &error))?.into(),
        })
    }

    pub(super) fn block(&mut self, peer: PeerId) {
        self.blocked.block_peer(peer);
        self.kad.remove_peer(&peer);
    }

    /// A peer says where it is reached: the latest that it said are believed.
    pub(super) fn reached_at(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        for address in addresses.into_iter().take(PEER_ADDRESSES_MAX) {
            self.kad.add_address(&peer, address);
        }
        let known = self.addresses_of(peer);
        for old in &known[..known.len().saturating_sub(PEER_ADDRESSES_MAX)] {
            self.kad.remove_address(&peer, old);
        }
    }

    fn addresses_of(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        let Some(bucket) = self.kad.kbucket(peer) else { return Vec::new() };
        let of_peer = bucket.iter().filter(|entry| *entry.node.key.preimage() == peer);
        of_peer.flat_map(|entry| entry.node.value.iter().cloned()).collect()
    }

    /// As if the network between had failed.
    #[cfg(test)]
    pub(super) fn cut(&mut self, peer: PeerId) {
        self.blocked.block_peer(peer);
    }

    pub(super) fn unblock(&mut self, peer: PeerId) {
        self.blocked.unblock_peer(peer);
    }
}

fn limits() -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(CONNECTIONS_MAX / 2))
        .with_max_pending_outgoing(Some(CONNECTIONS_MAX))
        .with_max_established_incoming(Some(CONNECTIONS_MAX / 2))
        .with_max_established(Some(CONNECTIONS_MAX))
        .with_max_established_per_peer(Some(2))
}

/// Only its routing table and lookups are used: what others want it to store is not.
fn kademlia(peer: PeerId, protocol: StreamProtocol) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(protocol);
    config
        .set_query_timeout(LOOKUP_MAX)
        .set_substreams_timeout(ANSWER_MAX)
        .set_record_filtering(kad::StoreInserts::FilterBoth);
    let nothing = MemoryStoreConfig { max_records: 0, max_provided_keys: 0, ..Default::default() };
    let store = MemoryStore::with_config(peer, nothing);
    let mut kad = kad::Behaviour::with_config(peer, store, config);
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

fn gossip() -> Result<gossipsub::Behaviour, String> {
    let config = gossipsub::ConfigBuilder::default()
        .max_transmit_size(GOSSIP_BYTES_MAX)
        // The packets are signed; who passes one on is nobody's business.
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message| {
            let mut digest = [[0; 32]];
            sha256::digest_many(&[&message.data], &mut digest);
            // A packet goes to two topics.
            [&digest[0], message.topic.as_str().as_bytes()].concat().into()
        })
        .build()
        .map_err(|error| error.to_string())?;
    let mut gossip = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config)?;
    // Invalid messages count through the topics' default parameters; several gateways may share
    // an address, so that is no reason to doubt them.
    let scores = gossipsub::PeerScoreParams {
        ip_colocation_factor_weight: 0.0,
        ..gossipsub::PeerScoreParams::default()
    };
    gossip.with_peer_score(scores, gossipsub::PeerScoreThresholds::default())?;
    Ok(gossip)
}

fn unable(what: &str, reason: &dyn std::fmt::Display) -> BackendError {
    BackendError::Unavailable(format!("{what} does not start: {reason}"))
}

/// A node, which listens nowhere yet.
pub(super) fn swarm(
    key: Keypair,
    protocols: Protocols,
    private: Option<PreSharedKey>,
    mdns: bool,
) -> Result<Swarm<Overlay>, BackendError> {
    let failed = |error: &dyn std::fmt::Display| unable("the node", error);
    let behaviour = Overlay::new(&key, protocols, mdns)?;
    let config = |config: libp2p::swarm::Config| config.with_idle_connection_timeout(IDLE_MAX);
    let builder = SwarmBuilder::with_existing_identity(key).with_tokio();
    let swarm = match private {
        None => builder
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .map_err(|error| failed(&error))?
            .with_quic()
            .with_behaviour(|_| behaviour)
            .map_err(|error| failed(&error))?
            .with_swarm_config(config)
            .with_connection_timeout(ANSWER_MAX)
            .build(),
        Some(shared) => builder
            .with_other_transport(move |key| {
                let noise = noise::Config::new(key)?;
                Ok(tcp::tokio::Transport::new(tcp::Config::default())
                    .and_then(move |socket, _| PnetConfig::new(shared).handshake(socket))
                    .upgrade(Version::V1Lazy)
                    .authenticate(noise)
                    .multiplex(yamux::Config::default()))
            })
            .map_err(|error| failed(&error))?
            .with_behaviour(|_| behaviour)
            .map_err(|error| failed(&error))?
            .with_swarm_config(config)
            .with_connection_timeout(ANSWER_MAX)
            .build(),
    };
    Ok(swarm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_pipeline::fingerprint::Space;

    #[tokio::test]
    async fn of_a_peer_that_says_ever_new_addresses_the_latest_are_believed() {
        let key = Keypair::generate_ed25519();
        let protocols = Protocols::of(&Space::default_definition());
        let mut overlay = Overlay::new(&key, protocols, false).unwrap();
        let peer = PeerId::random();
        let address = |port| format!("/ip4/192.0.2.1/tcp/{port}").parse::<Multiaddr>().unwrap();
        for ports in (1..1_000).collect::<Vec<u16>>().chunks(5) {
            overlay.reached_at(peer, ports.iter().copied().map(address).collect());
            assert!(overlay.addresses_of(peer).len() <= PEER_ADDRESSES_MAX);
        }
        let latest: Vec<Multiaddr> = (992..1_000).map(address).collect();
        let known = overlay.addresses_of(peer).into_iter();
        assert_eq!(
            known.map(|one| one.with_p2p(peer).unwrap()).collect::<Vec<_>>(),
            latest.into_iter().map(|one| one.with_p2p(peer).unwrap()).collect::<Vec<_>>()
        );
    }
}
