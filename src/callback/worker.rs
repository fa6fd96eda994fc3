//! When which hints are looked at: a few at once, at a bounded rate, each row at a bounded rate of its own, and what comes
//! to nothing yet once more later. Everything here may be lost with the process.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Bearer, Desk, Hint};
use crate::{notice::TresorPayReference, store::StoreError};

/// Hints that are looked at in one round.
const ROUND: usize = 100;
/// Rounds at once, and from the start of one to that of the next: so many status requests at the most.
const ROUNDS_AT_ONCE: usize = 4;
const ROUND_EVERY: Duration = Duration::from_millis(200);
/// Hints of one row that are looked at within this time; more are dropped.
const ROW_HINTS: u32 = 4;
const ROW_WINDOW: Duration = Duration::from_secs(10);
/// Rows whose hints are counted.
const ROWS: usize = 4096;
/// Hints that wait for another look.
const LATER: usize = 1024;
/// Second notices are asked about again this often, for as long as there are any.
const RECHECK_EVERY: Duration = Duration::from_secs(600);

type Key = (Bearer, Option<TresorPayReference>);

/// Where a hint is.
enum Stage {
    Waits,
    /// It is being looked at. TresorPay may have been asked already, so one that comes meanwhile is news.
    Looked {
        next: Option<Hint>,
    },
}

#[derive(Default)]
struct Intake {
    waiting: Vec<Hint>,
    busy: HashMap<Key, Stage>,
    /// Since when hints of a row are counted, and how many came.
    rows: HashMap<i64, (Instant, u32)>,
    later: Vec<(Instant, Hint)>,
}

/// Looks at what comes on the queue until `shutdown`. A look changes nothing at TresorPay: it is dropped where it stands.
pub async fn work(
    desk: Desk,
    mut queue: mpsc::Receiver<Hint>,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    let desk = Arc::new(desk);
    let mut intake = Intake::default();
    let mut rounds = JoinSet::new();
    let mut received = Vec::new();
    let (mut next_round, mut recheck_at) = (Instant::now(), Instant::now());
    loop {
        let ready_at =
            intake.ready_at().map(|at| at.max(next_round)).filter(|_| rounds.len() < ROUNDS_AT_ONCE);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = sleep_until(ready_at), if ready_at.is_some() => {
                next_round = Instant::now() + ROUND_EVERY;
                let (desk, hints) = (Arc::clone(&desk), intake.round(Instant::now()));
                rounds.spawn(async move {
                    let keys: Vec<Key> = hints.iter().map(key).collect();
                    (keys, desk.look(hints).await)
                });
            }
            Some(ended) = rounds.join_next() => {
                let (keys, again) = joined(ended);
                match again {
                    Ok(again) => intake.end(&keys, again),
                    Err(error) if error.is_passing() => {
                        tracing::warn!(%error, "the outbox cannot be read; callbacks are dropped");
                        intake.end(&keys, Vec::new());
                    }
                    Err(error) => return Err(error),
                }
            }
            got = queue.recv_many(&mut received, ROUND), if intake.waiting.len() < ROUND => {
                if got == 0 {
                    return Ok(());
                }
                for hint in received.drain(..) {
                    intake.take(hint, Instant::now());
                }
            }
            () = tokio::time::sleep_until(recheck_at.into()) => {
                recheck_at = Instant::now() + RECHECK_EVERY;
                let desk = Arc::clone(&desk);
                rounds.spawn(async move { (Vec::new(), desk.recheck().await.map(|()| Vec::new())) });
            }
        }
    }
}

fn key(hint: &Hint) -> Key {
    (hint.bearer, hint.notice.clone())
}

impl Intake {
    /// Takes a hint, unless it waits already or its row had too many.
    fn take(&mut self, hint: Hint, now: Instant) {
        if let Some(Stage::Waits | Stage::Looked { next: Some(_) }) = self.busy.get(&key(&hint)) {
            return;
        }
        let over = |since: Instant| now.saturating_duration_since(since) >= ROW_WINDOW;
        if self.rows.len() >= ROWS {
            self.rows.retain(|_, (since, _)| !over(*since));
        }
        if self.rows.len() >= ROWS && !self.rows.contains_key(&hint.bearer.outbox_id) {
            return;
        }
        let (since, hints) = self.rows.entry(hint.bearer.outbox_id).or_insert((now, 0));
        if over(*since) {
            (*since, *hints) = (now, 0);
        }
        *hints += 1;
        if *hints > ROW_HINTS {
            return;
        }
        if let Some(Stage::Looked { next }) = self.busy.get_mut(&key(&hint)) {
            *next = Some(hint);
        } else {
            self.wait(hint);
        }
    }

    fn wait(&mut self, hint: Hint) {
        self.busy.insert(key(&hint), Stage::Waits);
        self.waiting.push(hint);
    }

    /// When there is something to look at.
    fn ready_at(&self) -> Option<Instant> {
        if self.waiting.is_empty() {
            self.later.iter().map(|(at, _)| *at).min()
        } else {
            Some(Instant::now())
        }
    }

    /// What is looked at next.
    fn round(&mut self, now: Instant) -> Vec<Hint> {
        let due = self.later.extract_if(.., |(at, _)| *at <= now).map(|(_, hint)| hint);
        self.waiting.extend(due);
        let round: Vec<Hint> = self.waiting.drain(..ROUND.min(self.waiting.len())).collect();
        for hint in &round {
            self.busy.insert(key(hint), Stage::Looked { next: None });
        }
        round
    }

    /// A round ended; `again` is to be looked at once more, after these waits.
    fn end(&mut self, keys: &[Key], again: Vec<(Duration, Hint)>) {
        for key in keys {
            if let Some(Stage::Looked { next: Some(hint) }) = self.busy.remove(key) {
                self.wait(hint);
            }
        }
        let now = Instant::now();
        for (wait, hint) in again {
            if self.later.len() < LATER && !self.busy.contains_key(&key(&hint)) {
                self.busy.insert(key(&hint), Stage::Waits);
                self.later.push((now + wait, hint));
            }
        }
    }
}

/// What a task gave; its panic is this one's.
fn joined<T>(task: Result<T, tokio::task::JoinError>) -> T {
    match task {
        Ok(given) => given,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::callback::{CallbackTokens, new_key};

    fn hint(tokens: &CallbackTokens, row: i64, notice: &str) -> Hint {
        let bearer = tokens.read(&tokens.token(row, "A")).unwrap();
        Hint { bearer, notice: TresorPayReference::parse(notice).ok(), amount: None, tries: 0 }
    }

    #[test]
    fn the_same_hint_waits_once_and_a_row_has_few() {
        let tokens = CallbackTokens::new(&new_key().unwrap()).unwrap();
        let (mut intake, now) = (Intake::default(), Instant::now());
        for _ in 0..1000 {
            intake.take(hint(&tokens, 1, "TP1"), now);
        }
        assert_eq!(intake.waiting.len(), 1);
        for notice in 0..1000 {
            intake.take(hint(&tokens, 2, &format!("TP2.{notice}")), now);
        }
        assert_eq!(intake.waiting.len(), 1 + ROW_HINTS as usize);
        intake.take(hint(&tokens, 2, "TP2.later"), now + ROW_WINDOW);
        assert_eq!(intake.waiting.len(), 2 + ROW_HINTS as usize);
        let round = intake.round(now);
        intake.end(&round.iter().map(key).collect::<Vec<_>>(), Vec::new());
        assert!(intake.busy.is_empty() && intake.waiting.is_empty());
    }

    #[test]
    fn what_comes_while_the_same_is_looked_at_is_looked_at_once_more() {
        let tokens = CallbackTokens::new(&new_key().unwrap()).unwrap();
        let (mut intake, now) = (Intake::default(), Instant::now());
        intake.take(hint(&tokens, 1, "TP1"), now);
        let keys: Vec<_> = intake.round(now).iter().map(key).collect();
        for _ in 0..2 {
            intake.take(hint(&tokens, 1, "TP1"), now);
        }
        assert!(intake.waiting.is_empty(), "not beside the look under way");
        intake.end(&keys, vec![(ROW_WINDOW, hint(&tokens, 1, "TP1"))]);
        assert_eq!((intake.waiting.len(), intake.later.len()), (1, 0), "at once, and once");
        let round = intake.round(now);
        intake.end(&round.iter().map(key).collect::<Vec<_>>(), Vec::new());
        assert!(intake.busy.is_empty() && intake.waiting.is_empty());
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let tokens = CallbackTokens::new(&new_key().unwrap()).unwrap();
        let (mut intake, now) = (Intake::default(), Instant::now());
        for row in 0..2 * i64::try_from(ROWS).unwrap() {
            intake.take(hint(&tokens, row, "TP1"), now);
        }
        assert_eq!((intake.rows.len(), intake.waiting.len()), (ROWS, ROWS));
        let waiting = std::mem::take(&mut intake.waiting);
        let keys: Vec<_> = waiting.iter().map(key).collect();
        intake.end(&keys, waiting.into_iter().map(|hint| (ROW_WINDOW, hint)).collect());
        assert_eq!(intake.later.len(), LATER);
        intake.take(hint(&tokens, 1, "TP9"), now + ROW_WINDOW);
        assert_eq!(intake.rows.len(), 1);
    }
}
