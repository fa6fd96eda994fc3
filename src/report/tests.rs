//! Properties of the books: sums agree however they are split, balances follow from what happened, and a closed day never
//! changes, whatever is recorded afterwards.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use proptest::prelude::*;

use super::*;
use crate::notice::Status;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    format!("{text}:00Z").parse().unwrap()
}

fn step(when: &str, from: Option<Status>, to: Status) -> Step {
    Step { at: at(when), from, to, provider: None, paid_on: None }
}

fn paid(when: &str, from: Status, provider: &str, on: &str) -> Step {
    let paid_on = day_of_payment(on);
    Step { provider: Some(provider.to_owned()), paid_on, ..step(when, Some(from), Status::Paid) }
}

fn history(reference: &str, net_total: i64, steps: Vec<Step>) -> History {
    let lines = vec![Line { nature: "71531".to_owned(), amount: i128::from(net_total) }];
    History { reference: reference.to_owned(), net_total, lines, structure: "DGI".to_owned(), steps }
}

fn report(histories: &[History], from: &str, to: &str, now: &str) -> Report {
    let mut ledger = Ledger::new(Period::new(date(from), date(to)).unwrap(), at(now));
    for history in histories {
        ledger.add(history).unwrap();
    }
    ledger.finish("production".to_owned()).unwrap()
}

fn sum(count: i64, amount: i128) -> Sum {
    Sum { count, amount }
}

/// The example of docs/report.md.
#[test]
#[allow(clippy::many_single_char_names, reason = "the notices' names in the example")]
fn october_stays_and_november_shows_what_was_corrected() {
    let emitted = |when| step(when, Some(Status::Emitting), Status::Emitted);
    let canceled = |when, from| step(when, Some(from), Status::Canceled);
    let a = vec![
        emitted("2026-10-05T08:00"),
        paid("2026-10-07T09:00", Status::Emitted, "WAVE", "2026-10-07T08:59:00"),
    ];
    let mut b = a.clone();
    let c = vec![
        emitted("2026-10-30T08:00"),
        paid("2026-11-02T09:00", Status::Emitted, "CARD", "2026-10-31T23:00:00"),
    ];
    let d = vec![
        emitted("2026-10-20T08:00"),
        paid("2026-11-09T09:00", Status::Emitted, "CARD", "2026-10-25T10:00:00"),
    ];
    let mut e = vec![emitted("2026-10-20T08:00"), canceled("2026-10-21T08:00", Status::Emitted)];
    let open = history("F", 7, vec![emitted("2026-10-01T00:00")]);
    let early = [
        history("A", 100, a.clone()),
        history("B", 200, b.clone()),
        history("C", 300, c.clone()),
        history("D", 400, d[..1].to_vec()),
        history("E", 500, e.clone()),
        open.clone(),
    ];
    b.push(canceled("2026-11-12T02:30", Status::Paid));
    e.push(paid("2026-11-15T02:30", Status::Canceled, "WAVE", "2026-10-22T10:00:00"));
    let late = [
        history("A", 100, a),
        history("B", 200, b),
        history("C", 300, c),
        history("D", 400, d),
        history("E", 500, e),
        open,
    ];
    let printed = report(&early, "2026-10-01", "2026-10-31", "2026-11-04T00:00");
    assert_eq!(printed.provisional_at, None);
    assert_eq!((printed.total.emitted, printed.total.paid), (sum(6, 1507), sum(3, 600)));
    assert_eq!((printed.total.canceled, printed.total.outstanding), (sum(1, 500), sum(2, 407)));
    assert_eq!(report(&late, "2026-10-01", "2026-10-31", "2027-01-01T00:00"), printed);

    let november = report(&late, "2026-11-01", "2026-11-30", "2026-12-24T00:00");
    assert_eq!(november.opening.outstanding, sum(2, 407));
    assert_eq!(november.total.paid, sum(0, 0));
    assert_eq!(november.total.corrections, sum(1, 700));
    assert_eq!(november.total.canceled, sum(0, -300));
    assert_eq!(november.total.outstanding, sum(1, 7));
    let listed: Vec<_> = november
        .corrections
        .iter()
        .map(|one| (&*one.reference, one.kind, one.amount, one.concerns))
        .collect();
    assert_eq!(
        listed,
        [
            ("D", CorrectionKind::Late, 400, date("2026-10-25")),
            ("B", CorrectionKind::Reversed, -200, date("2026-10-07")),
            ("E", CorrectionKind::Revived, 500, date("2026-10-22")),
        ]
    );
}

#[test]
fn another_provider_is_taken_away_and_added() {
    let steps = vec![
        step("2026-10-05T08:00", Some(Status::Emitting), Status::Emitted),
        paid("2026-10-07T09:00", Status::Emitted, "WAVE", "2026-10-07T08:59:00"),
        paid("2026-10-09T09:00", Status::Paid, "CARD", "2026-10-08T08:59:00"),
    ];
    let report = report(&[history("A", 100, steps)], "2026-10-01", "2026-10-31", "2026-12-01T00:00");
    assert_eq!((report.total.paid, report.total.corrections), (sum(1, 100), sum(0, 0)));
    let revenue: Vec<_> = report.providers.iter().map(|entry| (&*entry.key, entry.figures.revenue)).collect();
    assert_eq!(revenue, [("", sum(0, 0)), ("CARD", sum(1, 100)), ("WAVE", sum(0, 0))]);
    assert_eq!(report.corrections.len(), 2);
}

#[test]
fn what_was_never_emitted_is_in_no_figure_until_it_is_paid() {
    let withdrawn = vec![step("2026-10-05T08:00", Some(Status::Pending), Status::Canceled)];
    let mut surprising = withdrawn.clone();
    surprising.push(paid("2026-10-06T08:00", Status::Canceled, "WAVE", "2026-10-05T07:00:00"));
    let doubt = vec![
        step("2026-10-05T08:00", Some(Status::Emitting), Status::Uncertain),
        step("2026-10-06T08:00", Some(Status::Uncertain), Status::Emitting),
        step("2026-10-06T08:01", Some(Status::Emitting), Status::Uncertain),
    ];
    let all = [history("W", 1, withdrawn), history("S", 10, surprising), history("D", 100, doubt)];
    let report = report(&all, "2026-10-01", "2026-10-31", "2026-12-01T00:00");
    assert_eq!(report.withdrawn, sum(1, 1));
    assert_eq!((report.total.emitted, report.total.revenue), (sum(1, 10), sum(1, 10)));
    assert_eq!((report.total.outstanding, report.total.in_doubt), (sum(0, 0), sum(1, 100)));
}

#[test]
fn a_date_is_read_however_it_is_written() {
    for (text, day) in [
        ("2025-12-19T15:00:00", Some("2025-12-19")),
        ("2025-12-19T15:00", Some("2025-12-19")),
        (" 2025-12-19T23:59:59.999 ", Some("2025-12-19")),
        ("2025-12-20T00:30:00+01:00", Some("2025-12-19")),
        ("2025-12-19", Some("2025-12-19")),
        ("2025-02-30T10:00:00", None),
        ("yesterday", None),
        ("", None),
    ] {
        assert_eq!(day_of_payment(text), day.map(date), "{text}");
    }
}

#[test]
fn a_total_beyond_64_bits_is_an_error_and_so_are_items_that_do_not_fit() {
    let emitted = vec![step("2026-10-05T08:00", Some(Status::Emitting), Status::Emitted)];
    let mut ledger =
        Ledger::new(Period::new(date("2026-10-01"), date("2026-10-31")).unwrap(), at("2026-12-01T00:00"));
    ledger.add(&history("A", i64::MAX, emitted.clone())).unwrap();
    ledger.add(&history("B", 1, emitted.clone())).unwrap();
    let error = ledger.finish(String::new()).unwrap_err().to_string();
    assert!(error.contains("emitted come to more than 9223372036854775807 XOF"), "{error}");
    let mut ledger =
        Ledger::new(Period::new(date("2026-10-01"), date("2026-10-31")).unwrap(), at("2026-12-01T00:00"));
    let wrong = History { net_total: 99, ..history("C", 100, emitted) };
    assert!(
        ledger
            .add(&wrong)
            .unwrap_err()
            .to_string()
            .contains("items of C come to 100 XOF and its net_total is 99")
    );
}

#[test]
fn items_are_added_up_by_nature_and_may_be_anonymised() {
    let items = r#"[{"quantity":2,"unitPrice":500,"codeNatureRecette":"71531","name":"x"},
                    {"quantity":1,"unitPrice":7},{"quantity":3,"unitPrice":1,"codeNatureRecette":"71531"}]"#;
    let line = |nature: &str, amount| Line { nature: nature.to_owned(), amount };
    assert_eq!(Line::of_items(items).unwrap(), [line("71531", 1003), line("", 7)]);
}

const PROVIDERS: [&str; 3] = ["", "WAVE", "ORANGE_MONEY"];

/// A legal life of a notice: what comes next is drawn from the moves that the schema allows.
fn lives() -> impl Strategy<Value = History> {
    let moves = prop::collection::vec((0_u8..6, 0_i64..9_000, 0_usize..3, 0_i64..40), 0..9);
    (1_i64..1_000_000, 0_i64..40, moves, 0_u8..4).prop_map(|(net_total, start, moves, nature)| {
        let mut when = at("2026-09-20T00:00") + TimeDelta::days(start);
        let mut status = Status::Pending;
        let mut steps = Vec::new();
        for (pick, minutes, provider, back) in moves {
            let to = next(status, pick);
            when += TimeDelta::minutes(minutes);
            let is_paid = to == Status::Paid;
            steps.push(Step {
                at: when,
                from: Some(status),
                to,
                provider: is_paid.then(|| PROVIDERS[provider].to_owned()),
                paid_on: is_paid.then(|| when.date_naive() - TimeDelta::days(back % 9)),
            });
            status = to;
        }
        let mut lines = vec![Line { nature: format!("715{nature}"), amount: i128::from(net_total / 2) }];
        lines.push(Line { nature: "719".to_owned(), amount: i128::from(net_total - net_total / 2) });
        let structure = if nature == 0 { String::new() } else { format!("S{nature}") };
        History { reference: format!("R-{net_total}"), net_total, lines, structure, steps }
    })
}

fn next(from: Status, pick: u8) -> Status {
    use Status::{Canceled, Emitted, Emitting, Paid, Pending, Rejected, Uncertain};
    let to: &[Status] = match from {
        Pending => &[Emitting, Emitting, Emitted, Uncertain, Canceled, Rejected],
        Emitting => &[Emitted, Emitted, Uncertain, Pending, Rejected, Emitted],
        Uncertain => &[Emitted, Emitting, Pending, Canceled, Emitted, Emitted],
        Rejected => &[Pending, Canceled, Emitted, Uncertain, Pending, Emitted],
        Emitted => &[Paid, Paid, Paid, Canceled, Paid, Canceled],
        Paid => &[Canceled, Paid, Canceled, Paid, Canceled, Canceled],
        Canceled => &[Paid; 6],
    };
    to[usize::from(pick)]
}

fn at_the_end(history: &History) -> Option<Status> {
    history.steps.last().map(|step| step.to)
}

fn added(entries: &[Entry], figure: impl Fn(&Figures) -> Sum) -> i128 {
    entries.iter().map(|entry| figure(&entry.figures).amount).sum()
}

fn flows(figures: &Figures) -> BTreeMap<&'static str, Sum> {
    figures.all().into_iter().filter(|(name, _)| !matches!(*name, "outstanding" | "in_doubt")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_it_is_split_it_comes_to_the_total(all in prop::collection::vec(lives(), 0..12), from in 0_u64..60, days in 0_u64..60) {
        let from = date("2026-09-15") + Days::new(from);
        let period = Period::new(from, from + Days::new(days)).unwrap();
        let mut ledger = Ledger::new(period, at("2027-06-01T00:00"));
        for history in &all { ledger.add(history).unwrap(); }
        let report = ledger.finish(String::new()).unwrap();
        let total = &report.total;
        for by in [By::Day, By::Provider, By::Nature, By::Structure] {
            for (name, sum) in flows(total) {
                prop_assert_eq!(added(report.table(by), |figures| flows(figures)[name]), sum.amount, "{:?} {}", by, name);
            }
            if by != By::Day {
                prop_assert_eq!(added(report.table(by), |figures| figures.outstanding), total.outstanding.amount);
                prop_assert_eq!(added(report.table(by), |figures| figures.in_doubt), total.in_doubt.amount);
            }
        }
        // What was open, and what happened, is what is open.
        let expected = report.opening.outstanding.amount + total.emitted.amount - total.revenue.amount - total.canceled.amount;
        prop_assert_eq!(total.outstanding.amount, expected);
        if let Some(last) = report.days.last() {
            prop_assert_eq!(last.figures.outstanding, total.outstanding);
            prop_assert_eq!(last.figures.in_doubt, total.in_doubt);
        }
        prop_assert!(report.days.iter().all(|day| day.figures.outstanding.count >= 0 && day.figures.in_doubt.count >= 0));
        let aged: i128 = report.ageing.iter().map(|(_, sum)| sum.amount).sum();
        prop_assert_eq!(aged, total.outstanding.amount);
        // Corrections are what is listed, and each kind of it.
        let listed: i128 = report.corrections.iter().map(|one| one.amount).sum();
        let kinds: i128 = report.drift.iter().map(|(_, sum)| sum.amount).sum();
        prop_assert_eq!((listed, kinds), (total.corrections.amount, total.corrections.amount));
    }

    #[test]
    fn in_the_end_the_books_say_what_the_rows_say(all in prop::collection::vec(lives(), 0..12)) {
        let period = Period::new(date("2026-09-01"), date("2027-05-31")).unwrap();
        let mut ledger = Ledger::new(period, at("2027-06-01T00:00"));
        for history in &all { ledger.add(history).unwrap(); }
        let report = ledger.finish(String::new()).unwrap();
        let rows = |wanted: Status| {
            let rows = all.iter().filter(|history| at_the_end(history) == Some(wanted));
            rows.fold(Sum::default(), |sum, row| Sum { count: sum.count + 1, amount: sum.amount + i128::from(row.net_total) })
        };
        prop_assert_eq!(report.total.revenue, rows(Status::Paid));
        prop_assert_eq!(report.total.outstanding, rows(Status::Emitted));
        prop_assert_eq!(report.total.in_doubt, rows(Status::Uncertain));
        let canceled = report.total.canceled.amount + report.withdrawn.amount;
        prop_assert_eq!(canceled, rows(Status::Canceled).amount);
    }

    /// The one that matters: whatever a notice lives through later, what was printed of a closed period stands.
    #[test]
    fn a_closed_period_never_changes(all in prop::collection::vec(lives(), 1..12), days in 0_u64..70, later in 0_i64..50) {
        let to = date("2026-09-20") + Days::new(days);
        let period = Period::new(date("2026-09-01"), to).unwrap();
        let now = period.closes() + TimeDelta::days(later);
        let print = |histories: &[History], now| {
            let mut ledger = Ledger::new(period, now);
            for history in histories { ledger.add(history).unwrap(); }
            ledger.finish(String::new()).unwrap()
        };
        let known: Vec<History> = all.iter().map(|history| {
            let steps = history.steps.iter().filter(|step| step.at < now).cloned().collect();
            History { steps, ..history.clone() }
        }).collect();
        let printed = print(&known, now);
        prop_assert_eq!(printed.provisional_at, None);
        prop_assert_eq!(&print(&all, now + TimeDelta::days(900)), &printed);
        prop_assert_eq!(print(&all, now).to_json(&[By::Day, By::Nature]).unwrap(), printed.to_json(&[By::Day, By::Nature]).unwrap());
    }
}
