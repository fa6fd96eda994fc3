//! The rules in force: which fault strikes a request, and how often each has struck.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::config::Delay;
use super::fault::{Fault, Operation};
use super::rule::Rule;

/// A rule in force, as the control API shows it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Active {
    /// Names the rule at the control API.
    pub(super) id: u64,
    /// The rule as it was given.
    pub(super) rule: Rule,
    /// How often it has struck.
    pub(super) struck: u64,
    /// Matching requests so far, struck or not.
    pub(super) matched: u64,
}

/// What is going to happen to one request.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) delay: Duration,
    pub(super) fault: Option<Fault>,
    /// The client reference that the rule names.
    pub(super) about: Option<String>,
    /// Names of the faults that strike.
    pub(super) struck: Vec<&'static str>,
}

pub(super) struct Rules {
    /// Spares every request the lock while there is no rule.
    any: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    rng: fastrand::Rng,
    next_id: u64,
    active: Vec<Active>,
}

impl Rules {
    pub(super) fn new(seed: u64, rules: &[Rule]) -> Self {
        let inner = Inner { rng: fastrand::Rng::with_seed(seed), next_id: 1, active: Vec::new() };
        let set = Self { any: AtomicBool::new(false), inner: Mutex::new(inner) };
        for rule in rules {
            set.add(rule.clone());
        }
        set
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule behind the others; its id.
    pub(super) fn add(&self, rule: Rule) -> u64 {
        let mut inner = self.inner();
        let id = inner.next_id;
        inner.next_id += 1;
        inner.active.push(Active { id, rule, struck: 0, matched: 0 });
        self.any.store(true, Ordering::Release);
        id
    }

    pub(super) fn replace(&self, rules: Vec<Rule>) {
        self.clear();
        for rule in rules {
            self.add(rule);
        }
    }

    pub(super) fn clear(&self) {
        self.any.store(false, Ordering::Release);
        self.inner().active.clear();
    }

    /// Takes one rule away; false if there is none with this id.
    pub(super) fn remove(&self, id: u64) -> bool {
        let mut inner = self.inner();
        let before = inner.active.len();
        inner.active.retain(|active| active.id != id);
        inner.active.len() < before
    }

    pub(super) fn list(&self) -> Vec<Active> {
        self.inner().active.clone()
    }

    /// What happens to a request for `operation` that is about these client references.
    pub(super) fn plan(&self, operation: Operation, references: impl FnOnce() -> Vec<String>) -> Plan {
        let mut plan = Plan::default();
        if !self.any.load(Ordering::Acquire) || operation == Operation::Page {
            return plan;
        }
        let references = references();
        let Inner { rng, active, .. } = &mut *self.inner();
        for active in active {
            if !matches(&active.rule, operation, &references) {
                continue;
            }
            active.matched += 1;
            let used_up = active.rule.times.is_some_and(|times| active.struck >= times);
            if used_up || active.matched <= active.rule.skip {
                continue;
            }
            if active.rule.probability.is_some_and(|probability| rng.f64() >= probability) {
                continue;
            }
            active.struck += 1;
            plan.struck.push(active.rule.fault.name());
            if let Fault::Latency { ms, jitter_ms } = active.rule.fault {
                let (min, max) =
                    (Duration::from_millis(ms), Duration::from_millis(ms.saturating_add(jitter_ms)));
                plan.delay += Delay { min, max }.draw(rng);
            } else {
                plan.fault = Some(active.rule.fault.clone());
                plan.about.clone_from(&active.rule.reference);
                break;
            }
        }
        plan
    }
}

fn matches(rule: &Rule, operation: Operation, references: &[String]) -> bool {
    (rule.operation == Operation::Any || rule.operation == operation)
        && rule
            .reference
            .as_deref()
            .is_none_or(|wanted| references.iter().any(|reference| reference == wanted))
}
