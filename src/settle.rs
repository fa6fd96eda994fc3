//! Settling, for `emit.on_uncertain = cancel`: from a row in doubt whose time has come to a cancel that proves, or does
//! not, that nothing live is left. What the answers mean is `tresorpay`'s, what follows is `cancel`'s; here is only when.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cancel::{CancelOutcome, Canceler, Purpose},
    clock::Timestamp,
    doubt::{DoubtClock, Settleable},
    store::{DoubtNote, Reads, StoreError, Writer},
};

/// Cancels under way at once: a doubt has waited for minutes, and emissions go first.
const AT_ONCE: usize = 2;
/// Rows in doubt that are looked at in one go.
const LOOK_AT_ONCE: usize = 64;
/// The worker looks at the table this often even if nothing wakes it.
const FALLBACK_WAKE: Duration = Duration::from_secs(30);
/// After a look at the table that failed, or that found rows which somebody else is busy with.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A row whose cancel a trigger does not let begin waits for so long, and others come first.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// The settling worker.
pub struct Settler {
    canceler: Canceler,
    writer: Writer,
    reads: Reads,
    doubts: DoubtClock,
    tasks: JoinSet<(i64, Result<CancelOutcome, StoreError>)>,
    under_way: HashSet<i64>,
    /// The pace holds requests back until then.
    not_before: Instant,
}

impl Settler {
    /// A worker that has not begun.
    pub fn new(canceler: Canceler, writer: Writer, reads: Reads, doubts: DoubtClock) -> Self {
        Self {
            canceler,
            writer,
            reads,
            doubts,
            tasks: JoinSet::new(),
            under_way: HashSet::new(),
            not_before: Instant::now(),
        }
    }

    /// Works until `shutdown`; then begins nothing more and records what is under way.
    pub async fn run(mut self, wake: Arc<Notify>, shutdown: CancellationToken) -> Result<(), StoreError> {
        while !shutdown.is_cancelled() {
            let until = self.step().await?;
            tokio::select! {
                Some(ended) = self.tasks.join_next() => self.ended(ended).await?,
                () = wake.notified(), if Instant::now() >= self.not_before => {}
                () = tokio::time::sleep_until(until.into()) => {}
                () = shutdown.cancelled() => {}
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended).await?;
        }
        Ok(())
    }

    /// Begins what may begin; when to look again.
    async fn step(&mut self) -> Result<Instant, StoreError> {
        let now = Instant::now();
        if self.tasks.len() >= AT_ONCE {
            return Ok(now + FALLBACK_WAKE);
        }
        if now < self.not_before {
            return Ok(self.not_before);
        }
        match self.begin(now).await {
            Ok(wait) => Ok(now + wait.min(FALLBACK_WAKE)),
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "the outbox cannot be read; no doubt is settled");
                Ok(now + LOOK_AGAIN)
            }
            Err(error) => Err(error),
        }
    }

    /// How long until there is more to begin.
    async fn begin(&mut self, now: Instant) -> Result<Duration, StoreError> {
        let wall = Timestamp::now();
        let due = self.reads.due_doubts(wall, LOOK_AT_ONCE).await?;
        for outbox_id in due.iter().copied() {
            if self.under_way.contains(&outbox_id) {
                continue;
            }
            if let Settleable::At(_) = self.doubts.settleable(outbox_id, now) {
                // The wall clock is ahead. Dated anew, the row makes room for those behind it.
                let next_attempt_at = Some(self.doubts.settleable_at(outbox_id, now, wall));
                self.note(DoubtNote { outbox_id, last_error: None, next_attempt_at }).await?;
                continue;
            }
            if self.tasks.len() >= AT_ONCE {
                break;
            }
            self.under_way.insert(outbox_id);
            let canceler = self.canceler.clone();
            self.tasks.spawn(async move { (outbox_id, canceler.cancel(outbox_id, Purpose::Settle).await) });
        }
        Ok(match self.reads.next_doubt().await? {
            // Those under way end by themselves.
            Some(at) if due.is_empty() => at.since(wall),
            Some(_) => LOOK_AGAIN,
            None => FALLBACK_WAKE,
        })
    }

    /// A row that cannot even be noted does not hold up the others.
    async fn note(&self, note: DoubtNote) -> Result<(), StoreError> {
        match self.writer.note_doubt(note).await {
            Err(error @ StoreError::Refused(_)) => {
                tracing::warn!(%error, "a row in doubt cannot be dated anew");
                Ok(())
            }
            noted => noted,
        }
    }

    async fn ended(
        &mut self,
        ended: Result<(i64, Result<CancelOutcome, StoreError>), JoinError>,
    ) -> Result<(), StoreError> {
        let (outbox_id, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody aborts these tasks.
                Err(_) => return Ok(()),
            },
        };
        self.under_way.remove(&outbox_id);
        match outcome {
            Ok(CancelOutcome::Ended(_) | CancelOutcome::Overtaken) => {}
            Ok(CancelOutcome::NotBefore(at)) => self.not_before = self.not_before.max(at),
            Ok(CancelOutcome::Inapplicable) => self.not_before = Instant::now() + LOOK_AGAIN,
            Err(error @ StoreError::Refused(_)) => {
                self.not_before = Instant::now() + LOOK_AGAIN;
                let next_attempt_at = Some(Timestamp::now().after(REFUSED_FOR));
                self.note(DoubtNote { outbox_id, last_error: Some(error.to_string()), next_attempt_at })
                    .await?;
            }
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "the outbox cannot be read; a doubt is settled later");
                self.not_before = Instant::now() + LOOK_AGAIN;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
