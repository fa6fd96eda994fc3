//! `status --exit-code`: one line for Nagios, in two languages; and the script that mails it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::json;
use tresorpayd::simulator::{Ending, Fault, Operation, Rule};

use crate::bench::{Bench, entry};

/// The parts of a plugin's line: state, words, numbers by their labels.
fn parts(line: &str) -> (String, String, Vec<(String, String)>) {
    assert_eq!(line.lines().count(), 1, "{line}");
    let (told, numbers) = line.trim_end().split_once(" | ").unwrap();
    let (state, words) = told.strip_prefix("TRESORPAYD ").unwrap().split_once(" - ").unwrap();
    let pair = |number: &str| {
        number.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap()
    };
    (state.to_owned(), words.to_owned(), numbers.split(' ').map(pair).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_in_two_languages_with_the_same_numbers() {
    let bench = Bench::new().await;
    bench.sim.add_fault(Rule::always(Operation::Emit, Fault::ResetAfter { by: Ending::Rst }));
    bench.add(&entry("U-1")).exits(0);
    let _daemon = bench.daemon();
    bench.until("U-1", "UNCERTAIN").await;
    let mut english = parts(&bench.run(&["status", "--exit-code"]).exits(1).out);
    let mut french = parts(&bench.run(&["status", "--exit-code", "--lang", "fr"]).exits(1).out);
    assert_eq!((&*english.0, &*french.0), ("WARNING", "WARNING"));
    assert!(english.1.contains("1 row is UNCERTAIN: nobody knows"), "{english:?}");
    assert!(
        french.1.contains("1 avis est en doute (UNCERTAIN) : on ignore si TresorPay l'a reçu"),
        "{french:?}"
    );
    // The file may have grown in between, and others write to the disk.
    for numbers in [&mut english.2, &mut french.2] {
        numbers.retain(|(name, _)| !matches!(&**name, "database" | "wal" | "free"));
    }
    assert_eq!(english.2, french.2);
    assert!(english.2.contains(&("uncertain".to_owned(), "1;0;49;0".to_owned())), "{english:?}");
    bench.run(&["status", "--lang", "fr"]).exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_told_in_one_line() {
    let bench = Bench::bare().await;
    let ran = bench.run(&["status", "--exit-code", "--lang", "fr"]).exits(2);
    assert!(ran.out.starts_with("TRESORPAYD CRITICAL - ") && ran.out.lines().count() == 1, "{}", ran.out);
}

/// A program that keeps what it is given.
fn fake(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_mail_names_the_state_and_goes_to_whom_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = json!("TRESORPAYD CRITICAL - l'émission est arrêtée | pending=3");
    fake(
        folder.path(),
        "tresorpayd",
        &format!("case \"$*\" in *--exit-code*) echo {status} ;; *) echo details ;; esac"),
    );
    fake(folder.path(), "sendmail", "echo \"$@\" > \"$OUT/args\"; cat > \"$OUT/mail\"");
    let ran = Command::new("/bin/sh")
        .arg(root.join("systemd/tresorpayd-alert-mail"))
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .env("OUT", folder.path())
        .env("TRESORPAYD", folder.path().join("tresorpayd"))
        .env("SENDMAIL", folder.path().join("sendmail"))
        .env("MAILTO", "ops@example.ml")
        .env("ALERT_LANG", "fr")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let mail = fs::read_to_string(folder.path().join("mail")).unwrap();
    assert!(mail.contains("To: ops@example.ml\n"), "{mail}");
    assert!(mail.contains("Subject: tresorpayd CRITICAL on "), "{mail}");
    assert!(mail.contains("Content-Type: text/plain; charset=UTF-8\n"), "{mail}");
    assert!(mail.contains("\n\nTRESORPAYD CRITICAL - l'émission est arrêtée\n"), "{mail}");
    assert!(mail.contains("\ndetails\n") && !mail.contains("pending=3"), "{mail}");
    assert_eq!(fs::read_to_string(folder.path().join("args")).unwrap(), "-t -i\n");
}
