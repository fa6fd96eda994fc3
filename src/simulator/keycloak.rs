//! The token endpoint, as Keycloak answers: grant type first, then the client, then the scope.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::Utc;
use hyper::header::{CACHE_CONTROL, PRAGMA};
use serde_json::json;
use tokio::time::Instant;
use url::form_urlencoded;

use super::answer::Answer;
use super::config::{Config, ExpiresIn};
use super::unknown::AcceptedAuthentication;

/// Scopes that the realm's client may ask for.
const SCOPES: [&str; 5] = ["email", "openid", "profile", "roles", "tresorpay"];

/// Random bytes of a token's last part, as long as an RS256 signature.
const SIGNATURE_BYTES: usize = 256;

/// The tokens that are accepted now.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<String, Instant>>);

impl Tokens {
    fn tokens(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn accepts(&self, token: &str) -> bool {
        self.tokens().get(token).is_some_and(|&end| Instant::now() < end)
    }

    pub(super) fn revoke_all(&self) {
        self.tokens().clear();
    }

    fn issue(&self, issuer: &str, client: &str, lifetime: Duration) -> String {
        let token = token(issuer, client, lifetime);
        let now = Instant::now();
        let mut tokens = self.tokens();
        tokens.retain(|_, end| *end > now);
        tokens.insert(token.clone(), now + lifetime);
        token
    }
}

/// Answers a token request: the form, the `Authorization` header if there is one, and the realm's URL.
pub(super) fn grant(
    config: &Config,
    tokens: &Tokens,
    issuer: &str,
    form: &[u8],
    authorization: Option<&str>,
) -> Answer {
    let mut fields = HashMap::new();
    for (name, value) in form_urlencoded::parse(form) {
        if fields.insert(name, value).is_some() {
            return refuse(400, "invalid_request", "duplicated parameter");
        }
    }
    match fields.get("grant_type").map(AsRef::as_ref) {
        None => return refuse(400, "invalid_request", "Missing form parameter: grant_type"),
        Some("client_credentials") => {}
        Some(_) => return refuse(400, "unsupported_grant_type", "Unsupported grant_type"),
    }
    let field = |name: &str| fields.get(name).map(ToString::to_string);
    let basic = authorization.and_then(basic_credentials);
    let wanted = match config.client_authentication {
        AcceptedAuthentication::Any => true,
        AcceptedAuthentication::Body => basic.is_none(),
        AcceptedAuthentication::Basic => basic.is_some(),
    };
    if !wanted {
        return refuse(401, "invalid_client", "Invalid client or Invalid client credentials");
    }
    let (id, secret) = match basic {
        Some((id, secret)) => (Some(id), Some(secret)),
        None => (field("client_id"), field("client_secret")),
    };
    if id.as_deref() != Some(&config.client_id) {
        return refuse(401, "invalid_client", "Invalid client or Invalid client credentials");
    }
    if secret.as_deref() != Some(&config.client_secret) {
        return refuse(401, "unauthorized_client", "Invalid client or Invalid client credentials");
    }
    let scope = field("scope").unwrap_or_default();
    if scope.split_ascii_whitespace().any(|word| !SCOPES.contains(&word)) {
        return refuse(400, "invalid_scope", &format!("Invalid scopes: {scope}"));
    }
    let mut body = json!({
        "access_token": tokens.issue(issuer, &config.client_id, config.token_lifetime),
        "refresh_expires_in": 0,
        "token_type": "Bearer",
        "not-before-policy": 0,
        "scope": if scope.is_empty() { "email profile" } else { &scope },
    });
    let seconds = config.token_lifetime.as_secs();
    match config.expires_in {
        ExpiresIn::Number => body["expires_in"] = json!(seconds),
        ExpiresIn::Text => body["expires_in"] = json!(seconds.to_string()),
        ExpiresIn::Omitted => {}
    }
    no_store(Answer::json(200, &body))
}

/// An OAuth2 error (RFC 6749 §5.2).
pub(super) fn refuse(status: u16, error: &str, description: &str) -> Answer {
    no_store(Answer::json(status, &json!({ "error": error, "error_description": description })))
}

/// What Keycloak's HTTP layer answers to a request that never reaches the endpoint.
pub(super) fn http_error(status: u16) -> Answer {
    let error = format!("HTTP {status} {}", super::problem::reason(status));
    Answer::json(status, &json!({ "error": error }))
}

fn no_store(answer: Answer) -> Answer {
    answer.with(CACHE_CONTROL, "no-store").with(PRAGMA, "no-cache")
}

/// Id and secret of a Basic header; both are form-encoded inside (RFC 6749 §2.3.1).
fn basic_credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    form_urlencoded::parse(text.replace('=', "%3D").replace('&', "%26").as_bytes())
        .next()
        .map_or_else(String::new, |(name, _)| name.into_owned())
}

/// A token shaped and sized like Keycloak's JWT. Nobody should look inside; it is only looked up.
fn token(issuer: &str, client: &str, lifetime: Duration) -> String {
    let now = Utc::now().timestamp();
    let ends = now.saturating_add_unsigned(lifetime.as_secs());
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "simulator" });
    let claims = json!({
        "exp": ends, "iat": now, "iss": issuer, "azp": client, "client_id": client, "typ": "Bearer",
        "jti": format!("{:032x}", fastrand::u128(..)), "scope": "email profile",
        "realm_access": { "roles": ["default-roles-tresorpay", "offline_access", "uma_authorization"] },
    });
    let signature: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(SIGNATURE_BYTES).collect();
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    format!(
        "{}.{}.{}",
        part(header.to_string().as_bytes()),
        part(claims.to_string().as_bytes()),
        part(&signature)
    )
}
