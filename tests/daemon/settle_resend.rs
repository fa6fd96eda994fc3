//! `emit.on_uncertain = resend`: the same reference again, for a platform that is known to recognise it.

use std::time::Duration;

use chrono::TimeDelta;
use tresorpayd::simulator::{Config, Ending, ErrorBody, Fault, OnDuplicate, Operation, Rule};

use crate::{
    audit::audit,
    harness::{World, case, each, holds_for, until},
    rows::{NewRow, bulk},
    settle::{becomes, began, settling, story},
};

async fn world(on_duplicate: OnDuplicate) -> World {
    let config = Config {
        on_duplicate,
        other_codes: vec![("APP-NEW".to_owned(), "STR-NEW".to_owned())],
        ..Config::default()
    };
    let mut world = settling(World::on(config).await);
    world.set("emit.on_uncertain", "resend");
    world
}

fn reset(processed: bool) -> Rule {
    let by = Ending::Rst;
    Rule::once(Operation::Emit, if processed { Fault::ResetAfter { by } } else { Fault::ResetBefore { by } })
}

/// The platform answers a repeated reference with the first notice, or creates it now: either way it is the row's.
async fn answered_with_a_notice(processed: bool) {
    let world = world(OnDuplicate::Same).await;
    world.sim.add_fault(reset(processed));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "EMITTED").await;
    assert_eq!(app.path("A-1").await, ["PENDING", "EMITTING", "UNCERTAIN", "EMITTING", "EMITTED"]);
    assert_eq!(story(&mut app, "A-1").await, ["emit connection_lost", "emit ok"]);
    let attempts = app.attempts_of("A-1").await;
    assert!(began(&attempts[1]) - began(&attempts[0]) >= TimeDelta::milliseconds(1500));
    assert_eq!((world.sim.ledger().of_client("A-1").count(), world.cancels()), (1, 0));
    assert_eq!(app.row("A-1").await.attempts, 2);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A refusal may be because the first notice is there: an operator decides.
async fn refused() {
    let world = world(OnDuplicate::Refuse).await;
    world.sim.add_fault(reset(true));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is held", async || {
        app.row("A-1").await.last_error.is_some_and(|error| error.starts_with("refused: "))
    })
    .await;
    let row = app.row("A-1").await;
    assert_eq!((&*row.status, &row.next_attempt_at, row.attempts), ("UNCERTAIN", &None, 2));
    assert_eq!(app.path("A-1").await.last().unwrap(), "UNCERTAIN");
    daemon.stop().await;
    let mut daemon = world.start().await;
    holds_for(Duration::from_secs(3), "nor after a restart", async || world.emissions() == 2).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Turned away at the door: nothing is known of the first emission, so it is in doubt still, and sent again.
async fn not_created() {
    let world = world(OnDuplicate::Same).await;
    let (retry_after, message, title) = (Some("1".to_owned()), None, None);
    let busy =
        Fault::Status { code: 429, processed: false, retry_after, body: ErrorBody::Problem, message, title };
    world.sim.add_fault(reset(true));
    world.sim.add_fault(Rule::once(Operation::Emit, busy));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "EMITTED").await;
    assert_eq!(story(&mut app, "A-1").await, ["emit connection_lost", "emit rate_limited", "emit ok"]);
    let path = ["PENDING", "EMITTING", "UNCERTAIN", "EMITTING", "UNCERTAIN", "EMITTING", "EMITTED"];
    assert_eq!(app.path("A-1").await, path);
    assert_eq!(app.row("A-1").await.attempts, 2, "the second does not count");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// With other codes it would be another notice.
async fn not_with_other_codes() {
    let mut world = world(OnDuplicate::Same).await;
    world.sim.add_fault(reset(true));
    world.set("emit.on_uncertain", "hold");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    becomes(&world, &mut app, "A-1", "UNCERTAIN").await;
    daemon.stop().await;
    world.set("emit.on_uncertain", "resend");
    world.set("notice.code_client", "APP-NEW").set("notice.code_structure", "STR-NEW");
    let mut daemon = world.start().await;
    until("it is held", async || {
        app.row("A-1")
            .await
            .last_error
            .is_some_and(|error| error.starts_with("unproven: the codes have changed"))
    })
    .await;
    daemon.stop().await;
    assert_eq!((world.emissions(), &*app.status("A-1").await), (1, "UNCERTAIN"));
    world.set("notice.code_client", "APP-DEMO").set("notice.code_structure", "STR-DEMO");
    let mut daemon = world.start().await;
    becomes(&world, &mut app, "A-1", "EMITTED").await;
    daemon.stop().await;
    assert_eq!(world.sim.ledger().of_client("A-1").count(), 1);
    audit(&world, &mut app).await;
}

/// As often as rows may be emitted, and no more.
async fn not_without_end() {
    let mut world = world(OnDuplicate::Same).await;
    world.set("emit.max_attempts", "2").set("emit.settle_after", "250ms");
    world.sim.add_fault(reset(true).times(2));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is held", async || {
        app.row("A-1").await.last_error.is_some_and(|error| error.starts_with("max_attempts: "))
    })
    .await;
    let row = app.row("A-1").await;
    assert_eq!((&*row.status, &row.next_attempt_at, row.attempts), ("UNCERTAIN", &None, 2));
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn what_the_same_reference_sent_again_comes_to() {
    each([
        case("the first notice", answered_with_a_notice(true)),
        case("a new notice", answered_with_a_notice(false)),
        case("refused", refused()),
        case("not_created", not_created()),
        case("not_with_other_codes", not_with_other_codes()),
        case("not_without_end", not_without_end()),
    ])
    .await;
}

/// An outage, then the end of it: what is in doubt goes first and `emit.max_uncertain` does not hold it back.
#[tokio::test]
async fn too_many_doubts_stop_new_rows_and_not_their_own_end() {
    let mut world = world(OnDuplicate::Same).await;
    world.set("emit.max_uncertain", "5").set("api.max_concurrency", "4");
    world.sim.add_fault(reset(true).times(6));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(30)).await;
    until("all are emitted", async || app.count("EMITTED").await == 30).await;
    daemon.stop().await;
    assert_eq!(world.sim.ledger().notices.len(), 30);
    audit(&world, &mut app).await;
}
