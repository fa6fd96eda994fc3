//! An application's own triggers on `outbox`, as an application may make them, that refuse what the daemon writes.

use std::time::Duration;

use tresorpayd::simulator::{Fault, Operation, Rule};

use super::told;
use crate::{
    audit::audit,
    harness::{World, case, each, holds_for, until},
    rows::{NewRow, bulk},
    settle::settling,
};

const CODE: &str = "trigger_refused";

/// One row cannot be recorded: the others of its commit are, it waits, nothing more leaves, payments are seen.
async fn a_trigger_that_refuses_an_answer(trigger: &str, says: &str) {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "4");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    app.run(trigger).await.unwrap();
    world.sim.set_latency(Duration::from_millis(200));
    app.insert(&bulk(20)).await;
    until("it is told", async || told(&daemon, CODE) == 1).await;
    assert!(daemon.log().contains(says), "the trigger's own words are told:\n{}", daemon.log());
    until("what was under way is recorded, save one", async || {
        world.sim.counters().concurrent == 0 && app.count("EMITTING").await <= 4
    })
    .await;
    let left = world.emissions();
    world.sim.pay("FIRST", None).unwrap();
    until("payments are recorded", async || app.status("FIRST").await == "PAID").await;
    holds_for(Duration::from_secs(2), "it waits, says it once, and sends nothing", async || {
        daemon.runs()
            && world.emissions() == left
            && app.status("A-3").await == "EMITTING"
            && told(&daemon, CODE) == 1
    })
    .await;
    app.run("DROP TRIGGER refusing").await.unwrap();
    until("all are emitted", async || app.count("EMITTED").await == 20).await;
    daemon.stop().await;
    assert_eq!(world.emissions(), 21);
    audit(&world, &mut app).await;
}

/// One row cannot be claimed: it is put off with the trigger's words, and the others pass it.
async fn a_trigger_that_refuses_one_claim() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.run(
        "CREATE TRIGGER refusing AFTER UPDATE OF status ON outbox
         WHEN NEW.status = 'EMITTING' AND NEW.reference IN ('A-1', 'A-7')
         BEGIN SELECT RAISE(ABORT, 'the till is closed'); END",
    )
    .await
    .unwrap();
    app.insert(&bulk(20)).await;
    until("the others are emitted", async || app.count("EMITTED").await == 18).await;
    for reference in ["A-1", "A-7"] {
        let row = app.row(reference).await;
        assert_eq!((&*row.status, row.attempts), ("PENDING", 0));
        assert_eq!(row.last_error.as_deref(), Some("trigger_refused: the till is closed"));
        assert!(row.next_attempt_at.is_some());
    }
    assert_eq!(told(&daemon, CODE), 1, "{}", daemon.log());
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// No row can be claimed, nor put off: nothing is emitted and nothing ends, whoever else has work goes on.
async fn a_trigger_that_refuses_every_claim(trigger: &str) {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    app.run(trigger).await.unwrap();
    app.insert(&bulk(20)).await;
    until("it is told", async || told(&daemon, CODE) == 1).await;
    world.sim.pay("FIRST", None).unwrap();
    until("payments are recorded", async || app.status("FIRST").await == "PAID").await;
    holds_for(Duration::from_secs(2), "it runs and says it once", async || {
        daemon.runs() && told(&daemon, CODE) == 1
    })
    .await;
    app.run("DROP TRIGGER refusing").await.unwrap();
    until("all are emitted", async || app.count("EMITTED").await == 20).await;
    daemon.stop().await;
    assert_eq!(world.emissions(), 21);
    audit(&world, &mut app).await;
}

/// One payment cannot be recorded: the others are, and TresorPay is not asked again and again.
async fn a_trigger_that_refuses_a_payment() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(5)).await;
    until("all are emitted", async || app.count("EMITTED").await == 5).await;
    app.run(
        "CREATE TRIGGER refusing BEFORE UPDATE OF status ON outbox
         WHEN NEW.status = 'PAID' AND NEW.reference = 'A-2'
         BEGIN SELECT RAISE(ABORT, 'no such account'); END",
    )
    .await
    .unwrap();
    for number in 1..=5 {
        world.sim.pay(&format!("A-{number}"), None).unwrap();
    }
    until("the others are paid", async || app.count("PAID").await == 4).await;
    until("it is told", async || told(&daemon, CODE) == 1).await;
    let row = app.row("A-2").await;
    assert_eq!(row.last_error.as_deref(), Some("trigger_refused: no such account"));
    let asked = || {
        let counters = world.sim.counters();
        counters.requests(Operation::Status) + counters.requests(Operation::Batch)
    };
    let before = asked();
    holds_for(Duration::from_secs(2), "it is not asked about again and again", async || {
        daemon.runs() && asked() <= before + 1
    })
    .await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_trigger_that_refuses_costs_time_and_nothing_else() {
    let aborts = "CREATE TRIGGER refusing AFTER UPDATE OF status ON outbox
         WHEN NEW.status = 'EMITTED' AND NEW.reference = 'A-3'
         BEGIN SELECT RAISE(ABORT, 'the ledger is closed'); END";
    let rolls_back = "CREATE TRIGGER refusing AFTER UPDATE OF status ON outbox
         WHEN NEW.status = 'EMITTED' AND NEW.reference = 'A-3'
         BEGIN SELECT RAISE(ROLLBACK, 'the ledger is closed'); END";
    let every_claim = "CREATE TRIGGER refusing BEFORE UPDATE ON outbox
         WHEN OLD.status = 'PENDING'
         BEGIN SELECT RAISE(ABORT, 'closed today'); END";
    let rolls_back_every_claim = "CREATE TRIGGER refusing BEFORE UPDATE ON outbox
         WHEN OLD.status = 'PENDING'
         BEGIN SELECT RAISE(ROLLBACK, 'closed today'); END";
    each([
        case("an answer", a_trigger_that_refuses_an_answer(aborts, "the ledger is closed")),
        case("an answer, by ROLLBACK", a_trigger_that_refuses_an_answer(rolls_back, "the ledger is closed")),
        case("one claim", a_trigger_that_refuses_one_claim()),
        case("every claim", a_trigger_that_refuses_every_claim(every_claim)),
        case("every claim, by ROLLBACK", a_trigger_that_refuses_every_claim(rolls_back_every_claim)),
        case("a payment", a_trigger_that_refuses_a_payment()),
    ])
    .await;
}

/// A trigger of the application's whose table is gone refuses everything, until somebody puts it right.
#[tokio::test]
async fn a_trigger_that_cannot_run_costs_time_and_nothing_else() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.run("CREATE TABLE journal (id INTEGER PRIMARY KEY, reference TEXT)").await.unwrap();
    app.run(
        "CREATE TRIGGER noting AFTER UPDATE OF status ON outbox
         BEGIN INSERT INTO journal (reference) VALUES (NEW.reference); END",
    )
    .await
    .unwrap();
    world.sim.set_latency(Duration::from_millis(600));
    app.insert(&bulk(12)).await;
    until("requests are under way", async || world.emissions() >= 8).await;
    app.run("DROP TABLE journal").await.unwrap();
    until("it is told", async || told(&daemon, CODE) == 1).await;
    assert!(daemon.log().contains("journal"), "{}", daemon.log());
    holds_for(Duration::from_secs(1), "it waits", async || daemon.runs()).await;
    app.run("CREATE TABLE journal (id INTEGER PRIMARY KEY, reference TEXT)").await.unwrap();
    until("all are emitted", async || app.count("EMITTED").await == 12).await;
    daemon.stop().await;
    assert_eq!(world.emissions(), 12);
    audit(&world, &mut app).await;
}

/// What waits when the signal comes is recorded if the trigger goes within the grace, else in doubt.
#[tokio::test]
async fn stopped_while_an_answer_is_refused() {
    let stopped = async |within_the_grace: bool| {
        let mut world = World::new().await;
        world.set("api.request_timeout", "1s");
        world.set("shutdown.grace", if within_the_grace { "20s" } else { "2s" });
        let mut daemon = world.start().await;
        let mut app = world.application().await;
        app.run(
            "CREATE TRIGGER refusing AFTER UPDATE OF status ON outbox
             WHEN NEW.status = 'EMITTED' AND NEW.reference = 'A-3'
             BEGIN SELECT RAISE(ABORT, 'the ledger is closed'); END",
        )
        .await
        .unwrap();
        app.insert(&bulk(5)).await;
        until("it is told", async || told(&daemon, CODE) == 1).await;
        until("the others are emitted", async || app.count("EMITTED").await == 4).await;
        daemon.signal(rustix::process::Signal::TERM);
        until("it is stopping", async || daemon.log().contains("stopping")).await;
        if within_the_grace {
            app.run("DROP TRIGGER refusing").await.unwrap();
        }
        assert_eq!(daemon.ended(Duration::from_secs(15)).await, Ok(0), "{}", daemon.log());
        let mut daemon = world.start().await;
        let status = if within_the_grace { "EMITTED" } else { "UNCERTAIN" };
        assert_eq!(app.status("A-3").await, status);
        daemon.stop().await;
        assert_eq!(world.emissions(), 5);
        audit(&world, &mut app).await;
    };
    each([case("it goes", stopped(true)), case("it stays", stopped(false))]).await;
}

/// The answer to a cancel cannot be recorded: it waits, nothing more is claimed, and the cancel is not sent again.
async fn a_trigger_that_refuses_the_answer_to_a_cancel() {
    let world = settling(World::new().await);
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::Lost { processed: true }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.run(
        "CREATE TRIGGER refusing AFTER UPDATE OF status ON outbox
         WHEN OLD.status = 'UNCERTAIN' AND NEW.reference = 'A-1'
         BEGIN SELECT RAISE(ABORT, 'the ledger is closed'); END",
    )
    .await
    .unwrap();
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is told", async || told(&daemon, CODE) == 1).await;
    app.insert(&[NewRow::new("A-2")]).await;
    holds_for(Duration::from_secs(2), "it waits, and nothing is sent", async || {
        daemon.runs()
            && world.cancels() == 1
            && world.emissions() == 1
            && app.status("A-1").await == "UNCERTAIN"
            && told(&daemon, CODE) == 1
    })
    .await;
    app.run("DROP TRIGGER refusing").await.unwrap();
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    assert_eq!(world.cancels(), 1, "its answer was kept");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A cancel cannot begin: its row is put off with the trigger's words, and the others pass it.
async fn a_trigger_that_lets_no_cancel_of_a_row_begin() {
    let world = settling(World::new().await);
    world.sim.add_fault(Rule::always(Operation::Emit, Fault::Lost { processed: true }).times(3));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.run(
        "CREATE TRIGGER refusing BEFORE INSERT ON attempt
         WHEN NEW.operation = 'cancel' AND NEW.outbox_id IN (1, 2)
         BEGIN SELECT RAISE(ABORT, 'no cancels today'); END",
    )
    .await
    .unwrap();
    app.insert(&bulk(3)).await;
    until("the third is settled and emitted", async || app.status("A-3").await == "EMITTED").await;
    until("the others are put off", async || {
        app.number("SELECT count(*) FROM outbox WHERE last_error = 'trigger_refused: no cancels today'").await
            == 2
    })
    .await;
    assert!(daemon.runs() && world.cancels() == 1, "{}", daemon.log());
    app.run("DROP TRIGGER refusing").await.unwrap();
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// One command's move is refused: it stays open and says why, the others are carried out, and it is once it may be.
async fn a_trigger_that_refuses_a_command() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.run(
        "CREATE TRIGGER refusing BEFORE UPDATE OF status ON outbox
         WHEN NEW.status = 'CANCELED' AND NEW.reference = 'A-1'
         BEGIN SELECT RAISE(ABORT, 'ask the treasurer'); END",
    )
    .await
    .unwrap();
    app.ask(None, "pause", None).await;
    until("emission is paused", async || {
        app.number("SELECT count(*) FROM command WHERE done_at IS NULL").await == 0
    })
    .await;
    app.insert(&bulk(3)).await;
    let refused = app.ask(Some("A-1"), "cancel", None).await;
    for reference in ["A-2", "A-3"] {
        assert_eq!(app.command(reference, "cancel").await.0, "done");
    }
    until("it says why", async || {
        let said =
            app.text(&format!("SELECT detail FROM command WHERE id = {refused} AND done_at IS NULL")).await;
        said.is_some_and(|said| said.contains("ask the treasurer"))
    })
    .await;
    assert!(daemon.runs(), "{}", daemon.log());
    app.run("DROP TRIGGER refusing").await.unwrap();
    assert_eq!(app.ended(refused).await.0, "done");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn what_else_a_trigger_refuses_ends_nothing() {
    each([
        case("the answer to a cancel", a_trigger_that_refuses_the_answer_to_a_cancel()),
        case("a cancel", a_trigger_that_lets_no_cancel_of_a_row_begin()),
        case("a command", a_trigger_that_refuses_a_command()),
    ])
    .await;
}
