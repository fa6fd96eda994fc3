//! One HTTP request and what became of it, told apart by the only question that decides money: did it leave, and was
//! it answered? Nothing here retries, and nothing follows a redirect.

use std::{error::Error as _, fmt};

use chrono::Utc;
use reqwest::{RequestBuilder, Response, header::RETRY_AFTER};

use super::RetryAfter;

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

/// Sends once; reads at most `max_body` bytes of the decompressed body.
pub async fn send(request: RequestBuilder, max_body: usize) -> Exchange {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() || error.is_builder() => {
            return Exchange::Unsent(Unsent::Unreachable(causes(&error)));
        }
        Err(error) if error.is_timeout() => return Exchange::NoAnswer(NoAnswer::TimedOut),
        Err(error) => return Exchange::NoAnswer(NoAnswer::Lost(causes(&error))),
    };
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| RetryAfter::parse(value, Utc::now()));
    let body = match read_limited(response, max_body).await {
        Ok(bytes) => Body::Whole(bytes),
        Err(why) => Body::Cut(why),
    };
    Exchange::Answered(Answer { status, retry_after, body })
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
