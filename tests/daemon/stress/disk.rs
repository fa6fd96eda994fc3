//! A disk that is full, read-only or fails, and comes back. The faults are laid under the real program by a small library
//! that stands between it and the C library, see `disk.c`; a test for root does the same with a real, small file system.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use rustix::io::Errno;

use super::{SLOTS, answered, busy, told};
use crate::{
    audit::audit,
    harness::{Daemon, World, case, each, holds_for, until},
    http,
    journal::may_mount,
    rows::{Application, bulk},
};

const ROWS: usize = 24;

/// The library, compiled once; a C compiler is there, since SQLite needed one.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/stress/disk.c");
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&path).arg(source).arg("-ldl").status();
        assert!(compiled.is_ok_and(|status| status.success()), "cc does not compile disk.c");
        path
    })
}

/// A world whose disk fails while [`fail`] says so.
async fn world() -> World {
    let mut world = World::new().await;
    world.environment.insert("LD_PRELOAD", library().into());
    world.environment.insert("DISK_FAULT", control(&world).into());
    world
}

fn control(world: &World) -> PathBuf {
    world.dir.path().join("fault")
}

/// From now on `what` fails with `errno` on files that end in `suffix`.
fn fail(world: &World, what: &str, errno: Errno, suffix: &str) {
    // All of it at once: the daemon reads it at any moment.
    let new = world.dir.path().join("fault.new");
    std::fs::write(&new, format!("{what} {} {suffix}", errno.raw_os_error())).unwrap();
    std::fs::rename(new, control(world)).unwrap();
}

fn heal(world: &World) {
    std::fs::remove_file(control(world)).unwrap();
}

/// After the fault is gone: everything is emitted once, and that it goes on was told.
async fn goes_on(world: &World, mut daemon: Daemon, mut app: Application) {
    until("all are emitted", async || app.count("EMITTED").await == ROWS).await;
    assert!(daemon.log().contains("takes writes again"), "{}", daemon.log());
    daemon.stop().await;
    assert_eq!(world.emissions(), ROWS as u64, "one request a row");
    audit(world, &mut app).await;
}

/// Answers wait, nothing more leaves, the log says once what is wrong; when the disk is back, all goes on.
async fn delays(what: &str, errno: Errno, suffix: &str, code: &str) {
    let mut world = world().await;
    let (mut daemon, mut app) = busy(&mut world, ROWS).await;
    fail(&world, what, errno, suffix);
    let left = answered(&world).await;
    until("it is told", async || told(&daemon, code) == 1).await;
    holds_for(Duration::from_secs(2), "it waits, tells it once, and sends nothing", async || {
        let emitting = app.count("EMITTING").await;
        daemon.runs() && world.emissions() == left && emitting <= SLOTS && told(&daemon, code) == 1
    })
    .await;
    assert!(app.count("EMITTING").await > 0, "the fault came too late to test anything");
    heal(&world);
    goes_on(&world, daemon, app).await;
}

#[tokio::test]
async fn a_disk_that_fails_delays_and_loses_nothing() {
    each([
        case("full", delays("write", Errno::NOSPC, "*", "database_full")),
        case("no room for the WAL", delays("write", Errno::NOSPC, "-wal", "database_full")),
        case("over the quota", delays("write", Errno::DQUOT, "*", "database_failing")),
        case("read-only", delays("ro", Errno::ROFS, "*", "database_read_only")),
        case("rights taken away", delays("ro", Errno::ACCESS, "*", "database_read_only")),
        case("a flush fails", delays("sync", Errno::IO, "-wal", "database_failing")),
        case("writes fail", delays("write", Errno::IO, "*", "database_failing")),
    ])
    .await;
}

/// The flush of a commit fails, and the commit comes to life all the same: its rows are `EMITTING`, each with an attempt
/// that nobody was told of. They are found and sent; none is claimed beside them.
#[tokio::test]
async fn a_commit_that_fails_and_is_there_all_the_same_is_found() {
    let mut world = world().await;
    world.set("api.max_concurrency", &SLOTS.to_string());
    let daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(1)).await;
    until("a token is held", async || app.count("EMITTED").await == 1).await;
    fail(&world, "torn", Errno::IO, "-wal");
    let rows: Vec<_> = bulk(ROWS).into_iter().skip(1).collect();
    app.insert(&rows).await;
    until("it is told", async || told(&daemon, "database_failing") == 1).await;
    assert_eq!(world.emissions(), 1, "nothing leaves before its claim is known to be there");
    heal(&world);
    until("the claim is found", async || daemon.log().contains("it is taken over")).await;
    until("all are emitted", async || app.count("EMITTED").await == ROWS).await;
    assert_eq!(app.number("SELECT count(*) FROM attempt").await, i64::try_from(ROWS).unwrap());
    goes_on(&world, daemon, app).await;
}

/// The mark cannot be written: the claim is committed, and its requests wait.
#[tokio::test]
async fn without_its_mark_nothing_leaves() {
    let world = world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    fail(&world, "write", Errno::NOSPC, ".mark");
    app.insert(&bulk(ROWS)).await;
    until("it is told", async || told(&daemon, "mark_unwritable") == 1).await;
    holds_for(Duration::from_secs(1), "nothing leaves", async || daemon.runs() && world.emissions() == 0)
        .await;
    heal(&world);
    goes_on(&world, daemon, app).await;
}

/// Nobody writes, and the disk fills all the same: it is told before a commit is refused. The disk is a small one in a
/// mount namespace of the daemon's own.
#[tokio::test]
async fn a_disk_that_fills_is_told_before_anybody_writes() {
    if !may_mount() {
        eprintln!("no mount namespace may be made here: a disk that fills is not tried");
        return;
    }
    let (mut world, port) = http::world().await;
    let disk = world.dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    world.folder = Some(disk.clone());
    let url = format!("sqlite://{}", world.database().display());
    world.set("database.url", &url);
    world.environment.insert("DISK", disk.clone().into_os_string());
    world.before = r#"exec unshare --user --map-root-user --mount /bin/sh -c 'mount -t tmpfs -o size=24m tmpfs "$DISK" && exec "$0" "$@"' "$0" "$@";"#;
    let mut daemon = world.start().await;
    let status = async |lang: &str| {
        let mut command = Command::new("nsenter");
        command
            .args(["--preserve-credentials", "--user", "--mount", "--target", &daemon.pid().to_string()])
            .args([env!("CARGO_BIN_EXE_tresorpayd"), "status", "--exit-code", "--lang", lang])
            .env("TRESORPAYD__DATABASE__URL", &url);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(http::get(port, "/readyz").await.body, "ready\n");
    let (code, line) = status("en").await;
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("left on the disk of the database: make room before it is full"), "{line}");
    // The daemon's disk, as it sees it.
    let filler = PathBuf::from(format!("/proc/{}/root{}/filler", daemon.pid(), disk.display()));
    std::fs::write(&filler, vec![1; 20 << 20]).unwrap();
    let mut unready = http::get(port, "/readyz").await;
    until("it is told", async || {
        unready = http::get(port, "/readyz").await;
        unready.status == 503
    })
    .await;
    assert!(unready.body.starts_with("database_full: ") && unready.body.lines().count() == 1, "{unready:?}");
    let metrics = http::get(port, "/metrics").await.body;
    let free = http::value(&metrics, "tresorpayd_database_free_bytes");
    assert!(0.0 < free && free < f64::from(8 << 20), "{free}");
    let page = http::get(port, "/?lang=fr").await.body;
    assert!(page.contains("CRITIQUE") && page.contains("database_full : il reste "), "{page}");
    let (code, line) = status("fr").await;
    assert_eq!(code, Some(2), "{line}");
    assert!(line.starts_with("TRESORPAYD CRITICAL - database_full : il reste "), "{line}");
    assert!(!daemon.log().contains("database_full"), "a commit was refused, which tells nothing here");
    std::fs::remove_file(&filler).unwrap();
    until("it is ready again", async || http::get(port, "/readyz").await.status == 200).await;
    daemon.stop().await;
}

/// A file system of its own; unmounted when dropped.
struct Mount {
    folder: PathBuf,
}

impl Mount {
    fn new(world: &World, size: &str) -> Self {
        let folder = world.dir.path().join("disk");
        std::fs::create_dir(&folder).unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder).status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "this test mounts a file system: it must be root"
        );
        Self { folder }
    }

    /// Leaves no room at all.
    fn fill(&self) {
        let filler = std::fs::File::create(self.filler()).unwrap();
        let page = [1; 4096];
        while std::io::Write::write_all(&mut &filler, &page).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a daemon of a failed test may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

#[tokio::test]
#[ignore = "mounts a file system, so it must be root"]
async fn a_small_disk_that_is_really_full_delays_and_loses_nothing() {
    let mut world = World::new().await;
    let disk = Mount::new(&world, "8m");
    world.folder = Some(disk.folder.clone());
    let url = format!("sqlite://{}", world.database().display());
    world.set("database.url", &url);
    let (mut daemon, mut app) = busy(&mut world, ROWS).await;
    for round in 0..3 {
        disk.fill();
        let left = answered(&world).await;
        holds_for(Duration::from_secs(2), "it waits", async || daemon.runs()).await;
        assert!(world.emissions() <= left + SLOTS as u64, "emission goes on without room, round {round}");
        disk.make_room();
        until("it goes on", async || world.emissions() > left || app.count("EMITTED").await == ROWS).await;
    }
    assert!(told(&daemon, "database_full") >= 1, "{}", daemon.log());
    until("all are emitted", async || app.count("EMITTED").await == ROWS).await;
    daemon.stop().await;
    drop(daemon);
    assert_eq!(world.emissions(), ROWS as u64);
    audit(&world, &mut app).await;
}
