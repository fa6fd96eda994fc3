//! What goes first and what waits: priority, `not_before`, an open cancel, a row that replaces another.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tresorpayd::simulator::{NoticeStatus, Simulator};

use crate::{
    audit::audit,
    harness::{World, holds_for, until},
    rows::{NewRow, bulk, text},
};

fn created(sim: &Simulator, reference: &str) -> Option<DateTime<Utc>> {
    sim.notice(reference).map(|notice| notice.emitted_at)
}

#[tokio::test]
async fn a_taxpayer_at_the_counter_passes_a_bulk_run() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "2");
    world.sim.set_latency(Duration::from_millis(60));
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(60)).await;
    until("the bulk run has begun", async || world.sim.ledger().notices.len() >= 5).await;
    let mut urgent = NewRow::new("COUNTER");
    urgent.priority = 9;
    app.insert(&[urgent]).await;
    let before = world.sim.ledger().notices.len();
    until("all are emitted", async || app.count("EMITTED").await == 61).await;
    let ledger = world.sim.ledger();
    let place = ledger.notices.iter().position(|notice| notice.client_reference == "COUNTER").unwrap();
    assert!(place <= before + 4, "{place} although {before} were emitted before it was there");
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn equal_priorities_go_oldest_first() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "1");
    let mut daemon = world.start().await;
    daemon.stop().await;
    let mut app = world.application().await;
    let rows: Vec<_> = (0..30_i64)
        .map(|number| {
            let mut row = NewRow::new(format!("{}-{number:02}", number % 3));
            row.priority = number % 3;
            row
        })
        .collect();
    app.insert(&rows).await;
    let _daemon = world.start().await;
    until("all are emitted", async || app.count("EMITTED").await == 30).await;
    let order: Vec<_> =
        world.sim.ledger().notices.into_iter().map(|notice| notice.client_reference).collect();
    let mut wanted: Vec<_> = rows.iter().map(|row| (-row.priority, row.reference.clone())).collect();
    wanted.sort();
    assert_eq!(order, wanted.into_iter().map(|(_, reference)| reference).collect::<Vec<_>>());
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn not_before_waits_and_then_goes() {
    let mut world = World::new().await;
    // Nothing but its own time wakes the daemon.
    world.set("emit.schedule", "0 0 0 1 1 *");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    let now = Utc::now();
    let (first, second) = (now + TimeDelta::milliseconds(1700), now + TimeDelta::milliseconds(2600));
    let mut with_milliseconds = NewRow::new("MILLISECONDS");
    with_milliseconds.not_before = Some(text(first));
    let mut whole_seconds = NewRow::new("SECONDS");
    let second = DateTime::from_timestamp(second.timestamp(), 0).unwrap();
    whole_seconds.not_before = Some(second.format("%Y-%m-%dT%H:%M:%SZ").to_string());
    let mut past = NewRow::new("PAST");
    past.not_before = Some("2020-01-01T00:00:00Z".to_owned());
    app.insert(&[with_milliseconds, whole_seconds, past]).await;
    until("all are emitted", async || app.count("EMITTED").await == 3).await;
    for (reference, due) in [("MILLISECONDS", first), ("SECONDS", second)] {
        let late = created(&world.sim, reference).unwrap() - due;
        assert!(late >= TimeDelta::milliseconds(-1), "{reference} left {late} before its time");
        assert!(late < TimeDelta::seconds(1), "{reference} left {late} after its time");
    }
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn not_before_may_be_corrected_both_ways() {
    let mut world = World::new().await;
    world.set("emit.schedule", "0 0 0 1 1 *");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    let waiting = |reference: &str, delay: TimeDelta| {
        let mut row = NewRow::new(reference);
        row.not_before = Some(text(Utc::now() + delay));
        row
    };
    let hour = TimeDelta::hours(1);
    let soon = TimeDelta::milliseconds(1500);
    app.insert(&[
        waiting("NULL", hour),
        waiting("PAST", hour),
        waiting("SOON", hour),
        waiting("LATER", soon),
    ])
    .await;
    app.run(&format!(
        "UPDATE outbox SET not_before = '{}' WHERE reference = 'LATER'",
        text(Utc::now() + hour)
    ))
    .await
    .unwrap();
    holds_for(Duration::from_millis(700), "nothing is emitted before its time", async || {
        world.emissions() == 0
    })
    .await;
    let soon = Utc::now() + TimeDelta::milliseconds(1000);
    app.run("UPDATE outbox SET not_before = NULL WHERE reference = 'NULL'").await.unwrap();
    app.run("UPDATE outbox SET not_before = '2020-01-01T00:00:00.000Z' WHERE reference = 'PAST'")
        .await
        .unwrap();
    app.run(&format!("UPDATE outbox SET not_before = '{}' WHERE reference = 'SOON'", text(soon)))
        .await
        .unwrap();
    until("the three that may go are emitted", async || app.count("EMITTED").await == 3).await;
    assert!(created(&world.sim, "NULL").unwrap() < soon, "at once");
    assert!(created(&world.sim, "PAST").unwrap() < soon, "at once");
    let late = created(&world.sim, "SOON").unwrap() - soon;
    assert!(late >= TimeDelta::milliseconds(-1) && late < TimeDelta::seconds(1), "{late}");
    holds_for(Duration::from_millis(800), "the fourth waits", async || {
        app.status("LATER").await == "PENDING"
    })
    .await;
    audit(&world, &mut app).await;
}

/// A time that was seen to pass is not kept when the application moves it: the row waits again.
#[tokio::test]
async fn not_before_moved_on_while_emission_is_held_back_waits_again() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    daemon.stop().await;
    let mut app = world.application().await;
    let mut row = NewRow::new("A-1");
    row.not_before = Some("2020-01-01T00:00:00Z".to_owned());
    app.insert(&[row]).await;
    let later = text(Utc::now() + TimeDelta::hours(1));
    world.sim.down(tresorpayd::simulator::Outage::Refuse).await;
    let mut daemon = world.start().await;
    app.insert(&[NewRow::new("A-2")]).await;
    holds_for(Duration::from_millis(500), "no token, no emission", async || world.emissions() == 0).await;
    app.run(&format!("UPDATE outbox SET not_before = '{later}' WHERE reference = 'A-1'")).await.unwrap();
    world.sim.up().await;
    until("the other is emitted", async || app.status("A-2").await == "EMITTED").await;
    holds_for(Duration::from_millis(500), "it waits", async || app.status("A-1").await == "PENDING").await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// The command is committed with the row, so it is there before any claim.
#[tokio::test]
async fn a_row_with_an_open_cancel_is_never_emitted() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    for number in 0..20 {
        let reference = format!("CANCELED-{number}");
        app.run("BEGIN IMMEDIATE").await.unwrap();
        app.try_insert(&NewRow::new(&reference)).await.unwrap();
        let cancel = format!("INSERT INTO command (reference, action) VALUES ('{reference}', 'cancel')");
        app.run(&cancel).await.unwrap();
        app.run("COMMIT").await.unwrap();
    }
    app.insert(&bulk(5)).await;
    until("the others are emitted", async || app.count("EMITTED").await == 5).await;
    holds_for(Duration::from_millis(900), "no canceled row is emitted", async || world.emissions() == 5)
        .await;
    assert_eq!(app.count("PENDING").await + app.count("CANCELED").await, 20);
    audit(&world, &mut app).await;
}

/// The correction is not billed beside the notice that it corrects.
#[tokio::test]
async fn a_row_that_replaces_a_live_one_is_not_emitted_beside_it() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("WRONG").amount(1_000)]).await;
    until("the first is emitted", async || app.status("WRONG").await == "EMITTED").await;
    let mut right = NewRow::new("RIGHT").amount(900);
    right.replaces = Some("WRONG".to_owned());
    app.insert(&[right, NewRow::new("NEXT")]).await;
    until("the next row is emitted", async || app.status("NEXT").await == "EMITTED").await;
    holds_for(Duration::from_millis(900), "only one of the two is live", async || {
        let ledger = world.sim.ledger();
        ledger.live("WRONG") + ledger.live("RIGHT") <= 1
    })
    .await;
    audit(&world, &mut app).await;
}

/// Paid is not replaced: the correction would bill what was paid already.
#[tokio::test]
async fn a_row_that_replaces_a_paid_one_is_never_emitted() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("PAID").amount(1_000)]).await;
    until("it is emitted", async || app.status("PAID").await == "EMITTED").await;
    world.sim.pay("PAID", None).unwrap();
    until("it is paid", async || app.status("PAID").await == "PAID").await;
    let mut right = NewRow::new("RIGHT").amount(900);
    right.replaces = Some("PAID".to_owned());
    app.insert(&[right]).await;
    holds_for(Duration::from_millis(900), "it is not emitted", async || world.sim.notice("RIGHT").is_none())
        .await;
    assert_eq!(world.sim.notice("PAID").unwrap().status, NoticeStatus::Paid);
    audit(&world, &mut app).await;
}
