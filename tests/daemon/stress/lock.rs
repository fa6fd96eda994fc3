//! Another program holds the write lock for longer than any `busy_timeout`, with answers in flight.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{SLOTS, answered, busy, told};
use crate::{
    audit::audit,
    harness::{World, holds_for, until, until_within},
};

/// This process is the other program.
async fn locked_for(time: Duration) {
    const ROWS: usize = 40;
    let mut world = World::new().await;
    let (mut daemon, mut app) = busy(&mut world, ROWS).await;
    let mut other = world.application().await;
    other.run("BEGIN IMMEDIATE").await.unwrap();
    let recorded = app.count("EMITTED").await;
    let left = answered(&world).await;
    assert!(recorded < usize::try_from(left).unwrap(), "the lock came too late to test anything");
    holds_for(time, "answers wait, nothing more leaves, and no slot is used twice", async || {
        let emitting = app.count("EMITTING").await;
        daemon.runs() && world.emissions() == left && (1..=SLOTS).contains(&emitting)
    })
    .await;
    other.run("COMMIT").await.unwrap();
    let waiting = async || app.count("EMITTED").await >= usize::try_from(left).unwrap();
    until_within(Duration::from_secs(4), "the answers are recorded soon", waiting).await;
    until("all are emitted", async || app.count("EMITTED").await == ROWS).await;
    let most = usize::try_from(time.as_secs() / 10).unwrap() + 1;
    assert!((1..=most).contains(&told(&daemon, "database_locked")), "{}", daemon.log());
    assert!(daemon.log().contains("takes writes again"), "{}", daemon.log());
    daemon.stop().await;
    assert_eq!(world.emissions(), ROWS as u64);
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_lock_held_for_some_seconds_loses_and_doubles_nothing() {
    locked_for(Duration::from_secs(7)).await;
}

#[tokio::test]
#[ignore = "half a minute"]
async fn a_lock_held_for_half_a_minute_loses_and_doubles_nothing() {
    locked_for(Duration::from_secs(30)).await;
}

/// What cannot be recorded within the grace is in doubt at the next start, and both daemons say so.
#[tokio::test]
async fn stopped_while_the_lock_is_held_what_was_answered_is_in_doubt() {
    let mut world = World::new().await;
    world.set("shutdown.grace", "3s").set("api.request_timeout", "2s");
    let (mut daemon, mut app) = busy(&mut world, 20).await;
    let mut other = world.application().await;
    other.run("BEGIN IMMEDIATE").await.unwrap();
    let left = answered(&world).await;
    let recorded = app.count("EMITTED").await;
    daemon.signal(Signal::TERM);
    let signaled = Instant::now();
    let _ = daemon.ended(Duration::from_secs(10)).await;
    assert!(signaled.elapsed() < Duration::from_secs(7), "it took {:?}", signaled.elapsed());
    assert!(daemon.log().contains("answers that the database did not take"), "{}", daemon.log());
    other.run("ROLLBACK").await.unwrap();
    world.sim.set_latency(Duration::ZERO);
    let mut daemon = world.start().await;
    let uncertain = app.count("UNCERTAIN").await;
    assert_eq!(uncertain + recorded, usize::try_from(left).unwrap());
    assert!((1..=SLOTS).contains(&uncertain), "{uncertain}");
    assert!(daemon.log().contains("UNCERTAIN"), "{}", daemon.log());
    until("the others are emitted", async || app.waiting().await == 0).await;
    daemon.stop().await;
    assert_eq!(world.emissions(), 20);
    audit(&world, &mut app).await;
}
