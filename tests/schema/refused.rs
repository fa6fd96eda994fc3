//! Rows that an application may not INSERT, each with the exact message it must get.

use crate::rows::Row;

const REFERENCE: &str = "outbox: reference must be text of 1 to 64 characters (UTF-8), no blanks at the ends, no control characters";
const CODE_CLIENT: &str = "outbox: code_client must be text of 1 to 64 characters (UTF-8), no blanks at the ends, no control characters";
const CODE_STRUCTURE: &str = "outbox: code_structure must be text of 1 to 64 characters (UTF-8), no blanks at the ends, no control characters";
const REPLACES: &str = "outbox: replaces must be text of 1 to 64 characters (UTF-8), no blanks at the ends, no control characters";
const NET_TOTAL: &str = "outbox: net_total must be a whole number of XOF from 1 to 9007199254740991";
const SUM: &str = "outbox: net_total must equal the sum of quantity * unitPrice over items";
const PRIORITY: &str = "outbox: priority must be a whole number from 0 to 9";
const NOT_BEFORE: &str = "outbox: not_before must be a UTC time that exists, written 2026-11-24T09:48:00Z or 2026-11-24T09:48:00.000Z";
const CREATED_AT: &str = "outbox: created_at must be a UTC time that exists, written 2026-11-24T09:48:00.000Z; left out, it is now";
const TAX_PAYER: &str = "outbox: tax_payer must be a JSON object";
const TAX_PAYER_TEXT: &str =
    "outbox: tax_payer must be text (UTF-8, no NUL) of at most 10000 characters: a JSON object";
const TAX_PAYER_JSON: &str = "outbox: tax_payer must be a JSON object (not valid JSON)";
const TAX_PAYER_FIELD: &str = "outbox: tax_payer has an unknown field; known are id, name, firstName, nif, companyName, address, phoneNumber, email";
const TAX_PAYER_NAME: &str = "outbox: tax_payer must have a name or a companyName that is not blank";
const ITEMS: &str = "outbox: items must be a JSON array of 1 to 1000 items";
const ITEMS_TEXT: &str =
    "outbox: items must be text (UTF-8, no NUL) of at most 200000 characters: a JSON array";
const ITEMS_JSON: &str = "outbox: items must be a JSON array (not valid JSON)";
const QUANTITY: &str = "outbox: items must have a quantity that is a whole number from 1 to 9007199254740991";
const UNIT_PRICE: &str =
    "outbox: items must have a unitPrice that is a whole number of XOF from 0 to 9007199254740991";
const MODES: &str = "outbox: authorized_payment_modes must be a JSON array of at most 100 modes";
const MODES_TEXT: &str =
    "outbox: authorized_payment_modes must be text (UTF-8, no NUL) of at most 20000 characters: a JSON array";
const MODES_AMOUNT: &str = "outbox: authorized_payment_modes must have an amount that is a whole number of XOF from 1 to 9007199254740991";
const CALLBACK: &str = "outbox: callback must be an http or https URL of at most 2048 characters (UTF-8), no blanks, no control characters";
const REDIRECT_URL: &str = "outbox: redirect_url must be an http or https URL of at most 2048 characters (UTF-8), no blanks, no control characters";
const ID: &str = "outbox: id is given by the database; leave it out";

/// Rows that are refused, whatever the conflict clause, and with which message.
pub(crate) const REFUSED: &[(&str, Row)] = &[
    (REFERENCE, &[("reference", "''")]),
    (REFERENCE, &[("reference", "NULL")]),
    (REFERENCE, &[("reference", "")]),
    (REFERENCE, &[("reference", "' '")]),
    (REFERENCE, &[("reference", "' a'")]),
    (REFERENCE, &[("reference", "'a '")]),
    (REFERENCE, &[("reference", "'a' || char(160)")]),
    (REFERENCE, &[("reference", "char(8239) || 'a'")]),
    (REFERENCE, &[("reference", "'a' || char(9) || 'b'")]),
    (REFERENCE, &[("reference", "'a' || char(10)")]),
    (REFERENCE, &[("reference", "'a' || char(127)")]),
    (REFERENCE, &[("reference", "'a' || char(133) || 'b'")]),
    (REFERENCE, &[("reference", "'a' || char(0) || 'b'")]),
    (REFERENCE, &[("reference", "replace(hex(zeroblob(65)), '00', 'é')")]),
    (REFERENCE, &[("reference", "x'414243'")]),
    // Latin-1, cut UTF-8, overlong forms, a lone surrogate.
    (REFERENCE, &[("reference", "CAST(x'54726F72E9' AS TEXT)")]),
    (REFERENCE, &[("reference", "CAST(x'4EB03132' AS TEXT)")]),
    (REFERENCE, &[("reference", "CAST(x'41C3' AS TEXT)")]),
    (REFERENCE, &[("reference", "CAST(x'41E3A9' AS TEXT)")]),
    (REFERENCE, &[("reference", "CAST(x'41F09F98' AS TEXT)")]),
    (REFERENCE, &[("reference", "CAST(x'41C0AF' AS TEXT)")]),
    (REFERENCE, &[("reference", "CAST(x'41E083A9' AS TEXT)")]),
    (REFERENCE, &[("reference", "CAST(x'41EDA080' AS TEXT)")]),
    (CODE_CLIENT, &[("code_client", "''")]),
    (CODE_CLIENT, &[("code_client", "'a' || char(8203)")]),
    (CODE_STRUCTURE, &[("code_structure", "x'41'")]),
    (CODE_STRUCTURE, &[("code_structure", "replace(hex(zeroblob(65)), '00', 'a')")]),
    (REPLACES, &[("replaces", "''")]),
    (REPLACES, &[("replaces", "'a' || char(7)")]),
    (
        "outbox: replaces must be the reference of another row",
        &[("reference", "'same'"), ("replaces", "'same'")],
    ),
    (NET_TOTAL, &[("net_total", "NULL")]),
    (NET_TOTAL, &[("net_total", "")]),
    (NET_TOTAL, &[("net_total", "0")]),
    (NET_TOTAL, &[("net_total", "-1500")]),
    (NET_TOTAL, &[("net_total", "1500.5")]),
    (NET_TOTAL, &[("net_total", "'1500 F'")]),
    (NET_TOTAL, &[("net_total", "x'31353030'")]),
    (
        NET_TOTAL,
        &[("net_total", "9007199254740992"), ("items", r#"'[{"quantity":9007199254740992,"unitPrice":1}]'"#)],
    ),
    (SUM, &[("net_total", "1499")]),
    (SUM, &[("items", r#"'[{"quantity":3,"unitPrice":500},{"quantity":1,"unitPrice":1}]'"#)]),
    (SUM, &[("items", r#"'[{"quantity":1,"unitPrice":0}]'"#)]),
    (PRIORITY, &[("priority", "NULL")]),
    (PRIORITY, &[("priority", "10")]),
    (PRIORITY, &[("priority", "-1")]),
    (PRIORITY, &[("priority", "1.5")]),
    (PRIORITY, &[("priority", "'high'")]),
    (NOT_BEFORE, &[("not_before", "''")]),
    (NOT_BEFORE, &[("not_before", "'2026-11-24'")]),
    (NOT_BEFORE, &[("not_before", "'2026-11-24 09:48:00Z'")]),
    (NOT_BEFORE, &[("not_before", "'2026-11-24T09:48:00'")]),
    (NOT_BEFORE, &[("not_before", "'2026-11-24T09:48:00+00:00'")]),
    (NOT_BEFORE, &[("not_before", "'2026-11-24T09:48:00.5Z'")]),
    (NOT_BEFORE, &[("not_before", "'2026-02-29T00:00:00Z'")]),
    (NOT_BEFORE, &[("not_before", "'2026-11-31T00:00:00.000Z'")]),
    (NOT_BEFORE, &[("not_before", "'2026-11-24T24:00:00Z'")]),
    (NOT_BEFORE, &[("not_before", "'2026-11-24T23:59:60Z'")]),
    (NOT_BEFORE, &[("not_before", "'2026-11-24T09:48:00Z' || char(0)")]),
    (NOT_BEFORE, &[("not_before", "1795513680")]),
    (CREATED_AT, &[("created_at", "NULL")]),
    (CREATED_AT, &[("created_at", "'2026-11-24T09:48:00Z'")]),
    (CREATED_AT, &[("created_at", "'2026-13-24T09:48:00.000Z'")]),
    (TAX_PAYER_TEXT, &[("tax_payer", "NULL")]),
    (TAX_PAYER_TEXT, &[("tax_payer", "")]),
    (TAX_PAYER_TEXT, &[("tax_payer", "''")]),
    (TAX_PAYER_TEXT, &[("tax_payer", r#"CAST('{"name":"a"}' AS BLOB)"#)]),
    (TAX_PAYER_TEXT, &[("tax_payer", r#"'{"name":"a"}' || char(0)"#)]),
    (TAX_PAYER_TEXT, &[("tax_payer", r#"'{"name":"Traor' || CAST(x'E9' AS TEXT) || '"}'"#)]),
    (TAX_PAYER_TEXT, &[("tax_payer", r#"'{"name":"'||replace(hex(zeroblob(10000)),'00','a')||'"}'"#)]),
    (TAX_PAYER_JSON, &[("tax_payer", "'Traoré'")]),
    (TAX_PAYER_JSON, &[("tax_payer", r#"'{"name":"a"'"#)]),
    (TAX_PAYER_JSON, &[("tax_payer", r#"'{"name":"a",}'"#)]),
    (TAX_PAYER_JSON, &[("tax_payer", r#"'{name:"a"}'"#)]),
    (TAX_PAYER_JSON, &[("tax_payer", "'{''name'':''a''}'")]),
    (TAX_PAYER_JSON, &[("tax_payer", r#"'{"name":"a"} // x'"#)]),
    (TAX_PAYER_JSON, &[("tax_payer", r#"'{"name":"a' || char(10) || 'b"}'"#)]),
    (TAX_PAYER_JSON, &[("tax_payer", r#"char(65279) || '{"name":"a"}'"#)]),
    (TAX_PAYER, &[("tax_payer", r#"'["name"]'"#)]),
    (TAX_PAYER, &[("tax_payer", "'null'")]),
    (TAX_PAYER, &[("tax_payer", r#"'"name"'"#)]),
    (TAX_PAYER_FIELD, &[("tax_payer", r#"'{"name":"a","phone":"70"}'"#)]),
    (TAX_PAYER_FIELD, &[("tax_payer", r#"'{"Name":"a"}'"#)]),
    (TAX_PAYER_FIELD, &[("tax_payer", r#"'{"anonymised":true}'"#)]),
    ("outbox: tax_payer has a field twice", &[("tax_payer", r#"'{"name":"a","name":"b"}'"#)]),
    ("outbox: tax_payer has a field twice", &[("tax_payer", r#"'{"name":"a","na\u006de":null}'"#)]),
    ("outbox: tax_payer fields must all be text", &[("tax_payer", r#"'{"name":"a","nif":81}'"#)]),
    ("outbox: tax_payer fields must all be text", &[("tax_payer", r#"'{"name":{"first":"a"}}'"#)]),
    (TAX_PAYER_NAME, &[("tax_payer", "'{}'")]),
    (TAX_PAYER_NAME, &[("tax_payer", r#"'{"firstName":"Aminata"}'"#)]),
    (TAX_PAYER_NAME, &[("tax_payer", r#"'{"name":null,"companyName":null}'"#)]),
    (TAX_PAYER_NAME, &[("tax_payer", r#"'{"name":" \t\u00a0","companyName":""}'"#)]),
    (ITEMS_TEXT, &[("items", "NULL")]),
    (ITEMS_TEXT, &[("items", r#"CAST('[{"quantity":3,"unitPrice":500}]' AS BLOB)"#)]),
    (ITEMS_TEXT, &[("items", r#"'[{"quantity":3,"unitPrice":500}]' || char(0) || 'x'"#)]),
    (
        ITEMS_TEXT,
        &[(
            "items",
            r#"'[{"quantity":3,"unitPrice":500}' || replace(hex(zeroblob(200000)),'00',' ') || ']'"#,
        )],
    ),
    (ITEMS_JSON, &[("items", "'[{]'")]),
    (ITEMS_JSON, &[("items", r#"'[{"quantity":03,"unitPrice":500}]'"#)]),
    (ITEMS_JSON, &[("items", r#"'[{"quantity":0x3,"unitPrice":500}]'"#)]),
    (ITEMS_JSON, &[("items", r#"'[{"quantity":+3,"unitPrice":500}]'"#)]),
    (ITEMS, &[("items", "'[]'")]),
    (ITEMS, &[("items", r#"'{"quantity":3,"unitPrice":500}'"#)]),
    (
        ITEMS,
        &[
            ("net_total", "1001"),
            (
                "items",
                r#"'['||replace(hex(zeroblob(1000)),'00','{"quantity":1,"unitPrice":1},')||'{"quantity":1,"unitPrice":1}]'"#,
            ),
        ],
    ),
    ("outbox: items must be JSON objects", &[("items", r#"'[{"quantity":3,"unitPrice":500},null]'"#)]),
    ("outbox: items must be JSON objects", &[("items", "'[[]]'")]),
    (
        "outbox: items have an unknown field; known are name, quantity, unitPrice, description, codeNatureRecette",
        &[("items", r#"'[{"quantity":3,"unitPrice":500,"price":1}]'"#)],
    ),
    (
        "outbox: items have a field twice",
        &[("items", r#"'[{"quantity":3,"unitPrice":500,"unitPrice":500}]'"#)],
    ),
    (
        "outbox: items must have text as name, description and codeNatureRecette",
        &[("items", r#"'[{"quantity":3,"unitPrice":500,"codeNatureRecette":71531}]'"#)],
    ),
    (QUANTITY, &[("items", r#"'[{"unitPrice":500}]'"#)]),
    (QUANTITY, &[("items", r#"'[{"quantity":null,"unitPrice":500}]'"#)]),
    (QUANTITY, &[("items", r#"'[{"quantity":"3","unitPrice":500}]'"#)]),
    (QUANTITY, &[("items", r#"'[{"quantity":3.0,"unitPrice":500}]'"#)]),
    (QUANTITY, &[("items", r#"'[{"quantity":3e0,"unitPrice":500}]'"#)]),
    (QUANTITY, &[("items", r#"'[{"quantity":true,"unitPrice":1500}]'"#)]),
    (QUANTITY, &[("items", r#"'[{"quantity":0,"unitPrice":500}]'"#)]),
    (QUANTITY, &[("items", r#"'[{"quantity":-3,"unitPrice":-500}]'"#)]),
    (QUANTITY, &[("items", r#"'[{"quantity":99999999999999999999,"unitPrice":500}]'"#)]),
    (UNIT_PRICE, &[("items", r#"'[{"quantity":1,"unitPrice":9007199254740992}]'"#)]),
    (UNIT_PRICE, &[("items", r#"'[{"quantity":3}]'"#)]),
    (UNIT_PRICE, &[("items", r#"'[{"quantity":3,"unitPrice":"500"}]'"#)]),
    (UNIT_PRICE, &[("items", r#"'[{"quantity":3,"unitPrice":500.0}]'"#)]),
    (UNIT_PRICE, &[("items", r#"'[{"quantity":3,"unitPrice":500},{"quantity":1,"unitPrice":-1}]'"#)]),
    (UNIT_PRICE, &[("items", r#"'[{"quantity":3,"unitPrice":500},{"quantity":1,"unitPrice" : -0}]'"#)]),
    (
        "outbox: items must not come to more than 9007199254740991 XOF each",
        &[("items", r#"'[{"quantity":4503599627370496,"unitPrice":2}]'"#)],
    ),
    (
        "outbox: items must not come to more than 9007199254740991 XOF each",
        &[("items", r#"'[{"quantity":9007199254740991,"unitPrice":9007199254740991}]'"#)],
    ),
    (
        SUM,
        &[
            ("net_total", "9007199254740991"),
            (
                "items",
                r#"'[{"quantity":1,"unitPrice":9007199254740991},{"quantity":1,"unitPrice":9007199254740991}]'"#,
            ),
        ],
    ),
    (MODES_TEXT, &[("authorized_payment_modes", "x'5B5D'")]),
    (MODES, &[("authorized_payment_modes", "'{}'")]),
    (MODES, &[("authorized_payment_modes", "'['||replace(hex(zeroblob(100)),'00','{},')||'{}]'")]),
    (
        "outbox: authorized_payment_modes must be a JSON array (not valid JSON)",
        &[("authorized_payment_modes", "'WAVE'")],
    ),
    (
        "outbox: authorized_payment_modes must be JSON objects",
        &[("authorized_payment_modes", r#"'["WAVE"]'"#)],
    ),
    (
        "outbox: authorized_payment_modes have an unknown field; known are codeProvider, paymentNumber, cardNumber, amount",
        &[("authorized_payment_modes", r#"'[{"provider":"WAVE"}]'"#)],
    ),
    (
        "outbox: authorized_payment_modes have a field twice",
        &[("authorized_payment_modes", r#"'[{"amount":1,"amount":1}]'"#)],
    ),
    (
        "outbox: authorized_payment_modes must have text as codeProvider, paymentNumber and cardNumber",
        &[("authorized_payment_modes", r#"'[{"cardNumber":4111}]'"#)],
    ),
    (MODES_AMOUNT, &[("authorized_payment_modes", r#"'[{"amount":0}]'"#)]),
    (MODES_AMOUNT, &[("authorized_payment_modes", r#"'[{"amount":"1500"}]'"#)]),
    (MODES_AMOUNT, &[("authorized_payment_modes", r#"'[{"amount":1500.0}]'"#)]),
    (CALLBACK, &[("callback", "''")]),
    (CALLBACK, &[("callback", "'exemple.ml/retour'")]),
    (CALLBACK, &[("callback", "'ftp://exemple.ml/'")]),
    (CALLBACK, &[("callback", "'https://'")]),
    (CALLBACK, &[("callback", "'https:///retour'")]),
    (CALLBACK, &[("callback", "'https://exemple.ml/a b'")]),
    (CALLBACK, &[("callback", "'https://exemple.ml/' || char(10)")]),
    (CALLBACK, &[("callback", "x'68747470733A2F2F61'")]),
    (REDIRECT_URL, &[("redirect_url", "'https://exemple.ml/' || char(160)")]),
    (REDIRECT_URL, &[("redirect_url", "'https://exemple.ml/' || replace(hex(zeroblob(2048)), '00', 'a')")]),
    (ID, &[("id", "1000000")]),
    (ID, &[("id", "9223372036854775807")]),
    (ID, &[("id", "0")]),
    (ID, &[("id", "-1")]),
    ("outbox: status is written by the daemon; a row is inserted as PENDING", &[("status", "'PAID'")]),
    ("outbox: status is written by the daemon; a row is inserted as PENDING", &[("status", "'pending'")]),
    ("outbox: attempts is written by the daemon", &[("attempts", "1")]),
    ("outbox: status_source is written by the daemon", &[("status_source", "'emit'")]),
    ("outbox: status_reason is written by the daemon", &[("status_reason", "'x'")]),
    ("outbox: updated_at is written by the daemon", &[("updated_at", "'2026-11-24T09:48:00.000Z'")]),
    (
        "outbox: next_attempt_at is written by the daemon (use not_before)",
        &[("next_attempt_at", "'2026-11-24T09:48:00.000Z'")],
    ),
    (
        "outbox: not_before_passed is written by the daemon",
        &[("not_before_passed", "'2026-11-24T09:48:00.000Z'")],
    ),
    ("outbox: tresorpay_reference is written by the daemon", &[("tresorpay_reference", "'TP1'")]),
    ("outbox: payment_url is written by the daemon", &[("payment_url", "'https://tresorpay.ml'")]),
    ("outbox: provider is written by the daemon", &[("provider", "'WAVE'")]),
    ("outbox: pay_date is written by the daemon", &[("pay_date", "'2026-11-24T09:48:00'")]),
    ("outbox: emitted_at is written by the daemon", &[("emitted_at", "'2026-11-24T09:48:00.000Z'")]),
    ("outbox: paid_at is written by the daemon", &[("paid_at", "'2026-11-24T09:48:00.000Z'")]),
    ("outbox: canceled_at is written by the daemon", &[("canceled_at", "'2026-11-24T09:48:00.000Z'")]),
    (
        "outbox: delivery_confirmed_at is written by the daemon",
        &[("delivery_confirmed_at", "'2026-11-24T09:48:00.000Z'")],
    ),
    (
        "outbox: callback_called_at is written by the daemon",
        &[("callback_called_at", "'2026-11-24T09:48:00.000Z'")],
    ),
    ("outbox: receipt_path is written by the daemon", &[("receipt_path", "'a.pdf'")]),
    ("outbox: anonymised_at is written by the daemon", &[("anonymised_at", "'2026-11-24T09:48:00.000Z'")]),
    ("outbox: last_error is written by the daemon", &[("last_error", "'x'")]),
];
