//! SIGTERM and SIGINT: nothing more is claimed, what is under way is finished and recorded, exit 0.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use rustix::process::Signal;
use tresorpayd::simulator::{Fault, Operation, Rule};

use crate::{
    audit::audit,
    harness::{World, case, each, until},
    rows::{bulk, text},
};

async fn drains(signal: Signal) {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    world.sim.set_latency(Duration::from_millis(500));
    app.insert(&bulk(40)).await;
    until("requests are under way", async || world.emissions() >= 8).await;
    daemon.signal(signal);
    // A busy machine may deliver it a little later; the next claims would come after the answers.
    let signaled = text(Utc::now() + TimeDelta::milliseconds(200));
    assert_eq!(daemon.ended(Duration::from_secs(5)).await, Ok(0), "{}", daemon.log());
    let emitted = app.count("EMITTED").await;
    assert_eq!(emitted, world.sim.ledger().notices.len(), "all that left are recorded");
    assert_eq!((app.count("EMITTING").await, app.count("PENDING").await), (0, 40 - emitted));
    assert!((8..40).contains(&emitted), "{emitted}");
    for attempt in app.attempts().await {
        assert!(attempt.started_at <= signaled, "{attempt:?} was claimed after the signal at {signaled}");
    }
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn sigterm_and_sigint_drain() {
    each([case("SIGTERM", drains(Signal::TERM)), case("SIGINT", drains(Signal::INT))]).await;
}

#[tokio::test]
async fn an_idle_daemon_stops_at_once() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(Duration::from_secs(3)).await, Ok(0));
}

#[tokio::test]
async fn it_stops_at_once_while_it_waits_for_a_token() {
    let world = World::new().await;
    world.sim.add_fault(Rule::always(Operation::Token, Fault::Lost { processed: false }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(20)).await;
    until("a token was asked for", async || world.sim.counters().fault("lost") > 0).await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(Duration::from_secs(3)).await, Ok(0), "{}", daemon.log());
    assert_eq!(app.count("PENDING").await, 20);
    audit(&world, &mut app).await;
}

/// Status requests are harmless to drop: a long row of them must not use up the grace.
#[tokio::test]
async fn it_stops_soon_in_the_middle_of_many_status_requests() {
    let world = World::new().await;
    world.sim.add_fault(Rule::always(Operation::Batch, Fault::NoEndpoint));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(100)).await;
    until("all are emitted", async || app.count("EMITTED").await == 100).await;
    world.sim.set_latency(Duration::from_millis(400));
    let before = world.sim.counters().requests(Operation::Status);
    let asked = async || world.sim.counters().requests(Operation::Status) > before;
    until("they are asked about one by one", asked).await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(Duration::from_secs(3)).await, Ok(0), "{}", daemon.log());
    audit(&world, &mut app).await;
}

/// Answers that cannot be recorded within the grace: it ends in time all the same, and the rows are in doubt.
async fn a_grace_that_is_over_leaves_doubts_and_no_process() {
    let mut world = World::new().await;
    world.set("api.request_timeout", "2s").set("shutdown.grace", "3s");
    let mut daemon = world.start().await;
    let (mut app, mut other) = (world.application().await, world.application().await);
    world.sim.set_latency(Duration::from_millis(300));
    app.insert(&bulk(5)).await;
    until("requests are under way", async || world.emissions() == 5).await;
    other.run("BEGIN IMMEDIATE").await.unwrap();
    let recorded = app.count("EMITTED").await;
    assert!(recorded < 5, "the lock came too late to test anything");
    daemon.signal(Signal::TERM);
    let signaled = Instant::now();
    let _ = daemon.ended(Duration::from_secs(8)).await;
    assert!(signaled.elapsed() >= Duration::from_millis(2900), "it gave up after {:?}", signaled.elapsed());
    assert!(signaled.elapsed() < Duration::from_millis(5500), "it took {:?}", signaled.elapsed());
    other.run("ROLLBACK").await.unwrap();
    world.sim.set_latency(Duration::ZERO);
    let mut daemon = world.start().await;
    assert_eq!((app.count("UNCERTAIN").await, app.count("EMITTED").await), (5 - recorded, recorded));
    daemon.stop().await;
    assert_eq!(world.emissions(), 5);
    audit(&world, &mut app).await;
}

/// A lock that ends within the grace costs nothing.
async fn answers_are_recorded_within_the_grace_although_the_database_is_locked() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let (mut app, mut other) = (world.application().await, world.application().await);
    world.sim.set_latency(Duration::from_millis(300));
    app.insert(&bulk(5)).await;
    until("requests are under way", async || world.emissions() == 5).await;
    other.run("BEGIN IMMEDIATE").await.unwrap();
    daemon.signal(Signal::TERM);
    until("all are answered", async || world.sim.counters().concurrent == 0).await;
    assert!(daemon.runs(), "it waits for the database");
    other.run("COMMIT").await.unwrap();
    assert_eq!(daemon.ended(Duration::from_secs(10)).await, Ok(0));
    assert_eq!(app.count("EMITTED").await, 5);
    audit(&world, &mut app).await;
}

/// What was about to be claimed when the signal came is not claimed once the lock is gone.
async fn nothing_is_claimed_after_the_signal_although_the_database_was_locked_before_it() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "4");
    let mut daemon = world.start().await;
    let (mut app, mut other) = (world.application().await, world.application().await);
    world.sim.set_latency(Duration::from_millis(300));
    app.insert(&bulk(30)).await;
    until("requests are under way", async || world.emissions() == 4).await;
    other.run("BEGIN IMMEDIATE").await.unwrap();
    until("all are answered", async || world.sim.counters().concurrent == 0).await;
    daemon.signal(Signal::TERM);
    until("it is stopping", async || daemon.log().contains("stopping")).await;
    let left = world.emissions();
    other.run("COMMIT").await.unwrap();
    assert_eq!(daemon.ended(Duration::from_secs(15)).await, Ok(0), "{}", daemon.log());
    assert_eq!(world.emissions(), left, "some left after the signal");
    assert_eq!(app.count("PENDING").await + app.count("EMITTED").await, 30);
    audit(&world, &mut app).await;
}

/// Who cannot wait asks twice: it ends at once, and what was under way is in doubt.
#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    world.sim.add_fault(Rule::always(Operation::Emit, Fault::Lost { processed: true }));
    app.insert(&bulk(3)).await;
    until("requests are under way", async || world.emissions() == 3).await;
    daemon.signal(Signal::TERM);
    until("it is stopping", async || daemon.log().contains("stopping")).await;
    daemon.signal(Signal::TERM);
    let ended = daemon.ended(Duration::from_secs(2)).await;
    assert_ne!(ended, Ok(0), "it did not end in order, and says so");
    world.sim.clear_faults();
    let mut daemon = world.start().await;
    assert_eq!(app.count("UNCERTAIN").await, 3);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// What systemd is told: ready, a status, beats as often as it asks, stopping.
#[tokio::test]
async fn systemd_is_told_and_the_watchdog_fed() {
    let mut world = World::new().await;
    world.before = "WATCHDOG_USEC=1000000; export WATCHDOG_USEC;";
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let start = Instant::now();
    let mut last = start;
    let mut beats = 0;
    // A locked database is no reason to be killed: it answers readers.
    app.run("BEGIN IMMEDIATE").await.unwrap();
    until("it has beaten for some seconds", async || {
        beats += daemon
            .told()
            .iter()
            .filter(|line| *line == "WATCHDOG=1")
            .inspect(|_| last = Instant::now())
            .count();
        assert!(last.elapsed() < Duration::from_secs(1), "no beat for a second");
        start.elapsed() > Duration::from_secs(3)
    })
    .await;
    assert!(beats >= 3, "{beats}");
    app.run("ROLLBACK").await.unwrap();
    daemon.stop().await;
    assert!(daemon.told().iter().any(|line| line == "STOPPING=1"));
}

#[tokio::test]
async fn a_signal_while_the_database_is_locked() {
    each([
        case(
            "a_grace_that_is_over_leaves_doubts_and_no_process",
            a_grace_that_is_over_leaves_doubts_and_no_process(),
        ),
        case(
            "answers_are_recorded_within_the_grace_although_the_database_is_locked",
            answers_are_recorded_within_the_grace_although_the_database_is_locked(),
        ),
        case(
            "nothing_is_claimed_after_the_signal_although_the_database_was_locked_before_it",
            nothing_is_claimed_after_the_signal_although_the_database_was_locked_before_it(),
        ),
    ])
    .await;
}
