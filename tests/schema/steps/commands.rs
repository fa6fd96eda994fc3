//! The command table: only what is malformed is refused at the INSERT.

use super::{Execute, done, reads, refused};

const ACTION: &str = "command: action must be cancel, retry, poll, confirm-delivery, fetch-receipt, resolve-emitted, resolve-not-emitted, anonymise, pause or resume";
const REFERENCE: &str = "command: reference must be the reference of an outbox row";
const ARGUMENT: &str =
    "command: argument must be the TresorPay reference for resolve-emitted, text of 1 to 128 characters";
const NO_ARGUMENT: &str = "command: argument must be NULL, save for resolve-emitted";
const TEXT: &str = "command: reference, argument, requested_by and reason must be UTF-8 text without NUL";
const REQUESTED_AT: &str = "command: requested_at must be a UTC time that exists, written 2026-11-24T09:48:00.000Z; left out, it is now";

const REASON: &str = "command: reason must be text of at most 500 characters";

/// Columns, their values, and the message.
const MALFORMED: &[(&str, &str, &str)] = &[
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
    ("reference, action, reason", "'emitted', 'poll', x'41'", REASON),
    ("reference, action, reason", "'emitted', 'poll', replace(hex(zeroblob(501)), '00', 'a')", REASON),
    ("reference, action, reason", "'emitted', 'poll', 'a' || char(0)", TEXT),
    ("reference, action, reason", "'emitted', 'poll', CAST(x'41ED' AS TEXT)", TEXT),
    ("reference, action, requested_at", "'emitted', 'poll', NULL", REQUESTED_AT),
    ("reference, action, requested_at", "'emitted', 'poll', '2026-02-30T00:00:00.000Z'", REQUESTED_AT),
    ("reference, action, argument", "'emitted', 'resolve-emitted', ''", ARGUMENT),
    (
        "reference, action, argument",
        "'emitted', 'resolve-emitted', replace(hex(zeroblob(129)), '00', 'a')",
        ARGUMENT,
    ),
    ("reference, action", "replace(hex(zeroblob(65)), '00', 'a'), 'poll'", REFERENCE),
    ("reference, action, requested_at", "'emitted', 'poll', '2026-11-24T09:48:00Z'", REQUESTED_AT),
    ("reference, action, requested_at", "'emitted', 'poll', '2026-11-24T09:48:00.000z'", REQUESTED_AT),
    (
        "reference, action, requested_at",
        "'emitted', 'poll', '2026-11-24T09:48:00.000Z' || char(0)",
        REQUESTED_AT,
    ),
    ("reference, action", "'a' || char(0), 'poll'", TEXT),
    ("reference, action", "CAST(x'53E9676F75' AS TEXT), 'poll'", TEXT),
    ("reference, action, argument", "'emitted', 'resolve-emitted', 'TP' || char(0) || 'x'", TEXT),
    ("reference, action, argument", "'emitted', 'resolve-emitted', CAST(x'54C3' AS TEXT)", TEXT),
    ("reference, action, requested_by", "'emitted', 'poll', CAST(x'41ED' AS TEXT)", TEXT),
    ("reference, action, done_at", "'emitted', 'poll', 'x'", "command: done_at is written by the daemon"),
    ("reference, action, outcome", "'emitted', 'poll', 'done'", "command: outcome is written by the daemon"),
    ("reference, action, detail", "'emitted', 'poll', 'x'", "command: detail is written by the daemon"),
];

pub(super) fn commands_are_checked(execute: Execute) {
    for action in
        ["cancel", "retry", "poll", "confirm-delivery", "fetch-receipt", "resolve-not-emitted", "anonymise"]
    {
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
        "INSERT INTO command (reference, action, argument) VALUES ('ɛ não 😀', 'resolve-emitted', 'TP20241231.1048.AR3')",
    );
    for verb in ["INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"] {
        for (columns, values, message) in MALFORMED {
            refused(execute, &format!("{verb} INTO command ({columns}) VALUES ({values})"), message);
        }
    }
    reads(
        execute,
        "SELECT count(*) FROM command WHERE done_at IS NULL AND requested_at GLOB '20*T*Z' AND reference IS NOT 'asked'",
        &["10"],
    );
}
