//! From the end of a request to what is recorded of it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use url::Url;

use super::{EmitOptions, Finished};
use crate::{
    clock::Timestamp,
    notice::{Amount, Event, InvalidNotice, Notice, Status, Verdict, apply},
    observe::Operation,
    pace::{Pace, Side},
    store::{ClaimedRow, EmissionRecord},
    tresorpay::{Context, ErrorCode, Health, Judgement, Phase, TresorPay, judge_emission},
};

/// An emission accepted this recently means that an odd answer is about its own row.
const ACCEPTED_RECENTLY: Duration = Duration::from_secs(60);

/// Turns finished requests into records, and remembers what only paces: it may be lost with the process.
pub(super) struct Outcomes {
    api: TresorPay,
    pace: Pace,
    options: Arc<EmitOptions>,
    last_accepted: Option<Instant>,
    /// Answers in a row that created nothing, by `outbox.id`.
    unlucky: HashMap<i64, u32>,
}

impl Outcomes {
    pub(super) fn new(api: TresorPay, pace: Pace, options: Arc<EmitOptions>) -> Self {
        Self { api, pace, options, last_accepted: None, unlucky: HashMap::new() }
    }

    /// An emission was accepted at this instant.
    pub(super) fn accepted(&mut self, at: Option<Instant>) {
        self.last_accepted = at;
    }

    /// What the answer means, for the database and for the pace.
    pub(super) fn record(&mut self, finished: &Finished) -> EmissionRecord {
        let now = Instant::now();
        let judgement = match &finished.outcome {
            Ok((exchange, notice)) => {
                let accepted_recently =
                    self.last_accepted.is_some_and(|at| now.duration_since(at) < ACCEPTED_RECENTLY);
                let mut judgement = judge_emission(exchange, Context { accepted_recently });
                finished.heed_canceled(&mut judgement);
                if let Some(detail) = &mut judgement.detail {
                    *detail = self.api.scrubber(notice).scrub(detail);
                }
                judgement
            }
            Err(invalid) => never_sent(invalid),
        };
        let reason = reason(&judgement);
        self.pace.report_because(Side::Emit, judgement.health, &reason, now);
        if judgement.verdict == Verdict::Created {
            self.last_accepted = Some(now);
        }
        if judgement.verdict == Verdict::Unknown {
            self.options.doubts.unanswered(finished.outbox_id, now);
        }
        self.pace.requests().ended(Operation::Emit, judgement.code.as_str(), finished.duration);
        let event = Event::Emission { verdict: judgement.verdict, doubted: finished.doubted };
        // A claimed row is EMITTING, where every emission event is legal.
        let to = apply(Status::Emitting, &event).unwrap_or(Status::Uncertain);
        let next_attempt_at = self.next_attempt(finished, &judgement);
        log(finished.outbox_id, &judgement, &reason);
        let payment_url = judgement
            .reference
            .as_ref()
            .filter(|_| judgement.verdict == Verdict::Created)
            .map(|reference| payment_url(&self.options.payment_page, reference.as_str()));
        EmissionRecord {
            outbox_id: finished.outbox_id,
            attempt_id: finished.attempt_id,
            to,
            reason,
            counts: judgement.counts() && judgement.phase != Phase::Unsent,
            phase: judgement.phase,
            http_status: judgement.http_status,
            code: judgement.code,
            detail: judgement.detail,
            tresorpay_reference: judgement.reference,
            payment_url,
            duration: finished.duration,
            at: finished.at,
            next_attempt_at,
            settle_at: self.options.settles.then(|| finished.at.after(self.options.doubts.settle_after())),
        }
    }

    fn next_attempt(&mut self, finished: &Finished, judgement: &Judgement) -> Option<Timestamp> {
        let settle_at = || {
            let at = self.options.doubts.settleable_at(finished.outbox_id, Instant::now(), finished.at);
            self.options.settles.then_some(at)
        };
        match judgement.verdict {
            Verdict::NotCreated => {
                let failures = self.unlucky.entry(finished.outbox_id).or_insert(0);
                *failures = failures.saturating_add(1);
                let delay = self.options.backoff.delay(*failures);
                let delay = match judgement.health {
                    Health::Pause(pause) => delay.max(pause),
                    Health::Good | Health::Bad | Health::Neutral => delay,
                };
                Some(finished.at.after(delay))
            }
            Verdict::Created => {
                self.unlucky.remove(&finished.outbox_id);
                Some(finished.at.after(self.options.first_poll))
            }
            // In doubt and refused: an operator decides.
            Verdict::Refused => {
                self.unlucky.remove(&finished.outbox_id);
                None
            }
            Verdict::Unknown => {
                self.unlucky.remove(&finished.outbox_id);
                settle_at()
            }
        }
    }
}

impl Finished {
    /// A notice that was canceled for this row before is not created anew by being named again.
    fn heed_canceled(&self, judgement: &mut Judgement) {
        let Some(reference) = judgement.reference.as_ref().filter(|_| judgement.verdict == Verdict::Created)
        else {
            return;
        };
        if self.canceled.iter().any(|seen| seen == reference.as_str()) {
            judgement.verdict = Verdict::Refused;
            judgement.code = ErrorCode::AlreadyCanceled;
            judgement.detail =
                Some(format!("TresorPay answered with notice {reference}, which was canceled for this row"));
        }
    }
}

/// An answer of the kind whose meaning hangs on whether other emissions are accepted: nothing was created if the whole
/// platform answers so, nobody knows if it is about this row.
pub(super) fn is_odd(finished: &Finished) -> bool {
    let quiet = Context { accepted_recently: false };
    finished
        .outcome
        .as_ref()
        .is_ok_and(|(exchange, _)| judge_emission(exchange, quiet).code == ErrorCode::Misdirected)
}

/// The row as it will be sent, the configured values filled in.
pub(super) fn notice(row: ClaimedRow, options: &EmitOptions) -> Result<Notice, InvalidNotice> {
    let defaults = &options.defaults;
    let own = options.callbacks.as_ref().map(|address| address.url(row.outbox_id, &row.reference));
    let modes = row.authorized_payment_modes.as_deref();
    Ok(Notice {
        client_code: row
            .code_client
            .or_else(|| defaults.code_client.clone())
            .ok_or(InvalidNotice::NoClientCode)?,
        structure_code: row
            .code_structure
            .or_else(|| defaults.code_structure.clone())
            .ok_or(InvalidNotice::NoStructureCode)?,
        net_total: Amount(row.net_total),
        tax_payer: InvalidNotice::read_json("tax_payer", &row.tax_payer)?,
        items: InvalidNotice::read_json("items", &row.items)?,
        payment_modes: modes
            .map(|modes| InvalidNotice::read_json("authorized_payment_modes", modes))
            .transpose()?,
        callback: own.or(row.callback).or_else(|| defaults.callback.clone()),
        redirect_url: row.redirect_url.or_else(|| defaults.redirect_url.clone()),
        reference: row.reference,
    })
}

/// A row that cannot be sent as it is: refused by the daemon, nothing left.
fn never_sent(invalid: &InvalidNotice) -> Judgement {
    Judgement {
        verdict: Verdict::Refused,
        phase: Phase::Unsent,
        code: ErrorCode::InvalidNotice,
        http_status: None,
        reference: None,
        detail: Some(invalid.to_string()),
        health: Health::Neutral,
    }
}

/// `code: detail`, on one line; what was accepted, by which reference.
fn reason(judgement: &Judgement) -> String {
    match (&judgement.detail, &judgement.reference) {
        (Some(detail), _) => format!("{}: {detail}", judgement.code.as_str()),
        (None, Some(reference)) => format!("accepted as {reference}"),
        (None, None) => judgement.code.as_str().to_owned(),
    }
}

/// One line for what a person may have to look at; an outage is told by the breaker, not by each row.
fn log(outbox_id: i64, judgement: &Judgement, reason: &str) {
    match judgement.verdict {
        Verdict::Created => tracing::debug!(outbox_id, reason, "emitted"),
        Verdict::NotCreated => tracing::debug!(outbox_id, reason, "not created; tried again later"),
        Verdict::Refused => tracing::warn!(outbox_id, reason, "rejected"),
        Verdict::Unknown => {
            tracing::warn!(outbox_id, reason, "uncertain: nobody knows whether it was created");
        }
    }
}

/// `api.payment_page` with the TresorPay reference appended as `?id=`.
pub(crate) fn payment_url(page: &Url, reference: &str) -> String {
    let mut url = page.clone();
    url.query_pairs_mut().append_pair("id", reference);
    url.into()
}
