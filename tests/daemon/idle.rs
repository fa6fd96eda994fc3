//! No false doubt: a connection that the server closes while idle must not swallow a request. The full length is an ignored
//! test: `cargo test --test daemon idle -- --ignored`.

use std::time::{Duration, Instant};

use tresorpayd::simulator::Config;

use crate::{
    audit::audit,
    harness::{World, case, each, until, until_within},
    rows::bulk,
};

/// Emits rows with pauses between them, against a server that closes connections after `idle`. Half of the pauses are
/// about as long as that: the worst moment.
async fn paused(idle: Duration, rows: usize) {
    let config = Config { idle_close: Some(idle), ..Config::default() };
    let mut world = World::with(config).await;
    world.set("poll.schedule", "0 0 0 1 1 *");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    for row in bulk(rows) {
        app.insert(std::slice::from_ref(&row)).await;
        until("it is emitted", async || app.status(&row.reference).await != "PENDING").await;
        let pause = if fastrand::bool() {
            idle.mul_f64(0.9 + fastrand::f64() * 0.2)
        } else {
            idle.mul_f64(fastrand::f64() * 1.2)
        };
        let start = Instant::now();
        until_within(pause * 2 + Duration::from_secs(30), "the pause is over", async || {
            start.elapsed() >= pause
        })
        .await;
    }
    until("all are answered", async || app.count("EMITTED").await + app.count("UNCERTAIN").await == rows)
        .await;
    assert_eq!(app.count("UNCERTAIN").await, 0, "{:?}", app.attempts().await);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn connections_closed_while_idle_make_no_doubt() {
    let worlds = [(1000, 10), (1000, 10), (1200, 8), (2000, 5), (3000, 3)];
    each(worlds.map(|(idle, rows)| case(format!("{idle} ms"), paused(Duration::from_millis(idle), rows))))
        .await;
}

#[tokio::test]
#[ignore = "takes five minutes"]
async fn a_thousand_emissions_at_random_pauses_make_no_doubt() {
    // 1000 rows: 20 servers that close after 1 to 5 s, each asked for as long.
    let worlds = (0..20).map(|number: u32| {
        let idle = Duration::from_millis(1000 + u64::from(number) * 210);
        let rows = [100, 90, 80, 70, 64, 60, 56, 52, 48, 46, 44, 42, 40, 38, 36, 34, 30, 26, 24, 20]
            [number as usize];
        case(format!("{idle:?}"), paused(idle, rows))
    });
    each(worlds).await;
}
