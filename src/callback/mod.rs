//! TresorPay's callback: a hint that a notice's status is worth a request now, and nothing more.
//!
//! The server takes a GET, looks at the token in its path and answers 204, whatever came. A hint with a genuine token is
//! put on a short queue; the desk has TresorPay asked about the notice that it names, and what TresorPay answers is
//! recorded. A lost hint costs a poll interval.

mod desk; // what a hint comes to
mod server; // from a connection to a hint
mod token; // the token in a row's URL
mod worker; // when which hints are looked at

pub use desk::{Desk, DeskOptions};
pub use server::{bind, serve};
pub use token::{Bearer, CallbackAddress, CallbackTokens, new_key};
pub use worker::work;

use crate::notice::TresorPayReference;

/// Hints that wait to be looked at; more are dropped, and polling finds what they were about.
pub const QUEUE: usize = 512;

/// What a callback with a genuine token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Whose token it carries.
    pub bearer: Bearer,
    /// The notice that it names.
    pub notice: Option<TresorPayReference>,
    /// The amount that it names, in XOF.
    pub amount: Option<i64>,
    /// How often it was looked at in vain.
    pub tries: u32,
}
