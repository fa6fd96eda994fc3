//! The access token: one task owns it, any number of callers share one request for it.
//!
//! The token is refreshed ahead of its expiry while it is in use, and not at all while nobody asks. A 401 invalidates
//! only the generation it was met with, so that a late answer cannot throw away a newer token.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Client, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};
use url::Url;

use crate::{
    pace::Backoff,
    settings::ClientAuthentication,
    tresorpay::{causes, read_limited},
};

/// Lifetime of a token whose answer does not say: short, so that a wrong guess costs a request, not an outage.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Longest lifetime that is believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// A token is renewed this long before it expires, or at four fifths of its life if that is later.
const MAX_LEAD: Duration = Duration::from_secs(30);
/// Largest answer read from the token endpoint, in bytes.
const MAX_BODY: usize = 256 * 1024;
/// Longest part of an OAuth2 error that is kept, in characters.
const MAX_ERROR_TEXT: usize = 200;
/// Wait when the actor has ended; the daemon is stopping.
const STOPPED_WAIT: Duration = Duration::from_secs(1);
/// Requests waiting for the actor's attention.
const QUEUE: usize = 64;
/// The realm's own scope, which the platform's quick start sends beside the standard parameters.
const CLIENT_SCOPE: &str = "tresorpay";

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
    /// Between failures.
    pub backoff: Backoff,
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
    /// The actor has ended: the daemon is stopping.
    #[error("the daemon is stopping")]
    Stopped,
}

/// Where the token stands, for `status` and readiness; never the token.
#[derive(Debug, Clone, Default)]
pub struct TokenState {
    current: Option<AccessToken>,
    /// Last failure and when the endpoint is asked again; `None` after a success.
    pub failure: Option<(AuthError, Instant)>,
}

impl TokenState {
    /// A token is held and has not expired.
    pub fn held(&self) -> bool {
        self.current.as_ref().is_some_and(|token| Instant::now() < token.expires_at)
    }
}

enum Ask {
    Token(oneshot::Sender<Result<AccessToken, AuthError>>),
    Invalidate(u64),
    /// The token was used past its time to refresh.
    Refresh,
}

/// A handle to the token actor; cheap to clone.
#[derive(Clone)]
pub struct Auth {
    asks: mpsc::Sender<Ask>,
    state: watch::Receiver<TokenState>,
}

impl Auth {
    /// The handle and the actor's task; the task ends when every handle is gone.
    pub fn new(http: Client, options: AuthOptions) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (asks, inbox) = mpsc::channel(QUEUE);
        let (publish, state) = watch::channel(TokenState::default());
        let actor = Actor {
            endpoint: Arc::new(Endpoint { http, options }),
            publish,
            waiting: Vec::new(),
            failures: 0,
            generation: 0,
        };
        (Self { asks, state }, actor.run(inbox))
    }

    /// The current token; one request for all who ask at once. While the endpoint fails, the last error, at once.
    pub async fn token(&self) -> Result<AccessToken, AuthError> {
        let now = Instant::now();
        let held = self.state.borrow().current.clone();
        if let Some(token) = held.filter(|token| now < token.expires_at) {
            if now >= token.refresh_at {
                // A full queue means that the actor has been told already.
                let _ = self.asks.try_send(Ask::Refresh);
            }
            return Ok(token);
        }
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Token(reply)).await.map_err(|_| AuthError::Stopped)?;
        answer.await.map_err(|_| AuthError::Stopped)?
    }

    /// Like [`Auth::token`], but an error comes no sooner than the endpoint may be asked again.
    pub async fn token_when_allowed(&self) -> Result<AccessToken, AuthError> {
        let result = self.token().await;
        if result.is_err() {
            let retry_at = self.state.borrow().failure.as_ref().map(|(_, retry_at)| *retry_at);
            tokio::time::sleep_until(retry_at.unwrap_or_else(|| Instant::now() + STOPPED_WAIT).into()).await;
        }
        result
    }

    /// TresorPay answered 401 to this token; a newer one is left alone.
    pub async fn invalidate(&self, generation: u64) {
        // Only fails when the actor has ended, and then there is no token to invalidate.
        let _ = self.asks.send(Ask::Invalidate(generation)).await;
    }

    /// Where the token stands.
    pub fn state(&self) -> watch::Receiver<TokenState> {
        self.state.clone()
    }
}

struct Endpoint {
    http: Client,
    options: AuthOptions,
}

struct Actor {
    endpoint: Arc<Endpoint>,
    publish: watch::Sender<TokenState>,
    waiting: Vec<oneshot::Sender<Result<AccessToken, AuthError>>>,
    failures: u32,
    generation: u64,
}

impl Actor {
    async fn run(mut self, mut inbox: mpsc::Receiver<Ask>) {
        let mut request = None;
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
                        request = Some(Box::pin(async move { endpoint.request_token().await }));
                    },
                    None => return,
                },
                outcome = answered => {
                    request = None;
                    self.finish(outcome);
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
            Ask::Invalidate(generation) => {
                self.publish.send_if_modified(|state| {
                    let same = state.current.as_ref().is_some_and(|token| token.generation == generation);
                    if same {
                        state.current = None;
                    }
                    same
                });
                false
            }
            Ask::Refresh => {
                let state = self.publish.borrow();
                let due = state.current.as_ref().is_none_or(|token| now >= token.refresh_at);
                due && state.failure.as_ref().is_none_or(|(_, retry_at)| now >= *retry_at)
            }
        }
    }

    /// Publishes what the endpoint said and answers everyone who waits.
    fn finish(&mut self, outcome: Result<Granted, AuthError>) {
        let now = Instant::now();
        let result = match outcome {
            Ok(granted) => {
                if self.failures > 0 {
                    tracing::info!("the token endpoint answers again");
                }
                self.failures = 0;
                self.generation += 1;
                Ok(granted.into_token(self.generation, now))
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
            Ok(token) => *state = TokenState { current: Some(token.clone()), failure: None },
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

/// A token as the endpoint granted it.
struct Granted {
    header: HeaderValue,
    lifetime: Duration,
}

impl Granted {
    fn into_token(self, generation: u64, now: Instant) -> AccessToken {
        let lead = MAX_LEAD.min(self.lifetime / 5);
        AccessToken {
            header: self.header,
            generation,
            refresh_at: now + (self.lifetime - lead),
            expires_at: now + self.lifetime,
        }
    }
}

/// RFC 6749 §5.1 and §5.2 in one: whichever fields are there.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    expires_in: Option<serde_json::Value>,
    token_type: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Endpoint {
    async fn request_token(&self) -> Result<Granted, AuthError> {
        let options = &self.options;
        let secret = options.client_secret.expose_secret();
        let mut form = vec![("grant_type", "client_credentials")];
        if let Some(scope) = &options.scope {
            form.push(("scope", scope));
        }
        form.push(("client_scope", CLIENT_SCOPE));
        let mut request = self.http.post(options.token_url.clone());
        match options.client_authentication {
            ClientAuthentication::Body => {
                form.push(("client_id", &options.client_id));
                form.push(("client_secret", secret));
            }
            ClientAuthentication::Basic => {
                request = request.basic_auth(form_encoded(&options.client_id), Some(form_encoded(secret)));
            }
        }
        let response =
            request.form(&form).send().await.map_err(|error| AuthError::Unavailable(causes(&error)))?;
        let status = response.status();
        let body = read_limited(response, MAX_BODY).await.map_err(AuthError::Unavailable)?;
        read_answer(status.as_u16(), &body)
    }
}

/// RFC 6749 §2.3.1: id and secret are form-encoded before they go into Basic.
fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn read_answer(status: u16, body: &[u8]) -> Result<Granted, AuthError> {
    let Ok(answer) = serde_json::from_slice::<TokenAnswer>(body) else {
        return Err(AuthError::Unavailable(format!("HTTP {status} without an OAuth2 answer")));
    };
    if let Some(error) = answer.error {
        let description = answer.error_description.map(|text| format!(": {}", short(&text)));
        let (error, description) = (short(&error), description.unwrap_or_default());
        return Err(if status >= 500 {
            AuthError::Unavailable(format!("HTTP {status}, {error}{description}"))
        } else {
            AuthError::Refused { error, description }
        });
    }
    let token = match answer.access_token {
        Some(token) if (200..300).contains(&status) && !token.is_empty() => token,
        Some(_) | None => {
            return Err(AuthError::Unavailable(format!("HTTP {status} without an access_token")));
        }
    };
    if answer.token_type.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(AuthError::Unavailable("the token is no bearer token".to_owned()));
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
        AuthError::Unavailable("the access_token is no text that a header can hold".to_owned())
    })?;
    header.set_sensitive(true);
    Ok(Granted { header, lifetime: lifetime(answer.expires_in.as_ref()) })
}

/// `expires_in` may be missing, a number or a text, tiny or absurd.
fn lifetime(expires_in: Option<&serde_json::Value>) -> Duration {
    let seconds = match expires_in {
        Some(serde_json::Value::Number(number)) => number.as_f64(),
        Some(serde_json::Value::String(text)) => text.trim().parse::<f64>().ok(),
        _ => None,
    };
    seconds.filter(|seconds| seconds.is_finite()).map_or(DEFAULT_LIFETIME, |seconds| {
        Duration::from_secs_f64(seconds.clamp(0.0, MAX_LIFETIME.as_secs_f64()))
    })
}

fn short(text: &str) -> String {
    text.chars().take(MAX_ERROR_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lifetimes_of_every_kind() {
        let of = |json: &str| lifetime(Some(&serde_json::from_str(json).unwrap())).as_secs_f64();
        assert_eq!(lifetime(None), DEFAULT_LIFETIME);
        for (json, seconds) in [
            ("300", 300.0),
            ("\"300\"", 300.0),
            ("1.5", 1.5),
            ("0", 0.0),
            ("-5", 0.0),
            ("1e300", 86400.0),
            ("null", 60.0),
            ("\"soon\"", 60.0),
            ("\"NaN\"", 60.0),
            ("[]", 60.0),
        ] {
            assert!((of(json) - seconds).abs() < 1e-9, "{json}");
        }
    }

    #[test]
    fn answers_of_the_token_endpoint() {
        let refused = read_answer(401, br#"{"error":"invalid_client","error_description":"Invalid client"}"#);
        assert_eq!(
            refused.err().unwrap().to_string(),
            "the token endpoint refused the credentials: invalid_client: Invalid client"
        );
        for (status, body) in [
            (200, "<html>"),
            (200, "{}"),
            (200, r#"{"access_token":""}"#),
            (200, r#"{"access_token":"a\nb"}"#),
            (200, r#"{"access_token":"a","token_type":"mac"}"#),
            (302, r#"{"access_token":"a"}"#),
            (503, r#"{"error":"temporarily_unavailable"}"#),
        ] {
            assert!(matches!(read_answer(status, body.as_bytes()), Err(AuthError::Unavailable(_))), "{body}");
        }
        let granted = read_answer(200, br#"{"access_token":"top-secret","expires_in":"300"}"#).unwrap();
        let token = granted.into_token(1, Instant::now());
        assert!(token.header().is_sensitive());
        assert!(!format!("{token:?} {:?}", token.header()).contains("top-secret"));
    }
}
