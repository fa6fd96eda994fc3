//! `status`: counts, amounts, what needs attention, and the exit status that cron and Nagios read.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::SqliteConnection;
use tresorpayd::simulator::{Ending, Fault, Operation, Outage, Rule};

use crate::bench::{Bench, NAME, entry, with};

fn reasons(status: &Value) -> String {
    let reasons = status["reasons"].as_array().unwrap();
    reasons.iter().map(|reason| reason["text"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_amounts_by_status() {
    let bench = Bench::new().await;
    bench.add(&json!([entry("A-1"), entry("A-2"), with("R-1", "code_client", json!("APP-WRONG"))])).exits(0);
    let daemon = bench.daemon();
    for reference in ["A-1", "A-2"] {
        bench.until(reference, "EMITTED").await;
    }
    bench.until("R-1", "REJECTED").await;
    bench.sim.pay("A-1", None).unwrap();
    bench.until("A-1", "PAID").await;
    bench.add(&with("A-3", "not_before", json!("2100-01-01T00:00:00Z"))).exits(0);
    let ran = bench.run(&["status", "--json"]).exits(0);
    assert!(!ran.out.contains(NAME));
    let status = ran.json();
    assert_eq!(
        status["statuses"],
        json!({
            "PENDING": {"rows": 1, "amount": 1000}, "EMITTING": {"rows": 0, "amount": 0},
            "UNCERTAIN": {"rows": 0, "amount": 0}, "REJECTED": {"rows": 1, "amount": 1000},
            "EMITTED": {"rows": 1, "amount": 1000}, "PAID": {"rows": 1, "amount": 1000},
            "CANCELED": {"rows": 0, "amount": 0},
        })
    );
    assert_eq!(status["daemon"]["running"], true);
    assert!(
        status["daemon"]["detail"].as_str().unwrap().starts_with(&format!("pid {}, since ", daemon.pid()))
    );
    assert_eq!((&status["state"], &status["rejected_last_day"]), (&json!("warning"), &json!(1)));
    assert_eq!(status["next_emission"], "2100-01-01T00:00:00.000Z");
    assert!(status["next_poll"].is_string() && status["oldest_waiting"].is_null());
    assert_eq!(status["last_transition"], 11);
    let text = bench.run(&["status"]).exits(0);
    assert!(text.out.starts_with("WARNING   1 row was REJECTED within the last day"), "{}", text.out);
    assert!(
        text.out.lines().all(|line| line.chars().count() <= 100) && !text.out.contains('\u{1b}'),
        "{}",
        text.out
    );
    text.prints("PAID          1  1 000").prints("daemon    running, pid");
}

/// Where the token stands and when the workers last looked; and a daemon that only looks commits nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_token_and_the_last_look_are_told_and_cost_no_commit() {
    let bench = Bench::new().await;
    assert_eq!(bench.run(&["status", "--json"]).exits(0).json()["daemon"]["looked_for_rows_at"], Value::Null);
    bench.sim.add_fault(Rule::always(Operation::Token, Fault::ResetBefore { by: Ending::Rst }));
    bench.add(&entry("A-1")).exits(0);
    let daemon = bench.daemon();
    let told = async |what: &str| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = bench.run(&["status", "--json"]).exits(0).json();
            if status["requests"]["token"]["state"] == what {
                return status;
            }
            assert!(Instant::now() < deadline, "{status}");
        }
    };
    let failing = told("failing").await;
    assert_eq!(failing["requests"]["token"]["code"], "unavailable");
    assert_eq!(failing["requests"]["token"]["held_until"], Value::Null);
    bench.run(&["status"]).exits(0).prints("token     failing since 20").prints(" UTC: unavailable\n");
    bench.sim.clear_faults();
    bench.until("A-1", "EMITTED").await;
    let held = told("held").await;
    assert!(held["requests"]["token"]["expires_at"].as_str().unwrap() > held["now"].as_str().unwrap());
    assert!(held["daemon"]["looked_for_rows_at"].is_string(), "{held}");
    assert!(held["daemon"]["looked_for_notices_at"].is_string(), "{held}");
    let text = bench.run(&["status"]).exits(0).prints("token     held, expires in ");
    let text = text.prints("last looked for rows to emit ").out;
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    bench.sim.pay("A-1", None).unwrap();
    bench.until("A-1", "PAID").await;

    let mut application = bench.application().await;
    let version = async |application: &mut SqliteConnection| -> i64 {
        sqlx::query_scalar("PRAGMA data_version").fetch_one(application).await.unwrap()
    };
    // The schedules tick every second: at an empty table, several looks pass without a commit.
    let (start, mut since, mut last) = (Instant::now(), Instant::now(), 0);
    while since.elapsed() < Duration::from_secs(3) {
        let now = version(&mut application).await;
        if std::mem::replace(&mut last, now) != now {
            since = Instant::now();
        }
        assert!(start.elapsed() < Duration::from_secs(20), "an idle daemon commits");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(daemon);
    let ended = bench.run(&["status"]).exits(0).prints("daemon    not running");
    ended.prints("last looked for rows to emit ");
}

#[tokio::test(flavor = "multi_thread")]
async fn fine_is_0_and_no_daemon_is_1_or_2() {
    let bench = Bench::new().await;
    bench
        .run(&["status", "--exit-code"])
        .exits(1)
        .prints("TRESORPAYD WARNING - no daemon is running (nothing waits for it) | pending=0 ");
    bench.add(&with("A-1", "created_at", json!("2026-01-01T00:00:00.000Z"))).exits(0);
    let ran = bench.run(&["status", "--exit-code"]).exits(2);
    let ran = ran
        .prints("TRESORPAYD CRITICAL - no daemon is running: 1 open row and 0 commands wait")
        .prints("A-1 is PENDING and due for");
    ran.prints(" | pending=1 ");
    bench.run(&["status"]).exits(0).prints("longest due: A-1, for ");
    let daemon = bench.daemon();
    bench.until("A-1", "EMITTED").await;
    bench.run(&["status", "--exit-code"]).exits(0).prints("TRESORPAYD OK - nothing needs attention | ");
    drop(daemon);
    bench.run(&["status", "--exit-code"]).exits(2).prints("1 open row");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubt_warns_and_too_many_stop_the_emission() {
    let bench = Bench::new().await;
    bench.sim.add_fault(Rule::always(Operation::Emit, Fault::ResetAfter { by: Ending::Rst }));
    bench.add(&entry("U-1")).exits(0);
    let _daemon = bench.daemon();
    bench.until("U-1", "UNCERTAIN").await;
    bench
        .run(&["status", "--exit-code"])
        .exits(1)
        .prints("TRESORPAYD WARNING - 1 row is UNCERTAIN")
        .prints(" uncertain=1;0;49;0 ");
    bench.run(&["status"]).exits(0).prints("somebody has to decide").prints("tresorpayd show REFERENCE");
    bench.configure(&[("emit.max_uncertain", "1")]);
    bench.run(&["status", "--exit-code"]).exits(2).prints("TRESORPAYD CRITICAL - emission has stopped");
    let status = bench.run(&["status", "--json"]).exits(0).json();
    assert_eq!((&status["state"], &status["in_doubt"][0]["reference"]), (&json!("critical"), &json!("U-1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_is_late_warns() {
    let bench = Bench::new().await;
    bench.sim.down(Outage::Refuse).await;
    let _daemon = bench.daemon();
    bench.until_running().await;
    bench.add(&entry("A-1")).exits(0);
    let fresh = bench.run(&["status", "--json", "--exit-code"]).exits(0).json();
    assert_eq!(fresh["oldest_waiting"]["reference"], "A-1");
    bench.add(&with("A-0", "created_at", json!("2026-01-01T00:00:00.000Z"))).exits(0);
    bench.add(&with("A-2", "not_before", json!("2020-01-01T00:00:00Z"))).exits(0);
    let late = bench.run(&["status", "--json", "--exit-code"]).exits(1).json();
    assert_eq!(late["oldest_waiting"]["reference"], "A-0");
    assert!(reasons(&late).contains("A-0 is PENDING and due for"), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_open_commands_show() {
    let bench = Bench::new().await;
    let mut daemon = bench.as_daemon().await;
    for sql in [
        "INSERT INTO command (action, requested_by) VALUES ('pause', 'ops')",
        "UPDATE command SET done_at = '2026-11-24T09:48:00.000Z', outcome = 'done'",
        "INSERT INTO meta (key, value) VALUES ('paused', '1')",
        "INSERT INTO command (reference, action) VALUES ('A-1', 'poll')",
    ] {
        sqlx::query(sql).execute(&mut daemon).await.unwrap();
    }
    let ran = bench.run(&["status"]).exits(0).prints("paused since 2026-11-24 09:48:00 UTC by ops");
    ran.prints("0 open rows and 1 command wait").prints("commands  1 open");
    for sql in [
        "INSERT INTO command (action) VALUES ('resume')",
        "UPDATE command SET done_at = '2026-11-24T09:50:00.000Z', outcome = 'done' WHERE action = 'resume'",
        "DELETE FROM meta WHERE key = 'paused'",
    ] {
        sqlx::query(sql).execute(&mut daemon).await.unwrap();
    }
    assert_eq!(bench.run(&["status", "--json"]).exits(0).json()["paused"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used_is_critical() {
    let bench = Bench::bare().await;
    bench.run(&["status"]).exits(1).complains("does not exist");
    bench
        .run(&["status", "--exit-code"])
        .exits(2)
        .prints("TRESORPAYD CRITICAL - the database")
        .prints("does not exist");
    assert!(!bench.database().exists());
    std::fs::write(bench.database(), vec![7; 10_000]).unwrap();
    bench.run(&["status", "--exit-code"]).exits(2).prints("it is not an SQLite database");
    std::fs::write(bench.database(), "").unwrap();
    bench.run(&["status", "--exit-code"]).exits(2).prints("it holds no outbox");
    let json = bench.run(&["status", "--exit-code", "--json"]).exits(2).json();
    assert_eq!(json["state"], "critical");
    bench.configure(&[("emit.max_attempts", "0")]);
    bench.run(&["status", "--exit-code"]).exits(78).complains("emit.max_attempts");
}
