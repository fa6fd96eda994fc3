//! What the clerk did: the other side of the audit.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::journal::Expected;

/// Shared by the clerk and who waits for it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Done>>);

/// What was committed, and what was done at the platform.
#[derive(Clone, Default)]
pub(crate) struct Done {
    /// Rows, by reference.
    pub(crate) rows: BTreeMap<String, Expected>,
    /// Commands in the order of their commits: the reference, if it is about one, and the action.
    pub(crate) commands: Vec<(Option<String>, &'static str)>,
    /// Finished notices about which the platform changed its mind.
    pub(crate) planted: Vec<Planted>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Planted {
    pub(crate) reference: String,
    pub(crate) drift: Drift,
    /// The last transition that was known then: what records it comes later.
    pub(crate) after: i64,
}

/// How it changed its mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drift {
    /// What was paid is canceled.
    Canceled,
    /// What was canceled is paid.
    Paid,
    /// Who took the payment, and when.
    Payment,
}

impl Drift {
    /// The move that records it.
    pub(crate) fn step(self) -> (&'static str, &'static str) {
        match self {
            Self::Canceled => ("PAID", "CANCELED"),
            Self::Paid => ("CANCELED", "PAID"),
            Self::Payment => ("PAID", "PAID"),
        }
    }
}

impl Log {
    /// What was done so far.
    pub(crate) fn read(&self) -> MutexGuard<'_, Done> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
