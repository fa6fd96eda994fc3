//! `add`: all or none, idempotent, and every refusal names the entry and the rule, never a person.

use serde_json::{Value, json};

use crate::bench::{Bench, NAME, entry, with};

#[tokio::test(flavor = "multi_thread")]
async fn adds_one_object_or_an_array_from_a_file_or_stdin() {
    let bench = Bench::new().await;
    let ran = bench.run_with(&["add", "--json", "-"], entry("A-1").to_string().as_bytes());
    assert_eq!(
        ran.exits(0).json(),
        json!({"added": 1, "already_there": 0, "rows": [{"reference": "A-1", "id": 1, "outcome": "added"}]})
    );
    let pretty = serde_json::to_string_pretty(&json!([entry("A-1"), entry("A-2"), entry("A-3")])).unwrap();
    std::fs::write(bench.path("rows.json"), format!("\u{feff}{pretty}\n")).unwrap();
    assert_eq!(bench.run(&["add", "rows.json"]).exits(0).out, "added 2, already there 1\n");
    assert_eq!(bench.run_with(&["add", "-"], b"[]").exits(0).out, "added 0, already there 0\n");
    assert_eq!(bench.number("SELECT count(*) FROM outbox WHERE status = 'PENDING'").await, 3);
    assert_eq!(bench.number("SELECT count(*) FROM transition WHERE source = 'application'").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_arrives_as_it_was_given() {
    let bench = Bench::new().await;
    let full = json!({
        "reference": "A-1", "code_client": "C", "code_structure": "S", "net_total": 1000, "priority": 9, "replaces": "A-0",
        "not_before": "2030-01-01T00:00:00Z", "created_at": "2026-01-01T00:00:00.000Z",
        "tax_payer": {"name": "Dembélé \"le\" Grand", "nif": null},
        "items": [{"name": "a b", "quantity": 1, "unitPrice": 1000}],
        "authorized_payment_modes": [{"codeProvider": "WAVE", "amount": 1000}],
        "callback": "https://example.test/paid", "redirect_url": "https://example.test/back",
    });
    bench.add(&full).exits(0);
    let shown = bench.run(&["show", "A-1", "--personal", "--json"]).exits(0).json();
    for (field, value) in full.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field}");
    }
    let compact =
        bench.number("SELECT count(*) FROM outbox WHERE items NOT LIKE '% \"%' AND items LIKE '%a b%'").await;
    assert_eq!(compact, 1, "blanks between the parts of JSON are not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_is_skipped_however_it_is_spelt() {
    let bench = Bench::new().await;
    let mut first = entry("A-1");
    first["not_before"] = json!("2030-01-01T00:00:00Z");
    bench.add(&first).exits(0);
    let same = r#"{"items":[{"codeNatureRecette":"71531","description":null,"unitPrice":500,"quantity":2,"name":"Timbre"}],
        "tax_payer":{"phoneNumber":"+223 70 00 00 01","nif":null,"name":"Diarra-Secr\u00e8te"}, "priority":0,
        "not_before":"2030-01-01T00:00:00.000Z", "callback":null, "net_total":1000, "reference":"A-1"}"#;
    assert_eq!(bench.run_with(&["add", "-"], same.as_bytes()).exits(0).out, "added 0, already there 1\n");
    let twice = json!([entry("B-1"), entry("B-1")]);
    assert_eq!(bench.add(&twice).exits(0).out, "added 1, already there 1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_content_fails_and_names_the_columns() {
    let bench = Bench::new().await;
    bench.add(&entry("A-1")).exits(0);
    for (column, value) in [
        ("code_client", json!("C")),
        ("code_structure", json!("S")),
        ("priority", json!(1)),
        ("replaces", json!("A-0")),
        ("not_before", json!("2030-01-01T00:00:00Z")),
        ("created_at", json!("2020-01-01T00:00:00.000Z")),
        ("tax_payer", json!({"name": "Somebody else"})),
        ("authorized_payment_modes", json!([{"codeProvider": "WAVE"}])),
        ("callback", json!("https://example.test/")),
        ("redirect_url", json!("https://example.test/")),
    ] {
        let ran = bench.add(&json!([entry("NEW"), with("A-1", column, value)])).exits(1);
        let ran = ran.complains(&format!(
            "1 of 2 entries refused\n  entry 2 (A-1): the reference is already there with other content: {column} differ\n"
        ));
        assert!(!ran.err.contains(NAME) && !ran.err.contains("Somebody"), "{}", ran.err);
    }
    let mut dearer = entry("A-1");
    dearer["net_total"] = json!(2000);
    dearer["items"][0]["quantity"] = json!(4);
    bench.add(&dearer).exits(1).complains("other content: net_total, items differ");
    bench.add(&json!([entry("B-1"), with("B-1", "priority", json!(3))])).exits(1).complains("entry 2 (B-1)");
    assert_eq!(bench.number("SELECT count(*) FROM outbox").await, 1, "all or none");
}

/// What retention took out cannot be compared; what stays is.
#[tokio::test(flavor = "multi_thread")]
async fn an_anonymised_row_is_still_known() {
    let bench = Bench::new().await;
    bench.add(&entry("A-1")).exits(0);
    let mut daemon = bench.as_daemon().await;
    for sql in [
        "UPDATE outbox SET status = 'REJECTED', status_source = 'emit', updated_at = '2026-01-01T00:00:00.000Z'",
        "UPDATE outbox SET anonymised_at = '2026-01-01T00:00:00.000Z', tax_payer = '{\"anonymised\":true}',
             items = '[{\"codeNatureRecette\":\"71531\",\"quantity\":2,\"unitPrice\":500}]'",
    ] {
        sqlx::query(sql).execute(&mut daemon).await.unwrap();
    }
    assert_eq!(bench.add(&entry("A-1")).exits(0).out, "added 0, already there 1\n");
    bench.add(&with("A-1", "priority", json!(1))).exits(1).complains("other content: priority differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_entries_are_refused_with_the_rule() {
    let bench = Bench::new().await;
    let item = |field: &str, value: Value| {
        let mut entry = entry("X");
        entry["items"][0][field] = value;
        entry
    };
    let without = |field: &str| {
        let mut entry = entry("X");
        entry.as_object_mut().unwrap().remove(field);
        entry
    };
    let cases: Vec<(Value, &str)> = vec![
        (json!("X"), "is not what is expected: one JSON object, or an array of objects"),
        (json!(["X"]), "entry 1 (no reference): is not a JSON object"),
        (without("reference"), "entry 1 (no reference): outbox: reference must be text"),
        (with("X", "reference", json!(7)), "entry 1 (no reference): reference must be text"),
        (
            with(" X", "priority", json!(0)),
            "entry 1 ( X): outbox: reference must be text of 1 to 64 characters",
        ),
        (with("X", "reference", json!("x".repeat(65))), "outbox: reference must be text"),
        (without("net_total"), "outbox: net_total must be a whole number"),
        (with("X", "net_total", json!("1000")), "net_total must be a whole number, without quotes"),
        (with("X", "net_total", json!(1000.0)), "net_total must be a whole number"),
        (with("X", "net_total", json!(999)), "outbox: net_total must equal the sum"),
        (with("X", "priority", json!(10)), "outbox: priority must be a whole number from 0 to 9"),
        (with("X", "replaces", json!("X")), "outbox: replaces must be the reference of another row"),
        (with("X", "not_before", json!("tomorrow")), "outbox: not_before must be a UTC time"),
        (without("tax_payer"), "outbox: tax_payer must be text"),
        (with("X", "tax_payer", json!({"firstName": NAME})), "outbox: tax_payer must have a name"),
        (
            with("X", "tax_payer", json!({"name": NAME, "nom": NAME})),
            "outbox: tax_payer has an unknown field",
        ),
        (with("X", "tax_payer", json!([NAME])), "outbox: tax_payer must be a JSON object"),
        (with("X", "tax_payer", json!(format!("{{\"name\":\"{NAME}\"}}"))), "tax_payer must be JSON itself"),
        (without("items"), "outbox: items must be text"),
        (with("X", "items", json!([])), "outbox: items must be a JSON array of 1 to 1000 items"),
        (item("quantity", json!(1.5)), "outbox: items must have a quantity that is a whole number"),
        (item("unitPrice", json!("500")), "outbox: items must have a unitPrice"),
        (item("prix", json!(1)), "outbox: items have an unknown field"),
        (
            with("X", "authorized_payment_modes", json!([{"card": NAME}])),
            "outbox: authorized_payment_modes have an unknown",
        ),
        (with("X", "callback", json!("ftp://x")), "outbox: callback must be an http or https URL"),
        (with("X", "callback", json!({"url": NAME})), "callback must be text"),
        (with("X", "status", json!("PAID")), "unknown field `status`"),
        (with("X", "id", json!(7)), "unknown field `id`"),
        (with("X", "taxpayer", json!({})), "unknown field `taxpayer`"),
    ];
    for (entry, rule) in cases {
        let ran = bench.add(&entry).exits(1).complains(rule);
        assert!(!ran.err.contains(NAME), "{}", ran.err);
        assert!(ran.err.starts_with("tresorpayd: "), "{}", ran.err);
    }
    assert_eq!(bench.number("SELECT count(*) FROM outbox").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_inputs_are_refused_with_their_place() {
    let bench = Bench::new().await;
    let stdin = |input: &[u8], words: &str| {
        let ran = bench.run_with(&["add", "-"], input).exits(1).complains("tresorpayd: standard input: ");
        ran.complains(words);
    };
    stdin(b"", "is empty");
    stdin(b"[{\"reference\":\"A\"", "is not valid JSON: EOF while parsing");
    stdin(b"{}\n{}", "is not valid JSON: trailing characters at line 2 column 1");
    stdin(b"{\"reference\":\"\xe9\"}", "is not UTF-8 text (byte 14)");
    stdin(&vec![b' '; (64 << 20) + 1], "is larger than 67108864 bytes");
    let twice = bench.run_with(&["add", "-"], b"{\"reference\":\"A\",\"reference\":\"B\"}");
    twice.exits(1).complains("duplicate field `reference`");
    let double =
        entry("A").to_string().replace("\"name\":\"Timbre\"", "\"name\":\"Timbre\",\"name\":\"Visa\"");
    bench.run_with(&["add", "-"], double.as_bytes()).exits(1).complains("outbox: items have a field twice");
    bench.run(&["add", "no-such-file"]).exits(1).complains("tresorpayd: no-such-file: No such file");
    bench.run(&["add", "."]).exits(1).complains("tresorpayd: .: Is a directory");
    bench.run(&["add"]).exits(2).complains("<FILE|->");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_bad_entries_are_counted() {
    let bench = Bench::new().await;
    let entries: Vec<Value> = (0..25).map(|n| with(&format!("A-{n}"), "net_total", json!(1))).collect();
    let ran = bench.add(&json!(entries)).exits(1).complains("nothing was added: 25 of 25 entries refused");
    assert_eq!(ran.err.matches("\n  entry ").count(), 20);
    assert!(ran.err.ends_with("\n  and 5 more\n"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_into_a_database_that_is_there_and_its_own() {
    let bench = Bench::bare().await;
    bench.add(&entry("A-1")).exits(1).complains("does not exist").complains("tresorpayd migrate");
    assert!(!bench.database().exists());
    bench.run(&["migrate"]).exits(0);
    bench.configure(&[("environment", "\"sandbox\""), ("api.base_url", "\"\""), ("auth.token_url", "\"\"")]);
    bench.add(&entry("A-1")).exits(78).complains("environment");
    assert_eq!(bench.number("SELECT count(*) FROM outbox").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_is_emitted() {
    let bench = Bench::new().await;
    let _daemon = bench.daemon();
    bench.until_running().await;
    bench
        .add(&with("A-1", "authorized_payment_modes", json!([{"codeProvider": "WAVE", "amount": 1000}])))
        .exits(0);
    bench.until("A-1", "EMITTED").await;
    let same = with("A-1", "authorized_payment_modes", json!([{"amount": 1000, "codeProvider": "WAVE"}]));
    assert_eq!(bench.add(&same).exits(0).out, "added 0, already there 1\n");
    bench.add(&entry("A-1")).exits(1).complains("other content: authorized_payment_modes differ");
    assert_eq!(bench.sim.ledger().notices.len(), 1);
}
