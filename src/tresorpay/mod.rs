//! The API client: wire shapes, problem documents, and what an answer means for the money.

mod answer;
mod cancel;
mod certificate;
mod client;
mod confirm;
mod date;
mod exchange;
mod problem;
mod receipt;
mod retry_after;
mod scrub;
mod wire;

pub use answer::{Context, ErrorCode, Health, Judgement, Phase, judge_emission};
pub use cancel::{
    CancelAddress, CancelJudgement, CancelVerdict, OtherPlatform, cancel_verdict, judge_cancel,
};
pub use client::{
    HttpClientError, HttpOptions, StatusFailure, StatusReport, TresorPay, http_builder, http_client,
};
#[doc(hidden)]
pub use client::{judge_status, judge_statuses};
pub use confirm::{ConfirmJudgement, ConfirmVerdict, judge_confirm};
pub use date::{CLOCK_OFF, Offset, ServerClock, asked_to_wait, words as offset_words};
pub use exchange::{
    Answer, Body, Exchange, NoAnswer, Unsent, causes, observe_date, read_limited, send, send_and_tell,
    unreachable,
};
pub use problem::{FieldError, Problem};
pub use retry_after::{MAX_WAIT, RetryAfter};
pub use scrub::Scrubber;
