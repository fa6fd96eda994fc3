//! Callbacks as evidence: a notice whose emission was never answered is tied to its row, and the truth is TresorPay's.

use std::time::Duration;

use tresorpayd::simulator::{Fault, Meanwhile, NoticeStatus, Operation, Rule};

use crate::{
    audit::audit,
    callback::{call, deaf_world, path, world},
    harness::{World, holds_for, until},
    restore::{How, inserted, put},
    rows::{Application, NewRow},
};

/// One row whose emission TresorPay carried out, and whose answer was lost.
async fn in_doubt(world: &World, app: &mut Application) -> String {
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::Lost { processed: true }).reference("A-1"));
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is in doubt", async || app.status("A-1").await == "UNCERTAIN").await;
    world.sim.notice("A-1").unwrap().reference
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_its_callback() {
    let (mut world, _) = world().await;
    world.set("api.request_timeout", "1s");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let notice = in_doubt(&world, &mut app).await;
    // The token outlives the process.
    daemon.kill().await;
    let mut daemon = world.start().await;
    world.sim.pay("A-1", Some("WAVE")).unwrap();
    until("it is paid", async || app.status("A-1").await == "PAID").await;
    assert_eq!(app.path("A-1").await, ["PENDING", "EMITTING", "UNCERTAIN", "EMITTED", "PAID"]);
    let row = app.row("A-1").await;
    assert_eq!((row.tresorpay_reference.as_ref(), row.provider.as_deref()), (Some(&notice), Some("WAVE")));
    assert!(row.payment_url.unwrap().ends_with(&notice));
    let steps = app.transitions().await;
    assert!(steps.iter().rev().take(2).all(|step| step.source == "callback"), "{steps:?}");
    assert_eq!(world.emissions(), 1, "it was not emitted again");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// The taxpayer was faster than the answer that never came.
#[tokio::test]
async fn a_callback_during_the_emission_waits_for_its_end() {
    let (mut world, _) = world().await;
    world.set("api.request_timeout", "3s");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::Lost { processed: true }));
    app.insert(&[NewRow::new("A-1")]).await;
    until("TresorPay has it", async || world.sim.notice("A-1").is_some()).await;
    assert_eq!(app.status("A-1").await, "EMITTING");
    world.sim.pay("A-1", None).unwrap();
    until("it is paid", async || app.status("A-1").await == "PAID").await;
    assert_eq!(app.path("A-1").await, ["PENDING", "EMITTING", "UNCERTAIN", "EMITTED", "PAID"]);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A notice that waits to be paid is taken once nothing that was sent can change it any more.
#[tokio::test]
async fn a_live_notice_is_taken_no_earlier_than_settle_after() {
    let (mut world, port) = deaf_world().await;
    world.set("api.request_timeout", "1s").set("emit.settle_after", "3s");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let notice = in_doubt(&world, &mut app).await;
    call(port, &path(&world, "A-1"), &notice, "1000").await;
    holds_for(Duration::from_millis(1500), "it waits", async || app.status("A-1").await == "UNCERTAIN").await;
    until("it is taken", async || app.status("A-1").await == "EMITTED").await;
    assert_eq!(app.row("A-1").await.tresorpay_reference, Some(notice));
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Paid while the settling cancel is under way: PAID at once, and the cancel's late end changes nothing.
#[tokio::test]
async fn a_payment_passes_a_settling_cancel_that_is_under_way() {
    let (mut world, _) = world().await;
    world.set("emit.on_uncertain", "cancel").set("emit.settle_after", "1s").set("api.request_timeout", "4s");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let late = Fault::TooLate { ms: 3000, meanwhile: Meanwhile::Silent };
    world.sim.add_fault(Rule::once(Operation::Cancel, late));
    in_doubt(&world, &mut app).await;
    let open = "SELECT count(*) FROM attempt WHERE operation = 'cancel' AND outcome IS NULL";
    until("the cancel is under way", async || app.number(open).await == 1).await;
    world.sim.pay("A-1", None).unwrap();
    until("it is paid", async || app.status("A-1").await == "PAID").await;
    assert_eq!(app.number(open).await, 1, "it did not wait for the cancel");
    until("the cancel has ended", async || app.number(open).await == 0).await;
    assert_eq!(app.path("A-1").await, ["PENDING", "EMITTING", "UNCERTAIN", "EMITTED", "PAID"]);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// The cancel was answered first: a callback about what it canceled is old news.
#[tokio::test]
async fn a_callback_after_the_settling_cancel_changes_nothing() {
    let (mut world, port) = deaf_world().await;
    world.set("emit.on_uncertain", "cancel").set("emit.settle_after", "1s").set("api.request_timeout", "1s");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let first = in_doubt(&world, &mut app).await;
    until("it is settled and emitted again", async || app.status("A-1").await == "EMITTED").await;
    let before = app.row("A-1").await;
    assert_ne!(before.tresorpay_reference.as_ref(), Some(&first));
    let status = world.sim.counters().requests(Operation::Status);
    call(port, &path(&world, "A-1"), &first, "1000").await;
    until("it is asked about", async || world.sim.counters().requests(Operation::Status) > status).await;
    holds_for(Duration::from_secs(1), "nothing changes", async || app.row("A-1").await == before).await;
    assert!(!daemon.log().contains("second_live_notice"));
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// What was declared absent exists all the same: the gravest alert, until it is canceled.
#[tokio::test]
async fn a_second_live_notice_is_the_gravest_alert() {
    let (mut world, port) = deaf_world().await;
    world.set("api.request_timeout", "1s").set("emit.settle_after", "1s");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let first = in_doubt(&world, &mut app).await;
    assert_eq!(app.command("A-1", "resolve-not-emitted").await.0, "done");
    until("it is emitted again", async || app.status("A-1").await == "EMITTED").await;
    let own = app.row("A-1").await.tresorpay_reference.unwrap();
    let path = path(&world, "A-1");
    call(port, &path, &first, "1000").await;
    let alert = |log: &str| {
        log.lines().filter(|line| line.contains("ERROR") && line.contains("second_live_notice")).count()
    };
    until("it is told", async || alert(&daemon.log()) == 1).await;
    let line = daemon.log();
    assert!(line.contains(&first) && line.contains(&own), "{line}");
    let (code, said) = world.run(&["status", "--exit-code"]).await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(&format!("second_live_notice: A-1 has {own}")) && said.contains(&first), "{said}");
    // It is told again at the next start, and ends with the notice.
    daemon.stop().await;
    let mut daemon = world.start().await;
    until("it is told again", async || alert(&daemon.log()) == 1).await;
    daemon.stop().await;
    world.sim.cancel(&first).unwrap();
    assert_eq!(world.sim.notice(&first).unwrap().status, NoticeStatus::Canceled);
    let mut daemon = world.start().await;
    let keys = "SELECT count(*) FROM meta WHERE key LIKE 'second_notice%'";
    until("it is over", async || app.number(keys).await == 0).await;
    assert_eq!(world.run(&["status", "--exit-code"]).await.0, 0);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// An old copy was accepted: callbacks of what was emitted since settle its rows, and those of rows that the copy has
/// forgotten fit no other row that has their id now.
#[tokio::test]
async fn callbacks_settle_what_a_restored_copy_has_forgotten() {
    let (world, _) = world().await;
    world.start().await.stop().await;
    let old = inserted(&world, &[NewRow::new("A-1")]).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FORGOTTEN")]).await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    let forgotten = app.row("FORGOTTEN").await.id;
    app.close().await;
    daemon.stop().await;
    put(&world, &old, How::Over);
    let (code, said) = world.run(&["accept-restore", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    assert_eq!(app.status("A-1").await, "UNCERTAIN");
    app.insert(&[NewRow::new("OTHER")]).await;
    until("the other is emitted", async || app.status("OTHER").await == "EMITTED").await;
    let before = app.row("OTHER").await;
    assert_eq!(before.id, forgotten, "it has the forgotten row's id");
    world.sim.pay("FORGOTTEN", None).unwrap();
    until("its callback is known for what it is", async || {
        daemon.log().contains("a callback for a row that is not here")
    })
    .await;
    world.sim.pay("A-1", None).unwrap();
    until("it is paid", async || app.status("A-1").await == "PAID").await;
    assert_eq!(app.row("OTHER").await, before);
    daemon.stop().await;
}
