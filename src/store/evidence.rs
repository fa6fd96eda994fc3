//! Evidence that a notice exists: how a row takes it, however it came, and notices that are live beside a row's own.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{StoreError, json, writer::Operation};
use crate::{
    clock::Timestamp,
    notice::{Source, Status, TresorPayReference},
};

/// What came of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The row is what the evidence says.
    Moved,
    /// Another row has the notice.
    OthersNotice,
    /// A request for the row is under way, or it is something else by now.
    NotNow,
}

/// A row becomes `EMITTED` because TresorPay has its notice.
pub(super) struct Adoption<'a> {
    pub(super) outbox_id: i64,
    /// The status that the row must have.
    pub(super) expected: Status,
    pub(super) notice: &'a TresorPayReference,
    pub(super) payment_url: &'a str,
    pub(super) source: Source,
    pub(super) reason: &'a str,
    pub(super) at: Timestamp,
    /// Even while a request for the row is under way: what it does changes nothing any more.
    pub(super) beside_requests: bool,
}

const ADOPT: &str = "
    UPDATE outbox SET status = 'EMITTED', status_source = ?3, status_reason = ?4, updated_at = ?5, last_error = NULL,
                      next_attempt_at = ?5, emitted_at = ?5, tresorpay_reference = ?6, payment_url = ?7
    WHERE id = ?1 AND status = ?2
      AND (?8 OR NOT EXISTS (SELECT 1 FROM attempt INDEXED BY attempt_open WHERE outbox_id = ?1 AND outcome IS NULL))";

/// Whether the row took it.
pub(super) async fn adopt(conn: &mut SqliteConnection, adoption: &Adoption<'_>) -> Result<bool, sqlx::Error> {
    let adopted = sqlx::query(ADOPT)
        .bind(adoption.outbox_id)
        .bind(adoption.expected.as_str())
        .bind(adoption.source.as_str())
        .bind(adoption.reason)
        .bind(adoption.at.to_string())
        .bind(adoption.notice.as_str())
        .bind(adoption.payment_url)
        .bind(adoption.beside_requests)
        .execute(conn)
        .await?;
    Ok(adopted.rows_affected() == 1)
}

/// Whether another row has the notice.
pub(super) async fn is_anothers(
    conn: &mut SqliteConnection,
    outbox_id: i64,
    notice: &TresorPayReference,
) -> Result<bool, sqlx::Error> {
    let taken: (bool,) =
        sqlx::query_as("SELECT EXISTS (SELECT 1 FROM outbox WHERE tresorpay_reference = ?1 AND id <> ?2)")
            .bind(notice.as_str())
            .bind(outbox_id)
            .fetch_one(conn)
            .await?;
    Ok(taken.0)
}

/// A row that a callback's token names.
#[derive(Debug, Clone, FromRow)]
pub struct HintedRow {
    /// `outbox.id`.
    pub id: i64,
    /// The row's own reference.
    pub reference: String,
    status: String,
    /// TresorPay's, if it is known.
    pub tresorpay_reference: Option<String>,
    /// In XOF.
    pub net_total: i64,
    emitted_at: Option<String>,
    /// The last request that could change something at TresorPay.
    pub last_attempt: i64,
    /// One is under way.
    pub under_way: bool,
}

impl HintedRow {
    /// Its status.
    pub fn status(&self) -> Option<Status> {
        self.status.parse().ok()
    }

    /// When it was emitted.
    pub fn emitted_at(&self) -> Option<Timestamp> {
        self.emitted_at.as_deref().and_then(Timestamp::parse)
    }
}

const HINTED: &str = "
    SELECT o.id, o.reference, o.status, o.tresorpay_reference, o.net_total, o.emitted_at,
           coalesce((SELECT max(id) FROM attempt INDEXED BY attempt_outbox WHERE outbox_id = o.id), 0) AS last_attempt,
           EXISTS (SELECT 1 FROM attempt INDEXED BY attempt_open WHERE outbox_id = o.id AND outcome IS NULL) AS under_way
    FROM json_each(?1) AS j JOIN outbox AS o ON o.id = j.value";

/// The rows with these ids.
pub(super) async fn hinted(reads: &SqlitePool, ids: &[i64]) -> Result<HashMap<i64, HintedRow>, StoreError> {
    let rows: Vec<HintedRow> = sqlx::query_as(HINTED).bind(json(ids)?).fetch_all(reads).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// What TresorPay says of a notice that evidence ties to a row.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Paid: whatever the row is, unless an emission of it is under way.
    Paid {
        /// As TresorPay gave it.
        provider: Option<String>,
        /// As TresorPay gave it.
        pay_date: Option<String>,
        /// When the daemon next acts on the row of itself.
        next: Option<Timestamp>,
        /// What a person should look at.
        last_error: Option<String>,
    },
    /// It waits to be paid. Taken only if the row is as it was when TresorPay was asked.
    Live {
        /// The status that the row had.
        expected: Status,
        /// The last request that had been made for it.
        last_attempt: i64,
    },
}

/// A notice that TresorPay's callback ties to a row, and its status, which was asked.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// TresorPay's reference.
    pub notice: TresorPayReference,
    /// Where the taxpayer pays.
    pub payment_url: String,
    /// What TresorPay says.
    pub seen: Seen,
    /// Why, for the transition.
    pub reason: String,
    /// When the answer came.
    pub at: Timestamp,
}

impl Operation for Sighting {
    type Output = Taken;

    async fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        _again: Option<i64>,
    ) -> Result<Taken, sqlx::Error> {
        take(conn, self).await
    }
}

const STANDS: &str = "
    SELECT status, tresorpay_reference, coalesce((SELECT max(id) FROM attempt INDEXED BY attempt_outbox
                                                  WHERE outbox_id = o.id), 0)
    FROM outbox AS o WHERE id = ?1";

const PAY: &str = "
    UPDATE outbox SET status = 'PAID', status_source = ?2, status_reason = ?3, updated_at = ?4, paid_at = ?4,
                      provider = coalesce(?5, provider), pay_date = coalesce(?6, pay_date), next_attempt_at = ?7,
                      last_error = ?8
    WHERE id = ?1 AND status IN ('EMITTED', 'CANCELED')";

async fn take(conn: &mut SqliteConnection, sighting: &Sighting) -> Result<Taken, sqlx::Error> {
    let stands: Option<(String, Option<String>, i64)> =
        sqlx::query_as(STANDS).bind(sighting.outbox_id).fetch_optional(&mut *conn).await?;
    let Some((status, own, last_attempt)) = stands else { return Ok(Taken::NotNow) };
    let Ok(status) = status.parse::<Status>() else { return Ok(Taken::NotNow) };
    if is_anothers(conn, sighting.outbox_id, &sighting.notice).await? {
        return Ok(Taken::OthersNotice);
    }
    let is_own = own.as_deref() == Some(sighting.notice.as_str());
    let mut adoption = Adoption {
        outbox_id: sighting.outbox_id,
        expected: status,
        notice: &sighting.notice,
        payment_url: &sighting.payment_url,
        source: Source::Callback,
        reason: &sighting.reason,
        at: sighting.at,
        beside_requests: true,
    };
    let in_doubt = matches!(status, Status::Pending | Status::Rejected | Status::Uncertain);
    match &sighting.seen {
        Seen::Live { expected, last_attempt: asked } => {
            adoption.beside_requests = false;
            let unchanged = in_doubt && status == *expected && last_attempt == *asked;
            Ok(if unchanged && adopt(conn, &adoption).await? { Taken::Moved } else { Taken::NotNow })
        }
        Seen::Paid { .. } if in_doubt && !adopt(conn, &adoption).await? => Ok(Taken::NotNow),
        Seen::Paid { provider, pay_date, next, last_error } if in_doubt || is_own => {
            let paid = sqlx::query(PAY)
                .bind(sighting.outbox_id)
                .bind(Source::Callback.as_str())
                .bind(&sighting.reason)
                .bind(sighting.at.to_string())
                .bind(provider)
                .bind(pay_date)
                .bind(next.map(|at| at.to_string()))
                .bind(last_error)
                .execute(conn)
                .await?;
            Ok(if paid.rows_affected() == 1 { Taken::Moved } else { Taken::NotNow })
        }
        Seen::Paid { .. } => Ok(Taken::NotNow),
    }
}

/// Words for a paid row, unless it has others.
#[derive(Debug, Clone)]
pub struct FlagAmount {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// `last_error`.
    pub last_error: String,
}

const FLAG: &str =
    "UPDATE outbox SET last_error = ?2 WHERE id = ?1 AND status = 'PAID' AND last_error IS NULL";

/// Whether it had none.
impl Operation for FlagAmount {
    type Output = bool;

    async fn carry_out(&self, conn: &mut SqliteConnection, _again: Option<i64>) -> Result<bool, sqlx::Error> {
        let flagged = sqlx::query(FLAG).bind(self.outbox_id).bind(&self.last_error).execute(conn).await?;
        Ok(flagged.rows_affected() == 1)
    }
}

/// Notices that are to be asked about at once.
#[derive(Debug, Clone)]
pub(super) struct PollNow {
    pub(super) ids: Vec<i64>,
    pub(super) at: Timestamp,
}

const POLL_NOW: &str = "
    UPDATE outbox SET next_attempt_at = ?2
    WHERE id IN (SELECT value FROM json_each(?1)) AND status = 'EMITTED'
      AND (next_attempt_at IS NULL OR next_attempt_at > ?2)";

impl Operation for PollNow {
    type Output = ();

    async fn carry_out(&self, conn: &mut SqliteConnection, _again: Option<i64>) -> Result<(), sqlx::Error> {
        sqlx::query(POLL_NOW).bind(json(&self.ids)?).bind(self.at.to_string()).execute(conn).await?;
        Ok(())
    }
}

/// What the keys of `meta` begin with that tell of a notice which is live beside a row's own.
const SECOND_NOTICE: &str = "second_notice/";

/// A notice that is live at TresorPay beside the one that a row has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondNotice {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// The row's own reference.
    pub reference: String,
    /// The notice that the row has, if it has one.
    pub own: Option<String>,
    /// The other one.
    pub other: String,
    /// When it was seen first.
    pub at: String,
}

const SECOND_SEEN: &str = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING";

/// Whether it is news.
impl Operation for SecondNotice {
    type Output = bool;

    async fn carry_out(&self, conn: &mut SqliteConnection, _again: Option<i64>) -> Result<bool, sqlx::Error> {
        let key = format!("{SECOND_NOTICE}{}/{}", self.outbox_id, self.other);
        let seen = sqlx::query(SECOND_SEEN).bind(key).bind(json(self)?).execute(conn).await?;
        Ok(seen.rows_affected() == 1)
    }
}

/// It is no longer live.
pub(super) struct SecondOver(pub(super) SecondNotice);

impl Operation for SecondOver {
    type Output = ();

    async fn carry_out(&self, conn: &mut SqliteConnection, _again: Option<i64>) -> Result<(), sqlx::Error> {
        let key = format!("{SECOND_NOTICE}{}/{}", self.0.outbox_id, self.0.other);
        sqlx::query("DELETE FROM meta WHERE key = ?1").bind(key).execute(conn).await?;
        Ok(())
    }
}

const SECONDS: &str = "SELECT value FROM meta WHERE key > ?1 AND key < ?2 ORDER BY key LIMIT ?3 + 0";

/// Up to `limit` notices that were seen live beside a row's own.
pub(super) async fn seconds(
    conn: impl sqlx::SqliteExecutor<'_>,
    limit: usize,
) -> Result<Vec<SecondNotice>, sqlx::Error> {
    let rows: Vec<(String,)> = sqlx::query_as(SECONDS)
        .bind(SECOND_NOTICE)
        // What comes after every key that begins so: `0` follows `/`.
        .bind(SECOND_NOTICE.replace('/', "0"))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(conn)
        .await?;
    Ok(rows.iter().filter_map(|(value,)| serde_json::from_str(value).ok()).collect())
}

/// The key of callback tokens, made once.
pub(super) struct CallbackKey {
    /// What it becomes if there is none.
    pub(super) new: String,
}

const CALLBACK_KEY: &str = "callback_key";

impl Operation for CallbackKey {
    type Output = String;

    async fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        _again: Option<i64>,
    ) -> Result<String, sqlx::Error> {
        sqlx::query("INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING")
            .bind(CALLBACK_KEY)
            .bind(&self.new)
            .execute(&mut *conn)
            .await?;
        let key: (String,) = sqlx::query_as("SELECT value FROM meta WHERE key = ?1")
            .bind(CALLBACK_KEY)
            .fetch_one(conn)
            .await?;
        Ok(key.0)
    }
}
