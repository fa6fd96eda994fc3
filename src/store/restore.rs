//! Accepting a database that went back in time: what may have been sent since the copy was made is put in doubt, a new
//! timeline begins, and the mark is level again.
//!
//! The commit comes before the mark. Whoever is killed in between finds the database refused as before, and accepts once
//! more.

use std::path::{Path, PathBuf};

use sqlx::{Connection, SqliteConnection};

use super::{
    Binding, Lease, StoreError,
    examine::{Examined, damage_at, look, standing},
    inspect::quick_faults,
    mark::{Mark, MarkState, Standing, compare},
    open::{
        admit, base_options, check_folder, close_and_leave_wal, create_file, daemon_options, is_there,
        prepare, random_id,
    },
    recovery::CLOSE_ATTEMPTS,
};
use crate::{clock::Timestamp, notice::Source, tresorpay::ErrorCode};

/// The stable code of rows that a restore put in doubt.
pub const RESTORED: &str = "restored";
const REASON: &str =
    "restored: a copy of the database was put back; the notice may have been emitted after the copy was made";
const REFUSED: &str = "restored: asked before a copy of the database was accepted; whether it was carried out is unknown. Ask again";

/// What will become of a database that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePlan {
    /// How it is known that it went back; `None`: it is level with its mark.
    pub went_back: Option<String>,
    /// There is a database.
    pub exists: bool,
    /// Its last attempt, and when that left.
    pub last_attempt: i64,
    /// RFC 3339.
    pub last_attempt_at: Option<String>,
    /// Rows that will become `UNCERTAIN`.
    pub pending: i64,
    /// The same.
    pub emitting: i64,
    /// The same: they may have been retried.
    pub rejected: i64,
    /// Rows that are `UNCERTAIN` already.
    pub uncertain: i64,
    /// Open commands that would send again; they will be refused.
    pub commands: i64,
    /// The last `transition.id`: the feed goes on from here.
    pub last_transition: i64,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Rows that became `UNCERTAIN`.
    pub rows: u64,
    /// Rows that are `UNCERTAIN` now.
    pub uncertain: i64,
    /// Commands that were refused.
    pub commands: u64,
}

/// A database whose lease is held, looked at and not yet changed.
pub struct Restore {
    path: PathBuf,
    mark: PathBuf,
    binding: Binding,
    plan: RestorePlan,
    _lease: Lease,
}

impl Restore {
    /// Takes the lease and looks; a database that is damaged or not of one piece is refused.
    pub async fn begin(path: &Path, mark: &Path, binding: &Binding) -> Result<Self, StoreError> {
        check_folder(path)?;
        let lease = Lease::take(path)?;
        let examined = admit(path, None, binding).await?;
        let plan = if is_there(path)? {
            let options = base_options(path).read_only(examined == Examined::Sound);
            let mut conn = SqliteConnection::connect_with(&options).await?;
            let plan = plan(&mut conn, path, mark).await.map_err(|error| damage_at(path, error));
            conn.close().await?;
            plan?
        } else {
            RestorePlan { went_back: went_back(mark, &Standing::default())?, ..RestorePlan::nothing() }
        };
        let (path, mark) = (path.to_owned(), mark.to_owned());
        Ok(Self { path, mark, binding: binding.clone(), plan, _lease: lease })
    }

    /// What [`Self::accept`] will do, unless applications write meanwhile.
    pub fn plan(&self) -> &RestorePlan {
        &self.plan
    }

    /// Does it.
    pub async fn accept(self) -> Result<Accepted, StoreError> {
        create_file(&self.path)?;
        let mut conn = prepare(&daemon_options(&self.path), &self.path, &self.binding).await?;
        look(&mut conn, &self.path, None, &self.binding).await?;
        let accepted = put_in_doubt(&mut conn).await?;
        let standing = Standing::read(&mut conn).await?;
        Mark::open(&self.mark, &standing)?;
        close_and_leave_wal(conn, &self.path).await?;
        Ok(accepted)
    }
}

impl RestorePlan {
    fn nothing() -> Self {
        Self {
            went_back: None,
            exists: false,
            last_attempt: 0,
            last_attempt_at: None,
            pending: 0,
            emitting: 0,
            rejected: 0,
            uncertain: 0,
            commands: 0,
            last_transition: 0,
        }
    }

    /// Rows that will become `UNCERTAIN`.
    pub fn rows(&self) -> i64 {
        self.pending + self.emitting + self.rejected
    }
}

fn went_back(mark: &Path, standing: &Standing) -> Result<Option<String>, StoreError> {
    Ok(match compare(mark, &Mark::read(mark)?, standing) {
        MarkState::WentBack(why) => Some(why),
        MarkState::Level(_) | MarkState::NotYet => None,
    })
}

/// `PENDING`, `EMITTING`, `REJECTED` that may still be sent, `UNCERTAIN`.
const COUNTS: &str = "
    SELECT
        (SELECT count(*) FROM outbox INDEXED BY outbox_ready
         WHERE status = 'PENDING' AND next_attempt_at IS NULL AND not_before IS not_before_passed)
        + (SELECT count(*) FROM outbox INDEXED BY outbox_waiting
           WHERE status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)),
        (SELECT count(*) FROM outbox INDEXED BY outbox_emitting WHERE status = 'EMITTING'),
        (SELECT count(*) FROM outbox INDEXED BY outbox_finished WHERE status = 'REJECTED' AND anonymised_at IS NULL),
        (SELECT count(*) FROM outbox INDEXED BY outbox_uncertain WHERE status = 'UNCERTAIN'),
        (SELECT coalesce(max(id), 0) FROM transition)";

/// Commands that lead to an emission: carried out on a copy, they would bill what they have billed already.
const COMMANDS: &str = "
    SELECT count(*) FROM command WHERE done_at IS NULL AND action IN ('retry', 'resolve-not-emitted')";

async fn plan(conn: &mut SqliteConnection, path: &Path, mark: &Path) -> Result<RestorePlan, StoreError> {
    if let Some(why) = quick_faults(conn).await?.first() {
        return Err(StoreError::Damaged { path: path.to_owned(), why: why.clone() });
    }
    let standing = standing(conn).await?;
    let plan = RestorePlan {
        went_back: went_back(mark, &standing)?,
        exists: true,
        last_attempt: standing.last_attempt,
        ..RestorePlan::nothing()
    };
    if standing == Standing::default() {
        return Ok(plan);
    }
    let left: Option<(String,)> = sqlx::query_as("SELECT started_at FROM attempt ORDER BY id DESC LIMIT 1")
        .fetch_optional(&mut *conn)
        .await?;
    let (pending, emitting, rejected, uncertain, last_transition) =
        sqlx::query_as(COUNTS).fetch_one(&mut *conn).await?;
    let (commands,) = sqlx::query_as(COMMANDS).fetch_one(conn).await?;
    let last_attempt_at = left.map(|row| row.0);
    Ok(RestorePlan {
        last_attempt_at,
        pending,
        emitting,
        rejected,
        uncertain,
        commands,
        last_transition,
        ..plan
    })
}

/// A row that was `EMITTING` had left: it counts.
const DOUBT: &str = "
    UPDATE outbox SET status = 'UNCERTAIN', status_source = ?1, status_reason = ?2, last_error = ?2, updated_at = ?3,
                      attempts = attempts + (status = 'EMITTING'), next_attempt_at = NULL
    WHERE id IN (
        SELECT id FROM outbox INDEXED BY outbox_ready
        WHERE status = 'PENDING' AND next_attempt_at IS NULL AND not_before IS not_before_passed
        UNION ALL
        SELECT id FROM outbox INDEXED BY outbox_waiting
        WHERE status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)
        UNION ALL
        SELECT id FROM outbox INDEXED BY outbox_emitting WHERE status = 'EMITTING'
        UNION ALL
        SELECT id FROM outbox INDEXED BY outbox_finished WHERE status = 'REJECTED' AND anonymised_at IS NULL)";

/// What was in doubt already may have been settled and sent again since.
const KEEP_IN_DOUBT: &str = "
    UPDATE outbox SET last_error = ?1, next_attempt_at = NULL
    WHERE id IN (SELECT id FROM outbox INDEXED BY outbox_uncertain WHERE status = 'UNCERTAIN')";

/// Until the next transition of its own, a row is in doubt for the restore's sake, and no policy settles it.
const RESTORED_UNTIL: &str = "
    INSERT INTO meta (key, value) SELECT 'restored_until', CAST(coalesce(max(id), 0) AS TEXT) FROM transition WHERE true
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

const REFUSE_COMMANDS: &str = "
    UPDATE command SET done_at = ?1, outcome = 'refused', detail = ?2
    WHERE done_at IS NULL AND action IN ('retry', 'resolve-not-emitted')";

async fn put_in_doubt(conn: &mut SqliteConnection) -> Result<Accepted, StoreError> {
    let now = Timestamp::now().to_string();
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    let rows = sqlx::query(DOUBT)
        .bind(Source::Recovery.as_str())
        .bind(REASON)
        .bind(&now)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    sqlx::query(KEEP_IN_DOUBT).bind(REASON).execute(&mut *tx).await?;
    sqlx::query(RESTORED_UNTIL).execute(&mut *tx).await?;
    sqlx::query(CLOSE_ATTEMPTS).bind(ErrorCode::Interrupted.as_str()).execute(&mut *tx).await?;
    let commands =
        sqlx::query(REFUSE_COMMANDS).bind(&now).bind(REFUSED).execute(&mut *tx).await?.rows_affected();
    sqlx::query("UPDATE meta SET value = ?1 WHERE key = 'timeline'")
        .bind(random_id())
        .execute(&mut *tx)
        .await?;
    let (uncertain,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM outbox INDEXED BY outbox_uncertain WHERE status = 'UNCERTAIN'")
            .fetch_one(&mut *tx)
            .await?;
    tx.commit().await?;
    Ok(Accepted { rows, uncertain, commands })
}
