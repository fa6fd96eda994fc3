//! What the daemon may take out of what an application wrote: card numbers, and a finished row's personal data, once.

use crate::fixtures::Database;

const ITEMS: &str = r#"[{"name":"Carte","description":"De Awa","quantity":3,"unitPrice":500,"codeNatureRecette":"71531"},{"unitPrice":0,"quantity":1}]"#;
const BARE_ITEMS: &str =
    r#"[{"codeNatureRecette":"71531","quantity":3,"unitPrice":500},{"quantity":1,"unitPrice":0}]"#;
const CARDS: &str = r#"[{"codeProvider":"CARD","cardNumber":"4111111111111111","amount":1500},{"codeProvider":"WAVE","paymentNumber":"70112233"}]"#;
const NO_CARDS: &str =
    r#"[{"amount":1500,"codeProvider":"CARD"},{"codeProvider":"WAVE","paymentNumber":"70112233"}]"#;

fn anonymise(reference: &str, items: &str) -> String {
    format!(
        "UPDATE outbox SET anonymised_at = '2026-11-24T09:48:00.000Z', tax_payer = '{{\"anonymised\":true}}', items = '{items}', \
         authorized_payment_modes = NULL, callback = NULL, redirect_url = NULL, last_error = NULL WHERE reference = '{reference}'"
    )
}

/// Rows with everything personal in them, in every status.
fn database() -> Database {
    let mut database = Database::new();
    for (reference, moves) in [
        ("pending", &[][..]),
        ("emitting", &["EMITTING"]),
        ("uncertain", &["UNCERTAIN"]),
        ("emitted", &["EMITTED"]),
        ("paid", &["EMITTED", "PAID"]),
        ("canceled", &["CANCELED"]),
        ("rejected", &["REJECTED"]),
    ] {
        database.done(&format!(
            "INSERT INTO outbox (reference, net_total, tax_payer, items, authorized_payment_modes, callback, redirect_url) \
             VALUES ('{reference}', 1500, '{{\"name\":\"Awa\"}}', '{ITEMS}', '{CARDS}', 'https://a.ml/', 'https://b.ml/')"
        ));
        database.walk(reference, moves);
    }
    database
}

#[test]
fn takes_the_personal_data_of_finished_rows_once() {
    let mut database = database();
    for reference in ["pending", "emitting", "uncertain", "emitted"] {
        database.refused(
            &anonymise(reference, BARE_ITEMS),
            "outbox: anonymised_at is for rows in PAID, CANCELED and REJECTED only",
        );
    }
    for reference in ["paid", "canceled", "rejected"] {
        let history = database.done("SELECT count(*) FROM transition");
        database.done(&anonymise(reference, BARE_ITEMS));
        assert_eq!(database.done("SELECT count(*) FROM transition"), history);
        database.refused(
            &format!(
                "UPDATE outbox SET anonymised_at = '2027-01-01T00:00:00.000Z' WHERE reference = '{reference}'"
            ),
            "outbox: anonymised_at is written once",
        );
        database.refused(
            &format!("UPDATE outbox SET anonymised_at = NULL WHERE reference = '{reference}'"),
            "outbox: anonymised_at is written once",
        );
    }
    // It never goes out again, and nothing personal comes back.
    database.refused(
        "UPDATE outbox SET tax_payer = '{\"name\":\"Awa\"}' WHERE reference = 'rejected'",
        "outbox: an anonymised row may not be corrected",
    );
    database.refused(
        "UPDATE outbox SET status = 'PENDING', status_source = 'command', updated_at = 't' WHERE reference = 'rejected'",
        "outbox: status of an anonymised row may not go back to PENDING or EMITTING",
    );
    database.walk("rejected", &["CANCELED"]);
}

#[test]
fn takes_nothing_else() {
    let mut database = database();
    let paid = "WHERE reference = 'paid'";
    let needs = "outbox: anonymised_at needs tax_payer {\"anonymised\":true} and NULL in authorized_payment_modes, callback and redirect_url";
    let items = "outbox: anonymised_at needs items without name and description, the rest as it was";
    database.refused(&format!("UPDATE outbox SET anonymised_at = 't' {paid}"), needs);
    database.refused(&anonymise("paid", BARE_ITEMS).replace("callback = NULL", "callback = callback"), needs);
    database.refused(&anonymise("paid", ITEMS), items);
    database.refused(&anonymise("paid", "[]"), items);
    database.refused(&anonymise("paid", "["), items);
    database.refused(&anonymise("paid", &BARE_ITEMS.replace("500", "501")), items);
    database.refused(
        &anonymise("paid", &BARE_ITEMS.replace(",\"unitPrice\":500", ",\"unitPrice\":500,\"name\":\"x\"")),
        items,
    );
    database.refused(
        &anonymise("paid", BARE_ITEMS).replace("authorized_payment_modes = NULL", "priority = priority"),
        needs,
    );
    database
        .refused(&anonymise("paid", BARE_ITEMS).replace("redirect_url = NULL", "priority = priority"), needs);
    for change in [
        "net_total = 1",
        "reference = 'x'",
        "code_client = 'x'",
        "code_structure = 'x'",
        "created_at = 't'",
        "not_before = 't'",
        "replaces = 'x'",
        "priority = 1",
    ] {
        let sql = anonymise("paid", BARE_ITEMS).replace("last_error = NULL", change);
        database.refused(&sql, "outbox: anonymised_at comes with the personal columns only");
    }
    let both = anonymise("paid", BARE_ITEMS)
        .replace("last_error = NULL", "status = 'CANCELED', status_source = 'poll', updated_at = 't'");
    database.refused(&both, "outbox: anonymised_at is for rows in PAID, CANCELED and REJECTED only");
}

#[test]
fn takes_card_numbers_once_emitted() {
    let mut database = database();
    let only = "outbox: authorized_payment_modes may lose its card numbers only, once EMITTED";
    let remove = |reference: &str, modes: &str| {
        format!(
            "UPDATE outbox SET authorized_payment_modes = {modes}, updated_at = '2026-11-25T00:00:00.000Z' WHERE reference = '{reference}'"
        )
    };
    let no_cards = format!("'{NO_CARDS}'");
    for reference in ["pending", "uncertain", "rejected"] {
        database.refused(&remove(reference, &no_cards), only);
    }
    for modes in
        ["NULL".to_owned(), "'[]'".to_owned(), no_cards.replace("1500", "1"), no_cards.replace("}]", "},{}]")]
    {
        database.refused(&remove("emitted", &modes), only);
    }
    // With the move itself, or at any time after it.
    database.done(&remove("emitting", &no_cards).replace(
        "updated_at",
        "status = 'EMITTED', status_source = 'emit', tresorpay_reference = 'TP emitting', updated_at",
    ));
    database.done(&remove("emitted", &no_cards));
    database.done(&remove("paid", &no_cards));
    for change in [
        "reference = 'x'",
        "net_total = 1",
        "code_client = 'x'",
        "code_structure = 'x'",
        "priority = 1",
        "replaces = 'x'",
        "not_before = 't'",
        "created_at = 't'",
        "items = '[]'",
        "tax_payer = '{}'",
        "callback = NULL",
        "redirect_url = NULL",
    ] {
        database.refused(
            &format!("UPDATE outbox SET {change}, updated_at = '2026-11-26T00:00:00.000Z' WHERE reference = 'emitted'"),
            "outbox: the daemon does not correct what the application wrote",
        );
    }
}
