//! `probe` where things go wrong: it refuses production, tells what is unknown, waits for nobody for long, writes no secret,
//! and names what it could not cancel.

use std::{
    os::unix::fs::PermissionsExt,
    process::Stdio,
    time::{Duration, Instant},
};

use tresorpayd::simulator::{Config, Fault, Garbage, Operation, Rule};

use crate::{
    bench::Bench,
    probe::{advised, fact, live, seen},
};

/// A bench whose requests are given up after a second.
async fn hasty(faults: Vec<Rule>) -> Bench {
    let bench = Bench::against(Config { faults, ..Config::default() }).await;
    bench.configure(&[("api.request_timeout", "\"1s\""), ("api.connect_timeout", "\"1s\"")]);
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn production_is_refused_whatever_it_is_called() {
    let bench = Bench::bare().await;
    for keys in [
        &[("environment", "\"production\""), ("api.base_url", "\"\""), ("auth.token_url", "\"\"")][..],
        &[("api.base_url", "\"https://tresorpay.ml/api/public/v1\"")],
        &[("api.base_url", "\"https://TRESORPAY.ml:8443/other\"")],
        &[("auth.token_url", "\"https://auth.finances.ml/realms/tresorpay/protocol/openid-connect/token\"")],
    ] {
        bench.configure(keys);
        for args in [&["probe"][..], &["probe", "--yes"]] {
            bench.run(args).exits(78).complains("is the production platform");
        }
    }
    let counters = bench.sim.counters();
    assert_eq!(counters.requests(Operation::Emit) + counters.requests(Operation::Token), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_yes_it_says_what_it_would_do() {
    let bench = Bench::bare().await;
    let ran = bench.run(&["probe", "--phone", "66554433"]).exits(1);
    assert!(ran.err.contains("nothing was emitted; to do it, add --yes"), "{}", ran.err);
    for words in [&bench.sim.base_url(), "notices of 100 XOF", "APP-DEMO", "66554433", "cancel everything"] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    let counters = bench.sim.counters();
    assert_eq!(counters.requests(Operation::Emit) + counters.requests(Operation::Token), 0);
    bench.run(&["probe", "--phone", "+22366554433"]).exits(2);
    bench.configure(&[("notice.code_structure", "\"\"")]);
    bench.run(&["probe", "--yes"]).exits(78).complains("notice.code_structure is not set");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_written_and_no_secret() {
    let bench = Bench::bare().await;
    let file = bench.path("facts.json");
    let args = ["probe", "--yes", "--output", file.to_str().unwrap()];
    bench.run(&args).exits(0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let exchanges = json["exchanges"].as_array().unwrap();
    assert!(exchanges.len() > 25, "{}", exchanges.len());
    let tokens: Vec<_> =
        exchanges.iter().filter(|exchange| exchange["answer"]["access_token"].is_string()).collect();
    assert!(tokens.iter().all(|exchange| exchange["answer"]["access_token"] == "(not shown)"), "{tokens:#?}");
    assert!(!tokens.is_empty() && !text.contains("demo-secret") && !text.contains("Bearer ey"));
    let emissions = bench.sim.counters().requests(Operation::Emit);
    let refused = bench.run(&args).exits(1);
    assert!(refused.err.contains("facts.json"), "{}", refused.err);
    assert_eq!(
        bench.sim.counters().requests(Operation::Emit),
        emissions,
        "a file that is there stops it first"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_no_faster_than_the_settings_allow() {
    let bench = Bench::bare().await;
    bench.configure(&[("api.requests_per_second", "25")]);
    let start = Instant::now();
    let findings = bench.run(&["probe", "--yes", "--json"]).exits(0).json();
    let requests = u32::try_from(findings["exchanges"].as_array().unwrap().len()).unwrap();
    let least = Duration::from_millis(40) * (requests - 1);
    assert!(start.elapsed() >= least, "{requests} requests in {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn emissions_that_nobody_answers_are_unknown_and_canceled() {
    let bench = hasty(vec![Rule::always(Operation::Emit, Fault::Lost { processed: true })]).await;
    let findings = bench.run(&["probe", "--yes", "--json"]).exits(1).json();
    assert_eq!(fact(&findings, "emit"), "unknown", "{findings:#}");
    assert_eq!(advised(&findings, "emit.on_uncertain"), "\"hold\"");
    assert!(bench.sim.counters().requests(Operation::Emit) >= 2, "they are in the ledger");
    assert_eq!((live(&bench), &findings["left"]), (Vec::new(), &serde_json::json!([])), "{findings:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_hangs_is_not_waited_for_long() {
    let bench = hasty(vec![Rule::always(Operation::Any, Fault::Lost { processed: true })]).await;
    let start = Instant::now();
    let findings = bench.run(&["probe", "--yes", "--json"]).exits(1).json();
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    for fact in findings["facts"].as_array().unwrap() {
        assert!(fact["found"].is_null() && fact["seen"].as_str().unwrap().len() > 5, "{fact}");
    }
    assert!(seen(&findings, "token.body").contains("no answer"), "{findings:#}");
    assert_eq!(findings["left"], serde_json::json!([]), "nothing was emitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_unknown_and_what_it_hides_is_canceled() {
    for body in [Garbage::Html, Garbage::NoReference, Garbage::NumberReference, Garbage::BlankReference] {
        let bench =
            hasty(vec![Rule::always(Operation::Emit, Fault::Garbage { body, processed: true })]).await;
        let findings = bench.run(&["probe", "--yes", "--json"]).exits(1).json();
        assert_eq!(fact(&findings, "emit"), "unknown", "{body:?}: {findings:#}");
        assert!(!bench.sim.ledger().notices.is_empty());
        assert_eq!((live(&bench), &findings["left"]), (Vec::new(), &serde_json::json!([])), "{findings:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_canceled_is_named() {
    let bench = hasty(vec![Rule::always(Operation::Cancel, Fault::NoEndpoint)]).await;
    let ran = bench.run(&["probe", "--yes"]).exits(1);
    let left = live(&bench);
    assert!(left.len() >= 2);
    for reference in &left {
        let line = ran.out.lines().find(|line| line.starts_with(&format!("{reference} (TP")));
        assert!(line.is_some_and(|line| line.contains("may be live: ")), "{reference}: {}", ran.out);
    }
    // A status that nobody knows is no proof either.
    let fault = Fault::UnknownStatus { word: "EN_TRAITEMENT".to_owned() };
    let bench = hasty(vec![Rule::always(Operation::Status, fault)]).await;
    let findings = bench.run(&["probe", "--yes", "--json"]).exits(1).json();
    assert_eq!(fact(&findings, "status.live"), "unknown-word");
    assert!(!findings["left"].as_array().unwrap().is_empty(), "{findings:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_runs_out_is_renewed() {
    let bench =
        Bench::against(Config { token_lifetime: Duration::from_millis(300), ..Config::default() }).await;
    bench.configure(&[("api.requests_per_second", "20")]);
    let findings = bench.run(&["probe", "--yes", "--json"]).exits(0).json();
    assert_eq!(fact(&findings, "emit.after_cancel"), "new-notice", "{findings:#}");
    assert!(bench.sim.counters().requests(Operation::Token) > 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_probe_cancels_what_it_emitted() {
    let bench = Bench::bare().await;
    bench.configure(&[("api.requests_per_second", "5")]);
    let mut command = bench.command(&["probe", "--yes", "--json"]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while bench.sim.ledger().notices.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing is emitted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen(&findings, "emit.bad_code"), "not asked: interrupted", "{findings:#}");
    assert_eq!((live(&bench), &findings["left"]), (Vec::new(), &serde_json::json!([])), "{findings:#}");
}
