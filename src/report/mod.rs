//! The accountant's report: the books of a period, drawn from the history of the notices. Pure: no SQL, no clock, no
//! files. A [`History`] becomes bookings (`journal`), the [`Ledger`] adds them up, the [`Report`] is what is printed.
//! The rules of the bookkeeping are in docs/report.md.

mod csv; // for spreadsheets
mod figures; // counts and amounts, exact
mod history; // what is read of one notice
mod html; // for paper
mod journal; // one notice's history -> its bookings
mod json; // for programs
mod ledger; // adds bookings up
mod model; // the report itself
mod period; // days, and when they are closed
mod sections; // the parts of the page
#[cfg(test)]
mod tests;
mod text; // for a terminal
mod words; // what is said in both languages

pub use figures::{Figures, Sum};
pub use history::{History, Line, Step, day_of_payment};
pub use ledger::Ledger;
pub use model::{Age, Balance, Correction, CorrectionKind, Entry, Report};
pub use period::{CLOSING_DAYS, Period, PeriodError};

use crate::lang::Lang;

/// What the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum By {
    /// The days of the period.
    Day,
    /// Who took the payment.
    Provider,
    /// The budget nomenclature code of the items (`codeNatureRecette`).
    Nature,
    /// The administration (`codeStructure`).
    Structure,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A total that no program could read back.
    #[error(
        "{what} come to more than {} XOF, the largest amount there is; report a shorter period",
        i64::MAX
    )]
    Overflow {
        /// Which figures.
        what: &'static str,
    },
    /// The schema's own rule is broken.
    #[error(
        "the items of {reference} come to {items} XOF and its net_total is {net_total}: the database was changed past its \
         triggers; no report is made of it"
    )]
    Items {
        /// `outbox.reference`.
        reference: String,
        /// Sum of quantity times unitPrice.
        items: i128,
        /// `outbox.net_total`.
        net_total: i64,
    },
    /// A chart could not be drawn.
    #[error(transparent)]
    Chart(#[from] crate::chart::ChartError),
    /// A table could not be written.
    #[error("CSV: {0}")]
    Csv(String),
    /// JSON could not be written.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Report {
    /// Plain text with a table for each of `by`.
    pub fn to_text(&self, by: &[By], lang: Lang) -> String {
        text::render(self, by, lang)
    }

    /// One table for a spreadsheet: in French semicolons and a byte-order mark.
    pub fn to_csv(&self, by: By, lang: Lang) -> Result<String, ReportError> {
        csv::render(self, by, lang)
    }

    /// One JSON document, in no language.
    pub fn to_json(&self, by: &[By]) -> Result<String, ReportError> {
        json::render(self, by)
    }

    /// One page that needs nothing else, for a screen and for A4 paper.
    pub fn to_html(&self, by: &[By], lang: Lang) -> Result<String, ReportError> {
        html::render(self, by, lang)
    }
}
