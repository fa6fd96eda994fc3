//! The examples, run: each bills one notice, sees it paid, and bills nothing when it is run again.

use std::{path::Path, process::Command};

use crate::{
    pages::root,
    world::{World, can, clean, path, run, texts},
};

/// Where Debian puts the JDBC driver.
const SQLITE_JDBC: &str = "/usr/share/java/sqlite-jdbc.jar";
/// Ends well in a Node whose `node:sqlite` opens `file:` URIs.
const NODE_22_16: &str = "const [major, minor] = process.versions.node.split('.').map(Number); \
     process.exit(major > 22 || (major === 22 && minor >= 16) ? 0 : 1)";

/// How an example is run.
struct Example {
    file: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

const EXAMPLES: [Example; 5] = [
    Example { file: "python/outbox.py", program: "python3", arguments: &[] },
    Example { file: "shell/outbox.sh", program: "sh", arguments: &[] },
    Example { file: "php/outbox.php", program: "php", arguments: &[] },
    Example { file: "node/outbox.mjs", program: "node", arguments: &["--no-warnings"] },
    Example { file: "java/Outbox.java", program: "java", arguments: &["-cp", SQLITE_JDBC] },
];

impl Example {
    /// Whether this machine has what it needs. Where CI installs it, it must be there.
    fn is_possible(&self) -> bool {
        let must = std::env::var_os("CI").is_some();
        let possible = match self.file {
            "python/outbox.py" => can("python3", &["-c", "import sqlite3"]),
            "shell/outbox.sh" => can("sqlite3", &["-version"]),
            "php/outbox.php" => can("php", &["-r", "exit(extension_loaded('pdo_sqlite') ? 0 : 1);"]),
            "node/outbox.mjs" => can("node", &["-e", NODE_22_16]),
            _ => Path::new(SQLITE_JDBC).exists() && can("java", &["--version"]),
        };
        let installed_by_ci = ["python/outbox.py", "shell/outbox.sh"].contains(&self.file);
        assert!(possible || !(must && installed_by_ci), "{} cannot run here", self.file);
        if !possible {
            eprintln!("{} is not run: this machine lacks what it needs", self.file);
        }
        possible
    }

    fn command(&self, database: &Path, reference: &str) -> Command {
        let mut command = clean(Command::new(self.program));
        command
            .args(self.arguments)
            .arg(root().join("examples").join(self.file))
            .arg(database)
            .args(["bill", reference]);
        command
    }
}

#[test]
fn every_example_bills_once_and_sees_it_paid() {
    let world = World::new("1");
    let _daemon = world.daemon();
    for example in EXAMPLES.iter().filter(|example| example.is_possible()) {
        let reference = format!("EXAMPLE-{}", example.file);
        for run_number in 1..=2 {
            let output = run(example.command(&world.database(), &reference));
            let (stdout, both) = texts(&output);
            let first = format!("{}, run {run_number}: {both}", example.file);
            assert!(output.status.success(), "{first}");
            assert!(stdout.lines().any(|line| line.starts_with("PAID")), "{first}");
            assert_eq!(world.billed(&reference), 1, "{first}");
        }
    }
}

#[test]
fn a_wrong_path_is_an_error_and_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere.db");
    for example in EXAMPLES.iter().filter(|example| example.is_possible()) {
        let output = run(example.command(&nowhere, "EXAMPLE"));
        assert!(!output.status.success(), "{}", example.file);
        assert!(texts(&output).1.contains("unable to open database"), "{}: {output:?}", example.file);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{} made a file", example.file);
    }
}

/// The README's first notice, against the simulator in place of the sandbox.
#[test]
fn the_first_notice_in_the_sandbox() {
    if !EXAMPLES[1].is_possible() {
        return;
    }
    let world = World::new("0");
    let mut script = clean(Command::new("sh"));
    world.in_place_of_the_sandbox(script.arg(root().join("examples/sandbox.sh")).env("PATH", path()));
    let output = run(script);
    let (stdout, both) = texts(&output);
    assert!(output.status.success(), "{both}");
    assert!(stdout.lines().any(|line| line.starts_with("EMITTED ESSAI-0001")), "{both}");
    assert!(stdout.contains("/public/init-paiement?id=TP"), "{both}");
    assert_eq!(world.billed("ESSAI-0001"), 1, "{both}");
}
