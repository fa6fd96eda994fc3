//! One entry of the input: a JSON object whose fields are columns of the outbox. Only the shape is judged here; the rules
//! are the database's. No error shows a value: it may be a person's.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::store::NewRow;

/// Longest reference that is shown in an error, in characters.
const MAX_SHOWN: usize = 80;

/// An entry as it was given.
pub(super) struct Entry<'a> {
    raw: &'a RawValue,
}

/// The application's columns. A null is an absent field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    reference: Option<&'a RawValue>,
    code_client: Option<&'a RawValue>,
    code_structure: Option<&'a RawValue>,
    net_total: Option<&'a RawValue>,
    priority: Option<&'a RawValue>,
    replaces: Option<&'a RawValue>,
    not_before: Option<&'a RawValue>,
    created_at: Option<&'a RawValue>,
    tax_payer: Option<&'a RawValue>,
    items: Option<&'a RawValue>,
    authorized_payment_modes: Option<&'a RawValue>,
    callback: Option<&'a RawValue>,
    redirect_url: Option<&'a RawValue>,
}

/// The entries of `text`: an array's, or the one object.
pub(super) fn split(text: &str) -> anyhow::Result<Vec<Entry<'_>>> {
    let broken = |error: serde_json::Error| anyhow::anyhow!("is not valid JSON: {error}");
    let entries = match text.trim_start().chars().next() {
        Some('[') => serde_json::from_str::<Vec<&RawValue>>(text).map_err(broken)?,
        Some('{') => vec![serde_json::from_str::<&RawValue>(text).map_err(broken)?],
        Some(_) => anyhow::bail!("is not what is expected: one JSON object, or an array of objects"),
        None => anyhow::bail!("is empty; expected one JSON object, or an array of objects"),
    };
    Ok(entries.into_iter().map(|raw| Entry { raw }).collect())
}

impl Entry<'_> {
    /// The row that the entry describes, or what is wrong with its shape.
    pub(super) fn row(&self) -> Result<NewRow, String> {
        if !self.raw.get().starts_with('{') {
            return Err("is not a JSON object".to_owned());
        }
        let fields: Fields<'_> = serde_json::from_str(self.raw.get()).map_err(|error| words(&error))?;
        Ok(NewRow {
            reference: text("reference", fields.reference)?,
            code_client: text("code_client", fields.code_client)?,
            code_structure: text("code_structure", fields.code_structure)?,
            net_total: integer("net_total", fields.net_total)?,
            priority: integer("priority", fields.priority)?,
            replaces: text("replaces", fields.replaces)?,
            not_before: text("not_before", fields.not_before)?,
            created_at: text("created_at", fields.created_at)?,
            tax_payer: json("tax_payer", fields.tax_payer)?,
            items: json("items", fields.items)?,
            authorized_payment_modes: json("authorized_payment_modes", fields.authorized_payment_modes)?,
            callback: text("callback", fields.callback)?,
            redirect_url: text("redirect_url", fields.redirect_url)?,
        })
    }

    /// To name the entry by, if it has a reference at all.
    pub(super) fn reference(&self) -> Option<String> {
        let fields: serde_json::Value = serde_json::from_str(self.raw.get()).ok()?;
        Some(fields.get("reference")?.as_str()?.chars().take(MAX_SHOWN).collect())
    }
}

/// serde's words without the place, which counts from the beginning of the entry.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn text(column: &str, raw: Option<&RawValue>) -> Result<Option<String>, String> {
    let read = |raw: &RawValue| serde_json::from_str(raw.get()).map_err(|_| format!("{column} must be text"));
    raw.map(read).transpose()
}

fn integer(column: &str, raw: Option<&RawValue>) -> Result<Option<i64>, String> {
    let read = |raw: &RawValue| {
        raw.get()
            .parse()
            .map_err(|_| format!("{column} must be a whole number, without quotes or a fraction"))
    };
    raw.map(read).transpose()
}

/// The JSON as it was given, less the blanks between its parts: numbers and double fields reach the database's rules
/// as they are.
fn json(column: &str, raw: Option<&RawValue>) -> Result<Option<String>, String> {
    match raw.map(|raw| compact(raw.get())) {
        Some(json) if json.starts_with('"') => {
            Err(format!("{column} must be JSON itself, not JSON in a text"))
        }
        json => Ok(json),
    }
}

/// Valid JSON without the blanks outside of its texts.
fn compact(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    json.chars()
        .filter(|c| {
            if escaped {
                escaped = false;
            } else if in_text && *c == '\\' {
                escaped = true;
            } else if *c == '"' {
                in_text = !in_text;
            }
            in_text || !matches!(c, ' ' | '\t' | '\n' | '\r')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::{compact, split};

    #[test]
    fn blanks_between_go_and_blanks_within_stay() {
        assert_eq!(
            compact("{ \"a b\" :\t[ 1 ,\n\"c \\\" d\" , \"\\\\\" ] }"),
            "{\"a b\":[1,\"c \\\" d\",\"\\\\\"]}"
        );
    }

    #[test]
    fn no_error_shows_a_value() {
        for text in [
            r#"["Awa Diarra"]"#,
            r#"{"reference":["Awa Diarra"]}"#,
            r#"{"net_total":"Awa Diarra"}"#,
            r#"{"tax_payer":"{\"name\":\"Awa Diarra\"}"}"#,
            r#"{"callback":{"Awa Diarra":1}}"#,
        ] {
            let error = split(text).unwrap()[0].row().unwrap_err();
            assert!(!error.contains("Awa"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn compacting_changes_no_value(texts in prop::collection::vec("\\PC{0,12}", 0..6)) {
            let pretty = serde_json::to_string_pretty(&texts).unwrap();
            prop_assert_eq!(compact(&pretty), serde_json::to_string(&texts).unwrap());
        }
    }
}
