//! Users whom an operator vouches for: accounts and users are JSON Web Tokens, signed with NKEYs.

use std::io::Write;

use data_encoding::BASE64URL_NOPAD;
use edgelore_routing::nats::Nats;
use edgelore_routing::{Backend, BackendError};
use edgelore_testkit::live;
use edgelore_testkit::server::NatsServer;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::config;
use crate::suite::{SimClock, key, outcome, sealed};

/// What `issuer` says of `subject`, signed.
fn token(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let (iss, sub) = (issuer.public_key(), subject.public_key());
    let claims = json!({ "jti": "1", "iat": 1, "iss": iss, "sub": sub, "name": sub, "nats": nats });
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let text =
        format!("{}.{}", encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), encode(&claims));
    let signature = issuer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
}

/// An account with JetStream or, as the system's must be, without.
fn account(operator: &KeyPair, account: &KeyPair, bytes_max: i64) -> String {
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1,
        "exports": -1, "wildcards": true, "streams": bytes_max, "consumer": bytes_max,
        "mem_storage": bytes_max, "disk_storage": bytes_max,
    });
    token(operator, account, &json!({ "type": "account", "version": 2, "limits": limits }))
}

/// A file as `nsc generate creds` writes it.
fn credentials(account: &KeyPair, user: &KeyPair) -> NamedTempFile {
    let rights = json!({
        "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {},
    });
    let mut file = NamedTempFile::new().unwrap();
    writeln!(
        file,
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------",
        token(account, user, &rights),
        user.seed().unwrap()
    )
    .unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nats_takes_the_credentials_of_its_operator_alone() {
    if !live("live_nats_takes_the_credentials_of_its_operator_alone") {
        return;
    }
    let (operator, system, ours) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let (system_key, our_key) = (system.public_key(), ours.public_key());
    let nats = json!({ "type": "operator", "version": 2, "system_account": system_key });
    let blocks = format!(
        "operator: \"{}\"\nsystem_account: {system_key}\nresolver: MEMORY\n\
         resolver_preload: {{ {system_key}: \"{}\", {our_key}: \"{}\" }}\n",
        token(&operator, &operator, &nats),
        account(&operator, &system, 0),
        account(&operator, &ours, -1)
    );
    let server = NatsServer::start_with_users(&blocks).unwrap();
    let clock = SimClock::new();
    let with = |file: &NamedTempFile| {
        let url = format!("nats://127.0.0.1:{}?creds={}", server.port(), file.path().display());
        Nats::new(config(&url, &clock)).unwrap()
    };
    let packet = sealed(&outcome(), &key(1));
    let genuine = credentials(&ours, &KeyPair::new_user());
    assert!(with(&genuine).store(packet.bytes.clone()).await.unwrap().new);
    assert_eq!(with(&genuine).get(&packet.id).await.unwrap(), Some(packet.bytes.clone()));
    // Of an account that the operator does not know, and of nobody.
    let foreign = credentials(&KeyPair::new_account(), &KeyPair::new_user());
    let error = with(&foreign).store(packet.bytes.clone()).await.unwrap_err();
    assert!(matches!(error, BackendError::Unauthorised(_)), "{error:?}");
    let mut rubbish = NamedTempFile::new().unwrap();
    writeln!(rubbish, "-----BEGIN NATS USER JWT-----\nsecret").unwrap();
    let error = with(&rubbish).store(packet.bytes).await.unwrap_err();
    assert!(matches!(error, BackendError::Request(_)) && error.is_final(), "{error:?}");
    assert!(error.to_string().contains("the file of credentials holds none"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}
