//! What the report is drawn from: every notice with its moves, one after the other, out of one statement and so of one
//! moment. Nothing is kept, so that a million rows need no memory.

use futures_util::TryStreamExt;
use sqlx::{Row, sqlite::SqliteRow};

use super::Inspect;
use crate::{
    clock::Timestamp,
    notice::Status,
    report::{History, Line, Step, day_of_payment},
    store::StoreError,
};

/// By notice, and of each by commit; moves that no figure depends on are left out. A row that names no structure was sent
/// with the configured one, which its emission tells.
const HISTORIES: &str = "
    SELECT o.id, t.at, t.from_status, t.to_status, t.provider, t.pay_date, o.reference, o.net_total, o.items,
           coalesce(o.code_structure, (
               SELECT a.code_structure FROM attempt AS a INDEXED BY attempt_outbox
               WHERE a.outbox_id = o.id AND a.operation = 'emit' ORDER BY a.outcome IS 'ok' DESC, a.id LIMIT 1))
    FROM outbox AS o CROSS JOIN transition AS t INDEXED BY transition_outbox ON t.outbox_id = o.id
    WHERE t.to_status IN ('EMITTED', 'PAID', 'CANCELED', 'UNCERTAIN') OR t.from_status = 'UNCERTAIN'
    ORDER BY o.id, t.id";

impl Inspect {
    /// Hands every notice that was ever emitted, canceled or in doubt to `take`, in the order of `outbox.id`; stops at
    /// the first that it refuses.
    pub async fn histories<E: From<StoreError>>(
        &self,
        mut take: impl FnMut(&History) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error: sqlx::Error| E::from(StoreError::from(error));
        let mut rows = sqlx::query(HISTORIES).fetch(&self.pool);
        let mut current: Option<(i64, History)> = None;
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let id: i64 = row.try_get(0).map_err(failed)?;
            match &mut current {
                Some((known, history)) if *known == id => history.steps.push(step(&row, id)?),
                _ => {
                    if let Some((_, history)) = current.replace((id, begin(&row, id)?)) {
                        take(&history)?;
                    }
                }
            }
        }
        current.map_or(Ok(()), |(_, history)| take(&history))
    }
}

/// A notice with its first move.
fn begin(row: &SqliteRow, id: i64) -> Result<History, StoreError> {
    let lines = Line::of_items(row.try_get(8)?)
        .map_err(|error| StoreError::Row { id, why: format!("items are unreadable: {error}") })?;
    Ok(History {
        reference: row.try_get(6)?,
        net_total: row.try_get(7)?,
        lines,
        structure: row.try_get::<Option<String>, _>(9)?.unwrap_or_default(),
        steps: vec![step(row, id)?],
    })
}

fn step(row: &SqliteRow, id: i64) -> Result<Step, StoreError> {
    let broken = |why: String| StoreError::Row { id, why };
    let status = |text: &str| text.parse::<Status>().map_err(|error| broken(error.to_string()));
    let at: &str = row.try_get(1)?;
    let from: Option<&str> = row.try_get(2)?;
    let pay_date: Option<&str> = row.try_get(5)?;
    Ok(Step {
        at: Timestamp::parse(at)
            .ok_or_else(|| broken(format!("transition.at is no time: {at}")))?
            .to_chrono(),
        from: from.map(status).transpose()?,
        to: status(row.try_get(3)?)?,
        provider: row.try_get(4)?,
        paid_on: pay_date.and_then(day_of_payment),
    })
}
