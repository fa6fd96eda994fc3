//! `check`: every line against a fault of its own, beside a running daemon, and nothing is ever sent that bills.

use std::{os::unix::fs::MetadataExt, process::Command};

use serde_json::{Value, json};
use tresorpayd::simulator::{ErrorBody, Fault, Operation, Outage, Rule};

use crate::bench::{Bench, entry, set_mode};

/// The result and the detail of one check.
pub(crate) fn found<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let finding = report["checks"].as_array().unwrap().iter().find(|finding| finding["check"] == check);
    let finding = finding.unwrap_or_else(|| panic!("{check}: {report:#}"));
    (finding["result"].as_str().unwrap(), finding["detail"].as_str().unwrap())
}

pub(crate) fn report(bench: &Bench, code: i32) -> Value {
    bench.run(&["check", "--json"]).exits(code).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_holds_beside_a_running_daemon() {
    let bench = Bench::new().await;
    bench.add(&entry("A-1")).exits(0);
    let daemon = bench.daemon();
    bench.until("A-1", "EMITTED").await;
    let ran = bench.run(&["check"]).exits(0);
    for line in ran.out.lines().filter(|line| !line.starts_with("        ")) {
        assert!(line.starts_with("ok    ") || line.starts_with("skip  systemd "), "{line}");
    }
    assert!(!ran.out.contains("demo-secret") && !ran.out.contains('\u{1b}'), "{}", ran.out);
    ran.prints("auth.client_secret = (value not shown)")
        .prints("poll.first_delay = \"50ms\"  [")
        .prints(&format!("running, pid {}, since", daemon.pid()))
        .prints("level with the database (attempt 1)")
        .prints("HTTP 404");
    let json = report(&bench, 0);
    assert_eq!(json["ok"], true);
    assert!(json["keys"].as_array().unwrap().iter().any(|key| key["key"] == "api.base_url"));
    assert!(!json.to_string().contains("demo-secret"));
    let counters = bench.sim.counters();
    assert_eq!(counters.requests(Operation::Emit), 1, "only the daemon emits");
    bench.run(&["status", "--exit-code"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_start() {
    let bench = Bench::bare().await;
    let json = report(&bench, 0);
    assert_eq!(found(&json, "database").0, "warn");
    assert!(found(&json, "database").1.contains("does not exist yet"));
    assert_eq!(found(&json, "api").0, "ok");
    let names: Vec<_> = std::fs::read_dir(bench.database().parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "the configuration and nothing else: {names:?}");
    let url = format!("\"sqlite://{}\"", bench.path("none/o.db").display());
    bench.configure(&[("database.url", &url)]);
    assert_eq!(found(&report(&bench, 1), "database").0, "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_78_with_every_problem() {
    let bench = Bench::new().await;
    bench.configure(&[
        ("emit.max_attempts", "0"),
        ("poll.batch_size", "\"many\""),
        ("auth.client_secret", "\"\""),
    ]);
    let ran = bench.run(&["check"]).exits(78);
    for key in ["emit.max_attempts", "poll.batch_size", "auth.client_secret"] {
        assert!(ran.out.contains(&format!("FAIL  configuration  {key}: ")), "{}", ran.out);
    }
    assert_eq!(report(&bench, 78)["ok"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_in_the_group_is_told_which() {
    let bench = Bench::new().await;
    set_mode(&bench.config(), 0o040);
    let mut command = Command::new("setpriv");
    // Root's privilege to pass over modes; who is not root has none to give away.
    if rustix::process::geteuid().is_root() {
        let without = "-dac_override,-dac_read_search";
        command.args([format!("--bounding-set={without}"), format!("--inh-caps={without}")]);
    }
    command.arg(env!("CARGO_BIN_EXE_tresorpayd")).arg("--config").arg(bench.config()).arg("status");
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let group = std::fs::metadata(bench.config()).unwrap().gid();
    let group = nix::unistd::Group::from_gid(group.into()).unwrap().unwrap().name;
    assert!(told.contains(&format!("only root and the group {group} may")), "{told}");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_really_asked_for() {
    let bench = Bench::new().await;
    bench.configure(&[("auth.client_secret", "\"wrong-secret\"")]);
    let ran = bench.run(&["check"]).exits(1);
    assert!(!ran.out.contains("wrong-secret"), "{}", ran.out);
    ran.prints("FAIL  token")
        .prints("refused the credentials")
        .prints(" — check auth.client_id")
        .prints("for want of a token");
    bench.configure(&[("auth.token_url", "\"http://127.0.0.1:9/token\"")]);
    assert_eq!(found(&report(&bench, 1), "token").0, "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_really_asked() {
    let bench = Bench::new().await;
    let page = Fault::Status {
        code: 503,
        processed: false,
        retry_after: None,
        body: ErrorBody::Html,
        message: None,
        title: None,
    };
    bench.sim.add_fault(Rule::once(Operation::Status, page));
    bench.run(&["check"]).exits(1).prints("HTTP 503").prints("which is not an answer of the API");
    bench.sim.add_fault(Rule::once(Operation::Status, Fault::RevokedToken));
    bench.run(&["check"]).exits(1).prints("it does not accept the token");
    bench.configure(&[("api.base_url", &format!("\"{}/elsewhere\"", bench.sim.origin()))]);
    let json = report(&bench, 0);
    assert_eq!(found(&json, "api").0, "warn", "it may be an unknown path or an unknown notice: {json:#}");
    bench.configure(&[]);
    bench.sim.down(Outage::Refuse).await;
    let json = report(&bench, 1);
    assert!(found(&json, "api").1.contains("cannot be reached"), "{json:#}");
    assert_eq!(found(&json, "integrity").0, "ok", "the rest is checked all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_may_read_is_told() {
    let bench = Bench::new().await;
    set_mode(&bench.database(), 0o664);
    let json = report(&bench, 1);
    assert!(found(&json, "access").1.contains("mode 0664"), "{json:#}");
    // The files beside it took the mode when they were made.
    for suffix in ["", "-wal", "-shm"] {
        set_mode(&bench.path(&format!("outbox.db{suffix}")), 0o660);
    }
    set_mode(&bench.config(), 0o644);
    let json = report(&bench, 0);
    assert_eq!(found(&json, "secrets").0, "warn");
    assert!(found(&json, "secrets").1.starts_with("auth.client_secret stands in "));
    std::fs::write(bench.path("secret"), "demo-secret\n").unwrap();
    set_mode(&bench.path("secret"), 0o604);
    let path = format!("{:?}", bench.path("secret").to_str().unwrap());
    bench.configure(&[("auth.client_secret", "\"\""), ("auth.client_secret_file", &path)]);
    assert!(found(&report(&bench, 0), "secrets").1.starts_with("auth.client_secret_file stands in "));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_apis_database_is_78() {
    let bench = Bench::new().await;
    bench.configure(&[("api.base_url", "\"http://127.0.0.1:9/api\"")]);
    let json = report(&bench, 78);
    let (result, detail) = found(&json, "environment");
    assert_eq!(result, "fail");
    assert!(detail.contains(bench.sim.origin()) && detail.contains("http://127.0.0.1:9"), "{detail}");
    assert_eq!(found(&json, "token").0, "ok", "everything is told at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_went_back_or_broke_is_told() {
    let bench = Bench::new().await;
    let old = std::fs::read(bench.database()).unwrap();
    bench.add(&entry("A-1")).exits(0);
    let daemon = bench.daemon();
    bench.until("A-1", "EMITTED").await;
    drop(daemon);
    assert_eq!(found(&report(&bench, 0), "mark").0, "ok");
    let whole: Vec<_> = ["", "-wal", "-shm"].map(|suffix| bench.path(&format!("outbox.db{suffix}"))).into();
    for path in &whole[1..] {
        let _ = std::fs::remove_file(path);
    }
    std::fs::write(&whole[0], &old).unwrap();
    let json = report(&bench, 1);
    assert_eq!(found(&json, "mark").0, "fail");
    assert!(found(&json, "mark").1.contains("went back in time"), "{json:#}");
    std::fs::remove_file(&whole[0]).unwrap();
    assert!(found(&report(&bench, 1), "mark").1.contains("went back in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_page_is_found() {
    let bench = Bench::new().await;
    bench.add(&json!([entry("A-1"), entry("A-2")])).exits(0);
    let mut conn = bench.application().await;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await.unwrap();
    let root = bench.number("SELECT rootpage FROM sqlite_master WHERE name = 'outbox_ready'").await;
    let mut bytes = std::fs::read(bench.database()).unwrap();
    let start = usize::try_from(root - 1).unwrap() * 4096;
    bytes[start..start + 4096].fill(0xff);
    drop(conn);
    std::fs::write(bench.database(), &bytes).unwrap();
    let json = report(&bench, 1);
    assert_eq!(found(&json, "integrity").0, "fail", "{json:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_schema_is_told() {
    let bench = Bench::new().await;
    let mut conn = bench.application().await;
    sqlx::query("UPDATE _sqlx_migrations SET version = 99").execute(&mut conn).await.unwrap();
    let json = report(&bench, 1);
    assert!(found(&json, "schema").1.contains("made by a newer tresorpayd (schema version 99)"), "{json:#}");
    sqlx::query("DELETE FROM _sqlx_migrations").execute(&mut conn).await.unwrap();
    assert_eq!(found(&report(&bench, 0), "schema").0, "warn");
    sqlx::query("PRAGMA journal_mode = DELETE").execute(&mut conn).await.unwrap();
    assert_eq!(found(&report(&bench, 0), "journal").0, "warn");
}
