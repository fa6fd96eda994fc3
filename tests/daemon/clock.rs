//! A wall clock that is wrong, or set while the daemon runs: no row waits for years, none is asked about in a storm.
//!
//! What a wrong clock leaves behind is times in the database, so most tests write such times. Those that set the clock of
//! a running daemon need libfaketime and are ignored: `cargo test --test daemon clock -- --ignored`.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use serde_json::Value;
use tresorpayd::simulator::Operation;

use crate::{
    audit::audit,
    harness::{Daemon, World, case, each, holds_for, until, until_within},
    raw::{Ask, RawPeer, Reply, good, message},
    rows::{Application, NewRow, bulk, text},
};

/// Rows as a daemon with a wrong clock would have left them.
async fn left_behind(world: &World, sql: &[&str]) {
    let mut daemon = Application::open_as_daemon(&world.database()).await;
    for statement in sql {
        daemon.run(statement).await.unwrap();
    }
}

/// Waits that were written years ahead are cut; those that the application asked for are not.
#[tokio::test]
async fn a_wait_until_years_from_now_is_cut() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(20)).await;
    until("all are emitted", async || app.count("EMITTED").await == 20).await;
    daemon.stop().await;
    let mut later = NewRow::new("LATER");
    later.not_before = Some("2099-01-01T00:00:00Z".to_owned());
    app.insert(&[later, NewRow::new("WAITS"), NewRow::new("WAS-LIMITED")]).await;
    left_behind(
        &world,
        &[
            "UPDATE outbox SET next_attempt_at = '2098-01-01T00:00:00.000Z' WHERE status = 'EMITTED'",
            "UPDATE outbox SET next_attempt_at = '2098-01-01T00:00:00.000Z', last_error = 'unreachable: x' WHERE reference = 'WAITS'",
            "UPDATE outbox SET next_attempt_at = '2098-01-01T00:00:00.000Z', last_error = 'rate_limited: x' WHERE reference = 'WAS-LIMITED'",
        ],
    )
    .await;
    for number in 1..=20 {
        world.sim.pay(&format!("A-{number}"), None).unwrap();
    }
    let mut daemon = world.start().await;
    until("all are paid", async || app.count("PAID").await == 20).await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    assert!(daemon.log().contains("as if the clock had been wrong"), "it is told");
    assert_eq!(app.status("LATER").await, "PENDING");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A wait that TresorPay asked for is kept where it can be true.
#[tokio::test]
async fn a_wait_that_a_rule_can_make_is_kept() {
    let world = World::new().await;
    world.start().await.stop().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("LIMITED")]).await;
    let soon = text(Utc::now() + TimeDelta::minutes(40));
    let limited = format!("UPDATE outbox SET next_attempt_at = '{soon}', last_error = 'rate_limited: x'");
    left_behind(&world, &[&limited]).await;
    let mut daemon = world.start().await;
    holds_for(Duration::from_secs(2), "it waits", async || world.emissions() == 0).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Notices that were emitted in the future and are overdue for decades: each is asked about once, and then waits as long as
/// the longest interval; none is given up, for nobody knows how old it is.
#[tokio::test]
async fn times_of_another_century_make_no_storm() {
    let mut world = World::new().await;
    world.set("poll.max_delay", "1h");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(60)).await;
    until("all are emitted", async || app.count("EMITTED").await == 60).await;
    daemon.stop().await;
    left_behind(
        &world,
        &["UPDATE outbox SET emitted_at = '2098-01-01T00:00:00.000Z', next_attempt_at = '1999-01-01T00:00:00.000Z'"],
    )
    .await;
    let asked = |world: &World| {
        let counters = world.sim.counters();
        counters.requests(Operation::Batch) + counters.requests(Operation::Status)
    };
    let before = asked(&world);
    let mut daemon = world.start().await;
    let now = text(Utc::now());
    let due = format!("SELECT count(*) FROM outbox WHERE next_attempt_at < '{now}'");
    until("each was asked about", async || app.number(&due).await == 0).await;
    holds_for(Duration::from_secs(3), "and not again", async || asked(&world) - before <= 2).await;
    let soon = text(Utc::now() + TimeDelta::minutes(40));
    let waits =
        format!("SELECT count(*) FROM outbox WHERE next_attempt_at > '{soon}' AND last_error IS NULL");
    assert_eq!(app.number(&waits).await, 60, "{:?}", app.rows().await[0]);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// The platform's time, as its answers tell it, is hours from ours: that is told once, and again when it is right.
#[tokio::test]
async fn a_clock_that_is_off_is_told_once() {
    let mut world = World::new().await;
    let dated = |ask: &Ask, off: TimeDelta| {
        let Reply::Bytes(bytes) = good(ask) else { unreachable!() };
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let date = (Utc::now() + off).format("Date: %a, %d %b %Y %H:%M:%S GMT\r\n").to_string();
        Reply::Bytes([&bytes[..line], date.as_bytes(), &bytes[line..]].concat())
    };
    let peer = RawPeer::start(&mut world, move |ask| dated(ask, TimeDelta::hours(-3))).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(20)).await;
    until("all are paid", async || app.count("PAID").await == 20).await;
    let off = async |app: &mut Application| {
        let state = app.text("SELECT value FROM meta WHERE key = 'state'").await;
        let state: Value = serde_json::from_str(&state.unwrap_or_default()).unwrap_or_default();
        state["clock_off"].as_i64()
    };
    until("it is written down", async || off(&mut app).await.is_some()).await;
    assert!((10_700..=10_801).contains(&off(&mut app).await.unwrap()));
    peer.set(move |ask| dated(ask, TimeDelta::zero()));
    app.insert(&[NewRow::new("LAST")]).await;
    until("it is right again", async || off(&mut app).await.is_none()).await;
    daemon.stop().await;
    let log = daemon.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("clock_off: ")).collect();
    assert!(lines.len() == 1 && lines[0].contains("3 h ahead of"), "{lines:?}");
    assert_eq!(log.matches("agrees with TresorPay's again").count(), 1);
}

/// A `Retry-After` that is a date is read by the clock of who wrote it.
#[tokio::test]
async fn retry_after_is_read_by_the_platforms_own_clock() {
    let mut world = World::new().await;
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let _peer = RawPeer::start(&mut world, move |ask| {
        let first =
            matches!(ask, Ask::Emit(_)) && asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        if !first {
            return good(ask);
        }
        let http = |at: chrono::DateTime<Utc>| at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let there = Utc::now() - TimeDelta::hours(5);
        let head = [
            "HTTP/1.1 429 Too Many Requests".to_owned(),
            format!("Date: {}", http(there)),
            format!("Retry-After: {}", http(there + TimeDelta::seconds(3))),
        ];
        Reply::Bytes(message(&head.each_ref().map(String::as_str), "Content-Length: 0", b""))
    })
    .await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is paid", async || app.count("PAID").await == 1).await;
    let attempts = app.attempts().await;
    let at = |number: usize| attempts[number].started_at.parse::<chrono::DateTime<Utc>>().unwrap();
    let waited = at(1) - at(0);
    assert!((TimeDelta::milliseconds(2900)..TimeDelta::seconds(20)).contains(&waited), "{waited}");
    daemon.stop().await;
}

/// The clock of a running daemon, in its own hands: libfaketime reads it from a file.
struct FakeClock(PathBuf);

impl FakeClock {
    const LIBRARIES: [&str; 3] = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib64/faketime/libfaketimeMT.so.1",
    ];

    fn new(world: &mut World) -> Self {
        let library = Self::LIBRARIES.into_iter().find(|path| std::fs::exists(path).unwrap_or_default());
        let library = library.expect("libfaketime is not there: `apt-get install faketime`");
        let file = world.dir.path().join("clock");
        let clock = Self(file.clone());
        clock.set(TimeDelta::zero());
        world.environment = std::collections::BTreeMap::from([
            ("LD_PRELOAD", library.into()),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("FAKETIME_DISABLE_SHM", "1".into()),
        ]);
        clock
    }

    /// The wall clock is off by this much from now on.
    fn set(&self, off: TimeDelta) {
        let beside = self.0.with_extension("new");
        std::fs::write(&beside, format!("{:+}\n", off.num_seconds())).unwrap();
        std::fs::rename(beside, &self.0).unwrap();
    }
}

/// Emits and polls while the clock is set; counts what is asked meanwhile.
async fn set_while_it_runs(off: TimeDelta) {
    let mut world = World::new().await;
    world.set("poll.first_delay", "3s").set("poll.max_delay", "30m");
    let clock = FakeClock::new(&mut world);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(100)).await;
    until("all are emitted", async || app.count("EMITTED").await == 100).await;
    let asked = |world: &World| {
        let counters = world.sim.counters();
        counters.requests(Operation::Batch) + counters.requests(Operation::Status)
    };
    until("they are asked about", async || asked(&world) > 2).await;
    let (before, start) = (asked(&world), Instant::now());
    clock.set(off);
    until("it is noticed", async || daemon.log().contains("the wall clock was set")).await;
    let window = Duration::from_secs(8);
    holds_for(window, "it runs", async || daemon.runs()).await;
    // At three seconds and more a round, each of one batch, and some that were parted from it by jitter.
    let rounds = asked(&world) - before;
    assert!(
        rounds <= 3 * start.elapsed().as_secs() + 10,
        "{rounds} status requests in {:?}",
        start.elapsed()
    );
    app.insert(&[NewRow::new("NEXT")]).await;
    until_within(Duration::from_secs(5), "new rows leave", async || app.status("NEXT").await == "EMITTED")
        .await;
    world.sim.pay("NEXT", None).unwrap();
    until_within(Duration::from_secs(20), "it is paid", async || app.status("NEXT").await == "PAID").await;
    assert_eq!(
        app.number("SELECT count(*) FROM outbox WHERE last_error LIKE 'poll_given_up%'").await,
        0,
        "the clock is known to be off"
    );
    clock.set(TimeDelta::zero());
    for number in 1..=100 {
        world.sim.pay(&format!("A-{number}"), None).unwrap();
    }
    until_within(Duration::from_secs(60), "and all others", async || app.count("PAID").await == 101).await;
    stops(&mut daemon).await;
    audit(&world, &mut app).await;
}

async fn stops(daemon: &mut Daemon) {
    daemon.stop().await;
    assert!(!daemon.log().contains("panicked"));
}

#[tokio::test]
#[ignore = "needs libfaketime"]
async fn a_clock_that_is_set_makes_no_storm_and_starves_nobody() {
    let offsets = [TimeDelta::hours(3), TimeDelta::hours(-3), TimeDelta::days(700), TimeDelta::days(-700)];
    each(offsets.map(|off| case(format!("{off}"), set_while_it_runs(off)))).await;
}
