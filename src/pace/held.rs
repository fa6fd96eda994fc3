//! What holds requests back at this moment, as `status` and the database tell it.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Gate, Side};
use crate::clock::Timestamp;

/// Everything that holds requests back; the default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Sides whose breaker is open, or that were asked to wait.
    pub sides: Vec<HeldSide>,
    /// TresorPay asked the whole client to wait until then; it may be over.
    pub paused_until: Option<String>,
}

/// One side that is held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSide {
    /// `emit`, `status` or `token`.
    pub side: String,
    /// When its breaker opened; `None`: it was asked to wait.
    pub since: Option<String>,
    /// Failures in a row.
    pub failures: u32,
    /// When one request leaves to see whether it is over.
    pub next_probe: String,
    /// The last failure: its code, then words.
    pub error: String,
}

impl Held {
    /// What `gate` holds back. Times are the wall clock's, `wall` at `now`.
    pub(super) fn of(gate: &Gate, now: Instant, wall: Timestamp) -> Self {
        let at = |at: Instant| {
            if at >= now { wall.after(at - now).to_string() } else { wall.before(now - at).to_string() }
        };
        let held = |side: &Side| {
            let breaker = gate.breaker(*side);
            Some(HeldSide {
                side: side.as_str().to_owned(),
                next_probe: at(breaker.waits_until(now)?),
                since: breaker.open().map(|open| at(open.since)),
                failures: breaker.failures(),
                error: breaker.why().to_owned(),
            })
        };
        let paused_until = gate.paused_until.filter(|until| now < *until).map(at);
        Self { sides: Side::ALL.iter().filter_map(held).collect(), paused_until }
    }

    /// Nothing is held back.
    pub fn is_nothing(&self) -> bool {
        self.sides.is_empty() && self.paused_until.is_none()
    }
}
