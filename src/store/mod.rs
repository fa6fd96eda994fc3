//! All SQL. Reads go through a small pool, every write through the one writer and its group commit.

mod add;
mod emission;
mod error;
mod examine;
mod guard;
pub mod inspect;
mod lease;
mod mark;
mod open;
mod poll;
mod queue;
mod read;
mod recovery;
mod restore;
mod sharing;
mod turn;
mod writer;

pub use add::{Added, Batch, NewRow, Refusal};
pub use emission::{Claim, ClaimedRow, EmissionRecord};
pub use error::StoreError;
pub use examine::SchemaState;
pub use guard::{Guard, WalFile};
pub use lease::Lease;
pub use mark::MarkState;
pub use open::{Access, Binding, Opened, migrate_only, open_existing, open_for_daemon};
pub use poll::{DueNotice, PollOutcome, PollRecord};
pub use queue::NextDue;
pub use read::{Queue, Reads};
pub use restore::{Accepted, RESTORED, Restore, RestorePlan};
pub use writer::Writer;

/// Rows for a statement that takes them by `json_each`.
fn json<T: serde::Serialize + ?Sized>(rows: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}
