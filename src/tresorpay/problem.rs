//! JHipster problem documents (RFC 9457 with `message`, `params`, `fieldErrors`), whatever their content type.

use serde::Deserialize;

/// Longest text that passes for a code, in bytes.
const MAX_CODE: usize = 80;
/// What the framework's own codes start with.
const FRAMEWORK_CODE: &str = "error.http.";
/// Words for the registered application and its structure, in English, in French and in the API's names.
const REGISTRATION: [&str; 4] = ["client", "structure", "application", "apptransaction"];
/// Most field errors kept.
const MAX_FIELD_ERRORS: usize = 20;

/// The parts of a problem document that say what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// For people, in French: `La service client n'est pas dans cette structure`.
    pub title: Option<String>,
    /// For programs: `error.SERVICE_CLIENT_NOT_FOUND`.
    pub message: Option<String>,
    /// One a field that failed validation.
    pub field_errors: Vec<FieldError>,
    /// What it is about, in the API's words: `appTransaction`. JSON that is no text is kept as JSON.
    pub params: Option<String>,
    /// More for people.
    pub detail: Option<String>,
}

/// One field that failed validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field's path in the request.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// JSON of any type in any field: a stranger wrote it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "type")]
    kind: Option<serde_json::Value>,
    title: Option<serde_json::Value>,
    status: Option<serde_json::Value>,
    message: Option<serde_json::Value>,
    detail: Option<serde_json::Value>,
    params: Option<serde_json::Value>,
    field_errors: Option<serde_json::Value>,
}

impl Problem {
    /// Reads `body` as a problem document about an answer with `http_status`.
    ///
    /// A proxy's or a framework's own JSON error is none: a problem has a `title` or a `type`, and either a
    /// `message` or a `status` that repeats the HTTP status; a `status` that differs disqualifies it.
    pub fn parse(http_status: u16, body: &[u8]) -> Option<Self> {
        let document: Document = serde_json::from_slice(body).ok()?;
        let title = text(document.title.as_ref());
        let message = text(document.message.as_ref());
        let named = title.is_some() || text(document.kind.as_ref()).is_some();
        let status = document.status.as_ref().filter(|status| !status.is_null());
        let same_status = status.map(|status| status.as_u64() == Some(u64::from(http_status)));
        if !named || same_status == Some(false) || (message.is_none() && same_status.is_none()) {
            return None;
        }
        let detail = text(document.detail.as_ref());
        Some(Self {
            title: title.or_else(|| detail.clone()),
            message,
            field_errors: field_errors(document.field_errors.as_ref()),
            params: document.params.filter(|params| !params.is_null()).map(|params| params.to_string()),
            detail,
        })
    }

    /// The document only says that this path, method or media type does not exist there: a wrong base URL, not a
    /// word about a notice.
    pub fn is_about_the_path(&self) -> bool {
        matches!(
            self.message.as_deref(),
            Some("error.http.404" | "error.http.405" | "error.http.406" | "error.http.415")
        )
    }

    /// The API's own words that what was asked for does not exist: a code of its own, and not one of the framework's for
    /// any request (`error.http.…`). That the client or the structure does not exist is no word about a notice, whether
    /// it is told in general or by one of `codes`.
    pub fn says_no_notice(&self, codes: [&str; 2]) -> bool {
        let own_code = self.message.as_deref().is_some_and(|message| !message.starts_with(FRAMEWORK_CODE));
        let fields = self.field_errors.iter().flat_map(|error| [&error.field, &error.message]);
        let texts =
            [&self.message, &self.title, &self.params, &self.detail].into_iter().flatten().chain(fields);
        let registration = |text: &String| {
            let text = text.to_lowercase();
            REGISTRATION.iter().any(|word| text.contains(word)) || codes.iter().any(|code| names(&text, code))
        };
        own_code && !texts.into_iter().any(registration)
    }

    /// `error.SOMETHING` if the message is such a code, for where nobody can scrub the rest.
    pub fn code(&self) -> Option<&str> {
        let is_code = |text: &&str| {
            text.len() <= MAX_CODE
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        self.message.as_deref().filter(is_code)
    }

    /// `message: title (field: message; …)`, on one line.
    pub fn summary(&self) -> String {
        let mut summary = match (&self.message, &self.title) {
            (Some(message), Some(title)) => format!("{message}: {title}"),
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (None, None) => "a problem without words".to_owned(),
        };
        if !self.field_errors.is_empty() {
            let fields: Vec<_> =
                self.field_errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
            summary = format!("{summary} ({})", fields.join("; "));
        }
        summary
    }
}

fn text(value: Option<&serde_json::Value>) -> Option<String> {
    let text = value?.as_str()?.trim();
    (!text.is_empty()).then(|| one_line(text))
}

/// Whether `text`, in lower case, holds `code` as a word of its own.
fn names(text: &str, code: &str) -> bool {
    let code = code.trim().to_lowercase();
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !code.is_empty()
        && text.match_indices(&code).any(|(at, found)| {
            !is_word(text[..at].chars().next_back()) && !is_word(text[at + found.len()..].chars().next())
        })
}

/// Control characters replaced by blanks. It is not cut here: what is personal must be found whole first.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn field_errors(value: Option<&serde_json::Value>) -> Vec<FieldError> {
    let Some(serde_json::Value::Array(errors)) = value else { return Vec::new() };
    errors
        .iter()
        .take(MAX_FIELD_ERRORS)
        .filter_map(|error| {
            let field = text(error.get("field"))?;
            let object = text(error.get("objectName"));
            let field = object.map_or(field.clone(), |object| format!("{object}.{field}"));
            Some(FieldError { field, message: text(error.get("message")).unwrap_or_default() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::Problem;

    #[test]
    fn reads_the_documented_example() {
        let body = r#"{"type":"https://www.jhipster.tech/problem/problem-with-message",
            "title":"La service client n'est pas dans cette structure","status":400,
            "instance":"/api/public/v1/payment/create-notice-recette",
            "message":"error.SERVICE_CLIENT_NOT_FOUND","params":"appTransaction"}"#;
        let problem = Problem::parse(400, body.as_bytes()).unwrap();
        assert_eq!(
            problem.summary(),
            "error.SERVICE_CLIENT_NOT_FOUND: La service client n'est pas dans cette structure"
        );
        assert!(!problem.is_about_the_path());
    }

    #[test]
    fn reads_field_errors() {
        let body = r#"{"type":"x","title":"Method argument not valid","status":400,"message":"error.validation",
            "fieldErrors":[{"objectName":"notice","field":"netTotal","message":"NotNull"},{"field":7},null]}"#;
        let problem = Problem::parse(400, body.as_bytes()).unwrap();
        assert_eq!(
            problem.summary(),
            "error.validation: Method argument not valid (notice.netTotal: NotNull)"
        );
    }

    #[test]
    fn other_peoples_json_is_no_problem_document() {
        for body in [
            r#"{"message":"no Route matched with those values"}"#,
            r#"{"timestamp":"2026","status":404,"error":"Not Found","message":"No message available","path":"/x"}"#,
            r#"{"title":"x","status":500,"message":"error.x"}"#,
            r#"{"title":"x"}"#,
            r#"{"title":7,"status":404}"#,
            "[]",
            "null",
            "\"title\"",
            "<html>",
            "",
        ] {
            assert_eq!(Problem::parse(404, body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn an_unknown_path_is_told_apart() {
        for message in ["error.http.404", "error.http.405", "error.http.406", "error.http.415"] {
            let body = format!(r#"{{"title":"Not Found","status":404,"message":"{message}"}}"#);
            assert!(Problem::parse(404, body.as_bytes()).unwrap().is_about_the_path());
        }
    }
    /// JSON of any type, as a stranger might put it into any field.
    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "error\\.[A-Z_.0-9]{0,90}".prop_map(Value::from),
            prop::collection::vec(
                any::<String>().prop_map(|text| json!({"field": text, "message": text})),
                0..30
            )
            .prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn whatever_the_fields_are_it_is_one_line_of_its_own_words(
            title in value(), message in value(), kind in value(), errors in value(),
            status in prop_oneof![(100_u16..600).prop_map(Value::from), value()], http_status in 100_u16..600,
        ) {
            let body = json!({"type": kind, "title": title, "status": status, "message": message, "fieldErrors": errors});
            let Some(problem) = Problem::parse(http_status, body.to_string().as_bytes()) else { return Ok(()) };
            prop_assert!(status.is_null() || status == http_status, "a status that differs disqualifies it");
            prop_assert!(!problem.summary().chars().any(char::is_control));
            if let Some(code) = problem.code() {
                prop_assert!(code.len() <= 80 && message == code);
            }
        }

        #[test]
        fn no_body_panics(status in any::<u16>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Problem::parse(status, &body);
        }
    }
}
