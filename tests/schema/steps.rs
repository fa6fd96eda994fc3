//! What an application may do with a database, and what it may not, statement by statement. The same steps are run with
//! the daemon's SQLite and with SQLite 3.26 (`tests/sqlite326`), so they depend on nothing but a way to execute SQL.
//!
//! They need the rows of `fixtures.rs`, each named for how it came to its status.

use crate::rows::{ACCEPTED, GOOD, REFUSED, insert};

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

const OVERWRITTEN: &str = "outbox: reference is already there, and no row is ever overwritten";
const NOT_CORRECTED: &str =
    "outbox: a row may not be corrected once an emission was neither unsent nor refused";
const NOT_NOW: &str = "outbox: a row may be corrected in PENDING and REJECTED only";
const NOT_DELETED: &str = "outbox: a row that was sent is never deleted; INSERT a cancel into command";

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
    rows_are_accepted_unchanged(execute);
    rows_are_refused_under_every_conflict_clause(execute);
    inserts_are_idempotent(execute);
    nothing_is_overwritten(execute);
    the_daemons_own_is_out_of_reach(execute);
    history_cannot_be_changed_or_forged(execute);
    commands_are_checked(execute);
    corrections_keep_their_limits(execute);
    only_unsent_rows_are_deleted(execute);
    the_file_is_shared_with_other_tables(execute);
}

fn rows_are_accepted_unchanged(execute: Execute) {
    for (number, row) in ACCEPTED.iter().enumerate() {
        for verb in ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"] {
            // Under OR IGNORE SQLite would drop an explicit NULL in silence, so that one is refused instead.
            if verb == "INSERT OR IGNORE" && row.contains(&("status", "NULL")) {
                let message =
                    "outbox: status and attempts must be left out, not NULL, under INSERT OR IGNORE";
                refused(execute, &insert(verb, "null status", row, ""), message);
                continue;
            }
            done(execute, &insert(verb, &format!("accepted {number}"), row, ""));
            let tests: Vec<_> = GOOD
                .iter()
                .filter(|(column, _)| !row.iter().any(|(known, _)| known == column))
                .chain(*row)
                .filter(|(column, value)| *value != "NULL" && *column != "id")
                .map(|(column, value)| format!("{column} IS {value}"))
                .collect();
            let last = "id = (SELECT max(id) FROM outbox) AND status = 'PENDING' AND attempts = 0";
            reads(execute, &format!("SELECT {} FROM outbox WHERE {last}", tests.join(" AND ")), &["1"]);
            let transition = "from_status IS NULL AND to_status = 'PENDING' AND source = 'application'";
            reads(
                execute,
                &format!(
                    "SELECT count(*) FROM transition WHERE outbox_id = (SELECT max(id) FROM outbox) AND {transition}"
                ),
                &["1"],
            );
            done(execute, "DELETE FROM outbox WHERE id = (SELECT max(id) FROM outbox)");
        }
    }
}

fn rows_are_refused_under_every_conflict_clause(execute: Execute) {
    let before = execute("SELECT count(*) || ' ' || max(id) FROM outbox").unwrap();
    for (message, row) in REFUSED {
        for verb in ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"] {
            refused(execute, &insert(verb, "bad row", row, ""), message);
        }
        refused(execute, &insert("INSERT", "bad row", row, "ON CONFLICT(reference) DO NOTHING"), message);
    }
    assert_eq!(execute("SELECT count(*) || ' ' || max(id) FROM outbox").unwrap(), before);
}

fn inserts_are_idempotent(execute: Execute) {
    let amount: crate::rows::Row =
        &[("net_total", "500"), ("items", r#"'[{"quantity":1,"unitPrice":500}]'"#)];
    let bad: crate::rows::Row = &[("net_total", "1")];
    let same_id: crate::rows::Row = &[("id", "1")];
    let far_id: crate::rows::Row = &[("id", "9223372036854775807")];
    for reference in ["never", "emitted"] {
        let before = whole_row(execute, reference);
        let history = execute("SELECT count(*) FROM transition").unwrap();
        for (verb, tail) in [
            ("INSERT", "ON CONFLICT(reference) DO NOTHING"),
            ("INSERT", "ON CONFLICT DO NOTHING"),
            ("INSERT OR IGNORE", ""),
        ] {
            done(execute, &insert(verb, reference, &[], tail));
            done(execute, &insert(verb, reference, amount, tail));
            done(execute, &insert(verb, reference, if reference == "never" { same_id } else { &[] }, tail));
            refused(
                execute,
                &insert(verb, reference, bad, tail),
                "outbox: net_total must equal the sum of quantity * unitPrice over items",
            );
            refused(
                execute,
                &insert(verb, reference, far_id, tail),
                "outbox: id is given by the database; leave it out",
            );
        }
        refused(execute, &insert("INSERT", reference, &[], ""), "UNIQUE constraint failed: outbox.reference");
        assert_eq!(whole_row(execute, reference), before);
        assert_eq!(execute("SELECT count(*) FROM transition").unwrap(), history);
    }
    // Nothing of this used up the ids.
    reads(execute, "SELECT seq < 1000 FROM sqlite_sequence WHERE name = 'outbox'", &["1"]);
}

fn nothing_is_overwritten(execute: Execute) {
    let amount: crate::rows::Row =
        &[("net_total", "500"), ("items", r#"'[{"quantity":1,"unitPrice":500}]'"#)];
    let with_id: crate::rows::Row = &[("id", "1")];
    let null_status: crate::rows::Row = &[("status", "NULL"), ("attempts", "NULL")];
    let before = execute("SELECT id || reference || status FROM outbox ORDER BY id").unwrap();
    for reference in ["never", "emitted", "paid"] {
        for row in [&[], amount, with_id, null_status] {
            refused(execute, &insert("INSERT OR REPLACE", reference, row, ""), OVERWRITTEN);
            refused(execute, &insert("REPLACE", reference, row, ""), OVERWRITTEN);
            // A clause that asks for a failure gets one, whichever constraint it names.
            for verb in ["INSERT OR ABORT", "INSERT OR FAIL", "INSERT OR ROLLBACK"] {
                assert!(
                    execute(&insert(verb, reference, row, ""))
                        .is_err_and(|message| message.contains("constraint failed"))
                );
            }
        }
    }
    refused(
        execute,
        &insert("INSERT OR REPLACE", "another reference", with_id, ""),
        "outbox: id is given by the database; leave it out",
    );
    for verb in ["UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE"] {
        refused(
            execute,
            &format!("{verb} outbox SET reference = 'emitted' WHERE reference = 'never'"),
            OVERWRITTEN,
        );
        for id in ["id", "rowid", "oid", "_rowid_", "\"ID\""] {
            refused(
                execute,
                &format!(
                    "{verb} outbox SET {id} = (SELECT id FROM outbox WHERE reference = 'paid') WHERE reference = 'never'"
                ),
                "outbox: id never changes",
            );
        }
    }
    refused(
        execute,
        "INSERT OR REPLACE INTO command (id, reference, action) VALUES (1, 'never', 'poll')",
        "command: id is given by the database; leave it out",
    );
    refused(
        execute,
        "INSERT OR IGNORE INTO command (id, reference, action) VALUES (-1, 'never', 'poll')",
        "command: id is given by the database; leave it out",
    );
    assert_eq!(execute("SELECT id || reference || status FROM outbox ORDER BY id").unwrap(), before);
    // The probe that tells OR REPLACE apart is as it was.
    reads(execute, "SELECT reference || ' ' || replaced FROM outbox_reference_probe", &["1 0"]);
    assert!(execute("UPDATE outbox_reference_probe SET replaced = 1").is_err());
    assert!(execute("DELETE FROM outbox_reference_probe").is_err());
}

fn the_daemons_own_is_out_of_reach(execute: Execute) {
    for column in DAEMON_COLUMNS {
        refused(execute, &format!("UPDATE outbox SET {column} = {column}"), DAEMON_ONLY);
        refused(
            execute,
            &format!("UPDATE OR IGNORE outbox SET priority = 1, {column} = NULL WHERE 0"),
            DAEMON_ONLY,
        );
        let upsert = format!("ON CONFLICT(reference) DO UPDATE SET {column} = NULL");
        refused(execute, &insert("INSERT", "never", &[], &upsert), DAEMON_ONLY);
    }
    for statement in [
        "UPDATE outbox SET status = 'PAID' WHERE reference = 'emitted'",
        "INSERT INTO attempt (outbox_id, operation, base_url, started_at) VALUES (1, 'emit', '', '')",
        "UPDATE attempt SET outcome = 'ok'",
        "UPDATE attempt SET detail = NULL",
        "UPDATE command SET done_at = '2026-11-24T09:48:00.000Z', outcome = 'done'",
        "UPDATE command SET argument = NULL",
        "INSERT INTO meta (key, value) VALUES ('environment', 'production')",
        "INSERT OR REPLACE INTO meta (key, value) VALUES ('environment', 'production')",
        "UPDATE meta SET value = 'production' WHERE key = 'environment'",
        "DELETE FROM meta",
    ] {
        refused(execute, statement, DAEMON_ONLY);
    }
}

fn history_cannot_be_changed_or_forged(execute: Execute) {
    let before = execute("SELECT id || quote(outbox_id) || quote(from_status) || to_status || source FROM transition ORDER BY id").unwrap();
    for verb in ["UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE"] {
        for column in ["id", "rowid", "outbox_id", "at", "from_status", "to_status", "source", "reason"] {
            refused(
                execute,
                &format!("{verb} transition SET {column} = 1"),
                "transition: append-only, no UPDATE",
            );
        }
        for column in [
            "id",
            "rowid",
            "outbox_id",
            "operation",
            "code_client",
            "code_structure",
            "base_url",
            "started_at",
        ] {
            refused(
                execute,
                &format!("{verb} attempt SET {column} = 1"),
                "attempt: what was sent never changes",
            );
        }
    }
    refused(execute, "DELETE FROM transition", "transition: append-only, no DELETE");
    refused(execute, "DELETE FROM attempt", "attempt: no DELETE");
    refused(execute, "DELETE FROM command", "command: no DELETE");

    let present = "transition: to_status must be the present status of the outbox row";
    let chain = "transition: from_status must be the to_status of the row's last transition";
    let note = "transition: source must be application where from_status equals to_status";
    for verb in ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"] {
        for (values, message) in [
            ("(SELECT id FROM outbox WHERE reference = 'emitted'), 'EMITTED', 'PAID', 'poll'", present),
            ("(SELECT id FROM outbox WHERE reference = 'emitted'), 'EMITTING', 'EMITTED', 'emit'", chain),
            ("(SELECT id FROM outbox WHERE reference = 'emitted'), NULL, 'EMITTED', 'application'", chain),
            ("(SELECT id FROM outbox WHERE reference = 'emitted'), 'EMITTED', 'EMITTED', 'poll'", note),
            ("1000000, NULL, 'PENDING', 'application'", present),
        ] {
            refused(
                execute,
                &format!(
                    "{verb} INTO transition (outbox_id, from_status, to_status, source, at) VALUES ({values}, '2026-11-24T09:48:00.000Z')"
                ),
                message,
            );
        }
        refused(
            execute,
            &format!(
                "{verb} INTO transition (id, outbox_id, from_status, to_status, source, at) SELECT 1, id, status, status, 'application', '' FROM outbox WHERE reference = 'emitted'"
            ),
            "transition: id is given by the database; leave it out",
        );
    }
    assert_eq!(execute("SELECT id || quote(outbox_id) || quote(from_status) || to_status || source FROM transition ORDER BY id").unwrap(), before);
}

fn commands_are_checked(execute: Execute) {
    const ACTION: &str = "command: action must be cancel, retry, poll, confirm-delivery, fetch-receipt, resolve-emitted, resolve-not-emitted, pause or resume";
    const REFERENCE: &str = "command: reference must be the reference of an outbox row";
    const ARGUMENT: &str =
        "command: argument must be the TresorPay reference for resolve-emitted, text of 1 to 128 characters";
    const NO_ARGUMENT: &str = "command: argument must be NULL, save for resolve-emitted";
    const REQUESTED_AT: &str = "command: requested_at must be a UTC time that exists, written 2026-11-24T09:48:00.000Z; left out, it is now";
    for action in ["cancel", "retry", "poll", "confirm-delivery", "fetch-receipt", "resolve-not-emitted"] {
        done(
            execute,
            &format!(
                "INSERT INTO command (reference, action, requested_by) VALUES ('emitted', '{action}', 'Awa')"
            ),
        );
        refused(
            execute,
            &format!("INSERT OR IGNORE INTO command (reference, action) VALUES (NULL, '{action}')"),
            REFERENCE,
        );
        refused(
            execute,
            &format!(
                "INSERT INTO command (reference, action, argument) VALUES ('emitted', '{action}', 'TP1')"
            ),
            NO_ARGUMENT,
        );
    }
    for action in ["pause", "resume"] {
        done(execute, &format!("INSERT INTO command (action) VALUES ('{action}')"));
        refused(
            execute,
            &format!("INSERT OR IGNORE INTO command (reference, action) VALUES ('emitted', '{action}')"),
            "command: reference must be NULL for pause and resume",
        );
    }
    done(
        execute,
        "INSERT INTO command (reference, action, argument) VALUES ('not there', 'resolve-emitted', 'TP20241231.1048.AR3')",
    );
    for verb in ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"] {
        for (columns, values, message) in [
            ("reference, action", "'emitted', 'pay'", ACTION),
            ("reference, action", "'emitted', NULL", ACTION),
            ("reference, action", "'emitted', 'Cancel'", ACTION),
            ("reference, action", "'', 'cancel'", REFERENCE),
            ("reference, action", "x'41', 'cancel'", REFERENCE),
            ("reference, action", "'emitted', 'resolve-emitted'", ARGUMENT),
            ("reference, action, argument", "'emitted', 'resolve-emitted', ' '", ARGUMENT),
            ("reference, action, argument", "'emitted', 'resolve-emitted', 'TP' || char(10)", ARGUMENT),
            ("reference, action, argument", "'emitted', 'resolve-emitted', x'5450'", ARGUMENT),
            (
                "reference, action, requested_by",
                "'emitted', 'poll', x'41'",
                "command: requested_by must be text of at most 128 characters",
            ),
            ("reference, action, requested_at", "'emitted', 'poll', NULL", REQUESTED_AT),
            (
                "reference, action, requested_at",
                "'emitted', 'poll', '2026-02-30T00:00:00.000Z'",
                REQUESTED_AT,
            ),
            (
                "reference, action, done_at",
                "'emitted', 'poll', 'x'",
                "command: done_at is written by the daemon",
            ),
            (
                "reference, action, outcome",
                "'emitted', 'poll', 'done'",
                "command: outcome is written by the daemon",
            ),
            (
                "reference, action, detail",
                "'emitted', 'poll', 'x'",
                "command: detail is written by the daemon",
            ),
        ] {
            refused(execute, &format!("{verb} INTO command ({columns}) VALUES ({values})"), message);
        }
    }
    reads(
        execute,
        "SELECT count(*) FROM command WHERE done_at IS NULL AND requested_at GLOB '20*T*Z' AND reference IS NOT 'asked'",
        &["9"],
    );
}

fn corrections_keep_their_limits(execute: Execute) {
    for reference in ["never", "unsent", "limited", "refused"] {
        let own = format!("WHERE reference = '{reference}'");
        done(
            execute,
            &format!(
                "UPDATE outbox SET tax_payer = '{{\"name\":\"Coulibaly\"}}', priority = 5, code_client = 'C', code_structure = 'S', not_before = '2026-11-24T09:48:00Z', callback = 'https://a.ml/', redirect_url = NULL, replaces = 'x', created_at = '2026-11-24T09:48:00.000Z' {own}"
            ),
        );
        reads(
            execute,
            &format!(
                "SELECT count(*) FROM transition WHERE from_status = to_status AND outbox_id = (SELECT id FROM outbox {own})"
            ),
            &["0"],
        );
        done(
            execute,
            &format!(
                "UPDATE outbox SET net_total = 2000, items = '[{{\"quantity\":4,\"unitPrice\":500}}]' {own}"
            ),
        );
        done(
            execute,
            &format!(
                "UPDATE outbox SET items = '[{{\"quantity\":2,\"unitPrice\":1000}}]', authorized_payment_modes = '[]' {own}"
            ),
        );
        reads(
            execute,
            &format!(
                "SELECT (from_status = status) || source || ': ' || reason FROM transition JOIN outbox ON outbox.id = outbox_id {own} AND from_status = to_status ORDER BY transition.id"
            ),
            &[
                "1application: corrected net_total, items: net_total 1500 -> 2000",
                "1application: corrected items, authorized_payment_modes: net_total 2000 -> 2000",
            ],
        );
        for verb in ["UPDATE", "UPDATE OR IGNORE", "UPDATE OR REPLACE"] {
            refused(
                execute,
                &format!("{verb} outbox SET net_total = 1 {own}"),
                "outbox: net_total must equal the sum of quantity * unitPrice over items",
            );
            refused(
                execute,
                &format!("{verb} outbox SET net_total = NULL {own}"),
                "outbox: net_total must be a whole number of XOF from 1 to 9007199254740991",
            );
            refused(execute, &format!("{verb} outbox SET reference = '' {own}"), REFUSED[0].0);
            refused(
                execute,
                &format!("{verb} outbox SET tax_payer = '{{\"anonymised\":true}}' {own}"),
                "outbox: tax_payer has an unknown field; known are id, name, firstName, nif, companyName, address, phoneNumber, email",
            );
        }
        done(
            execute,
            &insert(
                "INSERT",
                reference,
                &[],
                "ON CONFLICT(reference) DO UPDATE SET net_total = excluded.net_total, items = excluded.items",
            ),
        );
        reads(execute, &format!("SELECT net_total FROM outbox {own}"), &["1500"]);
    }
    for (reference, message) in [
        ("doubt", NOT_CORRECTED),
        ("cut", NOT_CORRECTED),
        ("restored", NOT_CORRECTED),
        ("emitting", NOT_NOW),
        ("uncertain", NOT_NOW),
        ("emitted", NOT_NOW),
        ("paid", NOT_NOW),
        ("canceled", NOT_NOW),
        ("annulled", NOT_NOW),
        ("adopted", NOT_NOW),
    ] {
        let before = whole_row(execute, reference);
        for change in [
            "priority = priority + 1",
            "reference = reference || '.'",
            "net_total = 2000, items = '[{\"quantity\":4,\"unitPrice\":500}]'",
            "callback = 'https://a.ml/'",
            "tax_payer = '{\"name\":\"B\"}'",
        ] {
            for verb in ["UPDATE", "UPDATE OR IGNORE", "UPDATE OR REPLACE"] {
                refused(
                    execute,
                    &format!("{verb} outbox SET {change} WHERE reference = '{reference}'"),
                    message,
                );
            }
        }
        // What changes nothing is no correction.
        done(
            execute,
            &format!(
                "UPDATE outbox SET net_total = net_total, items = items, priority = priority WHERE reference = '{reference}'"
            ),
        );
        assert_eq!(whole_row(execute, reference), before);
    }
    // The reference: a new one only while nothing knows the old one.
    for (reference, message) in [
        ("refused", "outbox: reference may not change once an emission was not unsent"),
        ("limited", "outbox: reference may not change once an emission was not unsent"),
        ("replaced", "outbox: reference may not change while another row replaces it"),
        ("asked", "outbox: reference may not change while a command for it is open"),
    ] {
        refused(
            execute,
            &format!("UPDATE outbox SET reference = 'new' WHERE reference = '{reference}'"),
            message,
        );
    }
    for reference in ["never", "unsent"] {
        done(execute, &format!("UPDATE outbox SET reference = 'new' WHERE reference = '{reference}'"));
        done(execute, &format!("UPDATE outbox SET reference = '{reference}' WHERE reference = 'new'"));
    }
}

fn only_unsent_rows_are_deleted(execute: Execute) {
    for reference in [
        "limited",
        "refused",
        "doubt",
        "cut",
        "restored",
        "emitting",
        "uncertain",
        "emitted",
        "paid",
        "annulled",
        "adopted",
    ] {
        refused(execute, &format!("DELETE FROM outbox WHERE reference = '{reference}'"), NOT_DELETED);
    }
    refused(execute, "DELETE FROM outbox", NOT_DELETED);
    for reference in ["never", "unsent", "canceled"] {
        let id = execute(&format!("SELECT id FROM outbox WHERE reference = '{reference}'")).unwrap();
        done(execute, &format!("DELETE FROM outbox WHERE reference = '{reference}'"));
        reads(execute, &format!("SELECT count(*) FROM outbox WHERE reference = '{reference}'"), &["0"]);
        reads(execute, &format!("SELECT count(*) > 0 FROM transition WHERE outbox_id = {}", id[0]), &["1"]);
        // The reference may come again, the id never.
        done(execute, &insert("INSERT", reference, &[], ""));
        reads(
            execute,
            &format!(
                "SELECT id > {} AND id = (SELECT max(id) FROM outbox) FROM outbox WHERE reference = '{reference}'",
                id[0]
            ),
            &["1"],
        );
    }
}

fn the_file_is_shared_with_other_tables(execute: Execute) {
    done(execute, "CREATE TABLE purchase (id INTEGER PRIMARY KEY, reference TEXT)");
    done(
        execute,
        "CREATE TRIGGER purchase_notice AFTER INSERT ON purchase BEGIN INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES (NEW.reference, 500, '{\"name\":\"A\"}', '[{\"quantity\":1,\"unitPrice\":500}]'); END",
    );
    done(execute, "BEGIN IMMEDIATE");
    done(execute, "INSERT INTO purchase (reference) VALUES ('one commit')");
    done(execute, "COMMIT");
    reads(execute, "SELECT status FROM outbox WHERE reference = 'one commit'", &["PENDING"]);
    done(execute, "ALTER TABLE purchase ADD COLUMN note");
    done(execute, "ALTER TABLE purchase RENAME COLUMN note TO remark");
    done(execute, "ALTER TABLE purchase RENAME TO sale");
    reads(execute, "PRAGMA integrity_check", &["ok"]);
}
