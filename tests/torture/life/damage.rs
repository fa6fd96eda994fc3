//! An audit that cannot fail proves nothing: the books of this very run are spoilt in every way that it is meant to find,
//! one at a time, and it must find each.

use anyhow::ensure;

use super::{books::Life, log::Drift, rules::judge};
use crate::{audit::Books, database::Row, platform::Notice};

/// Spoils the books; `None`: this run has nothing that could be spoilt so.
type Damage = fn(&mut Life) -> Option<()>;

const DAMAGES: [(&str, Damage); 22] = [
    ("a receipt that is cut", |life| {
        let kept = life.files.get_mut(&receipt(paid_row(&life.books)?)?)?;
        kept.bytes.truncate(kept.bytes.len() / 2);
        Some(())
    }),
    ("the receipt of another notice", |life| {
        let paths: Vec<_> = life.books.rows.iter().filter(|row| is_paid(row)).filter_map(receipt).collect();
        let other = life.files.get(paths.get(1)?)?.bytes.clone();
        life.files.get_mut(paths.first()?)?.bytes = other;
        Some(())
    }),
    ("a receipt that all may read", |life| {
        life.files.get_mut(&receipt(paid_row(&life.books)?)?)?.mode = 0o644;
        Some(())
    }),
    ("a receipt that is not there", |life| life.files.remove(&receipt(paid_row(&life.books)?)?).map(drop)),
    ("a draft that is left over", |life| {
        let kept = life.files.values().next()?.clone();
        life.files.insert(".part/7".to_owned(), kept);
        Some(())
    }),
    ("a receipt that its row does not know", |life| {
        paid(life)?.receipt_path = None;
        Some(())
    }),
    ("a delivery that is not confirmed", |life| {
        paid(life)?.delivery_confirmed_at = None;
        Some(())
    }),
    ("a delivery that is not confirmed at the platform", |life| {
        notice(life)?.verified = false;
        Some(())
    }),
    ("a confirmation without an attempt", |life| {
        let id = paid_row(&life.books)?.id;
        life.books.attempts.retain(|attempt| attempt.outbox_id != id || attempt.operation != "confirm");
        Some(())
    }),
    ("a callback that was not called", |life| {
        let rows = &mut life.books.rows;
        rows.iter_mut().find(|row| is_paid(row) && row.callback.is_some())?.callback_called_at = None;
        Some(())
    }),
    ("an application that was not told", |life| {
        let row = life.books.rows.iter().find(|row| is_paid(row) && row.callback.is_some())?;
        life.called.remove(&row.reference).map(drop)
    }),
    ("a command that is open", |life| {
        let asked = life.commands.last_mut()?;
        (asked.done_at, asked.outcome) = (None, None);
        Some(())
    }),
    ("a refusal without a reason", |life| {
        let refused = |outcome: &Option<String>| outcome.as_deref() == Some("refused");
        life.commands.iter_mut().find(|asked| refused(&asked.outcome))?.detail = None;
        Some(())
    }),
    ("a command that is lost", |life| life.commands.pop().map(drop)),
    ("a second live notice", |life| {
        let mut second = notice(life)?.clone();
        second.reference.push('X');
        life.ledger.notices.push(second);
        Some(())
    }),
    ("a notice that is not there", |life| {
        let own = paid_row(&life.books)?.tresorpay_reference.clone()?;
        life.ledger.notices.retain(|notice| notice.reference != own);
        Some(())
    }),
    ("another amount", |life| {
        notice(life)?.net_total += 1;
        Some(())
    }),
    ("a row that is lost", |life| {
        let id = paid_row(&life.books)?.id;
        life.books.rows.retain(|row| row.id != id);
        Some(())
    }),
    ("a gap in a history", |life| {
        let id = paid_row(&life.books)?.id;
        let steps = &mut life.books.transitions;
        let gap = steps.iter().position(|step| step.outbox_id == id && step.to_status == "EMITTED")?;
        steps.remove(gap);
        Some(())
    }),
    ("an attempt that is open", |life| {
        life.books.attempts.first_mut()?.outcome = None;
        Some(())
    }),
    ("a change of status that is not recorded", |life| unrecorded(life, &[Drift::Canceled, Drift::Paid])),
    ("a change of payment that is not recorded", |life| unrecorded(life, &[Drift::Payment])),
];

/// Shows the audit each damage by itself; in words, what it found. Fails if it is blind to one.
pub(crate) fn find_out(life: &Life) -> anyhow::Result<String> {
    let (mut found_out, mut left_out) = (0, Vec::new());
    for (name, damage) in DAMAGES {
        let mut spoilt = life.clone();
        if damage(&mut spoilt).is_none() {
            left_out.push(name);
            continue;
        }
        ensure!(!judge(&spoilt).is_empty(), "the audit does not find out {name}");
        found_out += 1;
    }
    let left_out = if left_out.is_empty() {
        String::new()
    } else {
        format!("; nothing to spoil for: {}", left_out.join(", "))
    };
    Ok(format!("the audit finds out each of {found_out} damages to these books{left_out}"))
}

fn is_paid(row: &Row) -> bool {
    row.status == "PAID"
}

fn receipt(row: &Row) -> Option<String> {
    row.receipt_path.clone()
}

/// A paid row.
fn paid_row(books: &Books) -> Option<&Row> {
    books.rows.iter().find(|row| is_paid(row))
}

fn paid(life: &mut Life) -> Option<&mut Row> {
    life.books.rows.iter_mut().find(|row| is_paid(row))
}

/// A paid row's notice.
fn notice(life: &mut Life) -> Option<&mut Notice> {
    let own = paid_row(&life.books)?.tresorpay_reference.clone()?;
    life.ledger.notices.iter_mut().find(|notice| notice.reference == own)
}

/// Takes the record of a planted drift out of the history.
fn unrecorded(life: &mut Life, drifts: &[Drift]) -> Option<()> {
    let planted = life.done.planted.iter().find(|planted| drifts.contains(&planted.drift))?;
    let row = life.books.rows.iter().find(|row| row.reference == planted.reference)?;
    let steps = &mut life.books.transitions;
    let record = steps.iter().position(|step| super::rules::records(step, row, planted))?;
    steps.remove(record);
    Some(())
}
