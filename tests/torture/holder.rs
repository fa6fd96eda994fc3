//! Programs that hold the database's write lock, or a snapshot, for longer than they should.

use std::{path::Path, time::Duration};

use crate::database::Database;

/// Holds the one write lock; then gives it back without having written.
pub(crate) async fn lock(database: &Path, time: Duration) -> anyhow::Result<()> {
    let mut database = Database::open(database).await?;
    database.run("BEGIN IMMEDIATE").await?;
    tokio::time::sleep(time).await;
    database.run("ROLLBACK").await?;
    Ok(())
}

/// Holds a snapshot, so that nothing written since can leave the write-ahead log.
pub(crate) async fn snapshot(database: &Path, time: Duration) -> anyhow::Result<()> {
    let mut database = Database::open(database).await?;
    database.run("BEGIN").await?;
    let before = database.number("SELECT count(*) FROM transition").await?;
    tokio::time::sleep(time).await;
    let after = database.number("SELECT count(*) FROM transition").await?;
    anyhow::ensure!(before == after, "a snapshot moved from {before} to {after} transitions");
    database.run("COMMIT").await?;
    Ok(())
}
