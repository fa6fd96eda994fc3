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
            Self::NoToken => "no_token",
            Self::ShuttingDown => "shutting_down",
            Self::TimedOut => "timed_out",
            Self::ConnectionLost => "connection_lost",
            Self::ServerError => "server_error",
            Self::UnusableAnswer => "unusable_answer",
            Self::ForeignReference => "foreign_reference",
            Self::Interrupted => "interrupted",
            Self::InvalidNotice => "invalid_notice",
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
    let problem = match &answer.body {
        Body::Whole(bytes) => Problem::parse(answer.status, bytes),
        Body::Cut(_) => None,
    };
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
    let said = || match (&problem, &answer.body) {
        (Some(problem), _) => format!("HTTP {}, {}", answer.status, problem.summary()),
        (None, Body::Whole(_)) => format!("HTTP {} without a problem document of the API", answer.status),
        (None, Body::Cut(why)) => format!("HTTP {}, {why}", answer.status),
    };
    let pause = answer.retry_after.map(|after| Health::Pause(after.0));
    match answer.status {
        200..=299 => judge_success(answer),
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
            judgement(Verdict::Unknown, ErrorCode::Filtered, said(), Health::Neutral)
        }
        301 | 302 | 307 | 308 | 400..=499 => {
            judgement(Verdict::NotCreated, ErrorCode::Misdirected, said(), Health::Bad)
        }
        _ => judgement(Verdict::Unknown, ErrorCode::ServerError, said(), pause.unwrap_or(Health::Bad)),
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
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::tresorpay::RetryAfter;

    const QUIET: Context = Context { accepted_recently: false };
    const BUSY: Context = Context { accepted_recently: true };

    fn answered(status: u16, retry_after: Option<u64>, body: &str) -> Exchange {
        Exchange::Answered(Answer {
            status,
            retry_after: retry_after.map(|seconds| RetryAfter(Duration::from_secs(seconds))),
            body: Body::Whole(body.as_bytes().to_vec()),
        })
    }

    fn problem(status: u16, message: &str) -> String {
        format!(r#"{{"type":"t","title":"Titre","status":{status},"message":"{message}"}}"#)
    }

    /// Verdict, code, counted, for a quiet minute.
    fn judged(exchange: &Exchange) -> (Verdict, ErrorCode, bool) {
        let judgement = judge_emission(exchange, QUIET);
        (judgement.verdict, judgement.code, judgement.counts())
    }

    #[test]
    fn never_left_is_not_created() {
        for (why, code) in [
            (Unsent::Unreachable("dns error".into()), ErrorCode::Unreachable),
            (Unsent::NoToken("invalid_client".into()), ErrorCode::NoToken),
            (Unsent::ShuttingDown, ErrorCode::ShuttingDown),
        ] {
            let judgement = judge_emission(&Exchange::Unsent(why), BUSY);
            assert_eq!((judgement.verdict, judgement.code), (Verdict::NotCreated, code));
            assert_eq!(judgement.phase, Phase::Unsent);
            assert!(!judgement.counts());
        }
    }

    #[test]
    fn a_401_is_not_created() {
        for body in ["", "<html>", &problem(401, "error.http.401")] {
            assert_eq!(
                judged(&answered(401, None, body)),
                (Verdict::NotCreated, ErrorCode::Unauthorized, false)
            );
        }
    }

    #[test]
    fn a_429_is_not_created_and_paces() {
        let judgement = judge_emission(&answered(429, Some(7), "<html>"), BUSY);
        assert_eq!((judgement.verdict, judgement.code), (Verdict::NotCreated, ErrorCode::RateLimited));
        assert_eq!(judgement.health, Health::Pause(Duration::from_secs(7)));
        assert!(!judgement.counts());
        assert_eq!(judge_emission(&answered(429, None, ""), QUIET).health, Health::Bad);
    }

    #[test]
    fn a_503_with_retry_after_and_a_problem_is_not_created() {
        let judgement = judge_emission(&answered(503, Some(3), &problem(503, "error.busy")), QUIET);
        assert_eq!((judgement.verdict, judgement.code), (Verdict::NotCreated, ErrorCode::RateLimited));
        assert_eq!(judgement.health, Health::Pause(Duration::from_secs(3)));
    }

    #[test]
    fn any_other_503_is_unknown_and_its_retry_after_still_paces() {
        let html = judge_emission(&answered(503, Some(3), "<html>"), QUIET);
        assert_eq!((html.verdict, html.code), (Verdict::Unknown, ErrorCode::ServerError));
        assert_eq!(html.health, Health::Pause(Duration::from_secs(3)));
        assert!(html.counts());
        let no_header = judged(&answered(503, None, &problem(503, "error.busy")));
        assert_eq!(no_header, (Verdict::Unknown, ErrorCode::ServerError, true));
    }

    #[test]
    fn the_apis_own_refusal_is_refused() {
        for status in [400, 402, 404, 405, 409, 410, 413, 415, 422, 451] {
            for context in [QUIET, BUSY] {
                let exchange = answered(status, None, &problem(status, "error.DUPLICATE"));
                let judgement = judge_emission(&exchange, context);
                assert_eq!((judgement.verdict, judgement.code), (Verdict::Refused, ErrorCode::Refused));
                assert!(judgement.counts());
                assert_eq!(judgement.health, Health::Good);
                assert_eq!(
                    judgement.detail.as_deref(),
                    Some(&*format!("HTTP {status}, error.DUPLICATE: Titre"))
                );
            }
        }
    }

    #[test]
    fn a_2xx_that_says_canceled_is_refused() {
        for word in ["CANCELED", "CANCELLED"] {
            let body = format!(r#"{{"reference":"TP1","status":"{word}"}}"#);
            assert_eq!(
                judged(&answered(200, None, &body)),
                (Verdict::Refused, ErrorCode::AlreadyCanceled, true)
            );
        }
    }

    #[test]
    fn misdirected_is_not_created_unless_others_are_accepted() {
        let html_and_paths = [
            (403, String::new()),
            (403, problem(403, "error.forbidden")),
            (404, "<html>".to_owned()),
            (404, problem(404, "error.http.404")),
            (405, problem(405, "error.http.405")),
            (406, problem(406, "error.http.406")),
            (415, problem(415, "error.http.415")),
            (400, r#"{"message":"no Route matched"}"#.to_owned()),
            (413, "<html>too large</html>".to_owned()),
            (301, String::new()),
            (302, String::new()),
            (307, String::new()),
            (308, String::new()),
        ];
        for (status, body) in html_and_paths {
            let exchange = answered(status, None, &body);
            let quiet = judge_emission(&exchange, QUIET);
            assert_eq!(
                (quiet.verdict, quiet.code),
                (Verdict::NotCreated, ErrorCode::Misdirected),
                "{status}"
            );
            assert!(!quiet.counts());
            assert_eq!(quiet.health, Health::Bad);
            let busy = judge_emission(&exchange, BUSY);
            assert_eq!((busy.verdict, busy.code), (Verdict::Unknown, ErrorCode::Filtered), "{status}");
            assert!(busy.counts());
        }
    }

    #[test]
    fn a_2xx_with_a_usable_reference_is_created() {
        for body in [
            r#"{"reference":"TP20241231.1048.AR3","status":"EMITTED"}"#,
            r#"{"reference":"TP20241231.1048.AR3"}"#,
            r#"{"reference":"TP20241231.1048.AR3","status":"NEW","more":{"a":[1]}}"#,
        ] {
            let judgement = judge_emission(&answered(201, None, body), QUIET);
            assert_eq!((judgement.verdict, judgement.code), (Verdict::Created, ErrorCode::Ok));
            assert_eq!(
                judgement.reference.as_ref().map(TresorPayReference::as_str),
                Some("TP20241231.1048.AR3")
            );
            assert!(judgement.counts());
        }
    }

    #[test]
    fn a_2xx_without_a_usable_reference_is_unknown() {
        let long = format!(r#"{{"reference":"{}"}}"#, "x".repeat(10_000));
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for body in [
            "",
            "<html>",
            "{}",
            "null",
            "[]",
            r#"{"reference":null}"#,
            r#"{"reference":""}"#,
            r#"{"reference":"  "}"#,
            r#"{"reference":7}"#,
            r#"{"reference":"TP\u00001"}"#,
            r#"{"reference":"TP1","reference":"TP2"}"#,
            r#"{"reference":"TP1"#,
            r#"{"reference":"TP1"} trailing"#,
            &long,
            &deep,
        ] {
            assert_eq!(
                judged(&answered(200, None, body)),
                (Verdict::Unknown, ErrorCode::UnusableAnswer, true),
                "{}",
                &body[..body.len().min(40)]
            );
        }
        let cut = Exchange::Answered(Answer {
            status: 200,
            retry_after: None,
            body: Body::Cut("broke off".into()),
        });
        assert_eq!(judged(&cut), (Verdict::Unknown, ErrorCode::UnusableAnswer, true));
    }

    #[test]
    fn server_errors_time_outs_and_resets_are_unknown() {
        for status in [300, 303, 304, 408, 500, 501, 502, 504, 599] {
            for body in ["", "<html>", &problem(status, "error.x")] {
                assert_eq!(
                    judged(&answered(status, None, body)),
                    (Verdict::Unknown, ErrorCode::ServerError, true),
                    "{status}"
                );
            }
        }
        assert_eq!(
            judged(&Exchange::NoAnswer(NoAnswer::TimedOut)),
            (Verdict::Unknown, ErrorCode::TimedOut, true)
        );
        assert_eq!(
            judged(&Exchange::NoAnswer(NoAnswer::Lost("reset".into()))),
            (Verdict::Unknown, ErrorCode::ConnectionLost, true)
        );
    }

    proptest! {
        /// Only a 2xx creates; only the API's own words refuse.
        #[test]
        fn no_answer_is_taken_for_more_than_it_says(
            status in 100_u16..1000, body in prop::collection::vec(any::<u8>(), 0..200), busy in any::<bool>(),
        ) {
            let exchange = Exchange::Answered(Answer { status, retry_after: None, body: Body::Whole(body) });
            let judgement = judge_emission(&exchange, Context { accepted_recently: busy });
            if judgement.verdict == Verdict::Created {
                prop_assert!((200..300).contains(&status) && judgement.reference.is_some());
            }
            if judgement.verdict == Verdict::Refused {
                prop_assert!((200..300).contains(&status) || (400..500).contains(&status));
            }
            if (500..600).contains(&status) {
                prop_assert_eq!(judgement.verdict, Verdict::Unknown);
            }
        }
    }
}
