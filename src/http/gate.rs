//! Who may read: whoever shows `http.token`, as a bearer token or as the password of a browser's login. Without a token, who
//! is on this machine, and says so: a web page of a stranger, whose name was made to point here, does not.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, WWW_AUTHENTICATE,
            X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{hmac, rand::SystemRandom};
use secrecy::ExposeSecret;

use super::HttpOptions;

/// No script at all; styles and pictures of this server; no frame around it; forms lead back here.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";
/// How a browser and a program log in. The name before the password does not matter.
const CHALLENGES: [&str; 2] =
    [r#"Basic realm="tresorpayd", charset="UTF-8""#, r#"Bearer realm="tresorpayd""#];

/// Decides who may read; cheap to clone. The token itself is not kept.
#[derive(Clone)]
pub(super) enum Gate {
    /// No token: who is on this machine.
    ThisMachine,
    /// Who shows the token.
    Token(Arc<Key>),
    /// There is no random number for the key.
    Nobody,
}

/// Compares in a time that says nothing of the token.
pub(super) struct Key {
    key: hmac::Key,
    tag: hmac::Tag,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may read.
    Admitted,
    /// It shows no token, or another.
    NoToken,
    /// There is no token, and it names a host that is not this machine.
    ForeignHost,
}

impl Gate {
    pub(super) fn new(options: &HttpOptions) -> Self {
        let Some(token) = &options.token else { return Self::ThisMachine };
        match hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()) {
            Ok(key) => Self::of(key, token.expose_secret()),
            Err(_) => Self::Nobody,
        }
    }

    fn of(key: hmac::Key, token: &str) -> Self {
        let tag = hmac::sign(&key, token.as_bytes());
        Self::Token(Arc::new(Key { key, tag }))
    }

    /// Whether a request with these headers may read.
    pub(super) fn admission(&self, headers: &HeaderMap) -> Admission {
        match self {
            Self::ThisMachine if is_this_machine(headers) => Admission::Admitted,
            Self::ThisMachine => Admission::ForeignHost,
            Self::Token(key) if shown(headers).is_some_and(|token| key.fits(&token)) => Admission::Admitted,
            Self::Token(_) | Self::Nobody => Admission::NoToken,
        }
    }
}

impl Key {
    fn fits(&self, token: &str) -> bool {
        hmac::verify(&self.key, token.as_bytes(), self.tag.as_ref()).is_ok()
    }
}

/// `Bearer TOKEN`, or the password of `Basic`.
fn shown(headers: &HeaderMap) -> Option<String> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let login = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    login.split_once(':').map(|(_, password)| password.to_owned())
}

/// The host that the request names is an address or `localhost`: no name that somebody else can point here.
fn is_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Some(host) = host.to_str().ok() else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

/// Lets in whom [`Gate::admission`] admits.
pub(super) async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.admission(request.headers()) {
        Admission::Admitted => next.run(request).await,
        Admission::NoToken => {
            let mut response = (StatusCode::UNAUTHORIZED, "show http.token\n").into_response();
            for challenge in CHALLENGES {
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            response
        }
        Admission::ForeignHost => {
            let words = "without http.token, only requests to localhost or to an address are answered\n";
            (StatusCode::FORBIDDEN, words).into_response()
        }
    }
}

/// What every answer forbids: to run, to frame, to guess, to tell where it was read, to keep.
pub(super) async fn forbid(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::try_from(value).unwrap())])
    }

    #[test]
    fn a_token_is_shown_as_bearer_or_as_a_password() {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).unwrap();
        let gate = Gate::of(key, "s3cret:word");
        let basic = |login: &str| format!("Basic {}", STANDARD.encode(login));
        for (value, admitted) in [
            ("Bearer s3cret:word".to_owned(), true),
            ("bearer  s3cret:word ".to_owned(), true),
            (basic("anyone:s3cret:word"), true),
            (basic(":s3cret:word"), true),
            (basic("s3cret:word"), false),
            (basic("anyone:s3cret"), false),
            ("Bearer s3cret:wor".to_owned(), false),
            ("Bearer".to_owned(), false),
            ("Bearer ".to_owned(), false),
            ("Basic !!!".to_owned(), false),
            ("Digest s3cret:word".to_owned(), false),
        ] {
            let admission = gate.admission(&headers(AUTHORIZATION, &value));
            assert_eq!(admission == Admission::Admitted, admitted, "{value}");
        }
        assert_eq!(gate.admission(&HeaderMap::new()), Admission::NoToken);
    }

    #[test]
    fn without_a_token_only_this_machine_is_named() {
        for (host, admission) in [
            ("127.0.0.1:9464", Admission::Admitted),
            ("localhost", Admission::Admitted),
            ("LOCALHOST:9464", Admission::Admitted),
            ("[::1]:9464", Admission::Admitted),
            ("127.0.0.1.evil.example", Admission::ForeignHost),
            ("evil.example:9464", Admission::ForeignHost),
            ("localhost.evil.example", Admission::ForeignHost),
            ("", Admission::ForeignHost),
        ] {
            assert_eq!(Gate::ThisMachine.admission(&headers(HOST, host)), admission, "{host}");
        }
    }
}
