//! Which databases and settings are refused at the start: nothing is sent, and one error says what to do.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tresorpayd::simulator::{self, Config};

use crate::{
    audit::audit,
    harness::{DEADLINE, World, holds_for, until},
    rows::{NewRow, bulk},
};

/// Bad configuration, as systemd is told not to restart it.
const EXIT_CONFIGURATION: i32 = 78;

/// Starts a daemon that must refuse, and returns what it said.
async fn refuses(world: &World, exit: i32) -> String {
    let mut daemon = world.spawn();
    let ended = daemon.ended(DEADLINE).await;
    let log = daemon.log();
    assert_eq!(ended, Ok(exit), "{log}");
    log
}

#[tokio::test]
async fn one_daemon_per_database() {
    let world = World::new().await;
    let mut first = world.start().await;
    let log = refuses(&world, 1).await;
    assert!(log.contains(&format!("pid {}", first.pid())), "{log}");
    assert!(log.contains("outbox.db"), "{log}");
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("the first goes on", async || app.status("A-1").await == "EMITTED").await;
    first.kill().await;
    let mut third = world.start().await;
    third.stop().await;
    audit(&world, &mut app).await;
}

/// A link is another name, not another database.
#[tokio::test]
async fn one_daemon_per_database_whatever_its_name() {
    let mut world = World::new().await;
    let mut first = world.start().await;
    let folder = world.dir.path().join("elsewhere");
    fs::create_dir(&folder).unwrap();
    let link = folder.join("link.db");
    std::os::unix::fs::symlink(world.database(), &link).unwrap();
    world.set("database.url", &format!("sqlite://{}", link.display()));
    let log = refuses(&world, 1).await;
    assert!(log.contains(&format!("pid {}", first.pid())), "{log}");
    assert!(first.runs());
    first.stop().await;
}

#[tokio::test]
async fn a_database_of_another_origin_is_refused() {
    let mut world = World::new().await;
    world.start().await.stop().await;
    let mut app = world.application().await;
    app.insert(&bulk(3)).await;
    let other = simulator::start(Config::default()).await.unwrap();
    world.set("api.base_url", &other.base_url()).set("auth.token_url", &other.token_url());
    let log = refuses(&world, EXIT_CONFIGURATION).await;
    assert!(log.contains(world.sim.origin()) && log.contains(other.origin()), "{log}");
    assert_eq!((other.counters().connections, world.emissions()), (0, 0), "nothing was sent");
    assert_eq!(app.count("PENDING").await, 3);
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_database_of_another_environment_is_refused() {
    let mut world = World::new().await;
    world.start().await.stop().await;
    let mut app = world.application().await;
    app.insert(&bulk(3)).await;
    // A proxy that nobody may speak to: should the daemon be wrong, it still reaches nobody.
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    world.unset("api.base_url").unset("auth.token_url").set("environment", "sandbox").set("api.proxy", &url);
    let log = refuses(&world, EXIT_CONFIGURATION).await;
    assert!(log.contains("custom") && log.contains("sandbox"), "{log}");
    assert!(proxy.accept().is_err(), "somebody was spoken to");
    assert_eq!(app.count("PENDING").await, 3);
    audit(&world, &mut app).await;
}

/// The database's files, as a backup tool that knows nothing of SQLite would take them while nobody writes.
fn files(database: &Path) -> Vec<PathBuf> {
    ["", "-wal", "-shm"].map(|suffix| PathBuf::from(format!("{}{suffix}", database.display()))).to_vec()
}

fn copy_out(world: &World) {
    for file in files(&world.database()).iter().filter(|file| file.exists()) {
        fs::copy(file, file.with_extension(format!("{}.copy", file.extension().unwrap().display()))).unwrap();
    }
}

fn put_back(world: &World) {
    for file in files(&world.database()) {
        let copy = file.with_extension(format!("{}.copy", file.extension().unwrap().display()));
        let _ = fs::remove_file(&file);
        if copy.exists() {
            fs::copy(copy, file).unwrap();
        }
    }
}

/// Rows that were emitted after the copy was made wait in it as if they never had been.
async fn old_copy(killed: bool) {
    let world = World::new().await;
    world.start().await.stop().await;
    let mut app = world.application().await;
    app.insert(&bulk(10)).await;
    drop(app);
    copy_out(&world);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    until("all are emitted", async || app.count("EMITTED").await == 10).await;
    drop(app);
    if killed {
        daemon.kill().await;
    } else {
        daemon.stop().await;
    }
    put_back(&world);
    let mut daemon = world.spawn();
    assert_eq!(daemon.ended(DEADLINE).await, Ok(EXIT_CONFIGURATION));
    assert!(daemon.log().contains("went back in time"), "{}", daemon.log());
    assert!(daemon.log().contains("accept-restore"), "{}", daemon.log());
    assert_eq!(world.emissions(), 10, "nothing leaves");
    assert!(world.sim.ledger().billed_twice().is_empty());
}

#[tokio::test]
async fn an_old_copy_put_back_is_known_for_what_it_is() {
    old_copy(false).await;
}

#[tokio::test]
async fn an_old_copy_put_back_after_a_crash_is_known_for_what_it_is() {
    old_copy(true).await;
}

#[tokio::test]
async fn a_database_with_attempts_and_no_mark_is_refused() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(2)).await;
    until("all are emitted", async || app.count("EMITTED").await == 2).await;
    daemon.stop().await;
    app.insert(&[NewRow::new("NEXT")]).await;
    fs::remove_file(world.dir.path().join("outbox.db.mark")).unwrap();
    let daemon = world.spawn();
    until("it says so", async || daemon.log().contains("mark")).await;
    holds_for(Duration::from_millis(1000), "nothing leaves", async || world.emissions() == 2).await;
    drop(daemon);
    audit(&world, &mut app).await;
}

/// The database was lost and the mark was not: rows that applications write anew may have been billed already.
#[tokio::test]
async fn a_new_database_beside_an_old_mark_is_refused() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(2)).await;
    until("all are emitted", async || app.count("EMITTED").await == 2).await;
    drop(app);
    daemon.kill().await;
    for file in files(&world.database()) {
        let _ = fs::remove_file(file);
    }
    for _ in 0..2 {
        let mut daemon = world.spawn();
        assert_eq!(daemon.ended(DEADLINE).await, Ok(EXIT_CONFIGURATION));
        assert!(daemon.log().contains("mark"), "{}", daemon.log());
        assert!(!world.database().exists(), "none is made in its place");
    }
}

/// `touch` and a careless `chmod` are put right.
#[tokio::test]
async fn an_empty_file_is_a_new_database_and_is_hidden_from_strangers() {
    let world = World::new().await;
    fs::write(world.database(), b"").unwrap();
    fs::set_permissions(world.database(), fs::Permissions::from_mode(0o666)).unwrap();
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(1)).await;
    until("it is emitted", async || app.count("EMITTED").await == 1).await;
    for file in files(&world.database()) {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{} has mode {mode:o}", file.display());
    }
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn what_is_no_database_is_not_touched() {
    for content in [&b"id;reference\n1;A-1\n"[..], b"SQLite format 3", b"\0", &[0; 4096]] {
        let world = World::new().await;
        fs::write(world.database(), content).unwrap();
        let mode = fs::metadata(world.database()).unwrap().permissions().mode();
        let log = refuses(&world, EXIT_CONFIGURATION).await;
        assert!(log.contains("not an SQLite database") && log.contains("outbox.db"), "{log}");
        assert_eq!(fs::read(world.database()).unwrap(), content);
        assert_eq!(fs::metadata(world.database()).unwrap().permissions().mode(), mode);
        assert_eq!(world.sim.counters().connections, 0);
    }
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_not_touched() {
    let world = World::new().await;
    world.start().await.stop().await;
    let mut app = world.application().await;
    app.run(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .await
    .unwrap();
    let log = refuses(&world, EXIT_CONFIGURATION).await;
    assert!(log.contains("9999") && log.contains("newer"), "{log}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let mut world = World::new().await;
    let folder = world.dir.path().join("nowhere");
    world.set("database.url", &format!("sqlite://{}/outbox.db", folder.display()));
    let log = refuses(&world, 1).await;
    assert!(log.contains(&folder.display().to_string()), "{log}");
    assert!(!folder.exists());
}

#[tokio::test]
async fn every_problem_of_a_bad_configuration_is_told_at_once() {
    let mut world = World::new().await;
    world.set("emit.max_attemps", "3").set("api.request_timeout", "soon").set("emit.on_uncertain", "guess");
    world.set("poll.schedule", "every now and then").set("api.max_concurrency", "0");
    world.set("api.base_url", "http://192.0.2.1/api").set("shutdown.grace", "1ms");
    world.set("auth.client_secret", "s3cret-that-must-not-show\n");
    let log = refuses(&world, EXIT_CONFIGURATION).await;
    for key in [
        "emit.max_attemps",
        "emit.max_attempts",
        "api.request_timeout",
        "emit.on_uncertain",
        "poll.schedule",
        "api.max_concurrency",
        "api.base_url",
    ] {
        assert!(log.contains(key), "{key} is not in:\n{log}");
    }
    assert!(!log.contains("s3cret-that-must-not-show"), "{log}");
    assert!(!world.database().exists() && world.sim.counters().connections == 0);
}

#[tokio::test]
async fn a_missing_account_is_a_bad_configuration() {
    let mut world = World::new().await;
    world.unset("auth.client_secret").unset("auth.client_id");
    let log = refuses(&world, EXIT_CONFIGURATION).await;
    assert!(log.contains("auth.client_id") && log.contains("auth.client_secret"), "{log}");
}

/// Whatever the umask of who starts it.
#[tokio::test]
async fn no_stranger_may_read_any_of_its_files() {
    let mut world = World::new().await;
    world.before = "umask 000;";
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(2)).await;
    until("all are emitted", async || app.count("EMITTED").await == 2).await;
    let mut seen = 0;
    for entry in fs::read_dir(world.dir.path()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("outbox.db") {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o007, 0, "{name} has mode {mode:o}");
            seen += 1;
        }
    }
    assert!(seen >= 4, "database, -wal, -shm and mark");
    daemon.stop().await;
    audit(&world, &mut app).await;
}
