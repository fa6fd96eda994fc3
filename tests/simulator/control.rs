//! The control API, which tests in any language use.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tresorpayd::simulator::{Actor, Counters, Ledger, Notice, NoticeStatus, Operation};

use super::{DEADLINE, Got, Peer, client, read};

async fn control(peer: &Peer, method: Method, path: &str, body: Option<Value>) -> Got {
    let mut request = peer.http.request(method, format!("{}{path}", peer.sim.control_url()));
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    read(request).await.unwrap()
}

fn error(got: &Got) -> (u16, String) {
    (got.status, got.json()["error"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_ledger_as_json() {
    let peer = Peer::default().await;
    let reference = peer.emitted("A-1").await;
    peer.emitted("A-2").await;
    let got = control(&peer, Method::GET, "/ledger", None).await;
    let ledger: Ledger = serde_json::from_slice(&got.bytes).unwrap();
    assert_eq!(ledger.notices, peer.sim.ledger().notices);
    assert_eq!(ledger.counters, peer.sim.counters());
    assert_eq!(ledger.counters.requests(Operation::Emit), 2);
    for wanted in [&*reference, "A-1"] {
        let got = control(&peer, Method::GET, &format!("/ledger?reference={wanted}"), None).await;
        let ledger: Ledger = serde_json::from_slice(&got.bytes).unwrap();
        assert_eq!(ledger.notices.len(), 1);
        assert_eq!(ledger.notices[0].client_reference, "A-1");
    }
    let got = control(&peer, Method::GET, "/counters", None).await;
    assert_eq!(serde_json::from_slice::<Counters>(&got.bytes).unwrap(), peer.sim.counters());
}

#[tokio::test]
async fn pays_and_cancels_by_either_reference() {
    let peer = Peer::default().await;
    let first = peer.emitted("A-1").await;
    peer.emitted("A-2").await;
    let got = control(&peer, Method::POST, &format!("/pay/{first}?provider=WAVE"), None).await;
    let paid: Notice = serde_json::from_slice(&got.bytes).unwrap();
    assert_eq!((paid.status, paid.provider.as_deref()), (NoticeStatus::Paid, Some("WAVE")));
    assert_eq!(paid.history[1].by, Actor::Control);
    let got = control(&peer, Method::POST, "/cancel/A-2", None).await;
    assert_eq!(got.json()["status"], "CANCELED");
    assert_eq!(control(&peer, Method::GET, "/notice/A-2", None).await.json()["status"], "CANCELED");
    let refused = error(&control(&peer, Method::POST, "/cancel/A-1", None).await);
    assert_eq!(refused, (409, "L'avis de recette est déjà payé et ne peut plus être annulé".to_owned()));
    assert_eq!(error(&control(&peer, Method::POST, "/pay/A-3", None).await).0, 404);
}

#[tokio::test]
async fn alters_what_nobody_else_could() {
    let peer = Peer::default().await;
    peer.emitted("A-1").await;
    peer.sim.pay("A-1", Some("WAVE")).unwrap();
    let paid = peer.sim.notice("A-1").unwrap();
    let change = json!({"status": "CANCELED", "provider": "CARD"});
    let got = control(&peer, Method::POST, "/alter/A-1", Some(change)).await;
    let altered: Notice = serde_json::from_slice(&got.bytes).unwrap();
    assert_eq!((altered.status, altered.provider.as_deref()), (NoticeStatus::Canceled, Some("CARD")));
    assert_eq!(altered.pay_date, paid.pay_date, "what is left out stays");
    let got = control(&peer, Method::POST, "/alter/A-1", Some(json!({"statu": "PAID"}))).await;
    assert!(error(&got).1.contains("unknown field `statu`"));
    assert_eq!(error(&control(&peer, Method::POST, "/alter/A-3", Some(json!({}))).await).0, 404);
}

#[tokio::test]
async fn rules_come_and_go() {
    let peer = Peer::default().await;
    let lost = json!({"operation": "emit", "fault": "no_endpoint", "times": 1});
    let got =
        control(&peer, Method::PUT, "/faults", Some(json!([lost, {"fault": "latency", "ms": 0}]))).await;
    assert_eq!((got.status, got.json()["rules"].as_array().unwrap().len()), (200, 2));
    assert_eq!(read(peer.emit("A-1")).await.unwrap().status, 404);
    let rules = control(&peer, Method::GET, "/faults", None).await.json();
    assert_eq!((&rules["rules"][0]["struck"], &rules["rules"][0]["rule"]), (&json!(1), &lost));
    let id = rules["rules"][0]["id"].as_u64().unwrap();
    assert_eq!(control(&peer, Method::DELETE, &format!("/faults/{id}"), None).await.status, 200);
    assert_eq!(control(&peer, Method::DELETE, &format!("/faults/{id}"), None).await.status, 404);
    control(&peer, Method::POST, "/faults", Some(lost)).await;
    assert_eq!(read(peer.emit("A-1")).await.unwrap().status, 404);
    let left = control(&peer, Method::DELETE, "/faults", None).await.json();
    assert_eq!(left, json!({"rules": []}));
    let got =
        control(&peer, Method::POST, "/faults", Some(json!([{"fault": "lost"}, {"fault": "oops"}]))).await;
    assert!(error(&got).1.contains("unknown variant `oops`"));
    let rules = control(&peer, Method::GET, "/faults", None).await.json();
    assert_eq!(rules, json!({"rules": []}), "all or none");
}

#[tokio::test]
async fn tokens_can_be_revoked() {
    let peer = Peer::default().await;
    assert_eq!(control(&peer, Method::POST, "/revoke-tokens", None).await.status, 204);
    assert_eq!(read(peer.emit("A-1")).await.unwrap().status, 401);
}

#[tokio::test]
async fn goes_down_and_up() {
    let peer = Peer::default().await;
    assert_eq!(control(&peer, Method::POST, "/down", None).await.status, 204);
    assert!(read(peer.emit("A-1")).await.is_err());
    assert_eq!(control(&peer, Method::POST, "/up", None).await.status, 204);
    assert_eq!(control(&peer, Method::POST, "/down", Some(json!({"how": "unavailable"}))).await.status, 204);
    assert_eq!(read(peer.emit("A-1")).await.unwrap().status, 503);
    control(&peer, Method::POST, "/up", None).await;
    peer.emitted("A-1").await;
    let got = control(&peer, Method::POST, "/down", Some(json!({"how": "refuse"}))).await;
    assert!(error(&got).1.contains("needs `for_ms`"));
}

#[tokio::test]
async fn a_limited_outage_ends_by_itself() {
    let peer = Peer::default().await;
    let body = json!({"how": "refuse", "for_ms": 400});
    // The answer itself may be cut off by the outage that it starts.
    let _ = read(peer.http.post(format!("{}/down", peer.sim.control_url())).body(body.to_string())).await;
    let start = Instant::now();
    let fresh = client(Duration::from_secs(1));
    let mut refused = false;
    loop {
        match read(fresh.get(format!("{}/counters", peer.sim.control_url()))).await {
            Ok(_) if refused => break,
            Ok(_) => {}
            Err(error) => refused |= error.is_connect(),
        }
        assert!(start.elapsed() < DEADLINE, "refused: {refused}");
    }
    peer.emitted("A-1").await;
}

#[tokio::test]
async fn settings_change_while_it_runs() {
    let peer = Peer::default().await;
    let change =
        json!({"latency_ms": 1, "latency_max_ms": 3, "idle_close_ms": 5000, "on_duplicate": "create"});
    let got = control(&peer, Method::PUT, "/settings", Some(change)).await.json();
    assert_eq!((&got["latency_ms"], &got["latency_max_ms"]), (&json!(1), &json!(3)));
    assert_eq!((&got["idle_close_ms"], &got["on_duplicate"]), (&json!(5000), &json!("create")));
    peer.emitted("A-1").await;
    peer.emitted("A-1").await;
    let got =
        control(&peer, Method::PUT, "/settings", Some(json!({"pay_share": 1.0, "idle_close_ms": 0}))).await;
    assert_eq!((&got.json()["latency_ms"], &got.json()["idle_close_ms"]), (&json!(1), &Value::Null));
    peer.emitted("A-2").await;
    super::until("the payment", || peer.sim.notice("A-2").unwrap().status == NoticeStatus::Paid).await;
    let got = control(&peer, Method::PUT, "/settings", Some(json!({"latency": 1}))).await;
    assert!(error(&got).1.contains("unknown field `latency`"));
    let got = control(&peer, Method::PUT, "/settings", Some(json!({"pay_share": 2.0}))).await;
    assert_eq!(got.status, 400);
}

#[tokio::test]
async fn an_unknown_control_request() {
    let peer = Peer::default().await;
    assert_eq!(control(&peer, Method::GET, "/nothing", None).await.status, 404);
    assert_eq!(control(&peer, Method::PATCH, "/faults", None).await.status, 405);
    assert_eq!(peer.sim.counters().requests(Operation::Any), 1, "the token; control requests do not count");
}
