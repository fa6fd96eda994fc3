//! What each answer to a settling cancel comes to: what is no proof leaves the doubt as it is, and is tried again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use chrono::TimeDelta;
use serde_json::{Value, json};
use tresorpayd::simulator::{Config, Ending, ErrorBody, Fault, Garbage, Operation, Rule};

use crate::{
    audit::audit,
    harness::{World, case, each, holds_for, until},
    peer::{Asked, Peer},
    rows::NewRow,
    settle::{becomes, began, settling, story},
};

fn status(code: u16, body: ErrorBody, message: Option<&str>, title: Option<&str>) -> Fault {
    let (message, title) = (message.map(str::to_owned), title.map(str::to_owned));
    Fault::Status { code, processed: false, retry_after: None, body, message, title }
}

fn problem(code: u16, message: &str) -> Fault {
    status(code, ErrorBody::Problem, Some(message), Some("Titre"))
}

/// The first cancel meets `fault` and proves nothing: the row waits, says why and when, and the second cancel settles it
/// no sooner than `emit.settle_after` after the first.
async fn proves_nothing(fault: Fault, code: &'static str) {
    let world = settling(World::with(Config::default()).await);
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::ResetAfter { by: Ending::Rst }));
    world.sim.add_fault(Rule::once(Operation::Cancel, fault));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    let start = format!("{code}: canceling it");
    until("the row says so", async || {
        let row = app.row("A-1").await;
        assert_ne!(row.status, "EMITTED", "it was settled by {code}");
        let said = row.last_error.as_deref().is_some_and(|error| error.starts_with(&start));
        assert!(!said || (row.status == "UNCERTAIN" && row.next_attempt_at.is_some()), "{row:?}");
        said
    })
    .await;
    becomes(&world, &mut app, "A-1", "EMITTED").await;
    let first = format!("cancel {code}");
    assert_eq!(story(&mut app, "A-1").await, ["emit connection_lost", &first, "cancel ok", "emit ok"]);
    let attempts = app.attempts_of("A-1").await;
    let wait = began(&attempts[2]) - began(&attempts[1]);
    let least = if code == "unauthorized" || code == "rate_limited" { 0 } else { 1500 };
    assert!(wait >= TimeDelta::milliseconds(least), "{wait}");
    assert_eq!(world.sim.ledger().of_client("A-1").count(), 2);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn what_is_no_proof_leaves_the_doubt() {
    let forbidden = status(403, ErrorBody::Html, None, None);
    each([
        case("404 of the framework", proves_nothing(problem(404, "error.http.404"), "misdirected")),
        case("no such endpoint", proves_nothing(Fault::NoEndpoint, "misdirected")),
        case("404 of a proxy", proves_nothing(status(404, ErrorBody::Html, None, None), "misdirected")),
        case("404 about the structure", proves_nothing(problem(404, "error.STRUCTURE_NOT_FOUND"), "refused")),
        case(
            "404 about the client",
            proves_nothing(problem(404, "error.SERVICE_CLIENT_NOT_FOUND"), "refused"),
        ),
        case("400", proves_nothing(problem(400, "error.NOTICE_ALREADY_PAID"), "refused")),
        case("403", proves_nothing(forbidden, "misdirected")),
    ])
    .await;
}

#[tokio::test]
async fn what_may_still_be_carried_out_is_waited_for() {
    each([
        case("500", proves_nothing(problem(500, "error.NOTICE_NOT_FOUND"), "server_error")),
        case("silence", proves_nothing(Fault::Lost { processed: false }, "timed_out")),
        case("silence, carried out", proves_nothing(Fault::Lost { processed: true }, "timed_out")),
        case("reset", proves_nothing(Fault::ResetBefore { by: Ending::Rst }, "connection_lost")),
        case("cut", proves_nothing(Fault::Truncated { keep: None }, "unusable_answer")),
        case(
            "empty",
            proves_nothing(Fault::Garbage { body: Garbage::Empty, processed: true }, "unusable_answer"),
        ),
        case("429", proves_nothing(status(429, ErrorBody::Problem, None, None), "rate_limited")),
    ])
    .await;
}

/// A success with a word that is not "canceled": the notice that it names is asked about, and that is the answer.
#[tokio::test]
async fn a_success_that_does_not_say_canceled_has_the_status_asked() {
    let world = settling(World::with(Config::default()).await);
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::ResetAfter { by: Ending::Rst }));
    world.sim.add_fault(Rule::once(Operation::Cancel, Fault::UnknownStatus { word: "ANNULE".to_owned() }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "EMITTED").await;
    assert_eq!(story(&mut app, "A-1").await, ["emit connection_lost", "cancel ok", "emit ok"]);
    assert!(world.sim.counters().requests(Operation::Status) >= 1);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// TresorPay canceled another row's notice, or says so: that proves nothing, and somebody must look.
#[tokio::test]
async fn a_cancel_answered_with_another_rows_notice_is_held() {
    let world = settling(World::with(Config::default()).await);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("OTHER")]).await;
    becomes(&world, &mut app, "OTHER", "EMITTED").await;
    let fault = Fault::Garbage { body: Garbage::OtherReference, processed: true };
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::ResetAfter { by: Ending::Rst }));
    world.sim.add_fault(Rule::once(Operation::Cancel, fault));
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is held", async || {
        app.row("A-1").await.last_error.is_some_and(|error| error.starts_with("foreign_reference: "))
            || app.status("A-1").await == "EMITTED"
    })
    .await;
    let row = app.row("A-1").await;
    assert_eq!((&*row.status, &row.next_attempt_at), ("UNCERTAIN", &None), "{row:?}");
    assert!(daemon.log().contains("belongs to another row"));
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A platform of two answers: an emission that nobody knows the end of first, and then one as it says.
#[derive(Clone)]
struct TwoFaced {
    asked: Asked,
    /// `status` in the answer to a cancel, and of the notice from then on.
    says: &'static str,
}

async fn two_faced_emission(State(it): State<TwoFaced>) -> (StatusCode, Json<Value>) {
    let mut asked = it.asked.lock().unwrap();
    asked.push(json!("emit"));
    match asked.iter().filter(|what| **what == "emit").count() {
        1 => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({}))),
        _ => (StatusCode::OK, Json(json!({"reference": "TP1", "status": "EMITTED"}))),
    }
}

async fn two_faced_cancel(State(it): State<TwoFaced>, Json(body): Json<Value>) -> Json<Value> {
    it.asked.lock().unwrap().push(body);
    Json(json!({"reference": "TP1", "status": it.says}))
}

async fn two_faced_status(State(it): State<TwoFaced>, Path(reference): Path<String>) -> Json<Value> {
    Json(
        json!({"reference": reference, "status": it.says, "provider": "WAVE", "payDate": "2026-11-24T09:48:00"}),
    )
}

async fn two_faced(world: &mut World, says: &'static str) -> (Peer, Asked) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let api = Router::new()
        .route("/payment/create-notice-recette", post(two_faced_emission))
        .route("/payment/cancel-notice-recette", post(two_faced_cancel))
        .route("/notice-recette/status/{reference}", get(two_faced_status))
        .with_state(TwoFaced { asked: Asked::clone(&asked), says });
    (Peer::start(world, api).await, asked)
}

/// The notice exists and is not canceled: it is the row's, and is followed as such.
async fn a_cancel_that_finds_the_notice_alive_adopts_it(says: &'static str, becomes: &'static str) {
    let mut world = settling(World::new().await);
    let (_peer, asked) = two_faced(&mut world, says).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is adopted", async || app.status("A-1").await == becomes).await;
    let row = app.row("A-1").await;
    assert_eq!((row.tresorpay_reference.as_deref(), row.attempts), (Some("TP1"), 1));
    assert!(row.payment_url.unwrap().ends_with("?id=TP1") && row.emitted_at.is_some());
    assert_eq!(story(&mut app, "A-1").await, ["emit server_error", "cancel not_canceled"]);
    assert_eq!(app.path("A-1").await[..4], ["PENDING", "EMITTING", "UNCERTAIN", "EMITTED"]);
    daemon.stop().await;
    let codes = json!({"referenceClient": "A-1", "codeClient": "APP-DEMO", "codeStructure": "STR-DEMO"});
    assert_eq!(*asked.lock().unwrap(), [json!("emit"), codes]);
}

/// Emitted again, and answered with the notice that was just canceled: nothing was created.
async fn an_emission_answered_with_the_canceled_notice_is_rejected() {
    let mut world = settling(World::new().await);
    let (_peer, _asked) = two_faced(&mut world, "CANCELED").await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is rejected", async || app.status("A-1").await == "REJECTED").await;
    assert_eq!(story(&mut app, "A-1").await, ["emit server_error", "cancel ok", "emit already_canceled"]);
    let row = app.row("A-1").await;
    assert!(row.last_error.as_deref().unwrap().starts_with("already_canceled: "), "{row:?}");
    assert_eq!((row.tresorpay_reference, row.attempts), (None, 2));
    holds_for(Duration::from_millis(500), "it is left alone", async || app.status("A-1").await == "REJECTED")
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_notice_that_a_cancel_names_is_believed_as_its_status_says() {
    each([
        case("live", a_cancel_that_finds_the_notice_alive_adopts_it("EMITTED", "EMITTED")),
        case("paid", a_cancel_that_finds_the_notice_alive_adopts_it("PAID", "PAID")),
        case(
            "an_emission_answered_with_the_canceled_notice_is_rejected",
            an_emission_answered_with_the_canceled_notice_is_rejected(),
        ),
    ])
    .await;
}
