//! An outage costs delay and a handful of doubts, however many rows wait.

use std::time::Duration;

use tresorpayd::simulator::{Config, ErrorBody, Fault, Operation, Outage, Rule, Simulator};

use crate::{
    audit::audit,
    harness::{World, case, each, holds_for, until},
    rows::{NewRow, bulk},
};

/// `api.max_concurrency` and `api.breaker_failures` of these tests.
const CONCURRENCY: usize = 4;
const FAILURES: usize = 5;
/// Probes that the waiting time of these tests allows for, and some.
const PROBES: usize = 6;

async fn world() -> World {
    let mut world = World::with(Config::default()).await;
    world.set("api.max_concurrency", "4").set("api.breaker_failures", "5");
    world.set("api.retry_first_delay", "1s").set("api.retry_max_delay", "2s");
    world
}

/// 100 rows meet an outage that makes doubts; few do, and all others are emitted once it is over.
async fn weather(world: &World, begin: impl AsyncFn(&Simulator), end: impl AsyncFn(&Simulator)) {
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    begin(&world.sim).await;
    app.insert(&bulk(100)).await;
    let most = FAILURES + CONCURRENCY + PROBES;
    until("the outage is met", async || app.count("UNCERTAIN").await >= FAILURES).await;
    holds_for(Duration::from_secs(3), "only a handful is in doubt", async || {
        app.count("UNCERTAIN").await <= most
    })
    .await;
    let doubts = app.count("UNCERTAIN").await;
    end(&world.sim).await;
    until("the others are emitted", async || {
        app.count("EMITTED").await + app.count("UNCERTAIN").await == 101
    })
    .await;
    let late = app.count("UNCERTAIN").await - doubts;
    assert!(late <= CONCURRENCY, "{late} more");
    daemon.stop().await;
    assert!(daemon.log().contains("held back"), "the log tells of the outage");
    audit(world, &mut app).await;
}

async fn a_platform_that_never_answers() {
    let mut world = world().await;
    world.set("api.request_timeout", "1s");
    let begin = async |sim: &Simulator| {
        sim.add_fault(Rule::always(Operation::Emit, Fault::Lost { processed: true }));
    };
    weather(&world, begin, async |sim| sim.clear_faults()).await;
}

async fn a_proxy_without_its_platform() {
    weather(&world().await, async |sim| sim.down(Outage::Unavailable).await, async |sim| sim.up().await)
        .await;
}

async fn connections_that_are_reset() {
    weather(&world().await, async |sim| sim.down(Outage::Reset).await, async |sim| sim.up().await).await;
}

/// A proxy begins to refuse everything a moment after it let a notice through: each answer alone is a doubt, and all
/// of them together are an outage.
async fn a_filter_that_comes_up() {
    let begin = async |sim: &Simulator| {
        let (retry_after, message, title) = (None, None, None);
        let fault =
            Fault::Status { code: 403, processed: false, retry_after, body: ErrorBody::Html, message, title };
        sim.add_fault(Rule::always(Operation::Emit, fault));
    };
    weather(&world().await, begin, async |sim| sim.clear_faults()).await;
}

/// What surely creates nothing makes no doubt at all, and does not hammer either.
#[tokio::test]
async fn a_wrong_base_url_makes_no_doubt_and_few_requests() {
    let mut world = world().await;
    let base_url = format!("{}/wrong", world.sim.origin());
    world.set("api.base_url", &base_url);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(100)).await;
    let told = "SELECT count(*) FROM outbox WHERE last_error LIKE 'misdirected: %'";
    until("rows say so", async || app.number(told).await > 0).await;
    holds_for(Duration::from_millis(1500), "all wait", async || app.waiting().await == 100).await;
    let asked = world.sim.counters().requests(Operation::Other);
    assert!(asked <= (FAILURES + CONCURRENCY + PROBES) as u64, "{asked} requests");
    daemon.stop().await;
    assert_eq!(app.number("SELECT sum(attempts) FROM outbox").await, 0);
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn emission_stops_while_too_many_wait_for_a_decision() {
    let mut world = world().await;
    world.set("api.breaker_failures", "1000").set("emit.max_uncertain", "10");
    world.sim.add_fault(Rule::always(Operation::Emit, Fault::Truncated { keep: None }).times(30));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(60)).await;
    until("enough are in doubt", async || app.count("UNCERTAIN").await >= 10).await;
    until("nothing is under way", async || app.count("EMITTING").await == 0).await;
    let uncertain = app.count("UNCERTAIN").await;
    assert!(uncertain < 10 + CONCURRENCY, "{uncertain}");
    until("the log says why", async || daemon.log().contains("emit.max_uncertain")).await;
    let left = world.emissions();
    let mut urgent = NewRow::new("URGENT");
    urgent.priority = 9;
    app.insert(&[urgent]).await;
    holds_for(Duration::from_millis(1300), "nothing leaves", async || world.emissions() == left).await;
    daemon.stop().await;
    let mut daemon = world.start().await;
    holds_for(Duration::from_secs(1), "nor after a restart", async || world.emissions() == left).await;
    assert_eq!(app.count("PENDING").await, 61 - uncertain);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn an_outage_of_any_kind_costs_a_handful_of_doubts() {
    each([
        case("a_platform_that_never_answers", a_platform_that_never_answers()),
        case("a_proxy_without_its_platform", a_proxy_without_its_platform()),
        case("connections_that_are_reset", connections_that_are_reset()),
        case("a_filter_that_comes_up", a_filter_that_comes_up()),
    ])
    .await;
}
