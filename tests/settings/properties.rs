//! Whatever comes in: no text panics, every refusal is blamed on its source, no secret is seen.

use proptest::prelude::*;
use secrecy::ExposeSecret;

use crate::bench::{Bench, CONTRACT, variable};

/// Any text, and text near enough to what keys take that it gets past the first look.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9]{0,25}(ms|s|m|h|d|KiB|MiB|GiB|TiB|B|)([0-9]{1,20}(s|ms))?",
        "(https?|sqlite|file)?:?/{0,3}([a-z@:%?#.\\[\\]\\\\0-9é]{0,12}/?){0,3}",
        "([*0-9/,LW#?-]{1,6} ){0,7}",
        "\\[?[0-9a-f:.]{1,20}\\]?:[0-9]{0,6}",
    ]
}

proptest! {
    #[test]
    fn no_value_panics_and_a_refused_one_is_blamed(at in 0..CONTRACT.len(), value in value()) {
        let (key, _) = CONTRACT[at];
        let outcome = Bench::new().account().set(key, &value).load();
        if let Err(error) = outcome {
            prop_assert!(error.to_string().contains(&variable(key)), "{key} = {value:?}: {error}");
            prop_assert_eq!(error.to_string().lines().count(), error.problems.len() + 2);
        }
    }

    #[test]
    fn no_file_panics(text in prop_oneof![any::<String>(), "(\\[?[a-z.\"]{0,8}\\]?( = [0-9a-z\"'\\[{.:-]{0,9})?\n){0,9}"]) {
        let _ = Bench::new().file(&text).load();
    }

    #[test]
    fn no_variable_name_panics(name in any::<String>(), value in any::<String>()) {
        for name in [name.clone(), format!("TRESORPAYD__{name}"), format!("TRESORPAYD_{name}")] {
            let mut bench = Bench::new();
            bench.sources.environment.push((name, value.clone()));
            let _ = bench.load();
        }
    }

    #[test]
    fn a_secret_comes_through_unchanged_and_unseen(secret in "[!-~]{12,40}") {
        let bench = Bench::new().everything().set("auth.client_id", "me").set("auth.client_secret", &secret);
        let settings = bench.good();
        let told = format!("{settings:?}");
        prop_assert!(!told.contains(&secret));
        let credentials = settings.auth.credentials.unwrap();
        prop_assert_eq!(credentials.client_secret.expose_secret(), secret.as_str());
    }
}
