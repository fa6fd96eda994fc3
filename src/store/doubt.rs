//! A row in doubt, read with everything that decides how its doubt may be settled, and the queue of such rows.

use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{StoreError, json};
use crate::{clock::Timestamp, notice::Status, tresorpay::ErrorCode};

/// What a start does with the rows that it finds in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoubtPolicy {
    /// An operator decides: none is acted on.
    Hold,
    /// Each is canceled at this time.
    CancelAt(Timestamp),
    /// Each is sent again at this time.
    ResendAt(Timestamp),
}

/// Where an emission went: a cancel that is to settle it goes there too, with its codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentTo {
    /// As sent.
    pub code_client: Option<String>,
    /// As sent.
    pub code_structure: Option<String>,
    /// As sent.
    pub base_url: String,
}

/// An outbox row and its attempts, as far as they matter for a cancel.
#[derive(Debug, Clone)]
pub struct CancelCase {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// The application's reference, by which TresorPay is asked to cancel.
    pub reference: String,
    /// Its status.
    pub status: Status,
    /// NULL: the configured one.
    pub code_client: Option<String>,
    /// NULL: the configured one.
    pub code_structure: Option<String>,
    /// Emissions that count.
    pub attempts: u32,
    /// What TresorPay called it, if it is known.
    pub tresorpay_reference: Option<String>,
    /// JSON; what may be echoed and must not be kept.
    pub tax_payer: String,
    /// JSON; the same.
    pub items: String,
    /// JSON; the same.
    pub authorized_payment_modes: Option<String>,
    /// Where the emissions went that nobody knows the end of, each place once, the last one last. Without any (they may
    /// be gone with a restored file), where the last emission went.
    pub sent_to: Vec<SentTo>,
    /// A request for it is under way.
    pub open: bool,
    /// A cancel has proven once that nothing live was left, or may have: it was there before an accepted restore.
    pub proven: bool,
    /// It is in doubt since a copy was restored: what was sent in the time that is lost, and where to, nobody knows.
    pub restored: bool,
    /// TresorPay's references that were seen canceled for this row.
    pub canceled: Vec<String>,
    /// Cancels since its last emission: how often it was tried in vain.
    pub tries: u32,
}

#[derive(FromRow)]
struct OutboxColumns {
    reference: String,
    status: String,
    code_client: Option<String>,
    code_structure: Option<String>,
    attempts: i64,
    tresorpay_reference: Option<String>,
    tax_payer: String,
    items: String,
    authorized_payment_modes: Option<String>,
    outlived_restore: bool,
    restored: bool,
}

#[derive(FromRow)]
struct AttemptColumns {
    operation: String,
    code_client: Option<String>,
    code_structure: Option<String>,
    base_url: String,
    phase: String,
    outcome: Option<String>,
    tresorpay_reference: Option<String>,
}

/// Whether one of a row's transitions, by default the last, is from before the last accepted restore.
macro_rules! restored {
    ($which:literal) => {
        concat!(
            "coalesce((SELECT ",
            $which,
            "(id) FROM transition INDEXED BY transition_outbox WHERE outbox_id = outbox.id)
                 <= (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'restored_until'), 0)"
        )
    };
    () => {
        restored!("max")
    };
}

const ROW: &str = concat!(
    "
    SELECT reference, status, code_client, code_structure, attempts, tresorpay_reference, tax_payer, items,
           authorized_payment_modes, ",
    restored!("min"),
    " AS outlived_restore, ",
    restored!(),
    " AS restored
    FROM outbox WHERE id = ?1"
);

const ATTEMPTS: &str = "
    SELECT operation, code_client, code_structure, base_url, phase, outcome, tresorpay_reference
    FROM attempt INDEXED BY attempt_outbox WHERE outbox_id = ?1 ORDER BY id";

/// Rows whose time has come by the wall clock; whether it has by the monotonic one, the caller asks. A cancel asked for by
/// command dates those of a restore too, and they are held all the same.
const DUE: &str = concat!(
    "
    SELECT id FROM outbox INDEXED BY outbox_uncertain
    WHERE status = 'UNCERTAIN' AND next_attempt_at <= ?1 AND NOT ",
    restored!(),
    " ORDER BY next_attempt_at LIMIT ?2 + 0"
);

const NEXT: &str = concat!(
    "
    SELECT next_attempt_at FROM outbox INDEXED BY outbox_uncertain
    WHERE status = 'UNCERTAIN' AND next_attempt_at IS NOT NULL AND NOT ",
    restored!(),
    " ORDER BY next_attempt_at LIMIT 1"
);

const HOLD_ALL: &str = "
    UPDATE outbox SET next_attempt_at = NULL
    WHERE id IN (SELECT id FROM outbox INDEXED BY outbox_uncertain
                 WHERE status = 'UNCERTAIN' AND next_attempt_at IS NOT NULL)";

/// What is held for a reason that this policy does not overcome stays held.
const DATE_ALL: &str = concat!(
    "
    UPDATE outbox SET next_attempt_at = ?1
    WHERE id IN (SELECT id FROM outbox INDEXED BY outbox_uncertain
                 WHERE status = 'UNCERTAIN' AND NOT ",
    restored!(),
    "
                   AND (next_attempt_at IS NOT NULL OR last_error IS NULL
                        OR substr(last_error, 1, instr(last_error || ':', ':') - 1)
                           NOT IN (SELECT value FROM json_each(?2))))"
);

/// Dates every row in doubt as `policy` says: after a restart its time counts from the restart.
pub(super) async fn date_all(conn: &mut SqliteConnection, policy: DoubtPolicy) -> Result<(), sqlx::Error> {
    let (at, held) = match policy {
        DoubtPolicy::Hold => {
            sqlx::query(HOLD_ALL).execute(conn).await?;
            return Ok(());
        }
        DoubtPolicy::CancelAt(at) => (at, &HELD_FROM_CANCEL[..]),
        DoubtPolicy::ResendAt(at) => (at, &HELD_FROM_RESEND[..]),
    };
    let held: Vec<&str> = held.iter().map(|code| code.as_str()).collect();
    sqlx::query(DATE_ALL).bind(at.to_string()).bind(json(&held)?).execute(conn).await?;
    Ok(())
}

/// Another cancel would prove nothing.
const HELD_FROM_CANCEL: [ErrorCode; 1] = [ErrorCode::Unproven];
/// It was sent again and refused, or as often as it may be.
const HELD_FROM_RESEND: [ErrorCode; 3] =
    [ErrorCode::Refused, ErrorCode::AlreadyCanceled, ErrorCode::MaxAttempts];

/// The row and its attempts; `None` if there is no such row.
pub(super) async fn case(reads: &SqlitePool, outbox_id: i64) -> Result<Option<CancelCase>, StoreError> {
    // Of one moment: a row must not be paired with the attempts of another.
    let mut tx = reads.begin().await?;
    let row: Option<OutboxColumns> = sqlx::query_as(ROW).bind(outbox_id).fetch_optional(&mut *tx).await?;
    let attempts: Vec<AttemptColumns> = sqlx::query_as(ATTEMPTS).bind(outbox_id).fetch_all(&mut *tx).await?;
    tx.rollback().await?;
    row.map(|row| assemble(outbox_id, row, attempts)).transpose()
}

/// Up to `limit` rows in doubt that are due at `now`, the longest overdue first.
pub(super) async fn due(reads: &SqlitePool, now: Timestamp, limit: usize) -> Result<Vec<i64>, StoreError> {
    let rows: Vec<(i64,)> = sqlx::query_as(DUE)
        .bind(now.to_string())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(reads)
        .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// When the first row in doubt is due; `None` if all are held.
pub(super) async fn next(reads: &SqlitePool) -> Result<Option<Timestamp>, StoreError> {
    let row: Option<(String,)> = sqlx::query_as(NEXT).fetch_optional(reads).await?;
    // A time that cannot be read is looked at now, rather than never.
    Ok(row.map(|row| Timestamp::parse(&row.0).unwrap_or_else(Timestamp::now)))
}

/// Outcomes of an emission after which nobody doubts what became of it.
const KNOWN: [ErrorCode; 6] = [
    ErrorCode::Ok,
    ErrorCode::Refused,
    ErrorCode::AlreadyCanceled,
    ErrorCode::RateLimited,
    ErrorCode::Unauthorized,
    ErrorCode::Misdirected,
];

impl AttemptColumns {
    fn is(&self, code: ErrorCode) -> bool {
        self.outcome.as_deref() == Some(code.as_str())
    }

    fn sent_to(&self) -> SentTo {
        SentTo {
            code_client: self.code_client.clone(),
            code_structure: self.code_structure.clone(),
            base_url: self.base_url.clone(),
        }
    }
}

fn assemble(
    outbox_id: i64,
    row: OutboxColumns,
    attempts: Vec<AttemptColumns>,
) -> Result<CancelCase, StoreError> {
    let broken = |why: String| StoreError::Row { id: outbox_id, why };
    let mut case = CancelCase {
        outbox_id,
        reference: row.reference,
        status: row.status.parse().map_err(|error| broken(format!("{error}")))?,
        code_client: row.code_client,
        code_structure: row.code_structure,
        attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
        tresorpay_reference: row.tresorpay_reference,
        tax_payer: row.tax_payer,
        items: row.items,
        authorized_payment_modes: row.authorized_payment_modes,
        sent_to: Vec::new(),
        open: false,
        proven: row.outlived_restore,
        restored: row.restored,
        canceled: Vec::new(),
        tries: 0,
    };
    let mut last_emission = None;
    for attempt in attempts {
        case.open |= attempt.outcome.is_none();
        match &*attempt.operation {
            "emit" => {
                case.tries = 0;
                if attempt.phase != "unsent" {
                    last_emission = Some(attempt.sent_to());
                    if !KNOWN.iter().any(|code| attempt.is(*code)) {
                        case.sent_to.retain(|place| *place != attempt.sent_to());
                        case.sent_to.push(attempt.sent_to());
                    }
                }
                if attempt.is(ErrorCode::AlreadyCanceled) {
                    case.canceled.extend(attempt.tresorpay_reference);
                }
            }
            "cancel" if attempt.is(ErrorCode::Ok) || attempt.is(ErrorCode::NothingLive) => {
                case.proven = true;
                case.sent_to.clear();
                case.tries = 0;
                case.canceled.extend(attempt.tresorpay_reference);
            }
            "cancel" => case.tries = case.tries.saturating_add(1),
            _ => {}
        }
    }
    if case.sent_to.is_empty() {
        case.sent_to.extend(last_emission);
    }
    Ok(case)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn attempt(
        operation: &str,
        code_client: &str,
        phase: &str,
        outcome: Option<&str>,
        named: Option<&str>,
    ) -> AttemptColumns {
        AttemptColumns {
            operation: operation.to_owned(),
            code_client: Some(code_client.to_owned()),
            code_structure: Some("S".to_owned()),
            base_url: "http://127.0.0.1:1".to_owned(),
            phase: phase.to_owned(),
            outcome: outcome.map(str::to_owned),
            tresorpay_reference: named.map(str::to_owned),
        }
    }

    fn case(attempts: Vec<AttemptColumns>) -> CancelCase {
        let row = OutboxColumns {
            reference: "A-1".to_owned(),
            status: "UNCERTAIN".to_owned(),
            code_client: None,
            code_structure: None,
            attempts: 1,
            tresorpay_reference: None,
            tax_payer: "{}".to_owned(),
            items: "[]".to_owned(),
            authorized_payment_modes: None,
            outlived_restore: false,
            restored: false,
        };
        assemble(7, row, attempts).unwrap()
    }

    fn codes(case: &CancelCase) -> Vec<&str> {
        case.sent_to.iter().filter_map(|place| place.code_client.as_deref()).collect()
    }

    #[test]
    fn it_is_settled_where_the_emissions_in_doubt_went() {
        let only = case(vec![
            attempt("emit", "OLD", "answered", Some("misdirected"), None),
            attempt("emit", "A", "sent", Some("timed_out"), None),
            attempt("emit", "NEW", "unsent", Some("unreachable"), None),
        ]);
        assert_eq!((codes(&only), only.proven, only.open), (vec!["A"], false, false));
        let two = case(vec![
            attempt("emit", "A", "sent", Some("timed_out"), None),
            attempt("emit", "B", "sent", Some("interrupted"), None),
            attempt("emit", "A", "answered", Some("server_error"), None),
        ]);
        assert_eq!(codes(&two), ["B", "A"], "each place once, the last one last");
        let none_known = case(vec![attempt("emit", "A", "answered", Some("ok"), Some("TP1"))]);
        assert_eq!(codes(&none_known), ["A"], "the last emission's, for want of a better");
        assert!(codes(&case(vec![])).is_empty());
    }

    #[test]
    fn a_proof_ends_what_came_before_it() {
        let twice = case(vec![
            attempt("emit", "A", "sent", Some("timed_out"), None),
            attempt("cancel", "A", "sent", Some("timed_out"), None),
            attempt("cancel", "A", "answered", Some("ok"), Some("TP1")),
            attempt("emit", "B", "sent", Some("connection_lost"), None),
            attempt("cancel", "B", "answered", Some("refused"), None),
            attempt("cancel", "B", "sent", None, None),
        ]);
        assert_eq!(codes(&twice), ["B"]);
        assert!(twice.proven && twice.open);
        assert_eq!((&*twice.canceled, twice.tries), (&["TP1".to_owned()][..], 2));
        let absent = case(vec![attempt("cancel", "A", "answered", Some("nothing_live"), None)]);
        assert!(absent.proven && absent.canceled.is_empty());
        let told = case(vec![attempt("emit", "A", "answered", Some("already_canceled"), Some("TP9"))]);
        assert_eq!(told.canceled, ["TP9"]);
    }
}
