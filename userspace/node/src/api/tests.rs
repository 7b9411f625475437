//! The API over a real embedded store and real connections on loopback.

use super::*;
use edgelore_model::{Known, Outcome, Query, Resolution, Situation, Timestamp};
use edgelore_pipeline::fingerprint::{Cell, Space};
use edgelore_pipeline::packet::{self, Sealed, SigningKey};
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_routing::http::wire::{
    CBOR_SEQUENCE, ErrorReply, QueryReply, QueryRequest, StoredReply, from_sequence,
};
use reqwest::{Client, Response as Answer};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A served store; the directory goes with it.
struct Served {
    base: String,
    client: Client,
    task: tokio::task::JoinHandle<()>,
    ask: watch::Sender<bool>,
    _directory: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    async fn start(token: Option<&str>) -> Self {
        Self::limited(token, RATE_DEFAULT.get()).await
    }

    async fn limited(token: Option<&str>, rate: u32) -> Self {
        Self::asking(token.map(Tokens::one).unwrap_or_default(), rate).await
    }

    async fn asking(tokens: Tokens, rate: u32) -> Self {
        edgelore_routing::http::use_ring();
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(EmbeddedConfig::in_directory(directory.path())).unwrap();
        let rate = NonZeroU32::new(rate).unwrap();
        let policy = Policy { tokens, rate, ..Policy::default() };
        let (ask, stopping) = Stopping::new();
        let router = router(Arc::new(store), policy, stopping);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let client = Client::builder().no_proxy().build().unwrap();
        Self { base, client, task, ask, _directory: directory }
    }

    async fn get(&self, path: &str) -> Answer {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.client.post(format!("{}{path}", self.base));
        let request = request.header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    }

    async fn put(&self, path: &str, body: Vec<u8>) -> Answer {
        self.client.put(format!("{}{path}", self.base)).body(body).send().await.unwrap()
    }
}

fn sealed(severity: u64) -> Sealed {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let outcome = Outcome {
        situation: Situation {
            topology_class: "spine_leaf".into(),
            protocol: "bgp".into(),
            event_type: "convergence".into(),
            severity,
            affected_prefixes: 8_200,
            node_count: 96,
        },
        resolution: Resolution {
            pattern: "bfd_tuning".into(),
            steps: vec!["Reduced the multiplier".into()],
            known: Known::Measured,
        },
        before: Some(severity),
        after: Some(0),
        convergence_delta_ms: severity as i64,
        sample_size: 1,
        created: Timestamp::from_secs_nanos(now, 0),
        expires: Timestamp::from_secs_nanos(now + 3_600, 0),
        method: [0; 8],
        parents: Vec::new(),
        supersedes: None,
        revokes: None,
    };
    let key = SigningKey::from_seed(&mut [3; 32]);
    packet::seal(&outcome, &key, &Space::default_definition()).unwrap()
}

/// The status and the kind of an answer that is not a success.
async fn refused(answer: Answer) -> (u16, Kind) {
    let status = answer.status().as_u16();
    let reply: ErrorReply = answer.json().await.unwrap();
    assert!(!reply.error.is_empty());
    (status, reply.kind)
}

#[test]
fn others_are_served_only_with_a_token() {
    for (address, asks, allowed) in [
        ("127.0.0.1:7171", false, true),
        ("[::1]:7171", false, true),
        ("[::ffff:127.0.0.1]:7171", false, true),
        ("0.0.0.0:7171", false, false),
        ("10.99.0.1:7171", false, false),
        ("[::]:7171", true, true),
    ] {
        let result = check_address(address.parse().unwrap(), asks);
        assert_eq!(result.is_ok(), allowed, "{address} {asks}");
    }
}

#[tokio::test]
async fn a_packet_is_put_once_and_read_back() {
    let served = Served::start(None).await;
    let packet = sealed(340_000);
    let path = format!("/v1/packets/{}", hex::encode(packet.id));
    assert_eq!(served.get(&path).await.status(), 404);
    assert_eq!(served.put(&path, packet.bytes.clone()).await.status(), 201);
    let again = served.post("/v1/packets", packet.bytes.clone()).await;
    assert_eq!(again.status(), 200);
    let reply: StoredReply = again.json().await.unwrap();
    assert_eq!(reply, StoredReply { id: hex::encode(packet.id), new: false });
    let answer = served.get(&path).await;
    assert_eq!(answer.headers()["content-type"], handlers::COSE_SIGN1);
    assert_eq!(answer.bytes().await.unwrap(), packet.bytes);
}

#[tokio::test]
async fn wrong_requests_are_refused_with_a_reason() {
    let served = Served::start(None).await;
    let packet = sealed(340_000);
    let other = format!("/v1/packets/{}", hex::encode([0; 32]));
    assert_eq!(refused(served.put(&other, packet.bytes.clone()).await).await, (400, Kind::Request));
    assert_eq!(refused(served.post("/v1/packets", vec![0; 513]).await).await, (413, Kind::Packet));
    assert_eq!(refused(served.post("/v1/packets", vec![0; 512]).await).await, (400, Kind::Packet));
    assert_eq!(refused(served.get(&other).await).await, (404, Kind::NotFound));
    assert_eq!(refused(served.get("/v1/packets/xyz").await).await, (400, Kind::Request));
    let unknown = served.post("/v1/query", r#"{"radios":3}"#).await;
    assert_eq!(refused(unknown).await, (422, Kind::Request));
    let long = format!(r#"{{"query":{{"protocol":"{}"}}}}"#, "x".repeat(QUERY_BYTES_MAX));
    assert_eq!(refused(served.post("/v1/query", long).await).await, (413, Kind::Request));
    let cell = served.get("/v1/subscribe?cell=elsewhere").await;
    assert_eq!(refused(cell).await, (400, Kind::Request));
}

#[tokio::test]
async fn the_reference_example_is_found_without_knowing_the_answer() {
    let served = Served::start(None).await;
    assert_eq!(served.post("/v1/packets", sealed(340_000).bytes).await.status(), 201);
    let mut query = Query::from(&sealed(300_000).outcome.situation);
    query.affected_prefixes = Some(6_000);
    for pattern in [None, Some("bfd_tuning".to_owned())] {
        query.resolution_pattern = pattern;
        let request = QueryRequest { query: query.clone(), radius: Some(3), ..Default::default() };
        let body = serde_json::to_vec(&request).unwrap();
        let reply: QueryReply = served.post("/v1/query", body).await.json().await.unwrap();
        let [found] = reply.found.as_slice() else { panic!("{reply:?}") };
        assert_eq!(found.outcome.situation.severity, 340_000);
        assert!(found.distance > 0 && found.distance < 1_000, "{}", found.distance);
    }
}

#[tokio::test]
async fn who_verifies_gets_the_exact_bytes_alone() {
    let served = Served::start(None).await;
    let stored = [sealed(340_000), sealed(350_000)];
    for packet in &stored {
        assert_eq!(served.post("/v1/packets", packet.bytes.clone()).await.status(), 201);
    }
    for (accept, media_type) in [
        ("application/cbor-seq", CBOR_SEQUENCE),
        ("text/html, Application/CBOR-seq;q=0.9, */*;q=0.1", CBOR_SEQUENCE),
        ("*/*", "application/json"),
    ] {
        let query = QueryRequest {
            query: Query::from(&stored[0].outcome.situation),
            ..QueryRequest::default()
        };
        let request =
            served.client.post(format!("{}/v1/query", served.base)).header("accept", accept);
        let answer = request.json(&query).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], media_type, "{accept}");
        let body = answer.bytes().await.unwrap();
        if media_type == CBOR_SEQUENCE {
            let expected: Vec<&[u8]> = stored.iter().map(|packet| &packet.bytes[..]).collect();
            let packets: Vec<&[u8]> = from_sequence(&body).map(Result::unwrap).collect();
            assert_eq!(packets, expected, "nearest first");
        }
    }
}

#[tokio::test]
async fn without_the_token_only_the_server_itself_answers() {
    let served = Served::start(Some("secret")).await;
    for open in ["/v1/health", "/v1/ready", "/v1/openapi.json"] {
        assert_eq!(served.get(open).await.status(), 200, "{open}");
    }
    for path in ["/v1/capability", "/v1/packets/00", "/v1/subscribe"] {
        let answer = served.get(path).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["www-authenticate"]),
            (401, &"Bearer".parse().unwrap()),
            "{path}"
        );
    }
    for (token, status) in [("secret", 200), ("secre", 401), ("", 401)] {
        let request = served.client.get(format!("{}/v1/capability", served.base));
        assert_eq!(request.bearer_auth(token).send().await.unwrap().status(), status, "{token}");
    }
}

/// Reads a stream until `marker` stands in what was read.
async fn read_until(answer: &mut Answer, marker: &str) -> String {
    let mut text = String::new();
    while !text.contains(marker) {
        let chunk = tokio::time::timeout(Duration::from_secs(30), answer.chunk()).await;
        let chunk = chunk.expect("the stream goes on").unwrap().expect("the stream is open");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    text
}

#[tokio::test]
async fn a_subscriber_receives_its_cell_and_resumes_after_a_cursor() {
    let served = Served::start(None).await;
    let (first, second) = (sealed(1_000), sealed(2_000));
    let cell = Cell::coarse(&Space::default_definition(), &first.outcome.situation);
    let path = format!("/v1/subscribe?cell={}", cell.to_string().replace('%', "%25"));
    let mut live = served.get(&path).await;
    read_until(&mut live, "event: ready\nid: 0\n").await;
    for packet in [&first, &second] {
        assert_eq!(served.post("/v1/packets", packet.bytes.clone()).await.status(), 201);
    }
    let event = |id: u64, packet: &Sealed| {
        format!("event: packet\nid: {id}\ndata: {}\n\n", hex::encode(&packet.bytes))
    };
    let text = read_until(&mut live, &event(2, &second)).await;
    assert!(text.contains(&event(1, &first)), "{text}");
    let request = served.client.get(format!("{}{path}", served.base)).header("Last-Event-ID", "1");
    let mut resumed = request.send().await.unwrap();
    let text = read_until(&mut resumed, &event(2, &second)).await;
    assert!(!text.contains(&event(1, &first)), "{text}");
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_when_to_come_back() {
    let served = Served::limited(None, 1).await;
    let mut answers = Vec::new();
    // Two may come at once; however slow this test is, one a second does not keep up with it.
    while answers.last() != Some(&429) {
        assert!(answers.len() < 1_000, "{answers:?}");
        answers.push(served.get("/v1/capability").await.status().as_u16());
    }
    assert!(answers.len() > 2 && answers[..2] == [200, 200], "{answers:?}");
    let answer = served.get("/v1/capability").await;
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(refused(answer).await, (429, Kind::Throttled));
    assert_eq!(served.get("/v1/health").await.status(), 200, "health is not counted");
}

#[tokio::test]
async fn one_key_cannot_hold_all_streams() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "of-singapore-0123\nof-denver-01234567\n").unwrap();
    let served = Served::asking(Tokens::read(file.path()).unwrap(), RATE_DEFAULT.get()).await;
    let url = format!("{}/v1/subscribe", served.base);
    let open = async |token| served.client.get(&url).bearer_auth(token).send().await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..StreamBounds::default().held_max.get() {
        streams.push(open("of-singapore-0123").await);
        assert_eq!(streams.last().unwrap().status(), 200);
    }
    let answer = open("of-singapore-0123").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (429, &"5".parse().unwrap())
    );
    let reply: ErrorReply = answer.json().await.unwrap();
    assert!(
        reply.kind == Kind::Throttled && reply.error.contains("end one, or follow"),
        "{reply:?}"
    );
    // Neither others nor what else this one asks for is concerned.
    assert_eq!(open("of-denver-01234567").await.status(), 200);
    let request = served.client.get(format!("{}/v1/capability", served.base));
    assert_eq!(request.bearer_auth("of-singapore-0123").send().await.unwrap().status(), 200);
    // The place of one that ended is free again, as soon as its end was seen.
    drop(streams.pop());
    let opened = async {
        while open("of-singapore-0123").await.status() == 429 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), opened).await.expect("a place becomes free");
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_and_is_not_ready() {
    let served = Served::start(None).await;
    let mut stream = served.get("/v1/subscribe").await;
    read_until(&mut stream, "event: ready").await;
    assert_eq!(served.get("/v1/ready").await.status(), 200);
    served.ask.send_replace(true);
    let rest = tokio::time::timeout(Duration::from_secs(30), stream.bytes()).await;
    assert_eq!(rest.expect("the stream ends").unwrap().len(), 0);
    assert_eq!(refused(served.get("/v1/ready").await).await, (503, Kind::Unavailable));
    assert_eq!(served.get("/v1/health").await.status(), 200);
}

#[tokio::test]
async fn what_is_described_is_served_and_nothing_else_at_its_address() {
    let served = Served::start(None).await;
    let document: serde_json::Value = served.get("/v1/openapi.json").await.json().await.unwrap();
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        let address = format!("{}{}", served.base, path.replace("{id}", &"0".repeat(64)));
        for method in ["get", "put", "post", "delete", "patch"] {
            let wanted = method.to_uppercase().parse().unwrap();
            let answer = served.client.request(wanted, &address).send().await.unwrap();
            let known = methods.get(method).is_some();
            assert_eq!(answer.status() != 405, known, "{method} {path}: {}", answer.status());
            match answer.status().as_u16() {
                404 => assert_eq!(refused(answer).await, (404, Kind::NotFound), "{method} {path}"),
                405 => assert_eq!(refused(answer).await, (405, Kind::Request), "{method} {path}"),
                _ => {}
            }
        }
    }
    assert_eq!(refused(served.get("/v2/query").await).await, (404, Kind::NotFound));
}
