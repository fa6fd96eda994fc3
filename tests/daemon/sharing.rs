//! A database that other users' programs share: what the daemon leaves behind for them.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{
    harness::{World, until},
    restore::beside,
    rows::bulk,
};

/// Whoever opens the database while no daemon runs would else make `-wal` and `-shm` as its own, and in a folder with the
/// sticky bit the daemon could not open them.
#[tokio::test]
async fn a_stop_and_migrate_leave_wal_and_shm_and_nothing_in_them() {
    let world = World::new().await;
    let left = |after: &str| {
        let [wal, shm] = ["-wal", "-shm"].map(|suffix| {
            let file = beside(&world, suffix);
            fs::metadata(&file).unwrap_or_else(|error| panic!("after {after}: {}: {error}", file.display()))
        });
        assert_eq!((wal.mode() & 0o007, shm.mode() & 0o007), (0, 0), "after {after}");
        (wal.len(), wal.ino(), shm.ino())
    };
    assert_eq!(world.run(&["migrate"]).await.0, 0);
    let (length, wal, shm) = left("migrate");
    assert_eq!(length, 0, "the schema is in the database itself");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(3)).await;
    until("all are emitted", async || app.count("EMITTED").await == 3).await;
    // The daemon is then the last to have it open.
    app.close().await;
    daemon.stop().await;
    assert_eq!(left("stop"), (0, wal, shm), "everything is in the database itself; they are the same files");
    world.start().await.stop().await;
    assert_eq!(left("another stop"), (0, wal, shm));
}
