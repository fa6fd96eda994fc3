//! A database with years of finished notices, made fast: the triggers step aside, the rows are written by a few
//! statements, and the triggers come back word for word. It is kept between runs, under the fingerprint of its schema.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::{
    bench::{self, Bench},
    daemon::{Installation, Polling},
    outbox,
    peer::Addresses,
};

/// One notice every half minute, from the first of January 2025.
const FIRST_SECOND: u32 = 1_735_689_600;
const SECONDS_APART: u32 = 30;

/// Numbers 1 to `?1` as rows of `outbox`: mostly paid, some canceled or rejected.
const OUTBOX: &str = r#"
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1),
story (n, status, created) AS (
    SELECT n, CASE WHEN n % 20 = 0 THEN 'CANCELED' WHEN n % 50 = 1 THEN 'REJECTED' ELSE 'PAID' END, ?2 + n * ?3
    FROM numbers),
times (n, status, created, sent, ended) AS (
    SELECT n, status, strftime('%Y-%m-%dT%H:%M:%fZ', created, 'unixepoch'),
        strftime('%Y-%m-%dT%H:%M:%fZ', created + 1, 'unixepoch'),
        strftime('%Y-%m-%dT%H:%M:%fZ', CASE status WHEN 'REJECTED' THEN created + 1 ELSE created + 3600 END, 'unixepoch')
    FROM story)
INSERT INTO outbox (reference, net_total, created_at, status, status_source, status_reason, updated_at, attempts,
    tresorpay_reference, payment_url, provider, pay_date, emitted_at, paid_at, canceled_at, last_error, tax_payer, items)
SELECT printf('OLD-2025-%08d', n), 6000, created, status,
    CASE status WHEN 'REJECTED' THEN 'emit' ELSE 'poll' END,
    CASE status WHEN 'REJECTED' THEN 'refused: La structure est inconnue' ELSE 'TresorPay says ' || status END,
    ended, 1,
    CASE WHEN status <> 'REJECTED' THEN printf('TP2025.%08d.AR', n) END,
    CASE WHEN status <> 'REJECTED' THEN printf('https://tresorpay.ml/public/init-paiement?id=TP2025.%08d.AR', n) END,
    CASE status WHEN 'PAID' THEN 'ORANGE_MONEY' END,
    CASE status WHEN 'PAID' THEN substr(ended, 1, 19) END,
    CASE WHEN status <> 'REJECTED' THEN sent END,
    CASE status WHEN 'PAID' THEN ended END,
    CASE status WHEN 'CANCELED' THEN ended END,
    CASE status WHEN 'REJECTED' THEN 'refused: La structure est inconnue' END,
    printf('{"id":"P%09d","name":"Coulibaly","firstName":"Aïssata","address":"Rue 224, Hippodrome, Bamako","phoneNumber":"+223 7612 %04d","email":"payer%d@example.ml"}',
        n, n % 10000, n),
    '[{"name":"Carte d''identité nationale","quantity":1,"unitPrice":5000,"codeNatureRecette":"71531"},{"name":"Timbre fiscal","quantity":2,"unitPrice":500,"codeNatureRecette":"71211"}]'
FROM times ORDER BY n"#;

/// The history of each row, in the order in which it happened to it.
const TRANSITION: &str = "
INSERT INTO transition (outbox_id, at, from_status, to_status, source, reason)
SELECT id, CASE step WHEN 1 THEN created_at WHEN 2 THEN coalesce(emitted_at, updated_at)
        WHEN 3 THEN coalesce(emitted_at, updated_at) ELSE updated_at END,
    CASE step WHEN 2 THEN 'PENDING' WHEN 3 THEN 'EMITTING' WHEN 4 THEN 'EMITTED' END,
    CASE step WHEN 1 THEN 'PENDING' WHEN 2 THEN 'EMITTING' WHEN 3 THEN
        CASE status WHEN 'REJECTED' THEN 'REJECTED' ELSE 'EMITTED' END ELSE status END,
    CASE step WHEN 1 THEN 'application' WHEN 4 THEN 'poll' ELSE 'emit' END,
    CASE step WHEN 3 THEN CASE status WHEN 'REJECTED' THEN status_reason ELSE 'accepted as ' || tresorpay_reference END
        WHEN 4 THEN status_reason END
FROM outbox CROSS JOIN (SELECT 1 AS step UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4)
WHERE step < 4 OR status <> 'REJECTED' ORDER BY id, step";

/// The one request of each row.
const ATTEMPT: &str = "
INSERT INTO attempt (outbox_id, operation, code_client, code_structure, base_url, started_at, duration_ms, phase,
    http_status, outcome, tresorpay_reference, detail)
SELECT id, 'emit', 'APP-BENCH', 'STR-BENCH', 'https://tresorpay.ml/api/public/v1', coalesce(emitted_at, updated_at),
    180, 'answered', CASE status WHEN 'REJECTED' THEN 400 ELSE 200 END,
    CASE status WHEN 'REJECTED' THEN 'refused' ELSE 'ok' END, tresorpay_reference,
    CASE status WHEN 'REJECTED' THEN 'La structure est inconnue' END
FROM outbox ORDER BY id";

/// Rows whose history does not end where they are.
const BROKEN_HISTORIES: &str = "
    SELECT count(*) FROM outbox WHERE status IS NOT
        (SELECT to_status FROM transition WHERE outbox_id = outbox.id ORDER BY transition.id DESC LIMIT 1)";

/// Puts a copy of the archive where `installation` has its database, bound to its peer; makes it if there is none yet.
pub(crate) async fn install(
    bench: &Bench,
    installation: &Installation,
    peer: &Addresses,
    rows: u32,
) -> anyhow::Result<()> {
    installation.create_database()?;
    let database = installation.database();
    let mut conn = outbox::connect(&database).await?;
    let schema = schema(&mut conn).await?;
    conn.close().await?;

    let archive = kept_at(&schema, rows);
    if !archive.exists() {
        make(bench, peer, &archive, rows, &schema).await?;
    }
    std::fs::copy(&archive, &database)?;
    std::fs::copy(mark(&archive), mark(&database))?;
    bind(&database, peer, &schema).await
}

fn kept_at(schema: &[String], rows: u32) -> PathBuf {
    let mut fingerprint = DefaultHasher::new();
    (schema, OUTBOX, TRANSITION, ATTEMPT).hash(&mut fingerprint);
    Path::new(bench::FOLDER).join(format!("end_to_end-archive-{rows}-{:016x}.db", fingerprint.finish()))
}

fn mark(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".mark");
    name.into()
}

/// The text of every table, index, trigger and view.
async fn schema(conn: &mut SqliteConnection) -> anyhow::Result<Vec<String>> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_master ORDER BY 1",
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

async fn make(
    bench: &Bench,
    peer: &Addresses,
    archive: &Path,
    rows: u32,
    wanted: &[String],
) -> anyhow::Result<()> {
    println!("  making a database with {rows} finished rows, once ...");
    let folder = bench.folder()?;
    let installation = Installation::new(folder.path(), peer, Polling::Never)?;
    installation.create_database()?;
    let database = installation.database();
    let mut conn = outbox::connect(&database).await?;
    for pragma in ["journal_mode = OFF", "synchronous = OFF", "cache_size = -262144"] {
        sqlx::query(AssertSqlSafe(format!("PRAGMA {pragma}"))).execute(&mut conn).await?;
    }
    let triggers: Vec<(String, String)> =
        sqlx::query_as("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid")
            .fetch_all(&mut conn)
            .await?;
    for (name, _) in &triggers {
        sqlx::query(AssertSqlSafe(format!("DROP TRIGGER {name}"))).execute(&mut conn).await?;
    }
    sqlx::query(OUTBOX).bind(rows).bind(FIRST_SECOND).bind(SECONDS_APART).execute(&mut conn).await?;
    sqlx::query(TRANSITION).execute(&mut conn).await?;
    sqlx::query(ATTEMPT).execute(&mut conn).await?;
    for (_, sql) in triggers {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut conn).await?;
    }
    sqlx::query("PRAGMA journal_mode = WAL").execute(&mut conn).await?;
    ensure!(schema(&mut conn).await? == wanted, "the schema is not what it was");
    let broken: (i64,) = sqlx::query_as(BROKEN_HISTORIES).fetch_one(&mut conn).await?;
    ensure!(broken.0 == 0, "{} rows whose history does not end where they are", broken.0);
    let check: (String,) = sqlx::query_as("PRAGMA quick_check(1)").fetch_one(&mut conn).await?;
    ensure!(check.0 == "ok", "quick_check: {}", check.0);
    conn.close().await?;
    std::fs::rename(mark(&database), mark(archive))?;
    std::fs::rename(&database, archive).context("keeping the archive")
}

/// A database is bound to its first origin, and the peer has another port each time.
async fn bind(database: &Path, peer: &Addresses, wanted: &[String]) -> anyhow::Result<()> {
    let mut conn = outbox::connect(database).await?;
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    let triggers: Vec<(String, String)> =
        sqlx::query_as("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'meta'")
            .fetch_all(&mut *tx)
            .await?;
    for (name, _) in &triggers {
        sqlx::query(AssertSqlSafe(format!("DROP TRIGGER {name}"))).execute(&mut *tx).await?;
    }
    sqlx::query("UPDATE meta SET value = ?1 WHERE key = 'api_origin'")
        .bind(&peer.origin)
        .execute(&mut *tx)
        .await?;
    for (_, sql) in triggers {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    ensure!(schema(&mut conn).await? == wanted, "the schema is not what it was");
    Ok(conn.close().await?)
}
