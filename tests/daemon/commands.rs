//! Rows of `command` that need nobody else: pause and resume, what is canceled and retried here, and polls.

use std::time::Duration;

use tresorpayd::simulator::{Config, Fault, NoticeStatus, Operation, Outage, Rule};

use crate::{
    audit::audit,
    harness::{World, holds_for, until},
    rows::{NewRow, bulk},
};

/// What a pause that is committed with rows must keep from leaving, it keeps; polling goes on.
#[tokio::test]
async fn a_pause_holds_emission_over_a_restart_and_polling_goes_on() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("BEFORE")]).await;
    until("it is emitted", async || app.status("BEFORE").await == "EMITTED").await;
    app.run("BEGIN IMMEDIATE").await.unwrap();
    for row in bulk(20) {
        app.try_insert(&row).await.unwrap();
    }
    let pause = app.ask(None, "pause", None).await;
    app.run("COMMIT").await.unwrap();
    let (outcome, detail) = app.ended(pause).await;
    assert_eq!((&*outcome, &*detail), ("done", "emission is paused; polling goes on"));
    world.sim.pay("BEFORE", None).unwrap();
    until("polling goes on", async || app.status("BEFORE").await == "PAID").await;
    daemon.stop().await;
    let mut daemon = world.start().await;
    holds_for(Duration::from_millis(1500), "nothing is emitted", async || world.emissions() == 1).await;
    let again = app.ask(None, "pause", None).await;
    assert_eq!(app.ended(again).await.1, "emission was paused already");
    let resume = app.ask(None, "resume", None).await;
    assert_eq!(app.ended(resume).await, ("done".to_owned(), "emission goes on".to_owned()));
    until("all are emitted", async || app.count("EMITTED").await == 20).await;
    let again = app.ask(None, "resume", None).await;
    assert_eq!(app.ended(again).await.1, "emission was not paused");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A pause and a resume that come together are carried out in their order.
#[tokio::test]
async fn the_last_of_pause_and_resume_holds() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.run("BEGIN IMMEDIATE").await.unwrap();
    app.insert_with("INSERT", &NewRow::new("A-1"), "").await.unwrap();
    for action in ["pause", "resume", "pause", "resume"] {
        app.ask(None, action, None).await;
    }
    app.run("COMMIT").await.unwrap();
    until("it is emitted", async || app.status("A-1").await == "EMITTED").await;
    app.run("BEGIN IMMEDIATE").await.unwrap();
    app.insert_with("INSERT", &NewRow::new("A-2"), "").await.unwrap();
    app.ask(None, "resume", None).await;
    let last = app.ask(None, "pause", None).await;
    app.run("COMMIT").await.unwrap();
    assert_eq!(app.ended(last).await.0, "done");
    holds_for(Duration::from_millis(800), "it waits", async || app.status("A-2").await == "PENDING").await;
    audit(&world, &mut app).await;
}

/// Committed together, it is canceled and never leaves; in a bulk run too.
#[tokio::test]
async fn a_row_and_its_cancel_committed_together_are_never_emitted() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.run("BEGIN IMMEDIATE").await.unwrap();
    let mut cancels = Vec::new();
    for row in bulk(300) {
        app.try_insert(&row).await.unwrap();
        if !row.reference.ends_with('7') {
            cancels.push(app.ask(Some(&row.reference), "cancel", None).await);
        }
    }
    app.run("COMMIT").await.unwrap();
    for cancel in cancels {
        let (outcome, detail) = app.ended(cancel).await;
        assert_eq!(outcome, "done", "{detail}");
    }
    until("the others are emitted", async || app.count("EMITTED").await == 30).await;
    assert_eq!((app.count("CANCELED").await, world.emissions()), (270, 30));
    assert_eq!(app.path("A-1").await, ["PENDING", "CANCELED"]);
    let row = app.row("A-1").await;
    assert!(row.canceled_at.is_some() && row.last_error.is_none(), "{row:?}");
    let own: Vec<_> = app.transitions().await.into_iter().filter(|step| step.outbox_id == row.id).collect();
    assert_eq!(own[1].source, "command");
    assert!(own[1].reason.as_deref().unwrap().ends_with(" by Awa"), "{own:?}");
    audit(&world, &mut app).await;
}

/// Refused, corrected, retried, emitted: one notice, under the same reference.
#[tokio::test]
async fn a_refused_row_is_corrected_and_retried() {
    let mut world = World::new().await;
    world.set("emit.max_attempts", "2");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    let mut row = NewRow::new("A-1");
    row.code_client = Some("APP-WRONG");
    app.insert(&[row]).await;
    until("it is refused", async || app.status("A-1").await == "REJECTED").await;
    app.run("UPDATE outbox SET code_client = NULL WHERE reference = 'A-1'").await.unwrap();
    assert_eq!(app.command("A-1", "retry").await.0, "done");
    until("it is emitted", async || app.status("A-1").await == "EMITTED").await;
    let path = ["PENDING", "EMITTING", "REJECTED", "PENDING", "EMITTING", "EMITTED"];
    assert_eq!(app.path("A-1").await, path);
    let mut spent = NewRow::new("A-2");
    spent.code_client = Some("APP-WRONG");
    app.insert(&[spent]).await;
    for _ in 0..2 {
        until("it is refused", async || app.status("A-2").await == "REJECTED").await;
        app.command("A-2", "retry").await;
    }
    let (outcome, detail) = app.command("A-2", "retry").await;
    assert_eq!(outcome, "refused");
    assert!(detail.contains("sent 2 times, which emit.max_attempts allows"), "{detail}");
    assert_eq!(world.sim.ledger().notices.len(), 1);
    audit(&world, &mut app).await;
}

/// However many ask for a row, TresorPay is asked once, and each is told.
#[tokio::test]
async fn many_polls_of_one_row_make_one_request() {
    let mut world = World::new().await;
    world.set("poll.first_delay", "1h").set("poll.max_delay", "1h");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(3)).await;
    until("all are emitted", async || app.count("EMITTED").await == 3).await;
    world.sim.pay("A-1", Some("WAVE")).unwrap();
    app.run("BEGIN IMMEDIATE").await.unwrap();
    let mut polls = Vec::new();
    for _ in 0..40 {
        for reference in ["A-1", "A-2"] {
            polls.push((reference, app.ask(Some(reference), "poll", None).await));
        }
    }
    app.run("COMMIT").await.unwrap();
    for (reference, id) in polls {
        let status = if reference == "A-1" { "PAID" } else { "EMITTED" };
        assert_eq!(app.ended(id).await, ("done".into(), format!("TresorPay was asked; the row is {status}")));
    }
    let counters = world.sim.counters();
    assert_eq!(counters.requests(Operation::Batch) + counters.requests(Operation::Status), 1);
    assert_eq!(app.row("A-1").await.provider.as_deref(), Some("WAVE"));
    audit(&world, &mut app).await;
}

/// A poll waits for an outage to end, says so meanwhile, and asks then.
#[tokio::test]
async fn a_poll_outlives_an_outage() {
    let mut world = World::new().await;
    world.set("poll.first_delay", "1h").set("poll.max_delay", "1h");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is emitted", async || app.status("A-1").await == "EMITTED").await;
    world.sim.pay("A-1", None).unwrap();
    world.sim.down(Outage::Unavailable).await;
    let poll = app.ask(Some("A-1"), "poll", None).await;
    until("it says that it waits", async || {
        app.asked(poll).await.detail.is_some_and(|detail| detail.starts_with("waits: "))
    })
    .await;
    world.sim.up().await;
    assert_eq!(app.ended(poll).await, ("done".into(), "TresorPay was asked; the row is PAID".into()));
    audit(&world, &mut app).await;
}

/// What is finished is asked about too, and what has changed there is recorded, loudly.
#[tokio::test]
async fn a_poll_of_a_finished_row_finds_drift() {
    let world = World::with(Config::default()).await;
    let daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is emitted", async || app.status("A-1").await == "EMITTED").await;
    let canceled = Fault::UnknownStatus { word: "CANCELLED".into() };
    let rules = [Operation::Status, Operation::Batch]
        .map(|operation| world.sim.add_fault(Rule::always(operation, canceled.clone()).reference("A-1")));
    until("it is canceled by what TresorPay says", async || app.status("A-1").await == "CANCELED").await;
    assert!(rules.into_iter().all(|rule| world.sim.remove_fault(rule)));
    let (outcome, detail) = app.command("A-1", "poll").await;
    assert_eq!(outcome, "done");
    assert!(detail.contains("waits to be paid, although it is CANCELED here"), "{detail}");
    assert!(daemon.log().contains("a finished notice is live at TresorPay"));
    world.sim.pay("A-1", None).unwrap();
    assert_eq!(app.command("A-1", "poll").await.1, "TresorPay was asked; the row is PAID");
    assert_eq!(app.path("A-1").await[2..], ["EMITTED", "CANCELED", "PAID"]);
    assert!(daemon.log().contains("a finished notice has changed at TresorPay"));
    assert_eq!(world.sim.notice("A-1").unwrap().status, NoticeStatus::Paid);
    audit(&world, &mut app).await;
}

/// Each is refused with a reason on one line, and none is dropped.
#[tokio::test]
async fn a_command_for_no_row_is_refused() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    for action in ["cancel", "retry", "poll", "confirm-delivery", "fetch-receipt", "resolve-not-emitted"] {
        let ended = app.command("NOBODY", action).await;
        assert_eq!(ended, ("refused".into(), "no row has this reference".into()), "{action}");
    }
    let resolve = app.ask(Some("NOBODY"), "resolve-emitted", Some("TP1")).await;
    assert_eq!(app.ended(resolve).await.0, "refused");
    audit(&world, &mut app).await;
}
