//! Problem documents (RFC 9457) as the `JHipster` framework writes them: the one form of the API's refusals. The platform's own refusals speak
//! French; those of its framework (`error.http.*`) keep the framework's English titles.

use serde::Serialize;

use super::answer::Answer;
use super::config::ProblemType;

const WITH_MESSAGE: &str = "https://www.jhipster.tech/problem/problem-with-message";
const CONSTRAINT: &str = "https://www.jhipster.tech/problem/constraint-violation";

/// One refusal, before it is bound to the path that was asked.
#[derive(Debug)]
pub(super) struct Problem(Box<Document>);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "type")]
    kind: &'static str,
    title: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    instance: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    field_errors: Vec<FieldError>,
}

/// One field that broke a rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FieldError {
    pub(super) object_name: &'static str,
    pub(super) field: String,
    pub(super) message: &'static str,
}

impl Problem {
    fn new(kind: &'static str, status: u16, message: String, title: String) -> Self {
        let (detail, instance, params, field_errors) = (None, String::new(), None, Vec::new());
        Self(Box::new(Document { kind, title, status, detail, instance, message, params, field_errors }))
    }

    /// One of the platform's own refusals: its title, its stable message and what it is about.
    fn own(status: u16, message: &str, title: &str, params: &'static str) -> Self {
        let mut problem = Self::new(WITH_MESSAGE, status, message.to_owned(), title.to_owned());
        problem.0.params = Some(params);
        problem
    }

    /// The framework's refusal for an HTTP status.
    pub(super) fn http(status: u16, detail: Option<String>) -> Self {
        let mut problem =
            Self::new(WITH_MESSAGE, status, format!("error.http.{status}"), reason(status).to_owned());
        problem.0.detail = detail;
        problem
    }

    /// Fields that are missing or wrong.
    pub(super) fn validation(field_errors: Vec<FieldError>) -> Self {
        let title = "Method argument not valid".to_owned();
        let mut problem = Self::new(CONSTRAINT, 400, "error.validation".to_owned(), title);
        problem.0.field_errors = field_errors;
        problem
    }

    /// The HTTP status that it is answered with.
    pub(super) fn status(&self) -> u16 {
        self.0.status
    }

    pub(super) fn service_client_not_found() -> Self {
        let title = "La service client n'est pas dans cette structure";
        Self::own(400, "error.SERVICE_CLIENT_NOT_FOUND", title, "appTransaction")
    }

    pub(super) fn structure_not_found() -> Self {
        Self::own(400, "error.STRUCTURE_NOT_FOUND", "La structure n'existe pas", "appTransaction")
    }

    pub(super) fn notice_not_found() -> Self {
        Self::own(404, "error.NOTICE_NOT_FOUND", "L'avis de recette n'existe pas", "noticeRecette")
    }

    pub(super) fn reference_exists() -> Self {
        let title = "Un avis de recette existe déjà avec cette référence";
        Self::own(400, "error.REFERENCE_ALREADY_EXISTS", title, "noticeRecette")
    }

    pub(super) fn already_paid() -> Self {
        let title = "L'avis de recette est déjà payé et ne peut plus être annulé";
        Self::own(400, "error.NOTICE_ALREADY_PAID", title, "noticeRecette")
    }

    pub(super) fn already_canceled() -> Self {
        Self::own(400, "error.NOTICE_ALREADY_CANCELED", "L'avis de recette est déjà annulé", "noticeRecette")
    }

    pub(super) fn not_paid() -> Self {
        Self::own(400, "error.NOTICE_NOT_PAID", "L'avis de recette n'est pas encore payé", "noticeRecette")
    }

    pub(super) fn wrong_total() -> Self {
        let title = "Le montant total ne correspond pas à la somme des articles";
        Self::own(400, "error.NET_TOTAL_MISMATCH", title, "noticeRecette")
    }

    /// What the document says to a person.
    pub(super) fn title(&self) -> &str {
        &self.0.title
    }

    /// Replaces what the document says, for a `status` fault.
    pub(super) fn worded(mut self, message: Option<&str>, title: Option<&str>) -> Self {
        if let Some(message) = message {
            message.clone_into(&mut self.0.message);
        }
        if let Some(title) = title {
            title.clone_into(&mut self.0.title);
        }
        self
    }

    /// The answer to a request for `path`.
    pub(super) fn answer(mut self, path: &str, content_type: ProblemType) -> Answer {
        path.clone_into(&mut self.0.instance);
        let content_type = match content_type {
            ProblemType::ProblemJson => "application/problem+json",
            ProblemType::Json => "application/json",
        };
        Answer::of(self.0.status, content_type, serde_json::to_vec(&self.0).unwrap_or_default())
    }
}

/// The reason phrase of a status.
pub(super) fn reason(status: u16) -> &'static str {
    hyper::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or("Error")
}
