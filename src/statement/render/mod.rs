//! What people read of a comparison. The words are here once, in both languages; the command line prints them as text, and
//! files have them as CSV for a spreadsheet or as one page of HTML to keep.

pub mod csv; // every difference, one a line
pub mod html; // one page, readable on paper
mod words; // in both languages

use chrono::{DateTime, Utc};

use super::{
    DateForm, Result, Understood,
    compare::{Finding, Kind, Sum},
};
use crate::lang::Lang;

/// Everything that is told of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The statement's file, as it was named.
    pub file: &'a str,
    /// `sandbox` or `production`.
    pub environment: &'a str,
    /// What was understood of it.
    pub understood: &'a Understood,
    /// The order in which its dates are written, and whether others are written otherwise.
    pub form: Option<(DateForm, bool)>,
    /// The user said which days.
    pub period_given: bool,
    /// Dates that are apart by no more than this agree.
    pub days: u64,
    /// What came of it.
    pub result: &'a Result,
    /// When.
    pub at: DateTime<Utc>,
}

/// A step from the outbox's sum to the statement's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is.
    pub label: &'static str,
    /// How many.
    pub count: u64,
    /// In XOF, with its sign.
    pub amount: i128,
    /// The first and the last: a sum, not a step.
    pub is_sum: bool,
}

impl Report<'_> {
    /// One line: whether they agree.
    pub fn verdict(&self, lang: Lang) -> String {
        words::verdict(lang, self.result)
    }

    /// What was understood, before any result: names and values.
    pub fn understanding(&self, lang: Lang) -> Vec<(&'static str, String)> {
        words::understanding(lang, self)
    }

    /// From the outbox's sum to the statement's; steps that come to nothing are left out.
    pub fn bridge(&self, lang: Lang) -> Vec<Step> {
        words::bridge(lang, &self.result.bridge)
    }

    /// Lines that agree with their row.
    pub fn matched(&self) -> Sum {
        self.result.matched
    }

    /// The kinds of which there are any, with their number.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        self.result.counts.iter().filter(|(_, sum)| sum.count > 0).map(|(kind, sum)| (*kind, sum.count))
    }

    /// The differences of one kind that were kept.
    pub fn findings(&self, kind: Kind) -> impl Iterator<Item = &Finding> {
        self.result.findings.iter().filter(move |finding| finding.kind == kind)
    }
}

impl Kind {
    /// As a heading.
    pub const fn title(self, lang: Lang) -> &'static str {
        words::title(lang, self)
    }

    /// What it means and what to do.
    pub const fn meaning(self, lang: Lang) -> &'static str {
        words::meaning(lang, self)
    }
}

impl Finding {
    /// TresorPay's reference, or the application's own, or what the statement says.
    pub fn name(&self) -> &str {
        let row = self.row.as_ref().map(|row| row.tresorpay_reference.as_ref().unwrap_or(&row.reference));
        self.reference.as_ref().or(row).map_or("", String::as_str)
    }

    /// The application's own reference, where a row is known.
    pub fn own_reference(&self) -> &str {
        self.row.as_ref().map_or("", |row| &row.reference)
    }

    /// What no other column says: the first of two lines, why a line cannot be read.
    pub fn detail(&self, lang: Lang) -> String {
        words::detail(lang, self)
    }
}
