//! What the simulator remembers, as a test, the demo or the control API reads it. Nothing here is known to the
//! client: this is the other side's truth, to compare the client's with.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::fault::Operation;
use super::wire::{Item, PaymentMode, TaxPayer};

/// Every notice in the order of emission, and the counters.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Every notice that was ever created.
    pub notices: Vec<Notice>,
    /// What was asked and answered.
    pub counters: Counters,
}

impl Ledger {
    /// The notice with this TresorPay reference.
    pub fn notice(&self, reference: &str) -> Option<&Notice> {
        self.notices.iter().find(|notice| notice.reference == reference)
    }

    /// Every notice of a client reference, in the order of emission.
    pub fn of_client<'a>(&'a self, client_reference: &'a str) -> impl Iterator<Item = &'a Notice> {
        self.notices.iter().filter(move |notice| notice.client_reference == client_reference)
    }

    /// How many notices of a client reference are not canceled. More than one is a double bill.
    pub fn live(&self, client_reference: &str) -> usize {
        self.of_client(client_reference).filter(|notice| notice.status != NoticeStatus::Canceled).count()
    }

    /// Client references with more than one notice of the same application that is not canceled: taxpayers who are
    /// billed twice.
    pub fn billed_twice(&self) -> Vec<&str> {
        let mut live = BTreeMap::<(&str, &str, &str), usize>::new();
        for notice in self.notices.iter().filter(|notice| notice.status != NoticeStatus::Canceled) {
            let registration = (&*notice.code_client, &*notice.code_structure);
            *live.entry((&notice.client_reference, registration.0, registration.1)).or_default() += 1;
        }
        live.into_iter().filter(|&(_, count)| count > 1).map(|((reference, ..), _)| reference).collect()
    }
}

/// One notice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// TresorPay's reference.
    pub reference: String,
    /// The client's own reference.
    pub client_reference: String,
    /// Code of the application.
    pub code_client: String,
    /// Code of the structure.
    pub code_structure: String,
    /// XOF.
    pub net_total: i64,
    /// Who owes it.
    pub tax_payer: TaxPayer,
    /// What for.
    pub items: Vec<Item>,
    /// How it may be paid, if that was restricted.
    pub authorized_payment_modes: Option<Vec<PaymentMode>>,
    /// URL to call once paid.
    pub callback: Option<String>,
    /// Where the taxpayer's browser goes after payment.
    pub redirect_url: Option<String>,
    /// Where the notice is in its life.
    pub status: NoticeStatus,
    /// Through whom it was paid.
    pub provider: Option<String>,
    /// When it was paid: local date and time without offset.
    pub pay_date: Option<String>,
    /// When it was created.
    pub emitted_at: DateTime<Utc>,
    /// Whether the client confirmed the delivery.
    pub verified: bool,
    /// How often the receipt was downloaded.
    pub receipt_downloads: u64,
    /// Everything that happened to it, in order.
    pub history: Vec<Event>,
}

/// Where a notice is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NoticeStatus {
    /// Created, not paid.
    Emitted,
    /// Paid.
    Paid,
    /// Canceled.
    Canceled,
}

impl NoticeStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Emitted => "EMITTED",
            Self::Paid => "PAID",
            Self::Canceled => "CANCELED",
        }
    }
}

/// How TresorPay changes its mind about a notice; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alteration {
    /// Any status, also one that no taxpayer and no client could bring about.
    pub status: Option<NoticeStatus>,
    /// Through whom it was paid.
    pub provider: Option<String>,
    /// When it was paid.
    pub pay_date: Option<String>,
}

/// One thing that happened to a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub what: Happening,
    /// Who did it.
    pub by: Actor,
    /// The provider of a payment, the outcome of a callback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What happened to a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// Created.
    Emitted,
    /// Paid.
    Paid,
    /// Canceled.
    Canceled,
    /// Changed behind the client's back, against all rules of its life.
    Altered,
    /// Its delivery was confirmed.
    Verified,
    /// Its receipt was downloaded.
    ReceiptDownloaded,
    /// Its callback was called, or skipped, or failed.
    Callback,
}

/// Who made something happen to a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The client, through the API.
    Api,
    /// A simulated taxpayer.
    Taxpayer,
    /// Somebody at the payment page.
    Page,
    /// The control API or the in-process handle.
    Control,
    /// TresorPay itself.
    Platform,
}

/// What was asked and how it ended. Requests to the control API are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// For each operation, how often each outcome: an HTTP status (`"200"`) if an answer was sent, else the name of
    /// the fault (`"lost"`) or `"down"`.
    pub outcomes: BTreeMap<Operation, BTreeMap<String, u64>>,
    /// How often each fault struck.
    pub faults: BTreeMap<String, u64>,
    /// Tokens issued.
    pub tokens_issued: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Requests under way now, the API's and the token endpoint's.
    pub concurrent: usize,
    /// The most that ever were under way at once.
    pub max_concurrent: usize,
}

impl Counters {
    /// How many requests asked for `operation` (`Any`: for anything), however they ended.
    pub fn requests(&self, operation: Operation) -> u64 {
        let asked = |op: &Operation| operation == Operation::Any || *op == operation;
        self.outcomes.iter().filter(|(op, _)| asked(op)).flat_map(|(_, outcomes)| outcomes.values()).sum()
    }

    /// How many requests for `operation` ended as `outcome`.
    pub fn outcome(&self, operation: Operation, outcome: &str) -> u64 {
        self.outcomes.get(&operation).and_then(|outcomes| outcomes.get(outcome)).copied().unwrap_or(0)
    }

    /// How often the named fault struck.
    pub fn fault(&self, name: &str) -> u64 {
        self.faults.get(name).copied().unwrap_or(0)
    }
}
