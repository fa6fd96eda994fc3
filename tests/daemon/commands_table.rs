//! The table: every action for a row in every status, what it comes to, and what the row is afterwards. Then what an
//! operator resolves, and the confirmation of deliveries.

use std::time::Duration;

use tresorpayd::simulator::{Ending, ErrorBody, Fault, NoticeStatus, Operation, Rule};

use crate::{
    audit::audit,
    harness::{World, holds_for, until},
    rows::{Application, NewRow},
};

const STATUSES: [&str; 7] = ["PENDING", "EMITTING", "UNCERTAIN", "REJECTED", "EMITTED", "PAID", "CANCELED"];
const ACTIONS: [&str; 8] = [
    "cancel",
    "retry",
    "poll",
    "confirm-delivery",
    "fetch-receipt",
    "resolve-emitted",
    "resolve-not-emitted",
    "anonymise",
];

/// The outcome of each action, in the order of [`ACTIONS`], by status; and what the row becomes. `=`: what it was.
const TABLE: [(&str, [(&str, &str); 8]); 7] = [
    (
        "PENDING",
        [
            ("done", "CANCELED"),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
        ],
    ),
    // Each waits for the answer, or is refused while there is none.
    (
        "EMITTING",
        [
            ("done", "CANCELED"),
            ("refused", "EMITTED"),
            ("refused", "EMITTED"),
            ("refused", "EMITTED"),
            ("refused", "EMITTED"),
            ("refused", "EMITTED"),
            ("refused", "EMITTED"),
            ("refused", "EMITTED"),
        ],
    ),
    (
        "UNCERTAIN",
        [
            ("done", "CANCELED"),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("done", "EMITTED"),
            ("done", "EMITTED"),
            ("refused", "="),
        ],
    ),
    (
        "REJECTED",
        [
            ("done", "CANCELED"),
            ("done", "EMITTED"),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("done", "="),
        ],
    ),
    (
        "EMITTED",
        [
            ("done", "CANCELED"),
            ("refused", "="),
            ("done", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
        ],
    ),
    (
        "PAID",
        [
            ("refused", "="),
            ("refused", "="),
            ("done", "="),
            ("done", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("done", "="),
        ],
    ),
    (
        "CANCELED",
        [
            ("refused", "="),
            ("refused", "="),
            ("done", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("refused", "="),
            ("done", "="),
        ],
    ),
];

fn reference(status: &str, action: &str) -> String {
    format!("{status}-{action}")
}

/// A row for each status and action, in that status.
async fn prepare(world: &World, app: &mut Application) {
    let mut rows = Vec::new();
    for status in STATUSES {
        for action in ACTIONS {
            let mut row = NewRow::new(reference(status, action));
            let fault = match (status, action) {
                ("PENDING", _) => {
                    row.not_before = Some("2100-01-01T00:00:00Z".to_owned());
                    None
                }
                ("REJECTED", _) => {
                    row.code_client = Some("APP-WRONG");
                    None
                }
                ("EMITTING", _) => Some(Fault::Latency { ms: 4000, jitter_ms: 0 }),
                ("UNCERTAIN", "resolve-not-emitted") => Some(Fault::ResetBefore { by: Ending::Rst }),
                ("UNCERTAIN", _) => Some(Fault::ResetAfter { by: Ending::Rst }),
                _ => None,
            };
            if let Some(fault) = fault {
                world.sim.add_fault(Rule::once(Operation::Emit, fault).reference(&row.reference));
            }
            rows.push((status, row));
        }
    }
    let (last, first): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(status, _)| *status == "EMITTING");
    let rows = |rows: Vec<(&str, NewRow)>| rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>();
    app.insert(&rows(first)).await;
    until("all but the last are answered", async || app.count("EMITTED").await == 24).await;
    for action in ACTIONS {
        world.sim.pay(&reference("PAID", action), None).unwrap();
        world.sim.cancel(&reference("CANCELED", action)).unwrap();
    }
    until("payments and cancels are seen", async || {
        app.count("PAID").await == 8 && app.count("CANCELED").await == 8
    })
    .await;
    app.run("UPDATE outbox SET code_client = NULL WHERE reference = 'REJECTED-retry'").await.unwrap();
    app.insert(&rows(last)).await;
    until("the last are under way", async || app.count("EMITTING").await == 8).await;
    for status in STATUSES {
        assert_eq!(app.count(status).await, 8, "{status}");
    }
}

#[tokio::test]
async fn every_action_for_every_status() {
    let mut world = World::new().await;
    world.set("emit.settle_after", "1s").set("api.max_concurrency", "24").set("api.breaker_failures", "100");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    prepare(&world, &mut app).await;
    app.run("BEGIN IMMEDIATE").await.unwrap();
    let mut asked = Vec::new();
    for (status, outcomes) in TABLE {
        for (action, (outcome, becomes)) in ACTIONS.into_iter().zip(outcomes) {
            let reference = reference(status, action);
            let there = world.sim.notice(&reference).map(|notice| notice.reference);
            let argument = (action == "resolve-emitted").then(|| there.unwrap_or("TP0.0.AR9".to_owned()));
            let id = app.ask(Some(&reference), action, argument.as_deref()).await;
            asked.push((
                reference,
                action,
                status,
                id,
                outcome,
                if becomes == "=" { status } else { becomes },
            ));
        }
    }
    app.run("COMMIT").await.unwrap();
    for (reference, action, status, id, outcome, becomes) in asked {
        let (ended, detail) = app.ended(id).await;
        assert_eq!(ended, outcome, "{reference}: {detail}");
        assert!(!detail.is_empty() && !detail.contains('\n'), "{reference}: {detail}");
        if outcome == "refused" && !detail.contains("receipts.directory") && !detail.contains("TP0.0.AR9") {
            let then = if status == "EMITTING" && action.starts_with("resolve") { "EMITTED" } else { status };
            assert!(detail.starts_with(&format!("it is {then}: ")), "{reference}: {detail}");
        }
        until(&format!("{reference} is {becomes}"), async || app.status(&reference).await == becomes).await;
    }
    assert!(world.sim.notice("PAID-confirm-delivery").unwrap().verified);
    for action in ["pause", "resume"] {
        let id = app.ask(None, action, None).await;
        assert_eq!(app.ended(id).await.0, "done", "{action}");
    }
    audit(&world, &mut app).await;
}

/// An operator who knows the notice names it; TresorPay is asked about it first, and no row gets another's.
#[tokio::test]
async fn a_doubt_is_resolved_by_a_notice_that_is_there() {
    let mut world = World::new().await;
    world.set("emit.settle_after", "1s");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    world
        .sim
        .add_fault(Rule::always(Operation::Emit, Fault::ResetAfter { by: Ending::Rst }).reference("DOUBT"));
    app.insert(&[NewRow::new("DOUBT"), NewRow::new("OTHER")]).await;
    until("the one is in doubt, the other not", async || {
        app.status("DOUBT").await == "UNCERTAIN" && app.status("OTHER").await == "EMITTED"
    })
    .await;
    let other = app.row("OTHER").await.tresorpay_reference.unwrap();
    for (argument, why) in
        [(&*other, "is the notice of another row, OTHER"), ("TP20200101.0000.AR9", "does not know a notice")]
    {
        let id = app.ask(Some("DOUBT"), "resolve-emitted", Some(argument)).await;
        let (outcome, detail) = app.ended(id).await;
        assert_eq!(outcome, "refused");
        assert!(detail.contains(why), "{detail}");
    }
    let notice = world.sim.notice("DOUBT").unwrap().reference;
    world.sim.pay("DOUBT", Some("WAVE")).unwrap();
    let id = app.ask(Some("DOUBT"), "resolve-emitted", Some(&notice)).await;
    assert_eq!(app.ended(id).await.0, "done");
    until("its payment is seen", async || app.status("DOUBT").await == "PAID").await;
    let row = app.row("DOUBT").await;
    assert_eq!(row.tresorpay_reference.as_deref(), Some(&*notice));
    assert!(row.payment_url.unwrap().ends_with(&format!("?id={notice}")));
    assert_eq!(world.emissions(), 2, "it was not emitted again");
    audit(&world, &mut app).await;
}

/// An operator's word that nothing exists counts once the request is old enough; then it is emitted again.
#[tokio::test]
async fn a_doubt_is_resolved_as_not_emitted_no_earlier_than_settle_after() {
    let mut world = World::new().await;
    world.set("emit.settle_after", "2s").set("emit.max_attempts", "2");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    // The slow platform: it carries the request out after the client has given up.
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::ResetBefore { by: Ending::Rst }).reference("A-1"));
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is in doubt", async || app.status("A-1").await == "UNCERTAIN").await;
    let id = app.ask(Some("A-1"), "resolve-not-emitted", None).await;
    holds_for(Duration::from_millis(1200), "it waits", async || app.status("A-1").await == "UNCERTAIN").await;
    assert!(app.asked(id).await.detail.unwrap().starts_with("waits for emit.settle_after"));
    assert_eq!(app.ended(id).await.0, "done");
    until("it is emitted", async || app.status("A-1").await == "EMITTED").await;
    // What was sent as often as it may is not sent again.
    world
        .sim
        .add_fault(Rule::always(Operation::Emit, Fault::ResetBefore { by: Ending::Rst }).reference("A-2"));
    app.insert(&[NewRow::new("A-2")]).await;
    for _ in 0..2 {
        until("it is in doubt", async || app.status("A-2").await == "UNCERTAIN").await;
        let (outcome, detail) = app.command("A-2", "resolve-not-emitted").await;
        assert_eq!(outcome, "done", "{detail}");
    }
    until("it is rejected", async || app.status("A-2").await == "REJECTED").await;
    assert!(app.row("A-2").await.last_error.unwrap().starts_with("max_attempts: "));
    audit(&world, &mut app).await;
}

/// With `on_paid` every payment is confirmed, until it holds, and each try is on record.
#[tokio::test]
async fn deliveries_are_confirmed_after_payment_until_it_holds() {
    let mut world = World::new().await;
    world.set("confirm.delivery", "on_paid").set("poll.max_delay", "1s");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let failure = |code| Fault::Status {
        code,
        processed: false,
        retry_after: None,
        body: ErrorBody::Problem,
        message: None,
        title: None,
    };
    world.sim.add_fault(Rule::once(Operation::Verify, failure(500)));
    world.sim.add_fault(Rule::once(Operation::Verify, Fault::ResetAfter { by: Ending::Rst }));
    world.sim.add_fault(Rule::once(Operation::Verify, failure(400)));
    app.insert(&[NewRow::new("A-1"), NewRow::new("A-2")]).await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    for reference in ["A-1", "A-2"] {
        world.sim.pay(reference, None).unwrap();
    }
    let confirmed = "SELECT count(*) FROM outbox WHERE status = 'PAID' AND delivery_confirmed_at IS NOT NULL
                     AND last_error IS NULL AND next_attempt_at IS NULL";
    until("both are confirmed", async || app.number(confirmed).await == 2).await;
    assert!(world.sim.ledger().notices.iter().all(|notice| notice.verified));
    let attempts = app.attempts().await;
    let confirms: Vec<_> = attempts.iter().filter(|attempt| attempt.operation == "confirm").collect();
    assert_eq!(confirms.len(), 5, "{confirms:?}");
    for outcome in ["server_error", "connection_lost", "refused"] {
        assert!(confirms.iter().any(|a| a.outcome.as_deref() == Some(outcome)), "{outcome}: {confirms:?}");
    }
    daemon.stop().await;
    assert_eq!(world.sim.notice("A-1").unwrap().status, NoticeStatus::Paid);
    audit(&world, &mut app).await;
}

/// By default nothing is confirmed unless asked; what is refused says so; `never` is never.
#[tokio::test]
async fn deliveries_are_confirmed_by_command_only() {
    let mut world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1"), NewRow::new("A-2")]).await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    for reference in ["A-1", "A-2"] {
        world.sim.pay(reference, None).unwrap();
    }
    until("both are paid", async || app.count("PAID").await == 2).await;
    assert_eq!(app.command("A-1", "confirm-delivery").await.0, "done");
    assert!(app.command("A-1", "confirm-delivery").await.1.starts_with("its delivery was confirmed already"));
    let refusal = Fault::Status {
        code: 400,
        processed: false,
        retry_after: None,
        body: ErrorBody::Problem,
        message: Some("error.NOT_YET".into()),
        title: None,
    };
    world.sim.add_fault(Rule::once(Operation::Verify, refusal));
    let (outcome, detail) = app.command("A-2", "confirm-delivery").await;
    assert_eq!((&*outcome, &*detail), ("refused", "TresorPay refuses it: refused: HTTP 400, error.NOT_YET"));
    daemon.stop().await;
    world.set("confirm.delivery", "never");
    let _daemon = world.start().await;
    assert!(app.command("A-2", "confirm-delivery").await.1.contains("confirm.delivery is `never`"));
    assert!(!world.sim.notice("A-2").unwrap().verified);
    audit(&world, &mut app).await;
}
