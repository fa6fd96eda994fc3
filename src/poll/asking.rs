//! Asking TresorPay for the status of many notices: in a batch where it takes them, one by one where it does not. Polling,
//! commands and reconciliation all ask here, so that all go by one breaker and learn once that batches are unknown.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    notice::TresorPayReference,
    observe::Operation,
    pace::{Pace, Permit, Side},
    tresorpay::{ErrorCode, Health, StatusFailure, StatusReport, TresorPay},
};

/// A missing batch endpoint is looked for again after this.
const BATCH_RETRY: Duration = Duration::from_secs(3600);

/// Who waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody who wants to know whether a notice is paid.
    Soon,
    /// Nobody: it takes its small share, and gives way to all others.
    Background,
}

/// What TresorPay said of one notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Its status.
    Report(StatusReport),
    /// It does not know this notice, or refuses to speak of it.
    Refused(String),
    /// It knows no path for the status of a notice.
    NoPath,
}

/// Asks.
pub struct Asking {
    api: TresorPay,
    pace: Pace,
    /// Until then the batch endpoint is taken for absent.
    singles_until: Mutex<Option<Instant>>,
}

impl Asking {
    /// Through this gate.
    pub fn new(api: TresorPay, pace: Pace) -> Self {
        Self { api, pace, singles_until: Mutex::new(None) }
    }

    /// What TresorPay says of `references`, which make one batch: each with its place there. What it could not be asked
    /// about is left out.
    pub async fn ask(&self, references: &[TresorPayReference], urgency: Urgency) -> Vec<(usize, Said)> {
        if references.len() > 1 && self.batches_are_known() {
            match self.ask_batch(references, urgency).await {
                Ok(said) => return said,
                Err(StatusFailure::NoSuchEndpoint) => {
                    tracing::warn!(
                        "TresorPay has no batch status endpoint here; notices are asked about one by one"
                    );
                    *self.lock_singles() = Some(Instant::now() + BATCH_RETRY);
                }
                // One bad reference may spoil a batch: ask for each.
                Err(StatusFailure::Refused(_)) => {}
                Err(StatusFailure::Failed { .. }) => return Vec::new(),
            }
        }
        self.ask_each(references.iter().enumerate(), urgency).await
    }

    /// The status of one notice.
    pub async fn status(
        &self,
        reference: &TresorPayReference,
        urgency: Urgency,
    ) -> Result<StatusReport, StatusFailure> {
        let (told, took) = {
            let _permit = self.permit(urgency).await;
            let started = Instant::now();
            (self.api.status(reference).await, started.elapsed())
        };
        self.report(told.as_ref().err(), took);
        told
    }

    async fn ask_batch(
        &self,
        references: &[TresorPayReference],
        urgency: Urgency,
    ) -> Result<Vec<(usize, Said)>, StatusFailure> {
        let (reports, took) = {
            let _permit = self.permit(urgency).await;
            let started = Instant::now();
            (self.api.statuses(references).await, started.elapsed())
        };
        self.report(reports.as_ref().err(), took);
        let mut reports: HashMap<_, _> =
            reports?.into_iter().map(|report| (report.reference.clone(), report)).collect();
        let mut said = Vec::with_capacity(references.len());
        let mut missing = Vec::new();
        for (place, reference) in references.iter().enumerate() {
            match reports.remove(reference) {
                Some(report) => said.push((place, Said::Report(report))),
                None => missing.push((place, reference)),
            }
        }
        said.extend(self.ask_each(missing.into_iter(), urgency).await);
        Ok(said)
    }

    /// One request each, until one fails.
    async fn ask_each(
        &self,
        references: impl ExactSizeIterator<Item = (usize, &TresorPayReference)>,
        urgency: Urgency,
    ) -> Vec<(usize, Said)> {
        let mut said = Vec::with_capacity(references.len());
        for (place, reference) in references {
            let what = match self.status(reference, urgency).await {
                Ok(report) => Said::Report(report),
                Err(StatusFailure::Refused(detail)) => Said::Refused(detail),
                Err(StatusFailure::NoSuchEndpoint) => Said::NoPath,
                Err(StatusFailure::Failed { .. }) => break,
            };
            let in_vain = what == Said::NoPath && urgency == Urgency::Background;
            said.push((place, what));
            if in_vain {
                break;
            }
        }
        said
    }

    async fn permit(&self, urgency: Urgency) -> Permit {
        match urgency {
            Urgency::Soon => self.pace.status_permit().await,
            Urgency::Background => self.pace.background_permit().await,
        }
    }

    /// Counts it, and tells the breaker.
    fn report(&self, failure: Option<&StatusFailure>, took: Duration) {
        let code = failure.map_or(ErrorCode::Ok, StatusFailure::code);
        self.pace.requests().ended(Operation::Status, code.as_str(), took);
        let health = match failure {
            None | Some(StatusFailure::Refused(_)) => Health::Good,
            Some(StatusFailure::NoSuchEndpoint) => Health::Neutral,
            Some(StatusFailure::Failed { pause: Some(pause), .. }) => Health::Pause(*pause),
            Some(StatusFailure::Failed { code: ErrorCode::NoToken | ErrorCode::ShuttingDown, .. }) => {
                Health::Neutral
            }
            Some(StatusFailure::Failed { code, detail, .. }) => {
                tracing::debug!(code = code.as_str(), detail, "a status request failed");
                Health::Bad
            }
        };
        let why = match failure {
            Some(StatusFailure::Failed { code, detail, .. }) => format!("{}: {detail}", code.as_str()),
            None | Some(StatusFailure::Refused(_) | StatusFailure::NoSuchEndpoint) => String::new(),
        };
        self.pace.report_because(Side::Status, health, &why, Instant::now());
    }

    fn batches_are_known(&self) -> bool {
        self.lock_singles().is_none_or(|until| Instant::now() >= until)
    }

    fn lock_singles(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.singles_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
