//! The comparison: each line of the statement with the row that has its reference, then the payments of the period that no
//! line names. Every finding is one difference, and all of them together explain the difference of the sums to the franc.

use std::collections::HashMap;

use chrono::NaiveDate;

use super::lines::{ReadLine, Trouble};
use crate::notice::Status;

/// Differences that are kept; more are counted only.
pub const MAX_FINDINGS: usize = 100_000;

/// The days that are compared, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first.
    pub from: NaiveDate,
    /// The last.
    pub to: NaiveDate,
}

impl Period {
    /// Whether `date` is one of its days.
    pub fn contains(self, date: NaiveDate) -> bool {
        (self.from..=self.to).contains(&date)
    }

    fn widened(period: Option<Self>, date: NaiveDate) -> Self {
        period.map_or(Self { from: date, to: date }, |period| Self {
            from: period.from.min(date),
            to: period.to.max(date),
        })
    }
}

/// A row of the outbox, as a statement is compared with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// `outbox.id`.
    pub id: i64,
    /// The application's own reference.
    pub reference: String,
    /// TresorPay's.
    pub tresorpay_reference: Option<String>,
    /// As it is now.
    pub status: Status,
    /// In XOF.
    pub net_total: i64,
    /// The day of the payment: by TresorPay, else the day on which it was recorded here. `None`: not paid.
    pub paid_on: Option<NaiveDate>,
}

/// What a difference is about, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A payment in the statement whose reference is no row's.
    MissingHere,
    /// A payment in the outbox, within the period, that no line names.
    MissingThere,
    /// A payment in the statement whose row is not `PAID`.
    NotPaidHere,
    /// The amounts differ.
    AmountDiffers,
    /// The days differ.
    DateDiffers,
    /// A second line for the same notice.
    Duplicate,
    /// A line that cannot be read.
    Unreadable,
    /// The sum that the statement names is not the sum of its lines.
    TotalDiffers,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::MissingHere,
        Self::MissingThere,
        Self::NotPaidHere,
        Self::AmountDiffers,
        Self::DateDiffers,
        Self::Duplicate,
        Self::Unreadable,
        Self::TotalDiffers,
    ];

    /// For programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingHere => "missing_here",
            Self::MissingThere => "missing_there",
            Self::NotPaidHere => "not_paid_here",
            Self::AmountDiffers => "amount_differs",
            Self::DateDiffers => "date_differs",
            Self::Duplicate => "duplicate",
            Self::Unreadable => "unreadable",
            Self::TotalDiffers => "total_differs",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// In the statement; `None`: it has no such line.
    pub line: Option<u64>,
    /// Of a duplicate: the line that came first.
    pub first_line: Option<u64>,
    /// As the statement gives it.
    pub reference: Option<String>,
    /// The row, if there is one.
    pub row: Option<Payment>,
    /// In the statement.
    pub amount: Option<i64>,
    /// In the statement.
    pub date: Option<NaiveDate>,
    /// Of an unreadable line: the column and what is wrong.
    pub trouble: Option<(String, Trouble)>,
}

/// How many, and what they come to in XOF.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// In XOF; wide enough for every statement.
    pub amount: i128,
}

impl Sum {
    fn add(&mut self, amount: i64) {
        self.count += 1;
        self.amount += i128::from(amount);
    }
}

/// From the outbox's sum to the statement's, step by step. Together they are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Rows `PAID` within the period: where it begins.
    pub outbox: Sum,
    /// Less: of these, the ones that no line names.
    pub missing_there: Sum,
    /// Less: of these, the ones that only an unreadable line names.
    pub unreadable: Sum,
    /// Plus: lines whose row was paid on a day outside of the period.
    pub outside: Sum,
    /// Plus: what lines say more than their rows; less where they say less.
    pub amounts: Sum,
    /// Plus: lines whose row is not `PAID`.
    pub not_paid: Sum,
    /// Plus: lines without a row.
    pub missing_here: Sum,
    /// Plus: second lines.
    pub duplicates: Sum,
    /// The lines that can be read: where it ends.
    pub statement: Sum,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Result {
    /// The days of the outbox's side.
    pub period: Option<Period>,
    /// The days that the statement itself names.
    pub statement_period: Option<Period>,
    /// Lines that agree with their row.
    pub matched: Sum,
    /// Lines that were found by TresorPay's reference.
    pub by_tresorpay: u64,
    /// Lines that were found by the application's own.
    pub by_own: u64,
    /// Lines without reference, amount and date.
    pub passed_over: u64,
    /// The sum that the statement itself names.
    pub own_total: Option<(u64, i64)>,
    /// From one sum to the other.
    pub bridge: Bridge,
    /// The differences, by kind and then by line, at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// All of them, by kind.
    pub counts: Vec<(Kind, Sum)>,
}

impl Result {
    /// Whether both sides say the same.
    pub fn agrees(&self) -> bool {
        self.counts.iter().all(|(_, sum)| sum.count == 0)
    }

    /// How many differences.
    pub fn differences(&self) -> u64 {
        self.counts.iter().map(|(_, sum)| sum.count).sum()
    }

    /// How many of this kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts.iter().find(|(other, _)| *other == kind).map_or(0, |(_, sum)| sum.count)
    }
}

/// A comparison under way. First every line, then every payment of the outbox.
#[derive(Debug)]
pub struct Comparison {
    /// Dates that are apart by no more than this agree.
    days: u64,
    given: (Option<NaiveDate>, Option<NaiveDate>),
    statement_period: Option<Period>,
    /// Rows that a line names, with the first such line.
    rows: HashMap<i64, u64>,
    /// References that no row has, with their first line.
    strangers: HashMap<String, u64>,
    /// Days of the payments whose rows a line names: outside of the period or not is known at the end.
    paid: Vec<(NaiveDate, i64)>,
    /// The same of rows that only a line names which cannot be read.
    unread: Vec<(NaiveDate, i64)>,
    result: Result,
}

impl Comparison {
    /// `given`: the first and the last day of the outbox's side, where the user says; else the statement's own.
    pub fn new(given: (Option<NaiveDate>, Option<NaiveDate>), days: u64) -> Self {
        Self {
            days,
            given,
            statement_period: None,
            rows: HashMap::new(),
            strangers: HashMap::new(),
            paid: Vec::new(),
            unread: Vec::new(),
            result: Result {
                period: None,
                statement_period: None,
                matched: Sum::default(),
                by_tresorpay: 0,
                by_own: 0,
                passed_over: 0,
                own_total: None,
                bridge: Bridge::default(),
                findings: Vec::new(),
                counts: Kind::ALL.map(|kind| (kind, Sum::default())).to_vec(),
            },
        }
    }

    /// A line, and the row that has its reference: by TresorPay's, or by the application's own.
    pub fn line(&mut self, line: ReadLine, row: Option<(Payment, bool)>) {
        match line {
            ReadLine::Payment { line, reference, amount, date } => {
                self.payment(line, &reference, amount, date, row);
            }
            ReadLine::Total { line, amount } => self.result.own_total = Some((line, amount)),
            ReadLine::PassedOver => self.result.passed_over += 1,
            ReadLine::Unreadable { line, reference, column, why } => {
                // It may say what it will: the statement does name the row.
                if let Some((row, _)) = &row
                    && !self.rows.contains_key(&row.id)
                {
                    self.rows.insert(row.id, line);
                    self.unread.extend(row.paid_on.map(|paid_on| (paid_on, row.net_total)));
                }
                let row = row.map(|(row, _)| row);
                let finding = Finding {
                    line: Some(line),
                    reference,
                    row,
                    trouble: Some((column, why)),
                    ..Finding::of(Kind::Unreadable)
                };
                self.found(finding, 0);
            }
        }
    }

    fn payment(
        &mut self,
        line: u64,
        reference: &str,
        amount: i64,
        date: Option<NaiveDate>,
        row: Option<(Payment, bool)>,
    ) {
        self.result.bridge.statement.add(amount);
        if let Some(date) = date {
            self.statement_period = Some(Period::widened(self.statement_period, date));
        }
        let by_tresorpay = row.as_ref().map(|(_, by_tresorpay)| *by_tresorpay);
        let row = row.map(|(row, _)| row);
        let first = match &row {
            Some(row) => *self.rows.entry(row.id).or_insert(line),
            None => *self.strangers.entry(reference.to_owned()).or_insert(line),
        };
        let finding = |kind| Finding {
            line: Some(line),
            reference: Some(reference.to_owned()),
            row: row.clone(),
            amount: Some(amount),
            date,
            ..Finding::of(kind)
        };
        if first != line {
            self.result.bridge.duplicates.add(amount);
            return self.found(Finding { first_line: Some(first), ..finding(Kind::Duplicate) }, amount);
        }
        let Some(row) = &row else {
            self.result.bridge.missing_here.add(amount);
            return self.found(finding(Kind::MissingHere), amount);
        };
        match by_tresorpay {
            Some(true) => self.result.by_tresorpay += 1,
            Some(false) | None => self.result.by_own += 1,
        }
        let differs = amount != row.net_total;
        if differs {
            self.found(finding(Kind::AmountDiffers), amount - row.net_total);
        }
        let Some(paid_on) = row.paid_on.filter(|_| row.status == Status::Paid) else {
            self.result.bridge.not_paid.add(amount);
            return self.found(finding(Kind::NotPaidHere), amount);
        };
        self.paid.push((paid_on, row.net_total));
        if differs {
            self.result.bridge.amounts.add(amount - row.net_total);
        }
        if date.is_some_and(|date| date.signed_duration_since(paid_on).num_days().unsigned_abs() > self.days)
        {
            return self.found(finding(Kind::DateDiffers), amount);
        }
        if !differs {
            self.result.matched.add(amount);
        }
    }

    /// The days whose payments are to be given to [`Self::outbox`]; `None`: neither the user nor the statement says.
    pub fn period(&self) -> Option<Period> {
        let own = self.statement_period;
        let from = self.given.0.or(own.map(|own| own.from))?;
        let to = self.given.1.or(own.map(|own| own.to))?;
        Some(Period { from, to })
    }

    /// A payment of the outbox, whatever its day.
    pub fn outbox(&mut self, row: Payment) {
        let (Some(period), Some(paid_on)) = (self.period(), row.paid_on) else { return };
        if row.status != Status::Paid || !period.contains(paid_on) {
            return;
        }
        self.result.bridge.outbox.add(row.net_total);
        if !self.rows.contains_key(&row.id) {
            let amount = row.net_total;
            self.result.bridge.missing_there.add(amount);
            self.found(Finding { row: Some(row), ..Finding::of(Kind::MissingThere) }, amount);
        }
    }

    /// All is said.
    pub fn finish(mut self) -> Result {
        self.result.period = self.period();
        self.result.statement_period = self.statement_period;
        let within = |paid_on| self.result.period.is_some_and(|period| period.contains(paid_on));
        let outside = self.paid.iter().filter(|(paid_on, _)| !within(*paid_on));
        let unread = self.unread.iter().filter(|(paid_on, _)| within(*paid_on));
        let bridge = &mut self.result.bridge;
        outside.for_each(|(_, amount)| bridge.outside.add(*amount));
        unread.for_each(|(_, amount)| bridge.unreadable.add(*amount));
        if let Some((line, amount)) = self.result.own_total
            && i128::from(amount) != self.result.bridge.statement.amount
        {
            let finding =
                Finding { line: Some(line), amount: Some(amount), ..Finding::of(Kind::TotalDiffers) };
            self.found(finding, amount);
        }
        self.result.findings.sort_by_key(|finding| (finding.kind, finding.line));
        self.result
    }

    fn found(&mut self, finding: Finding, amount: i64) {
        if let Some((_, sum)) = self.result.counts.iter_mut().find(|(kind, _)| *kind == finding.kind) {
            sum.add(amount);
        }
        if self.result.findings.len() < MAX_FINDINGS {
            self.result.findings.push(finding);
        }
    }
}

impl Finding {
    fn of(kind: Kind) -> Self {
        Self {
            kind,
            line: None,
            first_line: None,
            reference: None,
            row: None,
            amount: None,
            date: None,
            trouble: None,
        }
    }
}

impl Bridge {
    /// The statement's sum, reached from the outbox's; equal to [`Self::statement`] unless there is an error in here.
    pub fn reached(&self) -> i128 {
        self.outbox.amount - self.missing_there.amount - self.unreadable.amount
            + self.outside.amount
            + self.amounts.amount
            + self.not_paid.amount
            + self.missing_here.amount
            + self.duplicates.amount
    }
}

#[cfg(test)]
mod tests;
