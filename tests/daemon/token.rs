//! One token for all who need one, and what its absence costs: delay, and never an attempt.

use std::time::Duration;

use tresorpayd::simulator::{Config, Ending, ErrorBody, ExpiresIn, Fault, Garbage, Operation, Outage, Rule};

use crate::{
    audit::audit,
    harness::{SECRET, World, case, each, holds_for, until},
    rows::{NewRow, bulk},
};

fn status(code: u16, body: ErrorBody) -> Fault {
    Fault::Status { code, processed: false, retry_after: None, body, message: None, title: None }
}

#[tokio::test]
async fn a_hundred_rows_at_once_cost_one_token_request() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "100");
    world.sim.set_latency(Duration::from_millis(50));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(100)).await;
    until("all are emitted", async || app.count("EMITTED").await == 100).await;
    daemon.stop().await;
    assert_eq!(world.sim.counters().requests(Operation::Token), 1);
    assert!(world.sim.counters().max_concurrent > 20, "they were at once");
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_token_revoked_in_flight_costs_one_more_and_no_attempt() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "30");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    world.sim.set_latency(Duration::from_millis(100));
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::RevokedToken));
    app.insert(&bulk(30)).await;
    until("all are emitted", async || app.count("EMITTED").await == 31).await;
    daemon.stop().await;
    assert!(world.sim.counters().outcome(Operation::Emit, "401") >= 1, "it was revoked");
    assert_eq!(world.sim.counters().requests(Operation::Token), 2);
    let outcomes: Vec<_> = app.attempts().await.into_iter().map(|attempt| attempt.outcome.unwrap()).collect();
    assert!(outcomes.iter().all(|outcome| outcome == "ok"), "{outcomes:?}");
    assert!(app.rows().await.iter().all(|row| row.attempts == 1));
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_token_revoked_while_idle_is_renewed_at_the_next_use() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    world.sim.revoke_tokens();
    app.insert(&bulk(50)).await;
    until("all are emitted", async || app.count("EMITTED").await == 51).await;
    daemon.stop().await;
    assert_eq!(world.sim.counters().requests(Operation::Token), 2);
    let outcomes: Vec<_> = app.attempts().await.into_iter().map(|attempt| attempt.outcome.unwrap()).collect();
    assert!(outcomes.iter().all(|outcome| outcome == "ok"), "{outcomes:?}");
    audit(&world, &mut app).await;
}

/// Emits a row now and then for some seconds under `config`; how many tokens that took, and how many 401.
async fn trickle(config: Config, rows: usize) -> (u64, u64) {
    let world = World::with(config).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    for row in bulk(rows) {
        app.insert(std::slice::from_ref(&row)).await;
        until("it is emitted", async || app.status(&row.reference).await == "EMITTED").await;
        holds_for(Duration::from_millis(350), "it stays", async || {
            app.status(&row.reference).await == "EMITTED"
        })
        .await;
    }
    daemon.stop().await;
    assert!(app.rows().await.iter().all(|row| row.attempts == 1), "{:?}", app.rows().await);
    audit(&world, &mut app).await;
    let counters = world.sim.counters();
    (counters.requests(Operation::Token), counters.outcome(Operation::Emit, "401"))
}

async fn a_short_token_is_renewed_before_it_expires() {
    let (tokens, unauthorized) =
        trickle(Config { token_lifetime: Duration::from_secs(2), ..Config::default() }, 9).await;
    assert_eq!(unauthorized, 0);
    assert!((2..=6).contains(&tokens), "{tokens}");
}

/// The daemon believes it for longer than it holds; the 401 puts that right.
async fn a_token_that_expires_without_saying_when() {
    let (expires_in, token_lifetime) = (ExpiresIn::Omitted, Duration::from_secs(1));
    let (tokens, _) = trickle(Config { expires_in, token_lifetime, ..Config::default() }, 7).await;
    assert!((2..=8).contains(&tokens), "{tokens}");
}

async fn a_lifetime_written_as_text_is_read() {
    let config =
        Config { expires_in: ExpiresIn::Text, token_lifetime: Duration::from_secs(2), ..Config::default() };
    let (tokens, unauthorized) = trickle(config, 9).await;
    assert_eq!(unauthorized, 0, "the text was not understood");
    assert!((2..=6).contains(&tokens), "{tokens}");
}

/// `expires_in` 0 for a token that holds for nearly a second: it must serve, and the endpoint not be flooded.
async fn a_lifetime_of_zero() {
    let config = Config { token_lifetime: Duration::from_millis(900), ..Config::default() };
    let (tokens, _) = trickle(config, 6).await;
    assert!(tokens <= 30, "{tokens} token requests for 6 rows");
}

/// Whatever the token endpoint answers instead of a token: nothing is sent, nothing counted, and it recovers by itself.
async fn without_token(fault: Fault) {
    let mut world = World::new().await;
    world.set("api.request_timeout", "1s");
    let name = format!("{fault:?}");
    world.sim.add_fault(Rule::always(Operation::Token, fault));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(30)).await;
    until("the failure is met", async || daemon.log().contains("token")).await;
    holds_for(Duration::from_millis(1200), "the rows wait, whole", async || app.count("PENDING").await == 30)
        .await;
    let asked = world.sim.counters().requests(Operation::Token);
    assert!((1..=25).contains(&asked), "{asked} token requests: {name}");
    assert_eq!(
        app.number("SELECT sum(attempts) + (SELECT count(*) FROM attempt) FROM outbox").await,
        0,
        "{name}"
    );
    assert_eq!(world.emissions(), 0, "{name}");
    world.sim.clear_faults();
    until("all are emitted", async || app.count("EMITTED").await == 30).await;
    assert!(app.rows().await.iter().all(|row| row.attempts == 1 && row.last_error.is_none()), "{name}");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn whatever_the_token_endpoint_answers_instead_rows_wait_unharmed() {
    each(
        [
            status(503, ErrorBody::Html),
            status(500, ErrorBody::Problem),
            Fault::ResetAfter { by: Ending::Rst },
            Fault::Lost { processed: true },
            Fault::Garbage { body: Garbage::NoReference, processed: true },
            Fault::Garbage { body: Garbage::Html, processed: true },
            Fault::Truncated { keep: None },
            Fault::Redirect { code: 307, location: None, processed: false },
        ]
        .map(|fault| case(format!("{fault:?}"), without_token(fault))),
    )
    .await;
}

#[tokio::test]
async fn while_nobody_listens_rows_wait_unharmed() {
    let world = World::new().await;
    world.sim.down(Outage::Refuse).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(10)).await;
    until("the failure is met", async || daemon.log().contains("token")).await;
    holds_for(Duration::from_millis(800), "the rows wait", async || app.count("PENDING").await == 10).await;
    assert_eq!(app.number("SELECT sum(attempts) + (SELECT count(*) FROM attempt) FROM outbox").await, 0);
    world.sim.up().await;
    until("all are emitted", async || app.count("EMITTED").await == 10).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_wrong_secret_costs_nothing_and_is_named_in_the_log() {
    let mut world = World::new().await;
    world.set("auth.client_secret", "wr0ng-s3cret-value");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(10)).await;
    until("the refusal is named", async || daemon.log().contains("unauthorized_client")).await;
    holds_for(Duration::from_millis(1500), "the rows wait", async || app.count("PENDING").await == 10).await;
    assert!(daemon.log().contains("Invalid client credentials"), "{}", daemon.log());
    assert!(!daemon.log().contains("wr0ng-s3cret-value"));
    assert_eq!(app.number("SELECT sum(attempts) + (SELECT count(*) FROM attempt) FROM outbox").await, 0);
    let asked = world.sim.counters().requests(Operation::Token);
    assert!(asked <= 15, "{asked} token requests with a wrong secret lock an account");
    daemon.stop().await;
    world.set("auth.client_secret", SECRET);
    let mut daemon = world.start().await;
    until("all are emitted", async || app.count("EMITTED").await == 10).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// TresorPay refuses every token although Keycloak grants them: nothing was created, nothing counts, nobody is flooded.
#[tokio::test]
async fn an_api_that_refuses_every_token_is_reported_and_not_flooded() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "4");
    let rule = world.sim.add_fault(Rule::always(Operation::Emit, status(401, ErrorBody::Problem)));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(40)).await;
    let reported =
        "SELECT count(*) FROM outbox WHERE status = 'PENDING' AND last_error LIKE 'unauthorized:%'";
    until("rows say so", async || app.number(reported).await > 0).await;
    holds_for(Duration::from_millis(1500), "nothing is in doubt", async || app.count("UNCERTAIN").await == 0)
        .await;
    assert_eq!(app.number("SELECT sum(attempts) FROM outbox").await, 0);
    let counters = world.sim.counters();
    assert!(counters.requests(Operation::Emit) <= 60, "{counters:?}");
    assert!(counters.requests(Operation::Token) <= 40, "{counters:?}");
    world.sim.remove_fault(rule);
    until("all are emitted", async || app.count("EMITTED").await == 40).await;
    daemon.stop().await;
    assert!(app.rows().await.iter().all(|row| row.attempts == 1 && row.last_error.is_none()));
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn credentials_of_every_character_by_form_and_by_basic() {
    let by = async |authentication: &str| {
        let (client_id, client_secret) =
            ("client:1 é&=+%/".to_owned(), " p@ss:w%rd+&=é\"'\\$`".trim().to_owned());
        let config = Config {
            client_id: client_id.clone(),
            client_secret: client_secret.clone(),
            ..Config::default()
        };
        let mut world = World::with(config).await;
        world.set("auth.client_id", &client_id).set("auth.client_secret", &client_secret);
        world.set("auth.client_authentication", authentication);
        let mut daemon = world.start().await;
        let mut app = world.application().await;
        app.insert(&bulk(3)).await;
        until(&format!("all are emitted by {authentication}"), async || app.count("EMITTED").await == 3)
            .await;
        assert_eq!(world.sim.counters().outcome(Operation::Token, "200"), 1);
        daemon.stop().await;
        audit(&world, &mut app).await;
    };
    each(["body", "basic"].map(|authentication| case(authentication, by(authentication)))).await;
}

#[tokio::test]
async fn a_lifetime_of_any_kind_serves() {
    each([
        case("a_short_token_is_renewed_before_it_expires", a_short_token_is_renewed_before_it_expires()),
        case("a_token_that_expires_without_saying_when", a_token_that_expires_without_saying_when()),
        case("a_lifetime_written_as_text_is_read", a_lifetime_written_as_text_is_read()),
        case("a_lifetime_of_zero", a_lifetime_of_zero()),
    ])
    .await;
}
