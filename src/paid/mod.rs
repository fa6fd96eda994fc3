//! What is left to do for a paid row: tell TresorPay that it was delivered, fetch the receipt, call the application.
//!
//! One worker visits the rows that are due by the one `next_attempt_at` of a row, and does all three, in this order, where
//! they are wanted and not done yet. Each that is done is a column of its own, so that none is repeated because another
//! fails; what fails is tried again with the next visit, after a back-off.

mod call; // the application's own callback
mod confirm; // tells TresorPay that what was paid was delivered
mod fetch; // a receipt, from TresorPay into its folder
mod receipt; // the place and the file of a receipt

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Timestamp,
    pace::{Backoff, Pace},
    settings::NoticeDefaults,
    store::{Callable, PaidCase, PaidRecord, Reads, StoreError, Writer},
    tresorpay::{HttpClientError, TresorPay},
};

use call::{Called, Caller};
pub use confirm::{Confirmation, Confirmer};
pub use fetch::Fetched;
use fetch::Fetcher;
pub(crate) use receipt::remove as remove_receipt;

/// The worker looks at the table this often even if nothing wakes it.
const FALLBACK_WAKE: Duration = Duration::from_secs(60);
/// Between looks while nothing can be sent, and after a look that failed.
const HELD_BACK: Duration = Duration::from_secs(1);
/// Rows that are read at once.
const BATCH: usize = 100;
/// Visits at once; of them, those that ask TresorPay for something: few, so as to leave slots to emissions.
const VISITS_AT_ONCE: usize = 8;
const REQUESTS_AT_ONCE: usize = 2;
/// How long after the payment an application is called in vain.
const CALL_FOR: Duration = Duration::from_secs(7 * 86400);
/// How long after the payment a receipt is asked for in vain.
const FETCH_FOR: Duration = Duration::from_secs(30 * 86400);
/// Rows whose failures are counted; their back-off begins anew when there are more.
const COUNTED: usize = 100_000;

/// What the work after a payment needs of the settings.
#[derive(Debug, Clone)]
pub struct PaidOptions {
    /// For rows that leave them NULL.
    pub defaults: NoticeDefaults,
    /// Between the visits to one row: from the API's first delay to the longest between polls.
    pub backoff: Backoff,
    /// Between calls to an application that is gone.
    pub call_backoff: Backoff,
    /// `confirm.delivery` is `on_paid`.
    pub confirms: bool,
    /// `receipts.directory`.
    pub receipts: Option<PathBuf>,
    /// `callback.public_url` is set, so that applications are called by the daemon.
    pub calls: bool,
}

impl PaidOptions {
    /// A paid row may have something left to do.
    pub fn have_work(&self) -> bool {
        self.confirms || self.receipts.is_some() || self.calls
    }
}

/// Does what is left to do for paid rows.
pub struct Paid {
    writer: Writer,
    reads: Reads,
    confirmer: Confirmer,
    fetcher: Option<Fetcher>,
    caller: Option<Caller>,
    options: PaidOptions,
    requests: Semaphore,
    /// Visits to a row that failed in a row.
    failures: Mutex<HashMap<i64, u32>>,
}

/// What a visit came to.
#[derive(Default)]
struct Visit {
    called_at: Option<Timestamp>,
    last_error: Option<String>,
    /// Something is left to do.
    open: bool,
    /// Not before this, if it is known.
    wait: Duration,
}

impl Visit {
    /// The first that failed is told.
    fn failed(&mut self, why: String) {
        self.open = true;
        self.last_error.get_or_insert(why);
    }
}

impl Paid {
    /// A worker that has not begun.
    pub fn new(
        writer: Writer,
        reads: Reads,
        api: TresorPay,
        pace: Pace,
        options: PaidOptions,
    ) -> Result<Self, HttpClientError> {
        let fetcher = options
            .receipts
            .clone()
            .map(|directory| Fetcher::new(writer.clone(), api.clone(), pace.clone(), directory));
        let caller = options.calls.then(|| Caller::new(options.call_backoff)).transpose()?;
        let confirmer = Confirmer::new(writer.clone(), reads.clone(), api, pace, options.defaults.clone());
        Ok(Self {
            writer,
            reads,
            confirmer,
            fetcher,
            caller,
            options,
            requests: Semaphore::new(REQUESTS_AT_ONCE),
            failures: Mutex::default(),
        })
    }

    /// Confirms deliveries, for those who ask for one.
    pub fn confirmer(&self) -> &Confirmer {
        &self.confirmer
    }

    /// Fetches one row's receipt, in place of the one that may be there.
    pub async fn fetch_receipt(&self, outbox_id: i64) -> Result<Fetched, StoreError> {
        match (&self.fetcher, self.reads.paid_case(outbox_id).await?) {
            (Some(fetcher), Some(case)) => fetcher.fetch(outbox_id, &case).await,
            (None, _) | (_, None) => Ok(Fetched::NotNow),
        }
    }

    /// Visits what is due, until `shutdown`; then finishes the visits under way.
    pub async fn run(
        self: Arc<Self>,
        wake: Arc<Notify>,
        shutdown: CancellationToken,
    ) -> Result<(), StoreError> {
        while !shutdown.is_cancelled() {
            let wait = match self.step(&shutdown).await {
                Ok(wait) => wait,
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "the outbox cannot be read; nothing is done for paid notices");
                    HELD_BACK
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Visits all that is due; how long until the next look.
    async fn step(&self, shutdown: &CancellationToken) -> Result<Duration, StoreError> {
        let now = Timestamp::now();
        // While TresorPay does not answer, what is due for it stays due; applications are called all the same.
        let answers = self.confirmer.may_send();
        let callable = (!answers).then(|| Callable {
            by_default: self.options.defaults.callback.is_some(),
            paid_after: now.before(CALL_FOR),
        });
        let due = match callable {
            Some(_) if self.caller.is_none() => return Ok(HELD_BACK),
            callable => self.reads.due_paid(now, BATCH, callable).await?,
        };
        if due.is_empty() {
            let next = self.reads.next_paid().await?;
            let wait = next.map_or(FALLBACK_WAKE, |at| at.since(Timestamp::now()).min(FALLBACK_WAKE));
            return Ok(if answers { wait } else { wait.max(HELD_BACK) });
        }
        let mut visits = stream::iter(due)
            .take_while(|_| std::future::ready(!shutdown.is_cancelled()))
            .map(|outbox_id| self.visit(outbox_id, answers))
            .buffer_unordered(VISITS_AT_ONCE);
        while let Some(visited) = visits.next().await {
            visited?;
        }
        Ok(Duration::ZERO)
    }

    /// Does for one row what is wanted and not done yet.
    async fn visit(&self, outbox_id: i64, answers: bool) -> Result<(), StoreError> {
        let Some(case) = self.reads.paid_case(outbox_id).await? else { return Ok(()) };
        let age = case.paid_at().map_or(Duration::ZERO, |at| Timestamp::now().since(at));
        let mut visit = Visit::default();
        self.confirm(outbox_id, &case, answers, &mut visit).await?;
        self.fetch(outbox_id, &case, answers, age, &mut visit).await?;
        self.call(&case, age, &mut visit).await;
        let next_attempt_at =
            visit.open.then(|| Timestamp::now().after(self.delay(outbox_id).max(visit.wait)));
        if !visit.open {
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&outbox_id);
        }
        let Visit { called_at, last_error, .. } = visit;
        self.writer.record_paid(PaidRecord { outbox_id, called_at, last_error, next_attempt_at }).await
    }

    async fn confirm(
        &self,
        outbox_id: i64,
        case: &PaidCase,
        answers: bool,
        visit: &mut Visit,
    ) -> Result<(), StoreError> {
        if !self.options.confirms || case.confirmed {
            return Ok(());
        }
        if !answers {
            visit.open = true;
            return Ok(());
        }
        // Never closed.
        let _turn = self.requests.acquire().await;
        match self.confirmer.confirm(outbox_id).await? {
            Confirmation::Confirmed => {}
            Confirmation::NotNow => visit.open = true,
            Confirmation::Refused(why) | Confirmation::Failed(why) => {
                visit.failed(why.replacen(": ", ": the delivery could not be confirmed: ", 1));
            }
        }
        Ok(())
    }

    async fn fetch(
        &self,
        outbox_id: i64,
        case: &PaidCase,
        answers: bool,
        age: Duration,
        visit: &mut Visit,
    ) -> Result<(), StoreError> {
        let Some(fetcher) = self.fetcher.as_ref().filter(|_| !case.has_receipt && !case.anonymised) else {
            return Ok(());
        };
        if !answers {
            visit.open = true;
            return Ok(());
        }
        // Never closed.
        let _turn = self.requests.acquire().await;
        match fetcher.fetch(outbox_id, case).await? {
            Fetched::Kept(_) => {}
            Fetched::NotNow => visit.open = true,
            Fetched::Refused(why) | Fetched::Failed(why) if age > FETCH_FOR => {
                tracing::warn!(
                    outbox_id,
                    why,
                    "a receipt is no longer asked for; `fetch-receipt` asks once more"
                );
                visit.last_error.get_or_insert(format!("{why}; it is no longer asked for"));
            }
            Fetched::Refused(why) | Fetched::Failed(why) => visit.failed(why),
        }
        Ok(())
    }

    async fn call(&self, case: &PaidCase, age: Duration, visit: &mut Visit) {
        let url = case.callback.as_ref().or(self.options.defaults.callback.as_ref());
        let (Some(caller), Some(url)) = (&self.caller, url) else { return };
        if case.called || case.anonymised {
            return;
        }
        match caller.call(url, case).await {
            Called::Done => visit.called_at = Some(Timestamp::now()),
            Called::Held(wait) => {
                visit.open = true;
                visit.wait = wait;
            }
            Called::Failed(why) if age > CALL_FOR => {
                tracing::warn!(
                    reference = case.reference,
                    why,
                    "an application is no longer called for a payment"
                );
                visit.last_error.get_or_insert(format!("{why}; it is no longer called"));
            }
            Called::Failed(why) => visit.failed(why),
        }
    }

    /// How long until the next visit to a row, which has failed once more.
    fn delay(&self, outbox_id: i64) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= COUNTED {
            failures.clear();
        }
        let count = failures.entry(outbox_id).or_insert(0);
        *count = count.saturating_add(1);
        self.options.backoff.delay(*count)
    }
}
