//! Three servers that keep each packet three times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use edgelore_model::{Outcome, Query};
use edgelore_routing::nats::Nats;
use edgelore_routing::{Backend, BackendError, Cursor, PacketId};
use edgelore_testkit::live;
use edgelore_testkit::server::NatsServer;
use tokio::task::JoinHandle;

use crate::suite::{SimClock, insist, key, outcome, sealed};
use crate::{config, direct, stream_name, url};

/// Packets that were acknowledged when the first leader is killed.
const FIRST: u32 = 100;
/// And when the second is, after the first came back.
const SECOND: u32 = 250;
/// And when writing ends.
const ENOUGH: u32 = 400;

fn client(server: &NatsServer, clock: &SimClock) -> Arc<Nats> {
    Arc::new(Nats::new(config(&format!("{}?replicas=3", url(server.port())), clock)).unwrap())
}

/// Stores packets until enough were acknowledged; the ids of its own.
fn writer(
    number: u32,
    client: Arc<Nats>,
    acknowledged: Arc<AtomicU32>,
) -> JoinHandle<Vec<PacketId>> {
    tokio::spawn(async move {
        let mut ids = Vec::new();
        while acknowledged.load(Ordering::SeqCst) < ENOUGH {
            let sample_size = number * 100_000 + ids.len() as u32 + 1;
            let packet = sealed(&Outcome { sample_size, ..outcome() }, &key(1));
            insist(|| client.store(packet.bytes.clone())).await;
            acknowledged.fetch_add(1, Ordering::SeqCst);
            ids.push(packet.id);
        }
        ids
    })
}

async fn reached(acknowledged: &AtomicU32, count: u32) {
    while acknowledged.load(Ordering::SeqCst) < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Which of the servers leads the stream, asked through one that runs.
async fn leader(through: &NatsServer) -> usize {
    let direct = direct(through.port()).await;
    loop {
        let stream = direct.get_stream(stream_name()).await;
        let info = stream.ok().and_then(|stream| stream.cached_info().cluster.clone());
        let name = info.and_then(|cluster| cluster.leader);
        if let Some(number) = name.and_then(|name| name.parse().ok()) {
            return number;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nats_cluster_loses_nothing_with_its_leader() {
    if !live("live_nats_cluster_loses_nothing_with_its_leader") {
        return;
    }
    let (mut servers, clock) = (NatsServer::start_cluster().unwrap(), SimClock::new());
    let clients: Vec<Arc<Nats>> = servers.iter().map(|server| client(server, &clock)).collect();
    for client in &clients {
        insist(|| client.get(&[0; 32])).await;
        assert!(client.capability().durable, "three servers keep what is acknowledged");
    }
    let mut subscription = clients[0].subscribe(&[], Some(Cursor(0))).await.unwrap();
    let acknowledged = Arc::new(AtomicU32::new(0));
    let writers: Vec<_> = (0..6)
        .map(|number| writer(number, clients[number as usize % 3].clone(), acknowledged.clone()))
        .collect();
    reached(&acknowledged, FIRST).await;
    let first = leader(&servers[0]).await;
    servers[first].kill().unwrap();
    reached(&acknowledged, (FIRST + SECOND) / 2).await;
    servers[first].start_again().unwrap();
    reached(&acknowledged, SECOND).await;
    let second = leader(&servers[first]).await;
    servers[second].kill().unwrap();
    let mut expected = Vec::new();
    for writer in writers {
        expected.extend(writer.await.unwrap());
    }
    expected.sort_unstable();
    // Whoever connects to the server that came back, and those that were there all along, also the one
    // whose own server has gone.
    let (new, query) = (client(&servers[first], &clock), Query::default());
    for client in clients.iter().chain([&new]) {
        let found = insist(|| client.query(&query, u32::MAX, 1_000)).await;
        let found: Vec<PacketId> = found.iter().map(|found| found.opened.id).collect();
        assert_eq!(found, expected, "each acknowledged packet once, nothing else");
    }
    let mut delivered = Vec::new();
    while delivered.len() < expected.len() {
        match subscription.next().await {
            Ok(delivery) => delivered.push(delivery.packet.id),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    delivered.sort_unstable();
    assert_eq!(delivered, expected, "a subscription has each once, across both");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nats_that_stands_alone_keeps_no_replicas() {
    if !live("live_nats_that_stands_alone_keeps_no_replicas") {
        return;
    }
    for server in [NatsServer::start().unwrap(), NatsServer::start_newer().unwrap()] {
        let error = client(&server, &SimClock::new()).get(&[0; 32]).await.unwrap_err();
        assert!(matches!(error, BackendError::Storage(_)), "{error:?}");
        assert!(error.to_string().contains("replicas > 1 not supported"), "{error}");
    }
}
