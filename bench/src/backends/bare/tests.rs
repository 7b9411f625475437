//! The bare clients send as much as the product's: what one of them leaves out, or does beside, shows
//! in the bytes on the wire. Servers are needed, so these are live tests.

use edgelore_pipeline::packet::seal;
use edgelore_testkit::live;
use edgelore_testkit::server::{NatsServer, PASSWORD, PostgresServer, RedisServer};
use std::io::{self, Read as _, Write as _};
use std::mem;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use tokio::runtime::Builder;

use super::super::subjects::Subject;
use super::*;
use crate::inputs::Random;
use crate::packet::{key, varied};
use crate::store::an_hour_ago;

/// Packets that each client stores; the least that it sends for one counts, since some do other things
/// now and then.
const STORES: usize = 8;
/// Packets with which a cell takes several pages.
const PAGES: usize = 3_000;

/// Passes connections on, and keeps what the clients send.
struct Recorder {
    port: u16,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let sent = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&sent);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).unwrap();
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || io::copy(&mut &back.0, &mut &back.1));
                let kept = Arc::clone(&kept);
                thread::spawn(move || keep(&client, &server, &kept));
            }
        });
        Self { port, sent }
    }

    /// What was sent since this was called last.
    fn taken(&self) -> Vec<u8> {
        mem::take(&mut *self.sent.lock().unwrap())
    }
}

/// Whatever has reached the server is in `kept`.
fn keep(mut client: &TcpStream, mut server: &TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        kept.lock().unwrap().extend_from_slice(&buffer[..length]);
        if server.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// All of it.
fn whole(sent: &[u8]) -> usize {
    sent.len()
}

/// Of the messages to PostgreSQL those that bind parameters: the product names its statements
/// otherwise, and may prepare them each time.
fn bound(mut sent: &[u8]) -> usize {
    let mut bytes = 0;
    while let Some(([kind, length @ ..], _)) = sent.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(*length) as usize;
        bytes += if *kind == b'B' { length } else { 0 };
        sent = &sent[1 + length..];
    }
    bytes
}

/// Stores and asks by the product and by the bare client, each through a recorder, after `before`
/// packets.
async fn compare(
    name: &'static str,
    port: u16,
    user: &str,
    path: &str,
    weigh: fn(&[u8]) -> usize,
    leeway: usize,
    before: usize,
) {
    let near = |[ours, bare]: [usize; 2], what: &str| {
        assert!(ours > 0 && ours.abs_diff(bare) <= leeway, "{name}, {what}: {ours} and {bare}");
    };
    let recorders = [Recorder::before(port), Recorder::before(port)];
    let [ours, theirs] = recorders.each_ref().map(|recorder| {
        let url = format!("{name}://{user}:{PASSWORD}@127.0.0.1:{}{path}", recorder.port);
        Subject::served(name, url, Vec::new())
    });
    let mut random = Random::new(77);
    let (key, space, created) = (key(), Space::default_definition(), an_hour_ago());
    let mut sealed = || seal(&varied(created, &mut random), &key, &space).unwrap();
    let client = ours.client().unwrap();
    // Connects, and makes what the bare client needs.
    for _ in 0..before {
        client.store(sealed().bytes).await.unwrap();
    }
    let mut bare = theirs.bare().await.unwrap().unwrap();
    bare.store(&Offered::new(&sealed(), &space).unwrap()).await.unwrap();
    let mut least = [usize::MAX; 2];
    for _ in 0..STORES {
        let (one, other) = (sealed(), Offered::new(&sealed(), &space).unwrap());
        recorders.iter().for_each(|recorder| drop(recorder.taken()));
        client.store(one.bytes).await.unwrap();
        bare.store(&other).await.unwrap();
        for (least, recorder) in least.iter_mut().zip(&recorders) {
            *least = weigh(&recorder.taken()).min(*least);
        }
    }
    near(least, "store");
    // Whoever asks for anything has caught up.
    client.query(&Query::default(), 0, 1).await.unwrap();
    let asked = Asked::learn(&*client, &sealed().outcome.situation, 20_000).await.unwrap();
    bare.prepare(&asked).await.unwrap();
    recorders.iter().for_each(|recorder| drop(recorder.taken()));
    let found = client.query(&asked.query, asked.radius, LIMIT).await.unwrap();
    assert_eq!(found.len(), LIMIT.min(2 * STORES + 1 + before));
    assert_eq!(bare.fetch(&asked).await.unwrap(), found.len());
    near(recorders.each_ref().map(|recorder| weigh(&recorder.taken())), "query");
}

fn run(compared: impl Future<Output = ()>) {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(compared);
}

#[test]
fn live_redis_is_sent_the_same() {
    if !live("live_redis_is_sent_the_same") {
        return;
    }
    let server = RedisServer::start(&[]).unwrap();
    run(compare("redis", server.port(), "", "", whole, 16, PAGES));
}

#[test]
fn live_postgres_is_sent_the_same() {
    if !live("live_postgres_is_sent_the_same") {
        return;
    }
    let server = PostgresServer::start().unwrap();
    run(compare("postgres", server.port(), "edgelore", "/postgres", bound, 16, 1));
}

#[test]
fn live_nats_is_sent_the_same() {
    if !live("live_nats_is_sent_the_same") {
        return;
    }
    let server = NatsServer::start().unwrap();
    run(compare("nats", server.port(), "edgelore", "", whole, 16, 1));
}
