//! All SQL. Reads go through a small pool, every write through the one writer and its group commit.

mod add;
mod adopt;
mod ask;
mod backup;
mod cancel;
mod command;
mod confirm;
mod doubt;
mod emission;
mod error;
mod evidence;
mod examine;
mod guard;
pub mod inspect;
mod lease;
mod mark;
mod open;
mod owner;
mod paid;
mod poll;
mod pulse;
mod queue;
mod read;
mod reconcile;
mod recovery;
mod replace;
mod resolve;
mod restore;
mod retention;
mod room;
mod sharing;
mod turn;
mod wait;
mod writer;

pub use add::{Added, Batch, NewRow, Refusal};
pub use adopt::{AdoptError, Adoptee, Adopter, Known, Rules};
pub use ask::{Asked, Asker, Candidate, Request as CommandRequest};
pub use backup::{BackupError, Copied, back_up};
pub use cancel::{AfterCancel, CancelRecord, CancelStart, DoubtNote};
pub use command::{CANCEL_SENT, Drift, Ended, Ending, OpenCommand, Wanted};
pub use confirm::{ConfirmCase, ConfirmRecord, ConfirmStart};
pub use doubt::{CancelCase, DoubtPolicy, SentTo};
pub use emission::{Claim, ClaimedRow, EmissionRecord};
pub use error::StoreError;
pub use evidence::{FlagAmount, HintedRow, SecondNotice, Seen, Sighting, Taken};
pub use examine::SchemaState;
pub use guard::{Guard, WalFile};
pub use lease::Lease;
pub use mark::MarkState;
pub use open::{Access, Binding, Opened, migrate_only, open_existing, open_for_daemon};
pub use paid::{Callable, PaidCase, PaidRecord, ReceiptKept};
pub use poll::{DueNotice, PollOutcome, PollRecord};
pub use pulse::{Look, Pulse, last_look};
pub use queue::NextDue;
pub use read::{Queue, Reads};
pub use reconcile::{
    Finding, FinishedNotice, FinishedPage, Overdue, Place, RECONCILIATION, ReconcileRecord, Reconciliation,
    Recording, Run,
};
pub use resolve::{Evidence, Settled};
pub use restore::{Accepted, RESTORED, Restore, RestorePlan};
pub use retention::{Anonymise, PersonalRow, Removal, TakeCards};
pub use room::Room;
pub use wait::{Wait, WaitMove};
/// A WAL above this part of `database.max_wal` is warned about.
pub(crate) use writer::TOLD_SHARE as WAL_TOLD_SHARE;
pub use writer::{MAX_VACUUM, Writer};

/// Rows for a statement that takes them by `json_each`.
fn json<T: serde::Serialize + ?Sized>(rows: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}
