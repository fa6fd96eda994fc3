//! The notices of a measurement: as the rows an application inserts, and as the very requests they become.

use serde::Serialize;

/// Codes that the peer knows and the daemon is configured with; the rows leave them NULL.
pub(crate) const CODE_CLIENT: &str = "APP-BENCH";
pub(crate) const CODE_STRUCTURE: &str = "STR-BENCH";

/// The columns that an application writes.
pub(crate) struct Row {
    pub(crate) reference: String,
    pub(crate) net_total: i64,
    pub(crate) tax_payer: String,
    pub(crate) items: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    reference: &'a str,
    code_client: &'a str,
    code_structure: &'a str,
    net_total: i64,
    tax_payer: TaxPayer,
    items: [Item; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaxPayer {
    id: String,
    name: &'static str,
    first_name: &'static str,
    nif: String,
    address: &'static str,
    phone_number: String,
    email: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: &'static str,
    quantity: i64,
    unit_price: i64,
    description: &'static str,
    code_nature_recette: &'static str,
}

/// The row of a number; `series` keeps the references of several applications apart.
pub(crate) fn row(series: &str, number: u32) -> anyhow::Result<Row> {
    let national = national_number(number);
    let (first, second) = national.split_at(4);
    Ok(Row {
        reference: reference(series, number),
        net_total: net_total(number),
        tax_payer: serde_json::to_string(&tax_payer(number, format!("+223 {first} {second}")))?,
        items: serde_json::to_string(&items(number))?,
    })
}

/// Byte for byte the body that the daemon makes of this row.
pub(crate) fn body(series: &str, number: u32) -> anyhow::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&Body {
        reference: &reference(series, number),
        code_client: CODE_CLIENT,
        code_structure: CODE_STRUCTURE,
        net_total: net_total(number),
        tax_payer: tax_payer(number, national_number(number)),
        items: items(number),
    })?)
}

fn reference(series: &str, number: u32) -> String {
    format!("{series}-2026-{number:08}")
}

fn national_number(number: u32) -> String {
    format!("{}", 60_000_000 + number % 40_000_000)
}

fn tax_payer(number: u32, phone_number: String) -> TaxPayer {
    TaxPayer {
        id: format!("P{number:09}"),
        name: "Coulibaly",
        first_name: "Aïssata",
        nif: format!("08{number:08}V"),
        address: "Rue 224, porte 1025, Hippodrome, Bamako",
        phone_number,
        email: format!("payer{number}@example.ml"),
    }
}

fn items(number: u32) -> [Item; 2] {
    [
        Item {
            name: "Carte d'identité nationale",
            quantity: 1 + i64::from(number % 3),
            unit_price: 5_000,
            description: "Établissement d'une carte nationale d'identité",
            code_nature_recette: "71531",
        },
        Item {
            name: "Timbre fiscal",
            quantity: 2,
            unit_price: 500,
            description: "Timbre fiscal sur formulaire",
            code_nature_recette: "71211",
        },
    ]
}

fn net_total(number: u32) -> i64 {
    items(number).iter().map(|item| item.quantity * item.unit_price).sum()
}
