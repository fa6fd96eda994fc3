//! Counts and amounts. Every addition is checked, and a total must fit what programs read back: 64 bits.

use serde::Serialize;

use super::ReportError;

/// How many, and what they come to. Either may be negative in corrections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Notices; in corrections each counts with its sign.
    pub count: i64,
    /// Whole XOF.
    pub amount: i128,
}

impl Sum {
    /// Adds `count` notices of `amount` XOF each; `what` names the figures should they overflow.
    pub(super) fn add(&mut self, count: i64, amount: i128, what: &'static str) -> Result<(), ReportError> {
        let overflow = || ReportError::Overflow { what };
        let amount = amount.checked_mul(i128::from(count)).ok_or_else(overflow)?;
        self.count = self.count.checked_add(count).ok_or_else(overflow)?;
        self.amount = self.amount.checked_add(amount).ok_or_else(overflow)?;
        Ok(())
    }

    /// Both together.
    pub(super) fn plus(self, other: Self, what: &'static str) -> Result<Self, ReportError> {
        let mut sum = self;
        sum.count = sum.count.checked_add(other.count).ok_or(ReportError::Overflow { what })?;
        sum.amount = sum.amount.checked_add(other.amount).ok_or(ReportError::Overflow { what })?;
        Ok(sum)
    }

    /// Refuses what does not fit 64 bits.
    pub(super) fn fits(self, what: &'static str) -> Result<(), ReportError> {
        i64::try_from(self.amount).map(drop).map_err(|_| ReportError::Overflow { what })
    }

    /// Nothing at all.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// What happened within a period, and what is left at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Notices that TresorPay took.
    pub emitted: Sum,
    /// Payments, by their date.
    pub paid: Sum,
    /// What was recorded later about days that were closed, and reversals, by the day that recorded it.
    pub corrections: Sum,
    /// Paid and corrections together.
    pub revenue: Sum,
    /// Notices canceled after they were emitted, less those that turned out paid.
    pub canceled: Sum,
    /// Emitted, and neither paid nor canceled, at the end.
    pub outstanding: Sum,
    /// Requests of which nobody knows what became, at the end.
    pub in_doubt: Sum,
}

impl Figures {
    /// The figures with their names, for tables: in this order everywhere.
    pub fn all(&self) -> [(&'static str, Sum); 7] {
        [
            ("emitted", self.emitted),
            ("paid", self.paid),
            ("corrections", self.corrections),
            ("revenue", self.revenue),
            ("canceled", self.canceled),
            ("outstanding", self.outstanding),
            ("in_doubt", self.in_doubt),
        ]
    }

    /// Nothing happened, and nothing is left.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Revenue from what it is made of; refuses what does not fit 64 bits.
    pub(super) fn close(&mut self) -> Result<(), ReportError> {
        self.revenue = self.paid.plus(self.corrections, "payments")?;
        self.all().into_iter().try_for_each(|(what, sum)| sum.fits(what))
    }
}
