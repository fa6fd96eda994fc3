//! Rows that an application may INSERT. The same table, and `refused.rs` beside it, is run through the daemon's SQLite and
//! through SQLite 3.26 (`tests/sqlite326`), so it depends on nothing.

/// Columns set to SQL expressions; they replace or complete [`GOOD`].
pub(crate) type Row = &'static [(&'static str, &'static str)];

/// The smallest row that is accepted, but for its reference.
pub(crate) const GOOD: Row = &[
    ("net_total", "1500"),
    ("tax_payer", r#"'{"name":"Traoré","firstName":"Aminata"}'"#),
    ("items", r#"'[{"name":"Carte","quantity":3,"unitPrice":500}]'"#),
];

/// The statement that inserts [`GOOD`] changed by `row`, where `verb` is `INSERT` with its conflict clause.
pub(crate) fn insert(verb: &str, reference: &str, row: &[(&str, &str)], tail: &str) -> String {
    let mut columns = vec![("reference".to_owned(), format!("'{reference}'"))];
    for (column, value) in GOOD.iter().chain(row) {
        columns.retain(|(known, _)| known != column);
        columns.push(((*column).to_owned(), (*value).to_owned()));
    }
    // A column without a value is left out of the statement.
    columns.retain(|(_, value)| !value.is_empty());
    let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    format!("{verb} INTO outbox ({}) VALUES ({}) {tail}", names.join(", "), values.join(", "))
}

/// Rows that are accepted; every column given must be read back unchanged.
pub(crate) const ACCEPTED: &[Row] = &[
    &[],
    // Text that tends to break: accents, N'Ko, emoji, quotes, SQL, a backslash, the longest reference.
    &[("reference", "'Émission n° 1 / Ségou'")],
    &[("reference", "'ߒߞߏ ɛɔŋɲ 😀'")],
    &[("reference", "'''; DROP TABLE outbox; --'")],
    &[("reference", r#"'"a\b"'"#)],
    &[("reference", "replace(hex(zeroblob(64)), '00', 'é')")],
    &[("reference", "1234")],
    &[("tax_payer", r#"'{"companyName":"L’Étoile d''Or \"SARL\" \u00e9 😀","address":"Rue 12\nPorte 3"}'"#)],
    &[(
        "tax_payer",
        r#"' { "name" : null , "companyName" : "X", "nif": "081", "id":"1", "email":"a@b.ml", "phoneNumber":"+223 70" } '"#,
    )],
    &[("tax_payer", r#"'{"name":"'||replace(hex(zeroblob(9000)),'00','a')||'"}'"#)],
    // Drivers that bind every number as a float, or everything as text.
    &[("net_total", "1500.0"), ("priority", "3.0")],
    &[("net_total", "'.15e4'")],
    &[("net_total", "'1500'"), ("priority", "'3'"), ("attempts", "'0'")],
    // Amounts: at the limits, null for an absent field, a gift among the items, a thousand items.
    &[("net_total", "9007199254740991"), ("items", r#"'[{"quantity":1,"unitPrice":9007199254740991}]'"#)],
    &[
        ("net_total", "1"),
        ("items", r#"'[{"quantity":1,"unitPrice":1},{"quantity":9007199254740991,"unitPrice":0}]'"#),
    ],
    &[(
        "items",
        r#"'[{"name":null,"description":null,"codeNatureRecette":"71531","quantity":3,"unitPrice":500}]'"#,
    )],
    &[
        ("net_total", "1000"),
        (
            "items",
            r#"'['||replace(hex(zeroblob(999)),'00','{"quantity":1,"unitPrice":1},')||'{"quantity":1,"unitPrice":1}]'"#,
        ),
    ],
    &[("authorized_payment_modes", "'[]'")],
    &[(
        "authorized_payment_modes",
        r#"'[{"codeProvider":"ORANGE_MONEY","paymentNumber":"70112233","cardNumber":null,"amount":1500},{"codeProvider":"CARD","amount":null}]'"#,
    )],
    // The rest.
    &[("code_client", "'CLI-1'"), ("code_structure", "'STR É'"), ("priority", "9")],
    &[("replaces", "'some other row'")],
    &[("not_before", "'2026-11-24T09:48:00Z'"), ("created_at", "'2026-11-24T09:48:00.000Z'")],
    &[("not_before", "'2028-02-29T23:59:59.999Z'")],
    &[("callback", "'https://exemple.ml/retour?id=1&é=2'"), ("redirect_url", "'HTTP://127.0.0.1:8080'")],
    // NULL and the default in a daemon column are not setting it.
    &[("id", "NULL"), ("status", "NULL"), ("attempts", "NULL"), ("provider", "NULL"), ("updated_at", "NULL")],
    &[("status", "'PENDING'"), ("attempts", "0")],
];
