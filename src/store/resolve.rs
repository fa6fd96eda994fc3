//! What an operator found out about a row in doubt: that its notice exists, or that none does.

use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Ended, StoreError, Wanted,
    command::{end_one, move_row, one},
    writer::Operation,
};
use crate::{
    clock::Timestamp,
    notice::{Decision, Event, Policy, Source, TresorPayReference},
    tresorpay::ErrorCode,
};

/// A doubt that is old enough to be ended by an operator's word, unless a request was made since.
#[derive(Debug, Clone, Copy)]
pub struct Settled {
    /// `command.id`.
    pub command_id: i64,
    /// The last request that was made for the row when its clock was asked.
    pub last_attempt: i64,
}

const EXHAUSTED: &str = "
    UPDATE outbox SET status = 'REJECTED', status_source = ?3, status_reason = ?2, last_error = ?2, updated_at = ?4
    WHERE id = ?1 AND status = 'PENDING'";

/// Ends doubts by an operator's word: back to `PENDING`, and on to `REJECTED` if it was sent too often already.
pub(super) async fn settle(
    conn: &mut SqliteConnection,
    settled: &[Settled],
    policy: Policy,
    now: Timestamp,
) -> Result<Vec<Ended>, sqlx::Error> {
    let mut ended = Vec::new();
    for Settled { command_id, last_attempt } in settled {
        let Some(command) = one(conn, *command_id).await? else { continue };
        let unchanged = !command.under_way && command.last_attempt == *last_attempt;
        if command.decision(policy) != Decision::SettleByWord || !unchanged {
            continue;
        }
        let Some(mut end) = move_row(conn, &command, &Event::ProvenAbsent, now).await? else { continue };
        let attempts = command.attempts.unwrap_or_default();
        if attempts >= policy.max_attempts {
            let why = format!(
                "{}: {attempts} emissions count already and emit.max_attempts is {}",
                ErrorCode::MaxAttempts.as_str(),
                policy.max_attempts
            );
            let query = sqlx::query(EXHAUSTED).bind(command.outbox_id).bind(&why);
            query.bind(Source::Command.as_str()).bind(now.to_string()).execute(&mut *conn).await?;
            end.detail = format!("it was UNCERTAIN and is REJECTED ({why})");
        }
        end_one(conn, end.command_id, end.refused, &end.detail, now).await?;
        ended.push(end);
    }
    Ok(ended)
}

/// What an operator says that a row in doubt became.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The command's request.
    pub wanted: Wanted,
    /// The notice, which TresorPay knows and which is not canceled.
    pub reference: TresorPayReference,
    /// Where the taxpayer pays.
    pub payment_url: String,
}

/// What came of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The row is `EMITTED`, and the command done.
    Emitted,
    /// Another row has the notice.
    OthersNotice,
    /// A request for the row is under way, or it is something else by now.
    NotNow,
}

const ADOPT: &str = "
    UPDATE outbox SET status = 'EMITTED', status_source = ?3, status_reason = ?4, updated_at = ?5, last_error = NULL,
                      next_attempt_at = ?5, emitted_at = ?5, tresorpay_reference = ?6, payment_url = ?7
    WHERE id = ?1 AND status = ?2
      AND NOT EXISTS (SELECT 1 FROM attempt INDEXED BY attempt_open WHERE outbox_id = ?1 AND outcome IS NULL)";

const OWNER: &str = "SELECT reference FROM outbox WHERE tresorpay_reference = ?1";

/// The row that has this notice.
pub(super) async fn owner(
    reads: &SqlitePool,
    reference: &TresorPayReference,
) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> = sqlx::query_as(OWNER).bind(reference.as_str()).fetch_optional(reads).await?;
    Ok(row.map(|row| row.0))
}

impl Operation for Evidence {
    type Output = Taken;

    async fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        _again: Option<i64>,
    ) -> Result<Taken, sqlx::Error> {
        take_evidence(conn, self, Timestamp::now()).await
    }
}

/// Makes the row `EMITTED` and ends the command, in one commit.
async fn take_evidence(
    conn: &mut SqliteConnection,
    evidence: &Evidence,
    now: Timestamp,
) -> Result<Taken, sqlx::Error> {
    let Evidence { wanted, reference, payment_url } = evidence;
    let Some(command) = one(conn, wanted.command_id).await? else { return Ok(Taken::NotNow) };
    let owner: Option<(String,)> =
        sqlx::query_as(OWNER).bind(reference.as_str()).fetch_optional(&mut *conn).await?;
    if owner.is_some_and(|owner| owner.0 != wanted.reference) {
        return Ok(Taken::OthersNotice);
    }
    let adopted = sqlx::query(ADOPT)
        .bind(wanted.outbox_id)
        .bind(wanted.status.as_str())
        .bind(Source::Command.as_str())
        .bind(format!("{}: it is {reference}", command.named()))
        .bind(now.to_string())
        .bind(reference.as_str())
        .bind(payment_url)
        .execute(&mut *conn)
        .await?;
    if adopted.rows_affected() == 0 {
        return Ok(Taken::NotNow);
    }
    let detail = format!("it is EMITTED as {reference}; TresorPay is asked about it now");
    end_one(conn, wanted.command_id, false, &detail, now).await?;
    Ok(Taken::Emitted)
}
