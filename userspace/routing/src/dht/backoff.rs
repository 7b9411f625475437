//! Leaves alone for a while who could not be reached.
//!
//! Lookups dial whomever other nodes name. When nodes have died, others go on naming them for a
//! time, and each lookup would wait for them anew.
//!
//! Owns when a peer could last not be reached. Never keeps a peer from connecting to this node.
//!
//! **Invariant:** at most [`FAILED_MAX`] peers are remembered, none longer than [`LEFT_ALONE`].

use std::collections::HashMap;
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionEstablished, DialFailure, FromSwarm};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, DialError, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

/// How long a peer is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(15);
/// Peers that are remembered.
const FAILED_MAX: usize = 1_024;

/// It was tried just now.
#[derive(Debug, thiserror::Error)]
#[error("could not be reached just now")]
struct Unreachable;

/// Who could not be reached, and when.
#[derive(Debug, Default)]
pub(super) struct Behaviour(HashMap<PeerId, Instant>);

impl Behaviour {
    fn failed(&mut self, peer: PeerId) {
        if self.0.len() >= FAILED_MAX {
            self.0.retain(|_, since| since.elapsed() < LEFT_ALONE);
        }
        if self.0.len() < FAILED_MAX {
            self.0.insert(peer, Instant::now());
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        match peer.and_then(|peer| self.0.get(&peer)) {
            Some(since) if since.elapsed() < LEFT_ALONE => Err(ConnectionDenied::new(Unreachable)),
            _ => Ok(Vec::new()),
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::DialFailure(DialFailure {
                peer_id: Some(peer),
                error: DialError::Transport(_),
                ..
            }) => self.failed(peer),
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, .. }) => {
                self.0.remove(&peer_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
