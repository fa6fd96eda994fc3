//! `emit.on_uncertain = cancel`: what is in doubt is canceled, and emitted again once that proves that nothing live is
//! left. Whatever happens, TresorPay never has two live notices of one row.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tresorpayd::simulator::{Config, Fault, Meanwhile, NoticeStatus, OnRepeatedCancel, Operation, Rule};

use crate::{
    audit::audit,
    harness::{World, case, each, holds_for, until},
    rows::{Application, Attempt, NewRow, bulk},
};

/// `api.request_timeout` and `emit.settle_after` of most tests here.
const TIMEOUT: &str = "1s";
const SETTLE_AFTER: TimeDelta = TimeDelta::milliseconds(1500);

fn lost(processed: bool) -> Rule {
    Rule::once(Operation::Emit, Fault::Lost { processed })
}

async fn world() -> World {
    settling(World::with(Config::default()).await)
}

pub(crate) fn settling(mut world: World) -> World {
    world.set("emit.on_uncertain", "cancel").set("emit.settle_after", "1500ms");
    world.set("api.request_timeout", TIMEOUT).set("api.breaker_failures", "100");
    world
}

/// When a request began.
pub(crate) fn began(attempt: &Attempt) -> DateTime<Utc> {
    attempt.started_at.parse().unwrap()
}

/// `operation outcome` of a row's attempts, in their order.
pub(crate) async fn story(app: &mut Application, reference: &str) -> Vec<String> {
    let attempts = app.attempts_of(reference).await;
    attempts.iter().map(|a| format!("{} {}", a.operation, a.outcome.as_deref().unwrap_or("open"))).collect()
}

/// Waits until the row has that status, while TresorPay never has two live notices of it.
pub(crate) async fn becomes(world: &World, app: &mut Application, reference: &str, status: &str) {
    until(&format!("{reference} is {status}"), async || {
        assert!(world.sim.ledger().live(reference) <= 1, "two live notices of {reference}");
        app.status(reference).await == status
    })
    .await;
}

/// TresorPay had created it and the answer was lost: canceled there, then emitted again.
#[tokio::test]
async fn what_was_created_is_canceled_and_emitted_again() {
    let world = world().await;
    world.sim.add_fault(lost(true));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "UNCERTAIN").await;
    let waiting = app.row("A-1").await;
    assert!(waiting.next_attempt_at.is_some(), "it says when it is settled: {waiting:?}");
    becomes(&world, &mut app, "A-1", "EMITTED").await;

    assert_eq!(story(&mut app, "A-1").await, ["emit timed_out", "cancel ok", "emit ok"]);
    let path = ["PENDING", "EMITTING", "UNCERTAIN", "PENDING", "EMITTING", "EMITTED"];
    assert_eq!(app.path("A-1").await, path);
    let row = app.row("A-1").await;
    assert_eq!((row.attempts, &row.last_error), (2, &None), "a cancel is no emission");
    let attempts = app.attempts_of("A-1").await;
    let wait = began(&attempts[1]) - began(&attempts[0]);
    assert!(wait >= SETTLE_AFTER, "{wait}");
    let ledger = world.sim.ledger();
    let notices: Vec<_> = ledger.of_client("A-1").collect();
    assert_eq!(
        notices.iter().map(|n| n.status).collect::<Vec<_>>(),
        [NoticeStatus::Canceled, NoticeStatus::Emitted]
    );
    assert_eq!(attempts[1].tresorpay_reference.as_ref(), Some(&notices[0].reference));
    assert_eq!((&*attempts[1].phase, attempts[1].http_status), ("answered", Some(200)));
    assert_eq!(
        (&attempts[1].code_client, &attempts[1].code_structure, &attempts[1].base_url),
        (&attempts[0].code_client, &attempts[0].code_structure, &attempts[0].base_url)
    );
    let settled =
        app.transitions().await.into_iter().find(|step| step.from_status.as_deref() == Some("UNCERTAIN"));
    let settled = settled.unwrap();
    assert!(settled.reason.unwrap().contains(&notices[0].reference));
    assert_eq!(settled.source, "emit");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn what_was_never_created_is_emitted_once_tresorpay_says_so() {
    let world = world().await;
    world.sim.add_fault(lost(false));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "EMITTED").await;
    assert_eq!(story(&mut app, "A-1").await, ["emit timed_out", "cancel nothing_live", "emit ok"]);
    assert_eq!(world.sim.ledger().of_client("A-1").count(), 1);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Carried out two seconds after we gave up on it: `emit.settle_after` is for that.
#[tokio::test]
async fn a_platform_that_creates_the_notice_long_after_the_time_out_bills_once() {
    let mut world = world().await;
    world.set("emit.settle_after", "4s");
    world
        .sim
        .add_fault(Rule::once(Operation::Emit, Fault::TooLate { ms: 3000, meanwhile: Meanwhile::Silent }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "UNCERTAIN").await;
    assert_eq!(world.sim.ledger().of_client("A-1").count(), 0, "not yet there");
    becomes(&world, &mut app, "A-1", "EMITTED").await;
    assert_eq!(story(&mut app, "A-1").await, ["emit timed_out", "cancel ok", "emit ok"]);
    assert_eq!(world.sim.ledger().of_client("A-1").count(), 2);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// The cancel itself is carried out long after it timed out. The next one waits for it, or it would hit what was emitted
/// since.
#[tokio::test]
async fn a_cancel_that_is_carried_out_late_does_not_hit_the_next_notice() {
    let mut world = world().await;
    world.set("emit.settle_after", "4s");
    world.sim.add_fault(lost(true));
    world
        .sim
        .add_fault(Rule::once(Operation::Cancel, Fault::TooLate { ms: 3000, meanwhile: Meanwhile::Silent }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "EMITTED").await;
    assert_eq!(story(&mut app, "A-1").await, ["emit timed_out", "cancel timed_out", "cancel ok", "emit ok"]);
    let attempts = app.attempts_of("A-1").await;
    let wait = began(&attempts[2]) - began(&attempts[1]);
    assert!(wait >= TimeDelta::seconds(4), "{wait}");
    holds_for(Duration::from_secs(2), "it stays emitted", async || app.status("A-1").await == "EMITTED")
        .await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// In doubt twice: the second cancel names the second notice, which proves it again.
async fn a_second_doubt_is_proven_by_a_reference_not_seen_before() {
    let world = world().await;
    world.sim.add_fault(lost(true).times(2));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "EMITTED").await;
    let story = story(&mut app, "A-1").await;
    assert_eq!(story, ["emit timed_out", "cancel ok", "emit timed_out", "cancel ok", "emit ok"]);
    assert_eq!(world.sim.ledger().of_client("A-1").count(), 3);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// In doubt twice, and the answer is as good as the first time: it may be about the first notice.
async fn a_second_doubt_is_held(policy: OnRepeatedCancel, answer: &'static str) {
    let world = settling(World::with(Config { on_repeated_cancel: policy, ..Config::default() }).await);
    world.sim.add_fault(lost(true));
    world.sim.add_fault(lost(false));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is held", async || {
        app.row("A-1").await.last_error.is_some_and(|error| error.starts_with("unproven: "))
    })
    .await;
    let row = app.row("A-1").await;
    assert_eq!((&*row.status, row.attempts, &row.next_attempt_at), ("UNCERTAIN", 2, &None));
    let story = story(&mut app, "A-1").await;
    assert_eq!(story, ["emit timed_out", "cancel ok", "emit timed_out", answer]);
    daemon.stop().await;
    // Nothing has changed: a restart does not ask again.
    let mut daemon = world.start().await;
    holds_for(Duration::from_secs(3), "it is held", async || world.cancels() == 2).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_cancel_proves_once_per_row() {
    each([
        case(
            "a_second_doubt_is_proven_by_a_reference_not_seen_before",
            a_second_doubt_is_proven_by_a_reference_not_seen_before(),
        ),
        case("the same notice again", a_second_doubt_is_held(OnRepeatedCancel::Answer, "cancel ok")),
        case("no notice again", a_second_doubt_is_held(OnRepeatedCancel::NotFound, "cancel nothing_live")),
    ])
    .await;
}

/// Settled, and not emitted again: REJECTED in the commit that settles it.
#[tokio::test]
async fn a_row_that_has_used_up_its_attempts_is_rejected_once_it_is_settled() {
    let mut world = world().await;
    world.set("emit.max_attempts", "1");
    world.sim.add_fault(lost(true));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "REJECTED").await;
    assert_eq!(app.path("A-1").await, ["PENDING", "EMITTING", "UNCERTAIN", "PENDING", "REJECTED"]);
    let row = app.row("A-1").await;
    assert!(row.last_error.as_deref().unwrap().starts_with("max_attempts: "), "{row:?}");
    assert_eq!(row.next_attempt_at, None);
    let together =
        "SELECT count(DISTINCT at) FROM transition WHERE from_status = 'UNCERTAIN' OR to_status = 'REJECTED'";
    assert_eq!(app.number(together).await, 1, "one commit");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Other codes are set while a row is in doubt. The doubt is about the old ones; the next emission uses the new ones.
async fn the_codes_are_changed_while_in_doubt() {
    let config =
        Config { other_codes: vec![("APP-NEW".to_owned(), "STR-NEW".to_owned())], ..Config::default() };
    let mut world = settling(World::with(config).await);
    world.set("emit.on_uncertain", "hold");
    world.sim.add_fault(lost(true));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "UNCERTAIN").await;
    assert_eq!(app.row("A-1").await.next_attempt_at, None, "hold does nothing by itself");
    daemon.stop().await;
    world.set("notice.code_client", "APP-NEW").set("notice.code_structure", "STR-NEW");
    world.set("emit.on_uncertain", "cancel");
    let mut daemon = world.start().await;
    becomes(&world, &mut app, "A-1", "EMITTED").await;
    let attempts = app.attempts_of("A-1").await;
    let codes: Vec<_> = attempts.iter().map(|a| (&*a.operation, a.code_client.as_deref().unwrap())).collect();
    assert_eq!(codes, [("emit", "APP-DEMO"), ("cancel", "APP-DEMO"), ("emit", "APP-NEW")]);
    daemon.stop().await;
    audit(&world, &mut app).await;
    assert_eq!(world.sim.ledger().live("A-1"), 1, "of whatever codes");
}

/// The same with the path of the base URL.
async fn the_base_url_is_changed_while_in_doubt() {
    let mut world = world().await;
    world.set("emit.on_uncertain", "hold");
    world.sim.add_fault(lost(true));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "UNCERTAIN").await;
    daemon.stop().await;
    let wrong = format!("{}/wrong", world.sim.origin());
    world.set("api.base_url", &wrong).set("emit.on_uncertain", "cancel");
    let mut daemon = world.start().await;
    until("it is settled and misdirected", async || {
        story(&mut app, "A-1").await.last().unwrap() == "emit misdirected"
    })
    .await;
    let attempts = app.attempts_of("A-1").await;
    assert_eq!(attempts[1].base_url, attempts[0].base_url);
    assert_eq!(attempts.last().unwrap().base_url, wrong);
    assert_eq!(world.sim.ledger().live("A-1"), 0);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_doubt_is_settled_where_it_arose() {
    each([
        case("the_codes_are_changed_while_in_doubt", the_codes_are_changed_while_in_doubt()),
        case("the_base_url_is_changed_while_in_doubt", the_base_url_is_changed_while_in_doubt()),
    ])
    .await;
}

#[tokio::test]
async fn killed_during_a_settling_cancel_it_is_settled_after_the_restart() {
    let world = world().await;
    world.sim.add_fault(lost(true));
    world.sim.add_fault(Rule::once(Operation::Cancel, Fault::Lost { processed: true }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("the cancel is under way", async || world.cancels() == 1).await;
    assert_eq!(story(&mut app, "A-1").await, ["emit timed_out", "cancel open"], "committed before it left");
    daemon.kill().await;
    let restarted = Utc::now();
    let mut daemon = world.start().await;
    let row = app.row("A-1").await;
    assert_eq!(&*row.status, "UNCERTAIN");
    assert_eq!(story(&mut app, "A-1").await, ["emit timed_out", "cancel interrupted"]);
    becomes(&world, &mut app, "A-1", "EMITTED").await;
    assert_eq!(
        story(&mut app, "A-1").await,
        ["emit timed_out", "cancel interrupted", "cancel ok", "emit ok"]
    );
    let wait = began(&app.attempts_of("A-1").await[2]) - restarted;
    assert!(wait >= SETTLE_AFTER, "it counts from the restart: {wait}");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A stop waits for the answer of a cancel under way, and records it.
#[tokio::test]
async fn a_stop_finishes_the_cancel_under_way() {
    let mut world = world().await;
    world.set("api.request_timeout", "5s");
    world
        .sim
        .add_fault(Rule::once(Operation::Emit, Fault::ResetAfter { by: tresorpayd::simulator::Ending::Rst }));
    world.sim.add_fault(Rule::once(Operation::Cancel, Fault::Latency { ms: 1500, jitter_ms: 0 }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("the cancel is under way", async || world.cancels() == 1).await;
    daemon.stop().await;
    assert_eq!(story(&mut app, "A-1").await, ["emit connection_lost", "cancel ok"]);
    assert_eq!(app.status("A-1").await, "PENDING");
    audit(&world, &mut app).await;
}

/// The platform creates every notice and never says so. Few rows come to be in doubt; when it answers again, those are
/// canceled and all are emitted.
#[tokio::test]
async fn an_outage_that_makes_doubts_leaves_each_notice_live_once() {
    const ROWS: usize = 60;
    let mut world = world().await;
    world.set("api.max_concurrency", "4").set("api.breaker_failures", "5").set("emit.settle_after", "3s");
    world.set("api.retry_first_delay", "1s").set("api.retry_max_delay", "2s");
    world.sim.add_fault(Rule::always(Operation::Any, Fault::Lost { processed: true }).skip(1));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(ROWS)).await;
    until("the outage is met", async || app.count("UNCERTAIN").await >= 5).await;
    holds_for(Duration::from_secs(4), "a handful is in doubt, the others wait", async || {
        app.number("SELECT count(*) FROM outbox WHERE status NOT IN ('PENDING', 'EMITTING')").await <= 15
    })
    .await;
    world.sim.clear_faults();
    until("all are emitted", async || {
        assert_eq!(world.sim.ledger().billed_twice(), Vec::<&str>::new());
        app.count("EMITTED").await == ROWS
    })
    .await;
    daemon.stop().await;
    assert!(world.cancels() >= 5);
    audit(&world, &mut app).await;
}

/// Many doubts that are not due, and many that are held, cost an idle daemon nothing.
#[tokio::test]
async fn rows_in_doubt_that_wait_are_left_in_peace() {
    const ROWS: usize = 150;
    let mut world = world().await;
    world
        .set("emit.max_uncertain", "1000")
        .set("api.breaker_failures", "1000")
        .set("emit.settle_after", "1h");
    world.sim.add_fault(Rule::always(Operation::Emit, Fault::Truncated { keep: None }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(ROWS)).await;
    until("all are in doubt", async || app.count("UNCERTAIN").await == ROWS).await;
    until("all are dated", async || {
        let held = "SELECT count(*) FROM outbox WHERE next_attempt_at IS NULL";
        app.number(held).await == 0
    })
    .await;
    let before = app.number("SELECT sum(attempts) + count(*) FROM outbox").await;
    let ticks = crate::death::usage(daemon.pid()).0;
    holds_for(Duration::from_secs(2), "nothing is sent", async || world.cancels() == 0).await;
    let spent = crate::death::usage(daemon.pid()).0 - ticks;
    assert!(spent < 20, "{spent} jiffies in two seconds");
    assert_eq!(app.number("SELECT sum(attempts) + count(*) FROM outbox").await, before);
    daemon.stop().await;
    audit(&world, &mut app).await;
}
