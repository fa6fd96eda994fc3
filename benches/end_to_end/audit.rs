//! Checks that a measurement measured the real thing: every row's story is whole, and all the books agree.

use std::{collections::HashMap, path::Path};

use anyhow::{bail, ensure};
use sqlx::{Connection, SqliteConnection};
use tresorpayd::simulator::{Ledger, Notice};

use super::outbox;

/// What became of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Story {
    /// Emitted.
    Emitted,
    /// Emitted, then paid.
    Paid,
}

impl Story {
    fn status(self) -> &'static str {
        match self {
            Self::Emitted => "EMITTED",
            Self::Paid => "PAID",
        }
    }

    fn history(self) -> &'static str {
        match self {
            Self::Emitted => ">PENDING by application,PENDING>EMITTING by emit,EMITTING>EMITTED by emit",
            Self::Paid => {
                ">PENDING by application,PENDING>EMITTING by emit,EMITTING>EMITTED by emit,EMITTED>PAID by poll"
            }
        }
    }
}

/// Rows whose attempt, the only one, is complete.
const COMPLETE_ATTEMPTS: &str = "
    SELECT count(DISTINCT outbox_id) FROM attempt
    WHERE operation = 'emit' AND outcome = 'ok' AND phase = 'answered' AND http_status = 200 AND duration_ms >= 0
      AND tresorpay_reference = (SELECT tresorpay_reference FROM outbox WHERE id = outbox_id)";

/// Rows whose history is, move by move, the one given.
const COMPLETE_HISTORIES: &str = "
    SELECT count(*) FROM (
        SELECT group_concat(coalesce(from_status, '') || '>' || to_status || ' by ' || source) AS history
        FROM (SELECT * FROM transition ORDER BY outbox_id, id) GROUP BY outbox_id)
    WHERE history = ?1";

/// Checks that all of exactly `rows` rows have this story, here and at the peer; says what is wrong.
pub(crate) async fn audit(database: &Path, ledger: &Ledger, rows: u32, story: Story) -> anyhow::Result<()> {
    let mut conn = outbox::connect(database).await?;
    let expected = i64::from(rows);
    for (what, sql, parameter) in [
        ("rows", "SELECT count(*) FROM outbox", ""),
        ("rows of this status", "SELECT count(*) FROM outbox WHERE status = ?1", story.status()),
        ("attempts", "SELECT count(*) FROM attempt", ""),
        ("complete attempts", COMPLETE_ATTEMPTS, ""),
        ("complete histories", COMPLETE_HISTORIES, story.history()),
    ] {
        let found: (i64,) = sqlx::query_as(sql).bind(parameter).fetch_one(&mut conn).await?;
        ensure!(found.0 == expected, "{what}: {} instead of {expected}", found.0);
    }
    let broken: (String,) = sqlx::query_as("PRAGMA quick_check(1)").fetch_one(&mut conn).await?;
    ensure!(broken.0 == "ok", "quick_check: {}", broken.0);
    compare(&mut conn, ledger).await?;
    Ok(conn.close().await?)
}

/// Each row is one notice at the peer, and there is no other.
async fn compare(conn: &mut SqliteConnection, ledger: &Ledger) -> anyhow::Result<()> {
    let rows: Vec<(String, String, i64, String)> =
        sqlx::query_as("SELECT reference, tresorpay_reference, net_total, status FROM outbox")
            .fetch_all(conn)
            .await?;
    ensure!(ledger.notices.len() == rows.len(), "the peer has {} notices", ledger.notices.len());
    let known: HashMap<&str, &Notice> =
        ledger.notices.iter().map(|notice| (notice.reference.as_str(), notice)).collect();
    for (reference, tresorpay_reference, net_total, status) in rows {
        match known.get(tresorpay_reference.as_str()) {
            Some(notice)
                if notice.client_reference == reference
                    && notice.net_total == net_total
                    && notice.status.as_str() == status => {}
            found => bail!("{reference} should be {tresorpay_reference}, where the peer has {found:?}"),
        }
    }
    Ok(())
}

/// The bare client must have asked for just what the daemon asked for, whatever the order.
pub(crate) fn same_requests(one: &Ledger, other: &Ledger) -> anyhow::Result<()> {
    let by_reference = |ledger: &Ledger| -> HashMap<String, Notice> {
        ledger.notices.iter().map(|notice| (notice.client_reference.clone(), notice.clone())).collect()
    };
    let (one, other) = (by_reference(one), by_reference(other));
    ensure!(one.len() == other.len(), "the bare client sent {} notices, not {}", one.len(), other.len());
    for (reference, notice) in one {
        let same = other.get(&reference).is_some_and(|other| {
            (&notice.code_client, &notice.code_structure, notice.net_total)
                == (&other.code_client, &other.code_structure, other.net_total)
                && notice.tax_payer == other.tax_payer
                && notice.items == other.items
                && notice.callback == other.callback
                && notice.redirect_url == other.redirect_url
        });
        ensure!(same, "the bare client did not send what the daemon sent for {reference}");
    }
    Ok(())
}
