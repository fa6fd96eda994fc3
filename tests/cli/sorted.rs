//! `list --sort`: each order and its reverse, page by page, with every filter.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::bench::{Bench, NAME, entry};

/// References whose order is neither that of insertion nor of amounts; the last two are of one moment and one amount.
const ROWS: [(&str, i64, &str); 8] = [
    ("D-4", 700, "2026-01-03T00:00:00.000Z"),
    ("A-1", 900, "2026-01-05T00:00:00.000Z"),
    ("C-3", 100, "2026-01-04T00:00:00.000Z"),
    ("É-9", 500, "2026-01-01T00:00:00.000Z"),
    ("B-2", 800, "2026-01-08T00:00:00.000Z"),
    ("a-5", 300, "2026-01-07T00:00:00.000Z"),
    ("F-6", 600, "2026-01-06T00:00:00.000Z"),
    ("E-7", 600, "2026-01-06T00:00:00.000Z"),
];

/// Four stay PENDING; the others go as far as this, at these times.
const MOVED: [(&str, &[&str], &str); 4] = [
    ("A-1", &["EMITTING", "EMITTED", "PAID"], "2026-02-01T00:00:00.000Z"),
    ("B-2", &["EMITTING", "EMITTED", "PAID"], "2026-02-03T00:00:00.000Z"),
    ("C-3", &["EMITTING", "EMITTED", "CANCELED"], "2026-02-02T00:00:00.000Z"),
    ("D-4", &["EMITTING", "EMITTED"], "2026-02-04T00:00:00.000Z"),
];

async fn filled() -> Bench {
    let bench = Bench::new().await;
    let entries = ROWS.map(|(reference, amount, created)| {
        let mut entry = entry(reference);
        (entry["net_total"], entry["created_at"]) = (json!(amount), json!(created));
        entry["items"] =
            json!([{"name": "Timbre", "quantity": 1, "unitPrice": amount, "codeNatureRecette": "71531"}]);
        entry
    });
    bench.add(&json!(entries)).exits(0);
    let mut daemon = bench.as_daemon().await;
    for (reference, path, at) in MOVED {
        for status in path {
            sqlx::query(
                "UPDATE outbox SET status = ?1, status_source = 'emit', updated_at = ?3,
                     tresorpay_reference = CASE WHEN ?1 IN ('EMITTED', 'PAID') THEN 'TP-' || reference END
                 WHERE reference = ?2",
            )
            .bind(status)
            .bind(reference)
            .bind(at)
            .execute(&mut daemon)
            .await
            .unwrap();
        }
    }
    bench
}

fn listed(bench: &Bench, args: &[&str]) -> Vec<Value> {
    let ran = bench.run(&[&["list", "--json"], args].concat()).exits(0);
    assert!(!ran.out.contains(NAME), "{}", ran.out);
    ran.json_lines()
}

fn references(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["reference"].as_str().unwrap().to_owned()).collect()
}

/// As the order is meant, without SQL: its natural way, equal rows by id.
fn compare(key: &str, a: &Value, b: &Value) -> Ordering {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let changed =
        |row: &Value| text(row, if row["updated_at"].is_null() { "created_at" } else { "updated_at" });
    let ids = a["id"].as_i64().cmp(&b["id"].as_i64());
    match key {
        "created" => text(a, "created_at").cmp(&text(b, "created_at")).then(ids).reverse(),
        "updated" => changed(a).cmp(&changed(b)).then(ids).reverse(),
        "amount" => a["net_total"].as_i64().cmp(&b["net_total"].as_i64()).then(ids).reverse(),
        _ => text(a, "reference").as_bytes().cmp(text(b, "reference").as_bytes()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_comes_page_by_page() {
    let bench = filled().await;
    let all = listed(&bench, &[]);
    for key in ["created", "updated", "amount", "reference"] {
        for reverse in [&[][..], &["--reverse"]] {
            for status in
                [None, Some("PAID"), Some("PENDING"), Some("CANCELED"), Some("EMITTED"), Some("REJECTED")]
            {
                let filter: Vec<&str> = status.iter().flat_map(|status| ["--status", *status]).collect();
                let args = [&["--sort", key], reverse, &filter].concat();
                let mut wanted = all.clone();
                wanted.retain(|row| status.is_none_or(|status| row["status"] == status));
                wanted.sort_by(|a, b| compare(key, a, b));
                if !reverse.is_empty() {
                    wanted.reverse();
                }
                assert_eq!(listed(&bench, &args), wanted, "{args:?}");
                let (mut paged, mut after) = (Vec::new(), None::<String>);
                loop {
                    let from: Vec<&str> = after.iter().flat_map(|id| ["--after", id.as_str()]).collect();
                    let page = listed(&bench, &[&args[..], &["--limit", "3"], &from].concat());
                    after = page.last().map(|row| row["id"].to_string());
                    let ended = page.len() < 3;
                    paged.extend(page);
                    if ended {
                        break;
                    }
                }
                assert_eq!(references(&paged), references(&wanted), "{args:?}, by pages of three");
            }
        }
    }
    assert_eq!(references(&listed(&bench, &["--sort", "amount", "--limit", "3"])), ["A-1", "B-2", "D-4"]);
    let oldest: Vec<String> = ROWS.iter().map(|(reference, ..)| (*reference).to_owned()).collect();
    assert_eq!(references(&listed(&bench, &["--reverse"])), oldest, "without --sort, by id");
    let text = bench.run(&["list", "--sort", "updated", "--limit", "1"]).exits(0).out;
    assert!(text.starts_with("STATUS   REFERENCE  XOF  TRESORPAY  UPDATED (UTC)"), "{text}");
    assert!(text.contains("D-4") && text.contains("2026-02-04 00:00"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn since_and_drift_choose_rows_to_sort() {
    let bench = filled().await;
    // Eight insertions, then the moves: of A-1 three, of B-2 three, of C-3 three, of D-4 two.
    let sorted = |args: &[&str]| references(&listed(&bench, &[&["--sort", "amount"], args].concat()));
    assert_eq!(sorted(&["--since", "8"]), ["A-1", "B-2", "D-4", "C-3"]);
    assert_eq!(sorted(&["--since", "14"]), ["D-4", "C-3"]);
    assert_eq!(sorted(&["--since", "8", "--status", "PAID", "--reverse"]), ["B-2", "A-1"]);
    assert_eq!(sorted(&["--since", "8", "--limit", "2", "--after", "5"]), ["D-4", "C-3"]);
    assert!(sorted(&["--since", "1000"]).is_empty() && sorted(&["--drift"]).is_empty());
    let mut daemon = bench.as_daemon().await;
    for sql in [
        "UPDATE outbox SET status = 'CANCELED', status_source = 'reconcile', status_reason = 'drift_status: it was PAID',
             updated_at = '2026-03-01T00:00:00.000Z' WHERE reference = 'A-1'",
        "UPDATE outbox SET last_error = 'drift_live: it waits to be paid', updated_at = '2100-01-01T00:00:00.000Z'
         WHERE reference = 'C-3'",
    ] {
        sqlx::query(sql).execute(&mut daemon).await.unwrap();
    }
    assert_eq!(sorted(&["--drift"]), ["A-1", "C-3"]);
    assert_eq!(sorted(&["--drift", "--reverse"]), ["C-3", "A-1"]);
    assert_eq!(sorted(&["--drift", "--since", "19"]), ["A-1"], "what reconciliation moved since");
    assert_eq!(sorted(&["--drift", "--status", "PAID"]), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sorted_is_said() {
    let bench = filled().await;
    let words = "created, updated, amount, reference";
    bench.run(&["list", "--sort", "payer"]).exits(2).complains(words);
    bench.run(&["list", "--sort", "amount", "--before", "3"]).exits(2).complains("--before");
    bench.run(&["list", "--reverse", "--before", "3"]).exits(2).complains("--before");
    for args in
        [&["--since", "0", "--after", "1"][..], &["--drift", "--reverse"], &["--since", "0", "--reverse"]]
    {
        bench.run(&[&["list"], args].concat()).exits(2).complains("they need --sort");
    }
    let gone = bench.run(&["list", "--sort", "amount", "--after", "99"]).exits(1);
    gone.complains("--after 99: no row has this id");
}
