//! Adds up the bookings of one notice after the other. Memory grows with days, codes and corrections, not with notices.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::{
    ReportError,
    figures::{Figures, Sum},
    history::History,
    journal::{Account, Booking, journal},
    model::{Age, Balance, Correction, CorrectionKind, Entry, Report},
    period::Period,
};

/// Corrections that are listed one by one.
const MAX_LISTED: usize = 1_000;

/// The books of a period while they are added up.
#[derive(Debug)]
pub struct Ledger {
    period: Period,
    now: DateTime<Utc>,
    opening: Balance,
    total: Figures,
    withdrawn: Sum,
    days: BTreeMap<NaiveDate, Figures>,
    providers: Groups,
    natures: Groups,
    structures: Groups,
    ageing: [Sum; Age::ALL.len()],
    drift: [Sum; CorrectionKind::ALL.len()],
    corrections: Vec<Correction>,
    corrections_left_out: u64,
}

/// Figures by a code.
#[derive(Debug, Default)]
struct Groups(BTreeMap<String, Figures>);

impl Groups {
    fn of(&mut self, key: &str) -> &mut Figures {
        if !self.0.contains_key(key) {
            self.0.insert(key.to_owned(), Figures::default());
        }
        self.0.entry(key.to_owned()).or_default()
    }

    fn close(self) -> Result<Vec<Entry>, ReportError> {
        self.0
            .into_iter()
            .map(|(key, figures)| closed(key, figures))
            .filter(|entry| !matches!(entry, Ok(entry) if entry.figures.is_zero()))
            .collect()
    }
}

/// Which parts of a booking are meant.
#[derive(Debug, Clone, Copy)]
struct Parts {
    flows: bool,
    balances: bool,
}

impl Ledger {
    /// Empty books of `period`, as they are seen at `now`.
    pub fn new(period: Period, now: DateTime<Utc>) -> Self {
        Self {
            period,
            now,
            opening: Balance::default(),
            total: Figures::default(),
            withdrawn: Sum::default(),
            days: BTreeMap::new(),
            providers: Groups::default(),
            natures: Groups::default(),
            structures: Groups::default(),
            ageing: Default::default(),
            drift: Default::default(),
            corrections: Vec::new(),
            corrections_left_out: 0,
        }
    }

    /// Books one notice.
    pub fn add(&mut self, history: &History) -> Result<(), ReportError> {
        history.check()?;
        let to = self.period.to();
        let (mut open, mut emitted_on) = (0, None);
        for booking in journal(history).iter().filter(|booking| booking.day <= to) {
            self.post(history, booking)?;
            open += booking.sign * booking.account.outstanding();
            if booking.account == Account::Emitted {
                emitted_on = Some(booking.day);
            }
        }
        match emitted_on {
            Some(emitted_on) if open > 0 => self.age(emitted_on, i128::from(history.net_total)),
            Some(_) | None => Ok(()),
        }
    }

    fn post(&mut self, history: &History, booking: &Booking<'_>) -> Result<(), ReportError> {
        let amount = i128::from(history.net_total);
        let within = booking.day >= self.period.from();
        let all = Parts { flows: within, balances: true };
        post(&mut self.total, booking, amount, all)?;
        post(self.structures.of(&history.structure), booking, amount, all)?;
        for line in &history.lines {
            post(self.natures.of(&line.nature), booking, line.amount, all)?;
        }
        // What is open has no provider yet.
        post(self.providers.of(booking.provider), booking, amount, Parts { balances: false, ..all })?;
        post(self.providers.of(""), booking, amount, Parts { flows: false, balances: true })?;
        if !within {
            self.opening.outstanding.add(
                booking.sign * booking.account.outstanding(),
                amount,
                "outstanding",
            )?;
            if booking.account == Account::InDoubt {
                self.opening.in_doubt.add(booking.sign, amount, "in_doubt")?;
            }
            return Ok(());
        }
        post(self.days.entry(booking.day).or_default(), booking, amount, all)?;
        match booking.account {
            Account::Withdrawn => self.withdrawn.add(booking.sign, amount, "withdrawn"),
            Account::Corrections(kind) => self.correct(history, booking, kind),
            Account::Emitted | Account::Paid | Account::Canceled | Account::InDoubt => Ok(()),
        }
    }

    fn correct(
        &mut self,
        history: &History,
        booking: &Booking<'_>,
        kind: CorrectionKind,
    ) -> Result<(), ReportError> {
        let amount = i128::from(history.net_total);
        for (known, sum) in CorrectionKind::ALL.into_iter().zip(&mut self.drift) {
            if known == kind {
                sum.add(booking.sign, amount, "corrections")?;
            }
        }
        if self.corrections.len() == MAX_LISTED {
            self.corrections_left_out += 1;
            return Ok(());
        }
        self.corrections.push(Correction {
            recorded_at: booking.recorded_at,
            kind,
            reference: history.reference.clone(),
            amount: amount * i128::from(booking.sign),
            provider: booking.provider.to_owned(),
            concerns: booking.concerns,
        });
        Ok(())
    }

    fn age(&mut self, emitted_on: NaiveDate, amount: i128) -> Result<(), ReportError> {
        let days = (self.balance_on() - emitted_on).num_days().max(0);
        for (age, sum) in Age::ALL.into_iter().zip(&mut self.ageing) {
            if days >= age.from && age.to.is_none_or(|to| days <= to) {
                sum.add(1, amount, "outstanding")?;
            }
        }
        Ok(())
    }

    fn balance_on(&self) -> NaiveDate {
        self.period.to().min(self.now.date_naive())
    }

    /// The report; `environment` is the database's.
    pub fn finish(mut self, environment: String) -> Result<Report, ReportError> {
        let balance_on = self.balance_on();
        self.total.close()?;
        self.corrections.sort_by(|a, b| (a.recorded_at, &a.reference).cmp(&(b.recorded_at, &b.reference)));
        let mut balance = self.opening;
        let mut days = Vec::with_capacity(self.days.len());
        for (day, mut figures) in self.days {
            balance.outstanding = balance.outstanding.plus(figures.outstanding, "outstanding")?;
            balance.in_doubt = balance.in_doubt.plus(figures.in_doubt, "in_doubt")?;
            (figures.outstanding, figures.in_doubt) = (balance.outstanding, balance.in_doubt);
            days.push(closed(day.to_string(), figures)?);
        }
        Ok(Report {
            environment,
            period: self.period,
            provisional_at: (self.now < self.period.closes()).then_some(self.now),
            balance_on,
            opening: self.opening,
            total: self.total,
            withdrawn: self.withdrawn,
            days,
            providers: self.providers.close()?,
            natures: self.natures.close()?,
            structures: self.structures.close()?,
            ageing: Age::ALL.into_iter().zip(self.ageing).collect(),
            drift: CorrectionKind::ALL.into_iter().zip(self.drift).collect(),
            corrections: self.corrections,
            corrections_left_out: self.corrections_left_out,
        })
    }
}

fn closed(key: String, mut figures: Figures) -> Result<Entry, ReportError> {
    figures.close()?;
    Ok(Entry { key, figures })
}

fn post(figures: &mut Figures, booking: &Booking<'_>, amount: i128, parts: Parts) -> Result<(), ReportError> {
    let sign = booking.sign;
    if parts.flows {
        match booking.account {
            Account::Emitted => figures.emitted.add(sign, amount, "emitted")?,
            Account::Paid => figures.paid.add(sign, amount, "paid")?,
            Account::Corrections(_) => figures.corrections.add(sign, amount, "corrections")?,
            Account::Canceled => figures.canceled.add(sign, amount, "canceled")?,
            Account::Withdrawn | Account::InDoubt => {}
        }
    }
    if parts.balances {
        figures.outstanding.add(sign * booking.account.outstanding(), amount, "outstanding")?;
        if booking.account == Account::InDoubt {
            figures.in_doubt.add(sign, amount, "in_doubt")?;
        }
    }
    Ok(())
}
