//! Nodes of an earlier and of a later version.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use edgelore_model::Query;
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet::statement::revocation;
use libp2p::futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _,
};
use libp2p::request_response::{self, Event, Message, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, StreamProtocol, SwarmBuilder, noise, tcp, yamux};

use super::hostile::{Answers, Hostile};
use super::network::{Node, everything, start, until};
use super::packets::{START, SimClock, key, outcome, sealed};
use crate::backend::Backend as _;
use crate::dht::wire::{Ask, Protocols, Request, Response};

/// Sends and receives bytes as they are.
#[derive(Clone, Default)]
struct Raw;

#[async_trait]
impl request_response::Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read_response(&StreamProtocol::new("/any"), io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await?;
        io.close().await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write_request(&StreamProtocol::new("/any"), io, bytes).await
    }
}

/// What a node answers to these bytes, each time they are sent.
async fn answers(node: &Node, bytes: &[u8], times: usize) -> Vec<Response> {
    let space = Space::default_definition();
    let protocols = [(Protocols::of(&space).statements, ProtocolSupport::Outbound)];
    let config = request_response::Config::default();
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| request_response::Behaviour::<Raw>::new(protocols, config))
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    let addresses = node.dht.addresses().into_iter().filter(|one| one.contains("/tcp/"));
    let addresses = addresses.map(|address| address.parse::<Multiaddr>().unwrap()).collect();
    let (peer, mut responses) = (node.dht.shared.own, Vec::new());
    swarm.behaviour_mut().send_request_with_addresses(&peer, bytes.to_vec(), addresses);
    while responses.len() < times {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(Event::Message {
                message: Message::Response { response, .. },
                ..
            }) => {
                responses.push(postcard::from_bytes(&response).unwrap());
                swarm.behaviour_mut().send_request(&peer, bytes.to_vec());
            }
            SwarmEvent::Behaviour(Event::OutboundFailure { error, .. }) => panic!("{error}"),
            _ => {}
        }
    }
    responses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_of_a_later_version_is_answered_as_unknown_and_held_against_nobody() {
    let node = start(&SimClock::new(), &[]);
    let space = Space::default_definition().short_id();
    let known = Request { space, ask: Ask::Statements(Vec::new()) };
    let mut bytes = postcard::to_stdvec(&known).unwrap();
    assert_eq!(answers(&node, &bytes, 1).await, [Response::Packets(Vec::new())]);
    bytes[8] += 1;
    bytes.extend(b"whatever it carries");
    // More often than a peer may send rubbish.
    assert_eq!(answers(&node, &bytes, 20).await, vec![Response::Unknown; 20]);
    let refused = node.dht.figures().refused;
    assert!(refused["unknown"] >= 20);
    assert_eq!((refused["malformed"], node.dht.figures().banned), (0, 0));
    bytes[8] = 0;
    assert_eq!(answers(&node, &bytes, 1).await, [Response::Refused]);
    assert!(node.dht.figures().refused["malformed"] > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_the_first_version_is_not_asked_what_it_does_not_know() {
    let clock = SimClock::new();
    let node = start(&clock, &[]);
    let packet = sealed(&outcome(), &key(1));
    let puzzled = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&puzzled);
    let answers: Answers = Arc::new(move |ask| {
        let first = matches!(
            ask,
            Ask::Near { .. } | Ask::Fetch(_) | Ask::Keep(_) | Ask::Offer(_) | Ask::Since { .. }
        );
        asked.fetch_or(!first, Ordering::SeqCst);
        Some(match ask {
            Ask::Keep(packets) => Response::Kept(packets.len() as u32),
            Ask::Fetch(_) => Response::Packets(Vec::new()),
            Ask::Since { after, .. } => {
                Response::Page { ids: Vec::new(), next: *after, at_end: true }
            }
            _ => Response::Ids(Vec::new()),
        })
    });
    let old = Hostile::of_the_first_version(&node, answers).await;
    node.dht.store(packet.bytes).await.unwrap();
    assert_eq!(everything(&node).await, [packet.id]);
    assert!(node.dht.declare(revocation(&key(1), START)).await.unwrap().new);
    assert!(everything(&node).await.is_empty());
    assert_eq!(node.dht.statements(&[key(1).publisher()]).await.unwrap().len(), 1);
    // What it asks is answered as before.
    old.send(&node, Ask::Near { query: Query::default(), radius: 0, limit: 1 });
    until("it was asked, and did not know", async || node.dht.figures().unanswered > 0).await;
    let figures = node.dht.figures();
    assert_eq!((figures.peers, figures.banned), (1, 0));
    assert!(figures.refused.values().all(|count| *count == 0), "{figures:?}");
    assert!(node.dht.shared.connected.lock().unwrap().contains(&old.peer));
    assert!(!puzzled.load(Ordering::SeqCst));
}
