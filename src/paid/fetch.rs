//! Fetching a receipt: from TresorPay into its folder, and into the row.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::receipt::{Draft, place, sweep};
use crate::{
    notice::TresorPayReference,
    observe::Operation,
    pace::{Pace, Side},
    store::{PaidCase, ReceiptKept, StoreError, Writer},
    tresorpay::{ErrorCode, Health, StatusFailure, TresorPay},
};

/// What became of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It is there; its path, relative to the receipts directory.
    Kept(String),
    /// Another request for it is under way, or there is nothing to fetch.
    NotNow,
    /// TresorPay or this machine says no; why.
    Refused(String),
    /// No answer that says anything; why.
    Failed(String),
}

/// Fetches receipts.
pub(super) struct Fetcher {
    writer: Writer,
    api: TresorPay,
    pace: Pace,
    directory: PathBuf,
    /// Rows whose receipt is being fetched.
    busy: Mutex<HashSet<i64>>,
    /// It was told that the directory cannot be written.
    told: AtomicBool,
}

impl Fetcher {
    pub(super) fn new(writer: Writer, api: TresorPay, pace: Pace, directory: PathBuf) -> Self {
        if let Err(error) = sweep(&directory) {
            tracing::warn!(directory = %directory.display(), %error, "half-written receipts of the last run stay where they are");
        }
        Self { writer, api, pace, directory, busy: Mutex::default(), told: AtomicBool::new(false) }
    }

    /// Fetches one row's receipt, in place of the one that may be there.
    pub(super) async fn fetch(&self, outbox_id: i64, case: &PaidCase) -> Result<Fetched, StoreError> {
        if !self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(outbox_id) {
            return Ok(Fetched::NotNow);
        }
        let fetched = self.fetch_one(outbox_id, case).await;
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&outbox_id);
        fetched
    }

    async fn fetch_one(&self, outbox_id: i64, case: &PaidCase) -> Result<Fetched, StoreError> {
        let reference = case.tresorpay_reference.as_deref().map(TresorPayReference::parse);
        let (Some(Ok(reference)), Some(paid_at)) = (reference, case.paid_at()) else {
            return Ok(Fetched::NotNow);
        };
        let place = place(paid_at, &reference, outbox_id);
        // Before TresorPay is asked: it need not be if the receipt could not be kept.
        let (directory, path) = (self.directory.clone(), place.clone());
        let draft = match blocking(move || Draft::open(&directory, &path, outbox_id)).await {
            Ok(draft) => draft,
            Err(error) => return Ok(self.unwritable(&error, Duration::ZERO)),
        };
        let (told, took) = {
            let _permit = self.pace.status_permit().await;
            let sent = Instant::now();
            (self.api.receipt(&reference).await, sent.elapsed())
        };
        if let Err(StatusFailure::Failed { pause: Some(pause), .. }) = &told {
            self.pace.report(Side::Status, Health::Pause(*pause), Instant::now());
        }
        let bytes = match told {
            Ok(bytes) => bytes,
            Err(failure) => {
                self.ended(failure.code(), took);
                blocking(move || {
                    draft.abandon();
                    Ok(())
                })
                .await
                .ok();
                return Ok(failed(failure));
            }
        };
        if let Err(error) = blocking(move || draft.finish(&bytes)).await {
            return Ok(self.unwritable(&error, took));
        }
        self.ended(ErrorCode::Ok, took);
        if self.told.swap(false, Ordering::Relaxed) {
            tracing::info!("receipts are kept again");
        }
        let path = place.to_string_lossy().into_owned();
        self.writer.keep_receipt(ReceiptKept { outbox_id, path: path.clone() }).await?;
        tracing::debug!(outbox_id, path, "receipt fetched");
        Ok(Fetched::Kept(path))
    }

    fn ended(&self, code: ErrorCode, took: Duration) {
        self.pace.requests().ended(Operation::Receipt, code.as_str(), took);
    }

    /// Told once, until one is kept again; counted each time.
    fn unwritable(&self, error: &std::io::Error, took: Duration) -> Fetched {
        self.ended(ErrorCode::ReceiptFailed, took);
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                code = ErrorCode::ReceiptFailed.as_str(),
                directory = %self.directory.display(),
                %error,
                "receipts cannot be written below receipts.directory; they are tried again"
            );
        }
        Fetched::Refused(said(&format!("receipts.directory cannot be written: {error}")))
    }
}

fn said(why: &str) -> String {
    format!("{}: {why}", ErrorCode::ReceiptFailed.as_str())
}

fn failed(failure: StatusFailure) -> Fetched {
    match failure {
        StatusFailure::NoSuchEndpoint => Fetched::Refused(said("TresorPay knows no path for receipts")),
        StatusFailure::Refused(why) => Fetched::Refused(said(&why)),
        StatusFailure::Failed { code: ErrorCode::UnusableAnswer, detail, .. } => {
            Fetched::Refused(said(&detail))
        }
        StatusFailure::Failed { code, detail, .. } => {
            Fetched::Failed(said(&format!("{}: {detail}", code.as_str())))
        }
    }
}

/// File work, off the runtime's own threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
