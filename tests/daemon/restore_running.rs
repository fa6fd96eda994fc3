//! The database's file replaced, overwritten or damaged under a running daemon: it stops, says so, and nothing is emitted
//! twice, then or after the next start.

use std::{fs, os::unix::fs::FileExt, process::Command, time::Duration};

use crate::{
    harness::{DEADLINE, Daemon, World, case, each, holds_for, until},
    restore::{EXIT_LASTING, How, beside, inserted, put, refused},
    rows::{NewRow, bulk},
};

/// A daemon that has emitted ten rows, and the file from before.
async fn emitted() -> (World, Daemon, Vec<u8>) {
    let mut world = World::new().await;
    world.set("emit.max_uncertain", "1000").set("poll.first_delay", "1h").set("poll.max_delay", "1h");
    world.start().await.stop().await;
    let old = inserted(&world, &bulk(10)).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    until("all are emitted", async || app.count("EMITTED").await == 10).await;
    until("the header counts", async || app.number("PRAGMA application_id").await > 0).await;
    until("the file has it", async || app.number("PRAGMA wal_checkpoint(PASSIVE)").await == 0).await;
    app.close().await;
    holds_for(Duration::from_millis(700), "it looks at the file and goes on", async || daemon.runs()).await;
    (world, daemon, old)
}

async fn replaced(how: How, words: &'static str) {
    let (world, mut daemon, old) = emitted().await;
    put(&world, &old, how);
    assert_eq!(daemon.ended(DEADLINE).await, Ok(1), "{}", daemon.log());
    assert!(daemon.log().contains("was replaced while the daemon ran"), "{}", daemon.log());
    assert!(daemon.log().contains(words), "{}", daemon.log());
    refused(&world).await;
    assert_eq!(world.emissions(), 10);
    // Whatever the daemon's end made of it, the copy is put back in order.
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(beside(&world, suffix));
    }
    put(&world, &old, how);
    refused(&world).await;
    assert_eq!(world.run(&["accept-restore", "--yes"]).await.0, 0);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    assert_eq!((app.count("UNCERTAIN").await, app.waiting().await), (10, 0));
    daemon.stop().await;
    assert_eq!(world.emissions(), 10);
}

async fn removed(suffix: &'static str) {
    let (world, mut daemon, _) = emitted().await;
    fs::remove_file(beside(&world, suffix)).unwrap();
    assert_eq!(daemon.ended(DEADLINE).await, Ok(1), "{}", daemon.log());
    assert!(daemon.log().contains("was removed"), "{}", daemon.log());
    assert_eq!(world.emissions(), 10);
}

#[tokio::test]
async fn a_file_replaced_under_a_running_daemon_ends_it() {
    each([
        case("mv", replaced(How::Rename, "another file was put in its place")),
        case("cp", replaced(How::Over, "older content")),
        case("the file removed", removed("")),
        case("the -wal removed", removed("-wal")),
    ])
    .await;
}

/// `.restore` in the `sqlite3` shell goes through SQLite: the file stays, its content goes back in time.
#[tokio::test]
async fn a_restore_through_sqlite_is_known_before_anything_leaves() {
    if Command::new("sqlite3").arg("-version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "sqlite3 is not installed");
        return;
    }
    let (world, mut daemon, old) = emitted().await;
    let copy = world.dir.path().join("copy.db");
    fs::write(&copy, &old).unwrap();
    let restored = Command::new("sqlite3")
        .arg(world.database())
        .args([".timeout 5000", &format!(".restore '{}'", copy.display())])
        .status()
        .unwrap();
    assert!(restored.success());
    assert_eq!(daemon.ended(DEADLINE).await, Ok(EXIT_LASTING), "{}", daemon.log());
    assert!(daemon.log().contains("went back in time"), "{}", daemon.log());
    // Even once its attempts have caught up with the mark.
    for _ in 0..2 {
        refused(&world).await;
    }
    assert_eq!(world.emissions(), 10);
    assert_eq!(world.run(&["accept-restore", "--yes"]).await.0, 0);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    assert_eq!((app.count("UNCERTAIN").await, app.waiting().await), (10, 0));
    daemon.stop().await;
    assert_eq!(world.emissions(), 10);
}

/// Applications may write the log back and rebuild the file as they like.
#[tokio::test]
async fn what_sqlite_itself_does_to_the_file_is_no_alarm() {
    let (world, mut daemon, _) = emitted().await;
    let mut app = world.application().await;
    for round in 1..=4 {
        app.insert(&[NewRow::new(format!("C-{round}"))]).await;
        app.run("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        app.run("VACUUM").await.unwrap();
        app.run("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        until("it is emitted", async || app.status(&format!("C-{round}")).await == "EMITTED").await;
    }
    holds_for(Duration::from_millis(600), "it runs", async || daemon.runs()).await;
    daemon.stop().await;
    assert_eq!(world.emissions(), 14);
}

/// A page that only the daemon reads turns to garbage while requests are under way.
#[tokio::test]
async fn a_page_damaged_under_a_running_daemon_ends_it_and_the_answers_are_in_the_log() {
    let mut world = World::new().await;
    world.set("api.max_concurrency", "4");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    world.sim.set_latency(Duration::from_secs(2));
    app.insert(&bulk(3)).await;
    until("three are under way", async || world.emissions() == 4).await;
    until("the log is empty", async || app.number("PRAGMA wal_checkpoint(TRUNCATE)").await == 0).await;
    let root = app.number("SELECT rootpage FROM sqlite_master WHERE name = 'outbox_emitting'").await;
    app.close().await;
    let file = fs::OpenOptions::new().write(true).open(world.database()).unwrap();
    file.write_all_at(&[0xff; 4096], u64::try_from(root - 1).unwrap() * 4096).unwrap();
    drop(file);
    let mut app = world.application().await;
    app.insert(&[NewRow::new("NEXT")]).await;
    app.close().await;
    assert_eq!(daemon.ended(DEADLINE).await, Ok(EXIT_LASTING), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("the file is damaged") && log.contains("accept-restore"), "{log}");
    for number in 1..=3 {
        let notice = world.sim.notice(&format!("A-{number}")).unwrap();
        let line = log.lines().find(|line| {
            line.contains(&format!("attempt={}", number + 1)) && line.contains("could not be recorded")
        });
        assert!(line.is_some_and(|line| line.contains(&notice.reference)), "{log}");
    }
    assert!(!log.contains("Zoumanadiarra"), "{log}");
    assert_eq!(world.emissions(), 4, "nothing more left");
}
