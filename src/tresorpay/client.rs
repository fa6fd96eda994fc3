//! Requests to the TresorPay API. Each is sent once; only a 401 is followed by one more with a new token.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::Duration,
};

use reqwest::{
    Certificate, Client, ClientBuilder, Method, Proxy, RequestBuilder,
    header::{AUTHORIZATION, CONTENT_TYPE},
    redirect,
};
use serde_json::{Value, value::RawValue};
use url::Url;

use super::{
    ErrorCode, Scrubber, ServerClock,
    cancel::{CancelAddress, OtherPlatform},
    exchange::{Answer, Body, Exchange, NoAnswer, Unsent, send},
    problem::Problem,
    wire::{CancelRequest, ConfirmRequest, EmitRequest, StatusAnswer},
};
use crate::{
    auth::{AccessToken, Auth},
    notice::{Amount, Notice, RemoteStatus, TresorPayReference},
    settings::{OtherPhoneNumbers, Settings, is_loopback},
};

/// Largest answer to an emission that is read, in bytes.
const MAX_EMIT_BODY: usize = 64 * 1024;
/// Largest answer to a status request, in bytes for each notice asked for, and at least.
const MAX_STATUS_BODY_EACH: usize = 2 * 1024;
const MIN_STATUS_BODY: usize = 64 * 1024;
/// Well below the idle time-out of any server, which begins half a round trip before ours and ends half a round trip before
/// we hear of it: a request is never written to a connection that is about to be closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_millis(400);
/// Of a whole request's time, what a connection may take: were both to end at once, a request that never left could look
/// like one that was not answered.
const CONNECT_SHARE: f64 = 0.9;
const USER_AGENT: &str = concat!("tresorpayd/", env!("CARGO_PKG_VERSION"));
const JSON: &str = "application/json";

/// How connections are made.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// DNS, TCP, TLS and proxy together.
    pub connect_timeout: Duration,
    /// The whole exchange, to the last byte of the answer.
    pub request_timeout: Duration,
    /// `None`: `HTTPS_PROXY` and `NO_PROXY`.
    pub proxy: Option<Url>,
    /// PEM roots that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Both URLs are loopback: no proxy, whatever the environment says.
    pub loopback: bool,
    /// Idle connections kept.
    pub max_idle: usize,
}

impl HttpOptions {
    /// As the settings say, keeping up to `max_idle` idle connections.
    pub fn new(settings: &Settings, max_idle: usize) -> Self {
        let api = &settings.api;
        Self {
            connect_timeout: api.connect_timeout,
            request_timeout: api.request_timeout,
            proxy: api.proxy.clone(),
            ca_file: api.ca_file.clone(),
            loopback: is_loopback(&api.base_url) && is_loopback(&settings.auth.token_url),
            max_idle,
        }
    }
}

/// Why no HTTP client could be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// `api.ca_file` cannot be read.
    #[error("api.ca_file {path}: {error}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// Certificates, proxy or TLS set-up.
    #[error("HTTP client")]
    Build(#[from] reqwest::Error),
}

/// A client that never retries, never follows a redirect and never keeps an idle connection for as long as a second.
pub fn http_client(options: &HttpOptions) -> Result<Client, HttpClientError> {
    Ok(http_builder(options)?.build()?)
}

/// What [`http_client`] is built from, for who wants to know more of a connection.
pub fn http_builder(options: &HttpOptions) -> Result<ClientBuilder, HttpClientError> {
    // Another part of this process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .http1_only()
        .retry(reqwest::retry::never())
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(options.connect_timeout.min(options.request_timeout.mul_f64(CONNECT_SHARE)))
        .timeout(options.request_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(options.max_idle);
    if options.loopback {
        builder = builder.no_proxy();
    }
    if let Some(proxy) = &options.proxy {
        builder = builder.proxy(Proxy::all(proxy.clone())?);
    }
    if let Some(path) = &options.ca_file {
        let pem =
            std::fs::read(path).map_err(|error| HttpClientError::CaFile { path: path.clone(), error })?;
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem)?);
    }
    Ok(builder)
}

/// What TresorPay says of one notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReport {
    /// Its reference.
    pub reference: TresorPayReference,
    /// Its status.
    pub status: RemoteStatus,
    /// Who took the payment, as TresorPay names it.
    pub provider: Option<String>,
    /// When, as TresorPay writes it: a local date-time without offset.
    pub pay_date: Option<String>,
    /// What it is over, where TresorPay tells, which its documentation does not promise.
    pub amount: Option<Amount>,
}

/// Why a status request told nothing.
#[derive(Debug)]
pub enum StatusFailure {
    /// The endpoint does not exist there.
    NoSuchEndpoint,
    /// The API does not know this notice, or refuses to speak of it.
    Refused(String),
    /// Anything else.
    Failed {
        /// The stable code.
        code: ErrorCode,
        /// What the network or TresorPay said.
        detail: String,
        /// How long TresorPay asks to wait.
        pause: Option<Duration>,
    },
}

impl StatusFailure {
    /// Its stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoSuchEndpoint => ErrorCode::Misdirected,
            Self::Refused(_) => ErrorCode::Refused,
            Self::Failed { code, .. } => *code,
        }
    }
}

/// The API of one environment.
#[derive(Clone)]
pub struct TresorPay {
    http: Client,
    auth: Auth,
    pub(super) base_url: Url,
    emit_url: Url,
    statuses_url: Url,
    phones: OtherPhoneNumbers,
    clock: ServerClock,
}

impl TresorPay {
    /// A client of the API below `base_url`.
    pub fn new(http: Client, auth: Auth, base_url: Url, phones: OtherPhoneNumbers) -> Self {
        let emit_url = below(&base_url, &["payment", "create-notice-recette"]);
        let statuses_url = below(&base_url, &["notice-recette", "status", "references"]);
        Self { http, auth, base_url, emit_url, statuses_url, phones, clock: ServerClock::default() }
    }

    /// TresorPay's clock, as its answers tell.
    pub fn clock(&self) -> &ServerClock {
        &self.clock
    }

    /// The base URL, as `attempt.base_url` records it.
    pub fn base_url(&self) -> &str {
        self.base_url.as_str().trim_end_matches('/')
    }

    /// The token actor, to see whether a request could leave at all.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Takes out of an answer what is personal in `notice`, and every secret.
    pub fn scrubber(&self, notice: &Notice) -> Scrubber {
        let mut scrubber = Scrubber::for_notice(notice);
        self.auth.hide_secrets(&mut scrubber);
        scrubber
    }

    /// Emits `notice`. The caller has committed that it may leave.
    pub async fn emit(&self, notice: &Notice) -> Exchange {
        let body = match serde_json::to_vec(&EmitRequest::new(notice, self.phones)) {
            Ok(body) => body,
            Err(error) => return Exchange::Unsent(Unsent::Unreachable(error.to_string())),
        };
        self.exchange(Method::POST, &self.emit_url, Some(body), MAX_EMIT_BODY).await
    }

    /// Confirms the delivery of what was paid. The caller has committed that it may leave.
    pub async fn confirm(
        &self,
        reference: &TresorPayReference,
        code_client: &str,
        code_structure: &str,
    ) -> Exchange {
        let body = ConfirmRequest { reference: reference.as_str(), code_client, code_structure };
        let body = match serde_json::to_vec(&body) {
            Ok(body) => body,
            Err(error) => return Exchange::Unsent(Unsent::Unreachable(error.to_string())),
        };
        let url = below(&self.base_url, &["payment", "verified-notice-recette"]);
        self.exchange(Method::POST, &url, Some(body), MAX_EMIT_BODY).await
    }

    /// Where the notices of a client reference are canceled. The token goes to the origin that this daemon is set to and
    /// nowhere else, so an address anywhere else is none.
    pub fn cancel_address(
        &self,
        base_url: &str,
        reference: &str,
        client_code: &str,
        structure_code: &str,
    ) -> Result<CancelAddress, OtherPlatform> {
        let ours = self.base_url.origin();
        let base_url = Url::parse(base_url)
            .ok()
            .filter(|url| url.origin() == ours)
            .ok_or_else(|| OtherPlatform { at: base_url.to_owned(), ours: ours.ascii_serialization() })?;
        Ok(CancelAddress {
            url: below(&base_url, &["payment", "cancel-notice-recette"]),
            reference: reference.to_owned(),
            client_code: client_code.to_owned(),
            structure_code: structure_code.to_owned(),
        })
    }

    /// Cancels by the client's reference. The caller has committed that it may leave.
    pub async fn cancel(&self, address: &CancelAddress) -> Exchange {
        let body = match serde_json::to_vec(&CancelRequest::new(address)) {
            Ok(body) => body,
            Err(error) => return Exchange::Unsent(Unsent::Unreachable(error.to_string())),
        };
        self.exchange(Method::POST, &address.url, Some(body), MAX_EMIT_BODY).await
    }

    /// The status of one notice.
    pub async fn status(&self, reference: &TresorPayReference) -> Result<StatusReport, StatusFailure> {
        let url = below(&self.base_url, &["notice-recette", "status", reference.as_str()]);
        let exchange = self.exchange(Method::GET, &url, None, MIN_STATUS_BODY).await;
        judge_status(exchange, reference)
    }

    /// The status of many; what the answer leaves out or garbles is missing from the result.
    pub async fn statuses(
        &self,
        references: &[TresorPayReference],
    ) -> Result<Vec<StatusReport>, StatusFailure> {
        let texts: Vec<&str> = references.iter().map(TresorPayReference::as_str).collect();
        let body = serde_json::to_vec(&texts).map_err(|error| unusable(&error.to_string()))?;
        let limit = MIN_STATUS_BODY + MAX_STATUS_BODY_EACH * references.len();
        let exchange = self.exchange(Method::POST, &self.statuses_url, Some(body), limit).await;
        judge_statuses(exchange, references)
    }

    /// Sends with a token; after a 401, once more with a new one.
    pub(super) async fn exchange(
        &self,
        method: Method,
        url: &Url,
        body: Option<Vec<u8>>,
        max_body: usize,
    ) -> Exchange {
        let token = match self.auth.token().await {
            Ok(token) => token,
            Err(error) => return Exchange::Unsent(Unsent::NoToken(error.to_string())),
        };
        let request = |token: &AccessToken| self.request(&method, url, body.clone(), token);
        match send(request(&token), max_body, &self.clock).await {
            Exchange::Answered(Answer { status: 401, .. }) => {
                self.auth.invalidate(token.generation());
                match self.auth.token().await {
                    Ok(token) => send(request(&token), max_body, &self.clock).await,
                    Err(error) => Exchange::Unsent(Unsent::NoToken(error.to_string())),
                }
            }
            exchange => exchange,
        }
    }

    fn request(
        &self,
        method: &Method,
        url: &Url,
        body: Option<Vec<u8>>,
        token: &AccessToken,
    ) -> RequestBuilder {
        let request = self.http.request(method.clone(), url.clone()).header(AUTHORIZATION, token.header());
        match body {
            Some(body) => request.header(CONTENT_TYPE, JSON).body(body),
            None => request,
        }
    }
}

/// What the answer to a status request says. Public only for the fuzzer, which has no server.
#[doc(hidden)]
pub fn judge_status(
    exchange: Exchange,
    reference: &TresorPayReference,
) -> Result<StatusReport, StatusFailure> {
    report(read_status::<StatusAnswer>(exchange)?)
        .filter(|report| report.reference == *reference)
        .ok_or_else(|| unusable("the answer is not about the notice asked for"))
}

/// What the answer to a request for many says. Public only for the fuzzer, which has no server.
#[doc(hidden)]
pub fn judge_statuses(
    exchange: Exchange,
    references: &[TresorPayReference],
) -> Result<Vec<StatusReport>, StatusFailure> {
    let answers = read_status::<Vec<Box<RawValue>>>(exchange)?;
    let mut reports: HashMap<&TresorPayReference, Option<StatusReport>> = HashMap::new();
    let asked: HashSet<&TresorPayReference> = references.iter().collect();
    for told in answers.iter().filter_map(|answer| report(serde_json::from_str(answer.get()).ok()?)) {
        // Who says two things of one notice has said nothing of it.
        if let Some(reference) = asked.get(&told.reference) {
            reports
                .entry(reference)
                .and_modify(|before| *before = before.take().filter(|before| *before == told))
                .or_insert(Some(told));
        }
    }
    Ok(reports.into_values().flatten().collect())
}

/// The address of `path` below the base URL; each segment is escaped.
pub(super) fn below(base_url: &Url, path: &[&str]) -> Url {
    let mut url = base_url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

fn unusable(detail: &str) -> StatusFailure {
    StatusFailure::Failed { code: ErrorCode::UnusableAnswer, detail: detail.to_owned(), pause: None }
}

fn report(answer: StatusAnswer) -> Option<StatusReport> {
    Some(StatusReport {
        reference: TresorPayReference::parse(answer.reference.as_deref()?).ok()?,
        status: match RemoteStatus::from_word(answer.status.as_deref()?) {
            RemoteStatus::Unknown(word) => RemoteStatus::Unknown(kept(&word)),
            known => known,
        },
        provider: answer.provider.map(|text| kept(&text)),
        pay_date: answer.pay_date.map(|text| kept(&text)),
        amount: answer.net_total.or(answer.amount).as_ref().and_then(whole),
    })
}

/// A whole amount, as a number or as text.
fn whole(value: &Value) -> Option<Amount> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let whole = match text.trim().split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => text.trim(),
    };
    whole.parse().ok().map(Amount)
}

/// Longest provider or date that is kept, in characters.
const MAX_WORD: usize = 100;

fn kept(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_WORD).collect()
}

fn read_status<T: serde::de::DeserializeOwned>(exchange: Exchange) -> Result<T, StatusFailure> {
    let (status, bytes) = read_success(exchange)?;
    serde_json::from_slice(&bytes)
        .map_err(|_| unusable(&format!("HTTP {status}, the body is not the JSON of a status")))
}

/// The status and the whole body of a 2xx; else why a request that changes nothing told nothing.
pub(super) fn read_success(exchange: Exchange) -> Result<(u16, Vec<u8>), StatusFailure> {
    let failed = |code, detail, pause| Err(StatusFailure::Failed { code, detail, pause });
    match exchange {
        Exchange::Unsent(Unsent::NoToken(why)) => failed(ErrorCode::NoToken, why, None),
        Exchange::Unsent(Unsent::Unreachable(why)) => failed(ErrorCode::Unreachable, why, None),
        Exchange::Unsent(Unsent::Certificate(code, why)) => failed(code, why, None),
        Exchange::Unsent(Unsent::ShuttingDown) => {
            failed(ErrorCode::ShuttingDown, "the daemon is stopping".to_owned(), None)
        }
        Exchange::NoAnswer(NoAnswer::TimedOut) => {
            failed(ErrorCode::TimedOut, "no answer within api.request_timeout".to_owned(), None)
        }
        Exchange::NoAnswer(NoAnswer::Lost(why)) => failed(ErrorCode::ConnectionLost, why, None),
        Exchange::Answered(answer) => read_answer(answer),
    }
}

/// The code alone: a status request knows no taxpayer, so nothing could be scrubbed from the rest.
fn said(status: u16, problem: Option<&Problem>) -> String {
    match problem.and_then(Problem::code) {
        Some(code) => format!("HTTP {status}, {code}"),
        None => format!("HTTP {status}"),
    }
}

fn read_answer(answer: Answer) -> Result<(u16, Vec<u8>), StatusFailure> {
    let (status, pause) = (answer.status, answer.retry_after.map(|after| after.0));
    let bytes = match answer.body {
        Body::Whole(bytes) => bytes,
        Body::Cut(why) => return Err(unusable(&format!("HTTP {status}, {why}"))),
    };
    let failed = |code, detail| Err(StatusFailure::Failed { code, detail, pause });
    match (status, Problem::parse(status, &bytes)) {
        (200..=299, _) => Ok((status, bytes)),
        (401, _) => failed(ErrorCode::Unauthorized, "HTTP 401 with a new token too".to_owned()),
        (429, _) => failed(ErrorCode::RateLimited, "HTTP 429".to_owned()),
        (404 | 405 | 406 | 415 | 501, problem) if problem.as_ref().is_none_or(Problem::is_about_the_path) => {
            Err(StatusFailure::NoSuchEndpoint)
        }
        (400..=499, Some(problem)) if status != 403 && status != 408 => {
            Err(StatusFailure::Refused(said(status, Some(&problem))))
        }
        (500.., problem) => failed(ErrorCode::ServerError, said(status, problem.as_ref())),
        (_, _) => failed(ErrorCode::Misdirected, format!("HTTP {status}, not an answer of the API")),
    }
}

#[cfg(test)]
mod tests;
