//! All SQL. Reads go through a small pool, every write through the one writer and its group commit.

mod add;
mod emission;
mod error;
pub mod inspect;
mod lease;
mod mark;
mod open;
mod poll;
mod read;
mod recovery;
mod writer;

pub use add::{Added, Batch, NewRow, Refusal};
pub use emission::{Claim, ClaimedRow, EmissionRecord, NextDue};
pub use error::StoreError;
pub use lease::Lease;
pub use open::{Access, Binding, Opened, migrate_only, open_existing, open_for_daemon};
pub use poll::{DueNotice, PollOutcome, PollRecord};
pub use read::{Queue, Reads};
pub use writer::Writer;
