//! What follows from each proof, or from none, one test a row.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use super::*;
use crate::tresorpay::{Health, Phase};

fn case(status: Status) -> CancelCase {
    CancelCase {
        outbox_id: 7,
        reference: "A-1".to_owned(),
        status,
        code_client: None,
        code_structure: None,
        attempts: 1,
        tresorpay_reference: (status == Status::Emitted).then(|| "TP1".to_owned()),
        tax_payer: "{}".to_owned(),
        items: "[]".to_owned(),
        authorized_payment_modes: None,
        sent_to: Vec::new(),
        open: false,
        proven: false,
        restored: false,
        canceled: Vec::new(),
        tries: 0,
    }
}

fn proven(seen: &[&str]) -> CancelCase {
    let canceled = seen.iter().map(|&seen| seen.to_owned()).collect();
    CancelCase { proven: true, canceled, ..case(Status::Uncertain) }
}

fn answer(verdict: CancelVerdict, code: ErrorCode, named: Option<&str>) -> CancelJudgement {
    CancelJudgement {
        verdict,
        phase: Phase::Answered,
        code,
        http_status: None,
        reference: named.map(|named| TresorPayReference::parse(named).unwrap()),
        detail: Some("said".to_owned()),
        health: Health::Good,
    }
}

fn canceled(named: Option<&str>) -> CancelJudgement {
    answer(CancelVerdict::Canceled, ErrorCode::Ok, named)
}

fn nothing_live() -> CancelJudgement {
    answer(CancelVerdict::NothingLive, ErrorCode::NothingLive, None)
}

fn exists() -> CancelJudgement {
    answer(CancelVerdict::Exists, ErrorCode::NotCanceled, Some("TP2"))
}

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T09:48:00.000Z").unwrap()
}

fn later(seconds: u64) -> Timestamp {
    now().after(Duration::from_secs(seconds))
}

fn decided(
    case: &CancelCase,
    purpose: Purpose,
    judgement: &CancelJudgement,
    asked: Option<&RemoteStatus>,
) -> (ErrorCode, AfterCancel) {
    let payment_page = Url::parse("http://127.0.0.1/pay").unwrap();
    let retry = Retry { not_carried_out: later(1), unanswered: later(2), nothing_proven: later(3) };
    Facts { case, purpose, judgement, asked, at: now(), retry, max_attempts: 3, payment_page: &payment_page }
        .decide()
}

fn moves(then: &AfterCancel) -> Option<Status> {
    match then {
        AfterCancel::Moves { to, .. } => Some(*to),
        AfterCancel::Adopted { .. } => Some(Status::Emitted),
        AfterCancel::Stays { .. } => None,
    }
}

/// `last_error`'s code, and when it is acted on next.
fn stays(then: &AfterCancel) -> (&str, Option<Timestamp>) {
    match then {
        AfterCancel::Stays { last_error, next_attempt_at } => {
            (last_error.split(':').next().unwrap(), *next_attempt_at)
        }
        moved => panic!("{moved:?}"),
    }
}

#[test]
fn the_first_proof_settles_or_cancels() {
    for judgement in [canceled(Some("TP2")), canceled(None), nothing_live()] {
        for (purpose, to) in [(Purpose::Settle, Status::Pending), (Purpose::Cancel, Status::Canceled)] {
            let (code, then) = decided(&case(Status::Uncertain), purpose, &judgement, None);
            assert_eq!((code, moves(&then)), (judgement.code, Some(to)));
        }
    }
}

#[test]
fn a_later_proof_needs_a_reference_not_seen_canceled() {
    for purpose in [Purpose::Settle, Purpose::Cancel] {
        assert!(moves(&decided(&proven(&["TP1"]), purpose, &canceled(Some("TP2")), None).1).is_some());
        for judgement in [canceled(Some("TP1")), canceled(None), nothing_live()] {
            let (_, then) = decided(&proven(&["TP1"]), purpose, &judgement, None);
            assert_eq!(stays(&then), ("unproven", None));
        }
        let after_absence = decided(&proven(&[]), purpose, &canceled(Some("TP1")), None).1;
        assert!(moves(&after_absence).is_some(), "the first was proven by a 404, and this one is named");
    }
}

#[test]
fn a_row_without_attempts_left_is_rejected_as_it_is_settled() {
    for (attempts, rejected) in [(2, false), (3, true), (4, true)] {
        let case = CancelCase { attempts, ..case(Status::Uncertain) };
        let AfterCancel::Moves { to, rejected: why, .. } =
            decided(&case, Purpose::Settle, &nothing_live(), None).1
        else {
            panic!("it is settled");
        };
        assert_eq!((to, why.is_some()), (Status::Pending, rejected), "{attempts}");
        let canceled = decided(&case, Purpose::Cancel, &nothing_live(), None).1;
        assert!(matches!(canceled, AfterCancel::Moves { to: Status::Canceled, rejected: None, .. }));
    }
}

#[test]
fn a_notice_that_is_named_is_believed_as_its_status_says() {
    let uncertain = case(Status::Uncertain);
    let asked =
        |status: Option<RemoteStatus>| decided(&uncertain, Purpose::Settle, &exists(), status.as_ref());
    let (code, then) = asked(Some(RemoteStatus::Canceled));
    assert_eq!((code, moves(&then)), (ErrorCode::Ok, Some(Status::Pending)));
    for alive in [RemoteStatus::Live, RemoteStatus::Paid] {
        let (code, then) = asked(Some(alive));
        let AfterCancel::Adopted { reference, payment_url, .. } = then else { panic!("{then:?}") };
        assert_eq!((code, reference.as_str()), (ErrorCode::NotCanceled, "TP2"));
        assert_eq!(payment_url, "http://127.0.0.1/pay?id=TP2");
    }
    for unknown in [None, Some(RemoteStatus::Unknown("X".to_owned()))] {
        assert_eq!(stays(&asked(unknown).1), ("not_canceled", Some(later(3))));
    }
    let again = decided(&proven(&["TP2"]), Purpose::Settle, &exists(), Some(&RemoteStatus::Canceled)).1;
    assert_eq!(stays(&again), ("unproven", None), "seen canceled before");
}

#[test]
fn what_proves_nothing_waits_each_by_its_kind() {
    for (verdict, code, at) in [
        (CancelVerdict::NotCarriedOut, ErrorCode::Unreachable, 1),
        (CancelVerdict::Unanswered, ErrorCode::TimedOut, 2),
        (CancelVerdict::NothingProven, ErrorCode::Refused, 3),
    ] {
        for purpose in [Purpose::Settle, Purpose::Cancel] {
            let (outcome, then) =
                decided(&case(Status::Uncertain), purpose, &answer(verdict, code, None), None);
            assert_eq!((outcome, stays(&then)), (code, (code.as_str(), Some(later(at)))));
            // What is EMITTED is asked about at once.
            let (_, then) =
                decided(&case(Status::Emitted), Purpose::Cancel, &answer(verdict, code, None), None);
            assert_eq!(stays(&then), (code.as_str(), Some(now())));
        }
    }
}

#[test]
fn an_emitted_notice_is_canceled_by_its_own_name_only() {
    let emitted = case(Status::Emitted);
    for named in [Some("TP1"), None] {
        let then = decided(&emitted, Purpose::Cancel, &canceled(named), None).1;
        assert_eq!(moves(&then), Some(Status::Canceled));
    }
    let another = decided(&emitted, Purpose::Cancel, &canceled(Some("TP9")), None).1;
    assert_eq!(stays(&another), ("not_canceled", Some(now())));
    let absent = decided(&emitted, Purpose::Cancel, &nothing_live(), None).1;
    assert_eq!(stays(&absent), ("nothing_live", Some(now())));
}
