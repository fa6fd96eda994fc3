//! The daemon and its outbox as they were a moment ago. Whoever asks within a second is shown the same, so that a flood of
//! readers costs one read a second; a read that takes too long is given up.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, time::timeout};

use super::{HttpOptions, Sources};
use crate::{
    auth::TokenState,
    clock::Timestamp,
    lang::Lang,
    notice::{Amount, Status},
    publish,
    reconcile::OVERDUE_AFTER,
    store::{
        Room, SecondNotice, StoreError,
        inspect::{DaemonState, Figures, Happened, Inspect, Life, Payments, Reconciled},
    },
    tresorpay::Offset,
    verdict::{CRITICAL_WITHIN, Facts, Reason, WARN_WITHIN, judge, missable, reconciled_reasons},
};

/// What was read is shown for so long.
const FRESH: Duration = Duration::from_secs(1);
/// Amounts and payments, which read rows, are.
const FRESH_SUMS: Duration = Duration::from_secs(15);
/// A read that takes longer is given up.
const READ_TIME: Duration = Duration::from_secs(4);
/// A row that became `REJECTED` this recently is worth a warning.
const REJECTED_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Notices beside a row's own that are named.
const MAX_SECONDS: usize = 20;
/// A status with more rows gets no amount.
const MAX_SUMMED: i64 = 50_000;
/// So few rows are summed again as soon as there are more or fewer of them.
const FEW: i64 = 2_000;
/// Changes, and requests, of a row that are shown.
const MAX_LIFE: usize = 100;
/// Hours of payments that are shown.
pub(super) const HOURS: u32 = 24;

/// What is served is looked up here.
pub struct View {
    sources: Sources,
    started: Instant,
    /// When the process began to serve, for people and metrics.
    started_at: Timestamp,
    outbox: Mutex<Outbox>,
    sums: Mutex<Sums>,
    pub(super) pings: Mutex<Pings>,
}

/// What was read of the outbox.
struct Outbox {
    /// `None`: it could not be read at the start, and is begun with when it can.
    happened: Option<Happened>,
    read: Option<(Instant, Result<Arc<Snapshot>, String>)>,
}

/// What reads rows: seldom.
#[derive(Default)]
struct Sums {
    read: Option<(Instant, Arc<Money>)>,
    /// Hours that are over are not read again.
    hours: BTreeMap<String, Vec<Payments>>,
}

/// A transaction that changes nothing, in the writer's queue.
type Ping = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// The probe of the writer that is under way: never more than one.
#[derive(Default)]
pub(super) struct Pings {
    pub(super) under_way: Option<Ping>,
    pub(super) judged: Option<(Instant, Arc<[super::health::Unready]>)>,
}

/// The outbox at one moment.
pub(super) struct Snapshot {
    pub(super) figures: Figures,
    pub(super) happened: Happened,
    pub(super) seconds: Vec<SecondNotice>,
    pub(super) reconciled: Reconciled,
    pub(super) now: Timestamp,
}

/// What open rows come to, and what was paid.
pub(super) struct Money {
    /// Of statuses with few enough rows: how many they were, and what they came to.
    pub(super) amounts: Vec<(Status, i64, Amount)>,
    /// By hour and provider, the oldest hour first.
    pub(super) payments: Vec<Payments>,
    /// The first hour that is shown.
    pub(super) since: Timestamp,
}

impl View {
    pub(super) async fn begin(sources: Sources) -> Self {
        let happened = within(sources.inspect.begin()).await;
        if let Err(error) = &happened {
            tracing::warn!(%error, "the outbox could not be read for http.listen; it is tried again");
        }
        Self {
            sources,
            started: Instant::now(),
            started_at: Timestamp::now(),
            outbox: Mutex::new(Outbox { happened: happened.ok(), read: None }),
            sums: Mutex::default(),
            pings: Mutex::default(),
        }
    }

    pub(super) fn options(&self) -> &HttpOptions {
        &self.sources.options
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(super) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Where the token stands.
    pub(super) fn token(&self) -> TokenState {
        *self.sources.auth.token_state().borrow()
    }

    /// On the disk of the database; `None`: it cannot be told.
    pub(super) fn room(&self) -> Option<Room> {
        self.sources.inspect.room().ok()
    }

    /// What holds requests back.
    pub(super) fn requests(&self) -> publish::State {
        let clock_off = match self.sources.clock.offset() {
            Offset::Off(seconds) => Some(seconds),
            Offset::Right | Offset::Unknown => None,
        };
        let token = publish::Token::told(self.token(), Instant::now(), Timestamp::now());
        publish::State { held: self.sources.pace.held().borrow().clone(), clock_off, token }
    }

    /// The outbox, no older than a second; or why it could not be read.
    pub(super) async fn snapshot(&self) -> Result<Arc<Snapshot>, String> {
        let mut outbox = self.outbox.lock().await;
        if let Some((at, read)) = &outbox.read
            && at.elapsed() < FRESH
        {
            return read.clone();
        }
        let read = within(self.read(&mut outbox.happened)).await.map(Arc::new);
        outbox.read = Some((Instant::now(), read.clone()));
        read
    }

    async fn read(&self, happened: &mut Option<Happened>) -> Result<Snapshot, StoreError> {
        let (inspect, now) = (&self.sources.inspect, Timestamp::now());
        let happened = match happened {
            Some(happened) => happened,
            none => none.insert(inspect.begin().await?),
        };
        inspect.follow(happened).await?;
        let figures = inspect.figures(now, now.before(REJECTED_WITHIN), happened).await?;
        let seconds = inspect.second_notices(MAX_SECONDS).await?;
        let reconciled = inspect
            .reconciled(now.before(CRITICAL_WITHIN), now.before(WARN_WITHIN), now.before(OVERDUE_AFTER))
            .await?;
        Ok(Snapshot { figures, happened: happened.clone(), seconds, reconciled, now })
    }

    /// What open rows come to, and the payments of the last hours; `None` where that takes too long.
    pub(super) async fn money(&self, snapshot: &Snapshot) -> Option<Arc<Money>> {
        let mut sums = self.sums.lock().await;
        if let Some((at, money)) = &sums.read
            && at.elapsed() < if money.is_of(snapshot) { FRESH_SUMS } else { FRESH }
        {
            return Some(Arc::clone(money));
        }
        let money = within(self.sum(&mut sums.hours, snapshot)).await.ok().map(Arc::new)?;
        sums.read = Some((Instant::now(), Arc::clone(&money)));
        Some(money)
    }

    async fn sum(
        &self,
        hours: &mut BTreeMap<String, Vec<Payments>>,
        snapshot: &Snapshot,
    ) -> Result<Money, StoreError> {
        let inspect: &Inspect = &self.sources.inspect;
        let mut amounts = Vec::new();
        for count in &snapshot.figures.summary.statuses {
            if count.rows <= MAX_SUMMED {
                amounts.push((count.status, count.rows, inspect.amount(count.status).await?));
            }
        }
        let since = hour_start(snapshot.now.before(Duration::from_secs(3600 * u64::from(HOURS - 1))));
        hours.retain(|hour, _| *hour >= hour_name(since));
        // The last hour that was read may not have been over then.
        let from = hours.keys().next_back().and_then(|hour| Timestamp::parse(&format!("{hour}:00:00.000Z")));
        let from = from.map_or(since, |from| from.max(since));
        let mut read: BTreeMap<String, Vec<Payments>> = BTreeMap::new();
        for payments in inspect.payments(from).await? {
            read.entry(payments.hour.clone()).or_default().push(payments);
        }
        read.entry(hour_name(from)).or_default();
        hours.extend(read);
        Ok(Money { amounts, payments: hours.values().flatten().cloned().collect(), since })
    }

    /// One row's life; `Err`: it could not be read.
    pub(super) async fn life(&self, reference: &str) -> Result<Option<Life>, String> {
        within(self.sources.inspect.life(reference, MAX_LIFE)).await
    }

    /// What needs attention.
    pub(super) fn reasons(&self, snapshot: &Snapshot, requests: &publish::State, lang: Lang) -> Vec<Reason> {
        let options = &self.sources.options;
        let mut reasons = judge(&Facts {
            summary: &snapshot.figures.summary,
            // A daemon whose database went back in time does not run.
            mark: None,
            daemon: &DaemonState::Running(String::new()),
            requests: Some(requests),
            seconds: &snapshot.seconds,
            room: self.room(),
            wal_bytes: snapshot.figures.sizes.1,
            max_wal: options.max_wal,
            max_uncertain: options.max_uncertain,
            now: snapshot.now,
            lang,
        });
        let due = missable(&options.reconcile, snapshot.now);
        reasons.extend(reconciled_reasons(&snapshot.reconciled, due, snapshot.now, lang));
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.severity));
        reasons
    }
}

impl Money {
    /// Few rows have come or gone since.
    fn is_of(&self, snapshot: &Snapshot) -> bool {
        let counts = &snapshot.figures.summary.statuses;
        self.amounts.iter().all(|(status, rows, _)| {
            counts.iter().all(|count| count.status != *status || count.rows == *rows || count.rows > FEW)
        })
    }
}

async fn within<T>(read: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
    match timeout(READ_TIME, read).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the database was not read within {READ_TIME:?}")),
    }
}

/// `2026-11-24T09`, as `paid_at` begins.
pub(super) fn hour_name(at: Timestamp) -> String {
    at.to_chrono().format("%Y-%m-%dT%H").to_string()
}

fn hour_start(at: Timestamp) -> Timestamp {
    Timestamp::parse(&format!("{}:00:00.000Z", hour_name(at))).unwrap_or(at)
}
