//! What a client knows of the stream by heart, whatever becomes of the stream.

use std::ops::Range;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Stream;
use edgelore_model::{Outcome, Query};
use edgelore_pipeline::fingerprint::{Cell, Grain, Space};
use edgelore_routing::nats::{Nats, NatsConfig};
use edgelore_routing::{Backend, Found, PacketId};
use edgelore_testkit::live;
use edgelore_testkit::server::NatsServer;

use crate::suite::{SimClock, key, outcome, sealed};
use crate::{client, config, direct, stream_name, url};

/// More than are asked for one by one.
const MANY: u32 = 600;

/// An outcome somewhere; many of them are dense around the first.
fn somewhere(number: u32) -> Outcome {
    let mut outcome = outcome();
    let spread = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    outcome.situation.severity = 1_000 + spread % 600_000;
    outcome.situation.affected_prefixes = 1 + (spread >> 20) % 1_000_000;
    outcome.situation.node_count = 2 + (spread >> 40) % 2_000;
    let protocol = ["bgp", "ospf", "isis", "own"][number as usize % 4];
    protocol.clone_into(&mut outcome.situation.protocol);
    let pattern = ["bfd_tuning", "dampening"][number as usize % 2];
    pattern.clone_into(&mut outcome.resolution.pattern);
    outcome.sample_size = number + 1;
    outcome
}

/// A server, what should be found in it, and clients that were there all along.
struct Watched {
    /// One as by default.
    old: Nats,
    /// Another one that knows few packets by heart.
    small: Nats,
    direct: Context,
    clock: SimClock,
    there: Vec<(PacketId, Outcome)>,
    server: NatsServer,
}

impl Watched {
    async fn on(server: NatsServer) -> Self {
        let clock = SimClock::new();
        let old = client(&url(server.port()), &clock).await;
        let few = NatsConfig { known_max: 100, ..config(&url(server.port()), &clock) };
        let (small, direct) = (Nats::new(few).unwrap(), direct(server.port()).await);
        Self { old, small, direct, clock, there: Vec::new(), server }
    }

    async fn stream(&self) -> Stream {
        self.direct.get_stream(stream_name()).await.unwrap()
    }

    /// Publishes packets past Edgelore, many at a time.
    async fn add(&mut self, numbers: Range<u32>) {
        let space = Space::default_definition();
        let mut acks = Vec::new();
        for number in numbers {
            let packet = sealed(&somewhere(number), &key(1));
            let outcome = edgelore_pipeline::packet::open(&packet.bytes).unwrap().outcome;
            let cell = Cell::filed(&space, &outcome.situation, Grain::Exact);
            let subject =
                format!("{}.{}", cell.to_string().replace('/', "."), hex::encode(packet.id));
            acks.push(self.direct.publish(subject, packet.bytes.into()).await.unwrap());
            self.there.push((packet.id, outcome));
        }
        for ack in acks {
            ack.await.unwrap();
        }
    }

    /// Deletes messages, of which there is one a packet, by their place among those that are there.
    async fn delete(&mut self, first_sequence: u64, places: &[usize]) {
        let stream = self.stream().await;
        for place in places {
            stream.delete_message(first_sequence + *place as u64).await.unwrap();
        }
        let mut place = 0;
        self.there.retain(|_| {
            place += 1;
            !places.contains(&(place - 1))
        });
    }

    /// What measuring everything finds.
    fn brute(&self, query: &Query, radius: u32, limit: usize) -> Vec<(u32, PacketId)> {
        let space = Space::default_definition();
        let asked = |outcome: &Outcome| {
            query.resolution_pattern.as_ref().is_none_or(|it| *it == outcome.resolution.pattern)
        };
        let there = self.there.iter().filter(|(_, outcome)| asked(outcome));
        let near =
            there.map(|(id, outcome)| (space.query_distance(query, &outcome.situation), *id));
        let mut near: Vec<_> = near.filter(|(distance, _)| *distance <= radius).collect();
        near.sort_unstable();
        near.truncate(limit);
        near
    }

    /// The clients that were there all along and one that has just come find the same as measuring.
    async fn check(&self, what: &str) {
        let new = Nats::new(config(&url(self.server.port()), &self.clock)).unwrap();
        for number in [0, 1, 7] {
            let mut query = Query::from(&somewhere(number).situation);
            if number == 1 {
                query.resolution_pattern = Some("dampening".to_owned());
                query.severity = None;
            }
            for (radius, limit) in [(0, 10), (300, 10), (1_000, 50), (u32::MAX, 50), (2_000, 1_000)]
            {
                let expected = self.brute(&query, radius, limit);
                for client in [&self.old, &self.small, &new] {
                    let found = client.query(&query, radius, limit).await.unwrap();
                    let place = |found: &Found| (found.distance, found.opened.id);
                    let found: Vec<_> = found.iter().map(place).collect();
                    assert!(found == expected, "{what}: {number}, {limit} within {radius}");
                }
            }
        }
    }
}

async fn whatever_happens(server: NatsServer) {
    let mut watched = Watched::on(server).await;
    watched.check("nothing").await;
    watched.add(0..MANY).await;
    watched.check("many at once").await;
    watched.add(MANY..MANY + 20).await;
    watched.check("a few more").await;
    watched.delete(1, &[0, 3, 100, 617, 618, 619]).await;
    watched.check("without some, the last among them").await;
    watched.add(5_000..5_003).await;
    watched.check("others in their place").await;
    watched.stream().await.purge().await.unwrap();
    watched.there.clear();
    watched.check("purged").await;
    watched.add(0..MANY / 2).await;
    watched.check("filled again").await;
    // Another stream of the same name, which is further than the one that is known.
    let name = watched.stream().await.cached_info().config.clone();
    watched.direct.delete_stream(&name.name).await.unwrap();
    watched.direct.create_stream(name).await.unwrap();
    watched.there.clear();
    watched.add(7_000..7_000 + 3 * MANY).await;
    watched.check("another stream").await;
    assert_eq!(watched.old.skipped(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nats_finds_what_is_there_whatever_becomes_of_the_stream() {
    if !live("live_nats_finds_what_is_there_whatever_becomes_of_the_stream") {
        return;
    }
    whatever_happens(NatsServer::start().unwrap()).await;
    whatever_happens(NatsServer::start_newer().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nats_verifies_what_was_forged_once() {
    if !live("live_nats_verifies_what_was_forged_once") {
        return;
    }
    let watched = Watched::on(NatsServer::start().unwrap()).await;
    let mut forged = sealed(&outcome(), &key(1));
    forged.bytes[200] ^= 1;
    let id = edgelore_pipeline::packet::id(&forged.bytes);
    let cell = Cell::filed(&Space::default_definition(), &outcome().situation, Grain::Exact);
    let subject = format!("{}.{}", cell.to_string().replace('/', "."), hex::encode(id));
    watched.direct.publish(subject, forged.bytes.into()).await.unwrap().await.unwrap();
    for _ in 0..3 {
        watched.check("a forged packet").await;
    }
    assert_eq!(watched.old.skipped(), 1);
}
