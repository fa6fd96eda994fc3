//! When a request may leave: concurrency, rate, pauses that TresorPay asks for, and a breaker for each side.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::tresorpay::Health;

/// A delay that doubles from the first to the last, with jitter: `api.retry_first_delay`, `api.retry_max_delay`.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Delay after the first failure.
    pub first: Duration,
    /// Longest delay.
    pub max: Duration,
}

impl Backoff {
    /// The delay after `failures` failures in a row (1 or more): half fixed, half random, so that clients that failed
    /// together do not return together.
    pub fn delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.max);
        full.mul_f64(0.5 + fastrand::f64() * 0.5)
    }
}

/// The parts of TresorPay that fail apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Requests that change something.
    Emit,
    /// Status requests.
    Status,
}

impl Side {
    /// For logs and `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emit => "emit",
            Self::Status => "status",
        }
    }
}

/// How many requests a side may send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// As many as concurrency and rate allow.
    Open,
    /// One, to see whether the platform is back.
    Probe,
    /// None before this instant.
    NotBefore(Instant),
    /// None: a probe is under way; its end wakes whoever waits.
    ProbeUnderWay,
}

/// What each side has met.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    /// The breaker is open: closed to all but a probe at this instant.
    open_until: Option<Instant>,
    probing: bool,
}

struct Sides {
    emit: Breaker,
    status: Breaker,
    /// TresorPay asked the whole client to wait until then.
    paused_until: Option<Instant>,
    /// Rate tokens taken and not used.
    spare_tokens: u32,
}

/// The gate through which every request to the API passes.
#[derive(Clone)]
pub struct Pace {
    concurrency: Arc<Semaphore>,
    /// Status requests at once: half of all, so that they leave room to emissions.
    status: Arc<Semaphore>,
    max_concurrency: usize,
    rate: Option<Arc<DefaultDirectRateLimiter>>,
    backoff: Backoff,
    breaker_failures: u32,
    sides: Arc<Mutex<Sides>>,
}

/// The right to have one request under way; ends when dropped.
pub struct Permit {
    _slot: OwnedSemaphorePermit,
    _status: Option<OwnedSemaphorePermit>,
}

impl Pace {
    /// A gate for `max_concurrency` requests at once and `requests_per_second` (`None`: no limit).
    pub fn new(
        max_concurrency: usize,
        requests_per_second: Option<NonZeroU32>,
        backoff: Backoff,
        breaker_failures: u32,
    ) -> Self {
        Self {
            concurrency: Arc::new(Semaphore::new(max_concurrency)),
            status: Arc::new(Semaphore::new(max_concurrency.div_ceil(2))),
            max_concurrency,
            rate: requests_per_second.map(|rate| Arc::new(RateLimiter::direct(Quota::per_second(rate)))),
            backoff,
            breaker_failures,
            sides: Arc::new(Mutex::new(Sides {
                emit: Breaker::default(),
                status: Breaker::default(),
                paused_until: None,
                spare_tokens: 0,
            })),
        }
    }

    /// `api.max_concurrency`.
    pub fn max_concurrency(&self) -> usize {
        self.max_concurrency
    }

    /// Whether `side` may send at `now`. A `Probe` is the caller's to use: it must end in [`Pace::report`] or
    /// [`Pace::withdraw_probe`].
    pub fn allowance(&self, side: Side, now: Instant) -> Allowance {
        let mut sides = self.lock();
        if let Some(until) = sides.paused_until.filter(|until| now < *until) {
            return Allowance::NotBefore(until);
        }
        let breaker = sides.breaker(side);
        match breaker.open_until {
            None => Allowance::Open,
            Some(_) if breaker.probing => Allowance::ProbeUnderWay,
            Some(until) if now < until => Allowance::NotBefore(until),
            Some(_) => {
                breaker.probing = true;
                Allowance::Probe
            }
        }
    }

    /// The probe found nothing to send.
    pub fn withdraw_probe(&self, side: Side) {
        self.lock().breaker(side).probing = false;
    }

    /// What a request of `side` met.
    pub fn report(&self, side: Side, health: Health, now: Instant) {
        let mut sides = self.lock();
        let breaker = sides.breaker(side);
        match health {
            Health::Good => {
                let was_open = breaker.open_until.is_some();
                *breaker = Breaker::default();
                if was_open {
                    tracing::info!(side = side.as_str(), "TresorPay answers again; requests leave as usual");
                }
            }
            Health::Bad => {
                breaker.failures = breaker.failures.saturating_add(1);
                let was_probe = std::mem::take(&mut breaker.probing);
                let was_open = breaker.open_until.is_some();
                if was_probe || (!was_open && breaker.failures >= self.breaker_failures) {
                    let steps = breaker.failures.saturating_sub(self.breaker_failures) + 1;
                    let delay = self.backoff.delay(steps);
                    breaker.open_until = Some(now + delay);
                    if !was_open {
                        tracing::warn!(
                            side = side.as_str(),
                            failures = breaker.failures,
                            "TresorPay fails; requests are held back and one probe at a time is sent until it answers"
                        );
                    }
                }
            }
            Health::Pause(delay) => {
                breaker.probing = false;
                let until = now + delay;
                if sides.paused_until.is_none_or(|paused| paused < until) {
                    sides.paused_until = Some(until);
                    tracing::warn!(
                        seconds = delay.as_secs_f64(),
                        "TresorPay asks to wait; no request leaves before"
                    );
                }
            }
            Health::Neutral => breaker.probing = false,
        }
    }

    /// A slot if one is free at once.
    pub fn try_permit(&self) -> Option<Permit> {
        let slot = Arc::clone(&self.concurrency).try_acquire_owned().ok()?;
        Some(Permit { _slot: slot, _status: None })
    }

    /// Waits for a slot, in turn with all others who wait.
    pub async fn next_permit(&self) -> Permit {
        Permit { _slot: acquire(&self.concurrency).await, _status: None }
    }

    /// Waits until a status request may leave: for the end of a pause, a slot and the rate limit.
    pub async fn status_permit(&self) -> Permit {
        let status = acquire(&self.status).await;
        loop {
            while let Some(until) = self.paused_until(Instant::now()) {
                tokio::time::sleep_until(until.into()).await;
            }
            let slot = acquire(&self.concurrency).await;
            if self.paused_until(Instant::now()).is_some() {
                continue;
            }
            match self.take_token() {
                Ok(()) => return Permit { _slot: slot, _status: Some(status) },
                Err(wait) => {
                    // Who waits for the rate does not keep a slot from others.
                    drop(slot);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// TresorPay asked to wait until this instant, which is to come.
    fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.lock().paused_until.filter(|until| now < *until)
    }

    /// Takes one request from the rate limit, or says how long until there is one.
    pub fn take_token(&self) -> Result<(), Duration> {
        let Some(rate) = &self.rate else { return Ok(()) };
        let mut sides = self.lock();
        if sides.spare_tokens > 0 {
            sides.spare_tokens -= 1;
            return Ok(());
        }
        rate.check().map_err(|not_until| not_until.wait_time_from(rate.clock().now()))
    }

    /// Gives back tokens that were taken for requests that did not come to be.
    pub fn return_tokens(&self, count: usize) {
        if self.rate.is_some() && count > 0 {
            let mut sides = self.lock();
            sides.spare_tokens = sides.spare_tokens.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sides> {
        self.sides.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn acquire(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    loop {
        // The semaphore is never closed, so this only ever succeeds.
        if let Ok(slot) = Arc::clone(slots).acquire_owned().await {
            return slot;
        }
    }
}

impl Sides {
    fn breaker(&mut self, side: Side) -> &mut Breaker {
        match side {
            Side::Emit => &mut self.emit,
            Side::Status => &mut self.status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: Option<u32>) -> Pace {
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };
        Pace::new(4, rate.and_then(NonZeroU32::new), backoff, 3)
    }

    #[test]
    fn back_off_doubles_with_jitter_up_to_its_cap() {
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };
        for (failures, full) in [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (7, 60.0), (u32::MAX, 60.0)] {
            for _ in 0..100 {
                let delay = backoff.delay(failures).as_secs_f64();
                assert!((full / 2.0..=full).contains(&delay), "{failures}: {delay}");
            }
        }
    }

    #[test]
    fn a_breaker_opens_probes_once_and_closes_on_success() {
        let (pace, start) = (pace(None), Instant::now());
        for _ in 0..3 {
            assert_eq!(pace.allowance(Side::Emit, start), Allowance::Open);
            pace.report(Side::Emit, Health::Bad, start);
        }
        assert!(
            matches!(pace.allowance(Side::Emit, start), Allowance::NotBefore(at) if at <= start + Duration::from_secs(1))
        );
        assert_eq!(pace.allowance(Side::Status, start), Allowance::Open, "the other side is not concerned");
        let later = start + Duration::from_secs(1);
        assert_eq!(pace.allowance(Side::Emit, later), Allowance::Probe);
        assert_eq!(pace.allowance(Side::Emit, later), Allowance::ProbeUnderWay);
        pace.report(Side::Emit, Health::Bad, later);
        assert!(
            matches!(pace.allowance(Side::Emit, later), Allowance::NotBefore(at) if at >= later + Duration::from_secs(1))
        );
        let last = later + Duration::from_secs(2);
        assert_eq!(pace.allowance(Side::Emit, last), Allowance::Probe);
        pace.report(Side::Emit, Health::Good, last);
        assert_eq!(pace.allowance(Side::Emit, last), Allowance::Open);
    }

    #[test]
    fn a_late_failure_does_not_push_an_open_breaker_further() {
        let (pace, start) = (pace(None), Instant::now());
        for _ in 0..8 {
            pace.report(Side::Emit, Health::Bad, start);
        }
        assert_eq!(pace.allowance(Side::Emit, start + Duration::from_secs(1)), Allowance::Probe);
    }

    #[test]
    fn retry_after_holds_back_both_sides_and_the_longest_wins() {
        let (pace, start) = (pace(None), Instant::now());
        pace.report(Side::Emit, Health::Pause(Duration::from_secs(9)), start);
        pace.report(Side::Emit, Health::Pause(Duration::from_secs(2)), start);
        for side in [Side::Emit, Side::Status] {
            assert_eq!(pace.allowance(side, start), Allowance::NotBefore(start + Duration::from_secs(9)));
            assert_eq!(pace.allowance(side, start + Duration::from_secs(9)), Allowance::Open);
        }
    }

    #[test]
    fn tokens_that_are_given_back_are_not_lost() {
        let pace = pace(Some(2));
        assert_eq!(pace.take_token(), Ok(()));
        assert_eq!(pace.take_token(), Ok(()));
        assert!(pace.take_token().is_err());
        pace.return_tokens(1);
        assert_eq!(pace.take_token(), Ok(()));
        assert!(pace.take_token().is_err());
    }
}
