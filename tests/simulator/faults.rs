//! Each fault at the wire: what the client sees, when, and what the ledger holds nevertheless.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::json;
use tresorpayd::simulator::{Ending, ErrorBody, Fault, Meanwhile, NoticeStatus, Operation, Rule};

use super::{Got, Peer, chain, client, credentials, io_kind, read, token_request, until};

/// Long enough to be told from no delay, on a busy machine too.
const LATE: Duration = Duration::from_millis(120);

fn late_ms() -> u64 {
    u64::try_from(LATE.as_millis()).unwrap()
}

/// A peer whose next emission is struck by `fault`.
async fn struck(fault: Fault) -> Peer {
    let peer = Peer::default().await;
    peer.sim.add_fault(Rule::once(Operation::Emit, fault));
    peer
}

/// Emits `A-1`, which fails, and returns how.
async fn failure(peer: &Peer) -> reqwest::Error {
    match read(peer.emit("A-1")).await {
        Ok(got) => panic!("answered {}: {}", got.status, got.text()),
        Err(error) => error,
    }
}

async fn answered(fault: Fault) -> (Peer, Got) {
    let peer = struck(fault).await;
    let got = read(peer.emit("A-1")).await.unwrap();
    (peer, got)
}

fn notices(peer: &Peer) -> usize {
    peer.sim.ledger().notices.len()
}

#[tokio::test]
async fn latency_delays_the_answer_not_the_work() {
    let peer = struck(Fault::Latency { ms: late_ms(), jitter_ms: 0 }).await;
    peer.sim.add_fault(Rule::once(Operation::Emit, Fault::Latency { ms: late_ms(), jitter_ms: 10 }));
    let start = Instant::now();
    let answer = tokio::spawn(read(peer.emit("A-1")));
    until("the notice", || notices(&peer) == 1).await;
    assert!(!answer.is_finished(), "carried out on arrival, answered later");
    assert_eq!(answer.await.unwrap().unwrap().status, 200);
    assert!(start.elapsed() >= 2 * LATE, "two latencies add up");
    assert_eq!(peer.sim.counters().fault("latency"), 2);
}

#[tokio::test]
async fn latency_of_every_answer() {
    let peer = Peer::default().await;
    peer.sim.set_latency(LATE);
    let start = Instant::now();
    peer.emitted("A-1").await;
    assert!(start.elapsed() >= LATE);
    peer.sim.set_latency(Duration::ZERO..=Duration::from_millis(1));
    peer.emitted("A-2").await;
}

#[tokio::test]
async fn a_lost_answer() {
    for processed in [true, false] {
        let mut peer = struck(Fault::Lost { processed }).await;
        peer.http = client(LATE);
        let error = failure(&peer).await;
        assert!(error.is_timeout(), "{}", chain(&error));
        until("the request", || peer.sim.counters().outcome(Operation::Emit, "lost") == 1).await;
        assert_eq!(notices(&peer), usize::from(processed));
        until("the client's leaving", || peer.sim.counters().concurrent == 0).await;
    }
}

#[tokio::test]
async fn a_reset_before_and_after_the_work() {
    for (fault, expected) in [
        (Fault::ResetBefore { by: Ending::Rst }, 0),
        (Fault::ResetAfter { by: Ending::Rst }, 1),
        (Fault::ResetBefore { by: Ending::Close }, 0),
        (Fault::ResetAfter { by: Ending::Close }, 1),
    ] {
        let peer = struck(fault.clone()).await;
        let error = failure(&peer).await;
        let rst =
            matches!(fault, Fault::ResetBefore { by: Ending::Rst } | Fault::ResetAfter { by: Ending::Rst });
        if rst {
            assert_eq!(io_kind(&error), Some(ErrorKind::ConnectionReset), "{}", chain(&error));
        } else {
            assert!(chain(&error).contains("connection closed"), "{}", chain(&error));
        }
        assert_eq!(notices(&peer), expected, "{fault:?}");
        assert_eq!(peer.sim.counters().outcome(Operation::Emit, fault.name()), 1);
    }
}

#[tokio::test]
async fn a_truncated_answer() {
    for keep in [None, Some(0), Some(7)] {
        let peer = struck(Fault::Truncated { keep }).await;
        let response = peer.emit("A-1").send().await.unwrap();
        assert_eq!(response.status(), 200, "the head comes whole");
        let promised = response.content_length().unwrap();
        let error = response.bytes().await.unwrap_err();
        assert!(error.is_body() || error.is_decode(), "{}", chain(&error));
        assert!(promised > 40, "{promised}");
        assert_eq!(notices(&peer), 1);
    }
}

#[tokio::test]
async fn a_slow_answer() {
    let start = Instant::now();
    let (peer, got) = answered(Fault::SlowDrip { ms: 20, bytes: 8 }).await;
    let gaps = u32::try_from(got.bytes.len().div_ceil(8) - 1).unwrap();
    assert!(gaps > 4 && start.elapsed() >= gaps * Duration::from_millis(20), "{gaps} gaps");
    assert_eq!(got.json()["status"], "EMITTED");
    assert_eq!(notices(&peer), 1);
}

fn status(code: u16, processed: bool, retry_after: Option<&str>, body: ErrorBody) -> Fault {
    let retry_after = retry_after.map(str::to_owned);
    Fault::Status { code, processed, retry_after, body, message: None, title: None }
}

#[tokio::test]
async fn another_status() {
    let (peer, got) = answered(status(503, false, Some("2"), ErrorBody::Problem)).await;
    assert_eq!((got.status, got.header("retry-after")), (503, "2"));
    assert_eq!(got.header("content-type"), "application/problem+json");
    assert_eq!(got.json()["message"], "error.http.503");
    assert_eq!(notices(&peer), 0);

    let (peer, got) = answered(status(502, true, None, ErrorBody::Html)).await;
    assert_eq!((got.status, got.header("content-type")), (502, "text/html"));
    assert!(got.text().contains("502 Bad Gateway"));
    assert_eq!(notices(&peer), 1, "carried out although a proxy says no");

    let (_, got) = answered(status(500, false, None, ErrorBody::Empty)).await;
    assert_eq!((got.status, got.bytes.len()), (500, 0));
    assert!(got.headers.get("retry-after").is_none() && got.headers.get("content-type").is_none());

    let worded: Rule = "operation=emit,fault=status,code=400,message=error.X,title=Non".parse().unwrap();
    let (_, got) = answered(worded.fault).await;
    assert_eq!((&got.json()["message"], &got.json()["title"]), (&json!("error.X"), &json!("Non")));
}

#[tokio::test]
async fn another_status_of_the_token_endpoint() {
    let peer = Peer::default().await;
    peer.sim.add_fault(Rule::once(Operation::Token, status(503, false, None, ErrorBody::Problem)));
    let got = read(token_request(&peer.http, &peer.sim, &credentials())).await.unwrap();
    assert_eq!(got.status, 503);
    assert_eq!(got.json()["error"], "temporarily_unavailable", "an OAuth2 error, not a problem document");
    assert_eq!(peer.sim.counters().tokens_issued, 1, "only the first");
}

#[tokio::test]
async fn a_redirection() {
    let (peer, got) = answered(Fault::Redirect { code: 307, location: None, processed: false }).await;
    assert_eq!((got.status, got.header("location")), (307, &*format!("{}/elsewhere", peer.sim.origin())));
    assert_eq!((notices(&peer), peer.sim.counters().requests(Operation::Other)), (0, 0));
    let location = Some("https://portail.invalid/".to_owned());
    let (peer, got) = answered(Fault::Redirect { code: 303, location, processed: true }).await;
    assert_eq!((got.status, got.header("location")), (303, "https://portail.invalid/"));
    assert_eq!(notices(&peer), 1);
}

#[tokio::test]
async fn carried_out_too_late() {
    let peer = struck(Fault::TooLate { ms: 5 * late_ms(), meanwhile: Meanwhile::Rst }).await;
    let error = failure(&peer).await;
    assert_eq!(io_kind(&error), Some(ErrorKind::ConnectionReset), "{}", chain(&error));
    assert_eq!(notices(&peer), 0, "not yet");
    let canceled = read(peer.cancel("A-1")).await.unwrap();
    assert_eq!(canceled.json()["message"], "error.NOTICE_NOT_FOUND", "a cancel that comes too early");
    until("the late notice", || notices(&peer) == 1).await;
    assert_eq!(peer.sim.notice("A-1").unwrap().status, NoticeStatus::Emitted);

    let mut peer = struck(Fault::TooLate { ms: 5 * late_ms(), meanwhile: Meanwhile::Silent }).await;
    peer.http = client(LATE);
    assert!(failure(&peer).await.is_timeout());
    assert_eq!(notices(&peer), 0, "not yet");
    until("the late notice", || notices(&peer) == 1).await;
}

#[tokio::test]
async fn revoked_tokens() {
    let (mut peer, got) = answered(Fault::RevokedToken).await;
    assert_eq!((got.status, notices(&peer)), (401, 0));
    assert_eq!(read(peer.emit("A-1")).await.unwrap().status, 401, "until there is a new token");
    let got = read(token_request(&peer.http, &peer.sim, &credentials())).await.unwrap();
    got.json()["access_token"].as_str().unwrap().clone_into(&mut peer.token);
    peer.emitted("A-1").await;
}

#[tokio::test]
async fn a_status_that_nobody_knows() {
    let peer = Peer::default().await;
    let reference = peer.emitted("A-1").await;
    peer.sim.add_fault(Rule::once(Operation::Status, "fault=unknown_status".parse::<Rule>().unwrap().fault));
    peer.sim.add_fault(Rule::once(Operation::Batch, Fault::UnknownStatus { word: "SUCCESS".to_owned() }));
    let got = read(peer.status(&reference)).await.unwrap().json();
    assert_eq!((&got["status"], &got["reference"]), (&json!("EN_TRAITEMENT"), &json!(reference)));
    assert_eq!(read(peer.batch(&[&reference])).await.unwrap().json()[0]["status"], "SUCCESS");
    assert_eq!(read(peer.status(&reference)).await.unwrap().json()["status"], "EMITTED");
}

#[tokio::test]
async fn a_batch_that_leaves_one_out() {
    let peer = Peer::default().await;
    let (first, second) = (peer.emitted("A-1").await, peer.emitted("A-2").await);
    peer.sim.add_fault(Rule::once(Operation::Batch, Fault::Omit).reference("A-2"));
    peer.sim.add_fault(Rule::once(Operation::Batch, Fault::Omit));
    let left = read(peer.batch(&[&first, &second])).await.unwrap().json();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["reference"]), (1, &json!(first)));
    let left = read(peer.batch(&[&first, &second])).await.unwrap().json();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["reference"]), (1, &json!(second)));
    assert_eq!(read(peer.batch(&[&first, &second])).await.unwrap().json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn no_such_endpoint() {
    let peer = Peer::default().await;
    let reference = peer.emitted("A-1").await;
    peer.sim.add_fault(Rule::always(Operation::Batch, Fault::NoEndpoint));
    let got = read(peer.batch(&[&reference])).await.unwrap();
    assert_eq!((got.status, &got.json()["message"]), (404, &json!("error.http.404")));
    assert_eq!(read(peer.status(&reference)).await.unwrap().status, 200, "only the batch is missing");
}

#[tokio::test]
async fn each_key_twice() {
    let peer = Peer::default().await;
    let other = peer.emitted("A-0").await;
    peer.sim.add_fault(Rule::once(Operation::Emit, Fault::DuplicateKeys));
    let text = read(peer.emit("A-1")).await.unwrap().text();
    let own = peer.sim.notice("A-1").unwrap().reference;
    let expected =
        format!(r#"{{"reference":"{own}","status":"EMITTED","reference":"{other}","status":"EMITTED"}}"#);
    assert_eq!(text, expected);
}
