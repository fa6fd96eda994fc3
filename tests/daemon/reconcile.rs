//! Reconciliation: what changes at TresorPay behind our back is found, recorded and told; an hour that was missed is made
//! up for.

use std::time::Duration;

use serde_json::Value;
use tresorpayd::simulator::{Alteration, ErrorBody, Fault, NoticeStatus, Operation, Rule};

use crate::{
    audit::audit,
    harness::{Daemon, World, holds_for, until},
    rows::{Application, bulk},
};

/// Never again while the test runs; the first start of a database has its run all the same.
pub(crate) const NEVER: &str = "0 0 0 1 1 *";
/// The last hour of this schedule is later than that of the other: it was missed.
pub(crate) const MISSED: &str = "0 0 0 * * *";

/// How far reconciliation is, as `meta` tells it.
pub(crate) async fn state(app: &mut Application) -> Value {
    let state = app.text("SELECT value FROM meta WHERE key = 'reconciliation'").await;
    serde_json::from_str(&state.unwrap_or_default()).unwrap_or_default()
}

/// Waits until the run for an hour of `MISSED` has ended; what it came to.
pub(crate) async fn ended(app: &mut Application) -> Value {
    let mut last = Value::Null;
    until("the run has ended", async || {
        let state = state(app).await;
        last = state["last"].clone();
        state["running"].is_null() && !last["due"].as_str().unwrap_or("-01-01T00").contains("-01-01T00")
    })
    .await;
    last
}

/// `rows` paid notices and no daemon; the next has missed its hour.
async fn paid(world: &mut World, rows: usize) -> Application {
    world.set("reconcile.schedule", NEVER);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(rows)).await;
    until("all are emitted", async || app.count("EMITTED").await == rows).await;
    for number in 1..=rows {
        world.sim.pay(&format!("A-{number}"), Some("WAVE")).unwrap();
    }
    until("all are paid", async || app.count("PAID").await == rows).await;
    daemon.stop().await;
    world.set("reconcile.schedule", MISSED);
    app
}

fn alter(world: &World, reference: &str, status: NoticeStatus) {
    world.sim.alter(reference, Alteration { status: Some(status), ..Alteration::default() }).unwrap();
}

fn forget(world: &World, reference: &str) {
    let fault = Fault::Status {
        code: 404,
        processed: false,
        retry_after: None,
        body: ErrorBody::Problem,
        message: Some("error.NOTICE_NOT_FOUND".to_owned()),
        title: None,
    };
    world.sim.add_fault(Rule::always(Operation::Status, fault).reference(reference));
}

/// The reasons of what reconciliation recorded of a row.
async fn found(app: &mut Application, reference: &str) -> Vec<(String, String, String)> {
    let id = app.row(reference).await.id;
    let steps = app.transitions().await.into_iter();
    steps
        .filter(|step| step.outbox_id == id && step.source == "reconcile")
        .map(|step| (step.from_status.unwrap(), step.to_status, step.reason.unwrap()))
        .collect()
}

fn lines(daemon: &Daemon, code: &str) -> usize {
    daemon.log().lines().filter(|line| line.contains("ERROR") && line.contains(code)).count()
}

fn step(from: &str, to: &str, reason: &str) -> Vec<(String, String, String)> {
    vec![(from.to_owned(), to.to_owned(), reason.to_owned())]
}

#[tokio::test]
async fn every_kind_of_drift_is_found_recorded_and_told() {
    let mut world = World::new().await;
    let mut app = paid(&mut world, 7).await;
    alter(&world, "A-1", NoticeStatus::Canceled);
    let (provider, pay_date) = (Some("CARD".to_owned()), Some("2026-01-02T03:04:05".to_owned()));
    world.sim.alter("A-2", Alteration { provider, pay_date, ..Alteration::default() }).unwrap();
    alter(&world, "A-3", NoticeStatus::Emitted);
    forget(&world, "A-4");
    let odd = world.sim.add_fault(
        Rule::always(Operation::Status, Fault::UnknownStatus { word: "ARCHIVED".into() }).reference("A-5"),
    );
    // One by one: a rule can spoil only one notice of a batch.
    world.sim.add_fault(Rule::always(Operation::Batch, Fault::NoEndpoint));
    let before = app.rows().await;
    let mut daemon = world.start().await;
    let last = ended(&mut app).await;
    assert_eq!((&last["checked"], &last["drifted"]), (&7.into(), &2.into()), "{last}");
    assert_eq!((&last["flagged"], &last["unanswered"]), (&2.into(), &0.into()), "{last}");

    let moved = app.row("A-1").await;
    assert_eq!(moved.status, "CANCELED");
    assert!(moved.canceled_at.is_some() && moved.paid_at == before[0].paid_at);
    let reason = "drift_status: it was PAID and TresorPay says CANCELED";
    assert_eq!(found(&mut app, "A-1").await, step("PAID", "CANCELED", reason));

    let row = app.row("A-2").await;
    assert_eq!(
        (row.provider.as_deref(), row.pay_date.as_deref()),
        (Some("CARD"), Some("2026-01-02T03:04:05"))
    );
    let date = before[1].pay_date.as_deref().unwrap();
    let reason = format!("drift_payment: provider WAVE -> CARD, pay_date {date} -> 2026-01-02T03:04:05");
    assert_eq!(found(&mut app, "A-2").await, step("PAID", "PAID", &reason));

    for (reference, code) in [("A-3", "drift_live"), ("A-4", "drift_unknown"), ("A-5", "unknown_status")] {
        let row = app.row(reference).await;
        assert_eq!(row.status, "PAID");
        assert!(row.last_error.unwrap().starts_with(&format!("{code}: ")), "{code}");
        assert_eq!(found(&mut app, reference).await, []);
    }
    for reference in ["A-6", "A-7"] {
        assert_eq!(app.row(reference).await.last_error, None);
        assert_eq!(found(&mut app, reference).await, []);
    }
    for code in ["drift_status", "drift_payment", "drift_live", "drift_unknown"] {
        assert_eq!(lines(&daemon, code), 1, "one line with the code {code}");
    }
    daemon.stop().await;

    // What is well again is told so, and what was paid after all is paid.
    alter(&world, "A-3", NoticeStatus::Paid);
    alter(&world, "A-1", NoticeStatus::Paid);
    assert!(world.sim.remove_fault(odd));
    world.set("reconcile.schedule", "* * * * * *");
    let mut daemon = world.start().await;
    until("it is paid again", async || app.status("A-1").await == "PAID").await;
    until("all but one are well", async || {
        app.number("SELECT count(*) FROM outbox WHERE last_error IS NOT NULL").await == 1
    })
    .await;
    assert_eq!(found(&mut app, "A-1").await.len(), 2);
    assert_eq!(found(&mut app, "A-2").await.len(), 1, "what is recorded is no news");
    assert_eq!(lines(&daemon, "drift_unknown"), 0, "it was told already");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Once for each hour of the schedule, whether the machine was on or not.
#[tokio::test]
async fn a_missed_hour_is_made_up_for_once() {
    let mut world = World::new().await;
    let mut app = paid(&mut world, 3).await;
    let asked = |world: &World| world.sim.counters().requests(Operation::Batch);
    let before = asked(&world);
    let mut daemon = world.start().await;
    let last = ended(&mut app).await;
    assert_eq!((&last["checked"], &last["drifted"]), (&3.into(), &0.into()), "{last}");
    assert_eq!(asked(&world), before + 1);
    daemon.stop().await;
    let mut daemon = world.start().await;
    holds_for(Duration::from_millis(1500), "it is not made up for twice", async || {
        asked(&world) == before + 1 && state(&mut app).await["last"] == last
    })
    .await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// What finished before the window is left in peace.
#[tokio::test]
async fn what_is_older_than_the_window_is_not_asked_about() {
    let mut world = World::new().await;
    let mut app = paid(&mut world, 4).await;
    Application::open_as_daemon(&world.database())
        .await
        .run("UPDATE outbox SET updated_at = '2025-01-01T00:00:00.000Z' WHERE reference IN ('A-1', 'A-2', 'A-3')")
        .await
        .unwrap();
    for number in 1..=4 {
        alter(&world, &format!("A-{number}"), NoticeStatus::Canceled);
    }
    let mut daemon = world.start().await;
    let last = ended(&mut app).await;
    assert_eq!((&last["checked"], &last["drifted"]), (&1.into(), &1.into()), "{last}");
    assert_eq!(app.status("A-4").await, "CANCELED");
    assert_eq!(app.count("PAID").await, 3);
    daemon.stop().await;
}

/// An application's trigger that refuses a move stops neither the run nor the daemon.
#[tokio::test]
async fn a_trigger_that_refuses_drift_stops_nobody() {
    let mut world = World::new().await;
    let mut app = paid(&mut world, 3).await;
    app.run(
        "CREATE TRIGGER app_frozen BEFORE UPDATE OF status ON outbox WHEN OLD.reference = 'A-2'
         BEGIN SELECT RAISE(ABORT, 'the books are closed'); END",
    )
    .await
    .unwrap();
    for number in 1..=3 {
        alter(&world, &format!("A-{number}"), NoticeStatus::Canceled);
    }
    let mut daemon = world.start().await;
    let last = ended(&mut app).await;
    assert_eq!((&last["checked"], &last["drifted"]), (&3.into(), &2.into()), "{last}");
    assert_eq!(app.status("A-2").await, "PAID");
    assert!(
        daemon.runs()
            && lines(&daemon, "trigger_refused") == 1
            && daemon.log().contains("the books are closed")
    );
    daemon.stop().await;
    app.run("DROP TRIGGER app_frozen").await.unwrap();
    world.set("reconcile.schedule", "* * * * * *");
    let mut daemon = world.start().await;
    until("the next run records it", async || app.status("A-2").await == "CANCELED").await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A notice that has no time to be asked about is never asked about again: reconciliation gives it one.
#[tokio::test]
async fn an_emitted_notice_that_nobody_polls_is_polled_again() {
    let mut world = World::new().await;
    world.set("reconcile.schedule", NEVER);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(2)).await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    daemon.stop().await;
    let mut writer = Application::open_as_daemon(&world.database()).await;
    for sql in [
        "UPDATE outbox SET next_attempt_at = NULL",
        "UPDATE outbox SET last_error = 'poll_given_up: x' WHERE reference = 'A-2'",
    ] {
        writer.run(sql).await.unwrap();
    }
    app.run("INSERT INTO command (reference, action) VALUES ('A-2', 'confirm-delivery')").await.unwrap();
    for number in 1..=2 {
        world.sim.pay(&format!("A-{number}"), None).unwrap();
    }
    world.set("reconcile.schedule", MISSED);
    let mut daemon = world.start().await;
    until("it is paid", async || app.status("A-1").await == "PAID").await;
    assert_eq!(ended(&mut app).await["rescheduled"], 1);
    let given_up = app.row("A-2").await;
    assert_eq!((&*given_up.status, given_up.next_attempt_at), ("EMITTED", None), "that was given up");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// While TresorPay fails nothing is drift; when it is back, the run ends as if nothing had been.
#[tokio::test]
async fn an_outage_delays_a_run_and_is_no_drift() {
    let mut world = World::new().await;
    world.set("poll.batch_size", "10");
    let mut app = paid(&mut world, 35).await;
    alter(&world, "A-33", NoticeStatus::Canceled);
    let fault = Fault::Status {
        code: 500,
        processed: false,
        retry_after: None,
        body: ErrorBody::Html,
        message: None,
        title: None,
    };
    let rules = [Operation::Batch, Operation::Status]
        .map(|operation| world.sim.add_fault(Rule::always(operation, fault.clone()).skip(1)));
    let mut daemon = world.start().await;
    until("the breaker is open", async || daemon.log().contains("TresorPay fails")).await;
    assert_eq!(state(&mut app).await["running"]["checked"], 10);
    assert!(rules.into_iter().all(|rule| world.sim.remove_fault(rule)));
    let last = ended(&mut app).await;
    assert_eq!((&last["checked"], &last["unanswered"]), (&35.into(), &0.into()), "{last}");
    assert_eq!((&last["drifted"], &last["flagged"]), (&1.into(), &0.into()), "{last}");
    daemon.stop().await;
    audit(&world, &mut app).await;
}
