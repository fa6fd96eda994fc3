//! Wakes the workers when another connection has committed: an application's INSERT is seen within half a second. Ends
//! when the database's file is no longer the one that was opened.

use std::{sync::Arc, time::Duration};

use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::store::{Guard, Reads, StoreError, WalFile};

/// `PRAGMA data_version` costs some microseconds: four looks a second are not measurable.
const INTERVAL: Duration = Duration::from_millis(250);
/// After a failed look.
const RETRY: Duration = Duration::from_secs(5);

/// Looks until `shutdown`, or until the file is replaced.
pub async fn watch(
    reads: Reads,
    guard: Arc<Guard>,
    wakes: Vec<Arc<Notify>>,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    let mut conn: Option<SqliteConnection> = None;
    let mut wal: Option<WalFile> = None;
    let mut seen = None;
    loop {
        guard.check()?;
        let wait = match data_version(&reads, &mut conn).await {
            Ok(version) => {
                // While this connection is open, SQLite keeps the file.
                wal.get_or_insert_with(|| WalFile::of(guard.path())).check(guard.path())?;
                if seen.replace(version) != Some(version) {
                    for wake in &wakes {
                        wake.notify_one();
                    }
                }
                INTERVAL
            }
            Err(error) => {
                tracing::warn!(%error, "the database cannot be watched; new rows are seen by the schedule only");
                (conn, wal) = (None, None);
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Changes when any other connection has committed since this one looked.
async fn data_version(reads: &Reads, conn: &mut Option<SqliteConnection>) -> Result<i64, sqlx::Error> {
    let conn = match conn {
        Some(conn) => conn,
        None => conn.insert(reads.pool().connect_options().connect().await?),
    };
    let row: (i64,) = sqlx::query_as("PRAGMA data_version").fetch_one(conn).await?;
    Ok(row.0)
}
