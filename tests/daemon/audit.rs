//! The promise, checked: what the database says of every row against what TresorPay's ledger holds. Every test ends here.

use std::collections::BTreeMap;

use serde_json::Value;
use tresorpayd::simulator::{Ledger, NoticeStatus};

use crate::{
    harness::World,
    rows::{Application, Attempt, Row, Transition},
};

/// Outcomes that count in `outbox.attempts`.
const COUNTED: [&str; 10] = [
    "ok",
    "refused",
    "already_canceled",
    "filtered",
    "timed_out",
    "connection_lost",
    "server_error",
    "unusable_answer",
    "foreign_reference",
    "interrupted",
];

/// Fails where the database and the ledger, or the database and itself, do not agree.
pub(crate) async fn audit(world: &World, app: &mut Application) {
    audit_after_loss(world, app, &[]).await;
}

/// The same where the rows of these references were lost with the time after a copy.
pub(crate) async fn audit_after_loss(world: &World, app: &mut Application, lost: &[&str]) {
    let rows = app.rows().await;
    let (transitions, attempts) = (app.transitions().await, app.attempts().await);
    let ledger = world.sim.ledger();
    assert_eq!(ledger.billed_twice(), Vec::<&str>::new(), "billed twice");
    let live = live(&ledger);
    for row in &rows {
        let live = live.get(&*row.reference).map_or(&[][..], Vec::as_slice);
        check_money(row, &ledger, live);
        check_history(row, &transitions);
        check_attempts(row, &attempts);
        check_words(row, &transitions, &attempts);
    }
    for notice in &ledger.notices {
        let row = rows.iter().find(|row| row.reference == notice.client_reference);
        let lost = lost.contains(&&*notice.client_reference);
        assert!(row.is_some() != lost, "TresorPay has {} for no row", notice.client_reference);
    }
    let ids: Vec<_> = transitions.iter().map(|step| step.id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "transition.id rises");
}

/// TresorPay's references of notices that are not canceled, by client reference.
fn live(ledger: &Ledger) -> BTreeMap<&str, Vec<&str>> {
    let mut live = BTreeMap::<&str, Vec<&str>>::new();
    for notice in ledger.notices.iter().filter(|notice| notice.status != NoticeStatus::Canceled) {
        live.entry(&notice.client_reference).or_default().push(&notice.reference);
    }
    live
}

fn check_money(row: &Row, ledger: &Ledger, live: &[&str]) {
    match &*row.status {
        "PENDING" | "REJECTED" | "CANCELED" => {
            assert!(live.is_empty(), "{row:?} is live at TresorPay: {live:?}");
        }
        "EMITTED" | "PAID" => assert_eq!(live, [row.tresorpay_reference.as_deref().unwrap()], "{row:?}"),
        "EMITTING" | "UNCERTAIN" => assert!(live.len() <= 1, "{row:?}: {live:?}"),
        other => panic!("{other} is no status"),
    }
    for notice in ledger.of_client(&row.reference) {
        assert_eq!(notice.net_total, row.net_total, "{row:?}");
    }
}

/// An unbroken chain from the insertion to the present status.
fn check_history(row: &Row, transitions: &[Transition]) {
    let chain: Vec<_> = transitions.iter().filter(|step| step.outbox_id == row.id).collect();
    assert_eq!(
        chain.first().map(|step| (step.from_status.as_deref(), &*step.to_status)),
        Some((None, "PENDING"))
    );
    for pair in chain.windows(2) {
        assert_eq!(pair[1].from_status.as_ref(), Some(&pair[0].to_status), "a gap in the history of {row:?}");
    }
    assert_eq!(
        chain.last().map(|step| &step.to_status),
        Some(&row.status),
        "the history of {row:?} ends elsewhere"
    );
}

/// `attempts` is what `attempt` says; one is open only while the row is under way.
fn check_attempts(row: &Row, attempts: &[Attempt]) {
    let own: Vec<_> = attempts.iter().filter(|a| a.outbox_id == row.id && a.operation == "emit").collect();
    let counted =
        own.iter().filter(|a| a.outcome.as_deref().is_some_and(|code| COUNTED.contains(&code))).count();
    assert_eq!(row.attempts, i64::try_from(counted).unwrap(), "{row:?} against {own:?}");
    let open = own.iter().filter(|a| a.outcome.is_none()).count();
    assert_eq!(open, usize::from(row.status == "EMITTING"), "{row:?} against {own:?}");
    for attempt in own {
        match (&*attempt.phase, attempt.http_status) {
            ("unsent", None) => {
                assert!(!COUNTED.contains(&attempt.outcome.as_deref().unwrap()), "{attempt:?}");
            }
            ("sent", None) | ("answered", Some(_)) => {}
            _ => panic!("{attempt:?}"),
        }
    }
}

/// `last_error` is one line that starts with a stable code, and no text of the daemon holds the payer.
fn check_words(row: &Row, transitions: &[Transition], attempts: &[Attempt]) {
    if let Some(error) = &row.last_error {
        let code = error.split(':').next().unwrap();
        assert!(!code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{error}");
        assert!(!error.contains('\n') && error.chars().count() < 12_000, "not one line: {error}");
    }
    let reasons =
        transitions.iter().filter(|step| step.outbox_id == row.id).filter_map(|step| step.reason.as_deref());
    let details = attempts.iter().filter(|a| a.outbox_id == row.id).filter_map(|a| a.detail.as_deref());
    let words: Vec<_> = reasons.chain(details).chain(row.last_error.as_deref()).collect();
    for personal in personal(&row.tax_payer) {
        for text in &words {
            assert!(!text.contains(&personal), "`{personal}` is in `{text}`");
        }
    }
}

/// What of a payer would be recognised anywhere.
pub(crate) fn personal(tax_payer: &str) -> Vec<String> {
    let Ok(Value::Object(fields)) = serde_json::from_str(tax_payer) else { return Vec::new() };
    let long = |text: &&str| text.chars().count() > 6;
    fields.values().filter_map(Value::as_str).filter(long).map(str::to_owned).collect()
}
