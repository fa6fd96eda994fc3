//! Backups: taken while everything runs, whole or not there, and restored without billing anything twice.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    audit::{audit, audit_after_loss},
    harness::{World, until},
    restore::{How, beside, put, refused},
    rows::{Application, NewRow, bulk},
};

fn folder(world: &World) -> PathBuf {
    let folder = world.dir.path().join("backups");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Takes a backup; what it says of itself.
async fn back_up(world: &World, file: &Path) -> Value {
    let (code, said) = world.run(&["backup", file.to_str().unwrap(), "--json"]).await;
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// Takes a backup that must fail; its one line.
async fn fails(world: &World, args: &[&str]) -> String {
    let (code, said) = world.run(args).await;
    assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    said
}

/// Emit and pay, back up, emit more, die, put the copy back: as docs/backup.md says, step by step.
#[tokio::test]
async fn a_backup_is_restored_and_nothing_is_billed_twice() {
    let mut world = World::new().await;
    world.set("emit.max_uncertain", "1000").set("emit.on_uncertain", "cancel").set("emit.settle_after", "1s");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let waiting = NewRow { not_before: Some("2100-01-01T00:00:00Z".to_owned()), ..NewRow::new("LATER") };
    app.insert(&[bulk(6), vec![waiting]].concat()).await;
    until("six are emitted", async || app.count("EMITTED").await == 6).await;
    for reference in ["A-1", "A-2"] {
        world.sim.pay(reference, None).unwrap();
    }
    until("two are paid", async || app.count("PAID").await == 2).await;
    // Three that the copy has as PENDING, and that are emitted after it.
    assert_eq!(world.run(&["pause", "--wait"]).await.0, 0);
    app.insert(&["P-1", "P-2", "P-3"].map(NewRow::new)).await;
    let file = folder(&world).join("evening.db");
    let report = back_up(&world, &file).await;
    assert_eq!(report["rows"], 10);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(world.run(&["resume", "--wait"]).await.0, 0);
    app.insert(&["LOST-1", "LOST-2"].map(NewRow::new)).await;
    world.sim.pay("A-3", None).unwrap();
    until("what comes after the copy is emitted, and paid", async || {
        app.waiting().await == 1 && app.count("PAID").await == 3
    })
    .await;
    let emissions = world.emissions();
    assert_eq!(emissions, 11);
    app.close().await;
    daemon.kill().await;

    for suffix in ["-wal", "-shm"] {
        fs::remove_file(beside(&world, suffix)).unwrap();
    }
    put(&world, &fs::read(&file).unwrap(), How::Over);
    let log = refused(&world).await;
    assert!(log.contains("went back in time") && log.contains("accept-restore"), "{log}");
    let (code, said) = world.run(&["check"]).await;
    assert!(code != 0 && said.contains("accept-restore"), "{said}");
    assert_eq!(world.run(&["accept-restore", "--yes"]).await.0, 0);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    // The paused row of `meta` came back with the copy; so did the rows that wait.
    assert_eq!(world.run(&["resume", "--wait"]).await.0, 0);
    until("the payment after the copy is seen again", async || app.status("A-3").await == "PAID").await;
    for reference in ["P-1", "P-2", "P-3", "LATER"] {
        let row = app.row(reference).await;
        assert_eq!(row.status, "UNCERTAIN", "{reference}");
        assert!(row.last_error.unwrap().starts_with("restored"), "{reference}");
    }
    app.insert(&[NewRow::new("NEXT")]).await;
    until("what is new goes on", async || app.status("NEXT").await == "EMITTED").await;
    assert_eq!(world.emissions(), emissions + 1, "nothing that may have been sent was sent again");
    // An operator finds what is there at TresorPay, and what is not.
    let there = world.sim.notice("P-1").unwrap().reference;
    let (code, said) =
        world.run(&["resolve", "P-1", "--emitted", &there, "--reason", "seen", "--wait"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(app.status("P-1").await, "EMITTED");
    daemon.stop().await;
    audit_after_loss(&world, &mut app, &["LOST-1", "LOST-2"]).await;
}

/// It is of one moment while rows come in, are emitted and paid, and never has a name before it is whole.
#[tokio::test]
async fn every_backup_under_load_is_whole() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "4");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let folder = folder(&world);
    for round in 0..4 {
        let rows: Vec<_> = (0..40).map(|number| NewRow::new(format!("R-{round}-{number}"))).collect();
        app.insert(&rows).await;
        let file = folder.join(format!("{round}.db"));
        let report = back_up(&world, &file).await;
        let mut copy = Application::open(&file).await;
        assert_eq!(copy.text("PRAGMA integrity_check").await.as_deref(), Some("ok"));
        let rows = copy.number("SELECT count(*) FROM outbox").await;
        assert_eq!((Some(rows), rows), (report["rows"].as_i64(), 40 * (round + 1)));
        let broken = "SELECT count(*) FROM outbox AS o WHERE status IS NOT
                      (SELECT to_status FROM transition WHERE outbox_id = o.id ORDER BY id DESC LIMIT 1)";
        assert_eq!(copy.number(broken).await, 0, "a row and its history are of one moment");
        copy.close().await;
    }
    until("all are emitted", async || app.count("EMITTED").await == 160).await;
    daemon.stop().await;
    let report = back_up(&world, &folder.join("stopped.db")).await;
    assert_eq!(report["rows"], 160, "it needs no daemon");
    audit(&world, &mut app).await;
}

/// A folder of them: the newest stay, and nothing else is touched.
#[tokio::test]
async fn a_folder_keeps_the_newest() {
    let world = World::new().await;
    world.start().await.stop().await;
    let folder = folder(&world);
    let path = folder.to_str().unwrap();
    let (code, said) = world.run(&["backup", path, "--keep", "2"]).await;
    assert_eq!(code, 0, "{said}");
    let first = names(&folder).remove(0);
    assert!(said.contains(&first) && first.starts_with("outbox-2") && first.ends_with("Z.db"), "{said}");
    for older in ["outbox-20250101T000000Z.db", "outbox-20250102T000000Z.db", "mine.db"] {
        fs::copy(folder.join(&first), folder.join(older)).unwrap();
    }
    // Its name is the second: one that is taken is not written over.
    until("another second begins", async || world.run(&["backup", path, "--keep", "2"]).await.0 == 0).await;
    let left = names(&folder);
    assert_eq!((left.len(), &left[0], &left[1]), (3, &"mine.db".to_owned(), &first), "{left:?}");
}

/// Each says what and where in one line, and leaves nothing behind.
#[tokio::test]
async fn what_cannot_be_done_is_said_and_leaves_nothing() {
    let mut world = World::new().await;
    world.start().await.stop().await;
    let folder = folder(&world);
    let file = folder.join("a.db");
    let (file, path) = (file.to_str().unwrap(), folder.to_str().unwrap());
    fs::write(file, b"mine").unwrap();
    assert!(fails(&world, &["backup", file]).await.contains("is there already"));
    assert_eq!(fs::read(file).unwrap(), b"mine");
    let database = world.database().display().to_string();
    assert!(fails(&world, &["backup", &database]).await.contains("is there already"));
    assert!(fails(&world, &["backup", path]).await.contains("is a folder"));
    assert!(fails(&world, &["backup", file, "--keep", "3"]).await.contains("is no folder"));
    let nowhere = folder.join("missing/b.db").display().to_string();
    assert!(fails(&world, &["backup", &nowhere]).await.contains("there is no folder"));
    assert!(fails(&world, &["backup", "/proc/b.db"]).await.contains("no backup in /proc"));
    assert_eq!(names(&folder), ["a.db"]);
    // A disk that takes no more, as far as this process is concerned.
    let config = world.dir.path().join("command.toml");
    let limited = Command::new("/bin/sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 128; exec \"$0\" --config \"$1\" backup \"$2\""])
        .arg(env!("CARGO_BIN_EXE_tresorpayd"))
        .arg(config)
        .arg(folder.join("b.db"))
        .output()
        .unwrap();
    let said = String::from_utf8(limited.stderr).unwrap();
    assert_eq!((limited.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("the copy cannot be written"), "{said}");
    assert_eq!(names(&folder), ["a.db"], "no half file is left");
    // Another environment's database is not copied under this one's name.
    world.set("environment", "sandbox").unset("api.base_url").unset("auth.token_url");
    let (code, said) = world.run(&["backup", folder.join("c.db").to_str().unwrap()]).await;
    assert!(code == 78 && said.contains("environment"), "{said}");
    assert_eq!(names(&folder), ["a.db"]);
}

/// `kill -9` in the middle leaves a draft, which the next one removes.
#[tokio::test]
async fn killed_in_the_middle_it_leaves_a_draft_that_goes() {
    let world = World::new().await;
    world.start().await.stop().await;
    let mut app = world.application().await;
    app.run("CREATE TABLE own (content)").await.unwrap();
    let grow = "WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
                INSERT INTO own SELECT randomblob(20000) FROM n";
    app.run(grow).await.unwrap();
    app.close().await;
    let (folder, file) = (folder(&world), folder(&world).join("a.db"));
    world.run(&["status"]).await;
    let mut backup = Command::new(env!("CARGO_BIN_EXE_tresorpayd"))
        .arg("--config")
        .arg(world.dir.path().join("command.toml"))
        .arg("backup")
        .arg(&file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the copy has begun", async || {
        let size = |entry: fs::DirEntry| entry.metadata().map_or(0, |file| file.len());
        fs::read_dir(&folder).unwrap().any(|entry| size(entry.unwrap()) > 0)
    })
    .await;
    backup.kill().unwrap();
    backup.wait().unwrap();
    let left = names(&folder);
    assert!(!left.is_empty() && left.iter().all(|name| name.starts_with(".tresorpayd-backup-")), "{left:?}");
    back_up(&world, &file).await;
    assert_eq!(names(&folder), ["a.db"]);
    assert!(fs::metadata(&file).unwrap().len() > 80_000_000, "the application's own tables are in it");
}
