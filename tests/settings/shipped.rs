//! The shipped file: it loads, changes nothing, shows every key, and its defaults are the true ones.

use std::fs;
use std::path::Path;

use tresorpayd::settings::{Environment, OnUncertain};

use crate::bench::{Bench, CONTRACT, seconds, values};

fn shipped() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tresorpayd.toml")).unwrap()
}

/// The shipped file with its commented keys in force: those with defaults, and the examples that `examples` wants.
fn uncommented(examples: impl Fn(&str) -> bool) -> String {
    let line = |line: &str| match line.strip_prefix("# Example: ") {
        Some(example) if examples(example) => example.to_owned(),
        None if line.starts_with('#') && line.contains(" = ") && !line.starts_with("# ") => {
            line[1..].to_owned()
        }
        _ => line.to_owned(),
    };
    shipped().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_shipped_file_loads_and_changes_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let tomls = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let tomls: Vec<_> =
        tomls.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    assert!(!tomls.is_empty());
    for path in tomls {
        let mut bench = Bench::new();
        bench.sources.file = Some(path);
        assert_eq!(values(&bench.good()), values(&Bench::new().good()));
        assert!(bench.good().origins().is_empty());
    }
}

#[test]
fn the_documented_defaults_are_the_built_in_ones() {
    let spoken = Bench::new().file(&uncommented(|_| false)).good();
    assert_eq!(values(&spoken), values(&Bench::new().good()));
    let documented = spoken.origins().len();
    let by_environment = ["api.base_url", "api.payment_page", "auth.token_url"].len();
    let with_default = CONTRACT.iter().filter(|(_, default)| default.is_some()).count();
    assert_eq!(documented, with_default + by_environment);
}

#[test]
fn the_shipped_examples_load_and_no_key_is_missing() {
    let settings = Bench::new().file(&uncommented(|_| true)).good();
    let shown: Vec<_> = settings.origins().iter().map(|origin| origin.key).collect();
    let contract: Vec<_> = CONTRACT.iter().map(|(key, _)| *key).collect();
    assert_eq!(shown, contract);
    assert!(
        settings.callback.is_some() && settings.http.token.is_some() && settings.receipts.directory.is_some()
    );
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let silent = values(&Bench::new().good());
    for (key, default) in CONTRACT.iter().filter_map(|(key, default)| Some((*key, (*default)?))) {
        assert_eq!(values(&Bench::new().set(key, default).good()), silent, "{key}");
    }
    let settings = Bench::new().account().good();
    assert_eq!(settings.environment, Environment::Sandbox);
    assert_eq!(settings.api.base_url.as_str(), "https://recette.tresorpay.finances.ml/api/public/v1");
    assert_eq!(settings.api.origin(), "https://recette.tresorpay.finances.ml");
    assert_eq!(settings.emit.on_uncertain, OnUncertain::Hold);
    assert_eq!(settings.emit.settle_after, seconds(300));
    assert_eq!(settings.poll.give_up_after, seconds(365 * 86_400));
    assert_eq!(settings.database.max_wal, 1 << 30);
    assert_eq!(settings.api.requests_per_second.unwrap().get(), 20);
}
