//! One notice's history becomes its bookings. This is the bookkeeping, and all of it: what is booked, on which day. A day
//! that is closed gets no more bookings; what comes too late is booked on the day that recorded it, as a correction.

use chrono::{DateTime, NaiveDate, Utc};

use super::{
    history::{History, Step},
    model::CorrectionKind,
    period::closes,
};
use crate::notice::Status;

/// One booking: the notice's whole amount, added or taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Booking<'a> {
    /// On which day.
    pub(super) day: NaiveDate,
    /// Where.
    pub(super) account: Account,
    /// 1 or -1.
    pub(super) sign: i64,
    /// Of payments: who took it; empty: nobody said.
    pub(super) provider: &'a str,
    /// Of payments: their own date.
    pub(super) concerns: NaiveDate,
    /// When it was recorded.
    pub(super) recorded_at: DateTime<Utc>,
}

/// Where a booking goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// TresorPay has it.
    Emitted,
    /// Paid, on the day of the payment.
    Paid,
    /// Paid or not after all, on the day that recorded it.
    Corrections(CorrectionKind),
    /// Canceled after it was emitted.
    Canceled,
    /// Canceled, and never known to be at TresorPay.
    Withdrawn,
    /// Nobody knows whether TresorPay has it.
    InDoubt,
}

impl Account {
    /// What a booking of +1 does to what is outstanding.
    pub(super) const fn outstanding(self) -> i64 {
        match self {
            Self::Emitted => 1,
            Self::Paid | Self::Corrections(_) | Self::Canceled => -1,
            Self::Withdrawn | Self::InDoubt => 0,
        }
    }
}

/// A payment that stands in the books.
#[derive(Debug, Clone, Copy)]
struct Payment<'a> {
    provider: &'a str,
    on: NaiveDate,
}

/// A notice on its way through its history.
struct Journal<'a> {
    bookings: Vec<Booking<'a>>,
    emitted_on: Option<NaiveDate>,
    payment: Option<Payment<'a>>,
    /// When the present step was recorded; a clock that was set back does not lead back into earlier days.
    at: DateTime<Utc>,
}

/// All bookings of a notice, in the order in which they were recorded.
pub(super) fn journal(history: &History) -> Vec<Booking<'_>> {
    let mut journal =
        Journal { bookings: Vec::new(), emitted_on: None, payment: None, at: DateTime::<Utc>::MIN_UTC };
    for step in &history.steps {
        journal.at = journal.at.max(step.at);
        journal.doubt(step);
        match (step.from, step.to) {
            (_, Status::Emitted) => journal.emitted(),
            (Some(Status::Paid), Status::Paid) => journal.changed(step),
            (Some(Status::Canceled), Status::Paid) => journal.revived(step),
            (_, Status::Paid) => journal.paid(step),
            (Some(Status::Paid), Status::Canceled) => journal.reversed(),
            (_, Status::Canceled) => journal.canceled(),
            (_, Status::Pending | Status::Emitting | Status::Uncertain | Status::Rejected) => {}
        }
    }
    journal.bookings
}

impl<'a> Journal<'a> {
    fn book(&mut self, day: NaiveDate, account: Account, sign: i64, payment: Option<Payment<'a>>) {
        let (provider, concerns) = payment.map_or(("", day), |payment| (payment.provider, payment.on));
        self.bookings.push(Booking { day, account, sign, provider, concerns, recorded_at: self.at });
    }

    fn today(&self) -> NaiveDate {
        self.at.date_naive()
    }

    fn doubt(&mut self, step: &Step) {
        let before = step.from == Some(Status::Uncertain);
        let after = step.to == Status::Uncertain;
        if before != after {
            self.book(self.today(), Account::InDoubt, if after { 1 } else { -1 }, None);
        }
    }

    fn emitted(&mut self) {
        if self.emitted_on.is_none() {
            self.emitted_on = Some(self.today());
            self.book(self.today(), Account::Emitted, 1, None);
        }
    }

    /// On the payment's own date, if that day is open and the notice stood in the books by then.
    fn paid(&mut self, step: &'a Step) {
        self.emitted();
        let payment = self.payment_of(step);
        let known = self.emitted_on.is_none_or(|emitted| payment.on >= emitted);
        self.payment = Some(payment);
        if known && self.at < closes(payment.on) {
            self.book(payment.on, Account::Paid, 1, Some(payment));
        } else {
            self.correct(CorrectionKind::Late, 1, payment);
        }
    }

    /// A date that nobody told, that is none, or that is still to come is the day that recorded it.
    fn payment_of(&self, step: &'a Step) -> Payment<'a> {
        let today = self.today();
        Payment {
            provider: step.provider.as_deref().map(str::trim).unwrap_or_default(),
            on: step.paid_on.map_or(today, |on| on.min(today)),
        }
    }

    /// The provider or the date of a payment turned out to be another: taken away as it was, added as it is.
    fn changed(&mut self, step: &'a Step) {
        let now = self.payment_of(step);
        if let Some(before) = self.payment.replace(now) {
            self.correct(CorrectionKind::Changed, -1, before);
            self.correct(CorrectionKind::Changed, 1, now);
        }
    }

    /// Paid became canceled.
    fn reversed(&mut self) {
        if let Some(payment) = self.payment.take() {
            self.correct(CorrectionKind::Reversed, -1, payment);
        }
        self.book(self.today(), Account::Canceled, 1, None);
    }

    /// Canceled became paid.
    fn revived(&mut self, step: &'a Step) {
        if self.emitted_on.is_some() {
            self.book(self.today(), Account::Canceled, -1, None);
        } else {
            self.book(self.today(), Account::Withdrawn, -1, None);
            self.emitted();
        }
        let payment = self.payment_of(step);
        self.payment = Some(payment);
        self.correct(CorrectionKind::Revived, 1, payment);
    }

    fn canceled(&mut self) {
        let account = if self.emitted_on.is_some() { Account::Canceled } else { Account::Withdrawn };
        self.book(self.today(), account, 1, None);
    }

    fn correct(&mut self, kind: CorrectionKind, sign: i64, payment: Payment<'a>) {
        self.book(self.today(), Account::Corrections(kind), sign, Some(payment));
    }
}
