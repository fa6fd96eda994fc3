//! The task that owns the token: it alone asks the endpoint, once for all who wait.

use std::{sync::Arc, time::Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    AccessToken, AuthError,
    endpoint::{Endpoint, Failed, Granted},
    state::Vault,
};
use crate::{
    observe::Operation,
    pace::{Allowance, Pace, Side},
    tresorpay::{ErrorCode, Health},
};

type Reply = oneshot::Sender<Result<AccessToken, AuthError>>;

/// What callers ask of the actor.
pub(super) enum Ask {
    /// A token, now or as soon as there is one. Who waits with a slot of the gate lends it to the request.
    Token { reply: Reply, lends_slot: bool },
    /// The token was used past its time to refresh.
    Refresh,
}

/// Owns the token.
pub(super) struct Actor {
    endpoint: Arc<Endpoint>,
    pace: Pace,
    vault: Vault,
    waiting: Vec<Reply>,
    generation: u64,
}

/// What the endpoint said, and when it was asked.
type Answer = (Instant, Result<Granted, Failed>);

impl Actor {
    /// An actor that has no token yet.
    pub(super) fn new(endpoint: Endpoint, pace: Pace, vault: Vault) -> Self {
        Self { endpoint: Arc::new(endpoint), pace, vault, waiting: Vec::new(), generation: 0 }
    }

    /// Answers until every handle is gone.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Ask>) {
        let mut request = None;
        let mut lent = Arc::new(Notify::new());
        loop {
            let answered = async {
                match &mut request {
                    Some(request) => request.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ask = inbox.recv() => {
                    let Some(ask) = ask else { return };
                    let lends_slot = matches!(ask, Ask::Token { lends_slot: true, .. });
                    if !self.wants_request(ask, request.is_some()) {
                        continue;
                    }
                    if request.is_none() {
                        lent = Arc::new(Notify::new());
                        request = Some(Box::pin(self.request(Arc::clone(&lent))));
                    }
                    if lends_slot {
                        lent.notify_one();
                    }
                },
                (asked_at, outcome) = answered => {
                    request = None;
                    self.finish(outcome, asked_at);
                }
            }
        }
    }

    /// Asks the endpoint as soon as the gate lets it.
    fn request(&self, lent: Arc<Notify>) -> impl Future<Output = Answer> + Send + 'static {
        let (endpoint, pace) = (Arc::clone(&self.endpoint), self.pace.clone());
        async move {
            let _permit = pace.token_permit(&lent).await;
            let asked_at = Instant::now();
            (asked_at, endpoint.request_token().await)
        }
    }

    /// Takes note of `ask`; whether the endpoint must be asked for it, or is being `asked` already.
    fn wants_request(&mut self, ask: Ask, asked: bool) -> bool {
        let now = Instant::now();
        match ask {
            Ask::Token { reply, .. } => {
                if let Some(token) = self.vault.usable(now) {
                    let _ = reply.send(Ok(token));
                    return false;
                }
                if !asked && !self.may_ask(now) {
                    let _ = reply.send(Err(self.vault.failure().unwrap_or(AuthError::HeldBack)));
                    return false;
                }
                self.waiting.push(reply);
                true
            }
            Ask::Refresh => self.vault.wants_refresh(now) && !asked && self.may_ask(now),
        }
    }

    fn may_ask(&self, now: Instant) -> bool {
        match self.pace.allowance(Side::Token, now) {
            Allowance::Open | Allowance::Probe => true,
            Allowance::NotBefore(_) | Allowance::ProbeUnderWay => false,
        }
    }

    /// Publishes what the endpoint said and answers everyone who waits.
    fn finish(&mut self, outcome: Result<Granted, Failed>, asked_at: Instant) {
        let now = Instant::now();
        let code = outcome.as_ref().map_or_else(|failed| failed.error.code(), |_| ErrorCode::Ok.as_str());
        self.pace.requests().ended(Operation::Token, code, now.duration_since(asked_at));
        let result = match outcome {
            Ok(granted) => {
                self.pace.report(Side::Token, Health::Good, now);
                self.generation += 1;
                Ok(granted.into_token(self.generation, asked_at, now))
            }
            Err(Failed { error, pause }) => {
                let why = format!("{}: {error}", ErrorCode::NoToken.as_str());
                let health = pause.map_or(Health::Bad, Health::Pause);
                self.pace.report_because(Side::Token, health, &why, now);
                Err(error)
            }
        };
        self.vault.take(&result, now);
        for reply in self.waiting.drain(..) {
            let _ = reply.send(result.clone());
        }
    }
}
