//! Which row in doubt is sent again, for `emit.on_uncertain = resend`: one at a time, when its time has come, and only to
//! where it went, with the codes that it had. To anybody else the same reference is a new notice.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{EmitOptions, FALLBACK_WAKE};
use crate::{
    clock::Timestamp,
    doubt::Settleable,
    notice::Status,
    store::{CancelCase, DoubtNote, Reads, StoreError, Writer},
    tresorpay::ErrorCode,
};

/// Rows in doubt that are looked at in one go.
const LOOK_AT_ONCE: usize = 16;
/// The wall clock says that rows are due and the monotonic one does not: looked at again after this at the latest.
const CLOCKS_DIFFER: Duration = Duration::from_secs(1);

/// What there is to send again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resend {
    /// This row (`outbox.id`).
    Now(i64),
    /// Nothing before this time has passed.
    In(Duration),
}

/// Finds rows to send again.
pub(super) struct Resends {
    writer: Writer,
    reads: Reads,
    base_url: String,
    options: Arc<EmitOptions>,
}

impl Resends {
    pub(super) fn new(writer: Writer, reads: Reads, base_url: &str, options: Arc<EmitOptions>) -> Self {
        Self { writer, reads, base_url: base_url.to_owned(), options }
    }

    /// The next row to send again. Rows that can never be are held for an operator on the way.
    pub(super) async fn next(&self) -> Result<Resend, StoreError> {
        let (now, wall) = (Instant::now(), Timestamp::now());
        let due = self.reads.due_doubts(wall, LOOK_AT_ONCE).await?;
        let mut wait = match self.reads.next_doubt().await? {
            Some(at) if due.is_empty() => at.since(wall),
            Some(_) => CLOCKS_DIFFER,
            None => FALLBACK_WAKE,
        };
        for outbox_id in due {
            if let Settleable::At(at) = self.options.doubts.settleable(outbox_id, now) {
                wait = wait.min(at.saturating_duration_since(now));
                continue;
            }
            let Some(case) = self.reads.cancel_case(outbox_id).await? else { continue };
            if case.open || case.status != Status::Uncertain {
                continue;
            }
            match self.obstacle(&case) {
                None => return Ok(Resend::Now(outbox_id)),
                Some(why) => {
                    tracing::warn!(outbox_id, why, "it is not sent again");
                    let last_error = Some(why);
                    let note = DoubtNote { outbox_id, last_error, next_attempt_at: None };
                    match self.writer.note_doubt(note).await {
                        // It does not hold up the others.
                        Err(error @ StoreError::Refused(_)) => {
                            tracing::warn!(%error, outbox_id, "that cannot be noted");
                        }
                        noted => noted?,
                    }
                }
            }
        }
        // Never zero: that is for a row.
        Ok(Resend::In(wait.max(Duration::from_millis(1))))
    }

    /// Why it may not be sent again: `last_error`.
    fn obstacle(&self, case: &CancelCase) -> Option<String> {
        let said = |code: ErrorCode, why: &str| Some(format!("{}: {why}", code.as_str()));
        if case.attempts >= self.options.max_attempts {
            return said(
                ErrorCode::MaxAttempts,
                "emit.max_attempts emissions count already and the last is in doubt; find out at TresorPay whether it exists",
            );
        }
        let defaults = &self.options.defaults;
        let client = case.code_client.as_ref().or(defaults.code_client.as_ref());
        let structure = case.code_structure.as_ref().or(defaults.code_structure.as_ref());
        if case.sent_to.iter().any(|sent| sent.base_url != self.base_url) {
            return said(
                ErrorCode::OtherPlatform,
                "the emission in doubt went to another api.base_url, where alone the reference is known",
            );
        }
        let same = |sent: Option<&String>, now: Option<&String>| sent.is_none() || sent == now;
        let changed = case.sent_to.iter().any(|sent| {
            !same(sent.code_client.as_ref(), client) || !same(sent.code_structure.as_ref(), structure)
        });
        if changed {
            return said(
                ErrorCode::Unproven,
                "the codes have changed since the emission in doubt; sent again with others, it would be a second notice",
            );
        }
        None
    }
}
