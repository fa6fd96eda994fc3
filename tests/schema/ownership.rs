//! Who may write what: every column is the application's or the daemon's, and the daemon's own keep their rules too.

use std::process::Command;

use crate::fixtures::Database;
use crate::rows::insert;
use crate::steps::{APPLICATION_COLUMNS, DAEMON_COLUMNS, DAEMON_ONLY};

#[test]
fn every_column_of_outbox_has_one_owner() {
    let mut database = Database::with_fixtures();
    let mut listed: Vec<_> = APPLICATION_COLUMNS.iter().chain(DAEMON_COLUMNS).copied().collect();
    listed.push("id");
    listed.sort_unstable();
    assert_eq!(database.done("SELECT name FROM pragma_table_info('outbox') ORDER BY name"), listed);
    let mut application = database.application(&[]);
    for column in APPLICATION_COLUMNS {
        application.execute(&format!("UPDATE outbox SET {column} = {column}")).unwrap();
    }
}

#[test]
fn the_shell_is_told_to_use_the_command_table() {
    let database = Database::with_fixtures();
    let sql = "UPDATE outbox SET status = 'PAID' WHERE reference = 'emitted'";
    // Where there is no such shell: steps.rs says the same of any connection.
    let Ok(output) = Command::new("sqlite3").arg(database.path()).arg(sql).output() else { return };
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains(DAEMON_ONLY), "{output:?}");
}

#[test]
fn an_attached_outbox_keeps_its_rules() {
    let database = Database::with_fixtures();
    let other = Database::new();
    let mut application = other.application(&[]);
    application.execute(&format!("ATTACH '{}' AS billing", database.path().display())).unwrap();
    let columns = "INSERT INTO billing.outbox (reference, net_total, tax_payer, items) VALUES";
    application
        .execute(&format!("{columns} ('a', 1, '{{\"name\":\"A\"}}', '[{{\"quantity\":1,\"unitPrice\":1}}]')"))
        .unwrap();
    assert_eq!(
        application.execute(&format!("{columns} ('b', 1, '{{\"name\":\"A\"}}', '[]')")),
        Err("outbox: items must be a JSON array of 1 to 1000 items".to_owned())
    );
    assert_eq!(application.execute("UPDATE billing.outbox SET attempts = 0"), Err(DAEMON_ONLY.to_owned()));
    assert_eq!(application.execute("SELECT count(*) FROM main.outbox").unwrap(), ["0"]);
}

#[test]
fn attempts_are_inserted_open_and_completed_once() {
    let mut database = Database::with_fixtures();
    let id = |reference: &str| format!("(SELECT id FROM outbox WHERE reference = '{reference}')");
    let attempt = |reference: &str, operation: &str| {
        format!(
            "INSERT OR REPLACE INTO attempt (outbox_id, operation, base_url, started_at) VALUES ({}, '{operation}', 'u', 't')",
            id(reference)
        )
    };
    database.refused(
        &attempt("emitting", "emit"),
        "attempt: one of this operation is under way for the row already",
    );
    for reference in ["never", "emitted", "uncertain", "no such row"] {
        let message =
            "attempt: an emission is for a row in EMITTING; insert it after the UPDATE that makes it so";
        database.refused(&attempt(reference, "emit"), message);
    }
    database.refused(&attempt("no such row", "cancel"), "attempt: outbox_id must be the id of an outbox row");
    database.done(&attempt("uncertain", "cancel"));
    database.done(&attempt("paid", "confirm"));
    for (columns, values) in [
        ("phase", "'unsent'"),
        ("phase, outcome", "'answered', 'ok'"),
        ("outcome", "'ok'"),
        ("http_status", "200"),
    ] {
        let sql = format!(
            "INSERT INTO attempt (outbox_id, operation, base_url, started_at, {columns}) VALUES (1, 'cancel', 'u', 't', {values})"
        );
        database.refused(&sql, "attempt: must be inserted open, before the request leaves");
    }
    database.refused(
        "INSERT INTO attempt (id, outbox_id, operation, base_url, started_at) VALUES (1, 1, 'cancel', 'u', 't')",
        "attempt: id is given by the database; leave it out",
    );

    // Open: any of the completing columns; complete: none, but detail may be taken out.
    let open = format!("WHERE outbox_id = {}", id("emitting"));
    database.done(&format!("UPDATE attempt SET phase = 'answered', http_status = 201 {open}"));
    database.done(&format!("UPDATE attempt SET outcome = 'ok', duration_ms = 5, tresorpay_reference = 'TP1', detail = 'said' {open}"));
    for change in [
        "outcome = 'refused'",
        "outcome = NULL",
        "phase = 'unsent'",
        "duration_ms = 6",
        "http_status = NULL",
        "tresorpay_reference = NULL",
        "detail = 'else'",
        "detail = NULL, outcome = 'x'",
    ] {
        database.refused(&format!("UPDATE attempt SET {change} {open}"), "attempt: is completed once");
    }
    database.done(&format!("UPDATE attempt SET detail = NULL {open}"));
    for change in [
        "outcome = 'refused'",
        "phase = 'unsent'",
        "duration_ms = 6",
        "http_status = NULL",
        "tresorpay_reference = NULL",
    ] {
        database.refused(&format!("UPDATE attempt SET {change} {open}"), "attempt: is completed once");
    }
    database.refused(
        &format!("UPDATE attempt SET base_url = base_url {open}"),
        "attempt: what was sent never changes",
    );
    database.refused("DELETE FROM attempt", "attempt: no DELETE");
    database.done(&attempt("emitting", "emit"));
}

#[test]
fn commands_are_completed_once() {
    let mut database = Database::with_fixtures();
    database.done(
        "INSERT INTO command (reference, action, argument) VALUES ('uncertain', 'resolve-emitted', 'TP1')",
    );
    let own = "WHERE reference = 'uncertain'";
    database.done(&format!("UPDATE command SET detail = 'waits for settle_after' {own}"));
    for change in [
        "argument = NULL",
        "argument = 'TP2'",
        "reference = 'emitted'",
        "action = 'poll'",
        "requested_by = 'x'",
        "reason = 'x'",
        "requested_at = 'x'",
        "id = 7",
        "rowid = 7",
    ] {
        database
            .refused(&format!("UPDATE command SET {change} {own}"), "command: what was asked never changes");
    }
    database.refused(
        &format!("UPDATE command SET outcome = 'done' {own}"),
        "CHECK constraint failed: (done_at IS NULL) = (outcome IS NULL)",
    );
    database.done(&format!("UPDATE command SET done_at = 't', outcome = 'refused', detail = 'why' {own}"));
    for change in ["outcome = 'done'", "done_at = NULL, outcome = NULL", "done_at = 'u'", "detail = 'else'"] {
        database.refused(&format!("UPDATE command SET {change} {own}"), "command: is completed once");
    }
    database.refused(
        &format!("UPDATE command SET argument = 'TP2' {own}"),
        "command: what was asked never changes",
    );
    database.done(&format!("UPDATE command SET argument = NULL, detail = NULL {own}"));
    database.refused("DELETE FROM command", "command: no DELETE");
}

#[test]
fn what_the_file_is_for_never_changes() {
    let mut database = Database::with_fixtures();
    assert_eq!(
        database.done("SELECT key || '=' || value FROM meta WHERE key LIKE '%version' ORDER BY key"),
        ["contract_version=1", "schema_version=1"]
    );
    let message = "meta: environment, api_origin and database_id never change";
    for key in ["environment", "api_origin", "database_id"] {
        for sql in [
            format!("INSERT OR REPLACE INTO meta (key, value) VALUES ('{key}', 'other')"),
            format!(
                "INSERT INTO meta (key, value) VALUES ('{key}', 'other') ON CONFLICT(key) DO UPDATE SET value = excluded.value"
            ),
            format!("UPDATE meta SET value = 'other' WHERE key = '{key}'"),
            format!("UPDATE meta SET key = 'other' WHERE key = '{key}'"),
            format!("UPDATE OR REPLACE meta SET key = '{key}' WHERE key = 'paused'"),
            format!("DELETE FROM meta WHERE key = '{key}'"),
        ] {
            database.refused(&sql, message);
        }
        // At every start the daemon may say again what stands there.
        database.done(&format!("INSERT INTO meta (key, value) SELECT '{key}', value FROM meta WHERE key = '{key}' ON CONFLICT(key) DO NOTHING"));
    }
    database.done("INSERT INTO meta (key, value) VALUES ('paused', '1') ON CONFLICT(key) DO UPDATE SET value = excluded.value");
    database.done("UPDATE meta SET value = '2' WHERE key = 'schema_version'");
    database.done("DELETE FROM meta WHERE key = 'paused'");
}

/// The last line, should a trigger ever be missing.
#[test]
fn checks_stand_behind_the_triggers() {
    let mut database = Database::with_fixtures();
    for trigger in [
        "outbox_insert",
        "outbox_insert_null",
        "command_insert",
        "attempt_insert_daemon_only",
        "transition_insert",
    ] {
        database.done(&format!("DROP TRIGGER {trigger}"));
    }
    for (column, value) in [
        ("reference", "''"),
        ("reference", "x'41'"),
        ("net_total", "0"),
        ("net_total", "9007199254740992"),
        ("priority", "10"),
        ("tax_payer", "x'41'"),
        ("items", "x'41'"),
        ("status", "'LOST'"),
        ("status", "'EMITTED'"),
        ("status_source", "'somebody'"),
        ("attempts", "-1"),
    ] {
        let message = database.execute(&insert("INSERT", "unchecked", &[(column, value)], "")).unwrap_err();
        assert!(message.starts_with("CHECK constraint failed"), "{column} = {value}: {message}");
    }
    for statement in [
        "INSERT INTO command (reference, action) VALUES ('a', 'pay')",
        "INSERT INTO command (reference, action, done_at) VALUES ('a', 'poll', 't')",
        "INSERT INTO command (reference, action, done_at, outcome) VALUES ('a', 'poll', 't', 'maybe')",
        "INSERT INTO attempt (outbox_id, operation, base_url, started_at) VALUES (1, 'pay', 'u', 't')",
        "INSERT INTO attempt (outbox_id, operation, base_url, started_at, phase) VALUES (1, 'emit', 'u', 't', 'gone')",
        "INSERT INTO attempt (id, outbox_id, operation, base_url, started_at) VALUES (-1, 1, 'emit', 'u', 't')",
        "INSERT INTO transition (outbox_id, at, to_status, source) VALUES (1, 't', 'PENDING', 'nobody')",
        "INSERT INTO transition (id, outbox_id, at, to_status, source) VALUES (-1, 1, 't', 'PENDING', 'poll')",
    ] {
        let message = database.execute(statement).unwrap_err();
        assert!(message.starts_with("CHECK constraint failed"), "{statement}: {message}");
    }
}
