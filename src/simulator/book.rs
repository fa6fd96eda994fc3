//! The notices and every move they can make. One lock, held for a few map operations and never over an await.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Datelike, Timelike, Utc};

use super::config::{OnDuplicate, OnRepeatedCancel};
use super::ledger::{Actor, Alteration, Event, Happening, Notice, NoticeStatus};
use super::problem::Problem;
use super::taxpayer;
use super::unknown::OnCanceled;
use super::wire::{Item, PaymentMode, TaxPayer};

/// What a valid emission asks for.
pub(super) struct Order {
    pub(super) client_reference: String,
    pub(super) code_client: String,
    pub(super) code_structure: String,
    pub(super) net_total: i64,
    pub(super) tax_payer: TaxPayer,
    pub(super) items: Vec<Item>,
    pub(super) authorized_payment_modes: Option<Vec<PaymentMode>>,
    pub(super) callback: Option<String>,
    pub(super) redirect_url: Option<String>,
}

/// A notice's place in the book.
pub(super) type Place = usize;

/// A notice that now exists, or already did.
pub(super) struct Emitted {
    pub(super) place: Place,
    pub(super) reference: String,
    pub(super) status: NoticeStatus,
    /// How many notices of this client reference there were before; `None`: this one is not new.
    pub(super) earlier: Option<usize>,
}

/// A payment to report to the notice's callback.
pub(super) struct Payment {
    pub(super) reference: String,
    pub(super) callback: Option<String>,
    pub(super) amount: i64,
    pub(super) provider: String,
}

pub(super) struct Book {
    seed: u64,
    first_number: u64,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    notices: Vec<Notice>,
    by_client: HashMap<String, Vec<Place>>,
}

impl Pages {
    fn of_client<'a>(&'a self, client_reference: &str) -> &'a [Place] {
        self.by_client.get(client_reference).map_or(&[], Vec::as_slice)
    }

    /// Places of a client reference under these codes, in the order of emission.
    fn of_codes<'a>(
        &'a self,
        client_reference: &str,
        code_client: &'a str,
        code_structure: &'a str,
    ) -> impl DoubleEndedIterator<Item = Place> + 'a {
        self.of_client(client_reference).iter().copied().filter(move |&place| {
            let notice = &self.notices[place];
            notice.code_client == code_client && notice.code_structure == code_structure
        })
    }
}

impl Book {
    pub(super) fn new(seed: u64, first_number: u64) -> Self {
        Self { seed, first_number, pages: Mutex::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn emit(
        &self,
        order: Order,
        on_duplicate: OnDuplicate,
        on_canceled: OnCanceled,
    ) -> Result<Emitted, Problem> {
        let now = Utc::now();
        let mut pages = self.pages();
        let earlier = pages.of_codes(&order.client_reference, &order.code_client, &order.code_structure);
        let (canceled, live): (Vec<Place>, Vec<Place>) =
            earlier.partition(|&place| pages.notices[place].status == NoticeStatus::Canceled);
        let again = |place: Place| {
            let first = &pages.notices[place];
            let (reference, status) = (first.reference.clone(), first.status);
            Ok(Emitted { place, reference, status, earlier: None })
        };
        match (live.first(), on_duplicate, canceled.last(), on_canceled) {
            (Some(&first), OnDuplicate::Same, ..) => return again(first),
            (Some(_), OnDuplicate::Refuse, ..) => return Err(Problem::reference_exists()),
            (None, _, Some(&last), OnCanceled::Same) => return again(last),
            (None, _, Some(_), OnCanceled::Refuse) => return Err(Problem::reference_exists()),
            (Some(_), OnDuplicate::Create, ..) | (None, ..) => {}
        }
        let place = pages.notices.len();
        let reference = reference(now, self.first_number + place as u64);
        let places = pages.by_client.entry(order.client_reference.clone()).or_default();
        let earlier = Some(places.len());
        places.push(place);
        pages.notices.push(Notice {
            reference: reference.clone(),
            client_reference: order.client_reference,
            code_client: order.code_client,
            code_structure: order.code_structure,
            net_total: order.net_total,
            tax_payer: order.tax_payer,
            items: order.items,
            authorized_payment_modes: order.authorized_payment_modes,
            callback: order.callback,
            redirect_url: order.redirect_url,
            status: NoticeStatus::Emitted,
            provider: None,
            pay_date: None,
            emitted_at: now,
            verified: false,
            receipt_downloads: 0,
            history: vec![Event { at: now, what: Happening::Emitted, by: Actor::Api, detail: None }],
        });
        Ok(Emitted { place, reference, status: NoticeStatus::Emitted, earlier })
    }

    /// Cancels the newest unpaid notice of a client reference; its TresorPay reference.
    pub(super) fn cancel_by_client(
        &self,
        client_reference: &str,
        code_client: &str,
        code_structure: &str,
        policy: OnRepeatedCancel,
    ) -> Result<String, Problem> {
        let mut pages = self.pages();
        let newest = |status| {
            let mut places = pages.of_codes(client_reference, code_client, code_structure);
            places.rfind(|&place| pages.notices[place].status == status)
        };
        if let Some(place) = newest(NoticeStatus::Emitted) {
            let notice = &mut pages.notices[place];
            cancel(notice, Actor::Api);
            return Ok(notice.reference.clone());
        }
        if newest(NoticeStatus::Paid).is_some() {
            return Err(Problem::already_paid());
        }
        match (newest(NoticeStatus::Canceled), policy) {
            (Some(place), OnRepeatedCancel::Answer) => Ok(pages.notices[place].reference.clone()),
            (Some(_), OnRepeatedCancel::Refuse) => Err(Problem::already_canceled()),
            (Some(_), OnRepeatedCancel::NotFound) | (None, _) => Err(Problem::notice_not_found()),
        }
    }

    /// Cancels one notice unless it is paid.
    pub(super) fn cancel(&self, place: Place, by: Actor) -> Result<(), Problem> {
        self.with(place, |notice| match notice.status {
            NoticeStatus::Emitted => {
                cancel(notice, by);
                Ok(())
            }
            NoticeStatus::Paid => Err(Problem::already_paid()),
            NoticeStatus::Canceled => Err(Problem::already_canceled()),
        })
    }

    /// Pays one notice, through its taxpayer's own provider if none is named.
    pub(super) fn pay(&self, place: Place, provider: Option<&str>, by: Actor) -> Result<Payment, Problem> {
        let seed = self.seed;
        self.with(place, |notice| {
            match notice.status {
                NoticeStatus::Emitted => {}
                NoticeStatus::Paid => return Err(Problem::already_paid()),
                NoticeStatus::Canceled => return Err(Problem::already_canceled()),
            }
            let provider = provider.map_or_else(
                || {
                    taxpayer::provider(
                        seed,
                        &notice.client_reference,
                        notice.authorized_payment_modes.as_deref(),
                    )
                },
                str::to_owned,
            );
            let at = Utc::now();
            notice.status = NoticeStatus::Paid;
            notice.provider = Some(provider.clone());
            notice.pay_date = Some(at.format("%Y-%m-%dT%H:%M:%S").to_string());
            notice.history.push(Event { at, what: Happening::Paid, by, detail: Some(provider.clone()) });
            let (reference, callback) = (notice.reference.clone(), notice.callback.clone());
            Ok(Payment { reference, callback, amount: notice.net_total, provider })
        })
    }

    /// Changes a notice as no taxpayer and no client could.
    pub(super) fn alter(&self, place: Place, alteration: Alteration) {
        self.with(place, |notice| {
            let Alteration { status, provider, pay_date } = alteration;
            notice.status = status.unwrap_or(notice.status);
            notice.provider = provider.or_else(|| notice.provider.take());
            notice.pay_date = pay_date.or_else(|| notice.pay_date.take());
            record(notice, Happening::Altered, Actor::Control, None);
        });
    }

    /// Records that the client confirmed the delivery of a paid notice.
    pub(super) fn verify(&self, place: Place) -> Result<NoticeStatus, Problem> {
        self.with(place, |notice| {
            if notice.status != NoticeStatus::Paid {
                return Err(Problem::not_paid());
            }
            if !notice.verified {
                notice.verified = true;
                record(notice, Happening::Verified, Actor::Api, None);
            }
            Ok(notice.status)
        })
    }

    /// Records a download of the receipt of a paid notice and returns what is to be printed on it.
    pub(super) fn receipt(&self, place: Place) -> Result<Notice, Problem> {
        self.with(place, |notice| {
            if notice.status != NoticeStatus::Paid {
                return Err(Problem::not_paid());
            }
            notice.receipt_downloads += 1;
            record(notice, Happening::ReceiptDownloaded, Actor::Api, None);
            Ok(notice.clone())
        })
    }

    /// Records what became of a callback.
    pub(super) fn callback_ended(&self, place: Place, outcome: String) {
        self.with(place, |notice| record(notice, Happening::Callback, Actor::Platform, Some(outcome)));
    }

    /// Where the notice with this TresorPay reference is. The number in the reference is the place.
    pub(super) fn find(&self, reference: &str) -> Option<Place> {
        let (_, number) = reference.rsplit_once(".AR")?;
        let place = usize::try_from(number.parse::<u64>().ok()?.checked_sub(self.first_number)?).ok()?;
        self.pages().notices.get(place).filter(|notice| notice.reference == reference).map(|_| place)
    }

    /// The newest notice of a client reference.
    pub(super) fn newest(&self, client_reference: &str) -> Option<Place> {
        self.pages().of_client(client_reference).last().copied()
    }

    /// The reference of the newest notice that is not `reference`.
    pub(super) fn other_than(&self, reference: &str) -> Option<String> {
        let pages = self.pages();
        pages.notices.iter().rev().map(|notice| &notice.reference).find(|other| *other != reference).cloned()
    }

    /// Reads or changes one notice.
    pub(super) fn with<T>(&self, place: Place, act: impl FnOnce(&mut Notice) -> T) -> T {
        act(&mut self.pages().notices[place])
    }

    /// Every notice in the order of emission.
    pub(super) fn copy(&self) -> Vec<Notice> {
        self.pages().notices.clone()
    }

    /// A well-formed reference that no notice has or will have soon.
    pub(super) fn made_up(&self) -> String {
        reference(Utc::now(), self.first_number + self.pages().notices.len() as u64 + MADE_UP_OFFSET)
    }
}

/// How far beyond the last reference a made-up one lies.
const MADE_UP_OFFSET: u64 = 500_000_000;

fn cancel(notice: &mut Notice, by: Actor) {
    notice.status = NoticeStatus::Canceled;
    record(notice, Happening::Canceled, by, None);
}

fn record(notice: &mut Notice, what: Happening, by: Actor, detail: Option<String>) {
    notice.history.push(Event { at: Utc::now(), what, by, detail });
}

/// `TP20241231.1048.AR3`: date, time (Mali is UTC+0 all year) and number.
fn reference(at: DateTime<Utc>, number: u64) -> String {
    let mut text = String::with_capacity(26);
    let (year, month, day) = (at.year(), at.month(), at.day());
    let _ = write!(text, "TP{year:04}{month:02}{day:02}.{:02}{:02}.AR{number}", at.hour(), at.minute());
    text
}
