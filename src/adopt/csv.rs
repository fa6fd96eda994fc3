//! A line of CSV as a notice. The payer and the items are JSON in one column each, or plain columns: then the notice has
//! one item, at its whole amount.

use serde_json::{Map, Value, json};

use super::{Bad, Entry};
use crate::{
    clock::Timestamp,
    notice::TresorPayReference,
    statement::{Layout, Record, Wanted, amount::trimmed, parse_amount, parse_date},
    store::NewRow,
};

const fn wanted(key: &'static str, required: bool, names: &'static [&'static str]) -> Wanted {
    Wanted { key, required, names }
}

/// The columns.
pub(super) const WANTED: [Wanted; 20] = [
    wanted(
        "reference",
        true,
        &[
            "reference",
            "referenceclient",
            "refclient",
            "clientreference",
            "referenceapplication",
            "notrereference",
            "ref",
            "numerofacture",
            "facture",
            "numero",
        ],
    ),
    wanted(
        "tresorpay_reference",
        true,
        &[
            "tresorpayreference",
            "referencetresorpay",
            "reftresorpay",
            "numerotresorpay",
            "tresorpay",
            "referenceavis",
            "referencedelavis",
            "refavis",
            "numeroavis",
            "noticereference",
            "avis",
        ],
    ),
    wanted(
        "net_total",
        true,
        &[
            "nettotal",
            "montantnet",
            "montant",
            "montantfcfa",
            "montantxof",
            "montanttotal",
            "amount",
            "total",
            "somme",
        ],
    ),
    wanted("tax_payer", false, &["taxpayer"]),
    wanted(
        "name",
        false,
        &[
            "name",
            "nom",
            "nomusager",
            "nomdelusager",
            "usager",
            "redevable",
            "contribuable",
            "client",
            "nomcomplet",
        ],
    ),
    wanted("first_name", false, &["firstname", "prenom", "prenoms"]),
    wanted("company", false, &["companyname", "company", "raisonsociale", "societe", "entreprise"]),
    wanted("nif", false, &["nif"]),
    wanted("phone", false, &["phonenumber", "phone", "telephone", "tel", "numerotelephone", "mobile"]),
    wanted("email", false, &["email", "mail", "courriel"]),
    wanted("address", false, &["address", "adresse"]),
    wanted("payer_id", false, &["taxpayerid", "payerid", "idusager", "matricule"]),
    wanted("items", false, &["items"]),
    wanted("item", false, &["item", "itemname", "libelle", "designation", "objet", "article"]),
    wanted("description", false, &["description"]),
    wanted(
        "nature",
        false,
        &["codenaturerecette", "naturerecette", "coderecette", "codenature", "nature", "imputation"],
    ),
    wanted("code_client", false, &["codeclient", "codeapplication"]),
    wanted("code_structure", false, &["codestructure", "structure"]),
    wanted("emitted_at", false, &["emittedat", "dateemission", "datedemission", "emisle", "date"]),
    wanted("callback", false, &["callback"]),
];

/// The columns of the payer, and TresorPay's own names of them.
const PAYER: [(&str, &str); 8] = [
    ("name", "name"),
    ("first_name", "firstName"),
    ("company", "companyName"),
    ("nif", "nif"),
    ("phone", "phoneNumber"),
    ("email", "email"),
    ("address", "address"),
    ("payer_id", "id"),
];

/// Nothing but blanks.
pub(super) fn is_blank(record: Record<'_>) -> bool {
    record.fields().all(|field| trimmed(field).is_empty())
}

/// The notice, or the column that is wrong.
pub(super) fn entry(layout: &Layout, record: Record<'_>) -> Result<Entry, Bad> {
    let cell =
        |key: &str| layout.place(key).map(|place| trimmed(record.get(place))).filter(|cell| !cell.is_empty());
    let owned = |key: &str| cell(key).map(str::to_owned);
    let bad = |key: &str, why: String| Bad { line: record.line, column: layout.title(key), why };
    if record.fields().skip(layout.width).any(|field| !trimmed(field).is_empty()) {
        let (there, width) = (record.len(), layout.width);
        let why = format!("has {there} columns and the header {width}: a separator stands within a value");
        return Err(Bad { line: record.line, column: String::new(), why });
    }
    let amount = parse_amount(cell("net_total").unwrap_or_default())
        .map_err(|error| bad("net_total", error.to_string()))?;
    let notice = TresorPayReference::parse(cell("tresorpay_reference").unwrap_or_default())
        .map_err(|error| bad("tresorpay_reference", error.to_string()))?;
    let emitted_at = match cell("emitted_at") {
        Some(text) => Some(moment(text).map_err(|why| bad("emitted_at", why))?),
        None => None,
    };
    let row = NewRow {
        reference: owned("reference"),
        code_client: owned("code_client"),
        code_structure: owned("code_structure"),
        net_total: Some(amount),
        tax_payer: owned("tax_payer").or_else(|| payer(&owned)),
        items: Some(owned("items").or_else(|| items(&owned, amount)).ok_or_else(|| {
            bad(
                "items",
                "there are no items: give items (JSON), or item or nature (codeNatureRecette)".to_owned(),
            )
        })?),
        callback: owned("callback"),
        ..NewRow::default()
    };
    Ok(Entry { line: record.line, row, notice, emitted_at })
}

fn payer(cell: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let fields: Map<String, Value> =
        PAYER.iter().filter_map(|(key, field)| Some(((*field).to_owned(), cell(key)?.into()))).collect();
    (!fields.is_empty()).then(|| Value::Object(fields).to_string())
}

fn items(cell: &impl Fn(&str) -> Option<String>, amount: i64) -> Option<String> {
    let (name, nature) = (cell("item"), cell("nature"));
    if name.is_none() && nature.is_none() {
        return None;
    }
    let mut item = json!({ "quantity": 1, "unitPrice": amount });
    for (field, text) in [("name", name), ("description", cell("description")), ("codeNatureRecette", nature)]
    {
        if let Some(text) = text {
            item[field] = text.into();
        }
    }
    Some(json!([item]).to_string())
}

/// A date with a time zone, or the beginning of a day in Mali; not in the future.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let at = if let Some(at) = Timestamp::parse(text) {
        at
    } else {
        let (day, _) = parse_date(text).map_err(|error| error.to_string())?;
        Timestamp::from(day.and_time(chrono::NaiveTime::MIN).and_utc())
    };
    if at > Timestamp::now() { Err("is in the future".to_owned()) } else { Ok(at) }
}
