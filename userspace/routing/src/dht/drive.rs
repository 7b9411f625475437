//! The node's loop: the only place where the swarm is touched.
//!
//! What takes time (verifying, the disk) runs in tasks, which give back orders.
//!
//! Owns the swarm, the peers' standing and who waits for which answer. Never waits for a task.
//!
//! **Invariant:** whoever waits gets an answer or sees that there is none: a lookup, a request and a
//! stream of a peer each end by their own timeouts.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as startup};
use std::time::{Duration, Instant};

use libp2p::futures::StreamExt as _;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, MessageId, PublishError, TopicHash};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, OutboundFailure, OutboundRequestId, ResponseChannel};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionError, DialError, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, kad, mdns};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::config::Checked;
use super::overlay::{self, Overlay, OverlayEvent};
use super::peers::Peers;
use super::refusals::Reason;
use super::wire::{Ask, Protocols, Request, Response};
use super::{Shared, compare, lock, serve, unavailable, upkeep};
use crate::backend::BackendError;

/// Requests and messages of peers that are worked on at the same time.
const SERVED_MAX: usize = 64;
/// Lookups at the same time; more find nobody.
const LOOKUPS_MAX: usize = 1_024;
/// How long listening may take to begin.
const LISTENING_MAX: Duration = Duration::from_secs(5);

/// What the loop is told to do.
pub(super) enum Order {
    /// Look up the nodes nearest to a key.
    Closest { key: Vec<u8>, reply: oneshot::Sender<Vec<PeerId>> },
    /// Ask a peer; `None` is no answer.
    Ask { peer: PeerId, request: Box<Request>, reply: oneshot::Sender<Option<Response>> },
    /// Answer a peer.
    Answer { channel: ResponseChannel<Response>, response: Response },
    /// Whether a message of the gossip is passed on.
    Verdict { message: MessageId, from: PeerId, acceptance: MessageAcceptance },
    /// Tell those who follow.
    Publish { topics: Vec<String>, packet: Vec<u8> },
    /// What is followed has changed.
    Topics,
    /// A peer sent rubbish.
    Blame { peer: PeerId, reason: Reason },
    /// Cuts a peer off, or no more.
    #[cfg(test)]
    Cut { peer: PeerId, off: bool },
}

/// What a node is started with.
pub(super) struct Start {
    pub(super) key: Keypair,
    pub(super) checked: Checked,
    pub(super) mdns: bool,
    pub(super) upkeep: Duration,
}

type Starting = startup::Sender<Result<(), BackendError>>;

/// Runs a node until `stopped`; says through `started` when it listens.
pub(super) async fn run(
    shared: Arc<Shared>,
    start: Start,
    mut orders: mpsc::Receiver<Order>,
    mut stopped: oneshot::Receiver<()>,
    started: Starting,
) {
    let (bootstrap, every) = (start.checked.bootstrap.clone(), start.upkeep);
    let swarm = match begin(&shared, start.key, start.checked, start.mdns).await {
        Ok(swarm) => swarm,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let mut node = Node {
        swarm,
        shared: Arc::clone(&shared),
        bootstrap,
        peers: Peers::default(),
        lookups: HashMap::new(),
        asked: HashMap::new(),
        served: Arc::new(Semaphore::new(SERVED_MAX)),
    };
    node.bootstrap();
    node.follow();
    tokio::spawn(compare::run(Arc::clone(&shared), every));
    tokio::spawn(upkeep::run(shared, every));
    let addresses = lock(&node.shared.addresses).clone();
    tracing::info!(id = %node.shared.own, ?addresses, "a node of the DHT begins");
    let _ = started.send(Ok(()));
    let mut tick = tokio::time::interval(every);
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            Some(order) = orders.recv() => node.order(order),
            event = node.swarm.select_next_some() => node.event(event),
            _ = tick.tick() => node.tick(),
        }
    }
}

/// A swarm that listens.
async fn begin(
    shared: &Shared,
    key: Keypair,
    checked: Checked,
    mdns: bool,
) -> Result<Swarm<Overlay>, BackendError> {
    let mut swarm = overlay::swarm(key, Protocols::of(&shared.space), checked.private, mdns)?;
    for address in checked.announce {
        swarm.add_external_address(address);
    }
    let mut waiting = HashSet::new();
    for address in checked.listen {
        let listener = swarm.listen_on(address.clone());
        waiting.insert(listener.map_err(|error| unavailable(&format!("{address}"), &error))?);
    }
    let listening = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    waiting.remove(&listener_id);
                    lock(&shared.addresses).push(address.to_string());
                }
                SwarmEvent::ListenerError { error, .. } => {
                    return Err(unavailable("listening", &error));
                }
                SwarmEvent::ListenerClosed { reason: Err(error), .. } => {
                    return Err(unavailable("listening", &error));
                }
                _ => {}
            }
        }
        Ok(())
    };
    let late = |_| unavailable("listening", &"it does not begin");
    tokio::time::timeout(LISTENING_MAX, listening).await.map_err(late)??;
    Ok(swarm)
}

struct Lookup {
    found: Vec<PeerId>,
    reply: oneshot::Sender<Vec<PeerId>>,
}

struct Node {
    swarm: Swarm<Overlay>,
    shared: Arc<Shared>,
    bootstrap: Vec<(PeerId, Multiaddr)>,
    peers: Peers,
    lookups: HashMap<kad::QueryId, Lookup>,
    asked: HashMap<OutboundRequestId, oneshot::Sender<Option<Response>>>,
    served: Arc<Semaphore>,
}

impl Node {
    fn bootstrap(&mut self) {
        let connected = lock(&self.shared.connected).clone();
        let missing = self.bootstrap.iter().filter(|(peer, _)| !connected.contains(peer));
        let missing: Vec<_> = missing.cloned().collect();
        for (peer, address) in missing {
            self.swarm.behaviour_mut().kad.add_address(&peer, address.clone());
            let dial = DialOpts::peer_id(peer).addresses(vec![address]).build();
            // One that is dialled already, or was in vain just now, is left alone.
            let _ = self.swarm.dial(dial);
        }
        if connected.is_empty()
            && !self.bootstrap.is_empty()
            && let Err(error) = self.swarm.behaviour_mut().kad.bootstrap()
        {
            tracing::debug!(%error, "nobody to bootstrap from");
        }
    }

    fn tick(&mut self) {
        for peer in self.peers.pardoned(Instant::now()) {
            self.swarm.behaviour_mut().unblock(peer);
        }
        self.shared.banned.store(self.peers.banned(), Ordering::Relaxed);
        self.bootstrap();
        // Who had no time to say what has changed has said it by now.
        self.follow();
    }

    fn order(&mut self, order: Order) {
        let overlay = self.swarm.behaviour_mut();
        match order {
            Order::Closest { key, reply } if self.lookups.len() < LOOKUPS_MAX => {
                let id = overlay.kad.get_closest_peers(key);
                self.lookups.insert(id, Lookup { found: Vec::new(), reply });
            }
            // Whoever waits sees that there is no answer.
            Order::Closest { .. } => {}
            Order::Ask { peer, reply, .. } if self.peers.is_banned(&peer) => {
                let _ = reply.send(None);
            }
            Order::Ask { peer, request, reply } => {
                let id = overlay.wire.send_request(&peer, *request);
                self.asked.insert(id, reply);
            }
            Order::Answer { channel, response } => {
                // A peer that has gone needs no answer.
                let _ = overlay.wire.send_response(channel, response);
            }
            Order::Verdict { message, from, acceptance } => {
                overlay.gossip.report_message_validation_result(&message, &from, acceptance);
            }
            Order::Publish { topics, packet } => self.publish(topics, &packet),
            Order::Topics => self.follow(),
            Order::Blame { peer, reason } => self.blame(peer, reason),
            #[cfg(test)]
            Order::Cut { peer, off: true } => overlay.cut(peer),
            #[cfg(test)]
            Order::Cut { peer, off: false } => overlay.unblock(peer),
        }
    }

    fn publish(&mut self, topics: Vec<String>, packet: &[u8]) {
        for topic in topics {
            let topic = IdentTopic::new(topic);
            // Without anyone who follows there is nobody to tell, and who misses it asks for it.
            match self.swarm.behaviour_mut().gossip.publish(topic, packet.to_vec()) {
                Ok(_) => self.shared.traffic.gossiped.one(),
                Err(PublishError::AllQueuesFull(_)) => self.shared.traffic.ungossiped.one(),
                Err(error) => tracing::trace!(%error, "not gossiped"),
            }
        }
    }

    /// Follows the topics that are wanted now and no others.
    fn follow(&mut self) {
        let wanted = self.shared.follows.topics();
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let have: Vec<TopicHash> = gossip.topics().cloned().collect();
        for topic in &have {
            if !wanted.contains(topic.as_str()) {
                gossip.unsubscribe(&IdentTopic::new(topic.as_str()));
            }
        }
        for topic in wanted {
            if let Err(error) = gossip.subscribe(&IdentTopic::new(&topic)) {
                tracing::warn!(%error, topic, "not followed in the gossip");
            }
        }
    }

    fn blame(&mut self, peer: PeerId, reason: Reason) {
        if self.peers.blame(peer, reason, Instant::now()) {
            tracing::warn!(%peer, "banned a peer that sent rubbish");
            self.swarm.behaviour_mut().block(peer);
            self.shared.circles.forget(&peer);
            self.shared.banned.store(self.peers.banned(), Ordering::Relaxed);
        }
    }

    fn refuse(&mut self, peer: PeerId, reason: Reason) {
        self.shared.refusals.count(reason, &peer);
        self.blame(peer, reason);
    }

    fn event(&mut self, event: SwarmEvent<OverlayEvent>) {
        match event {
            SwarmEvent::Behaviour(OverlayEvent::Kad(event)) => self.looked_up(event),
            SwarmEvent::Behaviour(OverlayEvent::Wire(event)) => self.wire(event),
            SwarmEvent::Behaviour(OverlayEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            })) => self.heard(propagation_source, message_id, message),
            SwarmEvent::Behaviour(OverlayEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => self.identified(peer_id, info),
            SwarmEvent::Behaviour(OverlayEvent::Mdns(mdns::Event::Discovered(peers))) => {
                for (peer, address) in peers {
                    self.swarm.behaviour_mut().reached_at(peer, vec![address]);
                }
            }
            // Who cannot be reached would hold up every lookup; who returns is learnt anew.
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error: DialError::Transport(_) | DialError::NoAddresses,
                ..
            } => {
                self.swarm.behaviour_mut().kad.remove_peer(&peer);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                // Lost, not left: whether it is still there decides whether others are sent to it.
                if matches!(cause, Some(ConnectionError::IO(_))) {
                    let _ = self.swarm.dial(peer_id);
                }
                if lock(&self.shared.connected).remove(&peer_id) {
                    self.shared.fell_behind(peer_id, self.shared.local.last());
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                lock(&self.shared.addresses).push(address.to_string());
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                lock(&self.shared.addresses).retain(|known| *known != address.to_string());
            }
            _ => {}
        }
    }

    /// Learns where a peer can be reached, and that it may lack what is kept here.
    fn identified(&mut self, peer: PeerId, info: identify::Info) {
        let Protocols { requests, statements, kademlia } = Protocols::of(&self.shared.space);
        let speaks = |protocol| info.protocols.contains(protocol);
        if !speaks(&kademlia) || !(speaks(&requests) || speaks(&statements)) {
            return;
        }
        self.swarm.behaviour_mut().reached_at(peer, info.listen_addrs);
        // It may say so again whenever it likes.
        if !lock(&self.shared.connected).insert(peer) {
            return;
        }
        if !lock(&self.shared.behind).contains_key(&peer) {
            self.shared.fell_behind(peer, 0);
        }
        self.shared.circles.clear();
        self.shared.joined.send_replace(true);
        self.shared.nudge.notify_one();
        self.shared.met.notify_one();
    }

    fn looked_up(&mut self, event: kad::Event) {
        if let kad::Event::RoutingUpdated { is_new_peer: true, .. } = event {
            self.shared.circles.clear();
        }
        let kad::Event::OutboundQueryProgressed { id, result, step, .. } = event else { return };
        let kad::QueryResult::GetClosestPeers(result) = result else { return };
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        let peers = match result {
            Ok(found) => found.peers,
            // Those that were found in time.
            Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
        };
        lookup.found.extend(peers.into_iter().map(|peer| peer.peer_id));
        if step.last
            && let Some(lookup) = self.lookups.remove(&id)
        {
            let _ = lookup.reply.send(lookup.found);
        }
    }

    fn wire(&mut self, event: request_response::Event<Request, Response>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                self.requested(peer, request, channel);
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                if let Some(reply) = self.asked.remove(&request_id) {
                    let _ = reply.send(Some(response));
                }
            }
            Event::OutboundFailure { peer, request_id, error, .. } => {
                if let Some(reply) = self.asked.remove(&request_id) {
                    let _ = reply.send(None);
                }
                if matches!(&error, OutboundFailure::Io(error) if is_rubbish(error)) {
                    self.refuse(peer, Reason::Malformed);
                }
            }
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => {}
        }
    }

    fn requested(&mut self, peer: PeerId, request: Request, channel: ResponseChannel<Response>) {
        let refused = if !self.peers.may_ask(peer, &request.ask) {
            Some(Reason::Flood)
        } else if request.ask == Ask::Rubbish {
            Some(Reason::Malformed)
        } else if request.ask == Ask::Unknown {
            Some(Reason::Unknown)
        } else if request.space != self.shared.space.short_id() {
            Some(Reason::Space)
        } else {
            None
        };
        let place = Arc::clone(&self.served).try_acquire_owned();
        match (refused, place) {
            (None, Ok(place)) => {
                let shared = Arc::clone(&self.shared);
                tokio::spawn(async move {
                    let response = serve::answer(&shared, peer, request.ask).await;
                    let _ = shared.orders.send(Order::Answer { channel, response }).await;
                    drop(place);
                });
            }
            (refused, _) => {
                self.refuse(peer, refused.unwrap_or(Reason::Busy));
                let response = match refused {
                    Some(Reason::Space | Reason::Malformed) => Response::Refused,
                    Some(Reason::Unknown) => Response::Unknown,
                    _ => Response::Busy,
                };
                self.order(Order::Answer { channel, response });
            }
        }
    }

    fn heard(&mut self, from: PeerId, id: MessageId, message: gossipsub::Message) {
        let place = Arc::clone(&self.served).try_acquire_owned();
        let is_statement = message.topic.as_str() == self.shared.follows.statements();
        let refused = match &place {
            // Who passes on what others say is not to blame that they say much.
            _ if is_statement && !self.peers.may_tell(from) => Some(Reason::Busy),
            _ if !is_statement && !self.peers.may_gossip(from) => Some(Reason::Busy),
            Err(_) => Some(Reason::Busy),
            Ok(_) => None,
        };
        if let Some(reason) = refused {
            self.refuse(from, reason);
            let acceptance = MessageAcceptance::Ignore;
            self.order(Order::Verdict { message: id, from, acceptance });
            return;
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let topic = message.topic.into_string();
            let acceptance = serve::heard(&shared, from, &topic, message.data).await;
            let _ = shared.orders.send(Order::Verdict { message: id, from, acceptance }).await;
            drop(place);
        });
    }
}

/// Whether it is what the peer sent that is wrong, not the connection.
fn is_rubbish(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData
}
