//! `cancel`, `retry`, `poll`, `confirm`, `resolve`, `pause`, `resume`: what is written into `command`, and what is told.

use serde_json::json;
use tresorpayd::simulator::{Ending, Fault, Operation, Rule};

use crate::bench::{Bench, entry, with};

#[tokio::test(flavor = "multi_thread")]
async fn who_and_why_are_kept_where_money_is_decided() {
    let bench = Bench::new().await;
    bench.add(&json!([entry("A-1"), entry("A-2")])).exits(0);
    bench.run(&["cancel", "A-1"]).exits(1).complains("why? --reason TEXT");
    bench.run(&["resolve", "A-1", "--not-emitted", "--reason", " "]).exits(1).complains("why? --reason TEXT");
    assert_eq!(bench.number("SELECT count(*) FROM command").await, 0);
    bench
        .run(&["cancel", "A-1", "A-2", "A-1", "--reason", "double saisie", "--by", "Awa"])
        .exits(0)
        .prints("A-1  cancel  asked, command 1")
        .prints("A-2  cancel  asked, command 2")
        .prints("no daemon is running");
    assert_eq!(
        bench
            .number("SELECT count(*) FROM command WHERE requested_by = 'Awa' AND reason = 'double saisie'")
            .await,
        2
    );
    bench.run(&["poll", "A-1"]).exits(0);
    assert_eq!(bench.number("SELECT count(*) FROM command WHERE requested_by = 'uid 0'").await, 1);
    bench
        .run(&["show", "A-1"])
        .exits(0)
        .prints("the command `cancel` is carried out, once a daemon runs")
        .prints("double saisie");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_is_waited_for() {
    let bench = Bench::new().await;
    bench.add(&json!([entry("A-1"), with("R-1", "code_client", json!("APP-WRONG"))])).exits(0);
    let _daemon = bench.daemon();
    bench.until("A-1", "EMITTED").await;
    bench.until("R-1", "REJECTED").await;
    bench.run(&["retry", "A-1", "--wait"]).exits(1).prints("A-1  retry  refused: it is EMITTED: it exists");
    bench.run(&["poll", "A-1", "--wait=30"]).exits(0).prints("done: TresorPay was asked; the row is EMITTED");
    bench
        .run(&["retry", "R-1", "--wait"])
        .exits(0)
        .prints("R-1  retry  done: it was REJECTED and is PENDING");
    let ran = bench.run(&["cancel", "A-1", "--reason", "test", "--wait", "--json"]).exits(0);
    let line = &ran.json_lines()[0];
    assert_eq!(
        (&line["reference"], &line["action"], &line["outcome"]),
        (&json!("A-1"), &json!("cancel"), &json!("done"))
    );
    bench.until("A-1", "CANCELED").await;
    bench.run(&["pause", "--wait"]).exits(0).prints("pause  done: emission is paused");
    bench.run(&["status"]).exits(0).prints("paused since");
    bench.run(&["resume", "--wait"]).exits(0).prints("resume  done: emission goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_asks_nothing() {
    let bench = Bench::new().await;
    bench.add(&entry("A-1")).exits(0);
    let ran = bench.run(&["cancel", "A-1", "A-9", "--reason", "x"]).exits(1);
    let ran = ran.complains("no row has the reference `A-9`; nothing was asked");
    assert_eq!(ran.err.lines().count(), 1);
    bench.run(&["cancel", "--reason", "x"]).exits(2).complains("<REFERENCE>");
    bench.run(&["resolve", "A-1", "--reason", "x"]).exits(2).complains("--not-emitted");
    bench.run(&["resolve", "A-1", "--emitted", "TP1", "--not-emitted"]).exits(2).complains("cannot be used");
    bench
        .run(&["resolve", "A-1", "A-2", "--emitted", "TP1", "--reason", "x"])
        .exits(1)
        .complains("one REFERENCE");
    bench.run(&["resolve", "A-1", "--emitted", " ", "--reason", "x"]).exits(1).complains("argument must be");
    bench.run(&["cancel", "A-1", "--yes", "--reason", "x"]).exits(1).complains("--yes goes with --status");
    bench.run(&["cancel", "A-1", "--status", "PENDING"]).exits(2).complains("cannot be used");
    let long = "x".repeat(501);
    bench.run(&["cancel", "A-1", "--reason", &long]).exits(1).complains("reason must be text of at most 500");
    assert_eq!(bench.number("SELECT count(*) FROM command").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_after_a_preview() {
    let bench = Bench::new().await;
    bench.configure(&[("emit.settle_after", "\"1s\""), ("api.breaker_failures", "100")]);
    bench.sim.add_fault(Rule::always(Operation::Emit, Fault::ResetAfter { by: Ending::Rst }));
    let entries: Vec<_> = (1..=12).map(|number| entry(&format!("U-{number}"))).collect();
    bench.add(&json!(entries)).exits(0);
    let _daemon = bench.daemon();
    for number in 1..=12 {
        bench.until(&format!("U-{number}"), "UNCERTAIN").await;
    }
    let ran = bench.run(&["cancel", "--status", "UNCERTAIN", "--reason", "x"]).exits(1);
    assert!(ran.err.contains("nothing was asked; to ask it, add --yes"), "{ran:?}");
    let ran = ran.prints("cancel: 12 rows in UNCERTAIN, 12 000 XOF").prints("  U-1  1 000 XOF");
    ran.prints("  and 2 more: tresorpayd list --status UNCERTAIN");
    assert_eq!(bench.number("SELECT count(*) FROM command").await, 0);
    bench
        .run(&["cancel", "--status", "uncertain", "--yes", "--reason", "panne du 24", "--wait"])
        .exits(0)
        .prints("U-12  cancel  done: TresorPay says that TP");
    assert_eq!(bench.number("SELECT count(*) FROM outbox WHERE status = 'CANCELED'").await, 12);
    bench.run(&["cancel", "--status", "UNCERTAIN", "--yes"]).exits(0).prints("0 rows in UNCERTAIN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubt_is_resolved() {
    let bench = Bench::new().await;
    bench.configure(&[("emit.settle_after", "\"1s\"")]);
    for (reference, fault) in
        [("THERE", Fault::ResetAfter { by: Ending::Rst }), ("NOT", Fault::ResetBefore { by: Ending::Rst })]
    {
        bench.sim.add_fault(Rule::once(Operation::Emit, fault).reference(reference));
    }
    bench.add(&json!([entry("THERE"), entry("NOT")])).exits(0);
    let _daemon = bench.daemon();
    for reference in ["THERE", "NOT"] {
        bench.until(reference, "UNCERTAIN").await;
    }
    let notice = bench.sim.notice("THERE").unwrap().reference;
    bench
        .run(&["resolve", "THERE", "--emitted", &notice, "--reason", "vu au portail", "--wait"])
        .exits(0)
        .prints(&format!("THERE  resolve-emitted  done: it is EMITTED as {notice}"));
    bench
        .run(&["resolve", "NOT", "--not-emitted", "--reason", "absent du portail", "--wait"])
        .exits(0)
        .prints("NOT  resolve-not-emitted  done: it was UNCERTAIN and is PENDING");
    bench.until("NOT", "EMITTED").await;
}
