//! Adopting notices that another system emitted: rows that are inserted and made `EMITTED` in one commit, so that nobody
//! can ever claim them. While a daemon runs it goes on with its work beside this; else the lease is held.

use std::path::{Path, PathBuf};

use sqlx::{Connection, FromRow, Row, Sqlite, SqliteConnection, query::Query, sqlite::SqliteArguments};

use super::{
    Binding, Lease, NewRow, SchemaState, StoreError,
    examine::{Examined, damage_at, look, schema, standing},
    inspect::Inspect,
    json,
    mark::{Mark, MarkState, compare},
    open::{
        MIGRATOR, admit, base_options, check_folder, close_and_leave_wal, daemon_options, is_there, prepare,
    },
};
use crate::{
    clock::Timestamp,
    notice::{Source, Status, TresorPayReference},
};

/// Tries of a commit that other programs' locks keep back; each waits for some seconds itself.
const TRIES: u32 = 6;

/// A notice that is to be adopted, as TresorPay says that it is.
#[derive(Debug, Clone)]
pub struct Adoptee {
    /// The application's columns.
    pub row: NewRow,
    /// TresorPay's reference.
    pub notice: TresorPayReference,
    /// Where the taxpayer pays.
    pub payment_url: String,
    /// When it was emitted, if that is known; else now.
    pub emitted_at: Option<Timestamp>,
    /// What it is now: `EMITTED`, `PAID` or `CANCELED`.
    pub status: Status,
    /// As TresorPay gave it.
    pub provider: Option<String>,
    /// As TresorPay gave it.
    pub pay_date: Option<String>,
    /// When a live one is first asked about.
    pub next_poll: Timestamp,
}

/// What the database says of a notice that is to be adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Neither reference is there.
    New,
    /// It is there already, with the same amount.
    AlreadyThere,
    /// It cannot be adopted: why, and what to do.
    Refused(String),
}

/// Why a batch was not adopted; nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row became impossible since it was checked.
    #[error("{why}")]
    Refused {
        /// Its place in the batch.
        place: usize,
        /// Why.
        why: String,
    },
}

impl From<sqlx::Error> for AdoptError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

#[derive(FromRow)]
struct Rows {
    place: i64,
    status: Option<String>,
    own: Option<String>,
    net_total: Option<i64>,
    other: Option<String>,
}

const KNOWN: &str = "
    SELECT j.key AS place, a.status, a.tresorpay_reference AS own, a.net_total, b.reference AS other
    FROM json_each(?1) AS j
        LEFT JOIN outbox AS a ON a.reference = j.value->>0
        LEFT JOIN outbox AS b INDEXED BY outbox_tresorpay_reference ON b.tresorpay_reference = j.value->>1";

async fn known(
    conn: impl sqlx::SqliteExecutor<'_>,
    wanted: &[(&str, &str, i64)],
) -> Result<Vec<Known>, sqlx::Error> {
    let rows: Vec<Rows> = sqlx::query_as(KNOWN).bind(json(wanted)?).fetch_all(conn).await?;
    let mut known = vec![Known::New; wanted.len()];
    for row in rows {
        let place = usize::try_from(row.place).unwrap_or(usize::MAX);
        if let (Some(known), Some((reference, notice, amount))) = (known.get_mut(place), wanted.get(place)) {
            *known = judge(&row, reference, notice, *amount);
        }
    }
    Ok(known)
}

fn judge(row: &Rows, reference: &str, notice: &str, amount: i64) -> Known {
    let why = match (row.status.as_deref(), &row.own, &row.other) {
        (Some(_), Some(own), _) if own == notice => match row.net_total {
            Some(here) if here == amount => return Known::AlreadyThere,
            here => format!("it is here already, with {} XOF and not {amount}", here.unwrap_or_default()),
        },
        (Some(status), Some(own), _) => format!("the reference is here already, {status} as {own}"),
        (Some("PENDING"), None, _) => {
            "the reference is here already, PENDING, and would be emitted: delete that row, \
                                       if nothing was ever sent for it"
                .to_owned()
        }
        (Some(status @ ("UNCERTAIN" | "REJECTED")), None, _) => format!(
            "the reference is here already, {status}: if this is its notice, `tresorpayd resolve {reference} \
             --emitted {notice}`"
        ),
        (Some(status), None, _) => format!("the reference is here already, {status}"),
        (None, _, Some(other)) => format!("the notice {notice} is here already, of the row {other}"),
        (None, _, None) => return Known::New,
    };
    Known::Refused(why)
}

impl Inspect {
    /// What is known of notices, each a reference, TresorPay's reference and an amount.
    pub async fn adoptable(&self, wanted: &[(&str, &str, i64)]) -> Result<Vec<Known>, StoreError> {
        Ok(known(self.pool(), wanted).await?)
    }
}

/// The schema's rules for what an application writes, in a database of their own that nobody else sees.
pub struct Rules {
    conn: SqliteConnection,
}

const CHECK: &str = "
    INSERT INTO outbox_rules (reference, code_client, code_structure, net_total, priority, created_at, tax_payer, items,
                              authorized_payment_modes, callback, redirect_url)
    VALUES (?1, ?2, ?3, ?4, 0, coalesce(?5, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), ?6, ?7, ?8, ?9, ?10)";

impl Rules {
    /// In memory.
    pub async fn open() -> Result<Self, StoreError> {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await?;
        MIGRATOR.run(&mut conn).await.map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Self { conn })
    }

    /// The rule that `row` breaks, in the schema's words.
    pub async fn broken(&mut self, row: &NewRow) -> Result<Option<String>, StoreError> {
        match bound(CHECK, row).execute(&mut self.conn).await {
            Ok(_) => Ok(None),
            Err(error) if super::error::is_constraint(&error) => Ok(Some(
                error.as_database_error().map_or_else(String::new, |error| error.message().to_owned()),
            )),
            Err(error) => Err(error.into()),
        }
    }
}

/// A connection that may adopt.
pub struct Adopter {
    path: PathBuf,
    conn: SqliteConnection,
    /// `None`: a daemon has it, and works on.
    lease: Option<Lease>,
}

const INSERT: &str = "
    INSERT INTO outbox (reference, code_client, code_structure, net_total, created_at, tax_payer, items,
                        authorized_payment_modes, callback, redirect_url)
    VALUES (?1, ?2, ?3, ?4, coalesce(?5, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), ?6, ?7, ?8, ?9, ?10)
    RETURNING id";

const EMITTED: &str = "
    UPDATE outbox SET status = 'EMITTED', status_source = ?2, status_reason = ?3, updated_at = ?4, emitted_at = ?5,
                      tresorpay_reference = ?6, payment_url = ?7, next_attempt_at = ?8
    WHERE id = ?1 AND status = 'PENDING'";

/// What is finished is finished: nothing of what follows a payment is done for one that another system saw.
const FINISHED: &str = "
    UPDATE outbox SET status = ?2, status_source = ?3, status_reason = ?4, updated_at = ?5, provider = ?6, pay_date = ?7,
                      paid_at = CASE ?2 WHEN 'PAID' THEN ?5 END, canceled_at = CASE ?2 WHEN 'CANCELED' THEN ?5 END,
                      next_attempt_at = NULL
    WHERE id = ?1 AND status = 'EMITTED'";

const REASON: &str = "adopted: another system emitted it, and TresorPay knows it";

impl Adopter {
    /// Opens the database at `path`, which must be there and sound, beside its daemon or in place of one.
    pub async fn open(path: &Path, mark: &Path, binding: &Binding) -> Result<Self, StoreError> {
        check_folder(path)?;
        if !is_there(path)? {
            return Err(StoreError::Missing(path.to_owned()));
        }
        match Lease::take(path) {
            Ok(lease) => {
                let examined = admit(path, Some(mark), binding).await?;
                let mut conn = prepare(&daemon_options(path), path, binding).await?;
                if examined == Examined::NotYet {
                    look(&mut conn, path, Some(mark), binding)
                        .await
                        .map_err(|error| damage_at(path, error))?;
                }
                Ok(Self { path: path.to_owned(), conn, lease: Some(lease) })
            }
            Err(StoreError::Held { .. }) => Self::beside(path, mark, binding).await,
            Err(error) => Err(error),
        }
    }

    /// Beside a daemon, which checkpoints and has looked at the file; it is looked at again all the same.
    async fn beside(path: &Path, mark: &Path, binding: &Binding) -> Result<Self, StoreError> {
        // The mark first: the daemon advances it after each claim is in the database.
        let marked = Mark::read(mark)?;
        let mut reading = SqliteConnection::connect_with(&base_options(path).read_only(true)).await?;
        look(&mut reading, path, None, binding).await.map_err(|error| damage_at(path, error))?;
        if !matches!(schema(&mut reading).await?, SchemaState::Current(_)) {
            let why = "a daemon of another version has it; stop it, or use that version".to_owned();
            return Err(StoreError::Schema { path: path.to_owned(), why });
        }
        if let MarkState::WentBack(why) = compare(mark, &marked, &standing(&mut reading).await?) {
            return Err(StoreError::WentBack { path: path.to_owned(), why });
        }
        reading.close().await?;
        let options = daemon_options(path).pragma("wal_autocheckpoint", "0");
        let conn = SqliteConnection::connect_with(&options).await?;
        Ok(Self { path: path.to_owned(), conn, lease: None })
    }

    /// Whether a daemon works on the database meanwhile.
    pub fn has_daemon(&self) -> bool {
        self.lease.is_none()
    }

    /// Adopts all of `batch` in one commit, less those that are there already: how many it adopted.
    pub async fn adopt(&mut self, batch: &[Adoptee], at: Timestamp) -> Result<usize, AdoptError> {
        let mut tries = 1;
        loop {
            match self.try_once(batch, at).await {
                Err(AdoptError::Store(error)) if error.is_locked() && tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }

    async fn try_once(&mut self, batch: &[Adoptee], at: Timestamp) -> Result<usize, AdoptError> {
        let mut tx = self.conn.begin_with("BEGIN IMMEDIATE").await?;
        let wanted: Vec<(&str, &str, i64)> = batch
            .iter()
            .map(|adoptee| {
                let row = &adoptee.row;
                let reference = row.reference.as_deref().unwrap_or_default();
                (reference, adoptee.notice.as_str(), row.net_total.unwrap_or_default())
            })
            .collect();
        let known = known(&mut *tx, &wanted).await?;
        let mut adopted = 0;
        for (place, (adoptee, known)) in batch.iter().zip(known).enumerate() {
            match known {
                Known::AlreadyThere => continue,
                Known::Refused(why) => return Err(AdoptError::Refused { place, why }),
                Known::New => {}
            }
            insert(&mut tx, adoptee, at).await.map_err(|error| match error {
                error if super::error::is_constraint(&error) => {
                    AdoptError::Refused { place, why: error.to_string() }
                }
                error => error.into(),
            })?;
            adopted += 1;
        }
        tx.commit().await?;
        Ok(adopted)
    }

    /// Ends.
    pub async fn close(self) -> Result<(), StoreError> {
        match self.lease {
            Some(_) => close_and_leave_wal(self.conn, &self.path).await,
            None => Ok(self.conn.close().await?),
        }
    }
}

/// `statement` with the application's columns, in the order of [`CHECK`] and [`INSERT`].
fn bound<'q>(statement: &'static str, row: &'q NewRow) -> Query<'q, Sqlite, SqliteArguments> {
    sqlx::query(statement)
        .bind(&row.reference)
        .bind(&row.code_client)
        .bind(&row.code_structure)
        .bind(row.net_total)
        .bind(&row.created_at)
        .bind(&row.tax_payer)
        .bind(&row.items)
        .bind(&row.authorized_payment_modes)
        .bind(&row.callback)
        .bind(&row.redirect_url)
}

/// Between the two statements the row is `PENDING`, and nobody but this transaction sees it.
async fn insert(conn: &mut SqliteConnection, adoptee: &Adoptee, at: Timestamp) -> Result<(), sqlx::Error> {
    let row = &adoptee.row;
    let id: i64 = bound(INSERT, row).fetch_one(&mut *conn).await?.try_get(0)?;
    let now = at.to_string();
    let emitted = sqlx::query(EMITTED)
        .bind(id)
        .bind(Source::Command.as_str())
        .bind(REASON)
        .bind(&now)
        .bind(adoptee.emitted_at.unwrap_or(at).to_string())
        .bind(adoptee.notice.as_str())
        .bind(&adoptee.payment_url)
        .bind(adoptee.next_poll.to_string())
        .execute(&mut *conn)
        .await?;
    let finished = match adoptee.status {
        Status::Paid | Status::Canceled => {
            let reason = format!("TresorPay says {}", adoptee.status);
            let finished = sqlx::query(FINISHED)
                .bind(id)
                .bind(adoptee.status.as_str())
                .bind(Source::Poll.as_str())
                .bind(reason)
                .bind(&now)
                .bind(&adoptee.provider)
                .bind(&adoptee.pay_date)
                .execute(conn)
                .await?;
            finished.rows_affected()
        }
        Status::Pending | Status::Emitting | Status::Uncertain | Status::Rejected | Status::Emitted => 1,
    };
    // An application's trigger moved it: then it must not be.
    if (emitted.rows_affected(), finished) == (1, 1) { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(status: Option<&str>, own: Option<&str>, other: Option<&str>) -> Rows {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Rows { place: 0, status: text(status), own: text(own), net_total: Some(5), other: text(other) }
    }

    #[test]
    fn only_what_nobody_has_is_new() {
        let said = |row: &Rows| judge(row, "A", "TP", 5);
        assert_eq!(said(&row(None, None, None)), Known::New);
        for status in ["EMITTED", "PAID", "CANCELED"] {
            assert_eq!(said(&row(Some(status), Some("TP"), Some("A"))), Known::AlreadyThere);
        }
        assert!(matches!(judge(&row(Some("PAID"), Some("TP"), Some("A")), "A", "TP", 6), Known::Refused(_)));
        for (row, words) in [
            (row(Some("EMITTED"), Some("TP2"), None), "EMITTED as TP2"),
            (row(Some("EMITTED"), Some("TP2"), Some("B")), "EMITTED as TP2"),
            (row(Some("PENDING"), None, None), "would be emitted"),
            (row(Some("UNCERTAIN"), None, None), "resolve A --emitted TP"),
            (row(Some("EMITTING"), None, None), "here already, EMITTING"),
            (row(None, None, Some("B")), "of the row B"),
        ] {
            assert!(matches!(said(&row), Known::Refused(why) if why.contains(words)), "{words}");
        }
    }
}
