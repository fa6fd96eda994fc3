//! Drift: what TresorPay says by now of a notice that is finished here, against what was recorded. Pure; polling by
//! command and reconciliation judge by it.

use chrono::{DateTime, NaiveDateTime, Timelike};

use super::{Event, RemoteStatus, Status, apply};

/// The first word of a transition's reason or of `last_error`, and `code` in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriftCode {
    /// Paid became canceled, or canceled became paid.
    Status,
    /// Provider or date of a payment are not what they were.
    Payment,
    /// Finished here, waiting to be paid there.
    Live,
    /// Paid here, unknown there.
    Unknown,
}

impl DriftCode {
    /// The stable text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "drift_status",
            Self::Payment => "drift_payment",
            Self::Live => "drift_live",
            Self::Unknown => "drift_unknown",
        }
    }
}

/// A notice that is finished, as it was recorded.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// `PAID` or `CANCELED`.
    pub status: Status,
    /// Who took the payment.
    pub provider: Option<&'a str>,
    /// When, as TresorPay wrote it.
    pub pay_date: Option<&'a str>,
}

/// What a finished notice has come to at TresorPay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drifted {
    /// What it was.
    Not,
    /// The status changed.
    To(Status),
    /// It waits to be paid there: no move leads back.
    Live,
    /// Still paid, and by whom or when is told otherwise, or for the first time. What is to be written; `None`: as it was.
    Payment {
        /// Who took the payment.
        provider: Option<String>,
        /// When.
        pay_date: Option<String>,
        /// It is told otherwise, and not only for the first time.
        changed: bool,
    },
    /// A word that nobody knows.
    UnknownWord(String),
}

/// Compares what was recorded with what TresorPay says now.
pub fn drift(
    recorded: Recorded<'_>,
    says: &RemoteStatus,
    provider: Option<&str>,
    pay_date: Option<&str>,
) -> Drifted {
    match apply(recorded.status, &Event::Reported(says.clone())) {
        Ok(to) if to != recorded.status => return Drifted::To(to),
        Ok(_) | Err(_) => {}
    }
    match says {
        RemoteStatus::Live => return Drifted::Live,
        RemoteStatus::Unknown(word) => return Drifted::UnknownWord(word.clone()),
        RemoteStatus::Paid | RemoteStatus::Canceled => {}
    }
    if recorded.status != Status::Paid {
        return Drifted::Not;
    }
    let same_provider = |one: &str, other: &str| one.trim().eq_ignore_ascii_case(other.trim());
    let provider = news(recorded.provider, provider, same_provider);
    let date = news(recorded.pay_date, pay_date, same_moment);
    if provider.is_none() && date.is_none() {
        return Drifted::Not;
    }
    Drifted::Payment {
        changed: provider.is_some() && recorded.provider.is_some()
            || date.is_some() && recorded.pay_date.is_some(),
        provider: provider.map(str::to_owned),
        pay_date: date.map(str::to_owned),
    }
}

/// What is told, unless it is what was recorded. What is not told any more has not changed.
fn news<'a>(
    recorded: Option<&str>,
    told: Option<&'a str>,
    same: impl Fn(&str, &str) -> bool,
) -> Option<&'a str> {
    told.filter(|told| recorded.is_none_or(|recorded| !same(recorded, told)))
}

/// The same second, however it is written: one endpoint may write milliseconds or an offset where another does not.
fn same_moment(one: &str, other: &str) -> bool {
    match (moment(one), moment(other)) {
        (Some(one), Some(other)) => one == other,
        (_, _) => one.trim() == other.trim(),
    }
}

/// Mali is on UTC all year, so a date without an offset is one in UTC.
fn moment(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim();
    let local = || {
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
    };
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.naive_utc()).or_else(local)?.with_nanosecond(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAID: Recorded<'_> =
        Recorded { status: Status::Paid, provider: Some("WAVE"), pay_date: Some("2025-12-19T15:00:00") };
    const CANCELED: Recorded<'_> = Recorded { status: Status::Canceled, provider: None, pay_date: None };

    #[test]
    fn a_status_that_changed_is_drift_and_one_without_a_move_is_told() {
        for (recorded, word, drifted) in [
            (PAID, "CANCELED", Drifted::To(Status::Canceled)),
            (PAID, "PAID", Drifted::Not),
            (PAID, "SUCCESS", Drifted::Not),
            (PAID, "EMITTED", Drifted::Live),
            (PAID, "PENDING", Drifted::Live),
            (PAID, "LOST", Drifted::UnknownWord("LOST".to_owned())),
            (CANCELED, "PAID", Drifted::To(Status::Paid)),
            (CANCELED, "CANCELLED", Drifted::Not),
            (CANCELED, "EMITTED", Drifted::Live),
        ] {
            assert_eq!(drift(recorded, &RemoteStatus::from_word(word), None, None), drifted, "{word}");
        }
    }

    #[test]
    fn a_payment_is_the_same_however_it_is_written() {
        let payment = |provider: Option<&str>, date: Option<&str>, changed| Drifted::Payment {
            provider: provider.map(str::to_owned),
            pay_date: date.map(str::to_owned),
            changed,
        };
        for (provider, date, drifted) in [
            (Some("WAVE"), Some("2025-12-19T15:00:00"), Drifted::Not),
            (Some(" wave"), Some("2025-12-19T15:00"), Drifted::Not),
            (None, Some("2025-12-19T15:00:00.123Z"), Drifted::Not),
            (Some("WAVE"), Some("2025-12-19T16:00:00+01:00"), Drifted::Not),
            (Some("wave"), Some("2025-12-19T15:00:01"), payment(None, Some("2025-12-19T15:00:01"), true)),
            (Some("WAVE"), Some("yesterday"), payment(None, Some("yesterday"), true)),
            (Some("CARD"), None, payment(Some("CARD"), None, true)),
        ] {
            assert_eq!(drift(PAID, &RemoteStatus::Paid, provider, date), drifted, "{provider:?} {date:?}");
        }
        let unknown = Recorded { provider: None, ..PAID };
        let completed = payment(Some("WAVE"), None, false);
        assert_eq!(drift(unknown, &RemoteStatus::Paid, Some("WAVE"), None), completed);
        assert_eq!(drift(CANCELED, &RemoteStatus::Canceled, Some("WAVE"), None), Drifted::Not);
    }
}
