//! Minutes without TresorPay, its names or its tokens: they cost time and a few probes, never an attempt or a row. The full
//! lengths are ignored tests: `cargo test --test daemon outage -- --ignored`.

use std::time::{Duration, Instant};

use serde_json::Value;
use tresorpayd::simulator::{Config, ErrorBody, Fault, Operation, Outage, Rule, Simulator};

use crate::{
    audit::audit,
    harness::{World, case, each, holds_for, until, until_within},
    rows::{Application, NewRow, bulk},
};

/// An outage: how long, how many rows meet it, and the longest delay between probes.
#[derive(Clone, Copy)]
struct Weather {
    lasts: Duration,
    rows: usize,
    retry_max_delay: Duration,
}

const SHORT: Weather =
    Weather { lasts: Duration::from_secs(15), rows: 300, retry_max_delay: Duration::from_secs(2) };
const LONG: Weather =
    Weather { lasts: Duration::from_secs(600), rows: 1000, retry_max_delay: Duration::from_secs(60) };

impl Weather {
    /// Probes that fit into it, at three quarters of the longest delay, and those of the first steps.
    fn probes(self) -> usize {
        let longest = self.lasts.as_secs_f64() / (self.retry_max_delay.as_secs_f64() * 0.75);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred")]
        let probes = longest.ceil() as usize;
        probes + 8
    }
}

/// What the daemon wrote of itself.
async fn state(app: &mut Application) -> Value {
    let state = app.text("SELECT value FROM meta WHERE key = 'state'").await;
    serde_json::from_str(&state.unwrap_or_default()).unwrap_or_default()
}

/// Rows meet an outage that surely creates nothing. None is in doubt, only probes leave a trace, and all are emitted soon
/// after it is over.
async fn nothing_leaves(
    weather: Weather,
    held_back: &str,
    begin: impl AsyncFn(&Simulator),
    end: impl AsyncFn(&Simulator),
) {
    let mut world = World::new().await;
    world.set("api.retry_max_delay", &format!("{}s", weather.retry_max_delay.as_secs()));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    begin(&world.sim).await;
    let all = weather.rows + 1;
    app.insert(&bulk(weather.rows)).await;
    let transitions = app.transitions().await.len();
    holds_for(weather.lasts, "every row waits, whole", async || {
        // Somebody has to read them, as systemd does: the socket holds ten.
        daemon.told();
        app.number("SELECT count(*) FROM outbox WHERE status IN ('PENDING', 'EMITTING') AND attempts = 0")
            .await
            == i64::try_from(weather.rows).unwrap()
    })
    .await;
    let state = state(&mut app).await;
    let sides: Vec<_> = state["held"]["sides"].as_array().unwrap().iter().map(|side| &side["side"]).collect();
    assert!(sides.contains(&&Value::from(held_back)), "{state}");
    let most = 8 + weather.probes();
    let tried = app.attempts().await.len() - 1;
    assert!(tried <= most, "{tried} attempts, {most} at the most");
    let moved = app.transitions().await.len() - transitions;
    assert!(moved <= 2 * most, "{moved} transitions");
    end(&world.sim).await;
    let back = Instant::now();
    let soon = weather.retry_max_delay + Duration::from_secs(10);
    until_within(soon, "all are emitted", async || app.count("EMITTED").await == all).await;
    daemon.stop().await;
    assert!(app.rows().await.iter().all(|row| row.attempts == 1 && row.last_error.is_none()));
    let counters = world.sim.counters();
    let asked = counters.requests(Operation::Token) + counters.requests(Operation::Emit);
    assert!(asked <= (all + 2 * most + 8) as u64, "{asked} requests, back after {:?}", back.elapsed());
    let log = daemon.log();
    let told =
        |words: &str| log.lines().filter(|line| line.contains(words) && line.contains(held_back)).count();
    assert_eq!((told("requests are held back"), told("answers again")), (1, 1), "{log}");
    audit(&world, &mut app).await;
}

async fn nobody_listens(weather: Weather) {
    nothing_leaves(weather, "emit", async |sim| sim.down(Outage::Refuse).await, async |sim| sim.up().await)
        .await;
}

async fn no_token_is_granted(weather: Weather) {
    let begin = async |sim: &Simulator| {
        let (retry_after, message, title) = (None, None, None);
        let down =
            Fault::Status { code: 503, processed: false, retry_after, body: ErrorBody::Html, message, title };
        sim.add_fault(Rule::always(Operation::Token, down));
        sim.revoke_tokens();
    };
    nothing_leaves(weather, "token", begin, async |sim| sim.clear_faults()).await;
}

#[tokio::test]
async fn an_outage_costs_time_and_a_few_probes() {
    each([
        case("nobody_listens", nobody_listens(SHORT)),
        case("no_token_is_granted", no_token_is_granted(SHORT)),
    ])
    .await;
}

#[tokio::test]
#[ignore = "takes eleven minutes"]
async fn ten_minutes_cost_time_and_a_few_probes() {
    each([
        case("nobody_listens", nobody_listens(LONG)),
        case("no_token_is_granted", no_token_is_granted(LONG)),
    ])
    .await;
}

/// The name of the API resolves nowhere, that of the token endpoint does.
#[tokio::test]
async fn without_its_name_rows_wait_and_few_probes_leave() {
    let mut world = World::new().await;
    world.set("api.base_url", "https://tresorpay.invalid/api").set("api.connect_timeout", "2s");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(100)).await;
    let named = "SELECT count(*) FROM outbox WHERE last_error LIKE 'unreachable: %'";
    until("rows say so", async || app.number(named).await > 0).await;
    holds_for(Duration::from_secs(4), "all wait", async || app.waiting().await == 100).await;
    let tried = app.attempts().await;
    assert!(tried.len() <= 8 + 14, "{}", tried.len());
    assert!(tried.iter().filter_map(|one| one.outcome.as_deref()).all(|outcome| outcome == "unreachable"));
    assert_eq!(app.number("SELECT sum(attempts) FROM outbox").await, 0);
    daemon.stop().await;
}

/// The contract's number, with the default pace: a platform that carries out and never answers makes at most so many rows
/// in doubt within two minutes.
const DOUBTS: usize = 15;

async fn never_answers(lasts: Duration, most: usize) {
    let mut world = World::with(Config::default()).await;
    world.set("api.request_timeout", "1s");
    for default in ["api.retry_first_delay", "api.retry_max_delay", "api.requests_per_second"] {
        world.unset(default);
    }
    world.sim.add_fault(Rule::always(Operation::Emit, Fault::Lost { processed: true }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(500)).await;
    holds_for(lasts, "few are in doubt", async || {
        daemon.told();
        app.count("UNCERTAIN").await <= most
    })
    .await;
    assert!(app.count("UNCERTAIN").await >= 8, "it was met");
    let state = state(&mut app).await;
    assert!(state["held"]["sides"][0]["error"].as_str().unwrap().starts_with("timed_out: "), "{state}");
    daemon.stop().await;
    let told = daemon.log().lines().filter(|line| line.contains("requests are held back")).count();
    assert_eq!(told, 1, "one line, not one a row");
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_platform_that_never_answers_makes_few_doubts() {
    // Eight at once, and probes after 1, 2, 4 and 8 seconds less jitter.
    never_answers(Duration::from_secs(15), 12).await;
}

#[tokio::test]
#[ignore = "takes two minutes"]
async fn a_platform_that_never_answers_makes_at_most_fifteen_doubts_in_two_minutes() {
    never_answers(Duration::from_secs(120), DOUBTS).await;
}

/// However long it lasts, doubts end at `emit.max_uncertain`, what was under way added.
#[tokio::test]
async fn doubts_are_bounded_however_long_it_lasts() {
    let mut world = World::new().await;
    world.set("api.request_timeout", "300ms").set("emit.max_uncertain", "12");
    world.set("api.retry_first_delay", "50ms").set("api.retry_max_delay", "100ms");
    world.sim.add_fault(Rule::always(Operation::Emit, Fault::Lost { processed: true }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(200)).await;
    until("the bound is reached", async || app.count("UNCERTAIN").await >= 12).await;
    until("nothing is under way", async || app.count("EMITTING").await == 0).await;
    let doubts = app.count("UNCERTAIN").await;
    assert!(doubts <= 12 + 8, "{doubts}");
    holds_for(Duration::from_secs(2), "there are no more", async || app.count("UNCERTAIN").await == doubts)
        .await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}
