//! Counts requests as they come and end.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::fault::Operation;
use super::ledger::Counters;

#[derive(Default)]
pub(super) struct Counting {
    tokens_issued: AtomicU64,
    connections: AtomicU64,
    concurrent: AtomicUsize,
    max_concurrent: AtomicUsize,
    /// A handful of different (operation, outcome) pairs: a scan is cheaper than a map.
    outcomes: Mutex<Vec<(Operation, Outcome, u64)>>,
    faults: Mutex<Vec<(&'static str, u64)>>,
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With an answer of this HTTP status.
    Answered(u16),
    /// Without an answer: the fault's name.
    Unanswered(&'static str),
}

impl Counting {
    pub(super) fn ended(&self, operation: Operation, outcome: Outcome) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        match outcomes.iter_mut().find(|(o, how, _)| *o == operation && *how == outcome) {
            Some((.., count)) => *count += 1,
            None => outcomes.push((operation, outcome, 1)),
        }
    }

    pub(super) fn struck(&self, names: &[&'static str]) {
        if names.is_empty() {
            return;
        }
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            match faults.iter_mut().find(|(known, _)| known == name) {
                Some((_, count)) => *count += 1,
                None => faults.push((name, 1)),
            }
        }
    }

    pub(super) fn token_issued(&self) {
        self.tokens_issued.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request as under way for as long as the guard lives.
    pub(super) fn under_way(&self) -> UnderWay<'_> {
        let now = self.concurrent.fetch_add(1, Ordering::Relaxed) + 1;
        self.max_concurrent.fetch_max(now, Ordering::Relaxed);
        UnderWay(&self.concurrent)
    }

    pub(super) fn read(&self) -> Counters {
        let mut counters = Counters {
            tokens_issued: self.tokens_issued.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            concurrent: self.concurrent.load(Ordering::Relaxed),
            max_concurrent: self.max_concurrent.load(Ordering::Relaxed),
            ..Counters::default()
        };
        for (operation, outcome, count) in &*self.outcomes.lock().unwrap_or_else(PoisonError::into_inner) {
            let name = match outcome {
                Outcome::Answered(status) => status.to_string(),
                Outcome::Unanswered(name) => (*name).to_owned(),
            };
            counters.outcomes.entry(*operation).or_default().insert(name, *count);
        }
        for (name, count) in &*self.faults.lock().unwrap_or_else(PoisonError::into_inner) {
            counters.faults.insert((*name).to_owned(), *count);
        }
        counters
    }
}

/// One request under way.
pub(super) struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
