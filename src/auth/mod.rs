//! The access token: one task owns it, any number of callers share one request for it.
//!
//! The token is refreshed ahead of its expiry while it is in use, and not at all while nobody asks. A 401 invalidates
//! only the generation it was met with, so that a late answer cannot throw away a newer token. The requests for it pass
//! the same gate as all others.

mod actor; // owns the token
mod endpoint; // one request for it
mod state; // where it stands

use std::time::{Duration, Instant};

use reqwest::{Client, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{mpsc, oneshot, watch};
use url::Url;

use crate::{
    pace::{Pace, Side},
    settings::ClientAuthentication,
    tresorpay::Scrubber,
};

use actor::{Actor, Ask};
use endpoint::Endpoint;
#[doc(hidden)]
pub use endpoint::judge_token;
pub use state::TokenState;
use state::Vault;

/// Wait when the actor has ended; the daemon is stopping.
const STOPPED_WAIT: Duration = Duration::from_secs(1);
/// Requests waiting for the actor's attention.
const QUEUE: usize = 64;

/// What the token endpoint needs to be asked.
pub struct AuthOptions {
    /// The token endpoint.
    pub token_url: Url,
    /// OAuth2 client id.
    pub client_id: String,
    /// OAuth2 client secret.
    pub client_secret: SecretString,
    /// `scope`; `None`: not sent.
    pub scope: Option<String>,
    /// Where id and secret go.
    pub client_authentication: ClientAuthentication,
}

/// A bearer token. Its text is only in the header value, which is marked sensitive.
#[derive(Clone)]
pub struct AccessToken {
    header: HeaderValue,
    generation: u64,
    refresh_at: Instant,
    expires_at: Instant,
}

impl AccessToken {
    /// `Bearer …`, for the `Authorization` header.
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Which token this is, to invalidate no other.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessToken(generation {})", self.generation)
    }
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The endpoint answered with an OAuth2 error: wrong credentials, most often.
    #[error("the token endpoint refused the credentials: {error}{description}")]
    Refused {
        /// `invalid_client`, `unauthorized_client`, …
        error: String,
        /// `: ` and the description, or nothing.
        description: String,
    },
    /// No usable answer.
    #[error("the token endpoint gave no token: {0}")]
    Unavailable(String),
    /// TresorPay asked the whole client to wait.
    #[error("no token is asked for while TresorPay asks to wait")]
    HeldBack,
    /// The actor has ended: the daemon is stopping.
    #[error("the daemon is stopping")]
    Stopped,
}

impl AuthError {
    /// What failed, in a stable word: `credentials_refused` (somebody has to act), else `unavailable`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "credentials_refused",
            Self::Unavailable(_) | Self::HeldBack | Self::Stopped => "unavailable",
        }
    }
}

/// What stands before the token in the header.
const BEARER: &str = "Bearer ";

/// A handle to the token actor; cheap to clone.
#[derive(Clone)]
pub struct Auth {
    asks: mpsc::Sender<Ask>,
    vault: Vault,
    pace: Pace,
    client_secret: SecretString,
}

impl Auth {
    /// The handle and the actor's task; the task ends when every handle is gone.
    pub fn new(
        http: Client,
        options: AuthOptions,
        pace: Pace,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (asks, inbox) = mpsc::channel(QUEUE);
        let vault = Vault::default();
        let client_secret = options.client_secret.clone();
        let actor = Actor::new(Endpoint { http, options }, pace.clone(), vault.clone());
        (Self { asks, vault, pace, client_secret }, actor.run(inbox))
    }

    /// The current token; one request for all who ask at once. While the endpoint fails, the last error, at once. The
    /// caller holds a slot of the gate, which serves the request for the token meanwhile.
    pub async fn token(&self) -> Result<AccessToken, AuthError> {
        self.ask(true).await
    }

    async fn ask(&self, lends_slot: bool) -> Result<AccessToken, AuthError> {
        let now = Instant::now();
        if let Some(token) = self.vault.usable(now) {
            if now >= token.refresh_at {
                // A full queue means that the actor has been told already.
                let _ = self.asks.try_send(Ask::Refresh);
            }
            return Ok(token);
        }
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Token { reply, lends_slot }).await.map_err(|_| AuthError::Stopped)?;
        answer.await.map_err(|_| AuthError::Stopped)?
    }

    /// Like [`Auth::token`] for who holds no slot; an error comes no sooner than the endpoint may be asked again.
    pub async fn token_when_allowed(&self) -> Result<AccessToken, AuthError> {
        let result = self.ask(false).await;
        if let Err(error) = &result {
            let now = Instant::now();
            let wait = if *error == AuthError::Stopped { STOPPED_WAIT } else { Duration::ZERO };
            let retry_at = self.pace.not_before(Side::Token, now).unwrap_or(now).max(now + wait);
            tokio::time::sleep_until(retry_at.into()).await;
        }
        result
    }

    /// TresorPay answered 401 to this token; a newer one is left alone.
    pub fn invalidate(&self, generation: u64) {
        self.vault.drop_generation(generation);
    }

    /// Where the token stands, and each change of it; for whoever tells of it.
    pub fn token_state(&self) -> watch::Receiver<TokenState> {
        self.vault.told()
    }

    /// A token is held that has not expired.
    pub fn holds_token(&self) -> bool {
        self.vault.usable(Instant::now()).is_some()
    }

    /// Adds what must never be kept or shown: the client secret and the last tokens.
    pub fn hide_secrets(&self, scrubber: &mut Scrubber) {
        scrubber.add(self.client_secret.expose_secret());
        let headers = self.vault.headers();
        for header in headers.iter().filter_map(|header| header.to_str().ok()) {
            scrubber.add(header.trim_start_matches(BEARER));
        }
    }
}
