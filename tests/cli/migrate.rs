//! `migrate`: makes the database once, says so, and leaves a daemon's alone.

use serde_json::json;

use crate::bench::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn creates_the_database_once() {
    let bench = Bench::bare().await;
    bench.run(&["migrate"]).exits(0).prints("created ").prints("schema version 1");
    let again = bench.run(&["migrate", "--json"]).exits(0).json();
    assert_eq!(
        again,
        json!({"outcome": "current", "database": bench.database(), "from_version": 1, "schema_version": 1})
    );
    bench.run(&["migrate"]).exits(0).prints("is at schema version 1 already");
    assert_eq!(bench.number("SELECT count(*) FROM outbox").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn says_who_holds_it() {
    let bench = Bench::bare().await;
    let daemon = bench.daemon();
    bench.until_running().await;
    bench.run(&["migrate"]).exits(1).complains(&format!("pid {}", daemon.pid()));
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_what_is_not_its_own() {
    let bench = Bench::new().await;
    bench.configure(&[("api.base_url", "\"http://127.0.0.1:9/api\"")]);
    bench.run(&["migrate"]).exits(78).complains("api_origin");
    std::fs::write(bench.path("other.db"), "not a database at all").unwrap();
    let url = format!("\"sqlite://{}\"", bench.path("other.db").display());
    bench.configure(&[("database.url", &url)]);
    bench.run(&["migrate"]).exits(78).complains("it is not an SQLite database");
    let url = format!("\"sqlite://{}\"", bench.path("no/such/folder/o.db").display());
    bench.configure(&[("database.url", &url)]);
    bench.run(&["migrate"]).exits(1).complains("no/such/folder");
    bench.configure(&[("emit.max_attempts", "0")]);
    bench.run(&["migrate"]).exits(78).complains("emit.max_attempts");
}
