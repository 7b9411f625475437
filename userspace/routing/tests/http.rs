//! What the HTTP client makes of refusals, of our server and of what may stand before it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use edgelore_model::Query;
use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::http::Http;
use edgelore_routing::{Backend, BackendError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What a client says that is answered so.
async fn refused(head: &str, body: &str) -> BackendError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    let answer = [answer.as_bytes(), body.as_bytes()].concat();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 8_192]).await.unwrap();
        // Whoever has read enough of a long one may have gone.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    });
    let client = Http::new(&url, None, Space::default_definition()).unwrap();
    let error = client.query(&Query::default(), 0, 1).await.unwrap_err();
    server.await.unwrap();
    error
}

#[tokio::test]
async fn a_refusal_is_told_with_the_servers_words() {
    let ours = |kind: &str| format!(r#"{{"error":"do this instead","kind":"{kind}"}}"#);
    let html = "<html>\r\n\t<h1>do   this instead</h1>";
    for (head, body, kind) in [
        ("401 Unauthorized", ours("request"), "unauthorised"),
        ("401 Unauthorized", html.to_owned(), "unauthorised"),
        ("403 Forbidden", ours("refused"), "refused"),
        ("403 Forbidden", html.to_owned(), "answer"),
        ("413 Payload Too Large", ours("packet"), "request"),
        ("413 Payload Too Large", html.to_owned(), "request"),
        ("429 Too Many Requests\r\nretry-after: 3", ours("throttled"), "throttled"),
        ("429 Too Many Requests\r\nretry-after: 3", html.to_owned(), "throttled"),
        ("503 Service Unavailable", ours("unavailable"), "unavailable"),
        ("503 Service Unavailable", html.to_owned(), "unavailable"),
    ] {
        let error = refused(head, &body).await;
        assert_eq!(error.kind(), kind, "{head}: {error}");
        assert!(error.to_string().contains("do this instead"), "{head}: {error}");
        if let BackendError::Throttled(wait_ms, _) = error {
            assert_eq!(wait_ms, 3_000);
        }
    }
    assert_eq!(
        refused("503 Service Unavailable", "").await.to_string(),
        "asking a backend: the server answers 503 Service Unavailable"
    );
    assert_eq!(
        refused("401 Unauthorized", "").await.to_string(),
        "asking a backend: not authorised"
    );
}

#[tokio::test]
async fn an_answer_in_another_form_is_an_error_and_not_an_empty_one() {
    for (head, sends) in [
        ("200 OK\r\ncontent-type: application/json", "application/json"),
        ("200 OK\r\ncontent-type: text/html", "text/html"),
        ("200 OK", "no media type"),
    ] {
        let error = refused(head, "{}").await;
        assert_eq!(error.kind(), "answer", "{error}");
        assert!(error.to_string().ends_with(&format!("it sends {sends}")), "{error}");
    }
}

#[tokio::test]
async fn no_servers_words_fill_or_command_a_terminal() {
    let long = "word ".repeat(1 << 20);
    let hostile = "\u{1b}[2J\u{7}clear\u{202e}\u{0} 'as' \"is\" \\ é".to_owned();
    let as_json = serde_json::json!({ "error": hostile, "kind": "unavailable" }).to_string();
    for head in ["401 Unauthorized", "413 Payload Too Large", "429 Too Many Requests", "502 Bad"] {
        let text = refused(head, &long).await.to_string();
        assert!(text.chars().count() < 350 && text.ends_with('…'), "{head}: {text}");
        for body in [&hostile, &as_json] {
            let text = refused(head, body).await.to_string();
            assert!(text.ends_with("clear\u{fffd}\u{fffd} 'as' \"is\" \\ é"), "{head}: {text:?}");
            assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{head}: {text:?}");
        }
    }
}
