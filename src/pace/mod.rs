//! When a request may leave: the one gate through which every request passes, whatever it asks for. It has slots, a
//! rate, pauses that TresorPay asks for, and a breaker for each side.

mod background; // what may leave although nobody waits for it
mod backoff; // delays that double
mod breaker; // one side's failures, its opening and its probes
mod held; // what is held back, for people
mod rate; // requests a second
mod slots; // requests at once

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use crate::{clock::Timestamp, observe::Requests, tresorpay::Health};

pub use background::share_of;
pub use backoff::Backoff;
pub use held::{Held, HeldSide};
pub use slots::Permit;

use background::Background;
use breaker::{Breaker, Change};
use rate::Rate;
use slots::Slots;

/// Whoever asks for a token asks for all, so every such request is a probe: the first failure opens that breaker.
const TOKEN_FAILURES: u32 = 1;

/// The parts of TresorPay that fail apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Requests that change something.
    Emit,
    /// Status requests.
    Status,
    /// Requests for a token.
    Token,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Emit, Self::Status, Self::Token];

    /// For logs and `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emit => "emit",
            Self::Status => "status",
            Self::Token => "token",
        }
    }
}

/// How many requests a side may send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// As many as concurrency and rate allow, and [`Pace::most_at_once`].
    Open,
    /// One, to see whether the platform is back.
    Probe,
    /// None before this instant.
    NotBefore(Instant),
    /// None: a probe is under way; its end wakes whoever waits.
    ProbeUnderWay,
}

/// What each side has met.
struct Gate {
    emit: Breaker,
    status: Breaker,
    token: Breaker,
    /// TresorPay asked the whole client to wait until then.
    paused_until: Option<Instant>,
}

/// The gate through which every request passes; cheap to clone.
#[derive(Clone)]
pub struct Pace {
    slots: Slots,
    rate: Arc<Rate>,
    background: Arc<Background>,
    gate: Arc<Mutex<Gate>>,
    held: watch::Sender<Held>,
    requests: Requests,
    max_concurrency: usize,
    backoff: Backoff,
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
            slots: Slots::new(max_concurrency),
            rate: Arc::new(Rate::new(requests_per_second)),
            background: Arc::new(Background::new(requests_per_second)),
            gate: Arc::new(Mutex::new(Gate {
                emit: Breaker::new(breaker_failures),
                status: Breaker::new(breaker_failures),
                token: Breaker::new(TOKEN_FAILURES),
                paused_until: None,
            })),
            held: watch::Sender::new(Held::default()),
            requests: Requests::default(),
            max_concurrency,
            backoff,
        }
    }

    /// `api.max_concurrency`.
    pub fn max_concurrency(&self) -> usize {
        self.max_concurrency
    }

    /// Where those that pass the gate are counted when they have ended.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// What is held back; changes when a breaker opens, probes in vain or closes, and when a pause begins.
    pub fn held(&self) -> watch::Receiver<Held> {
        self.held.subscribe()
    }

    /// Whether `side` may send at `now`. A `Probe` is the caller's to use: it must end in [`Pace::report`] or
    /// [`Pace::withdraw_probe`].
    pub fn allowance(&self, side: Side, now: Instant) -> Allowance {
        let mut gate = self.lock();
        match gate.paused_until.filter(|until| now < *until) {
            Some(until) => Allowance::NotBefore(until),
            None => gate.breaker_mut(side).allowance(now),
        }
    }

    /// How many requests of `side` may be under way. Once one has failed, no more than would open the breaker: with an
    /// unresponsive platform each is a doubt.
    pub fn most_at_once(&self, side: Side) -> usize {
        self.lock().breaker(side).most_at_once()
    }

    /// When `side` may next be asked, if that is to come.
    pub fn not_before(&self, side: Side, now: Instant) -> Option<Instant> {
        let gate = self.lock();
        gate.paused_until.max(gate.breaker(side).waits_until(now)).filter(|at| now < *at)
    }

    /// The probe found nothing to send.
    pub fn withdraw_probe(&self, side: Side) {
        self.lock().breaker_mut(side).end_probe();
    }

    /// What a request of `side` met.
    pub fn report(&self, side: Side, health: Health, now: Instant) {
        self.report_because(side, health, "", now);
    }

    /// What a request of `side` met: for people `why`, the stable code and words that may be shown.
    pub fn report_because(&self, side: Side, health: Health, why: &str, now: Instant) {
        let mut gate = self.lock();
        let breaker = gate.breaker_mut(side);
        let changed = match health {
            Health::Good => breaker.succeed(now).inspect(|open_for| tell_closed(side, *open_for)).is_some(),
            Health::Bad => {
                let change = breaker.fail(now, why, self.backoff);
                match change {
                    Change::None | Change::Later => {}
                    Change::Opened | Change::OtherReason => tell_open(side, breaker.failures(), why),
                }
                change != Change::None
            }
            Health::Pause(delay) if side == Side::Token => breaker.pause(now + delay, why),
            Health::Pause(delay) => {
                breaker.end_probe();
                gate.pause(now, delay)
            }
            Health::Neutral => {
                breaker.end_probe();
                false
            }
        };
        if changed {
            self.held.send_replace(Held::of(&gate, now, Timestamp::now()));
        }
    }

    /// A slot if one is free at once.
    pub fn try_permit(&self) -> Option<Permit> {
        self.slots.free()
    }

    /// Waits for a slot, in turn with all others who wait.
    pub async fn next_permit(&self) -> Permit {
        self.slots.next().await
    }

    /// Waits until a status request may leave: for the end of a pause, a slot and the rate limit.
    pub async fn status_permit(&self) -> Permit {
        let turn = self.slots.status_turn().await;
        loop {
            while let Some(until) = self.paused_until(Instant::now()) {
                tokio::time::sleep_until(until.into()).await;
            }
            let slot = self.slots.next().await;
            if self.paused_until(Instant::now()).is_some() {
                continue;
            }
            match self.take_token() {
                Ok(()) => return slot.of_status(turn),
                Err(wait) => {
                    // Who waits for the rate does not keep a slot from others.
                    drop(slot);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Waits until a request that nobody waits for may leave: it takes a small share of the rate, and gives way to all
    /// others, though not forever.
    pub async fn background_permit(&self) -> Permit {
        self.background.turn().await;
        let patience = Instant::now() + background::MAX_YIELD;
        while Instant::now() < patience && (self.rate.is_contended() || self.slots.are_taken()) {
            tokio::time::sleep(background::YIELD).await;
        }
        self.status_permit().await
    }

    /// Waits until a request for a token may leave. It takes a slot of its own, unless `lent` says that somebody who
    /// holds one waits for it: with every slot held by those who wait, nobody would ever leave.
    pub async fn token_permit(&self, lent: &Notify) -> Option<Permit> {
        let permit = tokio::select! {
            biased;
            () = lent.notified() => None,
            permit = self.slots.next() => Some(permit),
        };
        while let Err(wait) = self.take_token() {
            tokio::time::sleep(wait).await;
        }
        permit
    }

    /// Takes one request from the rate limit, or says how long until there is one.
    pub fn take_token(&self) -> Result<(), Duration> {
        self.rate.take()
    }

    /// Gives back tokens that were taken for requests that did not come to be.
    pub fn return_tokens(&self, count: usize) {
        self.rate.give_back(count);
    }

    /// TresorPay asked to wait until this instant, which is to come.
    fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.lock().paused_until.filter(|until| now < *until)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    fn breaker(&self, side: Side) -> &Breaker {
        match side {
            Side::Emit => &self.emit,
            Side::Status => &self.status,
            Side::Token => &self.token,
        }
    }

    fn breaker_mut(&mut self, side: Side) -> &mut Breaker {
        match side {
            Side::Emit => &mut self.emit,
            Side::Status => &mut self.status,
            Side::Token => &mut self.token,
        }
    }

    /// The whole client waits; whether it is to wait for longer than it was already.
    fn pause(&mut self, now: Instant, delay: Duration) -> bool {
        let until = now + delay;
        let before = self.paused_until.filter(|paused| now < *paused);
        if before.is_some_and(|paused| until <= paused) {
            return false;
        }
        self.paused_until = Some(until);
        if before.is_none() {
            let seconds = delay.as_secs_f64();
            tracing::warn!(seconds, "rate_limited: TresorPay asks to wait; no request leaves before");
        }
        true
    }
}

fn tell_open(side: Side, failures: u32, why: &str) {
    let side = side.as_str();
    tracing::warn!(
        side,
        failures,
        error = why,
        "TresorPay fails; requests are held back and one probe at a time is sent until it answers"
    );
}

fn tell_closed(side: Side, open_for: Duration) {
    let (side, seconds) = (side.as_str(), open_for.as_secs());
    tracing::info!(side, seconds, "TresorPay answers again; requests leave as usual");
}

#[cfg(test)]
mod tests; // the gate as its users see it
