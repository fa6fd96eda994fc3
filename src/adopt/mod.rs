//! Notices that an older system emitted, taken over: read from its file, checked by the database's rules, by what is here
//! already and by TresorPay, and only then written.
//!
//! `file` (CSV or JSON → entries and bad lines) → `ask` (what TresorPay says) → the command line → `store`.

pub mod ask; // what TresorPay says of each
mod csv; // a line -> an entry
pub mod file; // either form
mod json; // an object -> an entry

use std::fmt;

use crate::{clock::Timestamp, notice::TresorPayReference, store::NewRow};

/// A notice of the file that can be read.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it stands in the file.
    pub line: u64,
    /// The application's columns.
    pub row: NewRow,
    /// TresorPay's reference.
    pub notice: TresorPayReference,
    /// When it was emitted, if the file says so.
    pub emitted_at: Option<Timestamp>,
}

impl Entry {
    /// The application's own reference.
    pub fn reference(&self) -> &str {
        self.row.reference.as_deref().unwrap_or_default()
    }

    /// In XOF.
    pub fn amount(&self) -> i64 {
        self.row.net_total.unwrap_or_default()
    }
}

/// A line that cannot be adopted. It shows no value but the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Where.
    pub line: u64,
    /// Which column; empty: the line as a whole.
    pub column: String,
    /// What is wrong, and what to do.
    pub why: String,
}

impl Bad {
    /// About an entry that could be read.
    pub fn of(entry: &Entry, column: &str, why: impl Into<String>) -> Self {
        Self {
            line: entry.line,
            column: column.to_owned(),
            why: format!("{}: {}", entry.reference(), why.into()),
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column.as_str() {
            "" => write!(f, "line {}: {}", self.line, self.why),
            column => write!(f, "line {}, column {column}: {}", self.line, self.why),
        }
    }
}
