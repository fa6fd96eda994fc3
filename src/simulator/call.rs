//! One HTTP request, read and understood: which operation, about what, with which credentials.

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{HeaderMap, Method, Request};
use serde::de::DeserializeOwned;

use super::fault::Operation;
use super::problem::Problem;
use super::site::{API, PAYMENT_PAGE, REALM, Site, TOKEN};
use super::wire::{CancelBody, EmitBody, VerifyBody};

/// Largest request body, as proxies in front of such a platform allow it.
const MAX_BODY: usize = 1 << 20;

/// How much of a larger body is read and thrown away, so that the client gets to read the refusal.
const MAX_DRAINED: usize = 64 << 20;

/// A request that has come in whole.
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) ask: Ask,
}

/// What is asked.
pub(super) enum Ask {
    Token { form: Bytes },
    Emit(Box<EmitBody>),
    Status(String),
    Batch(Vec<String>),
    Cancel(CancelBody),
    Verify(VerifyBody),
    Receipt(String),
    Page { query: String, form: Bytes, posted: bool },
    Refused(Problem),
    TooLarge,
}

/// The request's body never came in whole: the client left.
pub(super) struct BrokenOff;

impl Call {
    pub(super) async fn read(request: Request<Incoming>) -> Result<Self, BrokenOff> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let (operation, wanted) = route(path);
        let body = whole_body(body).await?;
        let ask = match body {
            None => Ask::TooLarge,
            Some(_) if operation == Operation::Other => refused(404),
            Some(_)
                if head.method != wanted
                    && !(operation == Operation::Page && head.method == Method::POST) =>
            {
                refused(405)
            }
            Some(body) => match operation {
                Operation::Page => Ask::Page {
                    query: head.uri.query().unwrap_or_default().to_owned(),
                    form: body,
                    posted: head.method == Method::POST,
                },
                Operation::Token if !is(&head.headers, "application/x-www-form-urlencoded") => refused(415),
                Operation::Token => Ask::Token { form: body },
                Operation::Status => Ask::Status(last_segment(path)),
                Operation::Receipt => Ask::Receipt(last_segment(path)),
                Operation::Emit => json(&head.headers, &body, |body| Ask::Emit(Box::new(body))),
                Operation::Batch => json(&head.headers, &body, Ask::Batch),
                Operation::Cancel => json(&head.headers, &body, Ask::Cancel),
                Operation::Verify => json(&head.headers, &body, Ask::Verify),
                Operation::Other | Operation::Any => refused(404),
            },
        };
        let authorization =
            head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Self { operation, path: path.to_owned(), authorization, ask })
    }

    /// The client references that this request is about, as far as it can be told.
    pub(super) fn client_references(&self, site: &Site) -> Vec<String> {
        let of = |reference: &str| {
            let place = site.book.find(reference)?;
            Some(site.book.with(place, |notice| notice.client_reference.clone()))
        };
        match &self.ask {
            Ask::Emit(body) => body.reference.iter().cloned().collect(),
            Ask::Cancel(body) => body.reference_client.iter().cloned().collect(),
            Ask::Status(reference) | Ask::Receipt(reference) => of(reference).into_iter().collect(),
            Ask::Batch(references) => references.iter().filter_map(|reference| of(reference)).collect(),
            Ask::Verify(body) => body.reference.iter().filter_map(|reference| of(reference)).collect(),
            Ask::Token { .. } | Ask::Page { .. } | Ask::Refused(_) | Ask::TooLarge => Vec::new(),
        }
    }
}

/// The body; `None` if it is larger than any request may be.
async fn whole_body(mut body: Incoming) -> Result<Option<Bytes>, BrokenOff> {
    let mut whole = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BrokenOff)?.into_data() else { continue };
        length += data.len();
        if length == data.len() && body.is_end_stream() {
            return Ok(Some(data).filter(|data| data.len() <= MAX_BODY));
        }
        if length > MAX_DRAINED {
            return Ok(None);
        }
        if length <= MAX_BODY {
            whole.extend_from_slice(&data);
        }
    }
    Ok((length <= MAX_BODY).then(|| Bytes::from(whole)))
}

/// The operation behind a path, and its method.
fn route(path: &str) -> (Operation, Method) {
    if let Some(below) = path.strip_prefix(API) {
        return match below {
            "/payment/create-notice-recette" => (Operation::Emit, Method::POST),
            "/payment/cancel-notice-recette" => (Operation::Cancel, Method::POST),
            "/payment/verified-notice-recette" => (Operation::Verify, Method::POST),
            "/notice-recette/status/references" => (Operation::Batch, Method::POST),
            _ if names_one(below, "/notice-recette/status/") => (Operation::Status, Method::GET),
            _ if names_one(below, "/documents/receipt/download/") => (Operation::Receipt, Method::GET),
            _ => (Operation::Other, Method::GET),
        };
    }
    if path.strip_prefix(REALM) == Some(TOKEN) {
        return (Operation::Token, Method::POST);
    }
    if path == PAYMENT_PAGE {
        return (Operation::Page, Method::GET);
    }
    (Operation::Other, Method::GET)
}

fn names_one(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
}

fn last_segment(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn is(headers: &HeaderMap, wanted: &str) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8], ask: impl FnOnce(T) -> Ask) -> Ask {
    if !is(headers, "application/json") {
        return refused(415);
    }
    match serde_json::from_slice(body) {
        Ok(body) => ask(body),
        Err(error) => {
            let detail = format!("JSON parse error: {error}");
            Ask::Refused(Problem::http(400, Some(detail)))
        }
    }
}

fn refused(status: u16) -> Ask {
    Ask::Refused(Problem::http(status, None))
}
