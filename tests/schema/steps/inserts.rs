//! Rows go in unchanged or are refused with the reason; a row that is there is never touched by another INSERT.

use super::{Execute, done, reads, refused, whole_row};
use crate::refused::REFUSED;
use crate::rows::{ACCEPTED, GOOD, Row, insert};

const OVERWRITTEN: &str = "outbox: reference is already there, and no row is ever overwritten";

pub(super) fn rows_are_accepted_unchanged(execute: Execute) {
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

pub(super) fn rows_are_refused_under_every_conflict_clause(execute: Execute) {
    let before = execute("SELECT count(*) || ' ' || max(id) FROM outbox").unwrap();
    for (message, row) in REFUSED {
        for verb in ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"] {
            refused(execute, &insert(verb, "bad row", row, ""), message);
        }
        refused(execute, &insert("INSERT", "bad row", row, "ON CONFLICT(reference) DO NOTHING"), message);
    }
    assert_eq!(execute("SELECT count(*) || ' ' || max(id) FROM outbox").unwrap(), before);
}

pub(super) fn inserts_are_idempotent(execute: Execute) {
    let amount: Row = &[("net_total", "500"), ("items", r#"'[{"quantity":1,"unitPrice":500}]'"#)];
    let bad: Row = &[("net_total", "1")];
    let same_id: Row = &[("id", "1")];
    let far_id: Row = &[("id", "9223372036854775807")];
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

pub(super) fn nothing_is_overwritten(execute: Execute) {
    let amount: Row = &[("net_total", "500"), ("items", r#"'[{"quantity":1,"unitPrice":500}]'"#)];
    let with_id: Row = &[("id", "1")];
    let null_status: Row = &[("status", "NULL"), ("attempts", "NULL")];
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
