//! Requests and answers as they may be kept: no secret, no token, and no more of an answer than tells what it is.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Serialize;
use serde_json::Value;

use crate::tresorpay::{Body, Exchange, NoAnswer, Scrubber, Unsent};

/// Stands in the place of a secret.
const HIDDEN: &str = "(not shown)";
/// Most of an answer that is kept, in characters.
const MAX_KEPT: usize = 4000;

/// One request and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct Recorded {
    /// What was to be learnt.
    pub question: &'static str,
    /// `POST https://…`
    pub request: String,
    /// The JSON or the form that was sent.
    pub sent: Option<Value>,
    /// `None`: no answer.
    pub http_status: Option<u16>,
    /// As the answer says.
    pub content_type: Option<String>,
    /// JSON, or the beginning of any other text.
    pub answer: Option<Value>,
    /// Why there is no answer, or no whole one.
    pub failure: Option<String>,
    /// To the last byte of the answer.
    pub took_ms: u64,
}

impl Recorded {
    /// Fills in what became of the request.
    pub(super) fn answered(mut self, exchange: &Exchange, headers: &HeaderMap, scrubber: &Scrubber) -> Self {
        let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        self.content_type = header.map(str::to_owned);
        match exchange {
            Exchange::Answered(answer) => {
                self.http_status = Some(answer.status);
                match &answer.body {
                    Body::Whole(bytes) => self.answer = kept(bytes, scrubber),
                    Body::Cut(why) => self.failure = Some(scrubber.scrub(why)),
                }
            }
            other => self.failure = Some(scrubber.scrub(&failure(other))),
        }
        self
    }
}

/// Why a request has no answer.
pub(super) fn failure(exchange: &Exchange) -> String {
    match exchange {
        Exchange::Unsent(Unsent::Unreachable(why)) => format!("it never left: {why}"),
        // Said of what the session did not ask at all.
        Exchange::Unsent(Unsent::NoToken(why)) => why.clone(),
        Exchange::Unsent(Unsent::Certificate(code, why)) => {
            format!("it never left: {}: {why}", code.as_str())
        }
        Exchange::Unsent(Unsent::ShuttingDown) => "it never left".to_owned(),
        Exchange::NoAnswer(NoAnswer::TimedOut) => "no answer in time".to_owned(),
        Exchange::NoAnswer(NoAnswer::Lost(why)) => format!("no answer: {why}"),
        Exchange::Answered(_) => String::new(),
    }
}

fn kept(bytes: &[u8], scrubber: &Scrubber) -> Option<Value> {
    if bytes.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(bytes);
    if text.chars().nth(MAX_KEPT).is_none()
        && let Ok(mut json) = serde_json::from_slice::<Value>(bytes)
    {
        hide(&mut json, scrubber);
        return Some(json);
    }
    let beginning: String = text.chars().take(MAX_KEPT).collect();
    Some(Value::String(scrubber.scrub(&beginning)))
}

/// Takes tokens out by their names, and what else is secret by its text.
fn hide(json: &mut Value, scrubber: &Scrubber) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                if matches!(name.as_str(), "access_token" | "refresh_token" | "id_token" | "client_secret") {
                    *value = Value::String(HIDDEN.to_owned());
                } else {
                    hide(value, scrubber);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| hide(value, scrubber)),
        Value::String(text) => *text = scrubber.scrub(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A form as it may be kept.
pub(super) fn form(fields: &[(&str, &str)]) -> Value {
    let shown =
        |name: &str, value: &str| if name == "client_secret" { HIDDEN.to_owned() } else { value.to_owned() };
    fields.iter().map(|(name, value)| ((*name).to_owned(), Value::String(shown(name, value)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_secrets_are_not_kept() {
        let mut scrubber = Scrubber::default();
        scrubber.add("top-secret");
        let body = br#"{"access_token":"abc","expires_in":300,"error_description":"top-secret is wrong"}"#;
        let text = kept(body, &scrubber).map(|json| json.to_string()).unwrap_or_default();
        assert!(!text.contains("abc") && !text.contains("top-secret") && text.contains("300"), "{text}");
        let text =
            kept(b"<html>top-secret</html>", &scrubber).map(|json| json.to_string()).unwrap_or_default();
        assert!(text.contains("<html>") && !text.contains("top-secret"), "{text}");
        assert!(
            !form(&[("client_id", "me"), ("client_secret", "top-secret")]).to_string().contains("top-secret")
        );
    }
}
