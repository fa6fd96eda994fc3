//! One cancel at TresorPay, from the commit that it may leave to its recorded answer. Settling a doubt, the `cancel`
//! command and a correction by `replaces` all cancel by this, and never twice at once for a row.

mod decide; // from what the answer proves to what follows for the row

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    clock::Timestamp,
    doubt::{DoubtClock, Settleable},
    notice::{Amount, InvalidNotice, Notice, RemoteStatus, Source, Status, TresorPayReference},
    observe::Operation,
    pace::{Allowance, Backoff, Pace, Permit, Side},
    settings::NoticeDefaults,
    store::{
        AfterCancel, CancelCase, CancelRecord, CancelStart, DoubtNote, Reads, SentTo, StoreError, Writer,
    },
    tresorpay::{
        CancelAddress, CancelJudgement, CancelVerdict, ErrorCode, Health, StatusFailure, TresorPay,
        judge_cancel,
    },
};

/// While another request probes, it is looked at again after this.
const PROBE_WAIT: Duration = Duration::from_secs(1);
/// A status that a cancel's answer makes worth asking waits no longer than this for its turn.
const STATUS_WAIT: Duration = Duration::from_secs(10);

/// What canceling needs of the settings.
#[derive(Debug, Clone)]
pub struct CancelOptions {
    /// For rows and attempts that leave the codes NULL.
    pub defaults: NoticeDefaults,
    /// `emit.max_attempts`.
    pub max_attempts: u32,
    /// A row's own delay after a cancel in vain.
    pub backoff: Backoff,
    /// `api.payment_page`.
    pub payment_page: Url,
}

/// What a cancel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To settle a doubt: proof leads back to `PENDING`.
    Settle,
    /// To have it canceled, as a `cancel` or a `replaces` asks: proof leads to `CANCELED`.
    Cancel,
}

impl Purpose {
    fn source(self) -> Source {
        match self {
            Self::Settle => Source::Emit,
            Self::Cancel => Source::Command,
        }
    }
}

/// What came of trying to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelOutcome {
    /// Nothing left: it is too early, or the pace holds requests back. Worth another try then.
    NotBefore(Instant),
    /// Nothing left: there is no such row, its status is another, or a request for it is under way.
    Inapplicable,
    /// Recorded, and this is what followed for the row.
    Ended(AfterCancel),
    /// Recorded; the row moved meanwhile and was left alone.
    Overtaken,
}

/// Sends cancels. Cheap to clone.
#[derive(Clone)]
pub struct Canceler {
    writer: Writer,
    reads: Reads,
    api: TresorPay,
    pace: Pace,
    doubts: DoubtClock,
    options: Arc<CancelOptions>,
    shutdown: CancellationToken,
}

/// A slot, and the duty to tell what the request met if it was let through as a probe.
struct Admission {
    pace: Pace,
    probe: bool,
    _permit: Permit,
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.probe {
            self.pace.withdraw_probe(Side::Emit);
        }
    }
}

impl Canceler {
    /// A canceler that shares the clock of all doubts; after `shutdown` nothing more leaves.
    pub fn new(
        writer: Writer,
        reads: Reads,
        api: TresorPay,
        pace: Pace,
        doubts: DoubtClock,
        options: CancelOptions,
        shutdown: CancellationToken,
    ) -> Self {
        Self { writer, reads, api, pace, doubts, options: Arc::new(options), shutdown }
    }

    /// Cancels the notice of a row, `UNCERTAIN` for [`Purpose::Settle`], else `UNCERTAIN` or `EMITTED`. It must run to its
    /// end once called: dropped halfway, its attempt stays open until the next start.
    pub async fn cancel(&self, outbox_id: i64, purpose: Purpose) -> Result<CancelOutcome, StoreError> {
        let Some(case) = self.reads.cancel_case(outbox_id).await? else {
            return Ok(CancelOutcome::Inapplicable);
        };
        let fits = match purpose {
            // What was sent in the time that a restore has lost, and with which codes, no cancel can tell.
            Purpose::Settle => case.status == Status::Uncertain && !case.restored,
            Purpose::Cancel => matches!(case.status, Status::Uncertain | Status::Emitted),
        };
        if !fits || case.open {
            return Ok(CancelOutcome::Inapplicable);
        }
        if case.status == Status::Uncertain
            && let Settleable::At(at) = self.doubts.settleable(outbox_id, Instant::now())
        {
            return Ok(CancelOutcome::NotBefore(at));
        }
        let (sent_to, address) = match self.address(&case) {
            Ok(place) => place,
            Err(why) => return self.hold(&case, why).await,
        };
        let admission = tokio::select! {
            admission = self.admit() => admission,
            () = self.shutdown.cancelled() => Err(Instant::now()),
        };
        let admission = match admission {
            Ok(admission) => admission,
            Err(at) => return Ok(CancelOutcome::NotBefore(at)),
        };
        let start = CancelStart { outbox_id, expected: case.status, sent_to, at: Timestamp::now() };
        let Some(attempt_id) = self.writer.begin_cancel(start).await? else {
            return Ok(CancelOutcome::Inapplicable);
        };
        let record = self.send(&case, attempt_id, &address, purpose, admission).await;
        let ended = self.writer.end_cancel(record).await?;
        Ok(ended.map_or(CancelOutcome::Overtaken, CancelOutcome::Ended))
    }

    /// Where the cancel goes, or why no cancel can help.
    fn address(&self, case: &CancelCase) -> Result<(SentTo, CancelAddress), String> {
        let mut sent_to = match &*case.sent_to {
            [] => {
                SentTo { code_client: None, code_structure: None, base_url: self.api.base_url().to_owned() }
            }
            [one] => one.clone(),
            [..] => {
                return Err(format!(
                    "{}: it was sent under several codes or addresses, and one cancel reaches one of them only",
                    ErrorCode::Unproven.as_str()
                ));
            }
        };
        let defaults = &self.options.defaults;
        let (client, structure) = (&mut sent_to.code_client, &mut sent_to.code_structure);
        *client = client.take().or_else(|| case.code_client.clone()).or_else(|| defaults.code_client.clone());
        *structure = structure
            .take()
            .or_else(|| case.code_structure.clone())
            .or_else(|| defaults.code_structure.clone());
        let (Some(client), Some(structure)) = (client.as_deref(), structure.as_deref()) else {
            return Err(format!(
                "{}: neither the row nor the settings name the codes that it could be canceled with",
                ErrorCode::InvalidNotice.as_str()
            ));
        };
        let address = self
            .api
            .cancel_address(&sent_to.base_url, &case.reference, client, structure)
            .map_err(|error| format!("{}: {error}", ErrorCode::OtherPlatform.as_str()))?;
        Ok((sent_to, address))
    }

    /// No cancel can help; a row in doubt is held for an operator.
    async fn hold(&self, case: &CancelCase, last_error: String) -> Result<CancelOutcome, StoreError> {
        tracing::warn!(outbox_id = case.outbox_id, last_error, "no cancel is sent");
        if case.status == Status::Uncertain {
            let (outbox_id, said) = (case.outbox_id, Some(last_error.clone()));
            self.writer.note_doubt(DoubtNote { outbox_id, last_error: said, next_attempt_at: None }).await?;
        }
        Ok(CancelOutcome::Ended(AfterCancel::Stays { last_error, next_attempt_at: None }))
    }

    /// The pace's leave for one request, or when to ask again.
    async fn admit(&self) -> Result<Admission, Instant> {
        if !self.api.auth().holds_token() && self.api.auth().token_when_allowed().await.is_err() {
            return Err(Instant::now());
        }
        let permit = self.pace.next_permit().await;
        let now = Instant::now();
        let probe = match self.pace.allowance(Side::Emit, now) {
            Allowance::Open => false,
            Allowance::Probe => true,
            Allowance::NotBefore(at) => return Err(at),
            Allowance::ProbeUnderWay => return Err(now + PROBE_WAIT),
        };
        let admission = Admission { pace: self.pace.clone(), probe, _permit: permit };
        self.pace.take_token().map(|()| admission).map_err(|wait| now + wait)
    }

    /// Sends it and judges the answer.
    async fn send(
        &self,
        case: &CancelCase,
        attempt_id: i64,
        address: &CancelAddress,
        purpose: Purpose,
        mut admission: Admission,
    ) -> CancelRecord {
        let started = Instant::now();
        let mut judgement = judge_cancel(&self.api.cancel(address).await, address);
        let duration = started.elapsed();
        self.pace.requests().ended(Operation::Cancel, judgement.code.as_str(), duration);
        admission.probe = false;
        self.pace.report(Side::Emit, judgement.health, Instant::now());
        drop(admission);
        if judgement.verdict == CancelVerdict::Unanswered {
            self.doubts.unanswered(case.outbox_id, Instant::now());
        }
        let asked = match (&judgement.reference, judgement.verdict, case.status) {
            (Some(reference), CancelVerdict::Exists, Status::Uncertain) => self.status_of(reference).await,
            _ => None,
        };
        judgement.detail = judgement.detail.and_then(|detail| self.scrubbed(case, &detail));
        let at = Timestamp::now();
        let (code, then) = self.decide(case, purpose, &judgement, asked.as_ref(), at);
        log(case.outbox_id, code, &then);
        CancelRecord {
            outbox_id: case.outbox_id,
            attempt_id,
            expected: case.status,
            phase: judgement.phase,
            http_status: judgement.http_status,
            code,
            detail: judgement.detail,
            tresorpay_reference: judgement.reference,
            duration,
            at,
            source: purpose.source(),
            then,
        }
    }

    /// What TresorPay says of a notice that it named; `None` if it does not say now.
    async fn status_of(&self, reference: &TresorPayReference) -> Option<RemoteStatus> {
        match self.pace.allowance(Side::Status, Instant::now()) {
            Allowance::Open => {}
            Allowance::Probe => {
                // Probing is the polling's own business.
                self.pace.withdraw_probe(Side::Status);
                return None;
            }
            Allowance::NotBefore(_) | Allowance::ProbeUnderWay => return None,
        }
        let permit = tokio::time::timeout(STATUS_WAIT, self.pace.status_permit()).await.ok()?;
        let told = self.api.status(reference).await;
        drop(permit);
        let health = match &told {
            Ok(_) | Err(StatusFailure::Refused(_)) => Health::Good,
            Err(StatusFailure::Failed { pause: Some(pause), .. }) => Health::Pause(*pause),
            Err(StatusFailure::NoSuchEndpoint | StatusFailure::Failed { .. }) => Health::Neutral,
        };
        self.pace.report(Side::Status, health, Instant::now());
        told.ok().map(|report| report.status)
    }

    /// What TresorPay said without this row's personal data and the secrets; `None` where they cannot be told apart.
    fn scrubbed(&self, case: &CancelCase, detail: &str) -> Option<String> {
        personal(case).ok().map(|notice| self.api.scrubber(&notice).scrub(detail))
    }

    fn decide(
        &self,
        case: &CancelCase,
        purpose: Purpose,
        judgement: &CancelJudgement,
        asked: Option<&RemoteStatus>,
        at: Timestamp,
    ) -> (ErrorCode, AfterCancel) {
        let pause = match judgement.health {
            Health::Pause(pause) => pause,
            Health::Good | Health::Bad | Health::Neutral => Duration::ZERO,
        };
        let backoff = self.options.backoff.delay(case.tries.saturating_add(1)).max(pause);
        let settleable = self.doubts.settleable_at(case.outbox_id, Instant::now(), at);
        let retry = decide::Retry {
            not_carried_out: at.after(backoff),
            unanswered: settleable.max(at.after(backoff)),
            nothing_proven: at.after(backoff.max(self.doubts.settle_after())),
        };
        let facts = decide::Facts {
            case,
            purpose,
            judgement,
            asked,
            at,
            retry,
            max_attempts: self.options.max_attempts,
            payment_page: &self.options.payment_page,
        };
        facts.decide()
    }
}

/// The row's notice, for what of it must not be kept.
fn personal(case: &CancelCase) -> Result<Notice, InvalidNotice> {
    let modes = case.authorized_payment_modes.as_deref();
    Ok(Notice {
        reference: case.reference.clone(),
        client_code: String::new(),
        structure_code: String::new(),
        net_total: Amount(0),
        tax_payer: InvalidNotice::read_json("tax_payer", &case.tax_payer)?,
        items: InvalidNotice::read_json("items", &case.items)?,
        payment_modes: modes
            .map(|modes| InvalidNotice::read_json("authorized_payment_modes", modes))
            .transpose()?,
        callback: None,
        redirect_url: None,
    })
}

fn log(outbox_id: i64, code: ErrorCode, then: &AfterCancel) {
    match then {
        AfterCancel::Moves { to, reason, .. } => {
            tracing::info!(outbox_id, to = to.as_str(), reason, "canceled");
        }
        AfterCancel::Adopted { reason, .. } => tracing::warn!(outbox_id, reason, "it exists at TresorPay"),
        AfterCancel::Stays { next_attempt_at: None, last_error } => {
            tracing::warn!(outbox_id, last_error, "held for an operator");
        }
        AfterCancel::Stays { last_error, .. } => {
            tracing::debug!(
                outbox_id,
                code = code.as_str(),
                last_error,
                "a cancel proved nothing; again later"
            );
        }
    }
}
