//! What the triggers and indexes cost the daemon: PENDING → EMITTING with its attempt, then → EMITTED with the attempt
//! completed, 32 rows a statement, without the cost of fsync but with
//! that of preparing the statements. Run with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use crate::fixtures::Database;

const ROWS: usize = 9_600;
const GROUP: usize = 32;
/// Several times what two shared cores take: a lost index shows, a busy day does not.
const LIMIT: Duration = Duration::from_micros(150);

const INSERT: &str = r#"
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9600)
    INSERT INTO outbox (reference, net_total, tax_payer, items)
    SELECT 'FACT-2026-' || i, 1500,
        '{"id":"12","name":"Traoré","firstName":"Aminata","phoneNumber":"+223 70 11 22 33","address":"Bamako, Hippodrome"}',
        '[{"name":"Carte nationale","quantity":3,"unitPrice":500,"description":"Une chose utile","codeNatureRecette":"71531"}]'
    FROM n"#;

/// One group: the claim's commit, then the answers' commit, in one call.
const GROUP_SQL: &str = "
    BEGIN IMMEDIATE;
    UPDATE outbox SET status = 'EMITTING', status_source = 'emit', status_reason = NULL,
            updated_at = '2026-11-24T09:48:00.000Z'
        WHERE id IN (SELECT id FROM outbox INDEXED BY outbox_ready WHERE status = 'PENDING' AND next_attempt_at IS NULL
                     AND not_before IS not_before_passed ORDER BY priority DESC, id LIMIT 32);
    INSERT INTO attempt (outbox_id, operation, code_client, code_structure, base_url, started_at)
        SELECT id, 'emit', 'CLI', 'STR', 'https://recette.tresorpay.finances.ml/api/public/v1', '2026-11-24T09:48:00.000Z'
        FROM outbox WHERE status = 'EMITTING';
    COMMIT;
    BEGIN IMMEDIATE;
    UPDATE outbox SET status = 'EMITTED', status_source = 'emit', status_reason = 'created',
            updated_at = '2026-11-24T09:48:01.000Z', tresorpay_reference = 'TP20241231.' || id || '.AR3',
            payment_url = 'https://tresorpay.ml/public/init-paiement?id=TP20241231.' || id || '.AR3',
            emitted_at = '2026-11-24T09:48:01.000Z', attempts = attempts + 1, next_attempt_at = '2026-11-24T09:48:31.000Z'
        WHERE id IN (SELECT id FROM outbox WHERE status = 'EMITTING');
    UPDATE attempt SET duration_ms = 120, phase = 'answered', http_status = 200, outcome = 'ok',
            tresorpay_reference = 'TP20241231.' || outbox_id || '.AR3'
        WHERE id IN (SELECT id FROM attempt WHERE outcome IS NULL);
    COMMIT;";

#[test]
#[ignore = "a measurement"]
fn of_a_claim_and_an_answer() {
    let mut database = Database::new();
    database.done("PRAGMA temp_store = MEMORY");
    database.done("PRAGMA cache_size = -65536");
    database.done(INSERT);
    let mut spent: Vec<Duration> = (0..ROWS / GROUP)
        .map(|_| {
            let start = Instant::now();
            database.batch(GROUP_SQL);
            start.elapsed()
        })
        .collect();
    assert_eq!(database.done("SELECT count(*) FROM outbox WHERE status = 'EMITTED'"), [ROWS.to_string()]);
    assert_eq!(database.done("SELECT count(*) FROM transition"), [(3 * ROWS).to_string()]);
    assert_eq!(database.done("SELECT count(*) FROM attempt WHERE outcome = 'ok'"), [ROWS.to_string()]);
    spent.sort_unstable();
    let per_row = spent[spent.len() / 2] / u32::try_from(GROUP).unwrap();
    println!("claim and answer: {per_row:?} a row, median of {} groups of {GROUP}", spent.len());
    assert!(per_row < LIMIT, "{per_row:?}");
}
