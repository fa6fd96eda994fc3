//! The validated settings: plain values that need no second look.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::choice::{
    ClientAuthentication, Delivery, Environment, LogFormat, LogLevel, OnUncertain, OtherPhoneNumbers,
};
use super::cron::CronSchedule;

/// The API and how to reach it (`[api]`).
#[derive(Clone, PartialEq, Eq)]
pub struct Api {
    /// Below which the endpoints lie: https, or http to loopback; no userinfo, query or fragment, no slash at the
    /// end unless it is the whole path. Add segments with `path_segments_mut().pop_if_empty()`: `Url::join` would
    /// replace the last one.
    pub base_url: Url,
    /// To a TCP and TLS connection.
    pub connect_timeout: Duration,
    /// For a whole request and its answer.
    pub request_timeout: Duration,
    /// `None`: what `HTTPS_PROXY` and `NO_PROXY` of the process say. May hold a password.
    pub proxy: Option<Url>,
    /// PEM file of the trusted roots; `None`: the system's. Absolute; it could be read when settings were loaded.
    pub ca_file: Option<PathBuf>,
    /// Requests under way at once, 1 to 256.
    pub max_concurrency: usize,
    /// `None`: no limit.
    pub requests_per_second: Option<NonZeroU32>,
    /// The first back-off; not longer than the last.
    pub retry_first_delay: Duration,
    /// The longest back-off.
    pub retry_max_delay: Duration,
    /// Failures in a row that open a breaker, at least 1.
    pub breaker_failures: u32,
    /// The taxpayer's page, without the `?id=` of a notice.
    pub payment_page: Url,
}

impl Api {
    /// The origin of [`Self::base_url`], `https://tresorpay.ml`: what a database is tied to.
    pub fn origin(&self) -> String {
        self.base_url.origin().ascii_serialization()
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Url` would show the password of a proxy.
        let proxy = self.proxy.as_ref().map(|proxy| {
            let credentials =
                if proxy.username().is_empty() && proxy.password().is_none() { "" } else { "***@" };
            let host = proxy.host_str().unwrap_or_default();
            format!("{}://{credentials}{host}:{}", proxy.scheme(), proxy.port_or_known_default().unwrap_or(0))
        });
        f.debug_struct("Api")
            .field("base_url", &self.base_url.as_str())
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("proxy", &proxy)
            .field("ca_file", &self.ca_file)
            .field("max_concurrency", &self.max_concurrency)
            .field("requests_per_second", &self.requests_per_second)
            .field("retry_first_delay", &self.retry_first_delay)
            .field("retry_max_delay", &self.retry_max_delay)
            .field("breaker_failures", &self.breaker_failures)
            .field("payment_page", &self.payment_page.as_str())
            .finish()
    }
}

/// The token endpoint and what is shown to it (`[auth]`).
#[derive(Clone, Debug)]
pub struct Auth {
    /// https, or http to loopback; no userinfo, query or fragment.
    pub token_url: Url,
    /// `None` only where the settings were loaded with `Need::Database`.
    pub credentials: Option<Credentials>,
    /// Sent as `scope`; `None`: not sent.
    pub scope: Option<String>,
    /// How the secret is sent.
    pub client_authentication: ClientAuthentication,
}

/// The account at the token endpoint.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// One line, not empty.
    pub client_id: String,
    /// One line, not empty.
    pub client_secret: SecretString,
}

/// What holds for a row that leaves it NULL (`[notice]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeDefaults {
    /// The application's code at the platform.
    pub code_client: Option<String>,
    /// The structure's code at the platform.
    pub code_structure: Option<String>,
    /// An http or https URL as it was given.
    pub callback: Option<String>,
    /// An http or https URL as it was given.
    pub redirect_url: Option<String>,
    /// What becomes of phone numbers that are no Malian ones.
    pub other_phone_numbers: OtherPhoneNumbers,
}

/// The outbox (`[database]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The file; absolute, or relative to the working directory.
    pub path: PathBuf,
    /// The file that tells a restored database; none of the database's own files.
    pub mark: PathBuf,
    /// Bytes of WAL beyond which nothing is claimed.
    pub max_wal: u64,
}

/// Emission (`[emit]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emit {
    /// When to look for rows that are due.
    pub schedule: CronSchedule,
    /// Counted attempts after which a row is rejected, at least 1.
    pub max_attempts: u32,
    /// What settles an unanswered emission.
    pub on_uncertain: OnUncertain,
    /// No earlier than this after the last unanswered request.
    pub settle_after: Duration,
    /// So many uncertain rows stop emission, at least 1.
    pub max_uncertain: u32,
}

/// Asking what became of emitted notices (`[poll]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// When to look for notices that are due.
    pub schedule: CronSchedule,
    /// Notices in one request, at least 1.
    pub batch_size: u32,
    /// A young notice's interval; not longer than the last.
    pub first_delay: Duration,
    /// An old notice's interval.
    pub max_delay: Duration,
    /// Age at which a notice is no longer asked for.
    pub give_up_after: Duration,
}

/// Acknowledging delivery (`[confirm]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// When it is done.
    pub delivery: Delivery,
}

/// PDF receipts (`[receipts]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipts {
    /// Absolute; `None`: receipts are not fetched.
    pub directory: Option<PathBuf>,
}

/// Checking finished notices again (`[reconcile]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// When.
    pub schedule: CronSchedule,
    /// How far back.
    pub window: Duration,
}

/// Keeping personal data no longer than needed (`[retention]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Age of a finished notice; `None`: never.
    pub anonymise_after: Option<Duration>,
}

/// Health, metrics and the status page (`[http]`).
#[derive(Clone, Debug)]
pub struct Http {
    /// `None`: not served. Loopback unless there is a token.
    pub listen: Option<SocketAddr>,
    /// What a reader must show; printable ASCII without blanks.
    pub token: Option<SecretString>,
}

/// Where the platform's callback arrives (`[callback]`): both or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// What the daemon listens on.
    pub listen: SocketAddr,
    /// How the platform reaches it: https, or http to loopback; no query, no slash at the end unless it is the path.
    pub public_url: Url,
}

/// The log (`[log]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

/// Stopping (`[shutdown]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// For what is under way; longer than `api.request_timeout`.
    pub grace: Duration,
}

/// A key that some source gave, for `check`: where, and what, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOrigin {
    /// `emit.max_attempts`.
    pub key: &'static str,
    /// File and line, environment variable, or credential.
    pub source: String,
    /// Quoted; a stand-in for secrets.
    pub value: String,
}

/// Everything that can be set, valid in itself and together.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which platform this is.
    pub environment: Environment,
    /// The API and how to reach it.
    pub api: Api,
    /// The token endpoint and the account.
    pub auth: Auth,
    /// What holds for a row that leaves it NULL.
    pub notice: NoticeDefaults,
    /// The outbox.
    pub database: Database,
    /// Emission.
    pub emit: Emit,
    /// Asking what became of notices.
    pub poll: Poll,
    /// Acknowledging delivery.
    pub confirm: Confirm,
    /// PDF receipts.
    pub receipts: Receipts,
    /// Checking finished notices again.
    pub reconcile: Reconcile,
    /// Keeping personal data no longer than needed.
    pub retention: Retention,
    /// Health, metrics and the status page.
    pub http: Http,
    /// Where callbacks arrive; `None`: nowhere.
    pub callback: Option<Callback>,
    /// The log.
    pub log: Log,
    /// Stopping.
    pub shutdown: Shutdown,
    pub(super) origins: Vec<KeyOrigin>,
}

impl Settings {
    /// Every key that a file, the environment or a credential gave, in the order of the documentation.
    pub fn origins(&self) -> &[KeyOrigin] {
        &self.origins
    }
}
