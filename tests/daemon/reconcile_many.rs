//! Reconciliation of many notices: its share of the rate, a kill in the middle, a hundred thousand rows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    harness::{World, until, until_within},
    raw::{Ask, RawPeer, good, ok},
    reconcile::{MISSED, NEVER, ended, state},
    rows::{Application, bulk},
};

/// Finished yesterday, with a history that ends where they are.
const FINISHED: &str = r#"
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1),
times (n, at) AS (SELECT n, strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day', (n / 10) || ' seconds', '-86400 seconds') FROM numbers)
INSERT INTO outbox (reference, net_total, created_at, status, status_source, updated_at, attempts, tresorpay_reference,
    payment_url, provider, pay_date, emitted_at, paid_at, tax_payer, items)
SELECT printf('OLD-%06d', n), 1000, at, CASE WHEN n % 10 = 0 THEN 'CANCELED' ELSE 'PAID' END, 'poll', at, 1,
    printf('TP-OLD-%06d', n), 'https://example.ml/', CASE WHEN n % 10 > 0 THEN 'WAVE' END,
    CASE WHEN n % 10 > 0 THEN '2026-11-24T09:48:00' END, at, at, '{"name":"Diarra"}',
    '[{"quantity":1,"unitPrice":1000}]'
FROM times"#;
const HISTORY: &str = "
INSERT INTO transition (outbox_id, at, from_status, to_status, source)
SELECT id, updated_at, NULL, status, 'poll' FROM outbox";

/// A database with so many finished notices, made while no trigger watches.
async fn finished(world: &World, rows: i64) {
    let options = SqliteConnectOptions::new()
        .filename(world.database())
        .create_if_missing(false)
        .collation("use_the_command_table", str::cmp);
    let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let triggers: Vec<(String, String)> =
        sqlx::query_as("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid")
            .fetch_all(&mut *tx)
            .await
            .unwrap();
    for (name, _) in &triggers {
        sqlx::query(AssertSqlSafe(format!("DROP TRIGGER {name}"))).execute(&mut *tx).await.unwrap();
    }
    sqlx::query(FINISHED).bind(rows).execute(&mut *tx).await.unwrap();
    sqlx::query(HISTORY).execute(&mut *tx).await.unwrap();
    for (_, sql) in triggers {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    conn.close().await.unwrap();
}

/// What the platform was asked of old notices: how often each, and when each request came.
#[derive(Default)]
struct Asked {
    times: HashMap<String, usize>,
    requests: Vec<Instant>,
}

/// A platform that knows every old notice as it was recorded, but for those that `drifted` names.
async fn platform(world: &mut World, drifted: &'static [&'static str]) -> (RawPeer, Arc<Mutex<Asked>>) {
    let asked = Arc::new(Mutex::new(Asked::default()));
    let noted = Arc::clone(&asked);
    let peer = RawPeer::start(world, move |ask| {
        let Ask::Batch(references) = ask else { return good(ask) };
        let mut asked = noted.lock().unwrap();
        if references.iter().any(|reference| reference.starts_with("TP-OLD-")) {
            asked.requests.push(Instant::now());
        }
        let told = references.iter().map(|reference| {
            *asked.times.entry(reference.clone()).or_default() += 1;
            let canceled = reference.ends_with('0') != drifted.contains(&&**reference);
            if canceled {
                json!({"reference": reference, "status": "CANCELED"})
            } else {
                json!({"reference": reference, "status": "PAID", "provider": "WAVE", "payDate": "2026-11-24T09:48:00"})
            }
        });
        ok(&told.collect())
    })
    .await;
    (peer, asked)
}

/// A world with old notices whose daemon has missed its hour.
async fn world_with(
    rows: i64,
    settings: &[(&str, &str)],
    drifted: &'static [&'static str],
) -> (World, RawPeer, Arc<Mutex<Asked>>) {
    let mut world = World::new().await;
    for (key, value) in settings {
        world.set(key, value);
    }
    world.set("reconcile.schedule", NEVER);
    let (peer, asked) = platform(&mut world, drifted).await;
    world.start().await.stop().await;
    finished(&world, rows).await;
    world.set("reconcile.schedule", MISSED);
    (world, peer, asked)
}

/// Never more in a second than `share`, but for the grains of measuring.
fn within_share(asked: &Asked, share: usize) {
    for (at, pair) in asked.requests.windows(share + 2).enumerate() {
        let span = pair[share + 1] - pair[0];
        assert!(span >= Duration::from_millis(900), "requests {at} and on: {} within {span:?}", share + 2);
    }
}

/// Killed in the middle, the next daemon goes on: no notice is left out, and at most one batch is asked about twice.
#[tokio::test]
async fn a_killed_run_goes_on_where_it_was() {
    let settings = [("api.requests_per_second", "80"), ("poll.batch_size", "20")];
    let (world, _peer, asked) = world_with(600, &settings, &["TP-OLD-000001", "TP-OLD-000590"]).await;
    let mut app = world.application().await;
    let mut checked = 0;
    for kill in 1..=3 {
        let mut daemon = world.start().await;
        let before = asked.lock().unwrap().requests.len();
        until("some batches were asked", async || asked.lock().unwrap().requests.len() > before + 4).await;
        daemon.kill().await;
        let now = state(&mut app).await["running"]["checked"].as_u64().unwrap();
        assert!(now > checked && now < 600, "kill {kill}: {now} after {checked}");
        checked = now;
    }
    let mut daemon = world.start().await;
    let last = ended(&mut app).await;
    assert_eq!((&last["checked"], &last["drifted"]), (&600.into(), &2.into()), "{last}");
    daemon.stop().await;
    let asked = asked.lock().unwrap();
    assert_eq!(asked.times.len(), 600);
    let twice: usize = asked.times.values().map(|times| times - 1).sum();
    assert!(twice <= 3 * 20, "{twice} notices too many after three kills");
    assert!(daemon.log().contains("goes on where it stopped"));
}

/// A quarter of the rate, and nobody else waits for it.
#[tokio::test]
async fn a_run_keeps_to_its_share_and_emissions_go_first() {
    let settings = [("api.requests_per_second", "20"), ("poll.batch_size", "10")];
    let (world, _peer, asked) = world_with(250, &settings, &[]).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    until("it has begun", async || asked.lock().unwrap().requests.len() > 2).await;
    let before = asked.lock().unwrap().requests.len();
    let start = Instant::now();
    app.insert(&bulk(80)).await;
    until("all are emitted", async || app.waiting().await == 0).await;
    let took = start.elapsed();
    let meanwhile = asked.lock().unwrap().requests.len() - before;
    // At 20 a second 80 rows need 4 s, less a burst of one second; polls of what is emitted come in between.
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert!(meanwhile < 12, "{meanwhile} requests that nobody waits for, while rows wait");
    let last = ended(&mut app).await;
    assert_eq!(last["checked"], 250);
    within_share(&asked.lock().unwrap(), 5);
    daemon.stop().await;
}

/// It asks and changes nothing at TresorPay: a stop does not wait for it.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_run() {
    let settings = [("api.requests_per_second", "1"), ("poll.batch_size", "1")];
    let (world, _peer, asked) = world_with(100, &settings, &[]).await;
    let mut daemon = world.start().await;
    until("it has begun", async || state(&mut world.application().await).await["running"].is_object()).await;
    let start = Instant::now();
    daemon.stop().await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(asked.lock().unwrap().requests.len() < 50);
}

#[tokio::test]
async fn a_hundred_thousand_notices_within_the_share_and_over_a_kill() {
    const ROWS: i64 = 100_000;
    const DRIFTED: [&str; 3] = ["TP-OLD-000001", "TP-OLD-050000", "TP-OLD-099999"];
    let settings = [("api.requests_per_second", "200"), ("poll.batch_size", "500")];
    let (world, _peer, asked) = world_with(ROWS, &settings, &DRIFTED).await;
    let mut app: Application = world.application().await;
    let mut daemon = world.start().await;
    until("a part of it is done", async || asked.lock().unwrap().requests.len() > 60).await;
    daemon.kill().await;
    let killed_at = state(&mut app).await["running"]["checked"].as_i64().unwrap();
    assert!((10_000..ROWS).contains(&killed_at), "{killed_at}");
    let mut daemon = world.start().await;
    let mut last = serde_json::Value::Null;
    until_within(Duration::from_secs(120), "the run has ended", async || {
        last = state(&mut app).await["last"].clone();
        last["checked"] == ROWS
    })
    .await;
    assert_eq!((&last["drifted"], &last["flagged"]), (&3.into(), &0.into()), "{last}");
    assert_eq!(app.number("SELECT count(*) FROM transition WHERE source = 'reconcile'").await, 3);
    daemon.stop().await;
    let asked = asked.lock().unwrap();
    assert_eq!(asked.times.len(), 100_000);
    assert!(asked.times.values().map(|times| times - 1).sum::<usize>() <= 500, "at most one batch twice");
    within_share(&asked, 50);
}
