//! `show`: one notice's life, in words and as JSON, without the person unless asked for.

use serde_json::{Value, json};
use tresorpayd::simulator::{Ending, Fault, Operation, Rule};

use crate::bench::{Bench, NAME, entry, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_notice_from_insertion_to_payment() {
    let bench = Bench::new().await;
    let mut dear = entry("A-1");
    dear["net_total"] = json!(1_250_000);
    dear["items"][0]["unitPrice"] = json!(625_000);
    bench.add(&dear).exits(0);
    let _daemon = bench.daemon();
    bench.until("A-1", "EMITTED").await;
    bench.run(&["show", "A-1"]).exits(0).prints("not yet paid").prints("TresorPay is asked about it");
    bench.sim.pay("A-1", Some("WAVE")).unwrap();
    bench.until("A-1", "PAID").await;
    let shown = bench.run(&["show", "A-1"]).exits(0);
    assert!(shown.out.starts_with("PAID A-1\n"), "{}", shown.out);
    assert!(!shown.out.contains(NAME) && !shown.out.contains("Timbre") && !shown.out.contains('\u{1b}'));
    let url = bench.sim.payment_page();
    let shown = shown
        .prints("amount          1 250 000 XOF")
        .prints(&format!("payment page    {url}?id=TP"))
        .prints("payment         WAVE, 20")
        .prints("2 × 625 000 = 1 250 000 XOF  71531")
        .prints("nothing: it is finished");
    let order = ["HISTORY", "PENDING", "EMITTING", "EMITTED ", "PAID ", "REQUESTS", "HTTP 200"].map(|word| {
        let history = shown.out.find("HISTORY").unwrap();
        history + shown.out[history..].find(word).unwrap_or_else(|| panic!("{word}: {}", shown.out))
    });
    assert!(order.is_sorted(), "{}", shown.out);
    let shown = bench.run(&["show", "A-1", "--json"]).exits(0).json();
    assert_eq!((&shown["status"], &shown["net_total"]), (&json!("PAID"), &json!(1_250_000)));
    let words = |rows: &Value, field: &str| -> Vec<String> {
        rows.as_array().unwrap().iter().map(|row| row[field].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(words(&shown["transitions"], "to_status"), ["PENDING", "EMITTING", "EMITTED", "PAID"]);
    assert_eq!(words(&shown["transitions"], "source"), ["application", "emit", "emit", "poll"]);
    assert_eq!(
        (&shown["attempts"][0]["outcome"], &shown["attempts"][0]["http_status"]),
        (&json!("ok"), &json!(200))
    );
    assert_eq!(shown["items"], json!([{"quantity": 2, "unitPrice": 625_000, "codeNatureRecette": "71531"}]));
    assert!(shown.get("tax_payer").is_none() && shown.get("callback").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_person_is_shown_when_asked_for() {
    let bench = Bench::new().await;
    bench.add(&with("A-1", "callback", json!("https://example.test/paid?who=1"))).exits(0);
    let plain = bench.run(&["show", "A-1"]).exits(0);
    assert!(!plain.out.contains(NAME) && !plain.out.contains("example.test"), "{}", plain.out);
    let personal = bench.run(&["show", "A-1", "--personal"]).exits(0);
    personal
        .prints(&format!("name: {NAME}"))
        .prints("phoneNumber: +223 70")
        .prints("Timbre")
        .prints("paid?who=1");
    let json = bench.run(&["show", "A-1", "--personal", "--json"]).exits(0).json();
    assert_eq!(json["tax_payer"]["name"], NAME);
    assert_eq!(json["authorized_payment_modes"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubt_says_who_decides() {
    let bench = Bench::new().await;
    bench
        .sim
        .add_fault(Rule::always(Operation::Emit, Fault::ResetAfter { by: Ending::Rst }).reference("U-1"));
    bench.add(&json!([entry("U-1"), with("R-1", "code_client", json!("APP-WRONG"))])).exits(0);
    let _daemon = bench.daemon();
    bench.until("U-1", "UNCERTAIN").await;
    bench.until("R-1", "REJECTED").await;
    bench
        .run(&["show", "U-1"])
        .exits(0)
        .prints("no answer says what became of it")
        .prints("never sent again by itself")
        .prints("connection_lost");
    bench
        .run(&["show", "R-1"])
        .exits(0)
        .prints("nothing exists at TresorPay")
        .prints("it is not sent again")
        .prints("refused: HTTP 400, error.SERVICE_CLIENT_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_says_for_what() {
    let bench = Bench::new().await;
    bench
        .add(&json!([
            entry("A-1"),
            with("A-2", "not_before", json!("2100-01-01T00:00:00Z")),
            with("A-3", "replaces", json!("A-1")),
            entry("A-4"),
        ]))
        .exits(0);
    bench.run(&["show", "A-1"]).exits(0).prints("emitted now, once a daemon runs (none does now)");
    bench.run(&["show", "A-2"]).exits(0).prints("(2100-01-01 00:00:00 UTC), as not_before asks");
    bench
        .run(&["show", "A-3"])
        .exits(0)
        .prints("emitted once A-1 (PENDING) is canceled, which the daemon asks for");
    let mut application = bench.application().await;
    sqlx::query(
        "INSERT INTO command (reference, action, requested_by) VALUES ('A-4', 'cancel', 'ops\u{1b}[31m')",
    )
    .execute(&mut application)
    .await
    .unwrap();
    let shown = bench
        .run(&["show", "A-4"])
        .exits(0)
        .prints("the command `cancel` is carried out")
        .prints("OPEN COMMANDS");
    assert!(shown.out.contains("ops [31m") && !shown.out.contains('\u{1b}'), "{}", shown.out);
    let json = bench.run(&["show", "A-4", "--json"]).exits(0).json();
    assert_eq!(json["open_commands"][0]["action"], "cancel");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_reference_is_one_line() {
    let bench = Bench::new().await;
    let ran = bench.run(&["show", "A-9"]).exits(1).complains("has the reference `A-9`");
    assert_eq!(ran.err.lines().count(), 1);
    bench.run(&["show"]).exits(2).complains("<REFERENCE>");
}
