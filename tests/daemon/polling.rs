//! What the status requests are, and what their answers do to a row.

use std::time::Duration;

use tresorpayd::simulator::{Ending, ErrorBody, Fault, Garbage, Operation, Rule};

use crate::{
    audit::audit,
    harness::{Daemon, World, case, each, holds_for, until},
    rows::{Application, NewRow, bulk, text},
};

fn status(code: u16, body: ErrorBody, message: Option<&str>) -> Fault {
    let message = message.map(str::to_owned);
    Fault::Status { code, processed: false, retry_after: None, body, message, title: None }
}

/// `rows` emitted notices, all of them due for a status request, and no daemon.
async fn due(world: &mut World, rows: usize) -> Application {
    world.set("poll.schedule", "0 0 0 1 1 *");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(rows)).await;
    until("all are emitted", async || app.count("EMITTED").await == rows).await;
    daemon.stop().await;
    let later = text(chrono::Utc::now());
    let waiting = format!("SELECT count(*) FROM outbox WHERE next_attempt_at > '{later}'");
    assert!(app.number(&waiting).await > 0 || rows == 0, "the first delay is not over yet");
    until("all are due", async || {
        let now = text(chrono::Utc::now());
        app.number(&format!("SELECT count(*) FROM outbox WHERE next_attempt_at > '{now}'")).await == 0
    })
    .await;
    app
}

/// One emitted notice and a daemon that asks about it every second.
async fn one(world: &World) -> (Daemon, Application) {
    let daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is emitted", async || app.status("A-1").await == "EMITTED").await;
    (daemon, app)
}

#[tokio::test]
async fn many_notices_are_asked_about_in_full_batches() {
    let mut world = World::new().await;
    world.set("poll.batch_size", "40");
    let mut app = due(&mut world, 130).await;
    for number in 1..=130 {
        world.sim.pay(&format!("A-{number}"), None).unwrap();
    }
    let mut daemon = world.start().await;
    until("all are paid", async || app.count("PAID").await == 130).await;
    daemon.stop().await;
    let counters = world.sim.counters();
    assert_eq!(counters.requests(Operation::Batch) + counters.requests(Operation::Status), 4, "{counters:?}");
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn without_a_batch_endpoint_notices_are_asked_about_one_by_one() {
    let absent = async |fault: Fault| {
        let mut world = World::new().await;
        let mut app = due(&mut world, 12).await;
        world.sim.add_fault(Rule::always(Operation::Batch, fault));
        for number in 1..=12 {
            world.sim.pay(&format!("A-{number}"), None).unwrap();
        }
        let mut daemon = world.start().await;
        until("all are paid", async || app.count("PAID").await == 12).await;
        daemon.stop().await;
        let counters = world.sim.counters();
        assert_eq!((counters.requests(Operation::Batch), counters.requests(Operation::Status)), (1, 12));
        audit(&world, &mut app).await;
    };
    let faults =
        [Fault::NoEndpoint, status(404, ErrorBody::Html, None), status(405, ErrorBody::Problem, None)];
    each(faults.map(|fault| case(format!("{fault:?}"), absent(fault)))).await;
}

#[tokio::test]
async fn what_a_batch_leaves_out_is_asked_for_by_itself() {
    let mut world = World::new().await;
    let mut app = due(&mut world, 10).await;
    world.sim.add_fault(Rule::always(Operation::Batch, Fault::Omit).reference("A-7"));
    for number in 1..=10 {
        world.sim.pay(&format!("A-{number}"), None).unwrap();
    }
    let mut daemon = world.start().await;
    until("all are paid", async || app.count("PAID").await == 10).await;
    daemon.stop().await;
    let counters = world.sim.counters();
    assert_eq!((counters.requests(Operation::Batch), counters.requests(Operation::Status)), (1, 1));
    audit(&world, &mut app).await;
}

/// A batch that is refused for one notice's sake tells the others' status all the same.
#[tokio::test]
async fn one_bad_reference_does_not_spoil_its_batch() {
    let mut world = World::new().await;
    let mut app = due(&mut world, 5).await;
    world.sim.add_fault(Rule::always(
        Operation::Batch,
        status(400, ErrorBody::Problem, Some("error.BAD_REFERENCE")),
    ));
    let refused = status(404, ErrorBody::Problem, Some("error.NOTICE_NOT_FOUND"));
    world.sim.add_fault(Rule::always(Operation::Status, refused).reference("A-3"));
    for number in 1..=5 {
        world.sim.pay(&format!("A-{number}"), None).unwrap();
    }
    let mut daemon = world.start().await;
    until("the others are paid", async || app.count("PAID").await == 4).await;
    let row = app.row("A-3").await;
    assert_eq!(row.status, "EMITTED");
    assert!(row.last_error.unwrap().contains("error.NOTICE_NOT_FOUND"));
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// TresorPay does not know the notice any more: that is told, changes nothing, and polling goes on.
async fn a_notice_that_tresorpay_does_not_know_keeps_its_status() {
    let world = World::new().await;
    let (mut daemon, mut app) = one(&world).await;
    let fault = status(404, ErrorBody::Problem, Some("error.NOTICE_NOT_FOUND"));
    let rule = world.sim.add_fault(Rule::always(Operation::Status, fault));
    until("the row says so", async || app.row("A-1").await.last_error.is_some()).await;
    let row = app.row("A-1").await;
    assert_eq!((&*row.status, row.attempts), ("EMITTED", 1));
    assert!(row.last_error.unwrap().starts_with("refused: ") && row.next_attempt_at.is_some());
    world.sim.remove_fault(rule);
    world.sim.pay("A-1", None).unwrap();
    until("it is paid", async || app.status("A-1").await == "PAID").await;
    assert_eq!(app.row("A-1").await.last_error, None);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

async fn an_unknown_word_changes_nothing_is_kept_and_asked_again() {
    let world = World::new().await;
    let (mut daemon, mut app) = one(&world).await;
    world.sim.pay("A-1", None).unwrap();
    let rule = world
        .sim
        .add_fault(Rule::always(Operation::Status, Fault::UnknownStatus { word: "EN_TRAITEMENT".into() }));
    until("the row says so", async || app.row("A-1").await.last_error.is_some()).await;
    let row = app.row("A-1").await;
    assert_eq!(row.status, "EMITTED");
    assert!(row.last_error.unwrap().contains("EN_TRAITEMENT"));
    let asked = world.sim.counters().requests(Operation::Status);
    until("it is asked again", async || world.sim.counters().requests(Operation::Status) > asked).await;
    assert!(daemon.log().contains("EN_TRAITEMENT"), "it is warned of");
    world.sim.remove_fault(rule);
    until("it is paid", async || app.status("A-1").await == "PAID").await;
    assert_eq!(app.row("A-1").await.last_error, None);
    assert_eq!(app.path("A-1").await, ["PENDING", "EMITTING", "EMITTED", "PAID"]);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// `last_error` stays one line that a person can read, whatever stands in place of a word.
async fn an_absurd_word_is_kept_short_and_on_one_line() {
    let world = World::new().await;
    let (mut daemon, mut app) = one(&world).await;
    let absurd = format!("PAID\nCANCELED\u{1b}[31m{}", "x".repeat(20_000));
    world.sim.add_fault(Rule::always(Operation::Status, Fault::UnknownStatus { word: absurd }));
    until("the row says so", async || app.row("A-1").await.last_error.is_some()).await;
    let error = app.row("A-1").await.last_error.unwrap();
    assert!(!error.chars().any(char::is_control), "{error:?}");
    assert!(error.chars().count() < 1_000, "{} characters", error.chars().count());
    assert_eq!(app.status("A-1").await, "EMITTED");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

async fn other_words_for_paid_and_canceled_are_known() {
    let world = World::new().await;
    let (mut daemon, mut app) = one(&world).await;
    world.sim.pay("A-1", Some("WAVE")).unwrap();
    world.sim.add_fault(
        Rule::always(Operation::Any, Fault::UnknownStatus { word: "SUCCESS".into() }).reference("A-1"),
    );
    until("it is paid", async || app.status("A-1").await == "PAID").await;
    assert_eq!(app.row("A-1").await.provider.as_deref(), Some("WAVE"));
    app.insert(&[NewRow::new("A-2")]).await;
    until("it is emitted", async || app.status("A-2").await == "EMITTED").await;
    world.sim.add_fault(
        Rule::always(Operation::Any, Fault::UnknownStatus { word: "PENDING".into() }).reference("A-2"),
    );
    let asked = world.sim.counters().requests(Operation::Status);
    until("it is asked about", async || world.sim.counters().requests(Operation::Status) > asked).await;
    holds_for(Duration::from_millis(300), "that is live", async || {
        let row = app.row("A-2").await;
        row.status == "EMITTED" && row.last_error.is_none()
    })
    .await;
    world.sim.clear_faults();
    world.sim.cancel("A-2").unwrap();
    world.sim.add_fault(
        Rule::always(Operation::Any, Fault::UnknownStatus { word: "CANCELLED".into() }).reference("A-2"),
    );
    until("it is canceled", async || app.status("A-2").await == "CANCELED").await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

async fn a_notice_canceled_at_tresorpay_becomes_canceled() {
    let world = World::new().await;
    let (mut daemon, mut app) = one(&world).await;
    world.sim.cancel("A-1").unwrap();
    until("it is canceled", async || app.status("A-1").await == "CANCELED").await;
    let (row, last) = (app.row("A-1").await, app.transitions().await.pop().unwrap());
    assert!(row.canceled_at.is_some() && row.paid_at.is_none() && row.next_attempt_at.is_none(), "{row:?}");
    assert_eq!((last.from_status.as_deref(), &*last.source), (Some("EMITTED"), "poll"));
    let asked = world.sim.counters().requests(Operation::Status);
    holds_for(Duration::from_millis(1500), "it is not asked about any more", async || {
        world.sim.counters().requests(Operation::Status) == asked
    })
    .await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

async fn nothing_is_asked_before_the_first_delay() {
    let mut world = World::new().await;
    world.set("poll.first_delay", "2s").set("poll.max_delay", "2s");
    let (mut daemon, mut app) = one(&world).await;
    holds_for(Duration::from_millis(1500), "it is not asked about", async || {
        world.sim.counters().requests(Operation::Status) == 0
    })
    .await;
    until("it is asked about", async || world.sim.counters().requests(Operation::Status) == 1).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A status endpoint that fails in any way changes nothing, is not hammered, and emission goes on meanwhile.
#[tokio::test]
async fn a_broken_status_endpoint_changes_nothing_and_stops_nobody() {
    let broken = async |fault: Fault| {
        let world = World::new().await;
        let name = format!("{fault:?}");
        let mut daemon = world.start().await;
        let mut app = world.application().await;
        let rules = [Operation::Batch, Operation::Status]
            .map(|op| world.sim.add_fault(Rule::always(op, fault.clone())));
        app.insert(&bulk(10)).await;
        let asked = |world: &World| {
            let counters = world.sim.counters();
            counters.requests(Operation::Batch) + counters.requests(Operation::Status)
        };
        until(&format!("the endpoint is asked: {name}"), async || asked(&world) > 0).await;
        let before = asked(&world);
        holds_for(Duration::from_millis(1200), "all are live", async || app.count("EMITTED").await == 10)
            .await;
        assert!(asked(&world) - before <= 12, "{} requests within 1.2 s: {name}", asked(&world) - before);
        app.insert(&[NewRow::new("NEXT")]).await;
        until("emission goes on", async || app.status("NEXT").await == "EMITTED").await;
        assert_eq!(rules.map(|rule| world.sim.remove_fault(rule)), [true; 2]);
        world.sim.pay("A-1", None).unwrap();
        until(&format!("polling goes on after {name}"), async || app.status("A-1").await == "PAID").await;
        daemon.stop().await;
        audit(&world, &mut app).await;
    };
    each(
        [
            status(500, ErrorBody::Html, None),
            status(403, ErrorBody::Html, None),
            Fault::Garbage { body: Garbage::Html, processed: true },
            Fault::Truncated { keep: None },
            Fault::ResetAfter { by: Ending::Rst },
        ]
        .map(|fault| case(format!("{fault:?}"), broken(fault))),
    )
    .await;
}

async fn an_old_unpaid_notice_is_given_up_and_the_row_says_how_to_ask() {
    let mut world = World::new().await;
    world.set("poll.give_up_after", "1s");
    let (mut daemon, mut app) = one(&world).await;
    until("it is given up", async || app.row("A-1").await.next_attempt_at.is_none()).await;
    let row = app.row("A-1").await;
    assert_eq!(row.status, "EMITTED");
    assert!(row.last_error.unwrap().starts_with("poll_given_up: "));
    let asked = world.sim.counters().requests(Operation::Status);
    holds_for(Duration::from_millis(1500), "it is not asked about any more", async || {
        world.sim.counters().requests(Operation::Status) == asked
    })
    .await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn what_tresorpay_says_of_one_notice() {
    each([
        case(
            "a_notice_that_tresorpay_does_not_know_keeps_its_status",
            a_notice_that_tresorpay_does_not_know_keeps_its_status(),
        ),
        case(
            "an_unknown_word_changes_nothing_is_kept_and_asked_again",
            an_unknown_word_changes_nothing_is_kept_and_asked_again(),
        ),
        case("an_absurd_word_is_kept_short_and_on_one_line", an_absurd_word_is_kept_short_and_on_one_line()),
        case("other_words_for_paid_and_canceled_are_known", other_words_for_paid_and_canceled_are_known()),
        case(
            "a_notice_canceled_at_tresorpay_becomes_canceled",
            a_notice_canceled_at_tresorpay_becomes_canceled(),
        ),
        case("nothing_is_asked_before_the_first_delay", nothing_is_asked_before_the_first_delay()),
        case(
            "an_old_unpaid_notice_is_given_up_and_the_row_says_how_to_ask",
            an_old_unpaid_notice_is_given_up_and_the_row_says_how_to_ask(),
        ),
    ])
    .await;
}
