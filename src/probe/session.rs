//! One request after another: no faster than `api.requests_per_second`, each with a time limit, at most so many. Whoever is
//! silent three times in a row is asked nothing more, so that a platform that hangs ends the probe, not its user's patience.

use std::time::{Duration, Instant};

use reqwest::{
    Client, Method, RequestBuilder,
    header::{AUTHORIZATION, HeaderValue},
};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    MAX_REQUESTS, ProbeError,
    answer::Reply,
    record::{self, Recorded},
};
use crate::{
    settings::{ClientAuthentication, Credentials, Settings},
    tresorpay::{Answer, Exchange, HttpOptions, Scrubber, ServerClock, Unsent, http_client, send_and_tell},
};

/// How long a request may take, however patient `api.request_timeout` is.
const LIMIT: Duration = Duration::from_secs(20);
/// Requests without an answer, in a row, after which nothing more is asked.
const MAX_SILENT: u32 = 3;
/// Requests that are kept for the cancels at the end.
const FOR_CANCELS: usize = 50;
/// Longest wait that TresorPay may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes.
const MAX_BODY: usize = 256 * 1024;
/// The realm's own scope, which the platform's quick start sends.
const CLIENT_SCOPE: &str = "tresorpay";

/// How a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenForm {
    pub(super) authentication: ClientAuthentication,
    pub(super) with_scope: bool,
    pub(super) with_grant_type: bool,
}

/// Who asks, and what was asked so far.
pub(super) struct Session {
    http: Client,
    base_url: Url,
    token_url: Url,
    credentials: Credentials,
    scope: Option<String>,
    token: Option<(TokenForm, HeaderValue)>,
    scrubber: Scrubber,
    pace: Option<Interval>,
    clock: ServerClock,
    asked: usize,
    reserved: usize,
    silent: u32,
    stop: Option<CancellationToken>,
    record: Vec<Recorded>,
}

impl Session {
    pub(super) fn new(settings: &Settings, stop: CancellationToken) -> Result<Self, ProbeError> {
        let options = HttpOptions::new(settings, 1);
        let http =
            http_client(&HttpOptions { request_timeout: options.request_timeout.min(LIMIT), ..options })?;
        let credentials = settings.auth.credentials.clone().ok_or(ProbeError::NoAccount)?;
        let mut scrubber = Scrubber::default();
        scrubber.add(credentials.client_secret.expose_secret());
        let pace = settings.api.requests_per_second.map(|rate| {
            let mut pace = interval(Duration::from_secs(1) / rate.get());
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
        });
        Ok(Self {
            http,
            base_url: settings.api.base_url.clone(),
            token_url: settings.auth.token_url.clone(),
            credentials,
            scope: settings.auth.scope.clone(),
            token: None,
            scrubber,
            pace,
            clock: ServerClock::default(),
            asked: 0,
            reserved: FOR_CANCELS,
            silent: 0,
            stop: Some(stop),
            record: Vec::new(),
        })
    }

    pub(super) fn base_url(&self) -> &str {
        self.base_url.as_str()
    }

    pub(super) fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    pub(super) fn into_record(self) -> Vec<Recorded> {
        self.record
    }

    /// What is left is canceled even by a platform that was silent before, and when the probe was told to stop.
    pub(super) fn turn_to_cancels(&mut self) {
        (self.reserved, self.silent, self.stop) = (0, 0, None);
    }

    /// From now on requests carry this token, asked for in this form.
    pub(super) fn hold(&mut self, form: TokenForm, access_token: &str) -> Result<(), String> {
        let mut header = HeaderValue::try_from(format!("Bearer {access_token}"))
            .map_err(|_| "the access_token is no text that a header can hold".to_owned())?;
        header.set_sensitive(true);
        self.scrubber.add(access_token);
        self.token = Some((form, header));
        Ok(())
    }

    /// A request to the token endpoint.
    pub(super) async fn token(&mut self, question: &'static str, form: TokenForm) -> Reply {
        let credentials = self.credentials.clone();
        let (id, secret) = (credentials.client_id.as_str(), credentials.client_secret.expose_secret());
        let scope = self.scope.clone();
        let mut fields = Vec::new();
        if form.with_grant_type {
            fields.push(("grant_type", "client_credentials"));
        }
        if let Some(scope) = scope.as_deref().filter(|_| form.with_scope) {
            fields.push(("scope", scope));
        }
        fields.push(("client_scope", CLIENT_SCOPE));
        let mut request = self.http.post(self.token_url.clone());
        match form.authentication {
            ClientAuthentication::Body => fields.extend([("client_id", id), ("client_secret", secret)]),
            ClientAuthentication::Basic => {
                let encoded =
                    |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                request = request.basic_auth(encoded(id), Some(encoded(secret)));
            }
        }
        let line = format!("POST {}", self.token_url);
        self.exchange(question, line, Some(record::form(&fields)), request.form(&fields)).await
    }

    /// A request to the API, below the base URL. A token that ran out is renewed, and a pause that is asked for is made, once.
    pub(super) async fn call(
        &mut self,
        question: &'static str,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Reply {
        let reply = self.once(question, &method, path, body.as_ref()).await;
        match &reply.exchange {
            Exchange::Answered(Answer { status: 401, .. }) if self.renew(question).await => {
                return self.once(question, &method, path, body.as_ref()).await;
            }
            // Surely not carried out.
            Exchange::Answered(Answer { status: 429, retry_after, .. }) => {
                let pause = retry_after.map_or(Duration::from_secs(1), |after| after.0);
                if pause <= MAX_PAUSE {
                    sleep(pause).await;
                    return self.once(question, &method, path, body.as_ref()).await;
                }
            }
            _ => {}
        }
        reply
    }

    async fn once(
        &mut self,
        question: &'static str,
        method: &Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Reply {
        let mut url = self.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let line = format!("{method} {url}");
        let mut request = self.http.request(method.clone(), url);
        if let Some((_, token)) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.exchange(question, line, body.cloned(), request).await
    }

    async fn renew(&mut self, question: &'static str) -> bool {
        let Some((form, _)) = self.token.clone() else { return false };
        let reply = self.token(question, form).await;
        let token = reply.json().and_then(|json| Some(json.get("access_token")?.as_str()?.to_owned()));
        token.is_some_and(|token| self.hold(form, &token).is_ok())
    }

    async fn exchange(
        &mut self,
        question: &'static str,
        line: String,
        sent: Option<Value>,
        request: RequestBuilder,
    ) -> Reply {
        if self.stop.as_ref().is_some_and(CancellationToken::is_cancelled) {
            return Reply::unasked("not asked: interrupted".to_owned());
        }
        if self.silent >= MAX_SILENT {
            return Reply::unasked(format!("not asked: {MAX_SILENT} requests in a row were not answered"));
        }
        if self.asked + self.reserved >= MAX_REQUESTS {
            return Reply::unasked("not asked: too many requests already".to_owned());
        }
        if let Some(pace) = &mut self.pace {
            pace.tick().await;
        }
        self.asked += 1;
        let asked_at = Instant::now();
        let (exchange, headers) = send_and_tell(request, MAX_BODY, &self.clock).await;
        self.silent = if matches!(exchange, Exchange::Answered(_)) { 0 } else { self.silent + 1 };
        let recorded = Recorded {
            question,
            request: line,
            sent,
            http_status: None,
            content_type: None,
            answer: None,
            failure: None,
            took_ms: u64::try_from(asked_at.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let recorded = recorded.answered(&exchange, &headers, &self.scrubber);
        let reply =
            Reply { exchange, content_type: recorded.content_type.clone(), secrets: self.scrubber.clone() };
        self.record.push(recorded);
        reply
    }
}

impl Reply {
    /// What was never sent.
    fn unasked(why: String) -> Self {
        Self {
            exchange: Exchange::Unsent(Unsent::NoToken(why)),
            content_type: None,
            secrets: Scrubber::default(),
        }
    }
}
