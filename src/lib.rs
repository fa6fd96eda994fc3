//! tresorpayd: a payment-notice daemon for TresorPay. This file is the code map.

pub mod adopt; // notices that an older system emitted, taken over
pub mod app; // all wiring: opens, builds, spawns
pub mod auth; // the token actor and its handle
pub mod callback; // TresorPay's callback: a hint to ask now
pub mod cancel; // one cancel from its commit to its recorded answer
pub mod chart; // charts as SVG text
pub mod cli; // one file a command
pub mod clock; // wall-clock time as the database writes it
pub mod command; // carries out the rows of `command`
pub mod demo; // the whole job with nothing set up: simulator, daemon and an application in one process
pub mod doubt; // when a doubt may be settled
pub mod emit; // from a claimed row to its recorded answer
pub mod http; // health, metrics and the status page
pub mod lang; // English and French: how each writes amounts and dates
pub mod lifecycle; // signals, sd_notify, watchdog
mod listen; // connections to the daemon's own servers, within bounds
pub mod logging; // where log lines go
pub mod notice; // the domain, free of SQL and HTTP
pub mod observe; // the instruments: what the daemon counts of its own work
pub mod pace; // when a request may leave: rate, concurrency, pauses, breakers
pub mod paid; // what is left to do for a paid row: confirmation, receipt, the application's callback
pub mod poll; // from a notice that is due to its recorded status
pub mod probe; // asks a sandbox what the documentation leaves unknown
pub mod publish; // what holds requests back, written where `status` finds it
pub mod reconcile; // asks again about what is finished, and records what has changed there
pub mod report; // the accountant's report: bookings, figures, and how they are printed
pub mod retention; // takes personal data out of what is finished, and card numbers out of what is emitted
pub mod schedule; // cron expression -> wake-up
pub mod settings; // layers of configuration -> validated Settings
pub mod settle; // ends doubts by canceling, for emit.on_uncertain = cancel
pub mod simulator; // the built-in TresorPay, for tests, the demo and users' integration tests
pub mod statement; // the Treasury's statement against the outbox, and reading other programs' CSV
pub mod store; // all SQL: open, migrate, lease, reads, the single writer
pub mod tresorpay; // the API client, and what an answer means for the money
pub mod verdict; // fine, warning or critical, and why: for `status` and the status page
pub mod waits; // stored waits, when the wall clock was set
pub mod watch; // wakes the workers when another connection has committed
