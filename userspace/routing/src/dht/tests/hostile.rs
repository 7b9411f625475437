//! Peers that send rubbish, that flood, and that say nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgelore_model::{Outcome, Query, Span};
use edgelore_pipeline::fingerprint::{Grain, Space};
use edgelore_pipeline::packet;
use edgelore_pipeline::packet::statement::{revocation, succession};
use libp2p::futures::StreamExt as _;
use libp2p::gossipsub::IdentTopic;
use libp2p::identity::Keypair;
use libp2p::request_response::{Event, Message, ResponseChannel};
use libp2p::swarm::{Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;

use super::network::{Node, everything, start, until};
use super::packets::{START, SimClock, key, outcome, sealed};
use super::statements::strangers;
use crate::backend::{Backend as _, Cursor};
use crate::dht::follow::Follows;
use crate::dht::overlay::{Overlay, OverlayEvent, swarm};
use crate::dht::wire::{Ask, Protocols, Request, Response};
use crate::{Cell, PacketId};

pub(super) type Answers = Arc<dyn Fn(&Ask) -> Option<Response> + Send + Sync>;

/// A peer that speaks the protocol and answers what it likes.
pub(super) struct Hostile {
    pub(super) peer: PeerId,
    orders: mpsc::UnboundedSender<Order>,
}

enum Order {
    Ask(PeerId, Request),
    Gossip(String, Vec<u8>),
}

impl Hostile {
    /// Starts it and connects it to a node; a question that it has no answer to waits forever.
    pub(super) async fn start(victim: &Node, answers: Answers) -> Self {
        Self::speaking(Protocols::of(&Space::default_definition()), victim, answers).await
    }

    /// One that knows nothing of statements about keys.
    pub(super) async fn of_the_first_version(victim: &Node, answers: Answers) -> Self {
        let protocols = Protocols::of(&Space::default_definition());
        let statements = protocols.requests.clone();
        Self::speaking(Protocols { statements, ..protocols }, victim, answers).await
    }

    async fn speaking(protocols: Protocols, victim: &Node, answers: Answers) -> Self {
        let key = Keypair::generate_ed25519();
        let peer = key.public().to_peer_id();
        let mut swarm = swarm(key, protocols, None, false).unwrap();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address: Multiaddr = victim.dht.addresses()[0].parse().unwrap();
        let overlay = swarm.behaviour_mut();
        overlay.kad.add_address(&victim.dht.shared.own, address.clone());
        for topic in topics() {
            overlay.gossip.subscribe(&IdentTopic::new(topic)).unwrap();
        }
        let (orders, received) = mpsc::unbounded_channel();
        tokio::spawn(live(swarm, answers, received));
        let _ = orders.send(Order::Ask(victim.dht.shared.own, request(Ask::Fetch(Vec::new()))));
        let connected = || victim.dht.shared.connected.lock().unwrap().contains(&peer);
        until("the hostile peer is connected", async || connected()).await;
        Self { peer, orders }
    }

    pub(super) fn send(&self, to: &Node, ask: Ask) {
        let _ = self.orders.send(Order::Ask(to.dht.shared.own, request(ask)));
    }
}

async fn live(
    mut swarm: Swarm<Overlay>,
    answers: Answers,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let unanswered: Mutex<Vec<ResponseChannel<Response>>> = Mutex::default();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Ask(peer, request)) => {
                    swarm.behaviour_mut().wire.send_request(&peer, request);
                }
                Some(Order::Gossip(topic, bytes)) => {
                    let _ = swarm.behaviour_mut().gossip.publish(IdentTopic::new(topic), bytes);
                }
                None => return,
            },
            event = swarm.select_next_some() => {
                let SwarmEvent::Behaviour(OverlayEvent::Wire(Event::Message {
                    message: Message::Request { request, channel, .. }, ..
                })) = event else { continue };
                match answers(&request.ask) {
                    Some(response) => {
                        let _ = swarm.behaviour_mut().wire.send_response(channel, response);
                    }
                    None => unanswered.lock().unwrap().push(channel),
                }
            }
        }
    }
}

fn request(ask: Ask) -> Request {
    Request { space: Space::default_definition().short_id(), ask }
}

fn topics() -> [String; 3] {
    let space = Space::default_definition();
    let cell = Cell::filed(&space, &outcome().situation, Grain::Coarse);
    [cell.to_string(), Cell::whole(&space).to_string(), Follows::new(space).statements()]
}

/// What no node may take: by what name it is given, its bytes, and why it is refused.
fn rubbish() -> Vec<(PacketId, Vec<u8>, &'static str)> {
    let numbered = |sample_size| Outcome { sample_size, ..outcome() };
    let mut forged = sealed(&numbered(101), &key(1));
    *forged.bytes.last_mut().unwrap() ^= 1;
    let past = START + Span::from_millis(-1_000);
    let old = Outcome { created: past + Span::from_millis(-9_000), expires: past, ..outcome() };
    let old = sealed(&old, &key(1));
    let text = Space::default_text().replace("weight = 250", "weight = 251");
    let foreign = packet::seal(&outcome(), &key(1), &Space::parse(&text).unwrap()).unwrap();
    vec![
        (forged.id, forged.bytes, "forged"),
        ([1; 32], b"garbage".to_vec(), "damaged"),
        ([2; 32], vec![0xd2; 4_096], "oversized"),
        (old.id, old.bytes, "expired"),
        (foreign.id, foreign.bytes, "space"),
    ]
}

/// What is no statement about a key, and why it is refused: by what name it is given, its bytes.
fn no_statements() -> Vec<(PacketId, Vec<u8>, &'static str)> {
    let mut forged = revocation(&key(1), START);
    *forged.last_mut().unwrap() ^= 1;
    // Somebody makes an honest key his successor, which does not agree.
    let honest = succession(&key(6), &key(1), START);
    let (old, thief) = (key(6).public(), key(5).public());
    let mut stolen = honest.clone();
    let at = stolen.windows(32).position(|window| window == old).unwrap();
    stolen[at..at + 32].copy_from_slice(&thief);
    let foreign = sealed(&outcome(), &key(1)).bytes;
    vec![
        (packet::id(&forged), forged, "forged"),
        (packet::id(&stolen), stolen, "forged"),
        (packet::id(&foreign), foreign, "damaged"),
        ([1; 32], b"garbage".to_vec(), "damaged"),
        ([2; 32], vec![0xd2; 700], "oversized"),
    ]
}

/// Nothing that was sent is kept or honoured: the honest key counts, and its packet is found.
async fn unmoved(victim: &Node, good: PacketId) {
    assert_eq!(everything(victim).await, [good]);
    assert_eq!(victim.dht.figures().statements, 0);
    assert!(victim.dht.statements(&[key(1).publisher()]).await.unwrap().is_empty());
}

fn refused(node: &Node, reason: &str) -> u64 {
    node.dht.figures().refused[reason]
}

/// Two honest nodes that know each other, and an honest packet.
async fn honest(clock: &SimClock) -> (Node, Node, PacketId) {
    let first = start(clock, &[]);
    let second = start(clock, &[&first]);
    for node in [&first, &second] {
        until("the honest nodes are connected", async || node.dht.figures().peers == 1).await;
    }
    let sealed = sealed(&outcome(), &key(1));
    let stored = second.dht.store(sealed.bytes).await.unwrap();
    (first, second, stored.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_in_answers_is_refused_counted_and_ends_in_a_ban() {
    let clock = SimClock::new();
    let (victim, _second, good) = honest(&clock).await;
    let mut given = rubbish();
    // A packet under the name of another, and one that lies elsewhere than was asked about.
    let other = sealed(&Outcome { sample_size: 102, ..outcome() }, &key(1));
    given.push(([3; 32], other.bytes, "unasked"));
    let mut far = outcome();
    far.situation.protocol = "ospf".into();
    let far = sealed(&far, &key(1));
    given.push((far.id, far.bytes, "unasked"));
    let answers = given.clone();
    let hostile = Hostile::start(
        &victim,
        Arc::new(move |ask| {
            Some(match ask {
                Ask::Near { .. } => Response::Ids(answers.iter().map(|(id, ..)| *id).collect()),
                Ask::Fetch(ids) => Response::Packets(
                    answers
                        .iter()
                        .filter(|(id, ..)| ids.contains(id))
                        .map(|(_, bytes, _)| bytes.clone())
                        .collect(),
                ),
                _ => Response::Ids(Vec::new()),
            })
        }),
    )
    .await;
    let query = Query::from(&outcome().situation);
    until("the peer is banned", async || {
        let found = victim.dht.query(&query, 0, 100).await.unwrap();
        let found: Vec<PacketId> = found.iter().map(|found| found.opened.id).collect();
        assert_eq!(found, [good], "nothing else is concerned");
        victim.dht.figures().banned == 1
    })
    .await;
    for (.., reason) in &given {
        assert!(refused(&victim, reason) > 0, "{reason}");
    }
    until("the peer is cut off", async || {
        !victim.dht.shared.connected.lock().unwrap().contains(&hostile.peer)
    })
    .await;
    assert_eq!(everything(&victim).await, [good]);
    assert_eq!(victim.dht.figures().packets, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_that_is_pushed_is_refused_and_counted() {
    let clock = SimClock::new();
    let (victim, _second, good) = honest(&clock).await;
    let _follows = victim.dht.subscribe(&[], None).await.unwrap();
    let silent: Answers = Arc::new(|_| Some(Response::Ids(Vec::new())));
    for gossip in [false, true] {
        for (_, bytes, reason) in rubbish() {
            // A new peer each time, for the last one may have been banned.
            let hostile = Hostile::start(&victim, Arc::clone(&silent)).await;
            let before = refused(&victim, reason);
            // The gossip's own bound is met before ours.
            if gossip && reason == "oversized" {
                continue;
            }
            until(reason, async || {
                if gossip {
                    let topic = topics()[1].clone();
                    let _ = hostile.orders.send(Order::Gossip(topic, bytes.clone()));
                } else {
                    hostile.send(&victim, Ask::Keep(vec![bytes.clone()]));
                }
                refused(&victim, reason) > before
            })
            .await;
        }
    }
    assert_eq!(everything(&victim).await, [good]);
    assert_eq!(victim.dht.figures().packets, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_that_is_pushed_or_gossiped_is_taken_unless_it_is_one() {
    let clock = SimClock::new();
    let (victim, _second, good) = honest(&clock).await;
    let silent: Answers = Arc::new(|_| Some(Response::Ids(Vec::new())));
    for gossip in [false, true] {
        for (_, bytes, reason) in no_statements() {
            // A new peer each time, for the last one may have been banned.
            let hostile = Hostile::start(&victim, Arc::clone(&silent)).await;
            let before = refused(&victim, reason);
            until(reason, async || {
                if gossip {
                    let topic = topics()[2].clone();
                    let _ = hostile.orders.send(Order::Gossip(topic, bytes.clone()));
                } else {
                    hostile.send(&victim, Ask::Declare(vec![bytes.clone()]));
                }
                refused(&victim, reason) > before
            })
            .await;
        }
    }
    // A statement among the packets is none of them, and the other way round.
    let hostile = Hostile::start(&victim, silent).await;
    let before = refused(&victim, "damaged");
    hostile.send(&victim, Ask::Keep(vec![revocation(&key(1), START)]));
    until("it is refused", async || refused(&victim, "damaged") > before).await;
    unmoved(&victim, good).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_in_an_answer_is_taken_unless_it_was_asked_for_and_is_one() {
    let clock = SimClock::new();
    let (victim, second, good) = honest(&clock).await;
    // A statement under the name of another, and one that is named and not given.
    let other = revocation(&key(8), START);
    let given = [no_statements(), vec![([3; 32], other, "unasked")]].concat();
    let answering = |id: PacketId, bytes: Vec<u8>| -> Answers {
        Arc::new(move |ask| {
            Some(match ask {
                Ask::About(_) | Ask::Compare { .. } => Response::Ids(vec![id]),
                Ask::Statements(_) if bytes.is_empty() => Response::Packets(Vec::new()),
                Ask::Statements(_) => Response::Packets(vec![bytes.clone()]),
                _ => Response::Ids(Vec::new()),
            })
        })
    };
    for (id, bytes, reason) in given.into_iter().chain([([4; 32], Vec::new(), "withheld")]) {
        let answers = answering(id, bytes);
        let before = refused(&victim, reason);
        let _hostile = Hostile::start(&victim, answers).await;
        until(reason, async || {
            unmoved(&victim, good).await;
            refused(&victim, reason) > before
        })
        .await;
    }
    let (id, forged, _) = no_statements().swap_remove(0);
    let goes_on = Hostile::start(&victim, answering(id, forged)).await;
    until("it is banned and cut off", async || {
        unmoved(&victim, good).await;
        !victim.dht.shared.connected.lock().unwrap().contains(&goes_on.peer)
    })
    .await;
    assert!(victim.dht.figures().banned > 0);
    // What is one is taken all the same.
    second.dht.declare(revocation(&key(1), START)).await.unwrap();
    until("it is kept", async || victim.dht.figures().statements == 1).await;
    assert!(everything(&victim).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_statements_is_cut_and_the_others_are_heard() {
    let clock = SimClock::new();
    let (victim, second, _) = honest(&clock).await;
    let silent: Answers = Arc::new(|_| Some(Response::Ids(Vec::new())));
    let hostile = Hostile::start(&victim, silent).await;
    let flood = strangers(1_000);
    for statements in flood.chunks(50) {
        hostile.send(&victim, Ask::Declare(statements.to_vec()));
    }
    until("the flood is cut", async || refused(&victim, "flood") > 0).await;
    second.dht.declare(revocation(&key(1), START)).await.unwrap();
    until("an honest one is heard", async || everything(&victim).await.is_empty()).await;
    let kept = victim.dht.figures().statements;
    assert!((2..1_000).contains(&kept), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_out_of_bounds_is_malformed() {
    let clock = SimClock::new();
    let (victim, _second, good) = honest(&clock).await;
    let asks = [
        Ask::Fetch(vec![[9; 32]; 65]),
        Ask::Keep(vec![Vec::new(); 65]),
        Ask::Offer(vec![[9; 32]; 1_025]),
        Ask::Since { cells: vec!["no cell".into()], after: 0 },
        Ask::Since { cells: vec![String::new(); 257], after: 0 },
        Ask::Declare(vec![Vec::new(); 65]),
        Ask::Compare { sums: Vec::new(), after: None },
        Ask::Compare { sums: vec![[0; 16]; 3], after: None },
        Ask::Compare { sums: vec![[0; 16]; 512], after: None },
        Ask::About(vec![[9; 32]; 257]),
        Ask::Statements(vec![[9; 32]; 65]),
        // Longer than a frame.
        Ask::Keep(vec![vec![7; 100 << 10]]),
    ];
    let silent: Answers = Arc::new(|_| Some(Response::Ids(Vec::new())));
    for ask in asks {
        let hostile = Hostile::start(&victim, Arc::clone(&silent)).await;
        let before = refused(&victim, "malformed");
        hostile.send(&victim, ask.clone());
        until("it is refused", async || refused(&victim, "malformed") > before).await;
    }
    // An answer longer than a frame, and one to another question.
    let unordered = Response::Ids(vec![[2; 32], [1; 32]]);
    for response in [Response::Ids(vec![[1; 32]; 3_000]), Response::Kept(1), unordered] {
        let _hostile = Hostile::start(&victim, Arc::new(move |_| Some(response.clone()))).await;
        let before = refused(&victim, "malformed");
        until("it is refused", async || {
            assert_eq!(everything(&victim).await, [good]);
            refused(&victim, "malformed") > before
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_cut_and_the_others_are_served() {
    let clock = SimClock::new();
    let (victim, second, good) = honest(&clock).await;
    let silent: Answers = Arc::new(|_| Some(Response::Ids(Vec::new())));
    let hostile = Hostile::start(&victim, silent).await;
    until("the flood is cut", async || {
        // What it may ask least often, so that a busy machine is flooded too.
        for _ in 0..50 {
            hostile.send(&victim, Ask::Compare { sums: vec![[0; 16]], after: None });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        refused(&victim, "flood") > 0
    })
    .await;
    assert_eq!(everything(&second).await, [good]);
    let other = sealed(&Outcome { sample_size: 50, ..outcome() }, &key(2));
    second.dht.store(other.bytes).await.unwrap();
    until("the other node's packet is kept", async || victim.dht.shared.local.holds(&other.id))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_answers_holds_nobody_up() {
    let clock = SimClock::new();
    let (victim, second, good) = honest(&clock).await;
    let _hostile = Hostile::start(&victim, Arc::new(|_| None)).await;
    let other = sealed(&Outcome { sample_size: 60, ..outcome() }, &key(1));
    // Each of these would wait for ever if it waited for every peer.
    let asked = async {
        victim.dht.store(other.bytes.clone()).await.unwrap();
        everything(&victim).await
    };
    let found = tokio::time::timeout(Duration::from_secs(60), asked).await.unwrap();
    let mut expected = vec![good, other.id];
    expected.sort_unstable();
    assert_eq!(found, expected);
    // All of it is counted: what was kept for the other, what was given away, and who kept silent.
    until("the silence is counted", async || victim.dht.figures().unanswered > 0).await;
    let figures = victim.dht.figures();
    assert!(figures.asked > figures.unanswered && figures.copies > 0, "{figures:?}");
    assert_eq!((figures.kept, figures.packets), (1, 2));
    assert!(second.dht.figures().copies > 0);
    // Nor one who follows and gives up waiting again and again.
    let mut subscription = victim.dht.subscribe(&[], Some(Cursor(0))).await.unwrap();
    let mut delivered = Vec::new();
    until("everything is delivered", async || {
        let next = tokio::time::timeout(Duration::from_millis(50), subscription.next()).await;
        delivered.extend(next.map(|delivery| delivery.unwrap().packet.id));
        delivered.len() == 2
    })
    .await;
    assert_eq!(delivered, [good, other.id]);
    assert_eq!(subscription.cursor(), Cursor(2));
}
