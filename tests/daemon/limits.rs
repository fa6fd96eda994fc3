//! How many requests leave at once, how many in a second, and who goes without: nobody.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use tresorpayd::simulator::{Config, ErrorBody, Fault, Operation, Rule};

use crate::{
    audit::audit,
    harness::{World, case, each, holds_for, until, until_within},
    rows::{NewRow, bulk},
};

#[tokio::test]
async fn never_more_requests_at_once_than_configured() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "3");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("a token is held", async || app.status("FIRST").await == "EMITTED").await;
    world.sim.set_latency(Duration::from_millis(40));
    app.insert(&bulk(60)).await;
    until("all are emitted", async || app.count("EMITTED").await == 61).await;
    let asked = |world: &World| world.sim.counters().requests(Operation::Batch);
    let before = asked(&world);
    until("they are asked about", async || asked(&world) > before).await;
    assert_eq!(world.sim.counters().max_concurrent, 3, "as many as may, and no more");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A token that is renewed again and again needs no slot more than there are, and with a single one nobody waits forever.
#[tokio::test]
async fn requests_for_a_token_are_counted_too() {
    let counted = async |concurrency: usize| {
        let config = Config { token_lifetime: Duration::from_secs(1), ..Config::default() };
        let mut world = World::with(config).await;
        world.set("api.max_concurrency", &concurrency.to_string());
        world.sim.set_latency(Duration::from_millis(60));
        let mut daemon = world.start().await;
        let mut app = world.application().await;
        app.insert(&bulk(60)).await;
        until("all are emitted", async || app.count("EMITTED").await == 60).await;
        let counters = world.sim.counters();
        assert!(counters.max_concurrent <= concurrency, "{}", counters.max_concurrent);
        assert!(counters.requests(Operation::Token) >= 2, "it was never renewed");
        daemon.stop().await;
        audit(&world, &mut app).await;
    };
    each([1, 2].map(|concurrency| case(concurrency.to_string(), counted(concurrency)))).await;
}

/// A first burst of one second's worth, then the rate.
#[tokio::test]
async fn never_more_requests_a_second_than_configured() {
    const RATE: i64 = 10;
    let mut world = World::new().await;
    world.set("api.requests_per_second", "10").set("poll.schedule", "0 0 0 1 1 *");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(40)).await;
    until("all are emitted", async || app.count("EMITTED").await == 40).await;
    daemon.stop().await;
    let ledger = world.sim.ledger();
    let first = ledger.notices[0].emitted_at;
    for (number, notice) in (1..).zip(&ledger.notices) {
        let least = TimeDelta::milliseconds((number - RATE - 1).max(0) * 1000 / RATE - 50);
        let after = notice.emitted_at - first;
        assert!(after >= least, "the {number}th left {after} after the first");
        let most = TimeDelta::milliseconds(number * 1000 / RATE + 1500);
        assert!(after <= most, "the {number}th left {after} after the first, which is too slow");
    }
    audit(&world, &mut app).await;
}

/// However many notices are asked about one by one, and however few slots there are, who waits at the counter is served.
#[tokio::test]
async fn status_requests_leave_room_for_emissions() {
    let room = async |concurrency: &str| {
        let mut world = World::new().await;
        world.set("api.max_concurrency", concurrency);
        world.sim.add_fault(Rule::always(Operation::Batch, Fault::NoEndpoint));
        let mut daemon = world.start().await;
        let mut app = world.application().await;
        app.insert(&bulk(150)).await;
        until("all are emitted", async || app.count("EMITTED").await == 150).await;
        world.sim.set_latency(Duration::from_millis(100));
        let before = world.sim.counters().requests(Operation::Status);
        until("they are asked about one by one", async || {
            world.sim.counters().requests(Operation::Status) > before + 8
        })
        .await;
        for number in 0..3 {
            let mut urgent = NewRow::new(format!("COUNTER-{number}"));
            urgent.priority = 9;
            app.insert(&[urgent]).await;
            let emitted = async || app.status(&format!("COUNTER-{number}")).await == "EMITTED";
            until_within(Duration::from_secs(2), "who waits at the counter is served", emitted).await;
        }
        daemon.stop().await;
        audit(&world, &mut app).await;
    };
    each(["1", "2", "4", "8"].map(|concurrency| case(concurrency, room(concurrency)))).await;
}

/// However many rows wait to be emitted, payments are seen.
#[tokio::test]
async fn emissions_leave_room_for_status_requests() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "1");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    world.sim.set_latency(Duration::from_millis(80));
    app.insert(&bulk(100)).await;
    world.sim.pay("FIRST", None).unwrap();
    let paid = async || app.status("FIRST").await == "PAID";
    until_within(Duration::from_secs(5), "the payment is seen", paid).await;
    assert!(app.count("PENDING").await > 0, "the bulk run goes on");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// TresorPay asks the whole client to wait, whoever was told.
#[tokio::test]
async fn a_pause_holds_back_status_requests_too() {
    let world = World::new().await;
    world.sim.add_fault(Rule::always(Operation::Batch, Fault::NoEndpoint));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(120)).await;
    until("all are emitted", async || app.count("EMITTED").await == 120).await;
    world.sim.set_latency(Duration::from_millis(100));
    let asked = |world: &World| world.sim.counters().requests(Operation::Status);
    let before = asked(&world);
    until("they are asked about one by one", async || asked(&world) > before).await;
    let (retry_after, message, title) = (Some("2".to_owned()), None, None);
    let fault =
        Fault::Status { code: 429, processed: false, retry_after, body: ErrorBody::Empty, message, title };
    world.sim.add_fault(Rule::once(Operation::Emit, fault));
    app.insert(&[NewRow::new("TOLD")]).await;
    let told = "SELECT count(*) FROM attempt WHERE outcome = 'rate_limited'";
    until("one emission was told to wait", async || app.number(told).await == 1).await;
    let since = Utc::now();
    let before = asked(&world);
    holds_for(Duration::from_millis(1300), "only what was under way is asked", async || {
        asked(&world) <= before + 8
    })
    .await;
    until("it is emitted afterwards", async || app.status("TOLD").await == "EMITTED").await;
    assert!(Utc::now() - since >= TimeDelta::milliseconds(1700));
    until("and polling goes on", async || asked(&world) > before + 8).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}
