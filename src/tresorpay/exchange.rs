//! One HTTP request and what became of it, told apart by the only question that decides money: did it leave, and was
//! it answered? Nothing here retries, and nothing follows a redirect.

use std::{error::Error as _, fmt};

use reqwest::{RequestBuilder, Response, header::HeaderMap};

use super::{
    ErrorCode, RetryAfter, ServerClock, certificate,
    date::{asked_to_wait, server_date},
};
use crate::clock::Timestamp;

/// What became of a request.
#[derive(Debug)]
pub enum Exchange {
    /// It surely never left this machine.
    Unsent(Unsent),
    /// It began to leave and no head of an answer came.
    NoAnswer(NoAnswer),
    /// An answer came.
    Answered(Answer),
}

/// Why a request never left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsent {
    /// No connection: DNS, refused, TLS, proxy. The text names which.
    Unreachable(String),
    /// The server's certificate was refused: its own code, and words.
    Certificate(ErrorCode, String),
    /// No access token to send it with.
    NoToken(String),
    /// The daemon is stopping.
    ShuttingDown,
}

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// `api.request_timeout` passed.
    TimedOut,
    /// The connection broke.
    Lost(String),
}

/// An answer's head, and its body as far as it came.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The header of that name, if it could be read.
    pub retry_after: Option<RetryAfter>,
    /// The body.
    pub body: Body,
}

/// The body of an answer.
pub enum Body {
    /// All of it, decompressed.
    Whole(Vec<u8>),
    /// It broke off, was too slow or too large, or did not decompress; the text says which.
    Cut(String),
}

impl fmt::Debug for Body {
    /// Sizes only: a body may hold a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Cut(why) => write!(f, "Cut({why})"),
        }
    }
}

/// Sends once; reads at most `max_body` bytes of the decompressed body. The answer's time is compared with ours.
pub async fn send(request: RequestBuilder, max_body: usize, clock: &ServerClock) -> Exchange {
    send_and_tell(request, max_body, clock).await.0
}

/// [`send`], with the headers of the answer; none if there was no answer.
pub async fn send_and_tell(
    request: RequestBuilder,
    max_body: usize,
    clock: &ServerClock,
) -> (Exchange, HeaderMap) {
    let sent_at = Timestamp::now();
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return (failed(&error), HeaderMap::new()),
    };
    let status = response.status().as_u16();
    // What is read of the body from here on needs them no more.
    let headers = std::mem::take(response.headers_mut());
    observe_date(&headers, clock, sent_at);
    let retry_after = asked_to_wait(&headers).map(RetryAfter);
    let body = match read_limited(response, max_body).await {
        Ok(bytes) => Body::Whole(bytes),
        Err(why) => Body::Cut(why),
    };
    (Exchange::Answered(Answer { status, retry_after, body }), headers)
}

/// Compares the answer's time, if it tells one, with ours.
pub fn observe_date(headers: &HeaderMap, clock: &ServerClock, sent_at: Timestamp) {
    if let Some(date) = server_date(headers) {
        clock.observe(date, sent_at, Timestamp::now());
    }
}

/// What a request without an answer's head came to.
fn failed(error: &reqwest::Error) -> Exchange {
    if let Some((code, words)) = certificate::fault(error) {
        return Exchange::Unsent(Unsent::Certificate(code, words));
    }
    if error.is_connect() || error.is_builder() || was_never_written(error) {
        return Exchange::Unsent(Unsent::Unreachable(causes(error)));
    }
    if error.is_timeout() {
        return Exchange::NoAnswer(NoAnswer::TimedOut);
    }
    Exchange::NoAnswer(NoAnswer::Lost(causes(error)))
}

/// The connection ended before its task took the request: hyper hands it back whole, and says so by this kind alone.
fn was_never_written(error: &reqwest::Error) -> bool {
    std::iter::successors(error.source(), |&error| error.source())
        .any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled))
}

/// Why a server could not be reached, for people.
pub fn unreachable(error: &reqwest::Error) -> String {
    match certificate::fault(error) {
        Some((code, words)) => format!("{}: {words}", code.as_str()),
        None => causes(error),
    }
}

/// The decompressed body, or why there is no whole one of at most `limit` bytes.
pub async fn read_limited(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => {
                return Err(format!("the answer is larger than {limit} bytes"));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) if error.is_timeout() => return Err("the answer's body timed out".to_owned()),
            Err(error) => return Err(format!("the answer's body broke off: {}", causes(&error))),
        }
    }
}

/// The chain of causes without the URL, which may hold a proxy's password.
pub fn causes(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        cause = error.source();
    }
    if causes.is_empty() { "the request failed".to_owned() } else { causes.join(": ") }
}
