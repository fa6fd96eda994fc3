//! Answers with the right status and a useless body.

use serde_json::{Value, json};
use tresorpayd::simulator::{Fault, Garbage, NoticeStatus, Operation, Rule};

use super::{Got, Peer, credentials, read, token_request};

/// Emits `A-1` into an answer that is `body`, beside a notice `A-0`.
async fn emitted_into(body: Garbage, processed: bool) -> (Peer, Got) {
    let peer = Peer::default().await;
    peer.emitted("A-0").await;
    peer.sim.add_fault(Rule::once(Operation::Emit, Fault::Garbage { body, processed }));
    let got = read(peer.emit("A-1")).await.unwrap();
    assert_eq!(got.status, 200);
    assert_eq!(peer.sim.notice("A-1").is_some(), processed, "{body:?}");
    (peer, got)
}

#[tokio::test]
async fn bodies_that_are_no_json() {
    for processed in [true, false] {
        let (_, got) = emitted_into(Garbage::Empty, processed).await;
        assert!(got.bytes.is_empty());
        let (_, got) = emitted_into(Garbage::Html, processed).await;
        assert!(got.header("content-type").starts_with("text/html") && got.text().contains("<html>"));
        let (_, got) = emitted_into(Garbage::NotJson, processed).await;
        assert_eq!(got.header("content-type"), "application/json");
        assert!(serde_json::from_slice::<Value>(&got.bytes).is_err());
    }
}

#[tokio::test]
async fn references_that_are_useless() {
    let reference = |got: &Got| got.json()["reference"].clone();
    let (_, got) = emitted_into(Garbage::NoReference, true).await;
    assert_eq!(got.json(), json!({"status": "EMITTED"}));
    let (_, got) = emitted_into(Garbage::NullReference, true).await;
    assert_eq!(got.json(), json!({"reference": null, "status": "EMITTED"}));
    let (_, got) = emitted_into(Garbage::BlankReference, true).await;
    assert!(reference(&got).as_str().unwrap().trim().is_empty());
    let (_, got) = emitted_into(Garbage::NumberReference, true).await;
    assert!(reference(&got).is_number());
    let (_, got) = emitted_into(Garbage::LongReference, true).await;
    assert_eq!(reference(&got).as_str().unwrap().len(), 10_000);
    let (_, got) = emitted_into(Garbage::ControlReference, true).await;
    assert!(reference(&got).as_str().unwrap().chars().any(char::is_control));
    let (peer, got) = emitted_into(Garbage::OtherReference, true).await;
    assert_eq!(reference(&got).as_str().unwrap(), peer.sim.notice("A-0").unwrap().reference);
}

#[tokio::test]
async fn a_reference_that_was_never_given() {
    let (peer, got) = emitted_into(Garbage::Canceled, false).await;
    let made_up = got.json()["reference"].as_str().unwrap().to_owned();
    assert!(peer.sim.notice(&made_up).is_none(), "{made_up}");
    assert_eq!(read(peer.status(&made_up)).await.unwrap().status, 404);
}

#[tokio::test]
async fn canceled_at_once() {
    let (peer, got) = emitted_into(Garbage::Canceled, true).await;
    let notice = peer.sim.notice("A-1").unwrap();
    assert_eq!(got.json(), json!({"reference": notice.reference, "status": "CANCELED"}));
    assert_eq!(notice.status, NoticeStatus::Canceled, "the answer is true");
}

#[tokio::test]
async fn a_useless_token() {
    let peer = Peer::default().await;
    for body in [Garbage::NoReference, Garbage::Html] {
        peer.sim.add_fault(Rule::once(Operation::Token, Fault::Garbage { body, processed: true }));
    }
    let got = read(token_request(&peer.http, &peer.sim, &credentials())).await.unwrap();
    assert!(got.json().get("access_token").is_none());
    assert_eq!(got.json()["token_type"], "Bearer");
    let got = read(token_request(&peer.http, &peer.sim, &credentials())).await.unwrap();
    assert!(got.text().contains("<html>"));
}

#[tokio::test]
async fn an_unauthorised_request_keeps_its_refusal() {
    let peer = Peer::default().await;
    peer.sim.revoke_tokens();
    peer.sim.add_fault(Rule::once(Operation::Emit, Fault::Garbage { body: Garbage::Html, processed: true }));
    let got = read(peer.emit("A-1")).await.unwrap();
    assert_eq!((got.status, &got.json()["message"]), (401, &json!("error.http.401")));
}
