//! The same rows and statements through SQLite 3.26, in a program of its own: a process can hold one SQLite only.

use std::path::Path;
use std::process::Command;

use crate::fixtures::Database;

/// As many as the program has sets of pragmas.
const DATABASES: usize = 3;

#[test]
#[ignore = "builds SQLite 3.26 with a C compiler; run by tests/sqlite326/run"]
fn keeps_the_same_rules() {
    let mut databases: Vec<_> = (0..DATABASES).map(|_| Database::with_fixtures()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(root.join("tests/sqlite326/Cargo.toml"))
        .arg("--target-dir")
        .arg(root.join("target/sqlite326"))
        .arg("--")
        .args(databases.iter().map(Database::path))
        .status()
        .unwrap();
    assert!(status.success());
    for database in &mut databases {
        assert_eq!(database.done("PRAGMA integrity_check"), ["ok"]);
        assert_eq!(database.done("SELECT status FROM outbox WHERE reference = 'one commit'"), ["PENDING"]);
    }
}
