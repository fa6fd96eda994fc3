//! The JSON that TresorPay takes and gives, as its documentation words it. Every request field is optional here:
//! a missing one is a validation problem that names it, not a parse error.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The body of `create-notice-recette`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EmitBody {
    pub(super) reference: Option<String>,
    pub(super) code_client: Option<String>,
    pub(super) code_structure: Option<String>,
    pub(super) callback: Option<String>,
    pub(super) redirect_url: Option<String>,
    pub(super) net_total: Option<Whole>,
    pub(super) tax_payer: Option<TaxPayer>,
    pub(super) items: Option<Vec<Item>>,
    pub(super) authorized_payment_modes: Option<Vec<PaymentMode>>,
}

/// Who owes the amount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaxPayer {
    /// The client's identifier of the taxpayer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Family name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// First name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Tax identification number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nif: Option<String>,
    /// Name of a company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company_name: Option<String>,
    /// Address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Phone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// One line of a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// What is billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Whole>,
    /// XOF each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price: Option<Whole>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Budget nomenclature code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_nature_recette: Option<String>,
}

/// One way in which the taxpayer may pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentMode {
    /// `ORANGE_MONEY`, `MOOV_MONEY`, `SAMA_MONEY`, `WAVE` or `CARD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_provider: Option<String>,
    /// Number of the paying account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_number: Option<String>,
    /// Number of the card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card_number: Option<String>,
    /// XOF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Whole>,
}

/// The providers that TresorPay names.
pub(super) const PROVIDERS: [&str; 5] = ["ORANGE_MONEY", "MOOV_MONEY", "SAMA_MONEY", "WAVE", "CARD"];

/// The body of `cancel-notice-recette`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CancelBody {
    pub(super) reference_client: Option<String>,
    pub(super) code_client: Option<String>,
    pub(super) code_structure: Option<String>,
}

/// The body of `verified-notice-recette`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VerifyBody {
    pub(super) reference: Option<String>,
    pub(super) code_client: Option<String>,
    pub(super) code_structure: Option<String>,
}

/// What emit, cancel and verify answer.
#[derive(Serialize)]
pub(super) struct NoticeAnswer<'a> {
    pub(super) reference: &'a str,
    pub(super) status: &'a str,
}

/// What a status request answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusAnswer<'a> {
    pub(super) reference: &'a str,
    pub(super) provider: Option<&'a str>,
    pub(super) pay_date: Option<&'a str>,
    pub(super) status: &'a str,
}

/// A whole number. The specification calls `netTotal` a string, its example is a number and working clients send
/// numbers: all are accepted. XOF has no minor unit, so a fraction is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Whole(pub i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor)
    }
}

struct WholeVisitor;

/// Beyond this, a floating-point number no longer tells whole numbers apart.
const MAX_EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
        Ok(Whole(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
        i64::try_from(number).map(Whole).map_err(|_| E::custom("number out of range"))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
        if number.fract() != 0.0 || number.abs() > MAX_EXACT_FLOAT {
            return Err(E::custom("not a whole number"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and within the exact range, checked above"
        )]
        Ok(Whole(number as i64))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Whole, E> {
        text.parse().map(Whole).map_err(|_| E::custom("not a whole number"))
    }
}
