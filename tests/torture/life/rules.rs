//! What the books must say once everything is done. A pure function: `damage.rs` shows it books that are spoilt.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    books::{Kept, Life},
    log::{Drift, Planted},
};
use crate::{
    audit::{Meddling, compare},
    database::{Row, Transition},
    platform::Notice,
    verdict::Kind,
};

/// A receipt's mode: the daemon's, and its group's to read.
const RECEIPT_MODE: u32 = 0o640;

type Found = Vec<(Kind, String)>;

/// Everything that is wrong.
pub(crate) fn judge(life: &Life) -> Found {
    let mut found = compare(&life.books, &life.done.rows, &life.ledger, life.policy, &meddling(life));
    let notices: HashMap<&str, &Notice> =
        life.ledger.notices.iter().map(|notice| (&*notice.reference, notice)).collect();
    for row in &life.books.rows {
        if ["UNCERTAIN", "REJECTED"].contains(&&*row.status) {
            found.push((Kind::Undone, format!("{} is {} at the end", row.reference, row.status)));
        }
        if row.status == "PAID" {
            let notice = row.tresorpay_reference.as_deref().and_then(|reference| notices.get(reference));
            paid(life, row, notice.copied(), &mut found);
        }
    }
    files(life, &mut found);
    commands(life, &mut found);
    drifts(life, &mut found);
    found
}

fn meddling(life: &Life) -> Meddling {
    let canceled = life.done.commands.iter().filter(|(_, action)| *action == "cancel");
    let otherwise = life.done.planted.iter().filter(|planted| planted.drift == Drift::Payment);
    Meddling {
        canceled: canceled.filter_map(|(reference, _)| reference.clone()).collect(),
        paid_otherwise: otherwise.map(|planted| planted.reference.clone()).collect(),
    }
}

/// What follows a payment: confirmed here and there, receipted, and told to the application.
fn paid(life: &Life, row: &Row, notice: Option<&Notice>, found: &mut Found) {
    let mut undone = |what: String| found.push((Kind::Undone, format!("{}: {what}", row.reference)));
    if row.delivery_confirmed_at.is_none() {
        undone("its delivery is not confirmed".to_owned());
    }
    if notice.is_none_or(|notice| !notice.verified) {
        undone("its delivery is not confirmed at the platform".to_owned());
    }
    let confirmed_here = life.books.attempts.iter().any(|attempt| {
        attempt.outbox_id == row.id
            && attempt.operation == "confirm"
            && attempt.outcome.as_deref() == Some("ok")
    });
    if row.delivery_confirmed_at.is_some() && !confirmed_here {
        undone("its delivery is confirmed, and no attempt says so".to_owned());
    }
    if row.callback.is_some() && row.callback_called_at.is_none() {
        undone("its callback was not called".to_owned());
    }
    if row.callback.is_some() && !life.called.contains_key(&row.reference) {
        undone("the application was not told of its payment".to_owned());
    }
    let served = row.tresorpay_reference.as_deref().and_then(|reference| life.served.get(reference));
    match (row.receipt_path.as_deref(), served) {
        (None, _) => undone("it has no receipt".to_owned()),
        (Some(path), served) => {
            if let Some(what) = receipt(life.files.get(path), served) {
                undone(format!("its receipt {path} {what}"));
            }
        }
    }
}

/// What is wrong with the receipt of a paid notice.
fn receipt(kept: Option<&Kept>, served: Option<&Vec<u8>>) -> Option<String> {
    let Some(kept) = kept else { return Some("is not there".to_owned()) };
    if let Some(what) = file(kept) {
        return Some(what);
    }
    (Some(&kept.bytes) != served).then(|| "is not what the platform serves".to_owned())
}

/// What is wrong with any receipt.
fn file(kept: &Kept) -> Option<String> {
    let whole = kept.bytes.starts_with(b"%PDF-") && kept.bytes.trim_ascii_end().ends_with(b"%%EOF");
    if !whole {
        return Some(format!("is no whole PDF; it has {} bytes", kept.bytes.len()));
    }
    (kept.mode != RECEIPT_MODE).then(|| format!("has mode {:04o}", kept.mode))
}

/// No file but receipts, each whole and of one row. A row that is paid no longer may have left one that it does not know.
fn files(life: &Life, found: &mut Found) {
    let mut owners = BTreeMap::<&str, Vec<&str>>::new();
    for row in &life.books.rows {
        if let Some(path) = &row.receipt_path {
            owners.entry(path).or_default().push(&row.reference);
        }
    }
    let left: HashSet<String> = life
        .books
        .rows
        .iter()
        .filter(|row| row.status == "CANCELED" && row.receipt_path.is_none())
        .filter_map(|row| row.tresorpay_reference.as_ref().map(|reference| format!("{reference}.pdf")))
        .collect();
    for (path, kept) in &life.files {
        let name = path.rsplit('/').next().unwrap_or_default();
        match owners.get(&**path) {
            Some(rows) if rows.len() > 1 => {
                found.push((Kind::Disagreement, format!("{path} is the receipt of {}", rows.join(", "))));
            }
            None if !left.contains(name) => {
                found.push((Kind::Undone, format!("{path} is left over below the receipts")));
            }
            Some(_) | None => {}
        }
        if let Some(what) = file(kept) {
            found.push((Kind::Undone, format!("{path} {what}")));
        }
    }
}

/// What was asked is there, in its order, and was done or refused with a reason.
fn commands(life: &Life, found: &mut Found) {
    let there: Vec<_> =
        life.commands.iter().map(|asked| (asked.reference.as_deref(), &*asked.action)).collect();
    let asked: Vec<_> =
        life.done.commands.iter().map(|(reference, action)| (reference.as_deref(), *action)).collect();
    if there != asked {
        let what = format!("{} commands were committed, and {} are there", asked.len(), there.len());
        found.push((Kind::Lost, format!("{what}, or others")));
    }
    for asked in &life.commands {
        let reason = asked.detail.as_deref().is_some_and(|detail| !detail.trim().is_empty());
        let fine = match (&asked.done_at, asked.outcome.as_deref()) {
            (Some(_), Some("done")) => true,
            (Some(_), Some("refused")) => reason,
            _ => false,
        };
        if !fine {
            found.push((Kind::Undone, format!("{asked:?}")));
        }
    }
    if life.paused {
        found.push((Kind::Undone, "emission is paused after the last resume".to_owned()));
    }
}

/// Each change of the platform's mind is in the history, once.
fn drifts(life: &Life, found: &mut Found) {
    let rows: HashMap<&str, &Row> = life.books.rows.iter().map(|row| (&*row.reference, row)).collect();
    let mut recorded = BTreeSet::new();
    for planted in &life.done.planted {
        let row = rows.get(&*planted.reference);
        let steps: Vec<_> = row
            .map(|row| life.books.transitions.iter().filter(|step| records(step, row, planted)).collect())
            .unwrap_or_default();
        if steps.len() != 1 {
            let what = format!(
                "{}: the platform changed its mind ({:?}), and {} transitions say so",
                planted.reference,
                planted.drift,
                steps.len()
            );
            found.push((Kind::Undone, what));
        }
        recorded.extend(steps.iter().map(|step| step.id));
    }
    let own = life.books.transitions.iter().filter(|step| step.source == "reconcile");
    for step in own.filter(|step| !recorded.contains(&step.id)) {
        found.push((Kind::Disagreement, format!("reconciliation found what nobody changed: {step:?}")));
    }
}

/// Whether this step of the row's history records what was planted.
pub(crate) fn records(step: &Transition, row: &Row, planted: &Planted) -> bool {
    let (from, to) = planted.drift.step();
    step.outbox_id == row.id
        && step.id > planted.after
        && (step.from_status.as_deref(), &*step.to_status) == (Some(from), to)
        && step.reason.as_deref().is_some_and(|reason| reason.starts_with("drift_"))
}
