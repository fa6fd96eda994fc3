//! No credential, no token and no taxpayer's data in a log or an error text, at the most talkative level, whatever
//! TresorPay echoes.

use axum::{Json, Router, body::Bytes, http::HeaderMap, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tresorpayd::simulator::{ErrorBody, Fault, Operation, Outage, Rule};

use crate::{
    audit::audit,
    harness::{Daemon, SECRET, World, case, each, until},
    peer::{GRANTED, Peer},
    rows::{Application, NewRow},
};

/// What a bearer token of the simulator begins with, as any JWT does.
const TOKEN: &str = "eyJ";
/// What TresorPay is sent of [`row`]'s taxpayer, and so can echo.
const PERSONAL: [&str; 12] = [
    "Zoumanadiarra",
    "Aminatafanta",
    "Kouroukanfouga SARL",
    "Badalabougou, rue 14",
    "70998877",
    "NIF0817263544",
    "aminatafanta@example.ml",
    "PAYER-55443322",
    "4111222233334444",
    "65554433",
    "Amende de Zoumana",
    "pour excès au pont des Martyrs",
];

fn row(reference: &str) -> NewRow {
    let mut row = NewRow::new(reference);
    row.tax_payer = json!({
        "id": "PAYER-55443322", "name": "Zoumanadiarra", "firstName": "Aminatafanta", "nif": "NIF0817263544",
        "companyName": "Kouroukanfouga SARL", "address": "Badalabougou, rue 14", "phoneNumber": "+223 70 99 88 77",
        "email": "aminatafanta@example.ml",
    });
    row.items = json!([{"name": "Amende de Zoumana", "quantity": 1, "unitPrice": 1000, "codeNatureRecette": "71531",
                        "description": "pour excès au pont des Martyrs"}]);
    row.payment_modes = Some(json!([{"codeProvider": "CARD", "cardNumber": "4111222233334444"},
                                    {"codeProvider": "WAVE", "paymentNumber": "65554433"}]));
    row
}

/// A problem that echoes everything it can.
fn echo(code: u16, message: &str) -> Fault {
    let title = format!("Refusé : {} ; +22370998877 ; KOUROUKANFOUGA SARL", PERSONAL.join(" ; "));
    let (message, title) = (Some(message.to_owned()), Some(title));
    Fault::Status { code, processed: false, retry_after: None, body: ErrorBody::Problem, message, title }
}

/// Everything the daemon wrote in words: its output, and the texts for people in the database.
async fn words(daemon: &Daemon, app: &mut Application) -> Vec<(&'static str, String)> {
    let mut words = vec![("the log", daemon.log())];
    words.extend(
        app.attempts().await.into_iter().filter_map(|a| a.detail).map(|text| ("attempt.detail", text)),
    );
    words.extend(
        app.transitions().await.into_iter().filter_map(|t| t.reason).map(|text| ("transition.reason", text)),
    );
    words.extend(
        app.rows().await.into_iter().filter_map(|row| row.last_error).map(|text| ("last_error", text)),
    );
    words
}

fn nothing_of(secrets: &[&str], words: &[(&str, String)]) {
    for (place, text) in words {
        let lower = text.to_lowercase();
        for secret in secrets {
            if let Some(at) = lower.find(&secret.to_lowercase()) {
                let from = (0..=at.saturating_sub(200)).rev().find(|at| lower.is_char_boundary(*at)).unwrap();
                panic!("`{secret}` is in {place}: …{}", &lower[from..at + secret.len()]);
            }
        }
    }
}

/// Success, payment, refusal, doubt, outage, unknown notice, a broken status endpoint, a revoked token.
async fn a_life_in(format: &str) {
    let mut world = World::new().await;
    world.set("log.level", "trace").set("log.format", format).set("api.request_timeout", "2s");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[row("PAID")]).await;
    until("the first is emitted", async || app.status("PAID").await == "EMITTED").await;
    world.sim.pay("PAID", None).unwrap();
    until("it is paid", async || app.status("PAID").await == "PAID").await;

    world.sim.add_fault(Rule::once(Operation::Emit, echo(400, "error.Zoumanadiarra")));
    app.insert(&[row("REFUSED")]).await;
    until("one is refused", async || app.status("REFUSED").await == "REJECTED").await;
    world.sim.add_fault(Rule::once(Operation::Emit, echo(500, "error.internal")));
    app.insert(&[row("DOUBT")]).await;
    until("one is in doubt", async || app.status("DOUBT").await == "UNCERTAIN").await;
    world.sim.revoke_tokens();
    app.insert(&[row("POLLED")]).await;
    until("one is emitted", async || app.status("POLLED").await == "EMITTED").await;

    for fault in [echo(404, "error.NOTICE_NOT_FOUND"), echo(500, "error.internal")] {
        let (code, before) = (
            if matches!(fault, Fault::Status { code: 404, .. }) { "404" } else { "500" },
            world.sim.counters(),
        );
        let rules = [Operation::Batch, Operation::Status]
            .map(|op| world.sim.add_fault(Rule::always(op, fault.clone())));
        let asked = |now: u64, op| now > before.outcome(op, code);
        until("its status is refused", async || {
            let now = world.sim.counters();
            [Operation::Batch, Operation::Status].iter().any(|op| asked(now.outcome(*op, code), *op))
        })
        .await;
        if code == "404" {
            until("the row says so", async || app.row("POLLED").await.last_error.is_some()).await;
            nothing_of(&PERSONAL, &words(&daemon, &mut app).await);
        }
        assert_eq!(rules.map(|rule| world.sim.remove_fault(rule)), [true; 2]);
    }
    world.sim.down(Outage::Refuse).await;
    app.insert(&[row("OUTAGE")]).await;
    let met = "SELECT count(*) FROM attempt WHERE outcome IN ('unreachable', 'connection_lost')";
    until("the outage is met", async || app.number(met).await > 0).await;
    world.sim.up().await;
    until("it is over", async || !["PENDING", "EMITTING"].contains(&&*app.status("OUTAGE").await)).await;
    daemon.stop().await;
    nothing_of(&PERSONAL, &words(&daemon, &mut app).await);
    nothing_of(&[SECRET, TOKEN], &words(&daemon, &mut app).await);
    assert!(daemon.log().lines().count() > 10, "there is a log to look at");
    if format == "json" {
        for line in daemon.log().lines() {
            serde_json::from_str::<Value>(line).unwrap();
        }
    }
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_trace_log_tells_nothing_secret_or_personal() {
    each(["text", "json"].map(|format| case(format, a_life_in(format)))).await;
}

/// An echo that was cut to its longest allowed length must not end in half a name.
#[tokio::test]
async fn a_name_at_the_cut_of_a_long_text_is_taken_out_too() {
    let world = World::new().await;
    for (number, fill) in (490..500).step_by(3).enumerate() {
        let title = Some(format!("{} Zoumanadiarra", "x".repeat(fill)));
        let (message, retry_after) = (Some("error.X".to_owned()), None);
        let fault = Fault::Status {
            code: 400,
            processed: false,
            retry_after,
            body: ErrorBody::Problem,
            message,
            title,
        };
        world.sim.add_fault(Rule::once(Operation::Emit, fault).reference(format!("A-{number}")));
    }
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    for number in 0..4 {
        app.insert(&[row(&format!("A-{number}"))]).await;
    }
    until("all are rejected", async || app.count("REJECTED").await == 4).await;
    daemon.stop().await;
    nothing_of(&["xx zou", "xx zoum"], &words(&daemon, &mut app).await);
    audit(&world, &mut app).await;
}

/// The token endpoint echoes the secret that it refuses.
#[tokio::test]
async fn a_wrong_secret_is_not_told_even_if_the_endpoint_echoes_it() {
    for format in ["text", "json"] {
        let mut world = World::new().await;
        world
            .set("log.level", "trace")
            .set("log.format", format)
            .set("auth.client_secret", "wr0ng-s3cret-value");
        let title = Some("Invalid secret wr0ng-s3cret-value for demo-client".to_owned());
        let (message, retry_after) = (Some("invalid_client".to_owned()), None);
        let fault = Fault::Status {
            code: 401,
            processed: false,
            retry_after,
            body: ErrorBody::Problem,
            message,
            title,
        };
        world.sim.add_fault(Rule::always(Operation::Token, fault));
        let mut daemon = world.start().await;
        let mut app = world.application().await;
        app.insert(&[row("A-1")]).await;
        until("the refusal is named", async || daemon.log().contains("invalid_client")).await;
        daemon.stop().await;
        nothing_of(&PERSONAL, &words(&daemon, &mut app).await);
        nothing_of(&["wr0ng-s3cret-value"], &words(&daemon, &mut app).await);
    }
}

/// A platform that sends a client's whole request back in its refusal, header and body.
async fn emission_echoed(headers: HeaderMap, body: Bytes) -> (StatusCode, Json<Value>) {
    let authorization =
        headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let notice: Value = serde_json::from_slice(&body).unwrap_or_default();
    let name = notice["taxPayer"]["name"].as_str().unwrap_or_default().to_uppercase();
    let problem = json!({
        "type": "about:blank", "status": 400, "message": format!("error.REFUSED {authorization}"),
        "title": format!("{authorization} {SECRET} {name} {}", notice["taxPayer"]["phoneNumber"]),
        "fieldErrors": [{"objectName": "noticeRecette", "field": "taxPayer.email",
                         "message": format!("{} {authorization}", notice["taxPayer"]["email"])}],
    });
    (StatusCode::BAD_REQUEST, Json(problem))
}

#[tokio::test]
async fn a_token_and_a_secret_that_tresorpay_echoes_are_taken_out() {
    let mut world = World::new().await;
    let api = Router::new().route("/payment/create-notice-recette", post(emission_echoed));
    let _peer = Peer::start(&mut world, api).await;
    world.set("log.level", "trace");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[row("A-1")]).await;
    until("it is rejected", async || app.status("A-1").await == "REJECTED").await;
    daemon.stop().await;
    let words = words(&daemon, &mut app).await;
    assert!(words.iter().any(|(_, text)| text.contains("error.REFUSED")), "{words:?}");
    nothing_of(&PERSONAL, &words);
    nothing_of(&[GRANTED, SECRET], &words);
    assert_eq!(world.sim.counters().connections, 0);
}
