//! When a rule strikes, and how a rule is written.

use serde_json::{Value, json};
use tresorpayd::simulator::{Config, ErrorBody, Fault, Operation, Rule};

use super::{Peer, credentials, read, token_request};

fn teapot() -> Fault {
    let (retry_after, message, title) = (None, None, None);
    Fault::Status { code: 418, processed: false, retry_after, body: ErrorBody::Empty, message, title }
}

async fn emit_statuses(peer: &Peer, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for number in 0..count {
        statuses.push(read(peer.emit(&format!("R-{number}"))).await.unwrap().status);
    }
    statuses
}

#[tokio::test]
async fn skips_then_strikes_so_often() {
    let peer = Peer::default().await;
    peer.sim.add_fault(Rule::always(Operation::Emit, teapot()).skip(1).times(2));
    assert_eq!(emit_statuses(&peer, 5).await, [200, 418, 418, 200, 200]);
    assert_eq!(peer.sim.counters().fault("status"), 2);
    assert_eq!(peer.sim.counters().outcome(Operation::Emit, "418"), 2);
    assert_eq!(peer.sim.counters().requests(Operation::Emit), 5);
}

#[tokio::test]
async fn strikes_with_a_probability_that_the_seed_decides() {
    let run = async |seed| {
        let faults = vec![Rule::always(Operation::Emit, teapot()).probability(0.5)];
        let peer = Peer::start(Config { seed, faults, ..Config::default() }).await;
        emit_statuses(&peer, 64).await
    };
    let (first, again, other) = (run(1).await, run(1).await, run(2).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
    let struck = first.iter().filter(|&&status| status == 418).count();
    assert!((16..=48).contains(&struck), "{struck} of 64");
}

#[tokio::test]
async fn strikes_only_the_reference_it_names() {
    let peer = Peer::default().await;
    let (first, second) = (peer.emitted("A-1").await, peer.emitted("A-2").await);
    peer.sim.pay(&second, None).unwrap();
    peer.sim.add_fault(Rule::always(Operation::Any, teapot()).reference("A-2"));
    for (request, status) in [
        (peer.status(&first), 200),
        (peer.status(&second), 418),
        (peer.batch(&[&first]), 200),
        (peer.batch(&[&first, &second]), 418),
        (peer.verify(&second), 418),
        (peer.receipt(&second), 418),
        (peer.cancel("A-2"), 418),
        (peer.cancel("A-1"), 200),
        (peer.emit("A-2"), 418),
        (token_request(&peer.http, &peer.sim, &credentials()), 200),
    ] {
        assert_eq!(read(request).await.unwrap().status, status);
    }
}

#[tokio::test]
async fn any_is_everything_but_the_payment_page() {
    let peer = Peer::default().await;
    let reference = peer.emitted("A-1").await;
    peer.sim.add_fault(Rule::always(Operation::Any, teapot()));
    assert_eq!(read(token_request(&peer.http, &peer.sim, &credentials())).await.unwrap().status, 418);
    assert_eq!(read(peer.emit("A-2")).await.unwrap().status, 418);
    let page = peer.http.get(format!("{}?id={reference}", peer.sim.payment_page()));
    assert_eq!(read(page).await.unwrap().status, 200);
    peer.sim.clear_faults();
    assert_eq!(read(peer.emit("A-2")).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_first_rule_that_matches_strikes() {
    let peer = Peer::default().await;
    let id = peer.sim.add_fault(Rule::always(Operation::Emit, teapot()));
    peer.sim.add_fault(Rule::always(Operation::Emit, Fault::NoEndpoint));
    assert_eq!(emit_statuses(&peer, 1).await, [418]);
    assert!(peer.sim.remove_fault(id));
    assert!(!peer.sim.remove_fault(id));
    assert_eq!(emit_statuses(&peer, 1).await, [404]);
}

#[test]
fn a_rule_has_one_json_form() {
    let rules = [
        json!({"operation": "emit", "fault": "lost", "processed": true, "times": 1}),
        json!({"operation": "any", "fault": "latency", "ms": 5, "jitter_ms": 2, "probability": 0.25}),
        json!({"operation": "status", "fault": "status", "code": 429, "processed": false, "retry_after": "7",
               "body": "html", "reference": "A-1", "skip": 3}),
        json!({"operation": "batch", "fault": "omit"}),
        json!({"operation": "cancel", "fault": "reset_after", "by": "close"}),
        json!({"operation": "emit", "fault": "garbage", "body": "other_reference", "processed": true}),
        json!({"operation": "emit", "fault": "too_late", "ms": 9, "meanwhile": "rst"}),
    ];
    for json in rules {
        let rule: Rule = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&rule).unwrap(), json);
    }
}

#[test]
fn a_rule_can_be_written_on_the_command_line() {
    let rule: Rule =
        "operation=emit,fault=status,code=503,processed=true,retry_after=2,times=1".parse().unwrap();
    let (body, message, title) = (ErrorBody::Problem, None, None);
    let fault =
        Fault::Status { code: 503, processed: true, retry_after: Some("2".into()), body, message, title };
    assert_eq!(rule, Rule::once(Operation::Emit, fault));
    let rule: Rule = "fault=lost,reference=2024".parse().unwrap();
    assert_eq!(rule, Rule::always(Operation::Any, Fault::Lost { processed: true }).reference("2024"));
    let rule: Rule = r#"{"fault": "lost", "reference": "A,1"}"#.parse().unwrap();
    assert_eq!(rule.reference.as_deref(), Some("A,1"));
}

#[test]
fn a_rule_that_means_nothing_is_refused() {
    for (text, says) in [
        ("operation=emit", "missing field `fault`"),
        ("fault=loss", "unknown variant `loss`"),
        ("operation=emission,fault=lost", "unknown variant `emission`"),
        ("fault=lost,time=1", "`time` means nothing for `lost`"),
        ("fault=lost,code=500", "`code` means nothing for `lost`"),
        ("fault=latency", "missing field `ms`"),
        ("fault=status,code=99", "`code` must be 200 to 599"),
        ("fault=redirect,code=304", "`code` must be 301"),
        ("fault=lost,probability=1.5", "`probability` must be 0 to 1"),
        ("fault=slow_drip,ms=1,bytes=0", "`bytes` must be 1 or more"),
        ("operation=emit,fault=omit", "`omit` needs"),
        ("operation=page,fault=lost", "payment page"),
        ("lost", "`lost` is not key=value"),
        ("fault=lost,fault=omit", "`fault` is there twice"),
    ] {
        let error = text.parse::<Rule>().unwrap_err().to_string();
        assert!(error.starts_with("fault rule: ") && error.contains(says), "{text}: {error}");
    }
    assert!(serde_json::from_value::<Rule>(Value::Null).is_err());
}
