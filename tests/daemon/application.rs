//! What an application may do while the daemon works, and what it may not, from its own connection.

use std::time::Duration;

use serde_json::json;
use tresorpayd::simulator::Config;

use crate::{
    audit::audit,
    harness::{World, until},
    rows::{Application, NewRow, bulk},
};

/// What a refused statement said.
async fn refusal(app: &mut Application, sql: &str) -> String {
    match app.run(sql).await {
        Ok(rows) => panic!("{rows} rows were changed by: {sql}"),
        Err(error) => error.to_string(),
    }
}

/// What TresorPay is sent is what the row says once it can no longer be corrected, whoever is faster.
#[tokio::test]
async fn corrections_race_claims_and_the_ledger_holds_what_the_row_says() {
    const ROWS: usize = 250;
    let mut world = World::with(Config::default()).await;
    world.set("api.max_concurrency", "4");
    world.sim.set_latency(Duration::from_millis(1)..=Duration::from_millis(12));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(ROWS)).await;
    let (mut corrected, mut refused) = (0, 0);
    while app.count("PENDING").await > 0 {
        let reference = format!("A-{}", fastrand::usize(1..=ROWS));
        let amount = fastrand::i64(1..1_000_000);
        let items = json!([{"name": format!("Corrigé {amount}"), "quantity": 1, "unitPrice": amount,
                            "codeNatureRecette": "71531"}]);
        let correction = format!(
            "UPDATE outbox SET net_total = {amount}, items = '{items}' WHERE reference = '{reference}'"
        );
        match app.run(&correction).await {
            Ok(rows) => corrected += rows,
            Err(error)
                if error
                    .to_string()
                    .contains("outbox: a row may be corrected in PENDING and REJECTED only") =>
            {
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    until("all are emitted", async || app.count("EMITTED").await == ROWS).await;
    daemon.stop().await;
    assert!(corrected > 10 && refused > 10, "{corrected} corrected, {refused} refused: they did not race");
    for row in app.rows().await {
        let notice = world.sim.notice(&row.reference).unwrap();
        assert_eq!(notice.net_total, row.net_total);
        let items: serde_json::Value = serde_json::from_str(&row.items).unwrap();
        assert_eq!(serde_json::to_value(&notice.items).unwrap(), items);
    }
    let told = app.number("SELECT count(*) FROM transition WHERE from_status = to_status").await;
    assert_eq!(told, i64::try_from(corrected).unwrap(), "each correction of an amount leaves its transition");
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn daemon_columns_are_closed_to_applications_and_the_error_says_what_to_do() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is emitted", async || app.status("A-1").await == "EMITTED").await;
    for sql in [
        "UPDATE outbox SET status = 'PAID'",
        "UPDATE outbox SET status = 'PENDING' WHERE reference = 'A-1'",
        "UPDATE outbox SET status = status WHERE id = -1",
        "UPDATE outbox SET attempts = 0",
        "UPDATE outbox SET next_attempt_at = NULL",
        "UPDATE outbox SET tresorpay_reference = NULL",
        "UPDATE outbox SET last_error = NULL",
        "UPDATE outbox SET paid_at = '2026-01-01T00:00:00.000Z'",
        "INSERT INTO attempt (outbox_id, operation, base_url, started_at) VALUES (1, 'emit', 'x', 'x')",
        "UPDATE attempt SET outcome = NULL",
        "UPDATE meta SET value = 'production' WHERE key = 'environment'",
        "DELETE FROM meta",
    ] {
        let error = refusal(&mut app, sql).await;
        assert!(
            error.contains("use_the_command_table") || error.contains("use the command table"),
            "{sql}: {error}"
        );
    }
    for sql in [
        "UPDATE transition SET reason = 'x'",
        "DELETE FROM transition",
        "DELETE FROM attempt",
        "DELETE FROM outbox",
        "UPDATE outbox SET net_total = 2000, items = '[{\"quantity\":1,\"unitPrice\":2000}]'",
        "UPDATE outbox SET reference = 'A-2'",
    ] {
        let error = refusal(&mut app, sql).await;
        assert!(
            ["outbox: ", "transition: ", "attempt: "].iter().any(|table| error.contains(table)),
            "{sql}: {error}"
        );
    }
    assert!(daemon.runs());
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_reference_inserted_twice_is_one_notice() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let (mut app, mut other) = (world.application().await, world.application().await);
    let row = NewRow::new("A-1");
    let clause = "ON CONFLICT (reference) DO NOTHING";
    assert_eq!(app.insert_with("INSERT", &row, clause).await.unwrap(), 1);
    assert_eq!(app.insert_with("INSERT", &row, clause).await.unwrap(), 0);
    until("it is emitted", async || app.status("A-1").await == "EMITTED").await;
    assert_eq!(other.insert_with("INSERT", &row, clause).await.unwrap(), 0);
    assert_eq!(other.insert_with("INSERT OR IGNORE", &row, "").await.unwrap(), 0);
    let error = other.insert_with("INSERT", &row, "").await.unwrap_err().to_string();
    assert!(error.contains("UNIQUE") || error.contains("reference"), "{error}");
    let mut bad = NewRow::new("A-1");
    bad.net_total = 999;
    let error = other.insert_with("INSERT", &bad, clause).await.unwrap_err().to_string();
    assert!(
        error.contains("outbox: net_total must equal the sum of quantity * unitPrice over items"),
        "{error}"
    );
    daemon.stop().await;
    assert_eq!((app.rows().await.len(), world.emissions()), (1, 1));
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_sent_row_is_never_overwritten() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(2)).await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    let before = app.rows().await;
    let new = NewRow::new("A-1").amount(5_000);
    for verb in ["INSERT OR REPLACE", "REPLACE"] {
        let error = app.insert_with(verb, &new, "").await.unwrap_err().to_string();
        assert!(error.contains("outbox: reference is already there"), "{verb}: {error}");
    }
    for sql in [
        "UPDATE OR REPLACE outbox SET reference = 'A-1' WHERE reference = 'A-2'",
        "UPDATE OR REPLACE outbox SET id = 1 WHERE id = 2",
        "INSERT OR REPLACE INTO outbox (id, reference, net_total, tax_payer, items)
         VALUES (1, 'A-3', 1, '{\"name\":\"X\"}', '[{\"quantity\":1,\"unitPrice\":1}]')",
    ] {
        let error = refusal(&mut app, sql).await;
        assert!(error.contains("outbox: "), "{sql}: {error}");
    }
    assert_eq!(app.rows().await, before);
    daemon.stop().await;
    assert_eq!(world.emissions(), 2);
    audit(&world, &mut app).await;
}
