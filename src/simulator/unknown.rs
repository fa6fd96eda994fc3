//! Where nobody knows what TresorPay does: each possibility, so that a client and `tresorpayd probe` can be tried against all.

use serde::{Deserialize, Serialize};

/// What an emission is answered whose client reference has canceled notices only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnCanceled {
    /// A new notice.
    Create,
    /// 400, `error.REFERENCE_ALREADY_EXISTS`: a reference is used up for good.
    Refuse,
    /// The canceled notice's answer, `CANCELED`.
    Same,
}

/// What a cancel of a client reference that was never emitted is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknownCancel {
    /// 404, `error.NOTICE_NOT_FOUND`.
    NotFound,
    /// 404, `error.http.404`: as if the path did not exist.
    NoEndpoint,
    /// 400, `error.SERVICE_CLIENT_NOT_FOUND`: words that prove nothing about a notice.
    Refuse,
}

/// What becomes of unknown references in a request for many statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownInBatch {
    /// They are left out of the answer.
    Omit,
    /// One refuses the whole request: 404, `error.NOTICE_NOT_FOUND`.
    Refuse,
}

/// How the token endpoint's client may show its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AcceptedAuthentication {
    /// Either way.
    Any,
    /// In the form only.
    Body,
    /// By HTTP Basic only.
    Basic,
}
