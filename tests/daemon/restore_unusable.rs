//! Files that no daemon can use: refused with one clear error, untouched, without a panic and without a hang.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use rustix::process::geteuid;

use crate::{
    harness::{DEADLINE, World, case, each, until},
    restore::{EXIT_LASTING, beside, refused},
    rows::bulk,
};

/// Bytes of a page.
const PAGE: usize = 4096;

/// A world whose database has emitted some rows, and no daemon.
async fn world() -> World {
    let mut world = World::new().await;
    world.set("emit.max_uncertain", "1000");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(40)).await;
    until("all are emitted", async || app.count("EMITTED").await == 40).await;
    app.close().await;
    daemon.stop().await;
    world
}

async fn damaged(damage: impl FnOnce(&mut Vec<u8>), words: &'static str) {
    let world = world().await;
    let mut bytes = fs::read(world.database()).unwrap();
    damage(&mut bytes);
    fs::write(world.database(), &bytes).unwrap();
    let log = refused(&world).await;
    assert!(
        log.contains(words) && log.contains("It was not touched") | log.contains("it was not touched"),
        "{log}"
    );
    let (code, said) = world.run(&["accept-restore", "--yes"]).await;
    assert!(code == EXIT_LASTING && said.contains(words), "{said}");
    let (code, said) = world.run(&["check"]).await;
    assert!(code == 1 && said.contains("FAIL  database"), "{said}");
    assert_eq!(fs::read(world.database()).unwrap(), bytes, "untouched");
    assert_eq!(world.emissions(), 40);
}

#[tokio::test]
async fn a_damaged_file_is_refused_untouched() {
    each([
        case(
            "no database at all",
            damaged(|bytes| *bytes = b"id;reference\n1;A-1\n".repeat(400), "not an SQLite database"),
        ),
        case("the first byte", damaged(|bytes| bytes[0] ^= 0xff, "not an SQLite database")),
        case("zeros at the front", damaged(|bytes| bytes[..PAGE].fill(0), "not an SQLite database")),
        case(
            "cut in the middle",
            damaged(|bytes| bytes.truncate(bytes.len() / 2 / PAGE * PAGE), "is damaged"),
        ),
        case("cut within a page", damaged(|bytes| bytes.truncate(bytes.len() - PAGE - 100), "is damaged")),
        case("the header alone", damaged(|bytes| bytes.truncate(100), "is damaged")),
        case("the write version", damaged(|bytes| bytes[18] = 9, "does not write")),
        case("the page size", damaged(|bytes| bytes[16] = 0x11, "is damaged")),
        case("garbage behind the header", damaged(|bytes| bytes[100..PAGE].fill(0xa5), "is damaged")),
        case("the tables' pages", damaged(|bytes| bytes[PAGE..].fill(0xa5), "is damaged")),
    ])
    .await;
}

/// Whatever byte is wrong: the daemon runs, or it says why not. Its file is never changed by a refusal.
#[tokio::test]
async fn any_byte_may_be_wrong() {
    let world = world().await;
    let sound = fs::read(world.database()).unwrap();
    let mark = fs::read(beside(&world, ".mark")).unwrap();
    let header = [18, 19, 20, 21, 24, 28, 31, 32, 40, 44, 47, 52, 56, 59, 92];
    let random = (0..25).map(|_| fastrand::usize(100..sound.len()));
    let mut refusals = 0;
    for position in header.into_iter().chain(random) {
        let mut bytes = sound.clone();
        bytes[position] ^= fastrand::u8(1..);
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(beside(&world, suffix));
        }
        fs::write(world.database(), &bytes).unwrap();
        fs::write(beside(&world, ".mark"), &mark).unwrap();
        let mut daemon = world.spawn();
        until("it is ready or has ended", async || {
            !daemon.runs() || daemon.told().iter().any(|line| line == "READY=1")
        })
        .await;
        if daemon.runs() {
            daemon.signal(rustix::process::Signal::TERM);
        }
        let ended = daemon.ended(DEADLINE).await;
        let log = daemon.log();
        assert!(!log.contains("panicked"), "byte {position}: {log}");
        assert!(matches!(ended, Ok(0 | 1 | EXIT_LASTING)), "byte {position}: {ended:?} {log}");
        if ended == Ok(EXIT_LASTING) && log.contains("not touched") {
            refusals += 1;
            assert_eq!(fs::read(world.database()).unwrap(), bytes, "byte {position}: {log}");
        }
        let (code, said) = world.run(&["check"]).await;
        assert!(
            [0, 1, EXIT_LASTING].contains(&code) && !said.contains("panicked"),
            "byte {position}: {said}"
        );
    }
    assert!(refusals > 0, "no damage was met");
    assert_eq!(world.emissions(), 40, "nothing is sent again on the word of a damaged file");
}

#[tokio::test]
async fn a_damaged_mark_is_refused_until_it_is_accepted() {
    let world = world().await;
    for damage in [&b""[..], &[0; 120], b"tresorpayd-mark-1 "] {
        fs::write(beside(&world, ".mark"), damage).unwrap();
        let log = refused(&world).await;
        assert!(log.contains("its mark") && log.contains("is damaged"), "{log}");
    }
    assert_eq!(world.run(&["accept-restore", "--yes"]).await.0, 0);
    world.start().await.stop().await;
    assert_eq!(world.emissions(), 40);
}

/// The program as a user for whom the mode of a file counts: root without its privilege to pass over it.
fn as_a_user(world: &World) -> (i32, String) {
    let config = world.dir.path().join("command.toml");
    let mut command = if geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--bounding-set=-dac_override,-dac_read_search",
            "--inh-caps=-dac_override,-dac_read_search",
        ]);
        command.arg(env!("CARGO_BIN_EXE_tresorpayd"));
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_tresorpayd"))
    };
    let output = command.arg("--config").arg(config).arg("migrate").output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn what_may_not_be_written_is_named_with_its_owner() {
    let world = world().await;
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    // Writes the configuration that the command reads.
    assert_eq!(world.run(&["migrate"]).await.0, 0);
    for (path, closed, open) in [
        (world.database(), 0o440, 0o660),
        (world.database(), 0o000, 0o660),
        (world.dir.path().to_owned(), 0o550, 0o750),
    ] {
        mode(&path, closed);
        let (code, said) = as_a_user(&world);
        mode(&path, open);
        assert_eq!(code, 1, "{said}");
        let named = path.display().to_string();
        assert!(
            said.contains(&named) && said.contains(&format!("{closed:04o}")) | said.contains("must be able"),
            "{said}"
        );
    }
    for file in ["-wal", "-shm"].map(|suffix| beside(&world, suffix)).iter().filter(|file| file.exists()) {
        // Made by the looks above, with the mode that the database had.
        mode(file, 0o660);
    }
    let (code, said) = as_a_user(&world);
    assert_eq!(code, 0, "{said}");
}
