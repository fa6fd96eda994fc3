//! Everything that the database knows of one row, seen at one moment.

use serde::Serialize;

use super::{Inspect, ListedRow, listing::columns};
use crate::store::StoreError;

/// A row's whole life.
#[derive(Debug)]
pub struct NoticeRecord {
    /// The row.
    pub row: ListedRow,
    /// Its JSON and URLs: may name people.
    pub personal: PersonalColumns,
    /// Every change, oldest first.
    pub transitions: Vec<TransitionRow>,
    /// Every request that could change something at TresorPay, oldest first.
    pub attempts: Vec<AttemptRow>,
    /// Commands that are not carried out yet, oldest first.
    pub commands: Vec<CommandRow>,
    /// The status of the row that this one replaces, if that one is there.
    pub replaced_status: Option<String>,
}

/// The columns of that name, as they stand in the database.
#[derive(Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the schema, which documents them")]
pub struct PersonalColumns {
    pub tax_payer: String,
    pub items: String,
    pub authorized_payment_modes: Option<String>,
    pub callback: Option<String>,
    pub redirect_url: Option<String>,
}

impl std::fmt::Debug for PersonalColumns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PersonalColumns(<redacted>)")
    }
}

/// A row of `transition`.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the schema, which documents them")]
pub struct TransitionRow {
    pub id: i64,
    pub at: String,
    pub from_status: Option<String>,
    pub to_status: String,
    pub source: String,
    pub reason: Option<String>,
}

/// A row of `attempt`.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the schema, which documents them")]
pub struct AttemptRow {
    pub id: i64,
    pub operation: String,
    pub code_client: Option<String>,
    pub code_structure: Option<String>,
    pub base_url: String,
    pub started_at: String,
    pub duration_ms: Option<i64>,
    pub phase: String,
    pub http_status: Option<i64>,
    pub outcome: Option<String>,
    pub tresorpay_reference: Option<String>,
    pub detail: Option<String>,
}

/// An open row of `command`.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the schema, which documents them")]
pub struct CommandRow {
    pub id: i64,
    pub action: String,
    pub argument: Option<String>,
    pub requested_by: Option<String>,
    pub reason: Option<String>,
    pub requested_at: String,
    pub detail: Option<String>,
}

const ROW: &str = concat!("SELECT ", columns!(), " FROM outbox WHERE reference = ?1");

const PERSONAL: &str =
    "SELECT tax_payer, items, authorized_payment_modes, callback, redirect_url FROM outbox WHERE id = ?1";

const TRANSITIONS: &str =
    "SELECT id, at, from_status, to_status, source, reason FROM transition WHERE outbox_id = ?1 ORDER BY id";

const ATTEMPTS: &str = "
    SELECT id, operation, code_client, code_structure, base_url, started_at, duration_ms, phase, http_status, outcome,
           tresorpay_reference, detail
    FROM attempt WHERE outbox_id = ?1 ORDER BY id";

const COMMANDS: &str = "
    SELECT id, action, argument, requested_by, reason, requested_at, detail FROM command INDEXED BY command_open
    WHERE reference = ?1 AND done_at IS NULL ORDER BY id";

impl Inspect {
    /// The row with this reference and all that belongs to it; `None` if there is none.
    pub async fn notice(&self, reference: &str) -> Result<Option<NoticeRecord>, StoreError> {
        let mut tx = self.snapshot().await?;
        let row: Option<ListedRow> = sqlx::query_as(ROW).bind(reference).fetch_optional(&mut *tx).await?;
        let Some(row) = row else { return Ok(None) };
        let replaced: Option<(String,)> = sqlx::query_as("SELECT status FROM outbox WHERE reference = ?1")
            .bind(&row.replaces)
            .fetch_optional(&mut *tx)
            .await?;
        Ok(Some(NoticeRecord {
            personal: sqlx::query_as(PERSONAL).bind(row.id).fetch_one(&mut *tx).await?,
            transitions: sqlx::query_as(TRANSITIONS).bind(row.id).fetch_all(&mut *tx).await?,
            attempts: sqlx::query_as(ATTEMPTS).bind(row.id).fetch_all(&mut *tx).await?,
            commands: sqlx::query_as(COMMANDS).bind(reference).fetch_all(&mut *tx).await?,
            replaced_status: replaced.map(|row| row.0),
            row,
        }))
    }
}
