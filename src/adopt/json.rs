//! Objects of JSON as notices: fields named as the columns of the outbox, and `tresorpay_reference` and `emitted_at`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Bad, Entry, csv::moment, file::Content, file::FileError};
use crate::{notice::TresorPayReference, store::NewRow};

/// A null is an absent field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    reference: Option<String>,
    tresorpay_reference: Option<String>,
    #[serde(borrow)]
    net_total: Option<&'a RawValue>,
    code_client: Option<String>,
    code_structure: Option<String>,
    created_at: Option<String>,
    emitted_at: Option<String>,
    #[serde(borrow)]
    tax_payer: Option<&'a RawValue>,
    #[serde(borrow)]
    items: Option<&'a RawValue>,
    #[serde(borrow)]
    authorized_payment_modes: Option<&'a RawValue>,
    callback: Option<String>,
    redirect_url: Option<String>,
}

/// An array of objects, or one.
pub(super) fn read(text: &str) -> Result<Content, FileError> {
    let broken = |error: serde_json::Error| FileError::Json(error.to_string());
    let objects = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<&RawValue>>(text).map_err(broken)?
    } else {
        vec![serde_json::from_str::<&RawValue>(text).map_err(broken)?]
    };
    let mut content = Content::default();
    let (mut line, mut counted) = (1, 0);
    for object in objects {
        // The object lies within the text: its address says where.
        let start = (object.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        line += text.get(counted..start).unwrap_or_default().matches('\n').count() as u64;
        counted = start;
        match entry(object, line) {
            Ok(entry) => content.entries.push(entry),
            Err((column, why)) => content.bad.push(Bad { line, column: column.to_owned(), why }),
        }
    }
    Ok(content)
}

fn entry(object: &RawValue, line: u64) -> Result<Entry, (&'static str, String)> {
    let fields: Fields<'_> = serde_json::from_str(object.get()).map_err(|error| ("", words(&error)))?;
    let amount = fields.net_total.map(|raw| raw.get().parse::<i64>());
    let net_total = amount
        .transpose()
        .map_err(|_| ("net_total", "must be a whole number, without quotes or a fraction".to_owned()))?;
    let notice = TresorPayReference::parse(fields.tresorpay_reference.as_deref().unwrap_or_default())
        .map_err(|error| ("tresorpay_reference", error.to_string()))?;
    let emitted_at = match fields.emitted_at.as_deref() {
        Some(text) => Some(moment(text).map_err(|why| ("emitted_at", why))?),
        None => None,
    };
    let raw = |raw: Option<&RawValue>| raw.map(|raw| raw.get().to_owned());
    let row = NewRow {
        reference: fields.reference,
        code_client: fields.code_client,
        code_structure: fields.code_structure,
        net_total,
        created_at: fields.created_at,
        tax_payer: raw(fields.tax_payer),
        items: raw(fields.items),
        authorized_payment_modes: raw(fields.authorized_payment_modes),
        callback: fields.callback,
        redirect_url: fields.redirect_url,
        ..NewRow::default()
    };
    Ok(Entry { line, row, notice, emitted_at })
}

/// serde's words without the place, which counts from the beginning of the object, and without a value.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match text.split_once("invalid type: ") {
        Some((_, rest)) => {
            format!("a field is no text: {}", rest.split_once("expected").map_or("", |(_, rest)| rest).trim())
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn objects_know_their_lines_and_show_no_value() {
        let content = read(
            "[\n {\"reference\":\"A\",\"tresorpay_reference\":\"TP1\",\"net_total\":5},\n\n {\"reference\":[\"Awa\"]},\n \
             {\"reference\":\"B\",\"tresorpay_reference\":\" \"}, {\"net_total\":\"5\"}, {\"Awa\":1},\n7]",
        )
        .unwrap();
        assert_eq!(content.entries.iter().map(|entry| entry.line).collect::<Vec<_>>(), [2]);
        assert_eq!(content.bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [4, 5, 5, 5, 6]);
        assert_eq!((&*content.bad[1].column, &*content.bad[2].column), ("tresorpay_reference", "net_total"));
        assert!(!content.bad[0].to_string().contains("Awa"), "{}", content.bad[0]);
        assert!(read("[1").is_err() && read("{} {}").is_err());
    }
}
