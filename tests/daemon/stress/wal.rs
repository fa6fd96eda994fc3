//! A program keeps a read transaction open: the WAL cannot be written back and grows with every commit.

use std::{path::Path, time::Duration};

use super::told;
use crate::{
    audit::audit,
    harness::{World, holds_for, until},
    rows::{NewRow, bulk},
};

/// `database.max_wal`, bytes.
const MAX_WAL: u64 = 2 << 20;

fn wal(world: &World) -> u64 {
    let name = format!("{}-wal", world.database().display());
    std::fs::metadata(Path::new(&name)).map_or(0, |file| file.len())
}

#[tokio::test]
async fn a_reader_that_stays_stops_claims_and_nothing_else() {
    const ROWS: usize = 600;
    let mut world = World::new().await;
    world.set("database.max_wal", &MAX_WAL.to_string()).set("api.max_concurrency", "4");
    let mut daemon = world.start().await;
    let (mut app, mut reader) = (world.application().await, world.application().await);
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    reader.run("BEGIN").await.unwrap();
    assert_eq!(reader.count("EMITTED").await, 1, "it has a snapshot now");

    app.insert(&bulk(ROWS)).await;
    until("emission has stopped", async || daemon.log().contains("emission has stopped")).await;
    let left = world.emissions();
    assert!(wal(&world) > MAX_WAL);
    assert!(daemon.log().contains("fuser -v"), "it says how to find the reader:\n{}", daemon.log());
    until("what was under way is recorded", async || app.count("EMITTING").await == 0).await;
    let waiting = app.count("PENDING").await;
    assert!(waiting > 0, "the WAL grew too slowly to test anything");
    world.sim.pay("FIRST", None).unwrap();
    until("payments are recorded", async || app.status("FIRST").await == "PAID").await;
    holds_for(Duration::from_millis(2500), "nothing more leaves", async || world.emissions() <= left + 4)
        .await;
    assert_eq!(app.count("PENDING").await, waiting);
    assert_eq!(told(&daemon, "wal_large"), 2, "once as it grew, once as it stopped:\n{}", daemon.log());

    reader.run("COMMIT").await.unwrap();
    until("all are emitted", async || app.waiting().await == 0).await;
    assert!(daemon.log().contains("the WAL is small again"), "{}", daemon.log());
    assert_eq!(told(&daemon, "wal_large"), 2, "without the reader it does not grow");
    daemon.stop().await;
    assert_eq!(world.emissions(), ROWS as u64 + 1);
    audit(&world, &mut app).await;
}

/// Without anything to emit it gets small too, so that `tresorpayd status` stops complaining.
#[tokio::test]
async fn once_the_reader_is_gone_the_wal_gets_small_by_itself() {
    let mut world = World::new().await;
    world.set("database.max_wal", &MAX_WAL.to_string());
    let mut daemon = world.start().await;
    let (mut app, mut reader) = (world.application().await, world.application().await);
    reader.run("BEGIN").await.unwrap();
    assert_eq!(reader.count("EMITTED").await, 0);
    app.insert(&bulk(200)).await;
    until("it is large", async || wal(&world) > MAX_WAL / 2).await;
    until("it is told", async || told(&daemon, "wal_large") >= 1).await;
    reader.run("COMMIT").await.unwrap();
    until("all are emitted", async || app.waiting().await == 0).await;
    until("it is small", async || wal(&world) < MAX_WAL / 2).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}
