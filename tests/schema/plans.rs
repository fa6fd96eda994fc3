//! The daemon's queries go through the partial indexes: no scan of finished rows, no sort.

use crate::fixtures::Database;

/// When a waiting row is due: the expression of the index `outbox_waiting`, word for word.
const DUE: &str = "max(coalesce(next_attempt_at, ''), CASE length(not_before) WHEN 20 \
                   THEN substr(not_before, 1, 19) || '.000Z' ELSE coalesce(not_before, '') END)";
const WAITING: &str =
    "status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)";
const READY: &str = "status = 'PENDING' AND next_attempt_at IS NULL AND not_before IS not_before_passed";
const FINISHED: &str = "(status = 'PAID' OR status = 'CANCELED' OR status = 'REJECTED')";

#[test]
fn use_the_partial_indexes() {
    let mut database = Database::new();
    for (query, plan) in [
        (format!("SELECT id FROM outbox INDEXED BY outbox_ready WHERE {READY} ORDER BY priority DESC, id LIMIT ?"), "SCAN outbox USING INDEX outbox_ready"),
        (format!("SELECT id FROM outbox WHERE {READY} ORDER BY priority DESC, id LIMIT ?"), "SCAN outbox USING INDEX outbox_ready"),
        (format!("SELECT id FROM outbox INDEXED BY outbox_waiting WHERE {WAITING} AND {DUE} <= ? ORDER BY {DUE} LIMIT ?"), "SEARCH outbox USING INDEX outbox_waiting (<expr><?)"),
        (format!("SELECT min({DUE}) FROM outbox WHERE {WAITING}"), "SEARCH outbox USING INDEX outbox_waiting"),
        ("SELECT id FROM outbox WHERE status = 'EMITTED' AND next_attempt_at <= ? ORDER BY next_attempt_at LIMIT ?".into(), "SEARCH outbox USING COVERING INDEX outbox_emitted (next_attempt_at<?)"),
        ("SELECT min(next_attempt_at) FROM outbox WHERE status = 'EMITTED'".into(), "SEARCH outbox USING COVERING INDEX outbox_emitted"),
        ("SELECT id FROM outbox WHERE status = 'EMITTING'".into(), "SCAN outbox USING COVERING INDEX outbox_emitting"),
        ("SELECT count(*) FROM outbox WHERE status = 'UNCERTAIN'".into(), "SCAN outbox USING COVERING INDEX outbox_uncertain"),
        ("SELECT id FROM outbox WHERE status = 'UNCERTAIN' AND next_attempt_at <= ? ORDER BY next_attempt_at".into(), "SEARCH outbox USING COVERING INDEX outbox_uncertain (next_attempt_at<?)"),
        ("SELECT id FROM outbox INDEXED BY outbox_paid_due WHERE status = 'PAID' AND next_attempt_at <= ? ORDER BY next_attempt_at".into(), "SEARCH outbox USING COVERING INDEX outbox_paid_due (next_attempt_at<?)"),
        (
            "SELECT id FROM outbox WHERE status = 'CANCELED' AND updated_at >= ? ORDER BY updated_at".into(),
            "SEARCH outbox USING COVERING INDEX outbox_finished (status=? AND updated_at>?)",
        ),
        (
            "SELECT id FROM outbox WHERE status = 'REJECTED' ORDER BY updated_at".into(),
            "SEARCH outbox USING COVERING INDEX outbox_finished (status=?)",
        ),
        ("SELECT id FROM outbox WHERE status = 'PAID' AND updated_at >= ? ORDER BY updated_at".into(), "SEARCH outbox USING COVERING INDEX outbox_finished (status=? AND updated_at>?)"),
        (format!("SELECT id FROM outbox INDEXED BY outbox_personal WHERE anonymised_at IS NULL AND {FINISHED} AND updated_at < ? ORDER BY updated_at LIMIT ?"), "SEARCH outbox USING INDEX outbox_personal (updated_at<?)"),
        ("SELECT id FROM outbox WHERE tresorpay_reference = ?".into(), "SEARCH outbox USING COVERING INDEX outbox_tresorpay_reference (tresorpay_reference=?)"),
        ("SELECT id FROM outbox WHERE replaces = ?".into(), "SEARCH outbox USING COVERING INDEX outbox_replaces (replaces=?)"),
        ("SELECT id FROM attempt WHERE outcome IS NULL".into(), "SCAN attempt USING INDEX attempt_open"),
        ("SELECT * FROM attempt WHERE outbox_id = ? ORDER BY id".into(), "SEARCH attempt USING INDEX attempt_outbox (outbox_id=?)"),
        ("SELECT 1 FROM command WHERE reference = ? AND action = 'cancel' AND done_at IS NULL".into(), "SEARCH command USING INDEX command_open (reference=? AND action=?)"),
        ("SELECT to_status FROM transition WHERE outbox_id = ? ORDER BY id DESC LIMIT 1".into(), "SEARCH transition USING INDEX transition_outbox (outbox_id=?)"),
        ("SELECT * FROM transition WHERE id > ? ORDER BY id".into(), "SEARCH transition USING INTEGER PRIMARY KEY (rowid>?)"),
    ] {
        assert_eq!(database.plan(&query), [plan], "{query}");
    }
}

/// A constraint with a longer `IN` would, and in a trigger's statement anew for each row: a third of the work of an emission.
#[test]
fn what_the_daemon_writes_most_builds_no_table_for_a_constraint() {
    let mut database = Database::new();
    for statement in [
        "UPDATE outbox SET status = ?, status_source = ?, status_reason = ?, updated_at = ?, attempts = ?, \
         next_attempt_at = ?, last_error = ?, tresorpay_reference = ?, payment_url = ?, emitted_at = ? WHERE id = ?",
        "INSERT INTO attempt (outbox_id, operation, base_url, started_at) VALUES (?, ?, ?, ?)",
        "UPDATE attempt SET phase = ?, http_status = ?, outcome = ?, detail = ?, duration_ms = ?, tresorpay_reference = ? \
         WHERE id = ?",
    ] {
        let steps = database.steps(statement);
        assert!(steps.iter().any(|step| step == "Program"), "the triggers are among the steps: {statement}");
        assert!(!steps.iter().any(|step| step == "OpenEphemeral"), "{statement}");
    }
}

#[test]
fn a_row_is_in_the_queue_it_belongs_to() {
    let mut database = Database::new();
    let queues = |database: &mut Database| {
        let ready = database.done(&format!(
            "SELECT reference FROM outbox INDEXED BY outbox_ready WHERE {READY} ORDER BY priority DESC, id"
        ));
        let waiting = database.done(&format!("SELECT reference || ' ' || {DUE} FROM outbox INDEXED BY outbox_waiting WHERE {WAITING} ORDER BY {DUE}"));
        (ready.join(", "), waiting.join(", "))
    };
    database.row("old", &[]);
    database.row("later", &[("not_before", "'2026-11-24T09:48:00Z'")]);
    database.row("urgent", &[("priority", "9")]);
    database.row("new", &[]);
    assert_eq!(queues(&mut database), ("urgent, old, new".into(), "later 2026-11-24T09:48:00.000Z".into()));
    database.done("UPDATE outbox SET next_attempt_at = '2026-11-24T09:47:59.999Z' WHERE reference = 'old'");
    database.done("UPDATE outbox SET next_attempt_at = '2026-11-24T09:48:00.001Z' WHERE reference = 'later'");
    assert_eq!(
        queues(&mut database),
        ("urgent, new".into(), "old 2026-11-24T09:47:59.999Z, later 2026-11-24T09:48:00.001Z".into())
    );
    // Promotion; then a correction of not_before takes the row out of the queue again, and its removal makes it due.
    database.done(&format!("UPDATE outbox SET next_attempt_at = NULL, not_before_passed = not_before WHERE {WAITING} AND {DUE} <= '2026-11-24T09:48:00.001Z'"));
    assert_eq!(queues(&mut database), ("urgent, old, later, new".into(), String::new()));
    database
        .application(&[])
        .execute("UPDATE outbox SET not_before = '2027-01-01T00:00:00.000Z' WHERE reference = 'later'")
        .unwrap();
    assert_eq!(queues(&mut database), ("urgent, old, new".into(), "later 2027-01-01T00:00:00.000Z".into()));
    database
        .application(&[])
        .execute("UPDATE outbox SET not_before = NULL WHERE reference = 'later'")
        .unwrap();
    assert_eq!(queues(&mut database), ("urgent, old, new".into(), "later ".into()));
}
