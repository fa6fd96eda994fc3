//! `accept-restore`: says what it will do, asks, does it once, and refuses what it cannot know.

use std::{
    fs::{self, File},
    io::{Read, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::json;
use tresorpayd::simulator::{ErrorBody, Fault, Operation, Rule};

use crate::{
    bench::{Bench, entry},
    terminal::terminal,
};

/// A copy with a row of every open status and commands, and a mark that is ahead of it.
async fn restored() -> Bench {
    let bench = Bench::new().await;
    bench.add(&entry("SENT")).exits(0);
    let daemon = bench.daemon();
    bench.until("SENT", "EMITTED").await;
    bench.sim.add_fault(Rule::once(Operation::Emit, refusal()));
    bench.add(&entry("REFUSED")).exits(0);
    bench.until("REFUSED", "REJECTED").await;
    bench.sim.add_fault(Rule::always(Operation::Emit, Fault::Lost { processed: true }).reference("UNDERWAY"));
    bench.add(&entry("UNDERWAY")).exits(0);
    bench.until("UNDERWAY", "EMITTING").await;
    drop(daemon);
    bench.add(&json!([entry("WAITS-1"), entry("WAITS-2")])).exits(0);
    let mut conn = bench.application().await;
    for (reference, action) in [("REFUSED", "retry"), ("UNDERWAY", "resolve-not-emitted"), ("SENT", "cancel")]
    {
        sqlx::query("INSERT INTO command (reference, action) VALUES (?1, ?2)")
            .bind(reference)
            .bind(action)
            .execute(&mut conn)
            .await
            .unwrap();
    }
    drop(conn);
    closed(&bench).await;
    let old = fs::read(bench.database()).unwrap();
    let daemon = bench.daemon();
    bench.until("WAITS-2", "EMITTED").await;
    drop(daemon);
    closed(&bench).await;
    fs::write(bench.database(), old).unwrap();
    bench
}

/// Waits until nobody has the database open: the last to close writes the log back and removes it.
async fn closed(bench: &Bench) {
    bench.number("SELECT count(*) FROM outbox").await;
    let start = Instant::now();
    while bench.path("outbox.db-wal").exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "somebody has it open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn refusal() -> Fault {
    Fault::Status {
        code: 400,
        processed: false,
        retry_after: None,
        body: ErrorBody::Problem,
        message: Some("error.STRUCTURE_NOT_FOUND".to_owned()),
        title: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_what_it_will_do_and_does_it() {
    let bench = restored().await;
    let before = fs::read(bench.database()).unwrap();
    bench.run(&["status", "--exit-code"]).exits(2).prints("went back in time");
    bench
        .run(&["accept-restore"])
        .exits(1)
        .prints("went back in time: its last attempt is 3 and its mark ")
        .prints("2 PENDING, 1 EMITTING, 1 REJECTED → UNCERTAIN")
        .prints("2 open commands are refused")
        .prints("the feed goes on after transition ")
        .prints("Nothing was changed");
    let planned = bench.run(&["accept-restore", "--json"]).exits(1).json();
    assert_eq!(
        (&planned["outcome"], &planned["rows"], &planned["commands"], &planned["emission_stops"]),
        (&json!("not_accepted"), &json!(4), &json!(2), &json!(false))
    );
    assert_eq!(fs::read(bench.database()).unwrap(), before);
    let done = bench.run(&["accept-restore", "--json", "--yes"]).exits(0).json();
    assert_eq!(
        (&done["outcome"], &done["rows"], &done["uncertain"], &done["commands"], &done["declared"]),
        (&json!("accepted"), &json!(4), &json!(4), &json!(2), &json!(false))
    );
    assert_eq!(
        bench
            .number(
                "SELECT count(*) FROM outbox WHERE status = 'UNCERTAIN' AND last_error LIKE 'restored: %'"
            )
            .await,
        4
    );
    assert_eq!(bench.number("SELECT attempts FROM outbox WHERE reference = 'UNDERWAY'").await, 1);
    assert_eq!(
        bench
            .number("SELECT count(*) FROM command WHERE outcome = 'refused' AND detail LIKE 'restored: %'")
            .await,
        2
    );
    assert_eq!(
        bench.number("SELECT count(*) FROM command WHERE action = 'cancel' AND done_at IS NULL").await,
        1
    );
    assert_eq!(bench.number("SELECT count(*) FROM attempt WHERE outcome IS NULL").await, 0);
    bench.run(&["show", "REFUSED"]).exits(0).prints("restored: ");
    let again = bench.run(&["accept-restore", "--json", "--yes"]).exits(0).json();
    assert_eq!((&again["outcome"], &again["rows"]), (&json!("nothing_to_accept"), &json!(0)));
    let emissions = bench.sim.counters().requests(Operation::Emit);
    let daemon = bench.daemon();
    bench.until_running().await;
    bench.add(&entry("NEXT")).exits(0);
    bench.until("NEXT", "EMITTED").await;
    drop(daemon);
    assert_eq!(bench.sim.counters().requests(Operation::Emit), emissions + 1);
    assert!(bench.sim.ledger().billed_twice().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn says_when_emission_will_stop() {
    let bench = restored().await;
    bench.configure(&[("emit.max_uncertain", "4")]);
    bench
        .run(&["accept-restore"])
        .exits(1)
        .prints("4 rows are UNCERTAIN then: nothing is emitted while there are 4");
    bench
        .run(&["accept-restore", "--yes"])
        .exits(0)
        .prints("Accepted: 4 rows are UNCERTAIN now")
        .prints("emit.max_uncertain");
    bench.run(&["status", "--exit-code"]).exits(2).prints("emit.max_uncertain");
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_on_a_terminal() {
    let bench = restored().await;
    let before = fs::read(bench.database()).unwrap();
    for (answer, code) in [("no\n", 1), ("\n", 1), ("yes\n", 0)] {
        assert_eq!(fs::read(bench.database()).unwrap(), before);
        let (master, slave) = terminal();
        let mut command = bench.command(&["accept-restore"]);
        command
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()));
        let mut child = command.stderr(Stdio::from(slave)).spawn().unwrap();
        // The command holds the terminal's only other end once this goes.
        drop(command);
        let mut master = File::from(master);
        master.write_all(answer.as_bytes()).unwrap();
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = master.read(&mut buffer) {
            said.extend_from_slice(&buffer[..read]);
        }
        let said = String::from_utf8(said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{said}");
        assert!(said.contains("Go on? Type yes:") && said.contains("2 PENDING"), "{said}");
    }
    assert_eq!(bench.number("SELECT count(*) FROM outbox WHERE status = 'UNCERTAIN'").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_a_daemon_and_a_sound_database_alone() {
    let bench = Bench::new().await;
    bench.run(&["accept-restore", "--yes"]).exits(0).prints("nothing to accept").prints("--declare");
    bench.add(&entry("A-1")).exits(0);
    let daemon = bench.daemon();
    bench.until("A-1", "EMITTED").await;
    let held = bench.run(&["accept-restore", "--declare", "--yes"]).exits(1);
    assert!(held.err.contains(&format!("pid {}", daemon.pid())), "{held:?}");
    drop(daemon);
    bench.configure(&[("api.base_url", "\"http://127.0.0.1:9/api\"")]);
    bench.run(&["accept-restore", "--declare", "--yes"]).exits(78).complains("api_origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_is_done_whatever_the_mark_says() {
    let bench = Bench::new().await;
    bench.add(&json!([entry("A-1"), entry("A-2")])).exits(0);
    bench.run(&["accept-restore", "--declare"]).exits(1).prints("declared").prints("2 PENDING → UNCERTAIN");
    let done = bench.run(&["accept-restore", "--declare", "--yes", "--json"]).exits(0).json();
    assert_eq!((&done["rows"], &done["declared"]), (&json!(2), &json!(true)));
    bench.run(&["accept-restore", "--declare", "--yes"]).exits(0).prints("0 rows are UNCERTAIN now");
    assert_eq!(bench.number("SELECT count(*) FROM outbox WHERE status = 'UNCERTAIN'").await, 2);
}
