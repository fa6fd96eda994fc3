//! The report itself, as every form of it is printed from.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use super::{By, Figures, Period, Sum};

/// The books of a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `sandbox`, `production` or `custom`.
    pub environment: String,
    /// Which days.
    pub period: Period,
    /// When it was made, as long as it may still change; `None`: the period is closed.
    pub provisional_at: Option<DateTime<Utc>>,
    /// The day at whose end balances and ages are taken: the last day, or the day on which it was made.
    pub balance_on: NaiveDate,
    /// What the period began with.
    pub opening: Balance,
    /// The whole period.
    pub total: Figures,
    /// Canceled within the period before TresorPay was known to have it; in no other figure.
    pub withdrawn: Sum,
    /// Days on which something was booked, in order; balances at the end of the day.
    pub days: Vec<Entry>,
    /// By who took the payment. What has no payment stands under no provider.
    pub providers: Vec<Entry>,
    /// By the items' nature: amounts are the items', a notice counts once for each of its natures.
    pub natures: Vec<Entry>,
    /// By structure.
    pub structures: Vec<Entry>,
    /// What is outstanding at the end, by its age since emission.
    pub ageing: Vec<(Age, Sum)>,
    /// Corrections within the period, by kind.
    pub drift: Vec<(CorrectionKind, Sum)>,
    /// The corrections, as they were recorded; the first of them.
    pub corrections: Vec<Correction>,
    /// Corrections that are counted and not listed.
    pub corrections_left_out: u64,
}

/// What is open at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Emitted, and neither paid nor canceled.
    pub outstanding: Sum,
    /// Nobody knows.
    pub in_doubt: Sum,
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `2026-10-31`, a provider's, nature's or structure's code; empty: none is known.
    pub key: String,
    /// Its figures.
    pub figures: Figures,
}

/// How old what is outstanding is: days since it was emitted, from and to; `None`: and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Days, at least.
    pub from: i64,
    /// Days, at most.
    pub to: Option<i64>,
}

impl Age {
    /// A week, a month, a quarter, half a year, a year, and more.
    pub const ALL: [Self; 6] = [
        Self { from: 0, to: Some(7) },
        Self { from: 8, to: Some(30) },
        Self { from: 31, to: Some(90) },
        Self { from: 91, to: Some(180) },
        Self { from: 181, to: Some(365) },
        Self { from: 366, to: None },
    ];
}

/// Why a correction was booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionKind {
    /// A payment of a day that was closed, or from before the notice was known to be emitted.
    Late,
    /// Paid, and canceled by now.
    Reversed,
    /// Canceled, and paid after all.
    Revived,
    /// Another provider or date.
    Changed,
}

impl CorrectionKind {
    /// In the order in which they are told.
    pub const ALL: [Self; 4] = [Self::Late, Self::Reversed, Self::Revived, Self::Changed];
}

/// One correction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Correction {
    /// When it was recorded; this is the day on which it is booked.
    pub recorded_at: DateTime<Utc>,
    /// Why.
    pub kind: CorrectionKind,
    /// `outbox.reference`.
    pub reference: String,
    /// XOF; negative: taken away.
    pub amount: i128,
    /// Who took the payment; empty: nobody said.
    pub provider: String,
    /// The payment's own date.
    pub concerns: NaiveDate,
}

impl Report {
    /// The rows of a table.
    pub fn table(&self, by: By) -> &[Entry] {
        match by {
            By::Day => &self.days,
            By::Provider => &self.providers,
            By::Nature => &self.natures,
            By::Structure => &self.structures,
        }
    }
}
