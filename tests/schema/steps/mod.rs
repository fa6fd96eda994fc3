//! What an application may do with a database, and what it may not, statement by statement. The same steps are run with
//! the daemon's SQLite and with SQLite 3.26 (`tests/sqlite326`), so they depend on nothing but a way to execute SQL.
//!
//! They need the rows of `fixtures.rs`, each named for how it came to its status.

mod commands;
mod corrections;
mod guards;
mod inserts;

/// Executes one statement; answers the first column of each row as text, or SQLite's message.
pub(crate) type Execute<'a> = &'a mut dyn FnMut(&str) -> Result<Vec<String>, String>;

/// The outbox columns that an application writes.
pub(crate) const APPLICATION_COLUMNS: &[&str] = &[
    "reference",
    "code_client",
    "code_structure",
    "net_total",
    "priority",
    "replaces",
    "not_before",
    "created_at",
    "tax_payer",
    "items",
    "authorized_payment_modes",
    "callback",
    "redirect_url",
];

/// The outbox columns that only the daemon writes.
pub(crate) const DAEMON_COLUMNS: &[&str] = &[
    "status",
    "status_source",
    "status_reason",
    "updated_at",
    "attempts",
    "next_attempt_at",
    "not_before_passed",
    "tresorpay_reference",
    "payment_url",
    "provider",
    "pay_date",
    "emitted_at",
    "paid_at",
    "canceled_at",
    "delivery_confirmed_at",
    "callback_called_at",
    "receipt_path",
    "anonymised_at",
    "last_error",
];

/// What anybody but the daemon is told who writes what is the daemon's.
pub(crate) const DAEMON_ONLY: &str = "no such collation sequence: use_the_command_table";

fn done(execute: Execute, sql: &str) {
    if let Err(message) = execute(sql) {
        unreachable!("must succeed, but: {message}\n{sql}");
    }
}

fn refused(execute: Execute, sql: &str, message: &str) {
    assert_eq!(execute(sql), Err(message.to_owned()), "{sql}");
}

fn reads(execute: Execute, sql: &str, expected: &[&str]) {
    assert_eq!(
        execute(sql).as_deref(),
        Ok(expected.iter().map(ToString::to_string).collect::<Vec<_>>()).as_deref(),
        "{sql}"
    );
}

/// The row of `reference`, all of it.
fn whole_row(execute: Execute, reference: &str) -> Vec<String> {
    let columns: Vec<_> =
        APPLICATION_COLUMNS.iter().chain(DAEMON_COLUMNS).map(|column| format!("quote({column})")).collect();
    execute(&format!("SELECT id || {} FROM outbox WHERE reference = '{reference}'", columns.join(" || ")))
        .unwrap()
}

/// Runs everything, in an order in which one part does not disturb the next.
pub(crate) fn all(execute: Execute) {
    inserts::rows_are_accepted_unchanged(execute);
    inserts::rows_are_refused_under_every_conflict_clause(execute);
    inserts::inserts_are_idempotent(execute);
    inserts::nothing_is_overwritten(execute);
    guards::the_daemons_own_is_out_of_reach(execute);
    guards::history_cannot_be_changed_or_forged(execute);
    commands::commands_are_checked(execute);
    corrections::unsent_rows_are_corrected(execute);
    corrections::sent_rows_are_not_corrected(execute);
    corrections::a_known_reference_stays(execute);
    corrections::only_unsent_rows_are_deleted(execute);
    guards::the_file_is_shared_with_other_tables(execute);
}
