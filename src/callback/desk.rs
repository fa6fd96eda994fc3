//! What a hint comes to: TresorPay is asked about the notice that it names, and only the answer is believed.

use std::{collections::HashMap, sync::Arc, time::Duration, time::Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use url::Url;

use super::{CallbackTokens, Hint};
use crate::{
    clock::Timestamp,
    doubt::{DoubtClock, Settleable},
    emit::payment_url,
    notice::{RemoteStatus, Source, Status, TresorPayReference},
    poll::Poller,
    store::{
        DueNotice, FlagAmount, HintedRow, PollOutcome, PollRecord, Reads, SecondNotice, Seen, Sighting,
        StoreError, Taken, Writer,
    },
    tresorpay::{ErrorCode, StatusFailure, StatusReport},
};

/// A notice that is live still although its callback came is asked about once more after this.
const FOLLOW_UP: Duration = Duration::from_secs(30);
/// A request for the row is under way: looked at again this soon.
const SOON: Duration = Duration::from_secs(1);
/// TresorPay did not answer: the wait grows by this with each try.
const NO_ANSWER: Duration = Duration::from_secs(5);
/// Looks at one hint; the last wait is then ten minutes.
const MAX_TRIES: u32 = 120;
/// Notices of one round that are asked about one by one, at once.
const CLOSER_AT_ONCE: usize = 4;
/// Second notices that are asked about again at once.
const RECHECKED: usize = 20;

/// What the desk needs of the settings.
#[derive(Debug, Clone)]
pub struct DeskOptions {
    /// `api.payment_page`.
    pub payment_page: Url,
    /// Something is to be done once a notice is paid.
    pub work_after_payment: bool,
}

/// Looks at hints.
pub struct Desk {
    writer: Writer,
    reads: Reads,
    poller: Arc<Poller>,
    doubts: DoubtClock,
    tokens: CallbackTokens,
    options: DeskOptions,
}

/// A hint with its row, and the notice that it names.
struct Case {
    hint: Hint,
    row: HintedRow,
    status: Status,
    notice: TresorPayReference,
}

/// What a look came to: done with, or to be looked at again after a wait.
type Again = Option<(Duration, Hint)>;

impl Desk {
    /// A desk with nothing on it.
    pub fn new(
        writer: Writer,
        reads: Reads,
        poller: Arc<Poller>,
        doubts: DoubtClock,
        tokens: CallbackTokens,
        options: DeskOptions,
    ) -> Self {
        Self { writer, reads, poller, doubts, tokens, options }
    }

    /// Looks at hints; those to be looked at again, each after its wait.
    pub async fn look(&self, hints: Vec<Hint>) -> Result<Vec<(Duration, Hint)>, StoreError> {
        let ids: Vec<i64> = hints.iter().map(|hint| hint.bearer.outbox_id).collect();
        let rows = self.reads.hinted(&ids).await?;
        let (mut live, mut closer, mut again) = (HashMap::new(), Vec::new(), Vec::new());
        for hint in hints {
            let row = rows.get(&hint.bearer.outbox_id);
            let Some(row) = row.filter(|row| self.tokens.fits(&hint.bearer, &row.reference)) else {
                tracing::debug!(outbox_id = hint.bearer.outbox_id, "a callback for a row that is not here");
                continue;
            };
            let Some(status) = row.status() else { continue };
            let is_own =
                hint.notice.is_none() || named(hint.notice.as_ref()) == row.tresorpay_reference.as_deref();
            match (status, hint.notice.clone()) {
                (Status::Emitted, _) if is_own => {
                    live.insert(row.id, (hint, row.clone()));
                }
                (Status::Paid, _) if is_own => self.flag(row, &hint).await?,
                (Status::Emitting, Some(_)) => again.push(soon(hint)),
                (_, Some(notice)) => {
                    closer.push(Case { hint, row: row.clone(), status, notice });
                }
                (_, None) => {}
            }
        }
        self.ask(live).await?;
        let mut closer =
            stream::iter(closer).map(|case| self.look_closer(case)).buffer_unordered(CLOSER_AT_ONCE);
        while let Some(looked) = closer.try_next().await? {
            again.extend(looked);
        }
        Ok(again.into_iter().filter(|(_, hint)| hint.tries <= MAX_TRIES).collect())
    }

    /// Emitted notices whose status may have changed: asked about together.
    async fn ask(&self, hinted: HashMap<i64, (Hint, HintedRow)>) -> Result<(), StoreError> {
        let notice = |row: &HintedRow| {
            Some(DueNotice {
                outbox_id: row.id,
                reference: TresorPayReference::parse(row.tresorpay_reference.as_deref()?).ok()?,
                emitted_at: row.emitted_at()?,
            })
        };
        let notices: Vec<DueNotice> = hinted.values().filter_map(|(_, row)| notice(row)).collect();
        if notices.is_empty() {
            return Ok(());
        }
        let mut told = self.poller.ask_about(notices).await;
        let mut unanswered: Vec<i64> = hinted.keys().copied().collect();
        for record in &mut told {
            unanswered.retain(|id| *id != record.outbox_id);
            if let Some((hint, row)) = hinted.get(&record.outbox_id) {
                heed(record, hint, row);
            }
        }
        if !unanswered.is_empty() {
            // Polling asks as soon as TresorPay answers again.
            self.writer.poll_now(unanswered, Timestamp::now()).await?;
        }
        if !told.is_empty() {
            self.writer.record_polls(told).await?;
        }
        Ok(())
    }

    /// A payment that is recorded already, whose callback names another amount.
    async fn flag(&self, row: &HintedRow, hint: &Hint) -> Result<(), StoreError> {
        if let Some(last_error) = difference(row, hint)
            && self
                .writer
                .flag_amount(FlagAmount { outbox_id: row.id, last_error: last_error.clone() })
                .await?
        {
            tell_difference(row, &last_error);
        }
        Ok(())
    }

    /// A notice that is not the one the row has, if it has one: TresorPay is asked about it.
    async fn look_closer(&self, case: Case) -> Result<Again, StoreError> {
        if let Some(owner) =
            self.reads.owner(&case.notice).await?.filter(|owner| *owner != case.row.reference)
        {
            tracing::warn!(
                outbox_id = case.row.id,
                code = ErrorCode::ForeignReference.as_str(),
                owner,
                "a callback of this row names the notice of another row; it is ignored"
            );
            return Ok(None);
        }
        let report = match self.poller.ask_one(&case.notice).await {
            Some(Ok(report)) => report,
            Some(Err(StatusFailure::Refused(_))) => {
                tracing::debug!(
                    outbox_id = case.row.id,
                    "a callback names a notice that TresorPay does not know"
                );
                return Ok(None);
            }
            Some(Err(StatusFailure::NoSuchEndpoint | StatusFailure::Failed { .. })) | None => {
                return Ok(Some(later(case.hint)));
            }
        };
        match case.status {
            Status::Pending | Status::Rejected | Status::Uncertain => self.tie(case, report).await,
            Status::Canceled if case.row.tresorpay_reference.as_deref() == Some(case.notice.as_str()) => {
                match report.status {
                    RemoteStatus::Paid => self.pay(case, report).await,
                    RemoteStatus::Live | RemoteStatus::Canceled | RemoteStatus::Unknown(_) => Ok(None),
                }
            }
            Status::Emitted | Status::Paid | Status::Canceled => {
                if matches!(report.status, RemoteStatus::Live | RemoteStatus::Paid) {
                    self.alert(&case).await?;
                }
                Ok(None)
            }
            Status::Emitting => Ok(Some(soon(case.hint))),
        }
    }

    /// The row takes the notice: at once if it is paid; if it waits to be paid, once nothing that was sent for the row can
    /// change that any more.
    async fn tie(&self, case: Case, report: StatusReport) -> Result<Again, StoreError> {
        match report.status {
            RemoteStatus::Paid => self.pay(case, report).await,
            RemoteStatus::Live => self.adopt(case).await,
            RemoteStatus::Canceled => {
                tell_canceled(&case);
                Ok(None)
            }
            RemoteStatus::Unknown(_) => Ok(Some(later(case.hint))),
        }
    }

    async fn pay(&self, case: Case, report: StatusReport) -> Result<Again, StoreError> {
        let at = Timestamp::now();
        let last_error = difference(&case.row, &case.hint);
        let drift = if case.status == Status::Canceled { "drift: it was CANCELED; " } else { "" };
        let said = [report.provider.as_deref(), report.pay_date.as_deref()].into_iter().flatten();
        let said = said.fold(String::new(), |all, word| all + ", " + word);
        let named = &case.notice;
        let mut reason = format!("{drift}TresorPay's callback named {named}, and TresorPay says PAID{said}");
        if let Some(difference) = &last_error {
            reason.push_str("; ");
            reason.push_str(difference);
        }
        let seen = Seen::Paid {
            provider: report.provider,
            pay_date: report.pay_date,
            next: self.options.work_after_payment.then_some(at),
            last_error: last_error.clone(),
        };
        let again = self.take(case.hint, self.sighting(&case.row, &case.notice, seen, reason, at)).await?;
        if again.is_none() {
            if case.status == Status::Canceled {
                tracing::error!(outbox_id = case.row.id, "a canceled notice was paid at TresorPay");
            }
            if let Some(difference) = last_error {
                tell_difference(&case.row, &difference);
            }
        }
        Ok(again)
    }

    async fn adopt(&self, case: Case) -> Result<Again, StoreError> {
        if case.row.under_way {
            return Ok(Some(soon(case.hint)));
        }
        if let Settleable::At(at) = self.doubts.settleable(case.row.id, Instant::now()) {
            // It is known when: no try is spent.
            return Ok(Some((at.saturating_duration_since(Instant::now()), case.hint)));
        }
        let seen = Seen::Live { expected: case.status, last_attempt: case.row.last_attempt };
        let reason = format!("TresorPay's callback named {}, and TresorPay has it", case.notice);
        let sighting = self.sighting(&case.row, &case.notice, seen, reason, Timestamp::now());
        self.take(case.hint, sighting).await
    }

    fn sighting(
        &self,
        row: &HintedRow,
        notice: &TresorPayReference,
        seen: Seen,
        reason: String,
        at: Timestamp,
    ) -> Sighting {
        let payment_url = payment_url(&self.options.payment_page, notice.as_str());
        Sighting { outbox_id: row.id, notice: notice.clone(), payment_url, seen, reason, at }
    }

    async fn take(&self, hint: Hint, sighting: Sighting) -> Result<Again, StoreError> {
        let (outbox_id, reason) = (sighting.outbox_id, sighting.reason.clone());
        Ok(match self.writer.take_sighting(sighting).await? {
            Taken::Moved => {
                tracing::info!(outbox_id, reason, "a callback tied a notice to its row");
                None
            }
            Taken::OthersNotice => None,
            Taken::NotNow => Some(soon(hint)),
        })
    }

    /// The gravest fault there is: somebody may pay twice.
    async fn alert(&self, case: &Case) -> Result<(), StoreError> {
        let second = SecondNotice {
            outbox_id: case.row.id,
            reference: case.row.reference.clone(),
            own: case.row.tresorpay_reference.clone(),
            other: case.notice.to_string(),
            at: Timestamp::now().to_string(),
        };
        if self.writer.second_notice(second.clone()).await? {
            tell_second(&second);
        }
        Ok(())
    }

    /// Asks again about notices that were seen live beside a row's own, and tells of those that still are.
    pub async fn recheck(&self) -> Result<(), StoreError> {
        let seconds = match self.reads.second_notices(RECHECKED).await {
            Err(error) if error.is_passing() => return Ok(()),
            seconds => seconds?,
        };
        for second in seconds {
            let Ok(other) = TresorPayReference::parse(&second.other) else { continue };
            match self.poller.ask_one(&other).await {
                Some(Ok(report)) if report.status == RemoteStatus::Canceled => {
                    tracing::info!(
                        outbox_id = second.outbox_id,
                        other = second.other,
                        "the second notice of the row is canceled at TresorPay"
                    );
                    self.writer.second_notice_over(second).await?;
                }
                Some(Ok(_) | Err(_)) | None => tell_second(&second),
            }
        }
        Ok(())
    }
}

fn named(notice: Option<&TresorPayReference>) -> Option<&str> {
    notice.map(TresorPayReference::as_str)
}

/// Once a request for the row has ended.
fn soon(hint: Hint) -> (Duration, Hint) {
    (SOON, Hint { tries: hint.tries + 1, ..hint })
}

/// Once TresorPay answers.
fn later(hint: Hint) -> (Duration, Hint) {
    let tries = hint.tries + 1;
    (NO_ANSWER * tries, Hint { tries, ..hint })
}

/// What TresorPay was asked because of a callback is told as such.
fn heed(record: &mut PollRecord, hint: &Hint, row: &HintedRow) {
    record.source = Source::Callback;
    let at = record.at;
    match &mut record.outcome {
        PollOutcome::Moved { to: Status::Paid, reason, last_error, .. } => {
            if let Some(difference) = difference(row, hint) {
                tell_difference(row, &difference);
                reason.push_str("; ");
                reason.push_str(&difference);
                *last_error = Some(difference);
            }
        }
        PollOutcome::Moved { .. } => {}
        PollOutcome::Unchanged { next, .. } => *next = next.map(|next| next.min(at.after(FOLLOW_UP))),
    }
}

/// What is said of an amount that is not the notice's; it is never booked.
fn difference(row: &HintedRow, hint: &Hint) -> Option<String> {
    let amount = hint.amount.filter(|amount| *amount != row.net_total)?;
    Some(format!(
        "{}: TresorPay's callback names {amount} XOF and the notice is for {} XOF; compare with TresorPay's own books",
        ErrorCode::AmountDiffers.as_str(),
        row.net_total
    ))
}

fn tell_difference(row: &HintedRow, words: &str) {
    tracing::error!(outbox_id = row.id, code = ErrorCode::AmountDiffers.as_str(), "{words}");
}

/// No proof by itself: the row may have been emitted more than once.
fn tell_canceled(case: &Case) {
    tracing::info!(
        outbox_id = case.row.id,
        notice = %case.notice,
        status = case.status.as_str(),
        "a callback names a notice of this row that is canceled at TresorPay"
    );
}

fn tell_second(second: &SecondNotice) {
    tracing::error!(
        outbox_id = second.outbox_id,
        code = ErrorCode::SecondLiveNotice.as_str(),
        reference = second.reference,
        own = second.own,
        other = second.other,
        "TresorPay has a second live notice for one row: the taxpayer may pay twice. Have TresorPay cancel `other`, or refund it if it is paid"
    );
}
