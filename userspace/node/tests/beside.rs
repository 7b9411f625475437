//! Statements and unsigned packets over HTTP: the client of the routing crate against the API.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use edgelore_model::{Query, Timestamp};
use edgelore_node::api;
use edgelore_pipeline::fingerprint::Space;
use edgelore_pipeline::fingerprint::reference::Packet as Reference;
use edgelore_pipeline::packet::SigningKey;
use edgelore_pipeline::packet::statement::{open, succession};
use edgelore_routing::embedded::{Embedded, EmbeddedConfig};
use edgelore_routing::http::Http;
use edgelore_routing::{Backend, BackendError};
use std::sync::Arc;

struct Served {
    base: String,
    store: Http,
    task: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(EmbeddedConfig::in_directory(directory.path())).unwrap();
        let (_, stopping) = api::Stopping::new();
        let router = api::router(Arc::new(store), api::Policy::default(), stopping);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let store = Http::new(&base, None, Space::default_definition()).unwrap();
        Self { base, store, task, _directory: directory }
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> u16 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("{}{path}", self.base)).body(body);
        let request = request.header("content-type", "application/json");
        request.send().await.unwrap().status().as_u16()
    }
}

fn reference() -> Reference {
    let line = r#"{"topology_class":"spine_leaf","protocol":"bgp","event_type":"convergence",
        "resolution_pattern":"bfd_tuning","convergence_delta_ms":340000,"affected_prefixes":8200,
        "node_count":96,"resolution_steps":["Reduced the multiplier"]}"#;
    Reference::parse(line).unwrap()
}

#[tokio::test]
async fn statements_come_back_as_they_were_told() {
    let served = Served::start().await;
    let [old, new] = [1, 2].map(|seed| SigningKey::from_seed(&mut [seed; 32]));
    let bytes = succession(&old, &new, Timestamp(1_780_000_000_000_000_000));
    let stored = served.store.declare(bytes.clone()).await.unwrap();
    assert_eq!((stored.id, stored.new), (open(&bytes).unwrap().id, true));
    assert!(!served.store.declare(bytes.clone()).await.unwrap().new);
    let told = served.store.statements(&[new.publisher()]).await.unwrap();
    assert_eq!(told, [open(&bytes).unwrap()]);
    assert!(matches!(served.store.declare(vec![0; 40]).await, Err(BackendError::Packet(_))));
}

#[tokio::test]
async fn unsigned_packets_come_back_as_declared() {
    let served = Served::start().await;
    assert!(served.store.import(reference()).await.unwrap().new);
    let asked = Query { protocol: Some("bgp".into()), ..Query::default() };
    let found = served.store.imported(&asked, 3_000, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(Reference::from(&found[0].outcome).to_json(), reference().to_json());
    assert!(served.store.query(&asked, 3_000, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let served = Served::start().await;
    let wrong_hash = reference().to_json().replace("\"outcome_hash\": \"", "\"outcome_hash\": \"0");
    let many = serde_json::to_vec(&vec!["00".repeat(32); 1_001]).unwrap();
    for (path, body, status) in [
        ("/v1/statements", vec![0; 40], 400),
        ("/v1/statements", vec![0; 513], 413),
        ("/v1/statements/about", b"[\"zz\"]".to_vec(), 400),
        ("/v1/statements/about", many, 400),
        ("/v1/statements/about", vec![b' '; 129 * 1024], 413),
        ("/v1/reference", wrong_hash.into_bytes(), 400),
        ("/v1/reference", b"{}".to_vec(), 400),
        ("/v1/reference", vec![0xff], 400),
        ("/v1/reference", vec![b' '; 17 * 1024], 413),
        ("/v1/reference/query", b"{\"radios\": 3}".to_vec(), 422),
    ] {
        assert_eq!(served.post(path, body.clone()).await, status, "{path} {}", body.len());
    }
}

#[tokio::test]
async fn all_statements_come_a_page_at_a_time() {
    let served = Served::start().await;
    let mut expected = Vec::new();
    for seed in 1..=4 {
        let [old, new] = [seed, seed + 100].map(|seed| SigningKey::from_seed(&mut [seed; 32]));
        let bytes = succession(&old, &new, Timestamp(1_780_000_000_000_000_000));
        expected.push(served.store.declare(bytes).await.unwrap().id);
    }
    expected.sort_unstable();
    let ids = async |after| {
        let page = served.store.statements_after(after).await.unwrap();
        page.iter().map(|statement| statement.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(None).await, expected);
    assert_eq!(ids(Some(expected[1])).await, expected[2..]);
    assert_eq!(ids(Some(expected[3])).await, [[0; 32]; 0]);
    let answer = reqwest::get(format!("{}/v1/statements?after=7", served.base)).await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
}
