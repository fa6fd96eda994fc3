//! What a notice says: payer, items, amounts. Personal data never shows in `Debug`.

use std::fmt;

use serde::Deserialize;

use super::Amount;

/// A notice ready to be emitted: an outbox row with the configured codes filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The application's own reference.
    pub reference: String,
    /// Code of the application's registration at TresorPay.
    pub client_code: String,
    /// Code of the structure's registration.
    pub structure_code: String,
    /// Total of the items.
    pub net_total: Amount,
    /// Who owes.
    pub tax_payer: TaxPayer,
    /// What is owed for; never empty.
    pub items: Vec<NoticeItem>,
    /// Allowed ways to pay; `None`: not sent.
    pub payment_modes: Option<Vec<PaymentMode>>,
    /// Called by TresorPay once the notice is paid.
    pub callback: Option<String>,
    /// Where the taxpayer's browser goes after payment.
    pub redirect_url: Option<String>,
}

/// The taxpayer, with the API's field names. `null` reads as absent.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TaxPayer {
    /// The administration's own number of the payer.
    pub id: Option<String>,
    /// Family name.
    pub name: Option<String>,
    /// First name.
    pub first_name: Option<String>,
    /// Tax identification number.
    pub nif: Option<String>,
    /// Company, where the payer is one.
    pub company_name: Option<String>,
    /// Postal address.
    pub address: Option<String>,
    /// As the application wrote it.
    pub phone_number: Option<String>,
    /// Electronic mail.
    pub email: Option<String>,
}

impl fmt::Debug for TaxPayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaxPayer(<redacted>)")
    }
}

impl TaxPayer {
    /// Every text that tells who the payer is, to be scrubbed from what TresorPay echoes.
    pub fn personal_texts(&self) -> impl Iterator<Item = &str> {
        [
            &self.id,
            &self.name,
            &self.first_name,
            &self.nif,
            &self.company_name,
            &self.address,
            &self.phone_number,
            &self.email,
        ]
        .into_iter()
        .filter_map(Option::as_deref)
    }
}

/// One line of a notice.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NoticeItem {
    /// What it is.
    pub name: Option<String>,
    /// Whole, more than zero.
    pub quantity: i64,
    /// Price of one.
    pub unit_price: Amount,
    /// More about it.
    pub description: Option<String>,
    /// Budget nomenclature code, e.g. `71531`.
    pub code_nature_recette: Option<String>,
}

impl fmt::Debug for NoticeItem {
    /// Names and descriptions may name people; numbers do not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoticeItem")
            .field("quantity", &self.quantity)
            .field("unit_price", &self.unit_price)
            .field("code_nature_recette", &self.code_nature_recette)
            .finish_non_exhaustive()
    }
}

/// One allowed way to pay.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentMode {
    /// `ORANGE_MONEY`, `MOOV_MONEY`, `SAMA_MONEY`, `WAVE`, `CARD`.
    pub code_provider: Option<String>,
    /// The number that pays.
    pub payment_number: Option<String>,
    /// The card that pays.
    pub card_number: Option<String>,
    /// Amount by this way.
    pub amount: Option<Amount>,
}

impl fmt::Debug for PaymentMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentMode").field("code_provider", &self.code_provider).finish_non_exhaustive()
    }
}

/// A row that passed the database's checks and still cannot be emitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNotice {
    /// Neither the row nor the settings name the application.
    #[error("code_client is NULL and notice.code_client is not set")]
    NoClientCode,
    /// Neither the row nor the settings name the structure.
    #[error("code_structure is NULL and notice.code_structure is not set")]
    NoStructureCode,
    /// A JSON column that does not read as its documented shape.
    #[error("{column} is not the JSON it must be (line {line}, column {at})")]
    Json {
        /// The outbox column.
        column: &'static str,
        /// Line in the JSON text, from 1.
        line: usize,
        /// Column in that line, from 1.
        at: usize,
    },
}

impl InvalidNotice {
    /// Reads a JSON column; the error names the place and never the content.
    pub fn read_json<'a, T: Deserialize<'a>>(column: &'static str, text: &'a str) -> Result<T, Self> {
        serde_json::from_str(text).map_err(|e| Self::Json { column, line: e.line(), at: e.column() })
    }
}
