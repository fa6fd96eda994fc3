//! Makes a right answer wrong, in each of the ways that a rule can ask for.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::Answer;
use super::call::Call;
use super::fault::{Garbage, Operation};
use super::ledger::Actor;
use super::site::Site;

/// Length of an overlong reference.
const LONG: usize = 10_000;

const PORTAL: &str = "<!DOCTYPE html><html><head><title>Connexion requise</title></head>\
    <body><h1>Veuillez vous identifier</h1></body></html>";

/// The right status with a useless body. An answer that is no success stays as it is.
pub(super) fn garbage(site: &Arc<Site>, operation: Operation, kind: Garbage, mut answer: Answer) -> Answer {
    if !(200..300).contains(&answer.status) {
        return answer;
    }
    match kind {
        Garbage::Empty => answer.body.clear(),
        Garbage::Html => {
            answer.content_type = "text/html; charset=UTF-8";
            answer.body = PORTAL.into();
        }
        Garbage::NotJson => answer.body = b"{\"reference\": TP2024, status".to_vec(),
        Garbage::NoReference if operation == Operation::Token => {
            edit(&mut answer, |body| remove(body, "access_token"));
        }
        Garbage::NoReference => edit(&mut answer, |body| remove(body, "reference")),
        Garbage::NullReference => edit(&mut answer, |body| body["reference"] = Value::Null),
        Garbage::BlankReference => edit(&mut answer, |body| body["reference"] = json!("   ")),
        Garbage::NumberReference => edit(&mut answer, |body| body["reference"] = json!(42)),
        Garbage::LongReference => edit(&mut answer, |body| body["reference"] = json!("T".repeat(LONG))),
        Garbage::ControlReference => edit(&mut answer, |body| body["reference"] = json!("TP2024\u{0}\n.AR1")),
        Garbage::OtherReference => edit(&mut answer, |body| body["reference"] = json!(other(site, body))),
        Garbage::Canceled => edit(&mut answer, |body| {
            if let Some(place) = body["reference"].as_str().and_then(|reference| site.book.find(reference)) {
                // A paid notice stays paid; only the answer calls it canceled.
                let _ = site.book.cancel(place, Actor::Platform);
            }
            body["status"] = json!("CANCELED");
        }),
    }
    answer
}

/// A status that nobody knows.
pub(super) fn unknown_status(mut answer: Answer, word: &str) -> Answer {
    if (200..300).contains(&answer.status) {
        edit(&mut answer, |body| body["status"] = json!(word));
    }
    answer
}

/// A batch's answer without one notice: that of the client reference, else the first.
pub(super) fn omit(site: &Site, mut answer: Answer, client_reference: Option<&str>) -> Answer {
    let Ok(Value::Array(mut notices)) = serde_json::from_slice(&answer.body) else { return answer };
    let is_it = |notice: &Value| {
        let Some(wanted) = client_reference else { return true };
        let place = notice["reference"].as_str().and_then(|reference| site.book.find(reference));
        place.is_some_and(|place| site.book.with(place, |notice| notice.client_reference == wanted))
    };
    if let Some(index) = notices.iter().position(is_it) {
        notices.remove(index);
    }
    answer.body = serde_json::to_vec(&notices).unwrap_or_default();
    answer
}

/// Each key twice: first the truth, then the same with another notice's reference.
pub(super) fn duplicate_keys(site: &Site, mut answer: Answer) -> Answer {
    let Ok(truth @ Value::Object(_)) = serde_json::from_slice::<Value>(&answer.body) else { return answer };
    let mut second = truth.clone();
    second["reference"] = json!(other(site, &truth));
    let (first, second) = (truth.to_string(), second.to_string());
    answer.body = format!("{},{}", first.trim_end_matches('}'), second.trim_start_matches('{')).into_bytes();
    answer
}

/// The answer of a request that was never carried out.
pub(super) fn made_up(site: &Site, call: &Call) -> Answer {
    let reference = site.book.made_up();
    match call.operation {
        Operation::Batch => Answer::json(200, &json!([])),
        Operation::Token => Answer::json(200, &json!({ "access_token": "unknown", "token_type": "Bearer" })),
        Operation::Receipt => Answer::of(200, "application/pdf", b"%PDF-1.4\n%%EOF\n".to_vec()),
        Operation::Cancel => Answer::json(200, &json!({ "reference": reference, "status": "CANCELED" })),
        _ => Answer::json(200, &json!({ "reference": reference, "status": "EMITTED" })),
    }
}

/// Another notice's reference; a made-up one if there is no other.
fn other(site: &Site, body: &Value) -> String {
    let own = body["reference"].as_str().unwrap_or_default();
    site.book.other_than(own).unwrap_or_else(|| site.book.made_up())
}

fn remove(body: &mut Value, key: &str) {
    if let Value::Object(fields) = body {
        fields.remove(key);
    }
}

/// Changes the object that an answer is, or each object of an array.
fn edit(answer: &mut Answer, mut change: impl FnMut(&mut Value)) {
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else { return };
    match &mut body {
        Value::Array(elements) => elements.iter_mut().filter(|element| element.is_object()).for_each(change),
        Value::Object(_) => change(&mut body),
        _ => return,
    }
    answer.body = serde_json::to_vec(&body).unwrap_or_default();
}
