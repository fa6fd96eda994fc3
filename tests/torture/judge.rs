//! What may be believed of a mutated answer, decided anew and without the daemon's code: a fuzzer that only looks for panics
//! would not see a notice believed that nobody gave.

use std::collections::HashMap;

use serde_json::value::RawValue;
use tresorpayd::{
    notice::Verdict,
    tresorpay::{
        CancelAddress, CancelVerdict, Context, ErrorCode, Exchange, Judgement, RetryAfter, judge_cancel,
        judge_emission,
    },
};

/// Longest reference that may be believed, in characters.
const MAX_REFERENCE: usize = 128;
/// Messages of a framework that does not know the path: nothing about a notice.
const ABOUT_THE_PATH: [&str; 4] = ["error.http.404", "error.http.405", "error.http.406", "error.http.415"];

/// Fails if the judgement of an answered emission says more than the answer does.
pub(crate) fn emission(
    exchange: &Exchange,
    status: u16,
    retry_after: Option<RetryAfter>,
    body: &[u8],
) -> Result<(), String> {
    let quiet = judge_emission(exchange, Context { accepted_recently: false });
    let busy = judge_emission(exchange, Context { accepted_recently: true });
    for judgement in [&quiet, &busy] {
        credible(judgement, status, retry_after, body)?;
    }
    if busy != quiet && (quiet.code, busy.code) != (ErrorCode::Misdirected, ErrorCode::Filtered) {
        return Err(format!("{quiet:?}, and if others are accepted {busy:?}"));
    }
    Ok(())
}

fn credible(
    judgement: &Judgement,
    status: u16,
    retry_after: Option<RetryAfter>,
    body: &[u8],
) -> Result<(), String> {
    let success = (200..300).contains(&status);
    let body = String::from_utf8_lossy(body);
    let document = Document::read(&body);
    let says_canceled = || document.as_ref().is_some_and(Document::says_canceled);
    let fine = match judgement.verdict {
        Verdict::Created => {
            let said = document.as_ref().and_then(|document| document.text("reference"));
            let believed = judgement.reference.as_ref().map(|reference| reference.as_str().to_owned());
            success && !says_canceled() && believed.as_deref().is_some_and(usable) && said == believed
        }
        Verdict::Refused if success => says_canceled(),
        Verdict::Refused => {
            (400..500).contains(&status) && ![401, 403, 408, 429].contains(&status) && document.is_some()
        }
        // Nothing came of it: never said of a success, and of a 5xx only when it asks to come back.
        Verdict::NotCreated => match status {
            503 => retry_after.is_some() && document.is_some(),
            301 | 302 | 307 | 308 => true,
            400..=499 => status != 408,
            _ => false,
        },
        Verdict::Unknown => judgement.counts(),
    };
    let one_line = judgement.detail.as_deref().is_none_or(|detail| !detail.contains(['\n', '\r', '\0']));
    if fine && one_line && judgement.http_status == Some(status) {
        return Ok(());
    }
    Err(format!("HTTP {status}, Retry-After {retry_after:?}: {judgement:?}"))
}

/// Fails if an answered cancel is taken for more of a proof than it is.
pub(crate) fn cancel(
    exchange: &Exchange,
    address: &CancelAddress,
    codes: [&str; 2],
    body: &[u8],
) -> Result<(), String> {
    let judgement = judge_cancel(exchange, address);
    let status = judgement.http_status.unwrap_or_default();
    let body = String::from_utf8_lossy(body);
    let document = Document::read(&body);
    let said = |field| document.as_ref().and_then(|document| document.text(field)).unwrap_or_default();
    let fine = match judgement.verdict {
        CancelVerdict::Canceled => {
            (200..300).contains(&status) && document.as_ref().is_some_and(Document::says_canceled)
        }
        CancelVerdict::NothingLive => {
            let words = format!("{} {}", said("message"), said("title"));
            let about_codes = codes.iter().any(|code| words.split_whitespace().any(|word| word == *code));
            let about_path = ABOUT_THE_PATH.contains(&said("message").trim());
            status == 404 && document.is_some() && !about_path && !about_codes
        }
        CancelVerdict::NotCarriedOut => [401, 429, 503].contains(&status),
        CancelVerdict::Exists => (200..300).contains(&status) && judgement.reference.is_some(),
        CancelVerdict::NothingProven | CancelVerdict::Unanswered => true,
    };
    if fine { Ok(()) } else { Err(format!("{judgement:?}")) }
}

/// A JSON object whose other fields may hold what no reader of them would take.
struct Document<'a>(HashMap<String, &'a RawValue>);

impl<'a> Document<'a> {
    fn read(body: &'a str) -> Option<Self> {
        serde_json::from_str(body).ok().map(Self)
    }

    fn text(&self, field: &str) -> Option<String> {
        serde_json::from_str(self.0.get(field)?.get()).ok()
    }

    fn says_canceled(&self) -> bool {
        let word = self.text("status").unwrap_or_default();
        ["CANCELED", "CANCELLED"].contains(&&*word.trim().to_uppercase())
    }
}

fn usable(reference: &str) -> bool {
    let characters = reference.chars().count();
    !reference.trim().is_empty() && characters <= MAX_REFERENCE && !reference.chars().any(char::is_control)
}
