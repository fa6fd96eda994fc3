//! Keeps the waits in the table true when the wall clock is not. `next_attempt_at` is a time, and what is meant is a wait:
//! when the clock is set by hours or years, every notice would be asked about at once, or none for years.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{ClockSteps, Timestamp},
    schedule::Schedule,
    store::{Reads, StoreError, Wait, WaitMove, Writer},
    tresorpay::MAX_WAIT,
};

/// Between two looks at the clocks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Jitter and clocks that are nearly right make a wait a little longer than its rule's.
const SLACK: Duration = Duration::from_secs(60);
/// Rows written around the step, by the new clock already.
const AROUND: Duration = Duration::from_secs(5);
/// Waits moved in one commit: few enough that no application waits for it.
const MOVES_AT_ONCE: usize = 2_000;
/// Notices whose wait was cut are asked about at this rate at the most.
const CUT_SPREAD: Duration = Duration::from_millis(10);

/// The longest waits that the rules know.
#[derive(Debug, Clone, Copy)]
pub struct LongestWaits {
    /// A row's own back-off: `api.retry_max_delay`.
    pub retry: Duration,
    /// A notice's interval: `poll.max_delay`.
    pub poll: Duration,
}

/// Sets waits right.
pub struct Waits {
    writer: Writer,
    reads: Reads,
    longest: LongestWaits,
}

impl Waits {
    /// For the rows that `writer` writes.
    pub fn new(writer: Writer, reads: Reads, longest: LongestWaits) -> Self {
        Self { writer, reads, longest }
    }

    /// Looks at the clocks until `shutdown`; when the wall clock was set, moves what waits and starts `schedule` anew.
    pub async fn keep(
        self,
        steps: ClockSteps,
        mut schedule: Schedule,
        shutdown: CancellationToken,
    ) -> Result<(), String> {
        loop {
            let (wall, steady) = (Timestamp::now(), Instant::now());
            if let Some(step) = steps.stepped(wall, steady) {
                tracing::warn!(
                    seconds = step.num_seconds(),
                    "the wall clock was set, or the machine slept; waits are moved by as much"
                );
                let moved = async {
                    self.shift(step, wall).await?;
                    self.cut(Timestamp::now()).await
                };
                tokio::select! {
                    moved = moved => moved.map_err(|error| error.to_string())?,
                    () = shutdown.cancelled() => return Ok(()),
                }
                schedule = schedule.restart().await.map_err(|error| error.to_string())?;
            }
            steps.settle(wall, steady);
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.cancelled() => {
                    // The process is about to end; a scheduler that does not stop changes nothing.
                    let _ = schedule.shutdown().await;
                    return Ok(());
                }
            }
        }
    }

    /// Moves every notice's next poll by as much as the clock was set, so that each waits as long as it would have.
    async fn shift(&self, step: TimeDelta, wall: Timestamp) -> Result<(), StoreError> {
        let moves = self
            .reads
            .poll_waits(None)
            .await?
            .into_iter()
            .filter(|wait| wait.updated_at.is_none_or(|at| at.distance(wall) > AROUND))
            .map(|wait| {
                let to = match step.to_std() {
                    Ok(ahead) => wait.until.after(ahead),
                    Err(_) => wait.until.before(step.abs().to_std().unwrap_or_default()),
                };
                WaitMove { outbox_id: wait.outbox_id, from: wait.until, to }
            })
            .collect();
        self.make(moves).await
    }

    /// Cuts every wait that is longer than any rule makes one: it was written while the clock was wrong.
    pub async fn cut(&self, now: Timestamp) -> Result<(), StoreError> {
        let beyond = now.after(self.longest.poll.mul_f64(1.1) + SLACK);
        let polls = self.reads.poll_waits(Some(beyond)).await?;
        let window = CUT_SPREAD * u32::try_from(polls.len()).unwrap_or(u32::MAX);
        let retries = self.reads.retry_waits(now.after(self.longest.retry + SLACK)).await?;
        let longest = |wait: &Wait| if wait.asked_for { MAX_WAIT + SLACK } else { Duration::ZERO };
        let retries = retries.into_iter().filter(|wait| wait.until > now.after(longest(wait)));
        let spread = polls.into_iter().map(|wait| (wait, now.after(window.mul_f64(fastrand::f64()))));
        let moves: Vec<_> = retries
            .map(|wait| (wait, now))
            .chain(spread)
            .map(|(wait, to)| WaitMove { outbox_id: wait.outbox_id, from: wait.until, to })
            .collect();
        if !moves.is_empty() {
            tracing::warn!(
                rows = moves.len(),
                "rows would have waited for longer than any rule says, as if the clock had been wrong; they are looked at now"
            );
        }
        self.make(moves).await
    }

    async fn make(&self, moves: Vec<WaitMove>) -> Result<(), StoreError> {
        for some in moves.chunks(MOVES_AT_ONCE) {
            match self.writer.move_waits(some.to_vec()).await {
                Err(error @ StoreError::Refused(_)) => {
                    tracing::warn!(%error, rows = some.len(), "waits cannot be moved; they are as they were");
                }
                done => done?,
            }
        }
        Ok(())
    }
}
