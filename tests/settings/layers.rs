//! Which source wins, and what is said about where a value came from.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use secrecy::ExposeSecret;
use tresorpayd::settings::{Settings, Sources};

use crate::bench::Bench;

#[test]
fn each_layer_yields_to_the_next() {
    let file = "[auth]\nclient_id = \"file\"\n[emit]\nmax_attempts = 7\nmax_uncertain = 8\n";
    let bench = Bench::new().everything().file(file).set("auth.client_secret", "s");
    assert_eq!(bench.good().auth.credentials.unwrap().client_id, "file");
    let bench = bench.set("auth.client_id", "environment").set("emit.max_attempts", "9");
    assert_eq!(bench.good().auth.credentials.unwrap().client_id, "environment");
    let bench = bench.credential("client_id", "credential\n");
    let settings = bench.good();
    assert_eq!(settings.auth.credentials.as_ref().unwrap().client_id, "credential");
    assert_eq!(
        (settings.emit.max_attempts, settings.emit.max_uncertain, settings.poll.batch_size),
        (9, 8, 100)
    );

    let origins: Vec<_> = settings
        .origins()
        .iter()
        .map(|origin| (origin.key, origin.source.clone(), origin.value.as_str()))
        .collect();
    let file = bench.path("config.toml").display().to_string();
    let credential = bench.path("credentials/client_id").display().to_string();
    assert_eq!(
        origins,
        [
            ("auth.client_id", format!("credential {credential}"), "\"credential\""),
            (
                "auth.client_secret",
                "environment variable TRESORPAYD__AUTH__CLIENT_SECRET".to_owned(),
                "(value not shown)"
            ),
            ("emit.max_attempts", "environment variable TRESORPAYD__EMIT__MAX_ATTEMPTS".to_owned(), "\"9\""),
            ("emit.max_uncertain", format!("{file}, line 5"), "8"),
        ]
    );
}

#[test]
fn a_bad_value_that_a_stronger_layer_replaces_is_no_problem() {
    let bench = Bench::new().file("[emit]\nmax_attempts = \"many\"\n");
    assert_eq!(bench.problem().key, "emit.max_attempts");
    assert_eq!(bench.set("emit.max_attempts", "3").good().emit.max_attempts, 3);
}

#[test]
fn the_empty_text_unsets_an_optional_key() {
    let bench = Bench::new().file("[http]\nlisten = \"127.0.0.1:9464\"\n[auth]\nscope = \"openid\"\n");
    assert!(bench.good().http.listen.is_some());
    let settings = bench.set("http.listen", "").set("auth.scope", "").good();
    assert!(settings.http.listen.is_none() && settings.auth.scope.is_none());
}

#[test]
fn the_process_is_read_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("client_secret"), "0012\n").unwrap();
    let config = folder.path().join("c.toml");
    fs::write(&config, "[emit]\nmax_uncertain = 3\n").unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "layers::in_a_process_of_its_own", "--ignored"])
        .env("TRESORPAYD__AUTH__CLIENT_ID", "me")
        .env("tresorpayd__emit__max_attempts", "4")
        .env("CREDENTIALS_DIRECTORY", folder.path())
        .env("CONFIG_OF_THIS_TEST", &config)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
}

#[test]
#[ignore = "started by the_process_is_read_as_it_is, with an environment"]
fn in_a_process_of_its_own() {
    let config = std::env::var_os("CONFIG_OF_THIS_TEST").map(PathBuf::from);
    let settings = Settings::load(&Sources::from_process(config)).unwrap();
    let credentials = settings.auth.credentials.unwrap();
    assert_eq!((credentials.client_id.as_str(), credentials.client_secret.expose_secret()), ("me", "0012"));
    assert_eq!((settings.emit.max_attempts, settings.emit.max_uncertain), (4, 3));
}
