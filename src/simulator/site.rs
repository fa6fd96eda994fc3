//! What every connection shares: the book, the tokens, the rules, the counters and the settings that may change.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::book::{Book, Emitted, Order, Payment, Place};
use super::callback;
use super::config::{Config, Delay, OnDuplicate, OnRepeatedCancel, Taxpayers};
use super::counting::Counting;
use super::keycloak::Tokens;
use super::ledger::{Actor, Ledger};
use super::problem::Problem;
use super::rules::Rules;
use super::taxpayer::{self, Agenda};

/// Path of the API below the origin.
pub(super) const API: &str = "/api/public/v1";
/// Path of the realm below the origin.
pub(super) const REALM: &str = "/realms/tresorpay";
/// Path of the token endpoint below the realm.
pub(super) const TOKEN: &str = "/protocol/openid-connect/token";
/// Path of the payment page below the origin.
pub(super) const PAYMENT_PAGE: &str = "/public/init-paiement";
/// Path of the control API below the origin.
pub(super) const CONTROL: &str = "/_simulator";

/// How the simulator is out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// Every request is reset before it is carried out.
    Reset,
    /// Every request is answered 503 by a proxy, with an HTML page.
    Unavailable,
    /// Nobody listens: connections are refused, those that are open are reset. The control API is down too.
    Refuse,
}

/// What may change while the simulator runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) latency: Delay,
    pub(super) idle_close: Option<Duration>,
    pub(super) taxpayers: Taxpayers,
    pub(super) on_duplicate: OnDuplicate,
    pub(super) on_repeated_cancel: OnRepeatedCancel,
    pub(super) outage: Option<Outage>,
    /// How many outages there have been: the end of an older one does not end a newer one.
    pub(super) outages: u64,
}

pub(super) struct Site {
    pub(super) config: Config,
    pub(super) origin: String,
    pub(super) book: Book,
    pub(super) tokens: Tokens,
    pub(super) rules: Rules,
    pub(super) counting: Counting,
    pub(super) agenda: Agenda,
    pub(super) settings: watch::Sender<Settings>,
    /// Whether the listener is there; follows `settings.outage`.
    pub(super) listening: watch::Sender<bool>,
    pub(super) shutdown: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Site {
    pub(super) fn new(config: Config, origin: String) -> Self {
        let settings = Settings {
            latency: config.latency,
            idle_close: config.idle_close,
            taxpayers: config.taxpayers,
            on_duplicate: config.on_duplicate,
            on_repeated_cancel: config.on_repeated_cancel,
            outage: None,
            outages: 0,
        };
        Self {
            book: Book::new(config.seed, config.first_number),
            tokens: Tokens::default(),
            rules: Rules::new(config.seed, &config.faults),
            counting: Counting::default(),
            agenda: Agenda::default(),
            settings: watch::Sender::new(settings),
            listening: watch::Sender::new(true),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
            origin,
        }
    }

    pub(super) fn settings(&self) -> Settings {
        *self.settings.borrow()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Settings)) {
        self.settings.send_modify(change);
    }

    /// How late the next answer is.
    pub(super) fn latency(&self) -> Duration {
        self.settings.borrow().latency.draw(&mut fastrand::Rng::new())
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger { notices: self.book.copy(), counters: self.counting.read() }
    }

    /// Creates a notice and lets its taxpayer decide what to do about it.
    pub(super) fn emit(&self, order: Order) -> Result<Emitted, Problem> {
        let Settings { taxpayers, on_duplicate, .. } = self.settings();
        let client_reference = order.client_reference.clone();
        let emitted = self.book.emit(order, on_duplicate, self.config.on_canceled)?;
        if let Some(earlier) = emitted.earlier
            && let Some((act, after)) =
                taxpayer::decide(&taxpayers, self.config.seed, &client_reference, earlier)
        {
            self.agenda.add(Instant::now() + after, emitted.place, act);
        }
        Ok(emitted)
    }

    /// Pays a notice and has its callback called.
    pub(super) fn pay(
        self: &Arc<Self>,
        place: Place,
        provider: Option<&str>,
        by: Actor,
    ) -> Result<Payment, Problem> {
        let payment = self.book.pay(place, provider, by)?;
        if let Some(url) = payment.callback.clone() {
            let (site, query) = (Arc::clone(self), callback::Query::of(&payment));
            self.in_background(async move {
                let outcome = callback::call(&url, &query).await;
                site.book.callback_ended(place, outcome);
            });
        }
        Ok(payment)
    }

    /// The notice that a person means by `reference`: TresorPay's, else the newest of that client reference.
    pub(super) fn find(&self, reference: &str) -> Result<Place, Problem> {
        self.book
            .find(reference)
            .or_else(|| self.book.newest(reference))
            .ok_or_else(Problem::notice_not_found)
    }

    /// Puts the simulator out of order, for a while or until told otherwise.
    pub(super) fn down(self: &Arc<Self>, outage: Outage, lasts: Option<Duration>) {
        self.change(|settings| {
            settings.outage = Some(outage);
            settings.outages += 1;
        });
        if let Some(lasts) = lasts {
            let (site, this) = (Arc::clone(self), self.settings().outages);
            self.in_background(async move {
                sleep(lasts).await;
                if site.settings().outages == this {
                    site.up();
                }
            });
        }
    }

    pub(super) fn up(&self) {
        self.change(|settings| settings.outage = None);
    }

    /// Runs a task until it ends or the simulator does.
    pub(super) fn in_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            shutdown.run_until_cancelled(task).await;
        });
    }
}
