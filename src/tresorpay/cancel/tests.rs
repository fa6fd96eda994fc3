//! What a cancel's answer proves, one test a row.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::tresorpay::RetryAfter;

fn address() -> CancelAddress {
    CancelAddress {
        url: Url::parse("http://127.0.0.1:1/api/payment/cancel-notice-recette").unwrap(),
        reference: "A-1".to_owned(),
        client_code: "APP-001".to_owned(),
        structure_code: "DGI-01".to_owned(),
    }
}

fn answered(status: u16, retry_after: Option<u64>, body: &str) -> Exchange {
    Exchange::Answered(Answer {
        status,
        retry_after: retry_after.map(|seconds| RetryAfter(Duration::from_secs(seconds))),
        body: Body::Whole(body.as_bytes().to_vec()),
    })
}

fn problem(status: u16, message: &str, title: &str) -> String {
    format!(r#"{{"type":"t","title":"{title}","status":{status},"message":"{message}"}}"#)
}

fn judged(exchange: &Exchange) -> (CancelVerdict, ErrorCode) {
    let judgement = judge_cancel(exchange, &address());
    (judgement.verdict, judgement.code)
}

#[test]
fn a_2xx_that_says_canceled_is_proof() {
    for word in ["CANCELED", "CANCELLED", " canceled "] {
        let named = judge_cancel(
            &answered(200, None, &format!(r#"{{"reference":"TP1","status":"{word}"}}"#)),
            &address(),
        );
        assert_eq!(
            (named.verdict, named.code, named.phase),
            (CancelVerdict::Canceled, ErrorCode::Ok, Phase::Answered)
        );
        assert_eq!(named.reference.unwrap().as_str(), "TP1");
        for unnamed in
            [format!(r#"{{"status":"{word}"}}"#), format!(r#"{{"reference":null,"status":"{word}"}}"#)]
        {
            assert_eq!(judged(&answered(200, None, &unnamed)), (CancelVerdict::Canceled, ErrorCode::Ok));
        }
    }
}

#[test]
fn a_2xx_that_names_a_notice_and_says_anything_else_has_its_status_asked() {
    for status in [
        r#","status":"EMITTED""#,
        r#","status":"PAID""#,
        r#","status":"SUCCESS""#,
        r#","status":"ANNULE""#,
        "",
    ] {
        let judgement =
            judge_cancel(&answered(200, None, &format!(r#"{{"reference":"TP1"{status}}}"#)), &address());
        assert_eq!(
            (judgement.verdict, judgement.code),
            (CancelVerdict::Exists, ErrorCode::NotCanceled),
            "{status}"
        );
        assert!(judgement.reference.is_some() && judgement.detail.is_some());
    }
}

#[test]
fn a_2xx_that_names_none_and_does_not_say_canceled_proves_nothing() {
    for body in ["{}", r#"{"status":"EMITTED"}"#, r#"{"status":"PAID"}"#, r#"{"ok":true}"#] {
        assert_eq!(
            judged(&answered(200, None, body)),
            (CancelVerdict::NothingProven, ErrorCode::NotCanceled),
            "{body}"
        );
    }
}

#[test]
fn a_2xx_that_cannot_be_read_is_no_answer() {
    let long = format!(r#"{{"reference":"{}","status":"CANCELED"}}"#, "x".repeat(129));
    for body in [
        "",
        "<html>",
        "[]",
        r#"{"status":"CANCEL"#,
        r#"{"reference":7,"status":"CANCELED"}"#,
        r#"{"reference":" ","status":"CANCELED"}"#,
        r#"{"status":"CANCELED","status":"EMITTED"}"#,
        &long,
    ] {
        assert_eq!(
            judged(&answered(200, None, body)),
            (CancelVerdict::Unanswered, ErrorCode::UnusableAnswer),
            "{body}"
        );
    }
    let cut =
        Exchange::Answered(Answer { status: 200, retry_after: None, body: Body::Cut("broke off".into()) });
    assert_eq!(judged(&cut), (CancelVerdict::Unanswered, ErrorCode::UnusableAnswer));
}

#[test]
fn the_apis_own_404_is_proof() {
    let body = problem(404, "error.NOTICE_NOT_FOUND", "L'avis de recette n'existe pas");
    let judgement = judge_cancel(&answered(404, None, &body), &address());
    assert_eq!((judgement.verdict, judgement.code), (CancelVerdict::NothingLive, ErrorCode::NothingLive));
    assert_eq!(judgement.health, Health::Good);
    let validation =
        r#"{"title":"t","status":404,"message":"error.NOT_FOUND","params":"noticeRecette","fieldErrors":[]}"#;
    assert_eq!(judged(&answered(404, None, validation)).0, CancelVerdict::NothingLive);
}

#[test]
fn a_404_about_the_path_proves_nothing() {
    let spring =
        r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"No static resource api."}"#;
    let generic = problem(404, "error.http.410", "Gone");
    for body in [
        &*problem(404, "error.http.404", "Not Found"),
        "",
        "<html>",
        r#"{"message":"no Route matched"}"#,
        spring,
        &generic,
    ] {
        let (verdict, _) = judged(&answered(404, None, body));
        assert_eq!(verdict, CancelVerdict::NothingProven, "{body}");
    }
    for code in [405, 406, 415] {
        let body = problem(code, &format!("error.http.{code}"), "x");
        assert_eq!(
            judged(&answered(code, None, &body)),
            (CancelVerdict::NothingProven, ErrorCode::Misdirected)
        );
    }
}

#[test]
fn a_404_that_names_the_client_or_the_structure_proves_nothing() {
    for body in [
        problem(404, "error.SERVICE_CLIENT_NOT_FOUND", "La service n'existe pas"),
        problem(404, "error.STRUCTURE_NOT_FOUND", "x"),
        problem(404, "error.NOT_FOUND", "La structure n'existe pas"),
        problem(404, "error.NOT_FOUND", "Application inconnue"),
        problem(404, "error.NOT_FOUND", "app-001 inconnu"),
        problem(404, "error.NOT_FOUND", "DGI-01: inconnu"),
        r#"{"title":"t","status":404,"message":"error.NOT_FOUND","params":"appTransaction"}"#.to_owned(),
        r#"{"title":"t","status":404,"message":"error.NOT_FOUND","params":["codeStructure"]}"#.to_owned(),
        r#"{"title":"t","status":404,"message":"error.NOT_FOUND","detail":"no such client"}"#.to_owned(),
        r#"{"title":"t","status":404,"message":"error.NOT_FOUND","fieldErrors":[{"field":"codeClient","message":"x"}]}"#.to_owned(),
    ] {
        assert_eq!(judged(&answered(404, None, &body)), (CancelVerdict::NothingProven, ErrorCode::Refused), "{body}");
    }
    // A code counts as a word of its own only.
    let inside = problem(404, "error.NOT_FOUND", "XDGI-011 n'existe pas");
    assert_eq!(judged(&answered(404, None, &inside)).0, CancelVerdict::NothingLive);
}

#[test]
fn every_other_refusal_proves_nothing() {
    for status in [400, 402, 405, 409, 410, 422] {
        let body = problem(status, "error.NOTICE_ALREADY_PAID", "x");
        let judgement = judge_cancel(&answered(status, None, &body), &address());
        assert_eq!((judgement.verdict, judgement.code), (CancelVerdict::NothingProven, ErrorCode::Refused));
        assert_eq!(judgement.health, Health::Good);
    }
    for (status, body) in [
        (403, problem(403, "error.FORBIDDEN", "x")),
        (400, String::new()),
        (301, String::new()),
        (302, String::new()),
        (307, String::new()),
        (308, String::new()),
        (413, "<html>".to_owned()),
    ] {
        let judgement = judge_cancel(&answered(status, None, &body), &address());
        assert_eq!(
            (judgement.verdict, judgement.code),
            (CancelVerdict::NothingProven, ErrorCode::Misdirected),
            "{status}"
        );
        assert_eq!(judgement.health, Health::Neutral, "an odd path says nothing of emissions");
    }
}

#[test]
fn never_left_or_turned_away_is_not_carried_out() {
    for (why, code) in [
        (Unsent::Unreachable("dns error".into()), ErrorCode::Unreachable),
        (Unsent::NoToken("invalid_client".into()), ErrorCode::NoToken),
        (Unsent::ShuttingDown, ErrorCode::ShuttingDown),
    ] {
        let judgement = judge_cancel(&Exchange::Unsent(why), &address());
        assert_eq!(
            (judgement.verdict, judgement.code, judgement.phase),
            (CancelVerdict::NotCarriedOut, code, Phase::Unsent)
        );
    }
    assert_eq!(judged(&answered(401, None, "")), (CancelVerdict::NotCarriedOut, ErrorCode::Unauthorized));
    let busy = problem(503, "error.busy", "x");
    for (status, body) in [(429, ""), (503, &*busy)] {
        let judgement = judge_cancel(&answered(status, Some(7), body), &address());
        assert_eq!(
            (judgement.verdict, judgement.code),
            (CancelVerdict::NotCarriedOut, ErrorCode::RateLimited)
        );
        assert_eq!(judgement.health, Health::Pause(Duration::from_secs(7)));
    }
}

#[test]
fn what_may_still_be_carried_out_is_unanswered() {
    for (why, code) in [
        (NoAnswer::TimedOut, ErrorCode::TimedOut),
        (NoAnswer::Lost("reset".into()), ErrorCode::ConnectionLost),
    ] {
        let judgement = judge_cancel(&Exchange::NoAnswer(why), &address());
        assert_eq!(
            (judgement.verdict, judgement.code, judgement.phase),
            (CancelVerdict::Unanswered, code, Phase::Sent)
        );
        assert_eq!(judgement.health, Health::Bad);
    }
    let own = problem(500, "error.NOTICE_NOT_FOUND", "x");
    for (status, body) in [
        (500, &*own),
        (502, "<html>"),
        (503, ""),
        (504, ""),
        (408, ""),
        (303, ""),
        (100, ""),
        (304, ""),
        (600, ""),
    ] {
        assert_eq!(
            judged(&answered(status, None, body)),
            (CancelVerdict::Unanswered, ErrorCode::ServerError),
            "{status}"
        );
    }
    assert_eq!(
        judge_cancel(&answered(503, Some(3), "<html>"), &address()).health,
        Health::Pause(Duration::from_secs(3))
    );
}

proptest! {
    /// Whatever comes, only these two answers are proof.
    #[test]
    fn nothing_else_is_proof(status in 100u16..1000, retry in proptest::option::of(0u64..100), body in ".{0,200}") {
        let judgement = judge_cancel(&answered(status, retry, &body), &address());
        prop_assert!(!matches!(judgement.verdict, CancelVerdict::Canceled | CancelVerdict::NothingLive), "{:?}", judgement);
    }
}
