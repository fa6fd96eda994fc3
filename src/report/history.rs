//! What is read of one notice: its amount, its items by nature, and its moves in the order of their commits.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde::Deserialize;

use super::ReportError;
use crate::notice::Status;

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// `outbox.reference`.
    pub reference: String,
    /// `outbox.net_total`, XOF.
    pub net_total: i64,
    /// What the amount is made of, by nature; each nature once.
    pub lines: Vec<Line>,
    /// The structure that it was emitted for; empty: none is known.
    pub structure: String,
    /// Its moves that concern the books, oldest first.
    pub steps: Vec<Step>,
}

/// What a notice's items of one nature come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `codeNatureRecette`; empty: none was given.
    pub nature: String,
    /// XOF.
    pub amount: i128,
}

/// One row of `transition`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When it was recorded.
    pub at: DateTime<Utc>,
    /// From which status; `None`: inserted.
    pub from: Option<Status>,
    /// To which.
    pub to: Status,
    /// Of a payment: who took it, as it was known then.
    pub provider: Option<String>,
    /// Of a payment: its date, as it was known then, if it is one.
    pub paid_on: Option<NaiveDate>,
}

/// The fields of an item that the books need.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    quantity: i64,
    unit_price: i64,
    #[serde(default)]
    code_nature_recette: Option<String>,
}

impl Line {
    /// Adds up the column `outbox.items` by nature, in the order in which the natures come.
    pub fn of_items(json: &str) -> Result<Vec<Self>, serde_json::Error> {
        let items: Vec<Item> = serde_json::from_str(json)?;
        let mut lines: Vec<Self> = Vec::with_capacity(1);
        for item in items {
            // Two 64-bit numbers and at most a thousand items: 128 bits hold it.
            let amount = i128::from(item.quantity) * i128::from(item.unit_price);
            let nature = item.code_nature_recette.unwrap_or_default();
            match lines.iter_mut().find(|line| line.nature == nature) {
                Some(line) => line.amount += amount,
                None => lines.push(Self { nature, amount }),
            }
        }
        Ok(lines)
    }
}

impl History {
    /// The items come to the net total.
    pub(super) fn check(&self) -> Result<(), ReportError> {
        let items: i128 = self.lines.iter().map(|line| line.amount).sum();
        if items == i128::from(self.net_total) {
            return Ok(());
        }
        Err(ReportError::Items { reference: self.reference.clone(), items, net_total: self.net_total })
    }
}

/// The day of `pay_date` as TresorPay writes it: local time of Mali, which is UTC, or with an offset; `None`: it is no date.
pub fn day_of_payment(text: &str) -> Option<NaiveDate> {
    let text = text.trim();
    let with_offset = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.naive_utc().date());
    let local = || {
        let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f"];
        forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).map(|at| at.date())
    };
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    with_offset().or_else(local).or_else(day)
}
