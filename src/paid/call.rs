//! The application's own callback: called by the daemon once the payment is recorded, with what TresorPay would have told,
//! until it answers 2xx. An application that is gone is not waited for with every row anew.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{Client, redirect};
use url::Url;

use crate::{
    pace::Backoff,
    store::PaidCase,
    tresorpay::{ErrorCode, HttpClientError, causes},
};

/// For a whole call.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// To a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Origins that are remembered as gone.
const ORIGINS: usize = 256;
const USER_AGENT: &str = concat!("tresorpayd/", env!("CARGO_PKG_VERSION"));

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Called {
    /// 2xx.
    Done,
    /// Not 2xx, or no answer; why.
    Failed(String),
    /// Its host did not answer others just now.
    Held(Duration),
}

/// Calls applications.
pub(super) struct Caller {
    http: Client,
    backoff: Backoff,
    /// Hosts that could not be reached: failures in a row, and until when none is called.
    gone: Mutex<HashMap<String, (u32, Instant)>>,
}

impl Caller {
    /// Without a proxy, without redirects, without anything that TresorPay gave.
    pub(super) fn new(backoff: Backoff) -> Result<Self, HttpClientError> {
        // Another part of this process may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .user_agent(USER_AGENT)
            .no_proxy()
            .http1_only()
            .retry(reqwest::retry::never())
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIME)
            .timeout(TIME_LIMIT)
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { http, backoff, gone: Mutex::default() })
    }

    /// Calls `url` for a paid row, once.
    pub(super) async fn call(&self, url: &str, case: &PaidCase) -> Called {
        let code = ErrorCode::CallbackFailed.as_str();
        let Ok(mut url) = Url::parse(url) else { return Called::Failed(format!("{code}: it is no URL")) };
        let origin = url.origin().ascii_serialization();
        if let Some(wait) = self.wait(&origin) {
            return Called::Held(wait);
        }
        url.query_pairs_mut()
            .append_pair("status", "PAID")
            .append_pair("id", case.tresorpay_reference.as_deref().unwrap_or_default())
            .append_pair("amount", &case.net_total.to_string())
            .append_pair("provider", case.provider.as_deref().unwrap_or_default())
            .append_pair("reference", &case.reference);
        match self.http.get(url).send().await {
            Ok(answer) => {
                self.reached(&origin);
                match answer.status() {
                    status if status.is_success() => Called::Done,
                    status => Called::Failed(format!(
                        "{code}: the application's callback answered HTTP {}",
                        status.as_u16()
                    )),
                }
            }
            Err(error) => {
                self.failed(origin);
                let why = if error.is_timeout() { "no answer in time".to_owned() } else { causes(&error) };
                Called::Failed(format!("{code}: the application's callback was not reached: {why}"))
            }
        }
    }

    fn wait(&self, origin: &str) -> Option<Duration> {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, until) = gone.get(origin)?;
        Some(until.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    fn reached(&self, origin: &str) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).remove(origin);
    }

    fn failed(&self, origin: String) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if gone.len() >= ORIGINS {
            gone.retain(|_, (_, until)| *until > now);
        }
        if gone.len() < ORIGINS || gone.contains_key(&origin) {
            let (failures, until) = gone.entry(origin).or_insert((0, now));
            *failures = failures.saturating_add(1);
            *until = now + self.backoff.delay(*failures);
        }
    }
}
