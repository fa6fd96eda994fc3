//! The instruments: what the daemon counts of its own work while it works. Whoever does the work owns its instruments and
//! counts with an atomic or two, whether somebody reads them or not; `src/http/` shows them as metrics.
//!
//! Every label is one of a few words that are known when this is compiled. No reference, no person, no text of TresorPay.

mod commits; // the writer's transactions
mod requests; // requests to TresorPay
mod tally; // a counter for each word of a list

pub use commits::Commits;
pub use requests::{Operation, Requests};
pub use tally::{Label, Tally};
