//! What was never sent may be corrected or deleted; nothing else.

use super::{Execute, done, reads, refused, whole_row};
use crate::refused::REFUSED;
use crate::rows::insert;

const NOT_CORRECTED: &str =
    "outbox: a row may not be corrected once an emission was neither unsent nor refused";
const NOT_NOW: &str = "outbox: a row may be corrected in PENDING and REJECTED only";
const NOT_DELETED: &str = "outbox: a row that was sent is never deleted; INSERT a cancel into command";

pub(super) fn unsent_rows_are_corrected(execute: Execute) {
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
        done(execute, &format!("UPDATE outbox SET items = '[{{\"quantity\":1,\"unitPrice\":2000}}]' {own}"));
        reads(
            execute,
            &format!(
                "SELECT (from_status = status) || source || ': ' || reason FROM transition JOIN outbox ON outbox.id = outbox_id {own} AND from_status = to_status ORDER BY transition.id"
            ),
            &[
                "1application: corrected net_total, items: net_total 1500 -> 2000",
                "1application: corrected items, authorized_payment_modes: net_total 2000 -> 2000",
                "1application: corrected items: net_total 2000 -> 2000",
            ],
        );
        reads(execute, "SELECT count(*) FROM outbox_correction_ticket", &["0"]);
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
}

pub(super) fn sent_rows_are_not_corrected(execute: Execute) {
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
            "items = '[{\"quantity\":1,\"unitPrice\":1500}]'",
            "callback = 'https://a.ml/'",
            "redirect_url = 'https://a.ml/'",
            "tax_payer = '{\"name\":\"B\"}'",
            "authorized_payment_modes = '[]'",
            "code_client = 'C'",
            "code_structure = 'S'",
            "replaces = 'x'",
            "not_before = '2026-11-24T09:48:00Z'",
            "created_at = '2026-11-24T09:48:00.000Z'",
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
}

/// A new reference only while nothing knows the old one.
pub(super) fn a_known_reference_stays(execute: Execute) {
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

pub(super) fn only_unsent_rows_are_deleted(execute: Execute) {
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
        "known",
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
