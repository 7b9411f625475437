//! `edgelore serve` as a process: TLS, tokens, limits, failover, its end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../served/mod.rs"]
mod served;
mod server;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgelore_pipeline::fingerprint::Space;
use edgelore_routing::http::Http;
use edgelore_routing::{Backend, BackendError};
use serde_json::{Value, json};
use server::{Authority, Server, edgelore, error_of, lines, start, text};
use tempfile::TempDir;

/// Fails with what the command says, unless it succeeded.
fn succeeded(output: &std::process::Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A scratch directory with a signing key.
struct Scratch {
    directory: TempDir,
    key: PathBuf,
}

impl Scratch {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("signing-key");
        succeeded(&edgelore(&["keygen", "--out", text(&key)], ""));
        Self { directory, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn token_file(&self, name: &str, tokens: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, tokens).unwrap();
        path
    }

    /// Publishes so many different outcomes.
    fn publish(&self, count: usize, stores: &[&str], more: &[&str]) -> std::process::Output {
        let packets: String = (0..count).map(|n| format!("{}\n", packet(n))).collect();
        let mut arguments = vec!["publish", "-", "--key", text(&self.key)];
        arguments.extend(stores.iter().flat_map(|store| ["--store", store]));
        arguments.extend(more);
        edgelore(&arguments, &packets)
    }
}

/// An outcome in the reference's form.
fn packet(number: usize) -> Value {
    json!({
        "topology_class": "spine_leaf", "protocol": "bgp", "event_type": "convergence",
        "resolution_pattern": "bfd_tuning", "convergence_delta_ms": 340_000 + number,
        "affected_prefixes": 8_200, "node_count": 96, "resolution_steps": ["Reduced the multiplier"],
    })
}

/// How many outcomes a store finds.
fn found(stores: &[&str], more: &[&str]) -> usize {
    let mut arguments = vec!["query", "--radius", "100", "--limit", "1000", "--json"];
    arguments.extend(stores.iter().flat_map(|store| ["--store", store]));
    arguments.extend(more);
    lines(&edgelore(&arguments, ""))[0].as_array().unwrap().len()
}

#[test]
fn certificates_are_asked_for_on_both_sides() {
    let scratch = Scratch::new();
    let ours = Authority::new(scratch.directory.path(), "ours");
    let theirs = Authority::new(scratch.directory.path(), "theirs");
    let (certificate, key) = ours.sign("127.0.0.1");
    let store = scratch.path("store");
    let tls = ["--tls-cert", text(&certificate), "--tls-key", text(&key)];
    let with_ca = [&tls[..], &["--client-ca", text(&ours.certificate)]].concat();
    // A certificate is asked for, so others may be served; here only loopback is there to ask.
    let server = start(&store, &[&with_ca[..], &["--listen", "0.0.0.0:0"]].concat());
    let url = format!("https://127.0.0.1:{}", server.address().rsplit(':').next().unwrap());

    let trusting = ["--ca-file", text(&ours.certificate)];
    let (certificate, key) = ours.sign("denver");
    let denver = ["--certificate-file", text(&certificate), "--certificate-key-file", text(&key)];
    let known = [&trusting[..], &denver].concat();
    assert_eq!(lines(&scratch.publish(2, &[&url], &known)).len(), 2);
    assert_eq!(found(&[&url], &known), 2);

    let (certificate, key) = theirs.sign("stranger");
    let stranger = ["--certificate-file", text(&certificate), "--certificate-key-file", text(&key)];
    let stranger = [&trusting[..], &stranger].concat();
    for refused in [&trusting[..], &stranger, &denver] {
        let error = error_of(scratch.publish(1, &[&url], refused));
        assert!(error.contains("asking a backend"), "{error}");
    }
    let plain = url.replace("https", "http");
    error_of(scratch.publish(1, &[&plain], &known));
    assert_eq!(found(&[&url], &known), 2, "nobody else has stored anything");
}

#[test]
fn a_token_travels_over_tls_and_any_of_the_file_is_taken() {
    let scratch = Scratch::new();
    let authority = Authority::new(scratch.directory.path(), "authority");
    let (certificate, key) = authority.sign("localhost");
    let tokens = scratch.token_file("tokens", "of-singapore-0123456\nof-denver-0123456789\n");
    let server = start(
        &scratch.path("store"),
        &["--tls-cert", text(&certificate), "--tls-key", text(&key), "--token-file", text(&tokens)],
    );
    let url = format!("https://localhost:{}", server.address().rsplit(':').next().unwrap());
    let ask = |token: &str| {
        let token = scratch.token_file("token", token);
        let more = ["--ca-file", text(&authority.certificate), "--token-file", text(&token)];
        scratch.publish(1, &[&url], &more)
    };
    assert_eq!(lines(&ask("of-denver-0123456789")).len(), 1);
    assert_eq!(lines(&ask("of-singapore-0123456")).len(), 1);
    assert!(error_of(ask("of-somebody-01234567")).contains("not authorised"));
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start() {
    let scratch = Scratch::new();
    let store = scratch.path("store");
    let serve = |more: &[&str]| {
        edgelore(
            &[&["serve", "--store", text(&store), "--listen", "127.0.0.1:0"], more].concat(),
            "",
        )
    };
    let short = scratch.token_file("short", "secret\n");
    assert!(error_of(serve(&["--token-file", text(&short)])).contains("at least 16"));
    let authority = Authority::new(scratch.directory.path(), "authority");
    let (certificate, key) = authority.sign("localhost");
    let (_, other_key) = authority.sign("other");
    for (certificate, key, named) in [
        (&short, &key, "reading certificate"),
        (&certificate, &short, "reading private key"),
        (&certificate, &other_key, "using certificate"),
    ] {
        let error = error_of(serve(&["--tls-cert", text(certificate), "--tls-key", text(key)]));
        assert!(error.contains(named), "{error}");
    }
    assert_eq!(serve(&["--tls-cert", text(&certificate)]).status.code(), Some(2));
    for (option, value, named) in [
        ("--rate", "0", "--rate"),
        ("--streams-max", "0", "--streams-max"),
        ("--streams-max", "257", "a store bears 256 event streams"),
        ("--streams-per-second", "0", "--streams-per-second"),
    ] {
        let refused = serve(&[option, value]);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && error.contains(named), "{error}");
    }
    assert!(!store.exists(), "a server that is refused leaves nothing");
}

#[test]
fn a_client_waits_when_it_is_told_to() {
    let scratch = Scratch::new();
    let server = start(&scratch.path("store"), &["--rate", "10"]);
    // Twenty may come at once; the rest is told to come back.
    let stored = lines(&scratch.publish(25, &[&server.url], &[]));
    assert_eq!(stored.len(), 25);
    assert!(stored.iter().all(|stored| stored["new"] == true));
}

#[test]
fn another_server_takes_over() {
    let scratch = Scratch::new();
    let mut first = start(&scratch.path("first"), &[]);
    let second = start(&scratch.path("second"), &[]);
    let both = format!("{},{}", first.url, second.url);
    assert_eq!(lines(&scratch.publish(1, &[&both], &[])).len(), 1);
    assert_eq!((found(&[&first.url], &[]), found(&[&second.url], &[])), (1, 0));
    first.kill();
    assert_eq!(lines(&scratch.publish(3, &[&both], &[])).len(), 3);
    assert_eq!(found(&[&both], &[]), 3);
}

#[test]
fn several_stores_are_all_written_and_any_is_read() {
    let scratch = Scratch::new();
    let mut first = start(&scratch.path("first"), &[]);
    let second = start(&scratch.path("second"), &[]);
    let (a, b) = (first.url.clone(), second.url.clone());
    assert_eq!(lines(&scratch.publish(2, &[&a, &b], &[])).len(), 2);
    assert_eq!((found(&[&a], &[]), found(&[&b], &[])), (2, 2));
    first.kill();
    assert_eq!(found(&[&a, &b], &[]), 2);
    // Not stored everywhere is not stored: whoever published tries again.
    let error = error_of(scratch.publish(3, &[&a, &b], &[]));
    assert!(error.contains("asking a backend"), "{error}");
}

/// A stream of events over a bare connection.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(server: &Server, cursor: &str) -> Self {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(
            stream,
            "GET /v1/subscribe HTTP/1.1\r\nHost: {}\r\nLast-Event-ID: {cursor}\r\n\r\n",
            server.address()
        )
        .unwrap();
        Self(BufReader::new(stream))
    }

    /// Reads lines up to one that begins so; `None` at the end of the stream.
    fn line(&mut self, begins: &str) -> Option<String> {
        let mut line = String::new();
        while !line.starts_with(begins) {
            line.clear();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
        }
        Some(line.trim_end().to_owned())
    }
}

#[test]
fn a_caller_is_told_what_to_do_about_its_streams() {
    let scratch = Scratch::new();
    let bounds = ["--streams-max", "2", "--streams-per-second", "1"];
    let server = start(&scratch.path("store"), &bounds);
    let mut streams = [Stream::open(&server, "0"), Stream::open(&server, "0")];
    for stream in &mut streams {
        assert_eq!(stream.line("id: ").unwrap(), "id: 0", "it is followed");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = Http::new(&server.url, None, Space::default_definition()).unwrap();
    let refused = || runtime.block_on(client.subscribe(&[], None)).err().unwrap().to_string();
    assert_eq!(
        refused(),
        "asking a backend: too many requests, again in 5000 ms: 2 event streams of this caller are \
         open: end one, or follow more cells in one of them"
    );
    // Those that end make room, and are counted when they are opened again too fast.
    drop(streams);
    let error = loop {
        match runtime.block_on(client.subscribe(&[], None)) {
            Err(error) if error.to_string().contains("a caller opens") => break error,
            Ok(_) | Err(BackendError::Throttled(..)) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert!(error.to_string().contains("a caller opens 1 event streams a second"), "{error}");
}

#[test]
fn sigterm_ends_the_streams_and_a_new_process_resumes_them() {
    let scratch = Scratch::new();
    let store = scratch.path("store");
    let mut server = start(&store, &[]);
    scratch.publish(2, &[&server.url], &[]);
    let mut stream = Stream::open(&server, "0");
    for id in ["id: 0", "id: 1", "id: 2"] {
        assert_eq!(stream.line("id: ").unwrap(), id);
    }
    server.terminate();
    assert_eq!(stream.line("id: "), None, "the stream ends, it is not cut");
    assert!(server.ended().success());

    let server = start(&store, &[]);
    scratch.publish(3, &[&server.url], &[]);
    let mut stream = Stream::open(&server, "1");
    for id in ["id: 1", "id: 2", "id: 3"] {
        assert_eq!(stream.line("id: ").unwrap(), id);
    }
}

#[test]
fn a_connection_that_sends_half_a_request_does_not_keep_the_server() {
    let scratch = Scratch::new();
    let mut server = start(&scratch.path("store"), &[]);
    let mut halves = Vec::new();
    for half in
        ["", "PUT /v1/pa", "POST /v1/packets HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\nx"]
    {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        halves.push(stream);
    }
    assert_eq!(lines(&scratch.publish(1, &[&server.url], &[])).len(), 1);
    server.terminate();
    assert!(server.ended().success());
}

#[test]
fn the_description_is_served_without_a_token() {
    let scratch = Scratch::new();
    let token = scratch.token_file("token", "of-singapore-0123456\n");
    let server = start(&scratch.path("store"), &["--token-file", text(&token)]);
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/openapi.json");
    let committed: Value = serde_json::from_slice(&std::fs::read(committed).unwrap()).unwrap();
    edgelore_routing::http::use_ring();
    let served =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(
            async {
                let url = format!("{}/v1/openapi.json", server.url);
                reqwest::get(url).await.unwrap().json::<Value>().await.unwrap()
            },
        );
    assert_eq!(served, committed);
}

#[test]
fn a_store_is_checked_counted_exported_and_imported() {
    let scratch = Scratch::new();
    let store = scratch.path("store");
    let server = start(&store, &[]);
    assert_eq!(lines(&scratch.publish(5, &[&server.url], &[])).len(), 5);
    let run = |command: &str, store: &Path, input: &str| {
        edgelore(&["store", command, "--store", text(store)], input)
    };
    assert!(error_of(run("check", &store, "")).contains("in use by another process"));
    drop(server);

    let checked = &lines(&run("check", &store, ""))[0];
    assert_eq!((&checked["sound"], &checked["damaged"]), (&json!(5), &json!(0)));
    let stats = &lines(&run("stats", &store, ""))[0];
    assert_eq!((&stats["packets"], &stats["publishers"]), (&json!(5), &json!(1)));
    let exported = run("export", &store, "");
    let packets = String::from_utf8(exported.stdout).unwrap();
    assert_eq!(packets.lines().count(), 5);

    let other = scratch.path("other");
    let damaged = packets.lines().next().unwrap().replacen("d2", "d3", 1);
    let imported = &lines(&run("import", &other, &format!("{packets}{damaged}\n")))[0];
    assert_eq!((&imported["new"], &imported["known"]), (&json!(5), &json!(0)));
    assert_eq!(imported["refused"].as_object().unwrap().len(), 1);
    assert_eq!(lines(&run("import", &other, &packets))[0]["known"], 5);
    assert_eq!(String::from_utf8(run("export", &other, "").stdout).unwrap(), packets);
    assert!(lines(&run("compact", &other, ""))[0]["bytes_after"].is_u64());
    assert!(error_of(run("import", &other, "zz\n")).contains("line 1"));
    let nowhere = scratch.path("nowhere");
    assert!(error_of(run("stats", &nowhere, "")).contains("holds no outcomes.redb"));
    assert!(!nowhere.exists());
}

/// A store behind a server, out of a directory and back into another.
#[test]
fn a_store_is_copied_through_a_server_and_verified() {
    let scratch = Scratch::new();
    let token = scratch.token_file("tokens", "of-this-test-0123456789");
    let (first, last) = (scratch.path("first"), scratch.path("last"));
    let [first_url, last_url] = [&first, &last].map(|path| format!("embedded:{}", text(path)));
    succeeded(&scratch.publish(40, &[&first_url], &[]));
    let server = start(&scratch.path("served"), &["--token-file", text(&token)]);
    let copy = |from: &str, to: &str, token: &[&str]| {
        edgelore(&[&["store", "copy", "--from", from, "--to", to], token].concat(), "")
    };
    let copied = &lines(&copy(&first_url, &server.url, &["--to-token-file", text(&token)]))[0];
    assert_eq!((&copied["new"], &copied["verified"]), (&json!(40), &json!(40)), "{copied}");
    let from = ["--from-token-file", text(&token)];
    let copied = &lines(&copy(&server.url, &last_url, &from))[0];
    assert_eq!((&copied["new"], &copied["verified"]), (&json!(40), &json!(40)), "{copied}");
    let copied = &lines(&copy(&server.url, &last_url, &from))[0];
    assert_eq!((&copied["new"], &copied["known"]), (&json!(0), &json!(40)), "{copied}");
    let exported = |path: &Path| {
        let output = edgelore(&["store", "export", "--store", text(path)], "");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut packets: Vec<String> = text.lines().map(str::to_owned).collect();
        packets.sort_unstable();
        packets
    };
    assert_eq!((exported(&first).len(), exported(&first)), (40, exported(&last)));

    let nowhere = scratch.path("nowhere");
    let nowhere = format!("embedded:{}", text(&nowhere));
    let error = error_of(copy(&nowhere, &last_url, &[]));
    assert!(error.contains("opening the source") && error.contains("holds no store"), "{error}");
    let error = error_of(copy(&first_url, &server.url, &[]));
    assert!(
        error.contains("storing in the destination") && error.contains("not authorised"),
        "{error}"
    );
    let error = error_of(copy(&server.url, &last_url, &[]));
    assert!(error.contains("reading the source") && error.contains("not authorised"), "{error}");
    let error = error_of(copy(&first_url, &first_url, &[]));
    assert!(error.contains("opening the destination") && error.contains("in use"), "{error}");
    let error = error_of(copy("ftp://x", &last_url, &[]));
    assert!(error.contains("is neither"), "{error}");
}
