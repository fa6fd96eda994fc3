//! Every kind of difference, and sums that add up whatever the statement says.
#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 10, day).unwrap()
}

fn row(id: i64, net_total: i64, paid_on: Option<u32>) -> Payment {
    Payment {
        id,
        reference: format!("A-{id}"),
        tresorpay_reference: Some(format!("TP-{id}")),
        status: if paid_on.is_some() { Status::Paid } else { Status::Emitted },
        net_total,
        paid_on: paid_on.map(day),
    }
}

fn line(line: u64, reference: &str, amount: i64, date: u32) -> ReadLine {
    ReadLine::Payment { line, reference: reference.to_owned(), amount, date: Some(day(date)) }
}

fn kinds(result: &Result) -> Vec<(Kind, Option<u64>)> {
    result.findings.iter().map(|finding| (finding.kind, finding.line)).collect()
}

#[test]
fn each_difference_is_told_once_and_explains_the_sums() {
    let mut comparison = Comparison::new((None, None), 0);
    let known = |row: Payment| Some((row, true));
    comparison.line(line(2, "TP-1", 100, 5), known(row(1, 100, Some(5))));
    comparison.line(line(3, "TP-2", 200, 6), known(row(2, 250, Some(6))));
    comparison.line(line(4, "TP-3", 300, 7), known(row(3, 300, Some(9))));
    comparison.line(line(5, "TP-4", 400, 7), known(row(4, 400, None)));
    comparison.line(line(6, "XX", 500, 20), None);
    comparison.line(line(7, "XX", 500, 20), None);
    comparison.line(line(8, "TP-1", 100, 5), known(row(1, 100, Some(5))));
    let unreadable = ReadLine::Unreadable {
        line: 9,
        reference: Some("TP-6".into()),
        column: "Montant".into(),
        why: Trouble::NoReference,
    };
    comparison.line(unreadable, known(row(6, 60, Some(8))));
    comparison.line(ReadLine::Total { line: 10, amount: 2100 }, None);
    for paid in [row(1, 100, Some(5)), row(2, 250, Some(6)), row(3, 300, Some(9)), row(6, 60, Some(8))] {
        comparison.outbox(paid);
    }
    comparison.outbox(row(5, 70, Some(12)));
    comparison.outbox(row(7, 70, Some(4)));
    assert_eq!(comparison.period(), Some(Period { from: day(5), to: day(20) }));
    let result = comparison.finish();
    assert_eq!(
        kinds(&result),
        [
            (Kind::MissingHere, Some(6)),
            (Kind::MissingThere, None),
            (Kind::NotPaidHere, Some(5)),
            (Kind::AmountDiffers, Some(3)),
            (Kind::DateDiffers, Some(4)),
            (Kind::Duplicate, Some(7)),
            (Kind::Duplicate, Some(8)),
            (Kind::Unreadable, Some(9)),
        ]
    );
    assert!(!result.agrees() && result.matched == Sum { count: 1, amount: 100 });
    assert_eq!((result.bridge.statement.amount, result.bridge.reached()), (2100, 2100));
}

#[test]
fn dates_may_be_some_days_apart_if_the_user_says_so() {
    for (days, agrees) in [(1, false), (2, true)] {
        let mut comparison = Comparison::new((Some(day(1)), Some(day(31))), days);
        comparison.line(line(2, "A-1", 100, 7), Some((row(1, 100, Some(9)), false)));
        comparison.outbox(row(1, 100, Some(9)));
        let result = comparison.finish();
        assert_eq!((result.agrees(), result.by_own), (agrees, 1));
    }
}

proptest! {
    /// Whatever a statement says, its sum is reached from the outbox's.
    #[test]
    fn the_bridge_is_exact(lines in prop::collection::vec((0..12_i64, 1..1000_i64, 1..31_u32), 0..40), rows in prop::collection::vec((1..1000_i64, prop::option::of(1..31_u32)), 10)) {
        let mut comparison = Comparison::new((Some(day(8)), Some(day(20))), 0);
        let rows: Vec<Payment> = (0..).zip(rows).map(|(id, (total, paid))| row(id, total, paid)).collect();
        for (at, (id, amount, date)) in (2..).zip(&lines) {
            let known = usize::try_from(*id).ok().and_then(|id| rows.get(id)).cloned().map(|row| (row, true));
            let said = if amount % 7 == 0 {
                ReadLine::Unreadable { line: at, reference: None, column: String::new(), why: Trouble::NoReference }
            } else {
                line(at, &format!("TP-{id}"), *amount, *date)
            };
            comparison.line(said, known);
        }
        for row in rows {
            comparison.outbox(row);
        }
        let result = comparison.finish();
        prop_assert_eq!(result.bridge.reached(), result.bridge.statement.amount);
    }
}
