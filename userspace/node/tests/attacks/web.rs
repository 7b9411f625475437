//! The HTTP server under attack, by a client that sends whatever it likes.

use super::*;
use edgelore_node::api::{self, Policy, Stopping};
use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::http::Http;
use std::net::SocketAddr;
use tokio::net::TcpListener;

pub(crate) struct Web {
    gate: Gate,
    address: SocketAddr,
    client: Http,
    _store: TempDir,
}

#[async_trait]
impl Target for Web {
    async fn start() -> Self {
        let (gate, store) = (Gate::new(), tempfile::tempdir().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let policy = Policy { trust: Some(Arc::clone(&gate.trust)), ..Policy::default() };
        let router = api::router(embedded(&store, &gate.clock), policy, Stopping::new().1);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("http://{address}");
        let client = Http::new(&url, None, Space::default_definition()).unwrap();
        Self { gate, address, client, _store: store }
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn backend(&self) -> &dyn Backend {
        &self.client
    }

    async fn send(&self, bytes: &[u8]) -> Result<(), String> {
        let answer = self.request("POST", "/v1/packets", bytes).await;
        if answer.status().is_success() {
            return Ok(());
        }
        assert!(answer.status().is_client_error(), "{}", answer.status());
        let told: serde_json::Value = answer.json().await.unwrap();
        Err(told["error"].as_str().unwrap().to_owned())
    }
}

impl Web {
    async fn request(&self, method: &str, path: &str, body: &[u8]) -> reqwest::Response {
        edgelore_routing::http::use_ring();
        let url = format!("http://{}{path}", self.address);
        let request = reqwest::Client::new().request(method.parse().unwrap(), url);
        request.body(body.to_vec()).send().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_under_anothers_id_is_refused_and_counted() {
    let web = Web::start().await;
    let (witness, other) = (sealed(&numbered(1), &key(7)), sealed(&numbered(2), &key(1)));
    assert_eq!(web.send(&witness.bytes).await, Ok(()));
    let path = format!("/v1/packets/{}", hex::encode(witness.id));
    assert_eq!(web.request("PUT", &path, &other.bytes).await.status().as_u16(), 400);
    assert_eq!(web.gate.count("refused.misnamed"), 1);
    assert_eq!(everything(&web.client).await, [witness.id]);
    assert_eq!(web.client.get(&witness.id).await.unwrap(), Some(witness.bytes));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_of_a_request_gets_out_of_its_place() {
    let web = Web::start().await;
    let witness = sealed(&numbered(1), &key(7));
    assert_eq!(web.send(&witness.bytes).await, Ok(()));
    for (method, path, body, statuses) in [
        ("GET", "/v1/packets/..%2f..%2fetc%2fpasswd", "", [400, 404]),
        ("GET", "/v1/packets/%27%3B%20DROP%20TABLE%20packets%3B--", "", [400, 404]),
        ("PUT", "/v1/packets/%00", "x", [400, 404]),
        ("GET", "/v1/subscribe?cell=%27%20OR%201=1", "", [400, 404]),
        ("GET", "/v1/subscribe?cell=edgelore/1/../../x", "", [400, 404]),
        ("POST", "/v1/subscribe", "[\"*\"]", [400, 415]),
        ("POST", "/v1/query", "{\"query\":{\"$where\":\"1\"}}", [415, 422]),
        ("POST", "/v1/statements", "'; DROP TABLE statements; --", [400, 400]),
        ("POST", "/v1/statements/about", "[\"' OR 1=1\"]", [400, 415]),
        ("POST", "/v1/reference", "{\"topology_class\":\"'\"}", [400, 400]),
        ("DELETE", "/v1/packets", "", [405, 405]),
    ] {
        let status = web.request(method, path, body.as_bytes()).await.status().as_u16();
        assert!(statuses.contains(&status), "{method} {path}: {status}");
    }
    let (url, client) = (format!("http://{}/v1/subscribe", web.address), reqwest::Client::new());
    for wrong in ["1; DROP", "-1", "18446744073709551616", "\u{e9}"] {
        let request = client.get(&url).header("Last-Event-ID", wrong);
        assert_eq!(request.send().await.unwrap().status().as_u16(), 400, "{wrong}");
    }
    let query = serde_json::json!({"query": {"protocol": "' OR '1'='1", "topology_class": "*"}, "radius": 0});
    let url = format!("http://{}/v1/query", web.address);
    let answer = client.post(url).json(&query).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["found"], serde_json::json!([]));
    assert_eq!(everything(&web.client).await, [witness.id]);
}
