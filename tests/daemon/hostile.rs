//! A hostile world: a full disk, no descriptors left, a machine that sleeps, a platform that answers absurdly, an
//! application that does to the file what SQL allows.

use std::time::{Duration, Instant};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    routing::{get, post},
};
use futures_util::stream;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};
use tresorpayd::simulator::{Fault, Operation, Rule};

use crate::{
    audit::audit,
    harness::{Daemon, World, case, each, holds_for, until, until_within},
    peer::{Asked, Peer},
    rows::{NewRow, bulk},
};

/// Changes a limit of the running daemon; the hard limit stays.
fn limit(daemon: &Daemon, resource: Resource, current: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
    // The daemon has inherited this process's.
    let maximum = getrlimit(resource).maximum;
    prlimit(Some(pid), resource, Rlimit { current, maximum }).unwrap();
}

/// Whatever is written beyond the first page of any file fails, as on a disk without a free block. What was answered
/// waits in memory; nothing new leaves; when there is room again, all goes on.
#[tokio::test]
async fn a_full_disk_delays_and_loses_nothing() {
    let mut world = World::new().await;
    world.before = "trap '' XFSZ;";
    world.sim.set_latency(Duration::from_millis(300));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(30)).await;
    until("requests are under way", async || world.emissions() >= 8).await;
    limit(&daemon, Resource::Fsize, Some(4096));
    until("all are answered", async || world.sim.counters().concurrent == 0).await;
    let left = world.emissions();
    holds_for(Duration::from_millis(1200), "it waits, and sends nothing", async || {
        daemon.runs() && world.emissions() == left
    })
    .await;
    limit(&daemon, Resource::Fsize, None);
    until("all are emitted", async || app.count("EMITTED").await == 30).await;
    daemon.stop().await;
    assert_eq!(world.emissions(), 30);
    audit(&world, &mut app).await;
}

/// Killed while the disk is full: what could not be recorded is in doubt.
#[tokio::test]
async fn killed_on_a_full_disk() {
    let mut world = World::new().await;
    world.before = "trap '' XFSZ;";
    world.sim.set_latency(Duration::from_millis(300));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(8)).await;
    until("requests are under way", async || world.emissions() == 8).await;
    limit(&daemon, Resource::Fsize, Some(4096));
    until("all are answered", async || world.sim.counters().concurrent == 0).await;
    daemon.kill().await;
    let mut daemon = world.start().await;
    assert_eq!(app.count("UNCERTAIN").await + app.count("EMITTED").await, 8);
    assert!(app.count("UNCERTAIN").await > 0, "the disk was full too late to test anything");
    daemon.stop().await;
    assert_eq!(world.emissions(), 8);
    audit(&world, &mut app).await;
}

/// No connection can be opened: nothing leaves, nothing counts, and nothing ends.
#[tokio::test]
async fn without_a_descriptor_to_spare_rows_wait() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    // The connection kept alive is let go within a second.
    let idle = world.sim.counters();
    holds_for(Duration::from_millis(1100), "nothing is emitted", async || {
        world.emissions() == idle.requests(Operation::Emit)
    })
    .await;
    limit(&daemon, Resource::Nofile, Some(4));
    app.insert(&bulk(20)).await;
    holds_for(Duration::from_millis(1500), "it runs, nothing is in doubt", async || {
        daemon.runs() && app.count("UNCERTAIN").await == 0
    })
    .await;
    assert_eq!(app.number("SELECT sum(attempts) FROM outbox").await, 1);
    limit(&daemon, Resource::Nofile, Some(1024));
    until("all are emitted", async || app.count("EMITTED").await == 21).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// The machine sleeps with requests under way; whatever their time-outs make of it, nobody is billed twice.
#[tokio::test]
async fn a_machine_that_sleeps_wakes_up_to_the_truth() {
    let mut world = World::new().await;
    world.set("api.request_timeout", "2s");
    world.sim.set_latency(Duration::from_millis(300));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(40)).await;
    until("requests are under way", async || world.emissions() >= 8).await;
    daemon.signal(Signal::STOP);
    let left = world.emissions();
    holds_for(Duration::from_millis(2500), "it sleeps", async || world.emissions() <= left + 8).await;
    daemon.signal(Signal::CONT);
    until("all are answered", async || app.count("EMITTED").await + app.count("UNCERTAIN").await == 40).await;
    daemon.stop().await;
    assert!(app.count("UNCERTAIN").await <= 8);
    audit(&world, &mut app).await;
}

/// Killed at any moment of its very first start, it starts the next time.
#[tokio::test]
async fn killed_during_its_first_start_it_starts_again() {
    let killed_after = async |pause: Duration| {
        let world = World::new().await;
        let mut daemon = world.spawn();
        let start = Instant::now();
        until("the moment has come", async || start.elapsed() >= pause).await;
        daemon.kill().await;
        let mut daemon = world.start().await;
        let mut app = world.application().await;
        app.insert(&[NewRow::new("A-1")]).await;
        until("it is emitted", async || app.status("A-1").await == "EMITTED").await;
        daemon.stop().await;
        audit(&world, &mut app).await;
    };
    let pauses = [0, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100].map(Duration::from_millis);
    each(pauses.map(|pause| case(format!("{pause:?}"), killed_after(pause)))).await;
}

/// Applications write from several connections; none is refused, none waits long, and all they wrote is emitted.
#[tokio::test]
async fn many_writers_are_served_at_once() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let writers = (0..4).map(|writer| {
        let database = world.database();
        async move {
            let mut app = crate::rows::Application::open(&database).await;
            let mut slowest = Duration::ZERO;
            for number in 0..60 {
                let start = Instant::now();
                app.insert(&[NewRow::new(format!("{writer}-{number}"))]).await;
                slowest = slowest.max(start.elapsed());
            }
            slowest
        }
    });
    let slowest = futures_util::future::join_all(writers).await.into_iter().max().unwrap();
    assert!(slowest < Duration::from_secs(3), "an INSERT took {slowest:?}");
    let mut app = world.application().await;
    until("all are emitted", async || app.count("EMITTED").await == 240).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// What SQL allows an application to do to the file while requests are under way.
#[tokio::test]
async fn an_application_that_vacuums_and_changes_its_own_schema_disturbs_nobody() {
    let world = World::new().await;
    world.sim.set_latency(Duration::from_millis(30));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(150)).await;
    for number in 0..6 {
        app.run(&format!("CREATE TABLE own_{number} (id INTEGER PRIMARY KEY, reference TEXT)"))
            .await
            .unwrap();
        app.run(&format!("INSERT INTO own_{number} (reference) SELECT reference FROM outbox")).await.unwrap();
        app.run("VACUUM").await.unwrap();
        app.run(&format!("ALTER TABLE own_{number} ADD COLUMN more TEXT")).await.unwrap();
        app.run("ANALYZE").await.unwrap();
        app.run("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    }
    until("all are emitted", async || app.count("EMITTED").await == 150).await;
    assert!(daemon.runs());
    daemon.stop().await;
    assert_eq!(world.emissions(), 150);
    audit(&world, &mut app).await;
}

/// A reader that never ends keeps the WAL from being emptied and must not keep rows from being emitted.
#[tokio::test]
async fn a_reader_that_never_ends_stops_nobody() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let (mut app, mut reader) = (world.application().await, world.application().await);
    reader.run("BEGIN").await.unwrap();
    assert_eq!(reader.number("SELECT count(*) FROM outbox").await, 0);
    app.insert(&bulk(100)).await;
    until("all are emitted", async || app.count("EMITTED").await == 100).await;
    assert_eq!(reader.number("SELECT count(*) FROM outbox").await, 0, "its snapshot");
    reader.run("COMMIT").await.unwrap();
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// What is emitted is never deleted or renamed, what is deleted or renamed first is not emitted under its old name.
#[tokio::test]
async fn deletions_and_renamings_race_claims() {
    const ROWS: usize = 200;
    let mut world = World::new().await;
    world.set("api.max_concurrency", "4");
    world.sim.set_latency(Duration::from_millis(1)..=Duration::from_millis(12));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(ROWS)).await;
    let (mut deleted, mut renamed, mut refused) = (0, 0, 0);
    while app.count("PENDING").await > 0 {
        let number = fastrand::usize(1..=ROWS);
        let delete = fastrand::bool();
        let statement = if delete {
            format!("DELETE FROM outbox WHERE reference = 'A-{number}'")
        } else {
            format!("UPDATE outbox SET reference = 'RENAMED-{number}' WHERE reference = 'A-{number}'")
        };
        match app.run(&statement).await {
            Ok(rows) if delete => deleted += rows,
            Ok(rows) => renamed += rows,
            Err(error) if error.to_string().contains("outbox: ") => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    until("nothing is under way", async || app.count("EMITTING").await == 0).await;
    daemon.stop().await;
    assert!(deleted > 3 && renamed > 3 && refused > 3, "{deleted} {renamed} {refused}: they did not race");
    assert_eq!(app.count("EMITTED").await, ROWS - usize::try_from(deleted).unwrap());
    assert_eq!(world.sim.ledger().notices.len(), app.count("EMITTED").await);
    audit(&world, &mut app).await;
}

/// An answer without an end is read no further than an answer can be long.
#[tokio::test]
async fn an_endless_answer_is_a_doubt_and_costs_no_memory() {
    let mut world = World::new().await;
    let endless = || async {
        let chunk = || Some((Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]), ()));
        Body::from_stream(stream::unfold((), move |()| async move { chunk() }))
    };
    let _peer =
        Peer::start(&mut world, Router::new().route("/payment/create-notice-recette", post(endless))).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    let uncertain = async || app.status("A-1").await == "UNCERTAIN";
    until_within(Duration::from_secs(5), "it is uncertain, long before the time-out", uncertain).await;
    assert!(app.row("A-1").await.last_error.unwrap().contains("larger than"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    assert!(peak.parse::<u64>().unwrap() < 100 * 1024, "{peak} kB");
    daemon.stop().await;
}

/// References that TresorPay might give: each is kept as it came, asked about as it is, and linked to.
const STRANGE: [&str; 8] = ["TP 1", "TP/2", "TP?3#4", "TP%2e5", "é𝄞مال", "a+b&c=d", "<i>\"'\\", "references"];

async fn strange_emission(State(asked): State<Asked>) -> Json<Value> {
    let mut asked = asked.lock().unwrap();
    let emitted = asked.iter().filter(|asked| asked["emitted"].is_string()).count();
    asked.push(json!({"emitted": STRANGE[emitted]}));
    Json(json!({"reference": STRANGE[emitted], "status": "EMITTED"}))
}

async fn strange_status(State(asked): State<Asked>, Path(reference): Path<String>) -> Json<Value> {
    asked.lock().unwrap().push(json!({"status": reference}));
    Json(
        json!({"reference": reference, "status": "PAID", "provider": "WAVE", "payDate": "2026-11-24T09:48:00"}),
    )
}

#[tokio::test]
async fn strange_references_are_kept_asked_about_and_linked_to() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "1");
    let asked = Asked::default();
    let api = Router::new()
        .route("/payment/create-notice-recette", post(strange_emission))
        .route("/notice-recette/status/{reference}", get(strange_status))
        .with_state(Asked::clone(&asked));
    let _peer = Peer::start(&mut world, api).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(STRANGE.len())).await;
    until("all are paid", async || app.count("PAID").await == STRANGE.len()).await;
    daemon.stop().await;
    let rows = app.rows().await;
    let kept: Vec<_> = rows.iter().map(|row| row.tresorpay_reference.as_deref().unwrap()).collect();
    assert_eq!(kept, STRANGE);
    for row in &rows {
        let url = url::Url::parse(row.payment_url.as_deref().unwrap()).unwrap();
        let pairs: Vec<_> = url.query_pairs().collect();
        assert_eq!(
            (&*pairs[0].0, &*pairs[0].1, pairs.len()),
            ("id", row.tresorpay_reference.as_deref().unwrap(), 1)
        );
    }
    let mut asked: Vec<_> =
        asked.lock().unwrap().iter().filter_map(|a| a["status"].as_str().map(str::to_owned)).collect();
    asked.sort();
    let mut wanted = STRANGE.map(str::to_owned);
    wanted.sort();
    assert_eq!(asked, wanted);
}

/// A doubt is not ended by an answer that comes for another attempt, nor by time.
#[tokio::test]
async fn a_request_carried_out_after_its_row_was_put_in_doubt_bills_once() {
    let mut world = World::new().await;
    world.set("api.request_timeout", "1s");
    world.sim.add_fault(
        Rule::always(
            Operation::Emit,
            Fault::TooLate { ms: 2000, meanwhile: tresorpayd::simulator::Meanwhile::Silent },
        )
        .times(3),
    );
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(10)).await;
    until("all are answered", async || app.count("EMITTED").await + app.count("UNCERTAIN").await == 10).await;
    until("all are carried out", async || world.sim.ledger().notices.len() == 10).await;
    holds_for(Duration::from_millis(500), "none is sent again", async || world.emissions() == 10).await;
    assert_eq!(app.count("UNCERTAIN").await, 3);
    daemon.stop().await;
    audit(&world, &mut app).await;
}
