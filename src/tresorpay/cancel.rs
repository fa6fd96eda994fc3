//! What the answer to a cancel by client reference means: whether it proves that nothing live is left. A pure function,
//! one test a row.

use url::Url;

use super::{
    answer::{ErrorCode, Health, Phase, problem_of, said},
    exchange::{Answer, Body, Exchange, NoAnswer, Unsent},
    wire::EmitAnswer,
};
use crate::notice::{RemoteStatus, TresorPayReference};

/// Which notices a cancel is about, and where it goes: always the origin that the daemon is set to. Made by
/// [`super::TresorPay::cancel_address`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelAddress {
    pub(super) url: Url,
    pub(super) reference: String,
    pub(super) client_code: String,
    pub(super) structure_code: String,
}

/// The notice was sent to another platform than the one this daemon has a token for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it was sent to {at}, and this daemon is set to {ours}; its token is not shown anywhere else")]
pub struct OtherPlatform {
    /// Where it was sent.
    pub at: String,
    /// The origin that this daemon is set to.
    pub ours: String,
}

/// What the answer to a cancel proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelVerdict {
    /// TresorPay says that the notice is canceled.
    Canceled,
    /// TresorPay's own refusal says that it knows no such notice.
    NothingLive,
    /// TresorPay names a notice and does not say that it is canceled: its status must be asked.
    Exists,
    /// Surely not carried out, now or later: it never left, or was turned away at the door.
    NotCarriedOut,
    /// Answered, and nothing follows from it.
    NothingProven,
    /// Nobody knows, and it may still be carried out.
    Unanswered,
}

/// The meaning of an answer to a cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelJudgement {
    /// What it proves.
    pub verdict: CancelVerdict,
    /// How far the request got.
    pub phase: Phase,
    /// The stable code.
    pub code: ErrorCode,
    /// HTTP status, if there was an answer.
    pub http_status: Option<u16>,
    /// The notice that TresorPay named.
    pub reference: Option<TresorPayReference>,
    /// For people: what TresorPay or the network said. Not yet scrubbed.
    pub detail: Option<String>,
    /// For the breaker. What only says that this path is odd says nothing of emissions.
    pub health: Health,
}

/// What `exchange`, a cancel sent to `address`, means.
pub fn judge_cancel(exchange: &Exchange, address: &CancelAddress) -> CancelJudgement {
    judge(exchange, [&*address.client_code, &*address.structure_code])
}

/// What it proves, of a cancel under these codes of application and structure.
pub fn cancel_verdict(exchange: &Exchange, codes: [&str; 2]) -> CancelVerdict {
    judge(exchange, codes).verdict
}

fn judge(exchange: &Exchange, codes: [&str; 2]) -> CancelJudgement {
    let unanswered = |verdict, phase, code, detail: String, health| CancelJudgement {
        verdict,
        phase,
        code,
        http_status: None,
        reference: None,
        detail: Some(detail),
        health,
    };
    let unsent = |code, detail: String, health| {
        unanswered(CancelVerdict::NotCarriedOut, Phase::Unsent, code, detail, health)
    };
    let lost =
        |code, detail: String| unanswered(CancelVerdict::Unanswered, Phase::Sent, code, detail, Health::Bad);
    match exchange {
        Exchange::Unsent(Unsent::Unreachable(why)) => {
            unsent(ErrorCode::Unreachable, why.clone(), Health::Bad)
        }
        Exchange::Unsent(Unsent::Certificate(code, why)) => unsent(*code, why.clone(), Health::Bad),
        Exchange::Unsent(Unsent::NoToken(why)) => unsent(ErrorCode::NoToken, why.clone(), Health::Neutral),
        Exchange::Unsent(Unsent::ShuttingDown) => {
            unsent(ErrorCode::ShuttingDown, "the daemon was stopping".to_owned(), Health::Neutral)
        }
        Exchange::NoAnswer(NoAnswer::TimedOut) => {
            lost(ErrorCode::TimedOut, "no answer within api.request_timeout".to_owned())
        }
        Exchange::NoAnswer(NoAnswer::Lost(why)) => {
            lost(ErrorCode::ConnectionLost, format!("no answer: {why}"))
        }
        Exchange::Answered(answer) => judge_answer(answer, codes),
    }
}

fn judge_answer(answer: &Answer, codes: [&str; 2]) -> CancelJudgement {
    use CancelVerdict::{NotCarriedOut, NothingLive, NothingProven, Unanswered};
    let problem = problem_of(answer);
    let refusal = problem.as_ref().filter(|problem| !problem.is_about_the_path());
    let pause = answer.retry_after.map(|after| Health::Pause(after.0));
    let bad = pause.unwrap_or(Health::Bad);
    let (verdict, code, health) = match answer.status {
        200..=299 => return judge_success(answer),
        401 => (NotCarriedOut, ErrorCode::Unauthorized, Health::Bad),
        429 => (NotCarriedOut, ErrorCode::RateLimited, bad),
        503 if pause.is_some() && refusal.is_some() => (NotCarriedOut, ErrorCode::RateLimited, bad),
        404 if refusal.is_some_and(|problem| problem.says_no_notice(codes)) => {
            (NothingLive, ErrorCode::NothingLive, Health::Good)
        }
        303 | 408 => (Unanswered, ErrorCode::ServerError, bad),
        400..=499 if answer.status != 403 && refusal.is_some() => {
            (NothingProven, ErrorCode::Refused, Health::Good)
        }
        301 | 302 | 307 | 308 | 400..=499 => (NothingProven, ErrorCode::Misdirected, Health::Neutral),
        _ => (Unanswered, ErrorCode::ServerError, bad),
    };
    CancelJudgement {
        verdict,
        phase: Phase::Answered,
        code,
        http_status: Some(answer.status),
        reference: None,
        detail: Some(said(answer, problem.as_ref())),
        health,
    }
}

/// A 2xx: proof if it says that the notice is canceled; a reference that it names must be usable.
fn judge_success(answer: &Answer) -> CancelJudgement {
    let judgement = |verdict, code, reference, detail: Option<String>, health| CancelJudgement {
        verdict,
        phase: Phase::Answered,
        code,
        http_status: Some(answer.status),
        reference,
        detail: detail.map(|why| format!("HTTP {}, {why}", answer.status)),
        health,
    };
    let unusable = |why: String| {
        judgement(CancelVerdict::Unanswered, ErrorCode::UnusableAnswer, None, Some(why), Health::Bad)
    };
    let bytes = match &answer.body {
        Body::Whole(bytes) => bytes,
        Body::Cut(why) => return unusable(why.clone()),
    };
    let Ok(body) = serde_json::from_slice::<EmitAnswer>(bytes) else {
        return unusable("the body is not the JSON of a canceled notice".to_owned());
    };
    let reference = match body.reference.as_deref().map(TresorPayReference::parse).transpose() {
        Ok(reference) => reference,
        Err(why) => return unusable(why.to_string()),
    };
    let status = body.status.as_deref().map(RemoteStatus::from_word);
    if status == Some(RemoteStatus::Canceled) {
        return judgement(CancelVerdict::Canceled, ErrorCode::Ok, reference, None, Health::Good);
    }
    let word = match status {
        None => "no status".to_owned(),
        Some(RemoteStatus::Live) => "EMITTED".to_owned(),
        Some(RemoteStatus::Paid) => "PAID".to_owned(),
        Some(RemoteStatus::Canceled) => "CANCELED".to_owned(),
        Some(RemoteStatus::Unknown(word)) => {
            word.chars().filter(|c| !c.is_control()).take(MAX_WORD).collect()
        }
    };
    let verdict = if reference.is_some() { CancelVerdict::Exists } else { CancelVerdict::NothingProven };
    let said = match &reference {
        Some(reference) => format!("TresorPay says {word} of notice {reference}, not that it is canceled"),
        None => format!("TresorPay says {word} of no notice that it names"),
    };
    judgement(verdict, ErrorCode::NotCanceled, reference, Some(said), Health::Good)
}

/// Longest word for a status that is kept, in characters.
const MAX_WORD: usize = 100;

#[cfg(test)]
mod tests; // one test a row
