//! Adds rows as an application does: its own connection without the right to touch daemon columns, one transaction, all
//! or none. The rules are the database's; what is known already is compared by meaning, not by spelling.

use std::{fmt, path::Path};

use serde_json::Value;
use sqlx::{Sqlite, SqlitePool, Transaction};

use super::{Access, Binding, StoreError, error::is_constraint, inspect::Inspect, open_existing};
use crate::notice::Status;

/// A row before the database has judged it: the application's columns, the JSON ones as JSON text. `None` is NULL, or
/// the column's default.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "the columns of the schema, which documents them")]
pub struct NewRow {
    pub reference: Option<String>,
    pub code_client: Option<String>,
    pub code_structure: Option<String>,
    pub net_total: Option<i64>,
    pub priority: Option<i64>,
    pub replaces: Option<String>,
    pub not_before: Option<String>,
    pub created_at: Option<String>,
    pub tax_payer: Option<String>,
    pub items: Option<String>,
    pub authorized_payment_modes: Option<String>,
    pub callback: Option<String>,
    pub redirect_url: Option<String>,
}

impl fmt::Debug for NewRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRow").field("reference", &self.reference).finish_non_exhaustive()
    }
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is new; its `outbox.id`.
    New(i64),
    /// It was there with the same content; its `outbox.id`.
    AlreadyThere(i64),
}

/// Why a row is not added. The transaction goes on, to find what else is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A rule of the schema, in its own words.
    #[error("{0}")]
    Rule(String),
    /// The reference is there with another content.
    #[error("the reference is already there with other content: {} differ", .0.join(", "))]
    Differs(Vec<&'static str>),
}

/// Rows that are added together.
pub struct Batch {
    tx: Transaction<'static, Sqlite>,
    pool: SqlitePool,
}

const INSERT: &str = "
    INSERT INTO outbox (reference, code_client, code_structure, net_total, priority, replaces, not_before, created_at,
                        tax_payer, items, authorized_payment_modes, callback, redirect_url)
    VALUES (?1, ?2, ?3, ?4, coalesce(?5, 0), ?6, ?7, coalesce(?8, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), ?9, ?10, ?11,
            ?12, ?13)
    RETURNING id";

const STORED: &str = "
    SELECT id, status, anonymised_at, code_client, code_structure, net_total, priority, replaces, not_before, created_at,
           tax_payer, items, authorized_payment_modes, callback, redirect_url
    FROM outbox WHERE reference = ?1";

impl Batch {
    /// Begins; the database must be there and belong to `binding`.
    pub async fn begin(path: &Path, binding: &Binding) -> Result<Self, StoreError> {
        Inspect::open(path).await?.belongs_to(binding).await?;
        let pool = open_existing(path, Access::Application).await?;
        let tx = pool.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Self { tx, pool })
    }

    /// Inserts `row`, or finds it there already: looking first spares a file that is added again all of its checks.
    pub async fn add(&mut self, row: &NewRow) -> Result<Result<Added, Refusal>, StoreError> {
        let stored: Option<Stored> =
            sqlx::query_as(STORED).bind(&row.reference).fetch_optional(&mut *self.tx).await?;
        match stored {
            None => self.insert(row).await,
            Some(stored) => Ok(match stored.differing(row) {
                differing if differing.is_empty() => Ok(Added::AlreadyThere(stored.id)),
                differing => Err(Refusal::Differs(differing)),
            }),
        }
    }

    async fn insert(&mut self, row: &NewRow) -> Result<Result<Added, Refusal>, StoreError> {
        let inserted: Result<(i64,), _> = sqlx::query_as(INSERT)
            .bind(&row.reference)
            .bind(&row.code_client)
            .bind(&row.code_structure)
            .bind(row.net_total)
            .bind(row.priority)
            .bind(&row.replaces)
            .bind(&row.not_before)
            .bind(&row.created_at)
            .bind(&row.tax_payer)
            .bind(&row.items)
            .bind(&row.authorized_payment_modes)
            .bind(&row.callback)
            .bind(&row.redirect_url)
            .fetch_one(&mut *self.tx)
            .await;
        match inserted {
            Ok((id,)) => Ok(Ok(Added::New(id))),
            Err(error) if is_constraint(&error) => {
                let words = error.as_database_error().map(|error| error.message().to_owned());
                Ok(Err(Refusal::Rule(words.unwrap_or_else(|| error.to_string()))))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes all of them stand.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.tx.commit().await?;
        self.pool.close().await;
        Ok(())
    }

    /// Takes all of them back.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.tx.rollback().await?;
        self.pool.close().await;
        Ok(())
    }
}

/// The row that has the reference.
#[derive(sqlx::FromRow)]
struct Stored {
    id: i64,
    status: String,
    anonymised_at: Option<String>,
    code_client: Option<String>,
    code_structure: Option<String>,
    net_total: i64,
    priority: i64,
    replaces: Option<String>,
    not_before: Option<String>,
    created_at: String,
    tax_payer: String,
    items: String,
    authorized_payment_modes: Option<String>,
    callback: Option<String>,
    redirect_url: Option<String>,
}

impl Stored {
    /// The columns in which `row` says something else. What retention took out cannot be compared any more.
    fn differing(&self, row: &NewRow) -> Vec<&'static str> {
        let whole = self.anonymised_at.is_none();
        let created_at = row.created_at.as_deref().unwrap_or(&self.created_at);
        let columns = [
            ("code_client", self.code_client == row.code_client),
            ("code_structure", self.code_structure == row.code_structure),
            ("net_total", Some(self.net_total) == row.net_total),
            ("priority", self.priority == row.priority.unwrap_or(0)),
            ("replaces", self.replaces == row.replaces),
            ("not_before", same_time(self.not_before.as_deref(), row.not_before.as_deref())),
            ("created_at", same_time(Some(&self.created_at), Some(created_at))),
            ("tax_payer", !whole || same_json(Some(&self.tax_payer), row.tax_payer.as_deref(), &[])),
            (
                "items",
                same_json(Some(&self.items), row.items.as_deref(), if whole { &[] } else { &ITEM_TEXTS }),
            ),
            ("authorized_payment_modes", !whole || self.same_modes(row.authorized_payment_modes.as_deref())),
            ("callback", !whole || self.callback == row.callback),
            ("redirect_url", !whole || self.redirect_url == row.redirect_url),
        ];
        columns.into_iter().filter(|(_, same)| !same).map(|(column, _)| column).collect()
    }

    /// Card numbers leave a row once it is emitted.
    fn same_modes(&self, given: Option<&str>) -> bool {
        let stored = self.authorized_payment_modes.as_deref();
        let emitted = [Status::Emitted, Status::Paid, Status::Canceled].map(Status::as_str);
        same_json(stored, given, &[])
            || emitted.contains(&self.status.as_str()) && same_json(stored, given, &["cardNumber"])
    }
}

/// Fields of an item that retention takes out.
const ITEM_TEXTS: [&str; 2] = ["name", "description"];

/// The same time, with or without milliseconds.
fn same_time(one: Option<&str>, other: Option<&str>) -> bool {
    let whole =
        |text: &str| text.strip_suffix(".000Z").map_or(text.to_owned(), |seconds| format!("{seconds}Z"));
    one.map(whole) == other.map(whole)
}

/// The same values, however spelt; a null is an absent field. Fields named in `without` are passed over in `given`.
fn same_json(stored: Option<&str>, given: Option<&str>, without: &[&str]) -> bool {
    let read = |text: Option<&str>| text.map(serde_json::from_str::<Value>).transpose();
    match (read(stored), read(given)) {
        (Ok(stored), Ok(given)) => {
            stored.map(|value| bare(value, &[])) == given.map(|value| bare(value, without))
        }
        _ => stored == given,
    }
}

fn bare(value: Value, without: &[&str]) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields
                .into_iter()
                .filter(|(name, value)| !value.is_null() && !without.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name, bare(value, without))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(|value| bare(value, without)).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::{same_json, same_time};

    #[test]
    fn json_is_compared_by_value() {
        let same = |one, other| same_json(Some(one), Some(other), &[]);
        assert!(same(r#"{"name":"A","nif":null}"#, "{ \"name\" : \"\\u0041\" }"));
        assert!(same(r#"[{"quantity":1,"unitPrice":5}]"#, r#"[{"unitPrice":5,"quantity":1}]"#));
        assert!(!same(r#"{"name":"A"}"#, r#"{"name":"B"}"#));
        assert!(!same(r#"[{"quantity":1},{"quantity":2}]"#, r#"[{"quantity":2},{"quantity":1}]"#));
        assert!(!same_json(Some("[]"), None, &[]));
        assert!(same_json(
            Some(r#"[{"amount":1}]"#),
            Some(r#"[{"amount":1,"cardNumber":"4"}]"#),
            &["cardNumber"]
        ));
        assert!(!same_json(
            Some(r#"[{"amount":1}]"#),
            Some(r#"[{"amount":2,"cardNumber":"4"}]"#),
            &["cardNumber"]
        ));
    }

    #[test]
    fn milliseconds_may_be_left_out() {
        assert!(same_time(Some("2026-11-24T09:48:00Z"), Some("2026-11-24T09:48:00.000Z")));
        assert!(!same_time(Some("2026-11-24T09:48:00Z"), Some("2026-11-24T09:48:00.001Z")));
        assert!(!same_time(Some("2026-11-24T09:48:00Z"), None));
    }
}
