//! One request to the token endpoint, and its answer (RFC 6749 §4.4, §5).

use std::time::{Duration, Instant};

use reqwest::{Client, header::HeaderValue};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{AccessToken, AuthError, AuthOptions};
use crate::{
    settings::ClientAuthentication,
    tresorpay::{Scrubber, asked_to_wait, read_limited, unreachable},
};

/// Lifetime of a token whose answer does not say: short, so that a wrong guess costs a request, not an outage.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// A token is used for at least this long, whatever its answer says: otherwise one that expires at once would let
/// nothing leave. If TresorPay no longer takes it, a 401 says so.
const MIN_USE: Duration = Duration::from_secs(1);
/// Longest lifetime that is believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// A token is renewed this long before it expires, or at four fifths of its life if that is later.
const MAX_LEAD: Duration = Duration::from_secs(30);
/// Largest answer read from the token endpoint, in bytes.
const MAX_BODY: usize = 256 * 1024;
/// Longest token that is taken, in bytes: every request carries it, and servers refuse heads beyond this.
const MAX_TOKEN: usize = 16 * 1024;
/// Longest part of an OAuth2 error that is kept, in characters.
const MAX_ERROR_TEXT: usize = 200;
/// The realm's own scope, which the platform's quick start sends beside the standard parameters.
const CLIENT_SCOPE: &str = "tresorpay";

/// The token endpoint and who asks it.
pub(super) struct Endpoint {
    pub(super) http: Client,
    pub(super) options: AuthOptions,
}

/// A token as the endpoint granted it.
pub(super) struct Granted {
    header: HeaderValue,
    lifetime: Duration,
}

impl Granted {
    /// Its life began at some time after the request for it left, at `asked_at`.
    pub(super) fn into_token(self, generation: u64, asked_at: Instant, now: Instant) -> AccessToken {
        let lead = MAX_LEAD.min(self.lifetime / 5);
        // A request with it needs time to arrive, too.
        let (refresh, expire) = (self.lifetime.saturating_sub(lead), self.lifetime.saturating_sub(lead / 4));
        AccessToken {
            header: self.header,
            generation,
            refresh_at: (asked_at + refresh).max(now + MIN_USE),
            expires_at: (asked_at + expire).max(now + MIN_USE),
        }
    }
}

/// No token, and how long the endpoint asks to wait.
pub(super) struct Failed {
    pub(super) error: AuthError,
    pub(super) pause: Option<Duration>,
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
    pub(super) async fn request_token(&self) -> Result<Granted, Failed> {
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
        let failed = |error, pause| Failed { error: self.without_secret(error), pause };
        let unavailable = |why| failed(AuthError::Unavailable(why), None);
        let response = request.form(&form).send().await.map_err(|error| unavailable(unreachable(&error)))?;
        let status = response.status().as_u16();
        let pause = if matches!(status, 429 | 503) { asked_to_wait(response.headers()) } else { None };
        let body = read_limited(response, MAX_BODY).await.map_err(unavailable)?;
        read_answer(status, &body).map_err(|error| failed(error, pause))
    }
}

impl Endpoint {
    /// An endpoint may echo the secret that it refuses.
    fn without_secret(&self, error: AuthError) -> AuthError {
        let mut scrubber = Scrubber::default();
        scrubber.add(self.options.client_secret.expose_secret());
        let scrub = |text: String| short(&scrubber.scrub(&text));
        match error {
            AuthError::Refused { error, description } => {
                AuthError::Refused { error: scrub(error), description: scrub(description) }
            }
            AuthError::Unavailable(why) => AuthError::Unavailable(scrub(why)),
            error @ (AuthError::HeldBack | AuthError::Stopped) => error,
        }
    }
}

/// RFC 6749 §2.3.1: id and secret are form-encoded before they go into Basic.
fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// How long the token of this answer lives. Public only for the fuzzer, which has no server.
#[doc(hidden)]
pub fn judge_token(status: u16, body: &[u8]) -> Result<Duration, AuthError> {
    read_answer(status, body).map(|granted| granted.lifetime)
}

fn read_answer(status: u16, body: &[u8]) -> Result<Granted, AuthError> {
    let Ok(answer) = serde_json::from_slice::<TokenAnswer>(body) else {
        return Err(AuthError::Unavailable(format!("HTTP {status} without an OAuth2 answer")));
    };
    if let Some(error) = answer.error {
        let description = answer.error_description.map(|text| format!(": {text}"));
        let description = description.unwrap_or_default();
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
    if token.len() > MAX_TOKEN {
        return Err(AuthError::Unavailable(format!("the access_token is longer than {MAX_TOKEN} bytes")));
    }
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
        let token = granted.into_token(1, Instant::now(), Instant::now());
        assert!(token.header().is_sensitive());
        assert!(!format!("{token:?} {:?}", token.header()).contains("top-secret"));
    }
}
