//! The log in the journal: fields stay fields, and nothing but tresorpayd's own words goes there. A socket of the test's own
//! stands in the journal's place, in a mount namespace of the daemon's own.

use std::os::unix::net::UnixDatagram;

use crate::{
    harness::{World, until},
    rows::NewRow,
};

/// Where journald listens.
const FOLDER: &str = "/run/systemd/journal";

/// Whether this user may have a mount namespace here.
pub(crate) fn may_mount() -> bool {
    let script = format!("mkdir -p {FOLDER} && mount -t tmpfs tmpfs {FOLDER}");
    std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c", &script])
        .output()
        .is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn the_journal_gets_fields() {
    if !may_mount() {
        eprintln!("no mount namespace may be made here: the journal is not tried");
        return;
    }
    let mut world = World::new().await;
    let folder = world.dir.path().join("journal");
    std::fs::create_dir(&folder).unwrap();
    let journal = UnixDatagram::bind(folder.join("socket")).unwrap();
    journal.set_nonblocking(true).unwrap();
    world.set("log.format", "journald");
    world.environment.insert("JOURNAL_FOLDER", folder.into_os_string());
    world.before = r#"exec unshare --user --map-root-user --mount /bin/sh -c 'mkdir -p /run/systemd/journal; mount --bind "$JOURNAL_FOLDER" /run/systemd/journal; exec "$0" "$@"' "$0" "$@";"#;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is emitted", async || app.count("EMITTED").await == 1).await;
    daemon.stop().await;
    let mut entries = Vec::new();
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length) = journal.recv(&mut bytes) {
        entries.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    let ready = entries.iter().find(|entry| entry.contains("tresorpayd is ready")).unwrap();
    for field in [
        "SYSLOG_IDENTIFIER",
        "tresorpayd",
        "PRIORITY\n\u{1}\0\0\0\0\0\0\x006\n",
        "TRESORPAYD_ENVIRONMENT",
        "custom",
        "TRESORPAYD_DATABASE",
    ] {
        assert!(ready.contains(field), "{field} is not in {ready}");
    }
    assert!(entries.iter().any(|entry| entry.contains("TRESORPAYD_OUTBOX_ID")), "{entries:#?}");
    let log = daemon.log();
    assert!(!log.contains("tresorpayd is ready"), "it is said twice: {log}");
}

#[tokio::test]
async fn without_a_journal_the_log_is_text_and_says_so() {
    if std::path::Path::new(FOLDER).join("socket").exists() {
        return;
    }
    let mut world = World::new().await;
    world.set("log.format", "journald");
    let mut daemon = world.start().await;
    daemon.stop().await;
    let log = daemon.log();
    assert!(log.contains("the journal cannot be reached; the log is text on stderr"), "{log}");
    assert!(log.contains("tresorpayd is ready"), "{log}");
}

/// A child inherits the variable, and its output may go elsewhere.
#[tokio::test]
async fn a_stream_that_is_not_the_journals_gets_text() {
    let mut world = World::new().await;
    world.environment.insert("JOURNAL_STREAM", "8:1".into());
    let mut daemon = world.start().await;
    daemon.stop().await;
    let log = daemon.log();
    assert!(log.contains("tresorpayd is ready") && !log.contains("cannot be reached"), "{log}");
}
