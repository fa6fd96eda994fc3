//! What is canceled at TresorPay: by command, against a payment that comes at the same time, over lost answers and
//! crashes, and for corrections by `replaces`.

use std::time::Duration;

use tresorpayd::simulator::{Config, Ending, Fault, Happening, NoticeStatus, Operation, Rule, Simulator};

use crate::{
    audit::audit,
    harness::{World, holds_for, until},
    rows::{Application, NewRow, bulk},
};

const OPEN_COMMANDS: &str = "SELECT count(*) FROM command WHERE done_at IS NULL";

/// An emitted notice.
async fn emitted(app: &mut Application, reference: &str) {
    app.insert(&[NewRow::new(reference)]).await;
    until("it is emitted", async || app.status(reference).await == "EMITTED").await;
}

fn correction(reference: &str, replaces: &str) -> NewRow {
    let mut row = NewRow::new(reference).amount(900);
    row.replaces = Some(replaces.to_owned());
    row
}

fn status(sim: &Simulator, reference: &str) -> Option<NoticeStatus> {
    sim.notice(reference).map(|notice| notice.status)
}

#[tokio::test]
async fn an_emitted_notice_is_canceled_at_tresorpay_first() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, "A-1").await;
    let (outcome, detail) = app.command("A-1", "cancel").await;
    assert_eq!(outcome, "done", "{detail}");
    assert_eq!(app.path("A-1").await, ["PENDING", "EMITTING", "EMITTED", "CANCELED"]);
    assert_eq!(status(&world.sim, "A-1"), Some(NoticeStatus::Canceled));
    let attempts = app.attempts_of("A-1").await;
    let cancel = attempts.iter().find(|attempt| attempt.operation == "cancel").unwrap();
    assert_eq!((cancel.outcome.as_deref(), &*cancel.phase), (Some("ok"), "answered"));
    assert_eq!(cancel.code_client.as_deref(), Some("APP-DEMO"));
    audit(&world, &mut app).await;
}

/// Paid before the cancel comes: it stays paid, and both are on record.
#[tokio::test]
async fn a_cancel_that_comes_after_the_payment_is_refused_and_the_payment_recorded() {
    let mut world = World::new().await;
    world.set("poll.first_delay", "1h").set("poll.max_delay", "1h");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, "A-1").await;
    world.sim.pay("A-1", Some("WAVE")).unwrap();
    let (outcome, detail) = app.command("A-1", "cancel").await;
    assert_eq!(outcome, "refused");
    assert!(detail.starts_with("it is PAID: "), "{detail}");
    let row = app.row("A-1").await;
    assert_eq!((&*row.status, row.provider.as_deref()), ("PAID", Some("WAVE")));
    let attempts = app.attempts_of("A-1").await;
    assert_eq!(attempts.iter().filter(|attempt| attempt.operation == "cancel").count(), 1, "{attempts:?}");
    audit(&world, &mut app).await;
}

/// Whoever is first at TresorPay wins; here and there it is the same for every notice.
#[tokio::test]
async fn cancels_race_payments_and_the_truth_wins() {
    const ROWS: usize = 40;
    let mut world = World::with(Config::default()).await;
    world.set("api.max_concurrency", "8");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(ROWS)).await;
    until("all are emitted", async || app.count("EMITTED").await == ROWS).await;
    world.sim.set_latency(Duration::from_millis(1)..=Duration::from_millis(30));
    app.run("BEGIN IMMEDIATE").await.unwrap();
    let mut cancels = Vec::new();
    for number in 1..=ROWS {
        cancels.push(app.ask(Some(&format!("A-{number}")), "cancel", None).await);
    }
    app.run("COMMIT").await.unwrap();
    until("cancels are under way", async || world.sim.counters().requests(Operation::Cancel) > 2).await;
    let (mut paid, mut left) = (0, (1..=ROWS).collect::<Vec<_>>());
    while !left.is_empty() {
        let before = world.sim.counters().requests(Operation::Cancel);
        let number = left.swap_remove(fastrand::usize(..left.len()));
        // Refused if it was canceled first.
        paid += usize::from(world.sim.pay(&format!("A-{number}"), None).is_ok());
        until("another cancel has come, or none will", async || {
            world.sim.counters().requests(Operation::Cancel) > before || app.number(OPEN_COMMANDS).await == 0
        })
        .await;
    }
    let (mut done, mut refused) = (0, 0);
    for cancel in cancels {
        match &*app.ended(cancel).await.0 {
            "done" => done += 1,
            _ => refused += 1,
        }
    }
    assert_eq!((done, refused), (ROWS - paid, paid));
    until("all payments are seen", async || app.count("PAID").await == paid).await;
    assert_eq!(app.count("CANCELED").await, done);
    assert!(paid > 0 && done > 0, "no race: {paid} paid, {done} canceled");
    audit(&world, &mut app).await;
}

/// A cancel whose answer is lost is settled by the status.
#[tokio::test]
async fn a_cancel_whose_answer_is_lost_is_settled_by_status() {
    let mut world = World::new().await;
    world.set("poll.first_delay", "1h").set("poll.max_delay", "1h");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    for (reference, fault, tries) in [
        ("CARRIED-OUT", Fault::ResetAfter { by: Ending::Rst }, 1),
        ("NOT", Fault::ResetBefore { by: Ending::Rst }, 2),
        ("GARBLED", Fault::Truncated { keep: Some(5) }, 1),
        (
            "FAILED",
            Fault::Status {
                code: 500,
                processed: false,
                retry_after: None,
                body: tresorpayd::simulator::ErrorBody::Problem,
                message: None,
                title: None,
            },
            2,
        ),
    ] {
        emitted(&mut app, reference).await;
        world.sim.add_fault(Rule::once(Operation::Cancel, fault).reference(reference));
        let (outcome, detail) = app.command(reference, "cancel").await;
        assert_eq!(outcome, "done", "{reference}: {detail}");
        assert_eq!(app.status(reference).await, "CANCELED");
        let attempts = app.attempts_of(reference).await;
        let cancels = attempts.iter().filter(|attempt| attempt.operation == "cancel").count();
        assert_eq!(cancels, tries, "{reference}: {attempts:?}");
    }
    audit(&world, &mut app).await;
}

/// TresorPay's own refusal of a notice that waits to be paid: the row stays, the command says why.
#[tokio::test]
async fn what_tresorpay_will_not_cancel_stays_emitted() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, "A-1").await;
    let refusal = Fault::Status {
        code: 400,
        processed: false,
        retry_after: None,
        body: tresorpayd::simulator::ErrorBody::Problem,
        message: Some("error.NOT_ALLOWED".into()),
        title: Some("Annulation interdite".into()),
    };
    world.sim.add_fault(Rule::always(Operation::Cancel, refusal));
    let (outcome, detail) = app.command("A-1", "cancel").await;
    assert_eq!(outcome, "refused");
    assert!(detail.contains("it waits to be paid") && detail.contains("error.NOT_ALLOWED"), "{detail}");
    assert_eq!(app.status("A-1").await, "EMITTED");
    // Nor is what was to replace it emitted beside it.
    app.insert(&[correction("A-2", "A-1"), correction("A-3", "A-2")]).await;
    until("the last is rejected", async || app.status("A-3").await == "REJECTED").await;
    let row = app.row("A-3").await;
    assert!(row.last_error.as_deref().unwrap().starts_with("replaced_live: A-1, which"), "{row:?}");
    assert_eq!(app.status("A-2").await, "CANCELED", "it was replaced itself");
    assert_eq!(world.sim.ledger().notices.len(), 1);
    audit(&world, &mut app).await;
}

/// Killed while a cancel is under way: it was written ahead, and the status tells what became of it.
#[tokio::test]
async fn a_cancel_outlives_a_crash() {
    let mut world = World::new().await;
    world.set("poll.first_delay", "1h").set("poll.max_delay", "1h");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, "A-1").await;
    world.sim.add_fault(Rule::once(Operation::Cancel, Fault::Lost { processed: true }));
    let cancel = app.ask(Some("A-1"), "cancel", None).await;
    until("it is canceled there", async || status(&world.sim, "A-1") == Some(NoticeStatus::Canceled)).await;
    daemon.kill().await;
    let attempts = app.attempts_of("A-1").await;
    assert!(attempts.iter().any(|a| a.operation == "cancel" && a.outcome.is_none()), "{attempts:?}");
    assert_eq!(app.status("A-1").await, "EMITTED");
    let _daemon = world.start().await;
    let (outcome, detail) = app.ended(cancel).await;
    assert_eq!(outcome, "done", "{detail}");
    assert_eq!(app.status("A-1").await, "CANCELED");
    let attempts = app.attempts_of("A-1").await;
    assert!(attempts.iter().any(|a| a.outcome.as_deref() == Some("interrupted")), "{attempts:?}");
    audit(&world, &mut app).await;
}

/// What is under way waits for its answer, and is then canceled.
#[tokio::test]
async fn a_cancel_waits_for_the_answer_of_an_emission() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::Latency { ms: 1500, jitter_ms: 0 }));
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is under way", async || app.status("A-1").await == "EMITTING").await;
    let cancel = app.ask(Some("A-1"), "cancel", None).await;
    until("it says for what it waits", async || {
        app.asked(cancel).await.detail.as_deref() == Some("waits for the answer to its emission")
    })
    .await;
    assert_eq!(app.ended(cancel).await.0, "done");
    assert_eq!(app.path("A-1").await, ["PENDING", "EMITTING", "EMITTED", "CANCELED"]);
    audit(&world, &mut app).await;
}

/// A doubt is canceled no earlier than `emit.settle_after` after its request, whether TresorPay has the notice or not.
#[tokio::test]
async fn a_doubt_is_canceled_once_it_is_old_enough() {
    let mut world = World::new().await;
    world.set("emit.settle_after", "2s");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    for (reference, fault) in [
        ("THERE", Fault::ResetAfter { by: Ending::Rst }),
        ("NOT-THERE", Fault::ResetBefore { by: Ending::Rst }),
    ] {
        world.sim.add_fault(Rule::once(Operation::Emit, fault).reference(reference));
        app.insert(&[NewRow::new(reference)]).await;
        until("it is in doubt", async || app.status(reference).await == "UNCERTAIN").await;
        let cancel = app.ask(Some(reference), "cancel", None).await;
        holds_for(Duration::from_millis(900), "it waits", async || {
            app.status(reference).await == "UNCERTAIN"
        })
        .await;
        assert_eq!(world.sim.counters().requests(Operation::Cancel), u64::from(reference == "NOT-THERE"));
        let said = app.asked(cancel).await.detail.unwrap();
        assert!(said.starts_with("waits for emit.settle_after"), "{said}");
        let (outcome, detail) = app.ended(cancel).await;
        assert_eq!(outcome, "done", "{detail}");
        assert_eq!(app.path(reference).await, ["PENDING", "EMITTING", "UNCERTAIN", "CANCELED"]);
        assert_eq!(world.sim.ledger().live(reference), 0);
    }
    audit(&world, &mut app).await;
}

/// Never both payable: the correction is created after the original was canceled.
#[tokio::test]
async fn a_correction_is_emitted_once_its_original_is_canceled() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, "WRONG").await;
    app.insert(&[correction("RIGHT", "WRONG")]).await;
    until("it is emitted", async || app.status("RIGHT").await == "EMITTED").await;
    assert_eq!(app.status("WRONG").await, "CANCELED");
    let (wrong, right) = (world.sim.notice("WRONG").unwrap(), world.sim.notice("RIGHT").unwrap());
    let canceled = wrong.history.iter().find(|event| event.what == Happening::Canceled).unwrap();
    assert!(canceled.at <= right.emitted_at, "both were payable");
    let by = app.number("SELECT count(*) FROM command WHERE requested_by = 'replaces: RIGHT'").await;
    assert_eq!(by, 1, "the cancel is on record, with its cause");
    audit(&world, &mut app).await;
}

/// What it replaces was never sent: nothing leaves for that, and the correction goes at once.
#[tokio::test]
async fn a_correction_of_what_was_never_sent_or_never_there() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    daemon.stop().await;
    let mut app = world.application().await;
    let mut refused = NewRow::new("REFUSED");
    refused.code_client = Some("APP-WRONG");
    app.insert(&[
        NewRow::new("WAITING"),
        correction("A-2", "WAITING"),
        correction("A-3", "NEVER-THERE"),
        refused,
    ])
    .await;
    let _daemon = world.start().await;
    until("it is refused", async || app.status("REFUSED").await == "REJECTED").await;
    app.insert(&[correction("A-4", "REFUSED")]).await;
    for reference in ["A-2", "A-3", "A-4"] {
        until("it is emitted", async || app.status(reference).await == "EMITTED").await;
    }
    for reference in ["WAITING", "REFUSED"] {
        assert_eq!(app.status(reference).await, "CANCELED");
    }
    assert!(world.sim.ledger().live("WAITING") <= 1);
    assert_eq!(world.sim.ledger().notices.iter().filter(|n| n.status == NoticeStatus::Emitted).count(), 3);
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_correction_of_what_was_paid_is_rejected() {
    let mut world = World::new().await;
    world.set("poll.first_delay", "1h").set("poll.max_delay", "1h");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, "PAID").await;
    world.sim.pay("PAID", None).unwrap();
    app.insert(&[correction("RIGHT", "PAID"), correction("RIGHT-2", "RIGHT")]).await;
    until("the last is rejected", async || app.status("RIGHT-2").await == "REJECTED").await;
    let row = app.row("RIGHT-2").await;
    assert!(row.last_error.as_deref().unwrap().starts_with("replaced_paid: PAID, which"), "{row:?}");
    assert_eq!(app.status("RIGHT").await, "CANCELED", "it was replaced itself");
    assert_eq!(app.status("PAID").await, "PAID");
    assert_eq!(world.sim.ledger().notices.len(), 1);
    audit(&world, &mut app).await;
}

/// Corrections of corrections, some not due yet, some withdrawn: of each chain at most one is payable, and the last.
#[tokio::test]
async fn a_chain_of_corrections_leaves_one_payable() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, "A").await;
    let mut later = correction("B", "A");
    later.not_before = Some("2100-01-01T00:00:00Z".to_owned());
    app.insert(&[later]).await;
    holds_for(Duration::from_millis(700), "what is not replaced yet stays payable", async || {
        app.status("A").await == "EMITTED"
    })
    .await;
    app.insert(&[correction("C", "B")]).await;
    until("the last is emitted", async || app.status("C").await == "EMITTED").await;
    assert_eq!((&*app.status("A").await, &*app.status("B").await), ("CANCELED", "CANCELED"));
    let canceled = world.sim.notice("A").unwrap().history.last().unwrap().at;
    assert!(canceled <= world.sim.notice("C").unwrap().emitted_at, "A and C were both payable");
    // Two that replace each other: neither waits for ever.
    app.run("BEGIN IMMEDIATE").await.unwrap();
    app.try_insert(&correction("X", "Y")).await.unwrap();
    app.try_insert(&correction("Y", "X")).await.unwrap();
    app.run("COMMIT").await.unwrap();
    until("they have ended", async || {
        app.status("X").await != "PENDING" && app.status("Y").await != "PENDING"
    })
    .await;
    until("nothing is under way", async || app.waiting().await == 0).await;
    assert!(world.sim.ledger().live("X") + world.sim.ledger().live("Y") <= 1);
    audit(&world, &mut app).await;
}

/// The payer is at the counter while the clerk corrects: never two payable at once, never two paid.
#[tokio::test]
async fn corrections_race_payments_and_nobody_pays_twice() {
    const ROWS: usize = 25;
    let world = World::with(Config::default()).await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(ROWS)).await;
    until("all are emitted", async || app.count("EMITTED").await == ROWS).await;
    world.sim.set_latency(Duration::from_millis(1)..=Duration::from_millis(25));
    world
        .sim
        .add_fault(Rule::always(Operation::Cancel, Fault::ResetAfter { by: Ending::Rst }).probability(0.2));
    let corrections: Vec<_> =
        (1..=ROWS).map(|number| correction(&format!("B-{number}"), &format!("A-{number}"))).collect();
    app.insert(&corrections).await;
    for number in 1..=ROWS {
        let before = world.sim.counters().requests(Operation::Cancel);
        for kind in ["A", "B"] {
            // Whatever of the two is there and not canceled is paid.
            let _ = world.sim.pay(&format!("{kind}-{number}"), None);
        }
        until("another cancel has come, or none will", async || {
            world.sim.counters().requests(Operation::Cancel) > before || app.waiting().await == 0
        })
        .await;
    }
    until("nothing waits", async || app.waiting().await == 0).await;
    let ledger = world.sim.ledger();
    for number in 1..=ROWS {
        let (old, new) = (format!("A-{number}"), format!("B-{number}"));
        assert_eq!(ledger.live(&old) + ledger.live(&new), 1, "{old}, {new}");
    }
    until("all payments are seen", async || {
        app.count("PAID").await == ledger.notices.iter().filter(|n| n.status == NoticeStatus::Paid).count()
    })
    .await;
    audit(&world, &mut app).await;
}
