//! The token endpoint, as Keycloak answers.

use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use tresorpayd::simulator::{Config, ExpiresIn};

use super::{Got, Peer, credentials, read, token_request};

async fn asked(peer: &Peer, form: &[(&str, &str)]) -> Got {
    read(token_request(&peer.http, &peer.sim, form)).await.unwrap()
}

#[tokio::test]
async fn a_token() {
    let peer = Peer::default().await;
    let got = asked(&peer, &credentials()).await;
    assert_eq!((got.status, got.header("cache-control")), (200, "no-store"));
    let answer = got.json();
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(300)));
    assert!(answer.get("refresh_token").is_none());
    let token = answer["access_token"].as_str().unwrap();
    let parts: Vec<_> = token.split('.').map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let claims: Value = serde_json::from_slice(&parts[1]).unwrap();
    assert_eq!(claims["azp"], "demo-client");
    assert_eq!(peer.sim.counters().tokens_issued, 2);
}

#[tokio::test]
async fn refusals() {
    let peer = Peer::default().await;
    let with = |name: &'static str, value: Option<&'static str>| {
        let mut form: Vec<_> = credentials().into_iter().filter(|(key, _)| *key != name).collect();
        form.extend(value.map(|value| (name, value)));
        form
    };
    let client = "Invalid client or Invalid client credentials";
    for (form, status, error, description) in [
        (with("grant_type", None), 400, "invalid_request", "Missing form parameter: grant_type"),
        (with("grant_type", Some("magic")), 400, "unsupported_grant_type", "Unsupported grant_type"),
        (with("client_id", None), 401, "invalid_client", client),
        (with("client_id", Some("other")), 401, "invalid_client", client),
        (with("client_secret", Some("wrong")), 401, "unauthorized_client", client),
        (with("client_secret", None), 401, "unauthorized_client", client),
        (with("scope", Some("everything")), 400, "invalid_scope", "Invalid scopes: everything"),
    ] {
        let got = asked(&peer, &form).await;
        assert_eq!(got.status, status, "{form:?}");
        assert_eq!(got.json(), json!({"error": error, "error_description": description}));
    }
    let mut twice = credentials();
    twice.push(("client_id", "demo-client"));
    assert_eq!(asked(&peer, &twice).await.json()["error"], "invalid_request");
    assert_eq!(read(peer.http.get(peer.sim.token_url())).await.unwrap().status, 405);
    let json = peer.http.post(peer.sim.token_url()).header("content-type", "application/json").body("{}");
    assert_eq!(read(json).await.unwrap().status, 415);
    assert_eq!(peer.sim.counters().tokens_issued, 1);
}

#[tokio::test]
async fn client_authentication_by_header() {
    let config =
        Config { client_id: "a:b c".to_owned(), client_secret: "s%cret+é".to_owned(), ..Config::default() };
    let sim = tresorpayd::simulator::start(config).await.unwrap();
    let http = super::client(super::DEADLINE);
    let ask = async |pair: &str| {
        let header = format!("Basic {}", BASE64_STANDARD.encode(pair));
        let request = http.post(sim.token_url()).header(AUTHORIZATION, header);
        read(request.form(&[("grant_type", "client_credentials")])).await.unwrap().status
    };
    assert_eq!(ask("a%3Ab+c:s%25cret%2B%C3%A9").await, 200, "form-encoded, as RFC 6749 asks");
    assert_eq!(ask("a%3Ab+c:wrong").await, 401);
}

#[tokio::test]
async fn a_token_expires() {
    let lifetime = Duration::from_millis(1);
    let peer = Peer::start(Config { token_lifetime: lifetime, ..Config::default() }).await;
    let start = std::time::Instant::now();
    while read(peer.emit("A-1")).await.unwrap().status != 401 {
        assert!(start.elapsed() < super::DEADLINE, "the token never expired");
    }
}

#[tokio::test]
async fn expires_in_is_not_always_a_number() {
    for (expires_in, value) in [(ExpiresIn::Text, Some(json!("60"))), (ExpiresIn::Omitted, None)] {
        let config = Config { expires_in, token_lifetime: Duration::from_mins(1), ..Config::default() };
        let peer = Peer::start(config).await;
        assert_eq!(asked(&peer, &credentials()).await.json().get("expires_in"), value.as_ref());
    }
}
