//! What a simulator is started with. Where nobody knows what TresorPay does, the behaviour is a setting here,
//! so that a client can be tried against each possibility.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rule::Rule;
use super::unknown::{AcceptedAuthentication, OnCanceled, OnUnknownCancel, UnknownInBatch};

/// Everything a simulator can be told at its start. The default answers at once, injects no fault and has no
/// taxpayer who pays by himself: what happens is only what the test asks for.
#[derive(Clone)]
pub struct Config {
    /// Where to listen: a loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The one OAuth2 client that the token endpoint knows.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Code of the registered application.
    pub code_client: String,
    /// Code of the structure it is registered in.
    pub code_structure: String,
    /// Further registrations, as (code of the application, code of its structure).
    pub other_codes: Vec<(String, String)>,
    /// Decides what each simulated taxpayer does, and the draws of faults with a probability.
    pub seed: u64,
    /// The number in the first reference, `AR1` by default.
    pub first_number: u64,
    /// How late every answer of the API and of the token endpoint is.
    pub latency: Delay,
    /// What the simulated taxpayers do.
    pub taxpayers: Taxpayers,
    /// What an emission of a client reference that has a live or paid notice is answered.
    pub on_duplicate: OnDuplicate,
    /// What a cancellation of a notice that is canceled already is answered.
    pub on_repeated_cancel: OnRepeatedCancel,
    /// What an emission of a client reference is answered whose notices are all canceled.
    pub on_canceled: OnCanceled,
    /// What a cancellation of a client reference is answered that was never emitted.
    pub on_unknown_cancel: OnUnknownCancel,
    /// What becomes of unknown references in a request for many statuses.
    pub unknown_in_batch: UnknownInBatch,
    /// How the token endpoint's client may show its secret.
    pub client_authentication: AcceptedAuthentication,
    /// Which phone numbers are accepted.
    pub phone_numbers: PhoneNumbers,
    /// How long an access token is accepted.
    pub token_lifetime: Duration,
    /// How the token answer states `expires_in`.
    pub expires_in: ExpiresIn,
    /// The content type of problem documents.
    pub problem_type: ProblemType,
    /// A kept-alive connection without a request is closed after this time; `None`: never.
    pub idle_close: Option<Duration>,
    /// Faults that are there from the start.
    pub faults: Vec<Rule>,
}

/// Leaves the secret out: somebody may well use a real one here.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("client_id", &self.client_id)
            .field("seed", &self.seed)
            .field("taxpayers", &self.taxpayers)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            client_id: "demo-client".to_owned(),
            client_secret: "demo-secret".to_owned(),
            code_client: "APP-DEMO".to_owned(),
            code_structure: "STR-DEMO".to_owned(),
            other_codes: Vec::new(),
            seed: 0,
            first_number: 1,
            latency: Delay::ZERO,
            taxpayers: Taxpayers::default(),
            on_duplicate: OnDuplicate::Refuse,
            on_repeated_cancel: OnRepeatedCancel::Answer,
            on_canceled: OnCanceled::Create,
            on_unknown_cancel: OnUnknownCancel::NotFound,
            unknown_in_batch: UnknownInBatch::Omit,
            client_authentication: AcceptedAuthentication::Any,
            phone_numbers: PhoneNumbers::National,
            token_lifetime: Duration::from_mins(5),
            expires_in: ExpiresIn::Number,
            problem_type: ProblemType::ProblemJson,
            idle_close: None,
            faults: Vec::new(),
        }
    }
}

impl Config {
    pub(super) fn knows_structure(&self, structure: &str) -> bool {
        self.code_structure == structure || self.other_codes.iter().any(|(_, known)| known == structure)
    }

    pub(super) fn knows_codes(&self, client: &str, structure: &str) -> bool {
        (self.code_client == client && self.code_structure == structure)
            || self.other_codes.iter().any(|(c, s)| c == client && s == structure)
    }
}

/// A delay drawn evenly between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The shortest.
    pub min: Duration,
    /// The longest; never below `min`.
    pub max: Duration,
}

impl Delay {
    /// No delay.
    pub const ZERO: Self = Self { min: Duration::ZERO, max: Duration::ZERO };

    /// One delay of this range.
    pub(super) fn draw(self, rng: &mut fastrand::Rng) -> Duration {
        let spread = self.max.saturating_sub(self.min);
        if spread.is_zero() { self.min } else { self.min + spread.mul_f64(rng.f64()) }
    }
}

impl From<Duration> for Delay {
    fn from(delay: Duration) -> Self {
        Self { min: delay, max: delay }
    }
}

impl From<RangeInclusive<Duration>> for Delay {
    fn from(range: RangeInclusive<Duration>) -> Self {
        Self { min: *range.start(), max: *range.start().max(range.end()) }
    }
}

/// What taxpayers do by themselves. Each notice's taxpayer decides by the seed, the client reference and how often
/// that reference was emitted, so the order of concurrent requests changes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taxpayers {
    /// Share of notices, 0 to 1, that get paid.
    pub pay_share: f64,
    /// How long after the emission.
    pub pay_after: Delay,
    /// Share of notices, 0 to 1, that get canceled; those that are neither stay open.
    pub cancel_share: f64,
    /// How long after the emission.
    pub cancel_after: Delay,
}

impl Taxpayers {
    /// Whether the shares are shares of one whole.
    pub(super) fn make_sense(&self) -> bool {
        let share = 0.0..=1.0;
        let (pay, cancel) = (self.pay_share, self.cancel_share);
        share.contains(&pay) && share.contains(&cancel) && pay + cancel <= 1.0 + f64::EPSILON
    }
}

impl Default for Taxpayers {
    fn default() -> Self {
        Self { pay_share: 0.0, pay_after: Delay::ZERO, cancel_share: 0.0, cancel_after: Delay::ZERO }
    }
}

/// What an emission is answered whose client reference has a live or paid notice already. Nobody knows what
/// TresorPay does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDuplicate {
    /// A second notice, live beside the first.
    Create,
    /// 400, `error.REFERENCE_ALREADY_EXISTS`.
    Refuse,
    /// The first notice's answer again.
    Same,
}

/// What a cancellation is answered when the reference's notices are all canceled already. Nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRepeatedCancel {
    /// The last canceled notice, `CANCELED`.
    Answer,
    /// 400, `error.NOTICE_ALREADY_CANCELED`.
    Refuse,
    /// 404, `error.NOTICE_NOT_FOUND`.
    NotFound,
}

/// Which `taxPayer.phoneNumber` is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PhoneNumbers {
    /// Exactly 8 digits of which the first is 6 to 9, as a client reports of the sandbox; it may be missing.
    National,
    /// `+223` and these 8 digits, as the documentation shows it; it must be there.
    International,
    /// Any text, or none.
    Any,
}

/// How the token answer states its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExpiresIn {
    /// `"expires_in": 300`.
    Number,
    /// `"expires_in": "300"`.
    Text,
    /// Not at all.
    Omitted,
}

/// The content type of the API's problem documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProblemType {
    /// `application/problem+json`.
    ProblemJson,
    /// `application/json`.
    Json,
}
