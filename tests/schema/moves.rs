//! The moves of `status`: all 49 of them against the contract's table, and what each leaves behind.

use crate::fixtures::Database;

const STATUSES: [&str; 7] = ["PENDING", "EMITTING", "UNCERTAIN", "REJECTED", "EMITTED", "PAID", "CANCELED"];

/// The contract's table: status, and what it leaves to.
const LEAVES_TO: [(&str, &[&str]); 7] = [
    ("PENDING", &["EMITTING", "REJECTED", "CANCELED", "EMITTED", "UNCERTAIN"]),
    ("EMITTING", &["EMITTED", "PENDING", "REJECTED", "UNCERTAIN"]),
    ("UNCERTAIN", &["EMITTED", "EMITTING", "PENDING", "CANCELED"]),
    ("REJECTED", &["PENDING", "CANCELED", "EMITTED", "UNCERTAIN"]),
    ("EMITTED", &["PAID", "CANCELED"]),
    ("PAID", &["CANCELED"]),
    ("CANCELED", &["PAID"]),
];

/// A legal way from the insertion to each status.
fn way_to(status: &str) -> &'static [&'static str] {
    match status {
        "EMITTING" => &["EMITTING"],
        "UNCERTAIN" => &["EMITTING", "UNCERTAIN"],
        "REJECTED" => &["REJECTED"],
        "EMITTED" => &["EMITTING", "EMITTED"],
        "PAID" => &["EMITTING", "EMITTED", "PAID"],
        "CANCELED" => &["CANCELED"],
        _ => &[],
    }
}

fn move_to(status: &str, reference: &str) -> String {
    format!(
        "UPDATE outbox SET status = '{status}', status_source = 'poll', status_reason = 'because', \
         updated_at = '2026-11-24T09:48:01.000Z', tresorpay_reference = 'TP' || id WHERE reference = '{reference}'"
    )
}

#[test]
fn go_along_the_contracts_table_and_nowhere_else() {
    let mut database = Database::new();
    for (from, allowed) in LEAVES_TO {
        for to in STATUSES {
            let reference = format!("{from} to {to}");
            database.row(&reference, &[]);
            database.walk(&reference, way_to(from));
            let history = "SELECT count(*) FROM transition";
            let before: u32 = database.done(history)[0].parse().unwrap();
            if from == to || allowed.contains(&to) {
                database.done(&move_to(to, &reference));
            } else {
                let message = format!("outbox: status may not go from {from} to {to}");
                database.refused(&move_to(to, &reference), &message);
                for clause in ["OR IGNORE", "OR REPLACE", "OR FAIL"] {
                    database.refused(
                        &move_to(to, &reference).replace("UPDATE", &format!("UPDATE {clause}")),
                        &message,
                    );
                }
            }
            let moved = from != to && allowed.contains(&to);
            let now = if moved { to } else { from };
            assert_eq!(
                database.done(&format!("SELECT status FROM outbox WHERE reference = '{reference}'")),
                [now]
            );
            assert_eq!(database.done(history), [(before + u32::from(moved)).to_string()], "{reference}");
            if moved {
                let last = "SELECT at || from_status || '>' || to_status || source || reason FROM transition ORDER BY id DESC LIMIT 1";
                assert_eq!(database.done(last), [format!("2026-11-24T09:48:01.000Z{from}>{to}pollbecause")]);
            }
        }
        database
            .refused(&move_to("LOST", &format!("{from} to {from}")), "CHECK constraint failed: known_status");
    }
}

#[test]
fn leave_an_unbroken_chain() {
    let mut database = Database::with_fixtures();
    // Each row's history starts with the insertion, each transition starts where the last one ended, and the last one
    // ends where the row is.
    let broken = "SELECT count(*) FROM transition AS t WHERE from_status IS NOT (SELECT to_status FROM transition AS p \
                  WHERE p.outbox_id = t.outbox_id AND p.id < t.id ORDER BY p.id DESC LIMIT 1)";
    assert_eq!(database.done(broken), ["0"]);
    let behind = "SELECT reference FROM outbox WHERE status IS NOT (SELECT to_status FROM transition \
                  WHERE outbox_id = outbox.id ORDER BY id DESC LIMIT 1)";
    assert_eq!(database.done(behind), Vec::<String>::new());
    let moves = "SELECT group_concat(to_status, ' ') FROM (SELECT to_status FROM transition WHERE outbox_id = \
                 (SELECT id FROM outbox WHERE reference = 'cut') ORDER BY id)";
    assert_eq!(database.done(moves), ["PENDING EMITTING UNCERTAIN PENDING REJECTED"]);
}

#[test]
fn need_their_source_and_their_time() {
    let mut database = Database::new();
    database.row("a", &[]);
    let message = "outbox: status must be set together with status_source and updated_at";
    database.refused("UPDATE outbox SET status = 'EMITTING'", message);
    database.refused("UPDATE outbox SET status = 'EMITTING', status_source = 'emit'", message);
    database
        .refused("UPDATE outbox SET status = 'EMITTING', updated_at = '2026-11-24T09:48:00.000Z'", message);
    database.refused(
        "UPDATE outbox SET status = 'EMITTING', status_source = 'somebody', updated_at = '2026-11-24T09:48:00.000Z'",
        "CHECK constraint failed: known_status_source",
    );
    database.refused(
        "UPDATE outbox SET status = 'EMITTED', status_source = 'emit', updated_at = '2026-11-24T09:48:00.000Z'",
        "CHECK constraint failed: tresorpay_reference IS NOT NULL OR status NOT IN ('EMITTED', 'PAID')",
    );
}

#[test]
fn keep_a_notice_with_one_row() {
    let mut database = Database::with_fixtures();
    let message = "outbox: tresorpay_reference is another row's already";
    for clause in ["", "OR REPLACE", "OR IGNORE"] {
        let sql = format!(
            "UPDATE {clause} outbox SET tresorpay_reference = (SELECT tresorpay_reference FROM outbox WHERE reference = 'paid') \
             WHERE reference = 'emitted'"
        );
        database.refused(&sql, message);
    }
    database.done("UPDATE outbox SET tresorpay_reference = 'TP new' WHERE reference = 'emitted'");
    database.done("UPDATE outbox SET tresorpay_reference = NULL WHERE reference = 'never'");
}
