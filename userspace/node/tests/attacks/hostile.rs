//! A hostile server: what it answers is judged packet by packet.

use super::suite::{next, other_space};
use super::*;
use axum::Json;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use edgelore_node::sharing::{Outlets, SharingConfig};
use edgelore_node::store::{Access, open_each};
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::packet;
use edgelore_routing::http::wire::{CBOR_SEQUENCE, to_sequence};
use serde_json::json;
use tokio::net::TcpListener;

/// What the server sends: one good packet, amid everything else.
struct Answers {
    good: Sealed,
    newer: Sealed,
    packets: Vec<Vec<u8>>,
}

impl Answers {
    fn new() -> Self {
        let good = sealed(&numbered(1), &key(7));
        let mut forged = sealed(&numbered(2), &key(7)).bytes;
        forged[200] ^= 1;
        let foreign = packet::seal(&outcome(), &key(1), &other_space()).unwrap();
        let replaced = sealed(&numbered(4), &key(1));
        let newer = sealed(&Outcome { supersedes: Some(replaced.id), ..numbered(5) }, &key(1));
        let packets = [
            b"rubbish".to_vec(),
            forged,
            vec![0xd2; 4_000],
            foreign.bytes,
            made(START - days(3), START - days(1)).bytes,
            made(START - days(60), START + days(9)).bytes,
            made(START + days(2), START + days(3)).bytes,
            sealed(&numbered(3), &key(9)).bytes,
            replaced.bytes,
            newer.bytes.clone(),
            good.bytes.clone(),
        ];
        Self { good, newer, packets: packets.to_vec() }
    }

    fn query(&self) -> Vec<u8> {
        let packets = to_sequence(self.packets.iter().map(Vec::as_slice));
        [packets, b"no CBOR".to_vec()].concat()
    }

    fn events(&self) -> String {
        // One that is longer than an event may be ends the stream.
        let packets = self.packets.iter().filter(|packet| packet.len() < 1_000).map(hex::encode);
        let events =
            ["no hexadecimal".to_owned()].into_iter().chain(packets).enumerate().map(
                |(number, text)| format!("event: packet\nid: {}\ndata: {text}\n\n", number + 1),
            );
        format!("event: ready\nid: 0\ndata: \n\n{}", events.collect::<String>())
    }
}

async fn serve(answers: &Answers) -> String {
    let (query, events) = (answers.query(), answers.events());
    let statements = json!({"statements": ["zz", "00", hex::encode([0xd2; 80])]});
    let router = Router::new()
        .route(
            "/v1/query",
            post(async move || ([(CONTENT_TYPE, CBOR_SEQUENCE)], query).into_response()),
        )
        .route("/v1/statements/about", post(async move || Json(statements)))
        .route(
            "/v1/subscribe",
            post(async move || ([(CONTENT_TYPE, "text/event-stream")], events).into_response()),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_server_gets_nothing_past_the_node() {
    let (gate, answers) = (Gate::new(), Answers::new());
    gate.say(9, Standing::Blocked);
    let url = serve(&answers).await;
    let stores = open_each(
        &url.as_str().into(),
        &Access::default(),
        &Space::default_definition(),
        &mut |_, server| server,
    );
    let outlets = Outlets::new(&stores.unwrap(), &SharingConfig::default(), &gate.trust);
    let store = outlets.reading().unwrap();
    let found = store.query(&Query::default(), u32::MAX, 100).await.unwrap();
    let mut found: Vec<PacketId> = found.iter().map(|found| found.opened.id).collect();
    found.sort_unstable();
    let newer = answers.newer.id;
    let mut expected = [answers.good.id, newer];
    expected.sort_unstable();
    assert_eq!(found, expected);
    for reason in ["expired", "stale", "future", "blocked", "withdrawn"] {
        assert_eq!(gate.count(&format!("refused.{reason}")), 1, "{reason}");
    }
    let skipped = store.skipped();
    assert!(skipped >= 5, "{skipped}: text, rubbish, a forged, a long and a foreign packet");
    assert!(store.statements(&[[1; 32]]).await.unwrap().is_empty());
    assert!(store.skipped() > skipped);
    // The same packets in a stream: those that are good arrive, whatever stands before them.
    let mut subscription = store.subscribe(&[], Some(Default::default())).await.unwrap();
    assert_eq!(next(&mut subscription).await.packet.id, newer);
    assert_eq!(next(&mut subscription).await.packet.id, answers.good.id);
    assert_eq!(gate.count("accepted"), 2, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_store_has_withdrawn_another_cannot_bring_back() {
    let mut gate = Gate::new();
    let first = sealed(&numbered(1), &key(7));
    let message = sealed(&Outcome { revokes: Some(first.id), ..numbered(2) }, &key(7));
    let [one, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (knows, knows_not) = (embedded(&one, &gate.clock), embedded(&other, &gate.clock));
    for store in [&knows, &knows_not] {
        store.store(first.bytes.clone()).await.unwrap();
    }
    knows.store(message.bytes).await.unwrap();
    let stores = [("a".to_owned(), knows_not as Arc<dyn Backend>), ("b".to_owned(), knows)];
    let outlets = Outlets::new(&stores, &SharingConfig::default(), &gate.trust);
    let found = everything(outlets.reading().unwrap().as_ref()).await;
    assert_eq!(found, [message.id], "the word of its publisher alone");
    // Nor later, from the one that does not know.
    let behind = Outlets::new(&stores[..1], &SharingConfig::default(), &gate.trust);
    assert!(everything(behind.reading().unwrap().as_ref()).await.is_empty());
    // Nor after a restart, whether the process ended by itself or was killed after it had written.
    gate.trust.write();
    gate.restart();
    let behind = Outlets::new(&stores[..1], &SharingConfig::default(), &gate.trust);
    assert!(everything(behind.reading().unwrap().as_ref()).await.is_empty());
    assert_eq!(gate.audited().last().unwrap().reason.as_deref(), Some("withdrawn"));
    // A store that others write to finds it neither, when it is sent again.
    let emptied = tempfile::tempdir().unwrap();
    let served = Guard::serving(embedded(&emptied, &gate.clock), Arc::clone(&gate.trust));
    served.store(first.bytes).await.unwrap();
    assert!(everything(served.as_ref()).await.is_empty());
}
