//! What is refused, value by value and key against key: each with its key, its origin and what is expected.

use std::{path::Path, time::Duration};

use secrecy::ExposeSecret;
use tresorpayd::settings::Callback;

use crate::bench::{Bench, CONTRACT, variable};

#[test]
fn all_problems_are_reported_at_once_each_with_its_key_and_origin() {
    let bench = Bench::new()
        .everything()
        .file(
            "environment = \"prod\"\n\
             [emit]\n\
             max_attempts = 0\n\
             schedule = \"* * * * *\"\n\
             max_attemps = 3\n\
             [api]\n\
             connect_timeout = 5\n\
             base_url = \"http://user:pass@tresorpay.ml\"\n\
             [log]\n\
             level = [\"info\"]\n\
             [weather]\n\
             tomorrow = \"sun\"\n",
        )
        .set("shutdown.grace", "30s")
        .set("database.max_wal", "1GB")
        .set("nothing.like_it", "x")
        .credential("client_id", "");
    let file = bench.path("config.toml").display().to_string();
    let credential = bench.path("credentials/client_id").display().to_string();
    let expected = format!(
        "the configuration has 13 problems:
  emit.max_attemps: unknown key; did you mean emit.max_attempts? [{file}, line 5]
  weather.tomorrow: unknown key [{file}, line 12]
  nothing.like_it: unknown key [environment variable TRESORPAYD__NOTHING__LIKE_IT]
  environment: \"prod\": expected one of sandbox, production, custom [{file}, line 1]
  api.base_url: \"http://***@tresorpay.ml\": expected a URL without user and password [{file}, line 8]
  api.connect_timeout: 5: expected text in quotes: a duration such as 250ms, 30s or 1h30m, from 1ms to 5m [{file}, line 7]
  auth.client_id: is required: give it by the systemd credential client_id, by this key, or by TRESORPAYD__AUTH__CLIENT_ID [credential {credential}]
  auth.client_secret: is required: give it by the systemd credential client_secret, by auth.client_secret_file, or by TRESORPAYD__AUTH__CLIENT_SECRET [not set]
  database.max_wal: \"1GB\": expected a size such as 512MiB, 1GiB or 1048576 (bytes), from 4KiB to 1TiB [environment variable TRESORPAYD__DATABASE__MAX_WAL]
  emit.schedule: \"* * * * *\": expected a cron expression of 6 fields (second, minute, hour, day of month, month, day of week), found 5 [{file}, line 4]
  emit.max_attempts: 0: expected a whole number from 1 to 10000 [{file}, line 3]
  log.level: a list, a table or a date: expected text in quotes: one of off, error, warn, info, debug, trace [{file}, line 10]
  shutdown.grace: \"30s\": expected more than api.request_timeout, which is 30s [built-in default] [environment variable TRESORPAYD__SHUTDOWN__GRACE]
Correct every line above, then try the result with `tresorpayd check`."
    );
    assert_eq!(bench.load().unwrap_err().to_string(), expected);
}

#[test]
fn what_makes_no_sense_is_refused_for_every_key() {
    let bad: &[(&str, &[&str])] = &[
        ("environment", &["", "Production", "prod"]),
        (
            "api.base_url",
            &["x", "http://tresorpay.ml", "https://u@recette.tresorpay.finances.ml", "https://evil.ml"],
        ),
        ("api.connect_timeout", &["", "0s", "5", "6m", "-1s", "31s"]),
        ("api.request_timeout", &["0s", "11m", "1 s"]),
        ("api.proxy", &["proxy:3128", "socks5://proxy:1080"]),
        ("api.ca_file", &["ca.pem"]),
        ("api.max_concurrency", &["", "0", "257", "1.5", "-1", "8 "]),
        ("api.requests_per_second", &["-1", "10001", "many"]),
        ("api.retry_first_delay", &["0s", "25h", "61s"]),
        ("api.retry_max_delay", &["0s", "25h"]),
        ("api.breaker_failures", &["0", "1001", "99999999999999999999"]),
        ("api.payment_page", &["http://tresorpay.ml", "https://tresorpay.ml/?id="]),
        ("auth.token_url", &["https://evil.ml/token", "token"]),
        ("auth.scope", &["a  b", " a", "a\"b", "é"]),
        ("auth.client_authentication", &["post"]),
        ("notice.code_client", &[" a", "a\nb"]),
        ("notice.code_structure", &["a "]),
        ("notice.callback", &["/paid", "ftp://x", "https://u:p@x"]),
        ("notice.redirect_url", &["javascript:alert(1)"]),
        ("notice.other_phone_numbers", &["drop"]),
        ("database.url", &["", "sqlite::memory:", "sqlite:///a?mode=ro", "postgres://x/y", "/var/lib/o.db"]),
        ("database.mark", &["outbox.db", "/var/lib/tresorpayd/outbox.db-wal"]),
        ("database.max_wal", &["0", "1", "2TiB", "1GB", "1.5GiB"]),
        ("emit.schedule", &["* * * * *", "60 * * * * *", "0 0 0 30 2 *"]),
        ("emit.max_attempts", &["0", "10001"]),
        ("emit.on_uncertain", &["retry"]),
        ("emit.settle_after", &["0s", "31d"]),
        ("emit.max_uncertain", &["0", "1000001"]),
        ("poll.schedule", &["often"]),
        ("poll.batch_size", &["0", "1001"]),
        ("poll.first_delay", &["0s", "7h"]),
        ("poll.max_delay", &["0s", "31d", "29s"]),
        ("poll.give_up_after", &["0s", "3651d"]),
        ("confirm.delivery", &["always"]),
        ("receipts.directory", &["receipts"]),
        ("reconcile.schedule", &["0 0 25 * * *"]),
        ("reconcile.window", &["0s", "3651d"]),
        ("retention.anonymise_after", &["0s", "36501d"]),
        ("http.listen", &["9464", "localhost:9464", "127.0.0.1", "0.0.0.0:9464", "[::]:9464"]),
        ("http.token", &["two words", "é"]),
        ("callback.listen", &["127.0.0.1:9465", "x"]),
        ("callback.public_url", &["https://x.example", "http://x.example"]),
        ("log.level", &["INFO", "tresorpayd=debug"]),
        ("log.format", &["xml"]),
        ("shutdown.grace", &["0s", "30s", "61m"]),
    ];
    for (key, default) in CONTRACT {
        let tried = bad.iter().any(|(bad, _)| bad == key);
        assert!(tried || key.starts_with("auth.client_"), "{key} (default {default:?}) is not tried");
    }
    for (key, value) in bad.iter().flat_map(|(key, values)| values.iter().map(move |value| (*key, *value))) {
        let problems = Bench::new().set(key, value).problems();
        assert_eq!(problems.len(), 1, "{key} = {value:?}: {problems:?}");
        let other_end = if key == "poll.max_delay" && value == "29s" { "poll.first_delay" } else { key };
        assert_eq!(problems[0].key, other_end, "{problems:?}");
        let origin = format!("environment variable {}", variable(key));
        let told = format!("{} {}", problems[0].source, problems[0].message);
        assert!(told.contains(&origin), "{key} = {value:?}: {told}");
    }
}

#[test]
fn what_makes_sense_is_taken() {
    let good: &[(&str, &[&str])] = &[
        ("api.base_url", &["https://recette.tresorpay.finances.ml/api/public/v2/"]),
        ("api.proxy", &["http://user:pass@proxy.example:3128", "https://proxy.example"]),
        ("api.requests_per_second", &["0", "1"]),
        ("api.payment_page", &["https://pay.example/here", "http://localhost:1/x"]),
        ("auth.scope", &["openid", "openid tresorpay"]),
        ("database.url", &["sqlite:outbox.db", "sqlite://dir/outbox.db", "sqlite:///with blank/é.db"]),
        ("database.max_wal", &["4096", "512MiB"]),
        ("emit.schedule", &["0 0 8-17 * * MON-FRI"]),
        ("retention.anonymise_after", &["1ms", "90d12h"]),
        ("http.listen", &["127.0.0.1:9464", "[::1]:0"]),
        ("log.level", &["off", "trace"]),
    ];
    for (key, value) in good.iter().flat_map(|(key, values)| values.iter().map(move |value| (*key, *value))) {
        Bench::new().set(key, value).good();
    }
    assert!(Bench::new().set("api.requests_per_second", "0").good().api.requests_per_second.is_none());
}

#[test]
fn a_short_request_bounds_the_default_for_its_connection() {
    let api = Bench::new().set("api.request_timeout", "2s").good().api;
    assert_eq!((api.connect_timeout, api.request_timeout), (Duration::from_secs(2), Duration::from_secs(2)));
    let both = Bench::new().set("api.request_timeout", "2s").set("api.connect_timeout", "3s");
    assert_eq!(both.problem().key, "api.connect_timeout");
    Bench::new().set("api.request_timeout", "2s").set("api.connect_timeout", "2s").good();
}

#[test]
fn an_environment_keeps_its_hosts() {
    let foreign = Bench::new().set("environment", "production").set("api.base_url", "http://127.0.0.1:1");
    let problem = foreign.problem();
    assert_eq!(problem.key, "api.base_url");
    assert!(
        problem.message.contains("https://tresorpay.ml") && problem.message.contains("custom"),
        "{problem}"
    );

    let missing: Vec<_> =
        Bench::new().set("environment", "custom").problems().into_iter().map(|problem| problem.key).collect();
    assert_eq!(missing, ["api.base_url", "auth.token_url"]);

    let custom = Bench::new()
        .set("environment", "custom")
        .set("api.base_url", "http://127.0.0.1:8080/api/")
        .set("auth.token_url", "http://127.0.0.1:8080/token");
    let api = custom.good().api;
    assert_eq!(api.base_url.as_str(), "http://127.0.0.1:8080/api");
    assert_eq!(api.payment_page.as_str(), "http://127.0.0.1:8080/public/init-paiement");

    let production = Bench::new().set("environment", "production").good();
    assert_eq!(production.api.payment_page.as_str(), "https://tresorpay.ml/public/init-paiement");
    assert_eq!(production.auth.token_url.host_str(), Some("auth.finances.ml"));
}

#[test]
fn the_status_page_and_the_callback_are_whole_or_not_there() {
    let open = Bench::new().set("http.listen", "0.0.0.0:9464").set("http.token", "t0ken");
    assert_eq!(open.good().http.token.unwrap().expose_secret(), "t0ken");

    let both = Bench::new()
        .set("callback.listen", "0.0.0.0:9464")
        .set("callback.public_url", "https://cb.example/t/");
    let Callback { listen, public_url } = both.good().callback.unwrap();
    assert_eq!((listen.port(), public_url.as_str()), (9464, "https://cb.example/t"));
    let clash = open.set("callback.listen", "0.0.0.0:9464").set("callback.public_url", "https://cb.example");
    assert_eq!(clash.problem().key, "callback.listen");
}

#[test]
fn the_mark_follows_the_database() {
    let bench = Bench::new().set("database.url", "sqlite:data/outbox.db");
    assert_eq!(bench.good().database.mark, Path::new("data/outbox.db.mark"));
    assert_eq!(bench.set("database.mark", "m").good().database.mark, Path::new("data/m"));
}
