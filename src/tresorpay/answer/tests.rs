//! The contract's table, one test a row.

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
        assert_eq!(judged(&answered(401, None, body)), (Verdict::NotCreated, ErrorCode::Unauthorized, false));
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
            assert_eq!(judgement.detail.as_deref(), Some(&*format!("HTTP {status}, error.DUPLICATE: Titre")));
        }
    }
}

#[test]
fn a_2xx_that_says_canceled_is_refused() {
    for word in ["CANCELED", "CANCELLED"] {
        let body = format!(r#"{{"reference":"TP1","status":"{word}"}}"#);
        assert_eq!(judged(&answered(200, None, &body)), (Verdict::Refused, ErrorCode::AlreadyCanceled, true));
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
        assert_eq!((quiet.verdict, quiet.code), (Verdict::NotCreated, ErrorCode::Misdirected), "{status}");
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
        assert_eq!(judgement.reference.as_ref().map(TresorPayReference::as_str), Some("TP20241231.1048.AR3"));
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
    let cut =
        Exchange::Answered(Answer { status: 200, retry_after: None, body: Body::Cut("broke off".into()) });
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
