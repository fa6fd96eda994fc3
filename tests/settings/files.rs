//! Files that cannot be read, or not as a whole, and names in them.

use std::fs;
use std::path::Path;

use tresorpayd::settings::Need;

use crate::bench::Bench;

#[test]
fn a_file_that_cannot_be_read_says_why() {
    for (name, reason) in [
        ("missing", "No such file"),
        (".", "directory"),
        ("latin1", "not UTF-8 text (line 2)"),
        ("huge", "larger than"),
    ] {
        let mut bench = Bench::new();
        fs::write(bench.path("latin1"), b"# ok\n# caf\xe9\n").unwrap();
        fs::write(bench.path("huge"), vec![b'#'; 2 << 20]).unwrap();
        bench.sources.file = Some(bench.path(name));
        let problem = bench.problem();
        assert!(problem.message.contains(reason), "{problem}");
        assert!(problem.source.starts_with(bench.folder.path().to_str().unwrap()), "{problem}");
    }
}

#[test]
fn broken_toml_names_every_line_and_shows_none() {
    let bench =
        Bench::new().everything().file("[auth]\nclient_secret = 0012\n\n[emit\n").set("what.ever", "x");
    let told: Vec<_> = bench.problems().iter().map(|problem| format!("{problem}")).collect();
    let file = bench.path("config.toml").display().to_string();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].contains("not valid TOML") && told[0].contains(&format!("{file}, line 2, column 17")),
        "{told:?}"
    );
    assert!(told[1].contains(&format!("{file}, line 4")), "{told:?}");
    assert!(told[2].starts_with("what.ever: unknown key"), "{told:?}");
    assert!(!told.concat().contains("0012"));
}

#[test]
fn a_file_from_another_system_is_read() {
    let bench = Bench::new().file("\u{feff}[emit]\r\nmax_attempts = 3\r\nmax_uncertain = 0\r\n");
    assert!(bench.problem().source.ends_with("line 3"), "{}", bench.problem());
}

#[test]
fn the_authorities_must_be_there_when_they_are_needed() {
    let bench = Bench::new().account();
    let path = bench.path("ca.pem").display().to_string();
    let mut bench = bench.set("api.ca_file", &path);
    let problem = bench.problem();
    assert!(problem.key == "api.ca_file" && problem.message.contains("No such file"), "{problem}");
    bench.sources.need = Need::Database;
    assert_eq!(bench.good().api.ca_file.as_deref(), Some(Path::new(&path)));
    bench.write("ca.pem", "");
    bench.sources.need = Need::Everything;
    assert_eq!(bench.good().api.ca_file.as_deref(), Some(Path::new(&path)));
}

#[test]
fn names_are_exact_in_the_file() {
    for (text, key) in [
        ("[Emit]\nmax_attempts = 1\n", "Emit.max_attempts"),
        ("\"emit.max_attempts\" = 1\n", "\"emit.max_attempts\""),
        ("[emit.max_attempts]\nx = 1\n", "emit.max_attempts"),
        ("emit = 1\n", "emit"),
        ("[\"x[99999999999]\"]\ny = 1\n", "x[99999999999].y"),
        ("[empty]\n", "empty"),
    ] {
        assert_eq!(Bench::new().file(text).problem().key, key, "{text}");
    }
    assert_eq!(Bench::new().file("emit.max_attempts = 3\n").good().emit.max_attempts, 3);
}
