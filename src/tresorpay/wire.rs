//! The shapes on the wire, apart from the domain: field names of the API, absent optionals absent.

use serde::{Deserialize, Serialize};

use super::cancel::CancelAddress;
use crate::{
    notice::{Amount, Notice, NoticeItem, PaymentMode, TaxPayer, wire_phone_number},
    settings::OtherPhoneNumbers,
};

/// Body of `POST /payment/create-notice-recette`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EmitRequest<'a> {
    reference: &'a str,
    code_client: &'a str,
    code_structure: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_url: Option<&'a str>,
    net_total: Amount,
    tax_payer: WireTaxPayer<'a>,
    items: Vec<WireItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorized_payment_modes: Option<Vec<WirePaymentMode<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireTaxPayer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nif: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    company_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireItem<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    quantity: i64,
    unit_price: Amount,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_nature_recette: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WirePaymentMode<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code_provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
}

impl<'a> EmitRequest<'a> {
    pub(super) fn new(notice: &'a Notice, phones: OtherPhoneNumbers) -> Self {
        Self {
            reference: &notice.reference,
            code_client: &notice.client_code,
            code_structure: &notice.structure_code,
            callback: notice.callback.as_deref(),
            redirect_url: notice.redirect_url.as_deref(),
            net_total: notice.net_total,
            tax_payer: WireTaxPayer::new(&notice.tax_payer, phones),
            items: notice.items.iter().map(WireItem::new).collect(),
            authorized_payment_modes: notice
                .payment_modes
                .as_ref()
                .map(|modes| modes.iter().map(WirePaymentMode::new).collect()),
        }
    }
}

impl<'a> WireTaxPayer<'a> {
    fn new(payer: &'a TaxPayer, phones: OtherPhoneNumbers) -> Self {
        Self {
            id: payer.id.as_deref(),
            name: payer.name.as_deref(),
            first_name: payer.first_name.as_deref(),
            nif: payer.nif.as_deref(),
            company_name: payer.company_name.as_deref(),
            address: payer.address.as_deref(),
            phone_number: payer.phone_number.as_deref().and_then(|given| wire_phone_number(given, phones)),
            email: payer.email.as_deref(),
        }
    }
}

impl<'a> WireItem<'a> {
    fn new(item: &'a NoticeItem) -> Self {
        Self {
            name: item.name.as_deref(),
            quantity: item.quantity,
            unit_price: item.unit_price,
            description: item.description.as_deref(),
            code_nature_recette: item.code_nature_recette.as_deref(),
        }
    }
}

impl<'a> WirePaymentMode<'a> {
    fn new(mode: &'a PaymentMode) -> Self {
        Self {
            code_provider: mode.code_provider.as_deref(),
            payment_number: mode.payment_number.as_deref(),
            card_number: mode.card_number.as_deref(),
            amount: mode.amount,
        }
    }
}

/// Body of `POST /payment/verified-notice-recette`: TresorPay's own reference.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfirmRequest<'a> {
    pub(super) reference: &'a str,
    pub(super) code_client: &'a str,
    pub(super) code_structure: &'a str,
}

/// Body of `POST /payment/cancel-notice-recette`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CancelRequest<'a> {
    reference_client: &'a str,
    code_client: &'a str,
    code_structure: &'a str,
}

impl<'a> CancelRequest<'a> {
    pub(super) fn new(address: &'a CancelAddress) -> Self {
        Self {
            reference_client: &address.reference,
            code_client: &address.client_code,
            code_structure: &address.structure_code,
        }
    }
}

/// Answer to an emission or a cancel: `{"reference":"TP…","status":"EMITTED"}`. Unknown fields are ignored, a field twice or of
/// another type makes the answer unusable.
#[derive(Deserialize)]
pub(super) struct EmitAnswer {
    pub(super) reference: Option<String>,
    pub(super) status: Option<String>,
}

/// One notice in the answer of a status request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusAnswer {
    pub(super) reference: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) pay_date: Option<String>,
    /// Not documented; believed where it is there.
    pub(super) net_total: Option<serde_json::Value>,
    /// The same by another name.
    pub(super) amount: Option<serde_json::Value>,
    pub(super) status: Option<String>,
}
