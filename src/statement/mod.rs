//! The Treasury's statement against the outbox: reads what other programs write as CSV, however they write it, says what it
//! understood, and names every line and every payment that the other side does not have in the same way.
//!
//! Data walks one way: `text` (bytes → UTF-8) → `records` (→ fields) → `layout` (→ columns) → `lines` (→ reference, amount,
//! date) → `compare` (with the outbox) → `render`. It knows no SQL: who compares brings what the outbox knows.

pub mod amount; // as people write it -> whole XOF
pub mod compare; // lines and rows, and what differs
pub mod date; // as people write it -> the day
pub mod layout; // separator, header, columns
pub mod lines; // what a statement's lines say
pub mod records; // bounded reading of CSV
pub mod render; // CSV and HTML, in French and English
pub mod text; // encodings

pub use amount::{AmountError, MAX_AMOUNT, parse_amount};
pub use compare::{Comparison, Finding, Kind, Payment, Period, Result};
pub use date::{DateForm, parse_date};
pub use layout::{Given, Layout, LayoutError, Wanted};
pub use lines::{Lines, ReadLine, StatementError, Trouble, Understood, open};
pub use records::{Record, RecordError, Records};
pub use render::Report;
pub use text::{Encoding, TextError, TextFile};
