//! Taking personal data out: which rows are due, what leaves them, and what stays. The schema's triggers allow exactly
//! this and nothing else; the writer's connection overwrites with zeros what it removes (`secure_delete`).

use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{
    StoreError, command,
    error::{is_constraint, is_schema_error},
    json,
    writer::Operation,
};
use crate::clock::Timestamp;

/// Longest text of a trigger that is passed on, in characters.
const MAX_WORDS: usize = 500;
/// What a carried out `anonymise` says.
const TAKEN_OUT: &str = "its personal data was taken out";

/// A finished row that has its personal data still.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct PersonalRow {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// When it was finished, as the database has it.
    pub updated_at: String,
    /// Its receipt, relative to the receipts directory.
    pub receipt_path: Option<String>,
    /// What needs the data still; `None`: nothing does.
    pub needed_for: Option<String>,
}

/// What became of a row that was to lose its personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Gone,
    /// The row is not finished any more, or something needs its data again.
    NotNow,
    /// A rule or a trigger refuses it; its words.
    Refused(String),
}

/// Takes the personal data of some rows out, in one commit.
#[derive(Debug, Clone)]
pub struct Anonymise {
    /// `outbox.id` of each; their receipts are removed already.
    pub rows: Vec<i64>,
    /// The command that asked for it, which ends with it.
    pub command: Option<i64>,
    /// When.
    pub at: Timestamp,
}

/// Takes the card numbers of rows out that are at TresorPay.
#[derive(Debug, Clone)]
pub struct TakeCards {
    /// `outbox.id` of each.
    pub rows: Vec<i64>,
    /// When.
    pub at: Timestamp,
}

/// What needs the data of the row `o` still, NULL: nothing. Reconciliation needs none of it.
macro_rules! needed_for {
    () => {
        "CASE
            WHEN o.next_attempt_at IS NOT NULL THEN 'its confirmation, its receipt or its callback is not done yet'
            WHEN EXISTS (SELECT 1 FROM attempt AS a INDEXED BY attempt_open
                         WHERE a.outbox_id = o.id AND a.outcome IS NULL) THEN 'a request for it is under way'
            WHEN EXISTS (SELECT 1 FROM command AS c INDEXED BY command_open
                         WHERE c.reference = o.reference AND c.action <> 'anonymise' AND c.done_at IS NULL)
                THEN 'another command for it is open'
            WHEN EXISTS (SELECT 1 FROM meta AS m
                         WHERE m.key > 'second_notice/' || o.id || '/' AND m.key < 'second_notice/' || o.id || '0')
                THEN 'a second notice of it is live at TresorPay (second_live_notice)'
        END"
    };
}

const DUE: &str = concat!(
    "
    SELECT o.id AS outbox_id, o.updated_at, o.receipt_path, ",
    needed_for!(),
    " AS needed_for
    FROM outbox AS o INDEXED BY outbox_personal
    WHERE o.anonymised_at IS NULL AND (o.status = 'PAID' OR o.status = 'CANCELED' OR o.status = 'REJECTED')
      AND (o.updated_at, o.id) > (?1, ?2) AND o.updated_at < ?3
    ORDER BY o.updated_at, o.id LIMIT ?4 + 0"
);

const ONE: &str = concat!(
    "
    SELECT o.id AS outbox_id, o.updated_at, o.receipt_path, ",
    needed_for!(),
    " AS needed_for
    FROM outbox AS o WHERE o.id = ?1 AND o.status IN ('PAID', 'CANCELED', 'REJECTED')"
);

/// Of `last_error` the code stays, by which it is counted and explained.
const TAKE_OUT: &str = concat!(
    "
    UPDATE outbox AS o SET
        anonymised_at = ?2, tax_payer = '{\"anonymised\":true}', authorized_payment_modes = NULL, callback = NULL,
        redirect_url = NULL, receipt_path = NULL,
        items = (SELECT json_group_array(json_remove(value, '$.name', '$.description')) FROM json_each(o.items)),
        last_error = substr(last_error, 1, instr(last_error || ':', ':') - 1)
            || ': what was said is gone with the personal data'
    WHERE o.id = ?1 AND o.anonymised_at IS NULL AND o.status IN ('PAID', 'CANCELED', 'REJECTED') AND ",
    needed_for!(),
    " IS NULL"
);

const IS_ANONYMISED: &str =
    "SELECT EXISTS (SELECT 1 FROM outbox WHERE id = ?1 AND anonymised_at IS NOT NULL)";

const ATTEMPTS: &str = "
    UPDATE attempt SET detail = NULL
    WHERE id IN (SELECT id FROM attempt INDEXED BY attempt_outbox
                 WHERE outbox_id = ?1 AND detail IS NOT NULL AND outcome IS NOT NULL)";

/// What the daemon itself said of an `anonymise` stays.
const COMMANDS: &str = "
    UPDATE command SET argument = NULL, reason = NULL, detail = CASE action WHEN 'anonymise' THEN detail END
    WHERE id IN (
        SELECT c.id FROM outbox AS o CROSS JOIN command AS c INDEXED BY command_done
        WHERE o.id = ?1 AND c.reference = o.reference AND c.done_at IS NOT NULL
          AND (c.argument IS NOT NULL OR c.reason IS NOT NULL OR c.detail IS NOT NULL AND c.action <> 'anonymise'))";

/// Rows whose payment modes have a field `cardNumber`, not only the word.
const CARDS: &str = "
    SELECT id FROM outbox INDEXED BY outbox_cards
    WHERE (status = 'EMITTED' OR status = 'PAID' OR status = 'CANCELED') AND instr(authorized_payment_modes, 'cardNumber') > 0
      AND id > ?1 AND EXISTS (SELECT 1 FROM json_tree(authorized_payment_modes) WHERE key = 'cardNumber')
    ORDER BY id LIMIT ?2 + 0";

/// The daemon marks itself by another `updated_at`.
const TAKE_CARDS: &str = "
    UPDATE outbox SET
        authorized_payment_modes = (
            SELECT json_group_array(json_remove(value, '$.cardNumber')) FROM json_each(authorized_payment_modes)),
        updated_at = CASE WHEN updated_at < ?2 THEN ?2 ELSE strftime('%Y-%m-%dT%H:%M:%fZ', updated_at, '+0.001 seconds') END
    WHERE id IN (SELECT value FROM json_each(?1)) AND status IN ('EMITTED', 'PAID', 'CANCELED')
      AND authorized_payment_modes IS NOT NULL";

/// Up to `limit` rows that were finished before `before`, beyond `after`, in the order of their index.
pub(super) async fn due(
    reads: &SqlitePool,
    after: (&str, i64),
    before: Timestamp,
    limit: usize,
) -> Result<Vec<PersonalRow>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query_as(DUE).bind(after.0).bind(after.1).bind(before.to_string()).bind(limit);
    Ok(query.fetch_all(reads).await?)
}

/// The row, if it is finished.
pub(super) async fn one(reads: &SqlitePool, outbox_id: i64) -> Result<Option<PersonalRow>, StoreError> {
    Ok(sqlx::query_as(ONE).bind(outbox_id).fetch_optional(reads).await?)
}

/// `outbox.id` of up to `limit` rows beyond `after` that are at TresorPay and have a card number.
pub(super) async fn cards(reads: &SqlitePool, after: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<(i64,)> = sqlx::query_as(CARDS).bind(after).bind(limit).fetch_all(reads).await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

impl Operation for Anonymise {
    type Output = Vec<Removal>;

    async fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        _again: Option<i64>,
    ) -> Result<Vec<Removal>, sqlx::Error> {
        let mut removals = Vec::with_capacity(self.rows.len());
        for outbox_id in &self.rows {
            removals.push(within_savepoint(conn, async |conn| self.take_out(conn, *outbox_id).await).await?);
        }
        Ok(removals)
    }
}

impl Anonymise {
    async fn take_out(&self, conn: &mut SqliteConnection, outbox_id: i64) -> Result<Removal, sqlx::Error> {
        let taken = sqlx::query(TAKE_OUT)
            .bind(outbox_id)
            .bind(self.at.to_string())
            .execute(&mut *conn)
            .await?
            .rows_affected();
        if taken == 0 {
            let (anonymised,): (bool,) =
                sqlx::query_as(IS_ANONYMISED).bind(outbox_id).fetch_one(&mut *conn).await?;
            if !anonymised {
                return Ok(Removal::NotNow);
            }
        }
        if let Some(command) = self.command {
            command::end_one(conn, command, false, TAKEN_OUT, self.at).await?;
        }
        for statement in [ATTEMPTS, COMMANDS] {
            sqlx::query(statement).bind(outbox_id).execute(&mut *conn).await?;
        }
        Ok(Removal::Gone)
    }
}

impl Operation for TakeCards {
    type Output = Removal;

    async fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        _again: Option<i64>,
    ) -> Result<Removal, sqlx::Error> {
        within_savepoint(conn, async |conn| {
            sqlx::query(TAKE_CARDS).bind(json(&self.rows)?).bind(self.at.to_string()).execute(conn).await?;
            Ok(Removal::Gone)
        })
        .await
    }
}

/// A rule or a trigger of an application's that refuses a change takes it back, and nothing else of the commit.
async fn within_savepoint(
    conn: &mut SqliteConnection,
    change: impl AsyncFnOnce(&mut SqliteConnection) -> Result<Removal, sqlx::Error>,
) -> Result<Removal, sqlx::Error> {
    sqlx::query("SAVEPOINT removal").execute(&mut *conn).await?;
    let removal = match change(conn).await {
        Err(error) if is_constraint(&error) || is_schema_error(&error) => {
            sqlx::query("ROLLBACK TO removal").execute(&mut *conn).await?;
            Removal::Refused(words(&error))
        }
        changed => changed?,
    };
    sqlx::query("RELEASE removal").execute(conn).await?;
    Ok(removal)
}

/// On one line.
fn words(error: &sqlx::Error) -> String {
    let said =
        error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sqlx::Connection;

    use super::*;
    use crate::store::{Binding, migrate_only, open::daemon_options};

    /// An idle look costs the same, however many rows are finished.
    #[tokio::test]
    async fn every_look_goes_through_its_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let binding = Binding { environment: "custom".into(), api_origin: "http://127.0.0.1:1".into() };
        migrate_only(&path, &binding).await.unwrap();
        let mut conn = SqliteConnection::connect_with(&daemon_options(&path)).await.unwrap();
        for (sql, wanted) in [
            (DUE, "SEARCH o USING INDEX outbox_personal (updated_at>? AND updated_at<?)"),
            (CARDS, "SEARCH outbox USING INDEX outbox_cards (id>?)"),
            (COMMANDS, "SEARCH c USING INDEX command_done (reference=?)"),
            (ATTEMPTS, "SEARCH attempt USING INDEX attempt_outbox (outbox_id=?)"),
        ] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let rows: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(explain).fetch_all(&mut conn).await.unwrap();
            let plan = rows.into_iter().map(|row| row.3).collect::<Vec<_>>().join("\n");
            assert!(plan.contains(wanted), "{plan}");
            assert!(!plan.contains("TEMP B-TREE") && !plan.contains("SCAN outbox"), "{plan}");
        }
    }
}
