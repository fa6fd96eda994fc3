//! The feed of everything that happens, as the contract gives it to every application: `PRAGMA data_version` tells
//! cheaply whether to look, `WHERE id > ?` reads what is new.

use std::path::Path;

use sqlx::{Connection, SqliteConnection};

use super::{DemoError, application::connection, progress::Tally};
use crate::{clock::Timestamp, notice::Status};

/// Most transitions of one look; the next look goes on.
const LOOK: i64 = 500;

const NEWEST: &str = "SELECT coalesce(max(id), 0) FROM transition";

/// `LEFT JOIN`: history outlives a row that was deleted before it was sent.
const NEW: &str = "
    SELECT t.id, t.outbox_id, t.at, t.from_status, t.to_status, coalesce(t.reason, ''), coalesce(o.reference, ''),
        coalesce(o.net_total, 0), coalesce(o.tax_payer, '{}'), coalesce(o.tresorpay_reference, ''),
        coalesce(o.provider, '')
    FROM transition AS t LEFT JOIN outbox AS o ON o.id = t.outbox_id
    WHERE t.id > ?1 ORDER BY t.id LIMIT ?2";

const TALLY: &str = "SELECT status, count(*), sum(net_total) FROM outbox GROUP BY status";

type Columns = (i64, i64, String, Option<String>, String, String, String, i64, String, String, String);

/// One row of `transition`, with what its notice says now.
#[derive(Debug, Clone)]
pub(super) struct Transition {
    pub(super) outbox_id: i64,
    pub(super) at: Timestamp,
    /// `None`: the insertion.
    pub(super) from: Option<Status>,
    pub(super) to: Status,
    pub(super) reason: String,
    pub(super) reference: String,
    pub(super) net_total: i64,
    /// JSON.
    pub(super) tax_payer: String,
    pub(super) tresorpay_reference: String,
    pub(super) provider: String,
}

/// A reader of the feed; it begins with what happens after it was opened.
pub(super) struct Feed {
    conn: SqliteConnection,
    last_id: i64,
    seen_version: Option<i64>,
}

impl Feed {
    pub(super) async fn open(path: &Path) -> Result<Self, DemoError> {
        let mut conn = SqliteConnection::connect_with(&connection(path).read_only(true)).await?;
        let last: (i64,) = sqlx::query_as(NEWEST).fetch_one(&mut conn).await?;
        Ok(Self { conn, last_id: last.0, seen_version: None })
    }

    /// What happened since the last look and the counts after it; `None` if nobody committed anything.
    pub(super) async fn look(&mut self) -> Result<Option<(Vec<Transition>, Tally)>, DemoError> {
        let version: (i64,) = sqlx::query_as("PRAGMA data_version").fetch_one(&mut self.conn).await?;
        if self.seen_version == Some(version.0) {
            return Ok(None);
        }
        let mut snapshot = self.conn.begin().await?;
        let rows: Vec<Columns> =
            sqlx::query_as(NEW).bind(self.last_id).bind(LOOK).fetch_all(&mut *snapshot).await?;
        let tally = tally(&mut snapshot).await?;
        snapshot.commit().await?;
        // A full look leaves some: the next one must not wait for another commit.
        self.seen_version = (rows.len() < usize::try_from(LOOK).unwrap_or(usize::MAX)).then_some(version.0);
        self.last_id = rows.last().map_or(self.last_id, |row| row.0);
        let transitions = rows.into_iter().map(transition).collect::<Result<_, _>>()?;
        Ok(Some((transitions, tally)))
    }

    /// Closes the connection.
    pub(super) async fn close(self) -> Result<(), DemoError> {
        Ok(self.conn.close().await?)
    }
}

async fn tally(conn: &mut SqliteConnection) -> Result<Tally, DemoError> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(TALLY).fetch_all(conn).await?;
    let mut tally = Tally::default();
    for (text, count, amount) in rows {
        tally.set(status(&text)?, usize::try_from(count).unwrap_or_default(), amount);
    }
    Ok(tally)
}

fn transition(columns: Columns) -> Result<Transition, DemoError> {
    let (_, outbox_id, at, from, to, reason, reference, net_total, tax_payer, tresorpay_reference, provider) =
        columns;
    let at = Timestamp::parse(&at).ok_or_else(|| decode(format!("transition.at is `{at}`")))?;
    let from = from.as_deref().map(status).transpose()?;
    let to = status(&to)?;
    Ok(Transition {
        outbox_id,
        at,
        from,
        to,
        reason,
        reference,
        net_total,
        tax_payer,
        tresorpay_reference,
        provider,
    })
}

fn status(text: &str) -> Result<Status, DemoError> {
    text.parse().map_err(decode)
}

fn decode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DemoError {
    DemoError::Sqlite(sqlx::Error::Decode(error.into()))
}
