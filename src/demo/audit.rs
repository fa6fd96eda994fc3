//! The outbox against TresorPay's own ledger, row by row and by sums. The ledger is the other side's truth: it shares
//! nothing with the daemon.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    notice::Status,
    simulator::{Ledger, Notice, NoticeStatus},
};

/// A row of the outbox, as far as money goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) reference: String,
    pub(super) status: Status,
    /// XOF.
    pub(super) net_total: i64,
    pub(super) tresorpay_reference: Option<String>,
}

/// Notices and their amount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) notices: usize,
    /// XOF.
    pub(super) amount: i64,
}

impl Sum {
    fn add(&mut self, amount: i64) {
        self.notices += 1;
        self.amount += amount;
    }

    fn plus(self, other: Self) -> Self {
        Self { notices: self.notices + other.notices, amount: self.amount + other.amount }
    }
}

/// One sum, as each side has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) outbox: Sum,
    pub(super) ledger: Sum,
}

impl Sides {
    fn plus(self, other: Self) -> Self {
        Self { outbox: self.outbox.plus(other.outbox), ledger: self.ledger.plus(other.ledger) }
    }
}

/// What the comparison found.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Paid.
    pub(super) paid: Sides,
    /// Exists, unpaid, and both sides know it.
    pub(super) outstanding: Sides,
    /// `UNCERTAIN` in the outbox: the ledger's side is what became of it.
    pub(super) in_doubt: Sides,
    /// Canceled.
    pub(super) canceled: Sides,
    /// Rows that wait or are under way.
    pub(super) open: usize,
    /// Notices that were paid or canceled and that no poll has told of yet.
    pub(super) behind: usize,
    /// Notices of this run's rows in the ledger.
    pub(super) in_ledger: usize,
    /// The references in doubt, with the TresorPay references of what the ledger has of each.
    pub(super) doubts: Vec<(String, Vec<String>)>,
    /// Client references in the ledger that are no row: another client of the simulator.
    pub(super) strangers: Vec<String>,
    /// What must never be, one sentence each.
    pub(super) faults: Vec<String>,
}

impl Audit {
    /// Compares `rows` with `ledger`, save the references in `unknown`: their notices are in no ledger of this run.
    pub(super) fn new(rows: &[Row], ledger: &Ledger, unknown: &BTreeSet<String>) -> Self {
        let mut audit = Self::default();
        let mut notices = BTreeMap::<&str, Vec<&Notice>>::new();
        for notice in ledger.notices.iter().filter(|notice| !unknown.contains(&notice.client_reference)) {
            notices.entry(&notice.client_reference).or_default().push(notice);
        }
        for row in rows.iter().filter(|row| !unknown.contains(&row.reference)) {
            let notices = notices.remove(row.reference.as_str()).unwrap_or_default();
            audit.in_ledger += notices.len();
            audit.compare(row, &notices);
        }
        audit.strangers = notices.keys().map(|reference| (*reference).to_owned()).collect();
        audit
    }

    /// Everything that was billed and not canceled.
    pub(super) fn billed(&self) -> Sides {
        self.paid.plus(self.outstanding).plus(self.in_doubt)
    }

    fn compare(&mut self, row: &Row, notices: &[&Notice]) {
        let Row { reference, status, net_total, .. } = row;
        if let [_, _, ..] = notices {
            self.faults.push(format!("{reference} is {} times in TresorPay's ledger", notices.len()));
        }
        for notice in notices.iter().filter(|notice| notice.net_total != *net_total) {
            let other = notice.net_total;
            self.faults
                .push(format!("{reference} is {net_total} XOF in the outbox and {other} in the ledger"));
        }
        match status {
            Status::Pending | Status::Emitting => self.open += 1,
            Status::Rejected => {
                if !notices.is_empty() {
                    self.faults.push(format!("{reference} is REJECTED and exists in TresorPay's ledger"));
                }
            }
            Status::Uncertain => {
                self.in_doubt.outbox.add(*net_total);
                for notice in notices {
                    self.in_doubt.ledger.add(notice.net_total);
                }
                let found = notices.iter().map(|notice| notice.reference.clone()).collect();
                self.doubts.push((reference.clone(), found));
            }
            Status::Emitted | Status::Paid | Status::Canceled => self.compare_known(row, notices),
        }
    }

    /// A row that says it exists at TresorPay.
    fn compare_known(&mut self, row: &Row, notices: &[&Notice]) {
        let Row { reference, status, net_total, tresorpay_reference } = row;
        self.side(*status).outbox.add(*net_total);
        if notices.is_empty() {
            self.faults.push(format!("{reference} is {status} and not in TresorPay's ledger"));
        }
        for notice in notices {
            let theirs = known(notice.status);
            self.side(theirs).ledger.add(notice.net_total);
            if tresorpay_reference.as_ref() != Some(&notice.reference) {
                let ours = tresorpay_reference.as_deref().unwrap_or("nothing");
                self.faults.push(format!(
                    "{reference} is {ours} in the outbox and {} in the ledger",
                    notice.reference
                ));
            }
            match (status, theirs) {
                (one, other) if *one == other => {}
                (Status::Emitted, _) => self.behind += 1,
                _ => self
                    .faults
                    .push(format!("{reference} is {status} in the outbox and {theirs} in the ledger")),
            }
        }
    }

    fn side(&mut self, status: Status) -> &mut Sides {
        match status {
            Status::Paid => &mut self.paid,
            Status::Canceled => &mut self.canceled,
            Status::Pending | Status::Emitting | Status::Uncertain | Status::Rejected | Status::Emitted => {
                &mut self.outstanding
            }
        }
    }
}

/// The ledger's word as the outbox has it.
fn known(status: NoticeStatus) -> Status {
    match status {
        NoticeStatus::Emitted => Status::Emitted,
        NoticeStatus::Paid => Status::Paid,
        NoticeStatus::Canceled => Status::Canceled,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::simulator::TaxPayer;

    fn row(reference: &str, status: Status, net_total: i64) -> Row {
        let known = matches!(status, Status::Emitted | Status::Paid | Status::Canceled);
        let tresorpay_reference = known.then(|| format!("TP-{reference}"));
        Row { reference: reference.to_owned(), status, net_total, tresorpay_reference }
    }

    fn notice(reference: &str, status: NoticeStatus, net_total: i64) -> Notice {
        Notice {
            reference: format!("TP-{reference}"),
            client_reference: reference.to_owned(),
            code_client: String::new(),
            code_structure: String::new(),
            net_total,
            tax_payer: TaxPayer {
                id: None,
                name: None,
                first_name: None,
                nif: None,
                company_name: None,
                address: None,
                phone_number: None,
                email: None,
            },
            items: Vec::new(),
            authorized_payment_modes: None,
            callback: None,
            redirect_url: None,
            status,
            provider: None,
            pay_date: None,
            emitted_at: DateTime::UNIX_EPOCH,
            verified: false,
            receipt_downloads: 0,
            history: Vec::new(),
        }
    }

    fn audit(rows: &[Row], notices: Vec<Notice>) -> Audit {
        Audit::new(rows, &Ledger { notices, ..Ledger::default() }, &BTreeSet::from(["old".to_owned()]))
    }

    #[test]
    fn sums_of_both_sides() {
        let rows = [
            row("a", Status::Paid, 1_000),
            row("b", Status::Emitted, 200),
            row("c", Status::Uncertain, 30),
            row("d", Status::Canceled, 4),
            row("e", Status::Rejected, 5),
            row("f", Status::Pending, 6),
            row("old", Status::Paid, 7),
        ];
        let (emitted, paid) = (NoticeStatus::Emitted, NoticeStatus::Paid);
        let audit = audit(
            &rows,
            vec![
                notice("a", paid, 1_000),
                notice("b", emitted, 200),
                notice("c", paid, 30),
                notice("d", NoticeStatus::Canceled, 4),
            ],
        );
        let sum = |notices, amount| Sum { notices, amount };
        let same = |notices, amount| Sides { outbox: sum(notices, amount), ledger: sum(notices, amount) };
        assert_eq!(audit.billed(), same(3, 1_230));
        assert_eq!((audit.paid, audit.outstanding), (same(1, 1_000), same(1, 200)));
        assert_eq!((audit.in_doubt, audit.canceled), (same(1, 30), same(1, 4)));
        assert_eq!((audit.open, audit.behind, audit.in_ledger), (1, 0, 4));
        assert_eq!(audit.doubts, [("c".to_owned(), vec!["TP-c".to_owned()])]);
        assert!(audit.faults.is_empty() && audit.strangers.is_empty(), "{audit:?}");
    }

    #[test]
    fn a_payment_that_no_poll_has_told_of_is_no_fault() {
        let audit = audit(&[row("a", Status::Emitted, 10)], vec![notice("a", NoticeStatus::Paid, 10)]);
        assert_eq!((audit.behind, audit.faults.len()), (1, 0));
        assert_ne!(audit.paid.outbox, audit.paid.ledger);
        assert_eq!(audit.billed().outbox, audit.billed().ledger);
    }

    #[test]
    fn whatever_must_never_be_is_named() {
        let emitted = NoticeStatus::Emitted;
        let one = |row: Row, notices: Vec<Notice>| audit(&[row], notices).faults.join("; ");
        let twice = vec![notice("a", emitted, 10), notice("a", NoticeStatus::Canceled, 10)];
        assert_eq!(one(row("a", Status::Uncertain, 10), twice), "a is 2 times in TresorPay's ledger");
        let missing = one(row("a", Status::Paid, 10), vec![]);
        assert_eq!(missing, "a is PAID and not in TresorPay's ledger");
        let amount = one(row("a", Status::Emitted, 10), vec![notice("a", emitted, 11)]);
        assert_eq!(amount, "a is 10 XOF in the outbox and 11 in the ledger");
        let rejected = one(row("a", Status::Rejected, 10), vec![notice("a", emitted, 10)]);
        assert_eq!(rejected, "a is REJECTED and exists in TresorPay's ledger");
        let unpaid = one(row("a", Status::Paid, 10), vec![notice("a", emitted, 10)]);
        assert_eq!(unpaid, "a is PAID in the outbox and EMITTED in the ledger");
        let other = Row { tresorpay_reference: Some("TP-b".to_owned()), ..row("a", Status::Emitted, 10) };
        assert_eq!(
            one(other, vec![notice("a", emitted, 10)]),
            "a is TP-b in the outbox and TP-a in the ledger"
        );
        assert_eq!(audit(&[], vec![notice("a", emitted, 10)]).strangers, ["a"]);
    }
}
