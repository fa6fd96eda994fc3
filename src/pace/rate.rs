//! How many requests a second: `api.requests_per_second`.

use std::{
    num::NonZeroU32,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};

/// Somebody who had to wait this recently may be waiting still.
const CONTENDED_FOR: Duration = Duration::from_millis(500);

/// The rate limit, if there is one.
pub(super) struct Rate {
    limiter: Option<DefaultDirectRateLimiter>,
    /// Taken and not used.
    spare: AtomicU32,
    /// When somebody last had to wait.
    refused: Mutex<Option<Instant>>,
}

impl Rate {
    /// `None`: no limit.
    pub(super) fn new(per_second: Option<NonZeroU32>) -> Self {
        let limiter = per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        Self { limiter, spare: AtomicU32::new(0), refused: Mutex::new(None) }
    }

    /// Takes one request from the limit, or says how long until there is one.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let one_less = |spare: u32| spare.checked_sub(1);
        if self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Ok(());
        }
        limiter.check().map_err(|not_until| {
            *self.lock_refused() = Some(Instant::now());
            not_until.wait_time_from(limiter.clock().now())
        })
    }

    /// Whether there are more who want to send than may.
    pub(super) fn is_contended(&self) -> bool {
        self.lock_refused().is_some_and(|at| at.elapsed() < CONTENDED_FOR)
    }

    fn lock_refused(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what was taken for requests that did not come to be.
    pub(super) fn give_back(&self, count: usize) {
        if self.limiter.is_some() {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let more = |spare: u32| Some(spare.saturating_add(count));
            // It never fails: the closure always has an answer.
            let _ = self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_not_lost() {
        let rate = Rate::new(NonZeroU32::new(2));
        assert_eq!(rate.take(), Ok(()));
        assert_eq!(rate.take(), Ok(()));
        assert!(!rate.is_contended());
        assert!(rate.take().is_err());
        assert!(rate.is_contended());
        rate.give_back(1);
        assert_eq!(rate.take(), Ok(()));
        assert!(rate.take().is_err());
    }

    #[test]
    fn without_a_limit_there_is_no_wait() {
        let rate = Rate::new(None);
        assert!((0..1000).all(|_| rate.take().is_ok()));
    }
}
