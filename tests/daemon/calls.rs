//! The application's own callback: called by the daemon once the payment is recorded, until it answers 2xx.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Query, Request, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};

use crate::{
    audit::audit,
    callback::{path, world},
    harness::{World, holds_for, until},
    rows::{Application, NewRow},
};

/// What an application answers.
#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    Redirect,
    /// Never.
    Silence,
}

type Calls = Arc<Mutex<(Vec<(String, Vec<(String, String)>)>, VecDeque<Answer>)>>;

/// An application that answers so, then always 200; its callback, and what it was sent: headers, and the query.
async fn application(answers: &[Answer]) -> (String, Calls) {
    let calls: Calls = Arc::new(Mutex::new((Vec::new(), answers.iter().copied().collect())));
    let router = Router::new().fallback(answer).with_state(Arc::clone(&calls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/paid?order=7", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, calls)
}

async fn answer(
    State(calls): State<Calls>,
    query: Query<Vec<(String, String)>>,
    request: Request,
) -> Response {
    let answer = {
        let mut calls = calls.lock().unwrap();
        calls.0.push((format!("{} {:?}", request.uri().path(), request.headers()), query.0));
        calls.1.pop_front().unwrap_or(Answer::Status(200))
    };
    match answer {
        Answer::Status(code) => StatusCode::from_u16(code).unwrap().into_response(),
        Answer::Redirect => Redirect::temporary("/elsewhere").into_response(),
        Answer::Silence => std::future::pending().await,
    }
}

fn called(calls: &Calls) -> usize {
    calls.lock().unwrap().0.len()
}

async fn row_with(app: &mut Application, url: &str) {
    let mut row = NewRow::new("A-1");
    row.callback = Some(url.to_owned());
    app.insert(&[row]).await;
    until("it is emitted", async || app.status("A-1").await == "EMITTED").await;
}

const CALLED: &str = "SELECT count(*) FROM outbox WHERE callback_called_at IS NOT NULL AND last_error IS NULL
                      AND next_attempt_at IS NULL AND status = 'PAID'";

async fn ended(world: &World, app: &mut Application, daemon: &mut crate::harness::Daemon) {
    daemon.stop().await;
    audit(world, app).await;
}

#[tokio::test]
async fn it_is_called_until_it_answers_2xx_and_then_no_more() {
    let (world, _) = world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let (url, calls) = application(&[Answer::Status(500), Answer::Redirect, Answer::Status(404)]).await;
    row_with(&mut app, &url).await;
    let token = path(&world, "A-1").rsplit('/').next().unwrap().to_owned();
    holds_for(Duration::from_millis(500), "it is not called before it is paid", async || called(&calls) == 0)
        .await;
    world.sim.pay("A-1", Some("WAVE")).unwrap();
    until("it has answered 2xx", async || app.number(CALLED).await == 1).await;
    assert_eq!(called(&calls), 4);
    holds_for(Duration::from_secs(2), "it is not called again", async || called(&calls) == 4).await;
    let notice = app.row("A-1").await.tresorpay_reference.unwrap();
    for (head, query) in &calls.lock().unwrap().0 {
        assert!(head.starts_with("/paid "), "a redirect was followed: {head}");
        let expected = [
            ("order", "7"),
            ("status", "PAID"),
            ("id", &*notice),
            ("amount", "1000"),
            ("provider", "WAVE"),
            ("reference", "A-1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(query, &expected);
        for secret in ["authorization", "Bearer", &token] {
            assert!(!head.contains(secret), "{head}");
        }
    }
    ended(&world, &mut app, &mut daemon).await;
}

/// What fails is told on the row, and the row's own callback is never given to TresorPay.
#[tokio::test]
async fn a_failure_is_told_and_outlives_a_restart() {
    let (mut world, _) = world().await;
    world.set("poll.max_delay", "1h").set("api.retry_first_delay", "1s");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let (url, calls) = application(&[Answer::Status(503)]).await;
    row_with(&mut app, &url).await;
    assert!(!world.sim.notice("A-1").unwrap().callback.unwrap().contains("/paid"));
    world.sim.pay("A-1", None).unwrap();
    until("the failure is told", async || {
        app.row("A-1")
            .await
            .last_error
            .is_some_and(|said| said == "callback_failed: the application's callback answered HTTP 503")
    })
    .await;
    assert!(app.row("A-1").await.next_attempt_at.is_some());
    daemon.kill().await;
    let mut daemon = world.start().await;
    until("it has answered 2xx", async || app.number(CALLED).await == 1).await;
    assert_eq!(called(&calls), 2);
    ended(&world, &mut app, &mut daemon).await;
}

/// Killed between the call and its answer: nobody knows whether the application has it, so it is called again.
#[tokio::test]
async fn a_call_that_was_cut_off_is_made_again() {
    let (world, _) = world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let (url, calls) = application(&[Answer::Silence]).await;
    row_with(&mut app, &url).await;
    world.sim.pay("A-1", None).unwrap();
    until("the call is under way", async || called(&calls) == 1).await;
    assert_eq!(app.status("A-1").await, "PAID", "the payment was recorded first");
    daemon.kill().await;
    assert_eq!(app.number(CALLED).await, 0);
    let mut daemon = world.start().await;
    until("it has answered 2xx", async || app.number(CALLED).await == 1).await;
    holds_for(Duration::from_secs(1), "it is not called again", async || called(&calls) == 2).await;
    ended(&world, &mut app, &mut daemon).await;
}

/// Three duties share one time: one that fails repeats none that is done.
#[tokio::test]
async fn what_fails_does_not_repeat_what_is_done() {
    let (mut world, _) = world().await;
    let (url, calls) = application(&[Answer::Status(500)]).await;
    world.set("notice.callback", &url).set("confirm.delivery", "on_paid");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1"), NewRow::new("A-2")]).await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    for reference in ["A-1", "A-2"] {
        world.sim.pay(reference, None).unwrap();
    }
    let all = "SELECT count(*) FROM outbox WHERE callback_called_at IS NOT NULL AND delivery_confirmed_at IS NOT NULL
               AND next_attempt_at IS NULL AND last_error IS NULL";
    until("both are called for and confirmed", async || app.number(all).await == 2).await;
    assert_eq!(called(&calls), 3);
    assert!(world.sim.ledger().notices.iter().all(|notice| notice.verified));
    let confirms = "SELECT count(*) FROM attempt WHERE operation = 'confirm'";
    assert_eq!(app.number(confirms).await, 2, "a callback that fails does not repeat the confirmation");
    ended(&world, &mut app, &mut daemon).await;
}
