//! The domain: what a notice is, what states it goes through. Free of SQL and HTTP.

mod amount;
mod command;
mod drift;
mod payload;
mod phone;
mod reference;
mod status;

pub use amount::Amount;
pub use command::{Action, Decision, Policy, Request, Target, UnknownAction, decide};
pub use drift::{DriftCode, Drifted, Recorded, drift};
pub use payload::{InvalidNotice, Notice, NoticeItem, PaymentMode, TaxPayer};
pub use phone::wire_phone_number;
pub use reference::{InvalidReference, TresorPayReference};
pub use status::{Event, IllegalMove, RemoteStatus, Source, Status, Verdict, apply};
