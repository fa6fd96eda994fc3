//! `list`: pages, the status filter, the feed another host follows, and readers that leave.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::{Value, json};

use tresorpayd::simulator::{Alteration, NoticeStatus};

use crate::bench::{Bench, NAME, entry, with};

fn references(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["reference"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_both_ways() {
    let bench = Bench::new().await;
    let entries: Vec<Value> = (1..=7).map(|n| entry(&format!("A-{n}"))).collect();
    bench.add(&json!(entries)).exits(0);
    let page = |args: &[&str]| {
        let ran = bench.run(&[&["list", "--json"], args].concat()).exits(0);
        references(&ran.json_lines()).join(" ")
    };
    assert_eq!(page(&[]), "A-7 A-6 A-5 A-4 A-3 A-2 A-1");
    assert_eq!(page(&["--limit", "3"]), "A-7 A-6 A-5");
    assert_eq!(page(&["--limit", "3", "--before", "5"]), "A-4 A-3 A-2");
    assert_eq!(page(&["--after", "5"]), "A-6 A-7");
    assert_eq!(page(&["--after", "7"]), "");
    assert_eq!(page(&["--status", "pending", "--limit", "1"]), "A-7");
    assert_eq!(page(&["--status", "PAID"]), "");
    let text = bench.run(&["list", "--limit", "2"]).exits(0);
    let lines: Vec<&str> = text.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", text.out);
    assert!(lines[0].starts_with("STATUS   REFERENCE    XOF  TRESORPAY  CREATED (UTC)"), "{}", lines[0]);
    assert!(lines[1].starts_with("PENDING  A-7        1 000             20"), "{}", lines[1]);
    assert!(lines.iter().all(|line| line.len() <= 80 && !line.ends_with(' ') && !line.contains('\u{1b}')));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_status_is_found() {
    let bench = Bench::new().await;
    let references = ["PENDING", "EMITTING", "UNCERTAIN", "REJECTED", "EMITTED", "PAID", "CANCELED"];
    bench.add(&json!(references.map(entry))).exits(0);
    bench.add(&with("PENDING-later", "not_before", json!("2030-01-01T00:00:00Z"))).exits(0);
    let mut daemon = bench.as_daemon().await;
    for (reference, path) in [
        ("EMITTING", &["EMITTING"][..]),
        ("UNCERTAIN", &["EMITTING", "UNCERTAIN"]),
        ("REJECTED", &["EMITTING", "REJECTED"]),
        ("EMITTED", &["EMITTING", "EMITTED"]),
        ("PAID", &["EMITTING", "EMITTED", "PAID"]),
        ("CANCELED", &["CANCELED"]),
    ] {
        for status in path {
            sqlx::query(
                "UPDATE outbox SET status = ?1, status_source = 'emit', updated_at = '2026-01-01T00:00:00.000Z',
                     tresorpay_reference = CASE WHEN ?1 IN ('EMITTED', 'PAID') THEN 'TP-' || reference END
                 WHERE reference = ?2",
            )
            .bind(status)
            .bind(reference)
            .execute(&mut daemon)
            .await
            .unwrap();
        }
    }
    for status in references {
        for order in [&["--before", "1000"][..], &["--after", "0"]] {
            let ran = bench.run(&[&["list", "--json", "--status", status], order].concat()).exits(0);
            let rows = ran.json_lines();
            assert_eq!(rows.len(), if status == "PENDING" { 2 } else { 1 }, "{status}");
            assert!(rows.iter().all(|row| row["status"] == status), "{status} {rows:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_arguments_are_usage_errors() {
    let bench = Bench::new().await;
    let words = "PENDING, EMITTING, UNCERTAIN, REJECTED, EMITTED, PAID, CANCELED";
    bench.run(&["list", "--status", "SUCCESS"]).exits(2).complains(words);
    bench.run(&["list", "--since=-1"]).exits(2).complains("--since");
    bench.run(&["list", "--limit", "0"]).exits(2).complains("--limit");
    bench.run(&["list", "--since", "0", "--before", "3"]).exits(2).complains("--before");
    bench.run(&["list", "--after", "0", "--before", "3"]).exits(2).complains("--before");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_everything_once_in_order() {
    let bench = Bench::new().await;
    bench.add(&json!([entry("A-1"), with("A-2", "code_client", json!("APP-WRONG"))])).exits(0);
    let _daemon = bench.daemon();
    bench.until("A-1", "EMITTED").await;
    bench.until("A-2", "REJECTED").await;
    let feed = |args: &[&str]| bench.run(&[&["list", "--json"], args].concat()).exits(0);
    let first = feed(&["--since", "0"]);
    assert!(!first.out.contains(NAME), "{}", first.out);
    let first = first.json_lines();
    let ids: Vec<i64> = first.iter().map(|row| row["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
    let emitted = first.iter().find(|row| row["to_status"] == "EMITTED").unwrap();
    let tresorpay = emitted["tresorpay_reference"].as_str().unwrap();
    assert_eq!(
        (&emitted["reference"], &emitted["from_status"], &emitted["source"], &emitted["net_total"]),
        (&json!("A-1"), &json!("EMITTING"), &json!("emit"), &json!(1000))
    );
    assert!(emitted["payment_url"].as_str().unwrap().ends_with(tresorpay));
    bench.sim.pay("A-1", Some("WAVE")).unwrap();
    bench.until("A-1", "PAID").await;
    let rest = feed(&["--since", "6"]).json_lines();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(
        (&rest[0]["id"], &rest[0]["to_status"], &rest[0]["status"], &rest[0]["provider"]),
        (&json!(7), &json!("PAID"), &json!("PAID"), &json!("WAVE"))
    );
    assert!(rest[0]["pay_date"].is_string());
    assert_eq!(feed(&["--since", "7"]).out, "");
    assert_eq!(feed(&["--since", "0", "--status", "PAID"]).json_lines(), rest);
    assert_eq!(feed(&["--since", "0", "--limit", "2"]).json_lines().len(), 2);
    let text = bench.run(&["list", "--since", "6"]).exits(0).out;
    assert!(text.lines().last().unwrap().starts_with("PAID     7  20"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_keeps_what_was_deleted() {
    let bench = Bench::new().await;
    bench.add(&json!([entry("A-1"), entry("A-2")])).exits(0);
    let mut application = bench.application().await;
    sqlx::query("DELETE FROM outbox WHERE reference = 'A-1'").execute(&mut application).await.unwrap();
    let feed = bench.run(&["list", "--since", "0", "--json"]).exits(0).json_lines();
    assert_eq!((&feed[0]["reference"], &feed[0]["outbox_id"]), (&Value::Null, &json!(1)));
    assert_eq!(feed[1]["reference"], "A-2");
    bench.run(&["list", "--since", "0"]).exits(0).prints("(deleted row 1)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_may_leave() {
    let bench = Bench::new().await;
    let entries: Vec<Value> = (0..1200).map(|n| entry(&format!("A-{n}"))).collect();
    bench.add(&json!(entries)).exits(0);
    let all = bench.run(&["list", "--since", "0", "--json"]).exits(0);
    assert_eq!(all.json_lines().len(), 1200, "more than one batch");
    assert!(all.out.len() > 200_000, "more than a pipe holds");
    for args in [&["list", "--since", "0", "--json"][..], &["list", "--limit", "5000"]] {
        let mut child = bench.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!line.is_empty());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stderr, b"");
    }
    let full = bench
        .command(&["list", "--json"])
        .stdout(std::fs::File::create("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&full.stderr).contains("stdout: No space left"));
}

/// What reconciliation found: transitions of that source, and rows that are flagged; nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn drift_is_listed_and_status_tells_it() {
    let bench = Bench::new().await;
    bench.add(&json!(["A-1", "A-2", "A-3", "A-4"].map(entry))).exits(0);
    let daemon = bench.daemon();
    for reference in ["A-1", "A-2", "A-3", "A-4"] {
        bench.until(reference, "EMITTED").await;
        bench.sim.pay(reference, Some("WAVE")).unwrap();
        bench.until(reference, "PAID").await;
    }
    drop(daemon);
    assert_eq!(bench.run(&["list", "--drift", "--json"]).exits(0).out, "");
    let altered = |status, provider: Option<&str>| Alteration {
        status,
        provider: provider.map(str::to_owned),
        ..Alteration::default()
    };
    bench.sim.alter("A-1", altered(Some(NoticeStatus::Canceled), None)).unwrap();
    bench.sim.alter("A-2", altered(None, Some("CARD"))).unwrap();
    bench.sim.alter("A-3", altered(Some(NoticeStatus::Emitted), None)).unwrap();
    bench.configure(&[("reconcile.schedule", "\"* * * * * *\"")]);
    let _daemon = bench.daemon();
    bench.until("A-1", "CANCELED").await;
    bench.until_running().await;
    let lines = bench.run(&["list", "--drift", "--json"]).exits(0).json_lines();
    assert_eq!(references(&lines), ["A-1", "A-2", "A-3"], "transitions, then what is flagged");
    assert_eq!((&lines[1]["from_status"], &lines[1]["to_status"]), (&json!("PAID"), &json!("PAID")));
    assert_eq!(lines[1]["reason"], "drift_payment: provider WAVE -> CARD");
    assert_eq!((&lines[0]["source"], &lines[0]["to_status"]), (&json!("reconcile"), &json!("CANCELED")));
    assert!(lines[2]["last_error"].as_str().unwrap().starts_with("drift_live: "));
    let only = bench.run(&["list", "--drift", "--status", "CANCELED", "--json"]).exits(0).json_lines();
    assert_eq!(references(&only), ["A-1"]);
    let text = bench.run(&["list", "--drift"]).exits(0).out;
    assert!(text.contains("drift_status: it was PAID") && text.contains("OTHERWISE AT TRESORPAY"), "{text}");
    assert!(!text.contains("A-4"));

    let status = bench.run(&["status", "--json", "--exit-code"]);
    assert_eq!(status.code, 2);
    let told = status.json()["reconciliation"].clone();
    assert_eq!((&told["moved_last_day"], &told["drifted_last_week"]), (&json!(1), &json!(2)), "{told}");
    let text = bench.run(&["status"]).exits(0).out;
    assert!(
        text.contains(
            "2 finished notices have changed at TresorPay within the last week: tresorpayd list --drift"
        ),
        "{text}"
    );
    assert!(text.contains("drift     check"), "{text}");
}
