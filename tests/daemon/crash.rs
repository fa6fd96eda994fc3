//! kill -9 at the worst moments, and a database that is locked: nothing lost, nothing billed twice.

use std::time::Duration;

use tresorpayd::simulator::{Fault, Operation, Rule};

use crate::{
    audit::audit,
    harness::{World, case, each, holds_for, until},
    rows::{NewRow, bulk},
};

#[tokio::test]
async fn killed_with_a_request_under_way_the_row_is_uncertain_and_stays_so() {
    let world = World::new().await;
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::Lost { processed: true }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("TresorPay has it", async || world.sim.notice("A-1").is_some()).await;
    daemon.kill().await;
    assert_eq!(app.status("A-1").await, "EMITTING", "committed before the request left");

    let mut daemon = world.start().await;
    let row = app.row("A-1").await;
    assert_eq!(
        (&*row.status, row.attempts, &row.next_attempt_at),
        ("UNCERTAIN", 1, &None),
        "before it is ready"
    );
    assert!(row.last_error.unwrap().starts_with("interrupted"));
    let attempt = app.attempts_of("A-1").await.remove(0);
    assert_eq!((attempt.outcome.as_deref(), &*attempt.phase), (Some("interrupted"), "sent"));
    assert_eq!(attempt.http_status, None);
    let last = app.transitions().await.pop().unwrap();
    assert_eq!(
        (last.from_status.as_deref(), &*last.to_status, &*last.source),
        (Some("EMITTING"), "UNCERTAIN", "recovery")
    );
    assert!(daemon.log().contains("UNCERTAIN"), "the log says what an operator has to look at");

    app.insert(&[NewRow::new("A-2")]).await;
    until("others go on", async || app.status("A-2").await == "EMITTED").await;
    holds_for(Duration::from_millis(1500), "it is not emitted again", async || world.emissions() == 2).await;
    assert_eq!(app.status("A-1").await, "UNCERTAIN");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn killed_with_many_under_way_no_more_are_uncertain_than_could_be_under_way() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "8");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    // So that a token is there: it would be late, too, and is not what this is about.
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    world.sim.set_latency(Duration::from_secs(30));
    app.insert(&bulk(40)).await;
    until("as many as may are under way", async || world.emissions() == 9).await;
    daemon.kill().await;
    world.sim.set_latency(Duration::ZERO);
    let mut daemon = world.start().await;
    assert_eq!(app.count("UNCERTAIN").await, 8);
    until("the others are emitted", async || app.count("EMITTED").await == 33).await;
    daemon.stop().await;
    assert_eq!((app.count("UNCERTAIN").await, world.emissions()), (8, 41));
    audit(&world, &mut app).await;
}

/// The answer came and could not be recorded: to the database, it never came.
#[tokio::test]
async fn killed_before_the_answers_could_be_recorded() {
    let world = World::new().await;
    world.sim.set_latency(Duration::from_millis(300));
    let mut daemon = world.start().await;
    let (mut app, mut other) = (world.application().await, world.application().await);
    app.insert(&bulk(5)).await;
    until("TresorPay has them", async || world.emissions() == 5).await;
    other.run("BEGIN IMMEDIATE").await.unwrap();
    until("all are answered", async || world.sim.counters().concurrent == 0).await;
    daemon.kill().await;
    other.run("ROLLBACK").await.unwrap();
    let recorded = app.count("EMITTED").await;
    let mut daemon = world.start().await;
    assert_eq!(app.count("UNCERTAIN").await, 5 - recorded);
    assert!(recorded < 5, "the lock came too late to test anything");
    holds_for(Duration::from_millis(800), "none is emitted again", async || world.emissions() == 5).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn killed_again_and_again_nothing_is_lost_and_nothing_billed_twice() {
    const ROWS: usize = 400;
    const KILLS: usize = 6;
    let mut world = World::new().await;
    world.set("api.max_concurrency", "8").set("emit.max_uncertain", "1000");
    world.sim.set_latency(Duration::from_millis(5)..=Duration::from_millis(60));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(ROWS)).await;
    for kill in 1..=KILLS {
        let wanted = world.emissions() + fastrand::u64(10..40);
        until("some more have left", async || world.emissions() >= wanted).await;
        daemon.kill().await;
        daemon = world.start().await;
        let uncertain = app.count("UNCERTAIN").await;
        assert!(uncertain <= 8 * kill, "{uncertain} after {kill} kills");
    }
    until("nothing waits", async || app.waiting().await == 0).await;
    daemon.stop().await;
    assert_eq!(app.count("EMITTED").await + app.count("UNCERTAIN").await, ROWS);
    audit(&world, &mut app).await;
}

/// An application keeps the write lock for longer than any `busy_timeout` while answers come in.
async fn a_database_locked_for_seconds_loses_and_doubles_nothing() {
    let world = World::new().await;
    world.sim.set_latency(Duration::from_millis(400));
    let mut daemon = world.start().await;
    let (mut app, mut other) = (world.application().await, world.application().await);
    app.insert(&bulk(20)).await;
    until("requests are under way", async || world.emissions() >= 8).await;
    other.run("BEGIN IMMEDIATE").await.unwrap();
    let held = Duration::from_secs(7);
    holds_for(held, "no more leaves than were claimed before the lock", async || world.emissions() <= 20)
        .await;
    assert!(world.emissions() < 20, "claims need the lock");
    other.run("COMMIT").await.unwrap();
    until("all are emitted", async || app.count("EMITTED").await == 20).await;
    assert!(daemon.runs());
    daemon.stop().await;
    assert_eq!(world.emissions(), 20);
    audit(&world, &mut app).await;
}

/// The same at the start: the lock is an application's business and ends by itself.
async fn a_database_locked_at_the_start_delays_it() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::Lost { processed: true }));
    app.insert(&[NewRow::new("A-1")]).await;
    until("TresorPay has it", async || world.sim.notice("A-1").is_some()).await;
    daemon.kill().await;
    app.run("BEGIN IMMEDIATE").await.unwrap();
    let mut daemon = world.spawn();
    holds_for(Duration::from_secs(7), "it waits for the lock", async || daemon.runs()).await;
    app.run("COMMIT").await.unwrap();
    daemon.ready().await;
    assert_eq!(app.status("A-1").await, "UNCERTAIN");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_locked_database_costs_time_and_nothing_else() {
    each([
        case(
            "a_database_locked_for_seconds_loses_and_doubles_nothing",
            a_database_locked_for_seconds_loses_and_doubles_nothing(),
        ),
        case("a_database_locked_at_the_start_delays_it", a_database_locked_at_the_start_delays_it()),
    ])
    .await;
}
