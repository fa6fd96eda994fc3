//! Settings, commands, options and error codes: what the pages name exists, and what exists is named.

use std::{collections::BTreeSet, process::Command};

use tresorpayd::store::RESTORED;

use crate::pages::{Page, between, cell_spans, file};

/// Every key of the shipped configuration file, in order, with its default.
fn settings() -> Vec<(String, Option<String>)> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in file("config/tresorpayd.toml").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        }
        let example = line.strip_prefix("# Example: ");
        let shown = example.or(line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')));
        if let Some((key, value)) = shown.and_then(|shown| shown.split_once(" = ")) {
            let default = example.is_none().then(|| value.trim_matches('"').to_owned());
            keys.push((format!("{section}{key}"), default));
        }
    }
    assert!(keys.len() > 40, "{keys:?}");
    keys
}

#[test]
fn every_setting_that_is_named_exists() {
    let keys: BTreeSet<String> = settings().into_iter().map(|(key, _)| key).collect();
    let sections: BTreeSet<&str> =
        keys.iter().filter_map(|key| key.split_once('.')).map(|(name, _)| name).collect();
    let mut named = 0;
    for page in Page::all() {
        for span in page.spans() {
            let name = span.split(' ').next().unwrap_or_default();
            let is_key = |leaf: &str| {
                !leaf.is_empty() && leaf.chars().all(|c| c.is_ascii_lowercase() || c == '_') && leaf != "toml"
            };
            match name.split_once('.') {
                // `pay.rs` is a file.
                Some((section, leaf)) if sections.contains(section) && is_key(leaf) && leaf != "rs" => {
                    assert!(keys.contains(name), "{}: `{name}` is no setting", page.path);
                    named += 1;
                }
                _ => {}
            }
        }
        for variable in page.code().split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            let Some(name) = variable.strip_prefix("TRESORPAYD__").filter(|name| *name != "SECTION__KEY")
            else {
                continue;
            };
            let key = name.to_lowercase().replace("__", ".");
            assert!(keys.contains(&key), "{}: {variable} is no setting", page.path);
            named += 1;
        }
    }
    assert!(named > 60, "only {named} settings were found in the pages");
}

#[test]
fn the_settings_reference_is_complete_and_tells_the_defaults() {
    /// Set by the environment or from another key: the file shows the sandbox's value.
    const DERIVED: [(&str, &str); 4] = [
        ("api.base_url", "by environment"),
        ("api.payment_page", "by environment"),
        ("auth.token_url", "by environment"),
        ("database.mark", "none"),
    ];
    let rows = Page::read("docs/outbox.md").rows("## Settings");
    let told: Vec<(String, String)> = rows
        .iter()
        .map(|row| (cell_spans(&row[0])[0].to_owned(), row[1].trim_matches('`').to_owned()))
        .collect();
    let known: Vec<(String, String)> = settings()
        .into_iter()
        .map(|(key, default)| {
            let derived = DERIVED.iter().find(|(name, _)| *name == key).map(|(_, told)| (*told).to_owned());
            let told = derived.or(default).unwrap_or_else(|| "none".to_owned());
            (key, told)
        })
        .collect();
    assert_eq!(told, known);
}

fn help(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_tresorpayd")).args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn commands() -> BTreeSet<String> {
    let help = help(&[]);
    let list = between(&help, "Commands:\n", "\n\n");
    list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn every_command_and_option_that_is_named_exists() {
    let commands = commands();
    let mut named = BTreeSet::new();
    for page in Page::all() {
        for line in page.code().lines().map(str::trim_end) {
            for (at, _) in line.match_indices("tresorpayd ") {
                let before = line[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || "/.-_".contains(c)) {
                    continue;
                }
                // The user or the group of that name.
                if ["-u ", "-g ", "-o ", "--groups "].iter().any(|option| line[..at].ends_with(option)) {
                    continue;
                }
                let mut words = line[at..].split([' ', ';', '"', ')', '`']).skip(1);
                let Some(command) =
                    words.next().filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
                else {
                    continue;
                };
                assert!(
                    commands.contains(command),
                    "{}: no command `tresorpayd {command}`: {line}",
                    page.path
                );
                named.insert(command.to_owned());
                let options: Vec<&str> = words
                    .take_while(|word| !["&&", "|", "&"].contains(word))
                    .filter(|w| w.starts_with("--"))
                    .collect();
                let help = if options.is_empty() { String::new() } else { help(&[command]) };
                for option in options {
                    let name = option.split('=').next().unwrap_or(option);
                    assert!(
                        help.split_whitespace().any(|word| word.split([',', '[']).next() == Some(name)),
                        "{}: `tresorpayd {command}` has no option {name}",
                        page.path
                    );
                }
            }
        }
    }
    let unnamed: Vec<_> = commands.iter().filter(|name| *name != "help" && !named.contains(*name)).collect();
    assert!(unnamed.is_empty(), "no page names {unnamed:?}");
}

/// The texts that `ErrorCode::as_str` gives, the two that polling writes by itself, those of drift, and that of a clock that is off.
fn codes() -> BTreeSet<String> {
    let answer = file("src/tresorpay/answer.rs");
    let arms = between(&answer, "impl ErrorCode {", "\n}\n");
    let mut codes: BTreeSet<String> = arms
        .lines()
        .filter(|line| line.contains("=> \""))
        .map(|line| between(line, "=> \"", "\"").to_owned())
        .collect();
    let poll = file("src/poll.rs");
    for code in ["unknown_status", "poll_given_up"] {
        assert!(poll.contains(&format!("\"{code}: ")), "polling no longer writes {code}");
        codes.insert(code.to_owned());
    }
    codes.insert("clock_off".to_owned());
    let drift = file("src/notice/drift.rs");
    let arms = between(&drift, "const fn as_str(self)", "\n    }\n");
    codes.extend(
        arms.lines()
            .filter(|line| line.contains("=> \""))
            .map(|line| between(line, "=> \"", "\"").to_owned()),
    );
    codes.insert(RESTORED.to_owned());
    codes
}

/// What the store tells of itself, in the log or in `last_error`.
fn codes_of_the_store() -> BTreeSet<String> {
    let error = file("src/store/error.rs");
    let arms = between(&error, "const fn code(self)", "\n    }\n");
    let mut codes: BTreeSet<String> = arms
        .lines()
        .filter(|line| line.contains("=> \""))
        .map(|line| between(line, "=> \"", "\"").to_owned())
        .collect();
    for (path, code) in [("refused", "trigger_refused"), ("trouble", "mark_unwritable"), ("wal", "wal_large")]
    {
        let source = file(&format!("src/store/writer/{path}.rs"));
        assert!(source.contains(&format!("\"{code}\"")), "the writer no longer tells {code}");
        codes.insert(code.to_owned());
    }
    assert!(file("src/retention.rs").contains("\"retention_failed\""), "retention no longer tells its code");
    codes.insert("retention_failed".to_owned());
    codes
}

/// Codes that no emission comes to.
const NOT_OF_AN_EMISSION: [&str; 19] = [
    "drift_status",
    "drift_payment",
    "drift_live",
    "drift_unknown",
    "unknown_status",
    "poll_given_up",
    "nothing_live",
    "not_canceled",
    "unproven",
    "other_platform",
    "max_attempts",
    "replaced_paid",
    "replaced_live",
    "clock_off",
    "receipt_failed",
    "callback_failed",
    "amount_differs",
    "second_live_notice",
    RESTORED,
];

/// `docs/guarantees.md` names the tests that show a promise.
#[test]
fn every_test_that_a_guarantee_names_exists() {
    fn sources(folder: &std::path::Path) -> String {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let text = entries.map(|path| match path.extension() {
            None if path.is_dir() => sources(&path),
            Some(kind) if kind == "rs" => std::fs::read_to_string(path).unwrap(),
            _ => String::new(),
        });
        text.collect()
    }
    let tests = sources(&crate::pages::root().join("tests"));
    let mut named = 0;
    for span in Page::read("docs/guarantees.md").spans() {
        let is_name =
            span.matches('_').count() >= 3 && span.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_name {
            assert!(tests.contains(&format!("fn {span}(")), "no test is called {span}");
            named += 1;
        }
    }
    assert!(named > 30, "{named}");
}

#[test]
fn every_error_code_is_explained_and_every_explanation_is_of_a_code() {
    let headings = Page::read("docs/errors.md").headings();
    let told: BTreeSet<String> = headings
        .iter()
        .filter_map(|heading| heading.strip_prefix('`'))
        .map(|rest| rest.replace('`', ""))
        .collect();
    let known: BTreeSet<String> = codes().into_iter().chain(codes_of_the_store()).collect();
    assert_eq!(told, known);
}

#[test]
fn the_table_of_answers_has_every_code_of_an_emission() {
    let rows = Page::read("docs/outbox.md").rows("## What an answer means");
    let told: BTreeSet<String> = rows.iter().map(|row| cell_spans(&row[1])[0].to_owned()).collect();
    assert_eq!(rows.len(), told.len(), "a code stands twice");
    let mut codes = codes();
    codes.retain(|code| !NOT_OF_AN_EMISSION.contains(&code.as_str()));
    assert_eq!(told, codes);
}

#[test]
fn the_words_of_a_failed_start_are_the_programs_own() {
    let source = [
        "src/app.rs",
        "src/settings/problem.rs",
        "src/store/error.rs",
        "src/store/open.rs",
        "src/store/open/file.rs",
        "src/store/examine.rs",
    ];
    let source = source.map(file).concat();
    let source = source.split_whitespace().collect::<Vec<_>>().join(" ");
    for row in Page::read("docs/errors.md").rows("## When the daemon does not start") {
        for words in cell_spans(&row[0]) {
            // What the program fills in.
            let words = words
                .replace("belongs to environment", "belongs to {key}")
                .replace("api_origin", "\"api_origin\"");
            assert!(source.contains(&words), "no such words in the program: {words}");
        }
    }
}
