//! Commands as the command line asks them: inserted through an application's connection, all in one transaction, and
//! looked at until they end. The daemon alone carries them out.

use std::path::Path;

use serde::Serialize;
use sqlx::SqlitePool;

use super::{Access, Binding, StoreError, inspect::Inspect, json, open_existing};
use crate::notice::{Action, Status};

/// What is asked, of each reference alike.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What.
    pub action: Action,
    /// The TresorPay reference, for [`Action::ResolveEmitted`].
    pub argument: Option<&'a str>,
    /// Who.
    pub by: &'a str,
    /// Why.
    pub reason: Option<&'a str>,
}

/// A command as far as it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the schema, which documents them")]
pub struct Asked {
    pub id: i64,
    pub reference: Option<String>,
    pub action: String,
    pub outcome: Option<String>,
    pub detail: Option<String>,
}

/// A row that commands may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Candidate {
    /// `outbox.reference`.
    pub reference: String,
    /// Whole XOF.
    pub net_total: i64,
}

/// Asks.
pub struct Asker {
    pool: SqlitePool,
    inspect: Inspect,
}

const INSERT: &str = "
    INSERT INTO command (reference, action, argument, requested_by, reason) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id";

const LOOK: &str = "
    SELECT id, reference, action, outcome, detail FROM command WHERE id IN (SELECT value FROM json_each(?1))
    ORDER BY id";

const UNKNOWN: &str = "
    SELECT r.value FROM json_each(?1) AS r WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE reference = r.value) LIMIT 1";

impl Asker {
    /// Opens the database, which must be there and belong to `binding`.
    pub async fn open(path: &Path, binding: &Binding) -> Result<Self, StoreError> {
        let inspect = Inspect::open(path).await?;
        inspect.belongs_to(binding).await?;
        Ok(Self { pool: open_existing(path, Access::Application).await?, inspect })
    }

    /// The first of `references` that no row has.
    pub async fn unknown(&self, references: &[String]) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> =
            sqlx::query_as(UNKNOWN).bind(json(references)?).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.0))
    }

    /// Every row in `status`, oldest first.
    pub async fn in_status(&self, status: Status) -> Result<Vec<Candidate>, StoreError> {
        self.inspect.candidates(status).await
    }

    /// Asks `request` of each reference, or of none where it is about no row; the ids.
    pub async fn ask(
        &self,
        request: &Request<'_>,
        references: &[Option<String>],
    ) -> Result<Vec<i64>, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let mut ids = Vec::with_capacity(references.len());
        for reference in references {
            let row: (i64,) = sqlx::query_as(INSERT)
                .bind(reference)
                .bind(request.action.as_str())
                .bind(request.argument)
                .bind(request.by)
                .bind(request.reason)
                .fetch_one(&mut *tx)
                .await?;
            ids.push(row.0);
        }
        tx.commit().await?;
        Ok(ids)
    }

    /// How far the commands `ids` got.
    pub async fn look(&self, ids: &[i64]) -> Result<Vec<Asked>, StoreError> {
        Ok(sqlx::query_as(LOOK).bind(json(ids)?).fetch_all(&self.pool).await?)
    }
}
