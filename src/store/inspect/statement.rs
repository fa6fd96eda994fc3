//! What a statement is compared with: rows by either reference, and every payment.

use chrono::NaiveDate;
use sqlx::FromRow;

use super::Inspect;
use crate::{
    clock::Timestamp,
    notice::Status,
    statement::{Payment, parse_date},
    store::{StoreError, json},
};

/// Payments read at once: no snapshot is held for longer.
const PAGE: i64 = 5_000;

#[derive(FromRow)]
struct Stored {
    id: i64,
    reference: String,
    tresorpay_reference: Option<String>,
    status: String,
    net_total: i64,
    pay_date: Option<String>,
    paid_at: Option<String>,
}

#[derive(FromRow)]
struct Named {
    place: i64,
    by_tresorpay: bool,
    #[sqlx(flatten)]
    row: Stored,
}

const NAMED: &str = "
    SELECT j.key AS place, true AS by_tresorpay, o.id, o.reference, o.tresorpay_reference, o.status, o.net_total,
           o.pay_date, o.paid_at
    FROM json_each(?1) AS j CROSS JOIN outbox AS o INDEXED BY outbox_tresorpay_reference ON o.tresorpay_reference = j.value
    UNION ALL
    SELECT j.key, false, o.id, o.reference, o.tresorpay_reference, o.status, o.net_total, o.pay_date, o.paid_at
    FROM json_each(?1) AS j CROSS JOIN outbox AS o ON o.reference = j.value";

/// By id, not by an index on the status: every payment is looked at, and ids make pages of equal cost.
const PAID: &str = "
    SELECT id, reference, tresorpay_reference, status, net_total, pay_date, paid_at
    FROM outbox WHERE id > ?1 AND +status = 'PAID' ORDER BY id LIMIT ?2 + 0";

impl Inspect {
    /// The rows that `references` name, each at its reference's place: whether by TresorPay's reference, which goes
    /// before, or by the application's own.
    pub async fn named(&self, references: &[&str]) -> Result<Vec<Option<(Payment, bool)>>, StoreError> {
        let rows: Vec<Named> = sqlx::query_as(NAMED).bind(json(references)?).fetch_all(&self.pool).await?;
        let mut found: Vec<Option<(Payment, bool)>> = vec![None; references.len()];
        for named in rows {
            let place = usize::try_from(named.place).ok().and_then(|place| found.get_mut(place));
            if let Some(found) = place.filter(|found| named.by_tresorpay || found.is_none()) {
                *found = Some((payment(named.row)?, named.by_tresorpay));
            }
        }
        Ok(found)
    }

    /// Payments with a greater id, oldest first; fewer than the last page has: there are no more.
    pub async fn paid_after(&self, id: i64) -> Result<Vec<Payment>, StoreError> {
        let rows: Vec<Stored> = sqlx::query_as(PAID).bind(id).bind(PAGE).fetch_all(&self.pool).await?;
        rows.into_iter().map(payment).collect()
    }
}

fn payment(row: Stored) -> Result<Payment, StoreError> {
    let parsed = row.status.parse::<Status>();
    let status = parsed.map_err(|error| StoreError::Row { id: row.id, why: error.to_string() })?;
    let by_tresorpay = row.pay_date.as_deref().and_then(|text| parse_date(text).ok()).map(|(day, _)| day);
    let paid_on = by_tresorpay.or_else(|| day(row.paid_at.as_deref()?)).filter(|_| status == Status::Paid);
    Ok(Payment {
        id: row.id,
        reference: row.reference,
        tresorpay_reference: row.tresorpay_reference,
        status,
        net_total: row.net_total,
        paid_on,
    })
}

fn day(text: &str) -> Option<NaiveDate> {
    Some(Timestamp::parse(text)?.to_chrono().date_naive())
}
