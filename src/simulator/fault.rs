//! The vocabulary of faults: which request (`Operation`) and what goes wrong with it (`Fault`). `rule.rs` says when.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A token of the token endpoint.
    Token,
    /// `create-notice-recette`.
    Emit,
    /// The status of one notice.
    Status,
    /// The status of many.
    Batch,
    /// `cancel-notice-recette`.
    Cancel,
    /// `verified-notice-recette`.
    Verify,
    /// The PDF receipt.
    Receipt,
    /// The taxpayer's payment page; no fault applies to it.
    Page,
    /// A path that does not exist.
    Other,
    /// In a rule: every operation but the payment page.
    Any,
}

/// One thing that goes wrong. "Carried out" means that the request has its effect in the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// Carried out at once, answered late. Goes together with other faults.
    Latency {
        /// Milliseconds.
        ms: u64,
        /// Up to so many milliseconds more.
        #[serde(default)]
        jitter_ms: u64,
    },
    /// Never answered; the connection stays open until the client leaves.
    Lost {
        /// Carried out nevertheless.
        #[serde(default = "yes")]
        processed: bool,
    },
    /// The connection ends before the request is carried out.
    ResetBefore {
        /// By RST, or by an orderly close.
        #[serde(default)]
        by: Ending,
    },
    /// Carried out, then the connection ends before the first byte of the answer.
    ResetAfter {
        /// By RST, or by an orderly close.
        #[serde(default)]
        by: Ending,
    },
    /// Carried out; the answer is cut: `Content-Length` promises all of it, then the connection closes.
    Truncated {
        /// How many bytes of the body are sent; half of it if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep: Option<usize>,
    },
    /// Carried out; the answer's body comes in small pieces.
    SlowDrip {
        /// Milliseconds between two pieces.
        ms: u64,
        /// Bytes of a piece.
        #[serde(default = "one")]
        bytes: usize,
    },
    /// Another answer than the right one.
    Status {
        /// The HTTP status, 200 to 599.
        code: u16,
        /// Carried out nevertheless.
        #[serde(default)]
        processed: bool,
        /// The `Retry-After` header: seconds or an HTTP date.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<String>,
        /// What the body is.
        #[serde(default)]
        body: ErrorBody,
        /// The problem's `message`; `error.http.CODE` if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// The problem's `title`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    /// The right status with a useless body.
    Garbage {
        /// What is wrong with it.
        body: Garbage,
        /// Carried out nevertheless. If not, the answer is made up.
        #[serde(default = "yes")]
        processed: bool,
    },
    /// A redirection.
    Redirect {
        /// The HTTP status, 301 to 308.
        code: u16,
        /// Where to; a path of the simulator that does not exist if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<String>,
        /// Carried out nevertheless.
        #[serde(default)]
        processed: bool,
    },
    /// Carried out, but only this long after it came, and never answered.
    TooLate {
        /// Milliseconds.
        ms: u64,
        /// What the client sees of it.
        #[serde(default)]
        meanwhile: Meanwhile,
    },
    /// Every token so far is void from now on: 401 until a new one is used.
    RevokedToken,
    /// Carried out; the answer's `status` is a word that nobody knows.
    UnknownStatus {
        /// The word.
        #[serde(default = "unknown_word")]
        word: String,
    },
    /// The answer of a batch leaves one notice out: the rule's `reference`, else the first.
    Omit,
    /// 404 with `error.http.404`, as if the path did not exist.
    NoEndpoint,
    /// Carried out; the answer has each key twice, the second time with another notice's reference.
    DuplicateKeys,
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn unknown_word() -> String {
    "EN_TRAITEMENT".to_owned()
}

impl Fault {
    /// The name in a rule's `fault`, which is also the outcome's name in the counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Lost { .. } => "lost",
            Self::ResetBefore { .. } => "reset_before",
            Self::ResetAfter { .. } => "reset_after",
            Self::Truncated { .. } => "truncated",
            Self::SlowDrip { .. } => "slow_drip",
            Self::Status { .. } => "status",
            Self::Garbage { .. } => "garbage",
            Self::Redirect { .. } => "redirect",
            Self::TooLate { .. } => "too_late",
            Self::RevokedToken => "revoked_token",
            Self::UnknownStatus { .. } => "unknown_status",
            Self::Omit => "omit",
            Self::NoEndpoint => "no_endpoint",
            Self::DuplicateKeys => "duplicate_keys",
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// TCP RST: the client sees "connection reset".
    #[default]
    Rst,
    /// TCP FIN: the client sees the end of the stream.
    Close,
}

/// What a client sees while its request is carried out too late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meanwhile {
    /// Nothing.
    #[default]
    Silent,
    /// A reset at once.
    Rst,
}

/// The body of a `status` fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBody {
    /// The API's problem document (at the token endpoint: an OAuth2 error).
    #[default]
    Problem,
    /// A proxy's page.
    Html,
    /// Nothing.
    Empty,
}

/// The ways an answer can be useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Garbage {
    /// No body.
    Empty,
    /// A web page, as a captive portal or a proxy sends it.
    Html,
    /// JSON without `reference` (at the token endpoint: without `access_token`).
    NoReference,
    /// `reference` is `null`.
    NullReference,
    /// `reference` is blanks.
    BlankReference,
    /// `reference` is a number.
    NumberReference,
    /// `reference` is another notice's.
    OtherReference,
    /// `reference` is 10 kB long.
    LongReference,
    /// `reference` holds control characters.
    ControlReference,
    /// An emitted notice is canceled at once, and answered so.
    Canceled,
    /// Text that says it is JSON and is not.
    NotJson,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
