//! The real program from end to end: `tresorpayd run` as a process of its own, a database file, the simulator as the HTTP
//! peer, an application's connection, real signals. Each test has its own of everything, and ends with an audit that
//! compares the database with the other side's ledger.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, missing_docs)]

#[path = "daemon/absurd.rs"]
mod absurd; // absurd answers to every kind of request
#[path = "daemon/adopt.rs"]
mod adopt; // notices that an older system emitted
#[path = "daemon/application.rs"]
mod application; // what an application may do while the daemon works
#[path = "daemon/audit.rs"]
mod audit; // the promise, checked against the ledger
#[path = "daemon/backup.rs"]
mod backup; // copies while everything runs, and their restore
#[path = "daemon/breaker.rs"]
mod breaker; // an outage costs a handful of doubts, no more
#[path = "daemon/browser.rs"]
mod browser; // the status page in a real browser
#[path = "daemon/callback.rs"]
mod callback; // TresorPay's callback is a hint, and no more
#[path = "daemon/calls.rs"]
mod calls; // the application's own callback
#[path = "daemon/clock.rs"]
mod clock; // a wall clock that is wrong, or set
#[path = "daemon/commands.rs"]
mod commands; // what is asked by rows of `command`
#[path = "daemon/commands_cancel.rs"]
mod commands_cancel; // what is canceled at TresorPay, and corrections
#[path = "daemon/commands_table.rs"]
mod commands_table; // every action for every status
#[path = "daemon/crash.rs"]
mod crash; // kill -9 and a locked database
#[path = "daemon/death.rs"]
mod death; // a task that dies, an idle daemon
#[path = "daemon/evidence.rs"]
mod evidence; // callbacks that end a doubt
#[path = "daemon/faults.rs"]
mod faults; // what each answer to an emission comes to
#[path = "daemon/harness.rs"]
mod harness; // the world of one test
#[path = "daemon/hostile.rs"]
mod hostile; // a full disk, a machine that sleeps, absurd answers
#[path = "daemon/http.rs"]
mod http; // health, readiness, metrics and the status page
#[path = "daemon/idle.rs"]
mod idle; // connections that the server closes while idle
#[path = "daemon/journal.rs"]
mod journal; // the log in the journal
#[path = "daemon/journey.rs"]
mod journey; // from PENDING to PAID
#[path = "daemon/limits.rs"]
mod limits; // how many requests, and who goes without
#[path = "daemon/order.rs"]
mod order; // what goes first, what waits
#[path = "daemon/outage.rs"]
mod outage; // minutes without TresorPay, its names, its tokens
#[path = "daemon/peer.rs"]
mod peer; // a platform stranger than the simulator
#[path = "daemon/polling.rs"]
mod polling; // what the status requests are and do
#[path = "daemon/privacy.rs"]
mod privacy; // nothing secret or personal leaves the database's own columns
#[path = "daemon/raw.rs"]
mod raw; // a platform written byte by byte
#[path = "daemon/receipts.rs"]
mod receipts; // PDF receipts
#[path = "daemon/reconcile.rs"]
mod reconcile; // what changes behind our back is found
#[path = "daemon/reconcile_many.rs"]
mod reconcile_many; // its share of the rate, kills, a hundred thousand rows
#[path = "daemon/restore.rs"]
mod restore; // old copies put back while no daemon runs, and what is no restore
#[path = "daemon/restore_running.rs"]
mod restore_running; // the file replaced, overwritten or damaged under a running daemon
#[path = "daemon/restore_unusable.rs"]
mod restore_unusable; // files that no daemon can use: refused and untouched
#[path = "daemon/retention.rs"]
mod retention; // personal data leaves what is finished
#[path = "daemon/rows.rs"]
mod rows; // outbox rows as an application writes and reads them
#[path = "daemon/settle.rs"]
mod settle; // doubts that a cancel ends, or does not
#[path = "daemon/settle_answers.rs"]
mod settle_answers; // what each answer to a cancel comes to
#[path = "daemon/settle_resend.rs"]
mod settle_resend; // doubts that the same reference ends, sent again
#[path = "daemon/sharing.rs"]
mod sharing; // what a stop leaves for those who share the database
#[path = "daemon/start.rs"]
mod start; // which databases and settings are refused
#[path = "daemon/stop.rs"]
mod stop; // SIGTERM and SIGINT
#[path = "daemon/stress/mod.rs"]
mod stress; // a database that cannot be written, or only in part
#[path = "daemon/tls.rs"]
mod tls; // certificates that must not be believed
#[path = "daemon/token.rs"]
mod token; // one token for all, and what its absence costs
