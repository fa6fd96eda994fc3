//! What is the daemon's, and what is history, is out of an application's reach; the file itself is shared.

use super::{DAEMON_COLUMNS, DAEMON_ONLY, Execute, done, reads, refused};
use crate::rows::insert;

pub(super) fn the_daemons_own_is_out_of_reach(execute: Execute) {
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

pub(super) fn history_cannot_be_changed_or_forged(execute: Execute) {
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
    let note = "transition: is written by the triggers of outbox only";
    for verb in ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"] {
        for (values, message) in [
            ("(SELECT id FROM outbox WHERE reference = 'emitted'), 'EMITTED', 'PAID', 'poll'", present),
            ("(SELECT id FROM outbox WHERE reference = 'emitted'), 'EMITTING', 'EMITTED', 'emit'", chain),
            ("(SELECT id FROM outbox WHERE reference = 'emitted'), NULL, 'EMITTED', 'application'", chain),
            ("(SELECT id FROM outbox WHERE reference = 'emitted'), 'EMITTED', 'EMITTED', 'poll'", note),
            ("(SELECT id FROM outbox WHERE reference = 'never'), 'PENDING', 'PENDING', 'application'", note),
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

pub(super) fn the_file_is_shared_with_other_tables(execute: Execute) {
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
