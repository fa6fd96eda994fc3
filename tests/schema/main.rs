//! The database schema as a public interface: every rule of `migrations/0001_outbox.sql`, from the outside.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod application; // an application's SQL, under every setting
mod fixtures; // databases, connections, rows in every status
mod moves; // status: 49 moves, their transitions
mod ownership; // who may write which column and table
mod plans; // the queues and their indexes
mod refused; // rows that are refused, and the message; shared with tests/sqlite326
mod retention; // personal data and card numbers leave
mod rows; // rows that are accepted; shared with tests/sqlite326
mod sqlite326; // the same through SQLite 3.26, by tests/sqlite326/run
mod steps; // an application's statements; shared with tests/sqlite326
mod text; // the UTF-8 check
mod throughput; // what triggers and indexes cost the daemon
