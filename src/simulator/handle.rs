//! Starts a simulator in this process and holds it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::config::{Config, Delay, Taxpayers};
use super::ledger::{Actor, Alteration, Counters, Ledger, Notice};
use super::problem::Problem;
use super::rule::Rule;
use super::server;
use super::site::{API, CONTROL, Outage, PAYMENT_PAGE, REALM, Site, TOKEN};
use super::taxpayer;

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It answers without TLS and accepts everything its control API says, so it stays on this machine.
    #[error("the simulator listens on loopback addresses only, not on {0}; use 127.0.0.1 or [::1]")]
    NotLoopback(SocketAddr),
    /// The address is taken or not there.
    #[error("the simulator cannot listen on {address}: {source}")]
    Bind {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The shares of taxpayers make no sense.
    #[error(
        "the shares of taxpayers who pay ({pay}) and who cancel ({cancel}) must be 0 to 1, and 1 at most together"
    )]
    Shares {
        /// Share that pays.
        pay: f64,
        /// Share that cancels.
        cancel: f64,
    },
}

/// Why something cannot be done to a notice, in the platform's own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem.title().to_owned())
    }
}

/// A running simulator. It ends with `shutdown`, or at once when this is dropped.
pub struct Simulator {
    site: Arc<Site>,
    address: SocketAddr,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("origin", &self.site.origin).finish_non_exhaustive()
    }
}

/// Starts a simulator on the current tokio runtime; it accepts connections when this returns.
pub async fn start(config: Config) -> Result<Simulator, StartError> {
    let address = config.listen;
    if !address.ip().is_loopback() {
        return Err(StartError::NotLoopback(address));
    }
    if !config.taxpayers.make_sense() {
        let Taxpayers { pay_share: pay, cancel_share: cancel, .. } = config.taxpayers;
        return Err(StartError::Shares { pay, cancel });
    }
    let bind = |source| StartError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let site = Arc::new(Site::new(config, format!("http://{address}")));
    site.tasks.spawn(server::listen(Arc::clone(&site), listener, address));
    site.in_background(taxpayer::act_on_agenda(Arc::clone(&site)));
    Ok(Simulator { site, address })
}

impl Simulator {
    /// What it was started with. Later changes of settings do not show here.
    pub fn config(&self) -> &Config {
        &self.site.config
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn origin(&self) -> &str {
        &self.site.origin
    }

    /// For `api.base_url`.
    pub fn base_url(&self) -> String {
        format!("{}{API}", self.site.origin)
    }

    /// For `auth.token_url`.
    pub fn token_url(&self) -> String {
        format!("{}{REALM}{TOKEN}", self.site.origin)
    }

    /// For `api.payment_page`; takes `?id=` and a TresorPay reference.
    pub fn payment_page(&self) -> String {
        format!("{}{PAYMENT_PAGE}", self.site.origin)
    }

    /// The control API, without a slash at the end.
    pub fn control_url(&self) -> String {
        format!("{}{CONTROL}", self.site.origin)
    }

    /// Every notice and the counters, as they are now.
    pub fn ledger(&self) -> Ledger {
        self.site.ledger()
    }

    /// The counters alone: cheap, however many notices there are.
    pub fn counters(&self) -> Counters {
        self.site.counting.read()
    }

    /// One notice: by its TresorPay reference, else the newest of a client reference.
    pub fn notice(&self, reference: &str) -> Option<Notice> {
        let place = self.site.find(reference).ok()?;
        Some(self.site.book.with(place, |notice| notice.clone()))
    }

    /// Puts a fault rule behind the others; its id.
    pub fn add_fault(&self, rule: Rule) -> u64 {
        self.site.rules.add(rule)
    }

    /// Takes one fault rule away; false if it is not there.
    pub fn remove_fault(&self, id: u64) -> bool {
        self.site.rules.remove(id)
    }

    /// Takes every fault rule away. What already struck a request stays.
    pub fn clear_faults(&self) {
        self.site.rules.clear();
    }

    /// Pays a notice (named as for `notice`), through its taxpayer's own provider if none is given.
    pub fn pay(&self, reference: &str, provider: Option<&str>) -> Result<(), Refusal> {
        let place = self.site.find(reference)?;
        self.site.pay(place, provider, Actor::Control)?;
        Ok(())
    }

    /// Cancels a notice (named as for `notice`) behind the client's back.
    pub fn cancel(&self, reference: &str) -> Result<(), Refusal> {
        let place = self.site.find(reference)?;
        Ok(self.site.book.cancel(place, Actor::Control)?)
    }

    /// Changes a notice (named as for `notice`) as no taxpayer and no client could: TresorPay changes its mind.
    pub fn alter(&self, reference: &str, alteration: Alteration) -> Result<(), Refusal> {
        self.site.book.alter(self.site.find(reference)?, alteration);
        Ok(())
    }

    /// Makes every token so far void.
    pub fn revoke_tokens(&self) {
        self.site.tokens.revoke_all();
    }

    /// How late every answer is from now on: a duration, or a range to draw from.
    pub fn set_latency(&self, latency: impl Into<Delay>) {
        let latency = latency.into();
        self.site.change(|settings| settings.latency = latency);
    }

    /// What taxpayers of notices to come do.
    pub fn set_taxpayers(&self, taxpayers: Taxpayers) {
        self.site.change(|settings| settings.taxpayers = taxpayers);
    }

    /// When kept-alive connections without a request are closed.
    pub fn set_idle_close(&self, after: Option<Duration>) {
        self.site.change(|settings| settings.idle_close = after);
    }

    /// Goes out of order until `up`. With `Outage::Refuse`, returns once nobody listens any more.
    pub async fn down(&self, outage: Outage) {
        self.site.down(outage, None);
        if outage == Outage::Refuse {
            self.wait_for_listener(false).await;
        }
    }

    /// Ends an outage; returns once connections are accepted again, on the same port.
    pub async fn up(&self) {
        self.site.up();
        self.wait_for_listener(true).await;
    }

    async fn wait_for_listener(&self, there: bool) {
        // An error would mean that the sender is gone, which this very handle holds.
        let _ = self.site.listening.subscribe().wait_for(|listening| *listening == there).await;
    }

    /// Stops accepting, lets answers under way go out, and ends every connection and task.
    pub async fn shutdown(self) {
        self.site.shutdown.cancel();
        self.site.tasks.close();
        self.site.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.site.shutdown.cancel();
    }
}
