//! One row's life for who may not see whom it is about: no column that can name a person is read.

use super::{AttemptRow, CommandRow, Inspect, ListedRow, TransitionRow, listing::columns};
use crate::store::StoreError;

/// A row's life, as far as it is shown.
#[derive(Debug)]
pub struct Life {
    /// The row.
    pub row: ListedRow,
    /// The newest changes, oldest first.
    pub transitions: Vec<TransitionRow>,
    /// The newest requests, oldest first.
    pub attempts: Vec<AttemptRow>,
    /// Commands that are not carried out yet.
    pub commands: Vec<CommandRow>,
    /// The status of the row that this one replaces, if that one is there.
    pub replaced_status: Option<String>,
    /// There are more changes or requests than are shown.
    pub cut: bool,
}

/// By the application's reference, or by TresorPay's.
const ROW: &str = concat!("SELECT ", columns!(), " FROM outbox WHERE reference = ?1");
const ROW_OF_NOTICE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM outbox INDEXED BY outbox_tresorpay_reference WHERE tresorpay_reference = ?1"
);

const TRANSITIONS: &str = "
    SELECT id, at, from_status, to_status, source, reason FROM transition INDEXED BY transition_outbox
    WHERE outbox_id = ?1 ORDER BY id DESC LIMIT ?2 + 0";

const ATTEMPTS: &str = "
    SELECT id, operation, code_client, code_structure, base_url, started_at, duration_ms, phase, http_status, outcome,
           tresorpay_reference, detail
    FROM attempt INDEXED BY attempt_outbox WHERE outbox_id = ?1 ORDER BY id DESC LIMIT ?2 + 0";

const COMMANDS: &str = "
    SELECT id, action, argument, requested_by, NULL AS reason, requested_at, detail
    FROM command INDEXED BY command_open WHERE reference = ?1 AND done_at IS NULL ORDER BY id LIMIT ?2 + 0";

impl Inspect {
    /// The row with this reference, the application's own or TresorPay's; at most `limit` of what belongs to it. `None`
    /// if there is none.
    pub async fn life(&self, reference: &str, limit: usize) -> Result<Option<Life>, StoreError> {
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut tx = self.snapshot().await?;
        let mut row: Option<ListedRow> = sqlx::query_as(ROW).bind(reference).fetch_optional(&mut *tx).await?;
        if row.is_none() {
            row = sqlx::query_as(ROW_OF_NOTICE).bind(reference).fetch_optional(&mut *tx).await?;
        }
        let Some(row) = row else { return Ok(None) };
        let replaced: Option<(String,)> = sqlx::query_as("SELECT status FROM outbox WHERE reference = ?1")
            .bind(&row.replaces)
            .fetch_optional(&mut *tx)
            .await?;
        let mut transitions: Vec<TransitionRow> =
            sqlx::query_as(TRANSITIONS).bind(row.id).bind(most + 1).fetch_all(&mut *tx).await?;
        let mut attempts: Vec<AttemptRow> =
            sqlx::query_as(ATTEMPTS).bind(row.id).bind(most + 1).fetch_all(&mut *tx).await?;
        let commands: Vec<CommandRow> =
            sqlx::query_as(COMMANDS).bind(&row.reference).bind(most).fetch_all(&mut *tx).await?;
        let cut = transitions.len() > limit || attempts.len() > limit;
        transitions.truncate(limit);
        attempts.truncate(limit);
        transitions.reverse();
        attempts.reverse();
        Ok(Some(Life {
            row,
            transitions,
            attempts,
            commands,
            replaced_status: replaced.map(|row| row.0),
            cut,
        }))
    }
}
