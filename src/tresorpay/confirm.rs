//! What the answer to a confirmation of delivery means. A pure function.

use super::{
    answer::{ErrorCode, Health, Phase},
    exchange::{Answer, Body, Exchange, NoAnswer, Unsent},
    problem::Problem,
    wire::EmitAnswer,
};
use crate::notice::TresorPayReference;

/// What became of a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmVerdict {
    /// TresorPay has it.
    Confirmed,
    /// TresorPay's own refusal.
    Refused,
    /// Anything else: it is tried again, since confirming twice does no harm.
    Failed,
}

/// The meaning of an answer to a confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmJudgement {
    /// What became of it.
    pub verdict: ConfirmVerdict,
    /// How far the request got.
    pub phase: Phase,
    /// The stable code.
    pub code: ErrorCode,
    /// HTTP status, if there was an answer.
    pub http_status: Option<u16>,
    /// For people. Of TresorPay's words the code alone: no taxpayer is at hand whose name could be taken out of the rest.
    pub detail: Option<String>,
    /// A pause that TresorPay asks for concerns every request; else this path says nothing of the others.
    pub health: Health,
}

/// What `exchange`, a confirmation of `reference`, means.
pub fn judge_confirm(exchange: &Exchange, reference: &TresorPayReference) -> ConfirmJudgement {
    let failed = |phase, code, detail: String| ConfirmJudgement {
        verdict: ConfirmVerdict::Failed,
        phase,
        code,
        http_status: None,
        detail: Some(detail),
        health: Health::Neutral,
    };
    match exchange {
        Exchange::Unsent(Unsent::Unreachable(why)) => {
            failed(Phase::Unsent, ErrorCode::Unreachable, why.clone())
        }
        Exchange::Unsent(Unsent::Certificate(code, why)) => failed(Phase::Unsent, *code, why.clone()),
        Exchange::Unsent(Unsent::NoToken(why)) => failed(Phase::Unsent, ErrorCode::NoToken, why.clone()),
        Exchange::Unsent(Unsent::ShuttingDown) => {
            failed(Phase::Unsent, ErrorCode::ShuttingDown, "the daemon was stopping".to_owned())
        }
        Exchange::NoAnswer(NoAnswer::TimedOut) => {
            failed(Phase::Sent, ErrorCode::TimedOut, "no answer within api.request_timeout".to_owned())
        }
        Exchange::NoAnswer(NoAnswer::Lost(why)) => {
            failed(Phase::Sent, ErrorCode::ConnectionLost, format!("no answer: {why}"))
        }
        Exchange::Answered(answer) => judge_answer(answer, reference),
    }
}

fn judge_answer(answer: &Answer, reference: &TresorPayReference) -> ConfirmJudgement {
    let judgement = |verdict, code, detail: Option<String>| ConfirmJudgement {
        verdict,
        phase: Phase::Answered,
        code,
        http_status: Some(answer.status),
        detail: detail.map(|said| format!("HTTP {}{said}", answer.status)),
        health: answer.retry_after.map_or(Health::Neutral, |after| Health::Pause(after.0)),
    };
    let failed = |code, said: String| judgement(ConfirmVerdict::Failed, code, Some(said));
    let bytes = match &answer.body {
        Body::Whole(bytes) => bytes,
        Body::Cut(why) => return failed(ErrorCode::UnusableAnswer, format!(", {why}")),
    };
    let problem = Problem::parse(answer.status, bytes);
    let said =
        || problem.as_ref().and_then(Problem::code).map_or_else(String::new, |code| format!(", {code}"));
    let refusal = problem.as_ref().is_some_and(|problem| !problem.is_about_the_path());
    match answer.status {
        200..=299 => match serde_json::from_slice::<EmitAnswer>(bytes) {
            Ok(told) if told.reference.as_deref().is_none_or(|named| named == reference.as_str()) => {
                judgement(ConfirmVerdict::Confirmed, ErrorCode::Ok, None)
            }
            Ok(_) => failed(ErrorCode::UnusableAnswer, ", about another notice".to_owned()),
            Err(_) => failed(ErrorCode::UnusableAnswer, ", the body is not the JSON of a notice".to_owned()),
        },
        401 => failed(ErrorCode::Unauthorized, said()),
        429 => failed(ErrorCode::RateLimited, said()),
        303 | 408 | 500.. => failed(ErrorCode::ServerError, said()),
        400..=499 if answer.status != 403 && refusal => {
            judgement(ConfirmVerdict::Refused, ErrorCode::Refused, Some(said()))
        }
        _ => failed(ErrorCode::Misdirected, ", not an answer of the API".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn judged(status: u16, body: &str) -> (ConfirmVerdict, &'static str) {
        let body = Body::Whole(body.as_bytes().to_vec());
        let exchange = Exchange::Answered(Answer { status, retry_after: None, body });
        let judgement = judge_confirm(&exchange, &TresorPayReference::parse("TP1").unwrap());
        assert_eq!((judgement.phase, judgement.http_status), (Phase::Answered, Some(status)));
        (judgement.verdict, judgement.code.as_str())
    }

    #[test]
    fn only_the_notice_itself_is_confirmed() {
        let confirmed = (ConfirmVerdict::Confirmed, "ok");
        assert_eq!(judged(200, r#"{"reference":"TP1","status":"PAID"}"#), confirmed);
        assert_eq!(judged(200, r#"{"status":"PAID"}"#), confirmed);
        let unusable = (ConfirmVerdict::Failed, "unusable_answer");
        for body in [r#"{"reference":"TP2"}"#, "<html>", "", "[1]"] {
            assert_eq!(judged(200, body), unusable, "{body}");
        }
    }

    #[test]
    fn only_the_apis_own_word_refuses() {
        let problem = |status| format!(r#"{{"title":"Non","status":{status},"message":"error.NOT_PAID"}}"#);
        assert_eq!(judged(400, &problem(400)), (ConfirmVerdict::Refused, "refused"));
        assert_eq!(judged(404, &problem(404)), (ConfirmVerdict::Refused, "refused"));
        for (status, code) in [
            (401, "unauthorized"),
            (403, "misdirected"),
            (404, "misdirected"),
            (302, "misdirected"),
            (408, "server_error"),
            (429, "rate_limited"),
            (500, "server_error"),
            (503, "server_error"),
        ] {
            assert_eq!(judged(status, "<html>"), (ConfirmVerdict::Failed, code), "{status}");
        }
        let path = r#"{"title":"Not Found","status":404,"message":"error.http.404"}"#;
        assert_eq!(judged(404, path), (ConfirmVerdict::Failed, "misdirected"));
    }

    #[test]
    fn a_pause_is_for_every_request() {
        let after = crate::tresorpay::RetryAfter(std::time::Duration::from_secs(7));
        let exchange = Exchange::Answered(Answer {
            status: 429,
            retry_after: Some(after),
            body: Body::Whole(Vec::new()),
        });
        let judgement = judge_confirm(&exchange, &TresorPayReference::parse("TP1").unwrap());
        assert_eq!(judgement.health, Health::Pause(std::time::Duration::from_secs(7)));
    }
}
