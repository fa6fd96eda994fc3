//! The commands that look at the outbox and add to it: the real binary on real SQLite files, a real daemon and the
//! simulator where statuses are needed.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "cli/accept_restore.rs"]
mod accept_restore;
#[path = "cli/add.rs"]
mod add;
#[path = "cli/ask.rs"]
mod ask;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/check.rs"]
mod check;
#[path = "cli/check_machine.rs"]
mod check_machine;
#[path = "cli/check_network.rs"]
mod check_network;
#[path = "cli/list.rs"]
mod list;
#[path = "cli/man.rs"]
mod man;
#[path = "cli/migrate.rs"]
mod migrate;
#[path = "cli/nagios.rs"]
mod nagios;
#[path = "cli/probe.rs"]
mod probe;
#[path = "cli/probe_trouble.rs"]
mod probe_trouble;
#[path = "cli/report.rs"]
mod report;
#[path = "cli/show.rs"]
mod show;
#[path = "cli/sorted.rs"]
mod sorted;
#[path = "cli/statement.rs"]
mod statement;
#[path = "cli/status.rs"]
mod status;
#[path = "cli/terminal.rs"]
mod terminal;
