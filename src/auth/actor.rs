//! The task that owns the token: it alone asks the endpoint, once for all who wait.

use std::{sync::Arc, time::Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    AccessToken, AuthError, TokenState,
    endpoint::{Endpoint, Granted},
};

/// What callers ask of the actor.
pub(super) enum Ask {
    /// A token, now or as soon as there is one.
    Token(oneshot::Sender<Result<AccessToken, AuthError>>),
    /// The token was used past its time to refresh.
    Refresh,
}

/// Owns the token.
pub(super) struct Actor {
    endpoint: Arc<Endpoint>,
    publish: watch::Sender<TokenState>,
    waiting: Vec<oneshot::Sender<Result<AccessToken, AuthError>>>,
    failures: u32,
    generation: u64,
}

impl Actor {
    /// An actor that has no token yet.
    pub(super) fn new(endpoint: Endpoint, publish: watch::Sender<TokenState>) -> Self {
        Self { endpoint: Arc::new(endpoint), publish, waiting: Vec::new(), failures: 0, generation: 0 }
    }

    /// Answers until every handle is gone.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Ask>) {
        let mut request = None;
        let mut asked_at = Instant::now();
        loop {
            let answered = async {
                match &mut request {
                    Some(request) => request.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ask = inbox.recv() => match ask {
                    Some(ask) => if self.wants_request(ask) && request.is_none() {
                        let endpoint = Arc::clone(&self.endpoint);
                        asked_at = Instant::now();
                        request = Some(Box::pin(async move { endpoint.request_token().await }));
                    },
                    None => return,
                },
                outcome = answered => {
                    request = None;
                    self.finish(outcome, asked_at);
                }
            }
        }
    }

    /// Takes note of `ask`; whether the endpoint must be asked for it.
    fn wants_request(&mut self, ask: Ask) -> bool {
        let now = Instant::now();
        match ask {
            Ask::Token(reply) => {
                let state = self.publish.borrow();
                if let Some(token) = state.current.as_ref().filter(|token| now < token.expires_at) {
                    let _ = reply.send(Ok(token.clone()));
                    return false;
                }
                if let Some((error, retry_at)) = &state.failure
                    && now < *retry_at
                {
                    let _ = reply.send(Err(error.clone()));
                    return false;
                }
                drop(state);
                self.waiting.push(reply);
                true
            }
            Ask::Refresh => {
                let state = self.publish.borrow();
                let due = state.current.as_ref().is_none_or(|token| now >= token.refresh_at);
                due && state.failure.as_ref().is_none_or(|(_, retry_at)| now >= *retry_at)
            }
        }
    }

    /// Publishes what the endpoint said and answers everyone who waits.
    fn finish(&mut self, outcome: Result<Granted, AuthError>, asked_at: Instant) {
        let now = Instant::now();
        let result = match outcome {
            Ok(granted) => {
                if self.failures > 0 {
                    tracing::info!("the token endpoint answers again");
                }
                self.failures = 0;
                self.generation += 1;
                Ok(granted.into_token(self.generation, asked_at, now))
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(error = %error, "no access token; nothing is sent until there is one");
                }
                self.failures = self.failures.saturating_add(1);
                Err(error)
            }
        };
        self.publish.send_modify(|state| match &result {
            Ok(token) => {
                let last = Some(token.header());
                *state = TokenState { current: Some(token.clone()), last, failure: None };
            }
            Err(error) => {
                let retry_at = now + self.endpoint.options.backoff.delay(self.failures);
                state.failure = Some((error.clone(), retry_at));
            }
        });
        for reply in self.waiting.drain(..) {
            let _ = reply.send(result.clone());
        }
    }
}
