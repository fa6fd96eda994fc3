//! Requests to TresorPay: how many of a kind ended how, and how long they took.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use super::{Label, Tally};
use crate::tresorpay::ErrorCode;

/// Bounds of the classes of durations, in seconds: from a local network to the longest `api.request_timeout` that makes
/// sense.
const SECONDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// What is asked of TresorPay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The emission of a notice.
    Emit,
    /// The status of one notice or of a batch.
    Status,
    /// A token.
    Token,
    /// A cancel.
    Cancel,
    /// The confirmation of a delivery.
    Confirm,
    /// The download of a receipt.
    Receipt,
}

impl Operation {
    const ALL: [Self; 6] =
        [Self::Emit, Self::Status, Self::Token, Self::Cancel, Self::Confirm, Self::Receipt];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Emit => "emit",
            Self::Status => "status",
            Self::Token => "token",
            Self::Cancel => "cancel",
            Self::Confirm => "confirm",
            Self::Receipt => "receipt",
        }
    }

    /// How it can end: the error codes of `docs/errors.md`.
    fn outcomes(self) -> Vec<&'static str> {
        use ErrorCode as Code;
        let of_any = [
            Code::Ok,
            Code::Refused,
            Code::RateLimited,
            Code::Unauthorized,
            Code::Misdirected,
            Code::Unreachable,
            Code::CertificateExpired,
            Code::CertificateNotYetValid,
            Code::CertificateRefused,
            Code::NoToken,
            Code::ShuttingDown,
            Code::TimedOut,
            Code::ConnectionLost,
            Code::ServerError,
            Code::UnusableAnswer,
        ];
        let own: &[Code] = match self {
            Self::Emit => &[Code::AlreadyCanceled, Code::Filtered, Code::InvalidNotice],
            Self::Cancel => &[Code::NothingLive, Code::NotCanceled],
            Self::Receipt => &[Code::ReceiptFailed],
            Self::Token => return vec!["ok", "credentials_refused", "unavailable"],
            Self::Status | Self::Confirm => &[],
        };
        of_any.iter().chain(own).map(|code| code.as_str()).collect()
    }
}

/// The instruments of all requests; cheap to clone.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Instruments>);

#[derive(Debug)]
struct Instruments {
    ended: Family<[Label; 2], Counter>,
    seconds: Family<[Label; 1], Histogram>,
    /// In the order of [`Operation::ALL`].
    tallies: [Tally; Operation::ALL.len()],
    durations: [Histogram; Operation::ALL.len()],
}

impl Default for Requests {
    fn default() -> Self {
        let ended = Family::default();
        let seconds = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let tallies = Operation::ALL.map(|operation| {
            let labels = |outcome| [("operation", operation.as_str()), ("outcome", outcome)];
            Tally::new(&ended, &operation.outcomes(), labels)
        });
        let durations =
            Operation::ALL.map(|operation| seconds.get_or_create_owned(&[("operation", operation.as_str())]));
        Self(Arc::new(Instruments { ended, seconds, tallies, durations }))
    }
}

impl Requests {
    /// A request has ended with this stable code, after `took`.
    pub fn ended(&self, operation: Operation, code: &str, took: Duration) {
        self.0.tallies[operation as usize].count(code);
        self.0.durations[operation as usize].observe(took.as_secs_f64());
    }

    /// How many have ended so.
    pub fn total(&self, operation: Operation, code: &str) -> u64 {
        self.0.tallies[operation as usize].total(code)
    }

    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "requests",
            "Requests to TresorPay that have ended, by what was asked and by the error code; ok: done as asked. A \
             batch of notices is one request",
            self.0.ended.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "How long requests to TresorPay took, from the slot they were given to the last byte of the answer",
            self.0.seconds.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_counter_of_its_own() {
        let requests = Requests::default();
        requests.ended(Operation::Emit, ErrorCode::Ok.as_str(), Duration::from_millis(3));
        requests.ended(Operation::Cancel, ErrorCode::NothingLive.as_str(), Duration::ZERO);
        requests.ended(Operation::Emit, "a word that nobody knows", Duration::ZERO);
        assert_eq!(requests.total(Operation::Emit, "ok"), 1);
        assert_eq!(requests.total(Operation::Emit, "timed_out"), 0);
        assert_eq!(requests.total(Operation::Emit, "other"), 1);
        assert_eq!(requests.total(Operation::Cancel, "nothing_live"), 1);
        assert_eq!(requests.total(Operation::Status, "ok"), 0);
    }
}
