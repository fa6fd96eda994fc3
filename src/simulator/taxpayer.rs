//! The simulated taxpayers: who pays, who cancels, when and through whom, and the task that makes it happen.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::book::Place;
use super::config::Taxpayers;
use super::ledger::Actor;
use super::site::Site;
use super::wire::{PROVIDERS, PaymentMode};

/// What a taxpayer does about a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    Pay,
    Cancel,
}

/// What the taxpayer of the `earlier + 1`st notice of a client reference does, and how long after the emission.
pub(super) fn decide(
    taxpayers: &Taxpayers,
    seed: u64,
    client_reference: &str,
    earlier: usize,
) -> Option<(Act, Duration)> {
    if taxpayers.pay_share <= 0.0 && taxpayers.cancel_share <= 0.0 {
        return None;
    }
    let mut rng = rng(seed, client_reference, 1 + earlier as u64);
    let draw = rng.f64();
    if draw < taxpayers.pay_share {
        Some((Act::Pay, taxpayers.pay_after.draw(&mut rng)))
    } else if draw < taxpayers.pay_share + taxpayers.cancel_share {
        Some((Act::Cancel, taxpayers.cancel_after.draw(&mut rng)))
    } else {
        None
    }
}

/// Through whom the taxpayer pays: one of the authorised providers, else any.
pub(super) fn provider(seed: u64, client_reference: &str, modes: Option<&[PaymentMode]>) -> String {
    let authorised: Vec<&str> =
        modes.unwrap_or_default().iter().filter_map(|mode| mode.code_provider.as_deref()).collect();
    let choice = if authorised.is_empty() { &PROVIDERS[..] } else { &authorised[..] };
    choice[rng(seed, client_reference, 0).usize(..choice.len())].to_owned()
}

/// A generator of its own for each notice, so that the order of concurrent requests changes nothing (FNV-1a).
fn rng(seed: u64, client_reference: &str, stream: u64) -> fastrand::Rng {
    let bytes = seed.to_le_bytes().into_iter().chain(client_reference.bytes()).chain(stream.to_le_bytes());
    fastrand::Rng::with_seed(bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// What taxpayers are going to do, by time.
#[derive(Default)]
pub(super) struct Agenda {
    due: Mutex<BinaryHeap<Reverse<(Instant, Place, Act)>>>,
    sooner: Notify,
}

impl Agenda {
    pub(super) fn add(&self, at: Instant, place: Place, act: Act) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let first = due.peek().is_none_or(|Reverse((first, ..))| at < *first);
        due.push(Reverse((at, place, act)));
        drop(due);
        if first {
            self.sooner.notify_one();
        }
    }

    /// Takes what is due; else says when something will be.
    fn take(&self, now: Instant) -> Result<(Place, Act), Option<Instant>> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        match due.peek() {
            Some(Reverse((at, ..))) if *at > now => Err(Some(*at)),
            Some(_) => due.pop().map(|Reverse((_, place, act))| (place, act)).ok_or(None),
            None => Err(None),
        }
    }
}

/// Lets the taxpayers act, for ever.
pub(super) async fn act_on_agenda(site: Arc<Site>) {
    loop {
        match site.agenda.take(Instant::now()) {
            Ok((place, Act::Pay)) => {
                // Paid or canceled by somebody else meanwhile: then there is nothing left to do.
                let _ = site.pay(place, None, Actor::Taxpayer);
                yield_now().await;
            }
            Ok((place, Act::Cancel)) => {
                let _ = site.book.cancel(place, Actor::Taxpayer);
                yield_now().await;
            }
            Err(next) => {
                let due = async {
                    match next {
                        Some(at) => sleep_until(at).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    () = due => {}
                    () = site.agenda.sooner.notified() => {}
                }
            }
        }
    }
}
