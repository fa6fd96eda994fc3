//! The one table that decides money: what the answer to an emission means. A pure function, one test a row.

use std::time::Duration;

use super::{
    exchange::{Answer, Body, Exchange, NoAnswer, Unsent},
    problem::Problem,
    wire::EmitAnswer,
};
use crate::notice::{RemoteStatus, TresorPayReference, Verdict};

/// How far a request got, as `attempt.phase` records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It surely never left.
    Unsent,
    /// It left, or may have.
    Sent,
    /// It was answered.
    Answered,
}

impl Phase {
    /// The text in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsent => "unsent",
            Self::Sent => "sent",
            Self::Answered => "answered",
        }
    }
}

/// Stable codes of what became of a request: `attempt.outcome`, and the first word of `last_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// Done as asked.
    Ok,
    /// The API refused this notice.
    Refused,
    /// The answer says that the notice is canceled already.
    AlreadyCanceled,
    /// 429, or 503 with `Retry-After` and a problem document.
    RateLimited,
    /// 401 with a new token too.
    Unauthorized,
    /// An answer that is not the API's: a proxy, a wrong URL, a redirect.
    Misdirected,
    /// Such an answer although the API accepted another notice within the last minute.
    Filtered,
    /// No connection.
    Unreachable,
    /// The server's certificate is no longer valid by this machine's clock.
    CertificateExpired,
    /// The server's certificate is not valid yet by this machine's clock.
    CertificateNotYetValid,
    /// The server's certificate is not accepted for another reason.
    CertificateRefused,
    /// No access token.
    NoToken,
    /// The daemon was stopping.
    ShuttingDown,
    /// No answer in time.
    TimedOut,
    /// The connection broke before an answer.
    ConnectionLost,
    /// 5xx, 408, 303 and other answers that leave open what was done.
    ServerError,
    /// 2xx without a usable reference.
    UnusableAnswer,
    /// 2xx with a reference that belongs to another row.
    ForeignReference,
    /// The process died with the request under way.
    Interrupted,
    /// The row itself cannot be sent.
    InvalidNotice,
    /// The API's own 404 to a cancel: it knows no notice of this reference.
    NothingLive,
    /// 2xx to a cancel that does not say that the notice is canceled.
    NotCanceled,
    /// A doubt that no further answer can end.
    Unproven,
    /// A doubt about another platform than the one this daemon is set to.
    OtherPlatform,
    /// The doubt is settled, and `emit.max_attempts` emissions count already.
    MaxAttempts,
    /// What a correction replaces was paid.
    ReplacedPaid,
    /// What a correction replaces could not be canceled.
    ReplacedLive,
    /// The receipt of a payment could not be fetched or kept.
    ReceiptFailed,
    /// The application's own callback did not answer 2xx.
    CallbackFailed,
    /// TresorPay's callback names another amount than the row.
    AmountDiffers,
    /// TresorPay has a live notice for a row beside the row's own.
    SecondLiveNotice,
}

impl ErrorCode {
    /// The text in the database and in `docs/errors.md`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::AlreadyCanceled => "already_canceled",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::Misdirected => "misdirected",
            Self::Filtered => "filtered",
            Self::Unreachable => "unreachable",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateNotYetValid => "certificate_not_yet_valid",
            Self::CertificateRefused => "certificate_refused",
            Self::NoToken => "no_token",
            Self::ShuttingDown => "shutting_down",
            Self::TimedOut => "timed_out",
            Self::ConnectionLost => "connection_lost",
            Self::ServerError => "server_error",
            Self::UnusableAnswer => "unusable_answer",
            Self::ForeignReference => "foreign_reference",
            Self::Interrupted => "interrupted",
            Self::InvalidNotice => "invalid_notice",
            Self::NothingLive => "nothing_live",
            Self::NotCanceled => "not_canceled",
            Self::Unproven => "unproven",
            Self::OtherPlatform => "other_platform",
            Self::MaxAttempts => "max_attempts",
            Self::ReplacedPaid => "replaced_paid",
            Self::ReplacedLive => "replaced_live",
            Self::ReceiptFailed => "receipt_failed",
            Self::CallbackFailed => "callback_failed",
            Self::AmountDiffers => "amount_differs",
            Self::SecondLiveNotice => "second_live_notice",
        }
    }
}

/// What an answer says of the platform's health, for the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers as it should (a refusal is an answer).
    Good,
    /// It does not.
    Bad,
    /// It asks for this pause.
    Pause(Duration),
    /// Nothing was learnt.
    Neutral,
}

/// What the table needs to know besides the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Another emission was accepted within the last minute.
    pub accepted_recently: bool,
}

/// The meaning of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What it means for the money.
    pub verdict: Verdict,
    /// How far the request got.
    pub phase: Phase,
    /// The stable code.
    pub code: ErrorCode,
    /// HTTP status, if there was an answer.
    pub http_status: Option<u16>,
    /// The reference that TresorPay gave, if usable.
    pub reference: Option<TresorPayReference>,
    /// For people: what TresorPay or the network said. Not yet scrubbed.
    pub detail: Option<String>,
    /// For the breaker.
    pub health: Health,
}

impl Judgement {
    /// Whether this emission counts in `attempts`: only what reached TresorPay and was decided there, or may have been.
    pub fn counts(&self) -> bool {
        match self.verdict {
            Verdict::Created | Verdict::Refused | Verdict::Unknown => true,
            Verdict::NotCreated => false,
        }
    }
}

/// What `exchange`, an emission, means.
pub fn judge_emission(exchange: &Exchange, context: Context) -> Judgement {
    match exchange {
        Exchange::Unsent(why) => judge_unsent(why),
        Exchange::NoAnswer(why) => judge_no_answer(why),
        Exchange::Answered(answer) => judge_answer(answer, context),
    }
}

fn judge_unsent(why: &Unsent) -> Judgement {
    let (code, detail, health) = match why {
        Unsent::Unreachable(text) => (ErrorCode::Unreachable, text.clone(), Health::Bad),
        Unsent::Certificate(code, text) => (*code, text.clone(), Health::Bad),
        Unsent::NoToken(text) => (ErrorCode::NoToken, text.clone(), Health::Neutral),
        Unsent::ShuttingDown => {
            (ErrorCode::ShuttingDown, "the daemon was stopping".to_owned(), Health::Neutral)
        }
    };
    Judgement {
        verdict: Verdict::NotCreated,
        phase: Phase::Unsent,
        code,
        http_status: None,
        reference: None,
        detail: Some(detail),
        health,
    }
}

fn judge_no_answer(why: &NoAnswer) -> Judgement {
    let (code, detail) = match why {
        NoAnswer::TimedOut => (ErrorCode::TimedOut, "no answer within api.request_timeout".to_owned()),
        NoAnswer::Lost(text) => (ErrorCode::ConnectionLost, format!("no answer: {text}")),
    };
    Judgement {
        verdict: Verdict::Unknown,
        phase: Phase::Sent,
        code,
        http_status: None,
        reference: None,
        detail: Some(detail),
        health: Health::Bad,
    }
}

fn judge_answer(answer: &Answer, context: Context) -> Judgement {
    if let 200..=299 = answer.status {
        return judge_success(answer);
    }
    let problem = problem_of(answer);
    let refusal = problem.as_ref().filter(|problem| !problem.is_about_the_path());
    let judgement = |verdict, code, detail: String, health| Judgement {
        verdict,
        phase: Phase::Answered,
        code,
        http_status: Some(answer.status),
        reference: None,
        detail: Some(detail),
        health,
    };
    let said = || said(answer, problem.as_ref());
    let pause = answer.retry_after.map(|after| Health::Pause(after.0));
    match answer.status {
        401 => judgement(Verdict::NotCreated, ErrorCode::Unauthorized, said(), Health::Bad),
        429 => judgement(Verdict::NotCreated, ErrorCode::RateLimited, said(), pause.unwrap_or(Health::Bad)),
        503 if pause.is_some() && refusal.is_some() => {
            judgement(Verdict::NotCreated, ErrorCode::RateLimited, said(), pause.unwrap_or(Health::Bad))
        }
        303 | 408 => {
            judgement(Verdict::Unknown, ErrorCode::ServerError, said(), pause.unwrap_or(Health::Bad))
        }
        400..=499 if answer.status != 403 && refusal.is_some() => {
            judgement(Verdict::Refused, ErrorCode::Refused, said(), Health::Good)
        }
        301 | 302 | 307 | 308 | 400..=499 if context.accepted_recently => {
            judgement(Verdict::Unknown, ErrorCode::Filtered, said(), Health::Bad)
        }
        301 | 302 | 307 | 308 | 400..=499 => {
            judgement(Verdict::NotCreated, ErrorCode::Misdirected, said(), Health::Bad)
        }
        _ => judgement(Verdict::Unknown, ErrorCode::ServerError, said(), pause.unwrap_or(Health::Bad)),
    }
}

/// The problem document that an answer is, if it is one.
pub(super) fn problem_of(answer: &Answer) -> Option<Problem> {
    match &answer.body {
        Body::Whole(bytes) => Problem::parse(answer.status, bytes),
        Body::Cut(_) => None,
    }
}

/// What an answer said, for people.
pub(super) fn said(answer: &Answer, problem: Option<&Problem>) -> String {
    match (problem, &answer.body) {
        (Some(problem), _) => format!("HTTP {}, {}", answer.status, problem.summary()),
        (None, Body::Whole(_)) => format!("HTTP {} without a problem document of the API", answer.status),
        (None, Body::Cut(why)) => format!("HTTP {}, {why}", answer.status),
    }
}

/// A 2xx: created if it names a usable reference.
fn judge_success(answer: &Answer) -> Judgement {
    let unusable = |why: String| Judgement {
        verdict: Verdict::Unknown,
        phase: Phase::Answered,
        code: ErrorCode::UnusableAnswer,
        http_status: Some(answer.status),
        reference: None,
        detail: Some(format!("HTTP {}, {why}", answer.status)),
        health: Health::Bad,
    };
    let bytes = match &answer.body {
        Body::Whole(bytes) => bytes,
        Body::Cut(why) => return unusable(why.clone()),
    };
    let Ok(body) = serde_json::from_slice::<EmitAnswer>(bytes) else {
        return unusable("the body is not the JSON of an accepted notice".to_owned());
    };
    let reference = body.reference.as_deref().unwrap_or_default();
    let reference = match TresorPayReference::parse(reference) {
        Ok(reference) => reference,
        Err(why) => return unusable(why.to_string()),
    };
    let canceled = body.status.as_deref().map(RemoteStatus::from_word) == Some(RemoteStatus::Canceled);
    let (verdict, code, detail) = if canceled {
        (
            Verdict::Refused,
            ErrorCode::AlreadyCanceled,
            Some(format!("TresorPay answered with notice {reference}, which is canceled already")),
        )
    } else {
        (Verdict::Created, ErrorCode::Ok, None)
    };
    Judgement {
        verdict,
        phase: Phase::Answered,
        code,
        http_status: Some(answer.status),
        reference: Some(reference),
        detail,
        health: Health::Good,
    }
}

#[cfg(test)]
mod tests; // one test a row
