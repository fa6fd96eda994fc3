//! From PENDING to PAID: every notice once, with exactly what the application wrote.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tresorpayd::simulator::{Config, Notice, Operation, PhoneNumbers, Taxpayers};

use crate::{
    audit::audit,
    harness::{World, case, each, until},
    rows::{NewRow, Row},
};

/// Text that something on the way might take for its own.
const TEXTS: [&str; 12] = [
    "Traoré Aïssata Ɲaana Ŋɔnkɔɔrɔ",
    "'); DROP TABLE outbox; --",
    "\"quoted\" 'single' `back` \\n \\u0041 \\",
    "👩🏾‍🌾 payé ✅ 𝄞",
    "<b>gras</b> &amp; &#233; %41 %zz + ?a=b",
    "ligne 1\nligne 2\r\n\ttab",
    "سوق باماكو ‏‎",
    "e\u{301}\u{327} z\u{335} \u{feff}BOM",
    "{\"reference\":\"X\",\"netTotal\":1}",
    "${jndi:ldap://127.0.0.1/a} {{7*7}}",
    "\u{2028}\u{2029}\u{200b}",
    "NULL",
];

/// What an application writes as a phone number, and what TresorPay is to be sent.
const PHONES: [(&str, &str); 6] = [
    ("70123456", "70123456"),
    ("+22376543210", "76543210"),
    ("00223 66 77 88 99", "66778899"),
    ("22391020304", "91020304"),
    ("(+223) 65-43-21-09", "65432109"),
    ("83.45.67.89", "83456789"),
];

fn varied(number: usize) -> NewRow {
    let units = i64::try_from(number).unwrap();
    let text = |offset: usize| format!("{} {number}", TEXTS[(number + offset) % TEXTS.len()]);
    let mut row = NewRow::new(match number % 5 {
        0 => format!("É'\"{number} 🧾; --"),
        _ => format!("2026/{number:03}"),
    });
    let (quantity, price) = (1 + units % 7, 250 * (1 + units % 40));
    row.items = json!([
        {"name": text(1), "quantity": quantity, "unitPrice": price, "description": text(2), "codeNatureRecette": "71531"},
        {"name": text(3), "quantity": 3, "unitPrice": 0, "codeNatureRecette": "7153 1/b"},
    ]);
    row.net_total = quantity * price;
    let phone = PHONES[number % PHONES.len()].0;
    row.tax_payer = match number % 4 {
        0 => json!({"name": text(4), "firstName": text(5), "phoneNumber": phone}),
        1 => {
            json!({"companyName": text(6), "nif": text(7), "address": text(8), "email": "a+b@example.ml", "name": null})
        }
        2 => json!({"id": text(9), "name": text(10), "phoneNumber": null, "email": null}),
        _ => json!({"name": text(11), "phoneNumber": phone, "companyName": text(0)}),
    };
    if number.is_multiple_of(6) {
        row.payment_modes =
            Some(json!([{"codeProvider": "WAVE", "amount": row.net_total}, {"codeProvider": "CARD"}]));
    }
    if number.is_multiple_of(10) {
        row.redirect_url = Some(format!("https://127.0.0.1/retour?avis={number}&x=%C3%A9"));
    }
    row
}

/// The notice in TresorPay's ledger is the row, field by field.
fn assert_same(row: &NewRow, notice: &Notice) {
    assert_eq!((&notice.client_reference, notice.net_total), (&row.reference, row.net_total));
    assert_eq!((&*notice.code_client, &*notice.code_structure), ("APP-DEMO", "STR-DEMO"));
    let mut payer = without_nulls(row.tax_payer.clone());
    if let Some(given) = payer.get("phoneNumber").cloned() {
        payer["phoneNumber"] = json!(PHONES.iter().find(|(written, _)| given == *written).unwrap().1);
    }
    assert_eq!(serde_json::to_value(&notice.tax_payer).unwrap(), payer);
    assert_eq!(serde_json::to_value(&notice.items).unwrap(), row.items);
    assert_eq!(notice.authorized_payment_modes.as_ref().map(|modes| json!(modes)), row.payment_modes);
    assert_eq!((&notice.callback, &notice.redirect_url), (&row.callback, &row.redirect_url));
}

fn without_nulls(mut object: Value) -> Value {
    object.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    object
}

fn assert_paid(world: &World, row: &Row, notice: &Notice) {
    assert_eq!((&*row.status, row.attempts), ("PAID", 1), "{row:?}");
    assert_eq!(row.tresorpay_reference.as_deref(), Some(&*notice.reference));
    assert_eq!((&row.provider, &row.pay_date), (&notice.provider, &notice.pay_date));
    let page = format!("{}?id={}", world.sim.payment_page(), notice.reference);
    assert_eq!(row.payment_url.as_deref(), Some(&*page));
    assert!(row.emitted_at < row.paid_at && row.emitted_at.is_some(), "{row:?}");
    assert_eq!((&row.canceled_at, &row.next_attempt_at, &row.last_error), (&None, &None, &None));
}

#[tokio::test]
async fn two_hundred_notices_are_emitted_and_paid_once_each() {
    let pay_after = (Duration::from_millis(100)..=Duration::from_millis(800)).into();
    let taxpayers = Taxpayers { pay_share: 1.0, pay_after, ..Taxpayers::default() };
    let world = World::with(Config { taxpayers, ..Config::default() }).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let written: Vec<_> = (0..200).map(varied).collect();
    app.insert(&written).await;
    until("all are paid", async || app.count("PAID").await == 200).await;
    daemon.stop().await;
    audit(&world, &mut app).await;

    let (rows, ledger) = (app.rows().await, world.sim.ledger());
    assert_eq!(ledger.notices.len(), 200);
    for (written, row) in written.iter().zip(&rows) {
        let notice = ledger.of_client(&written.reference).next().unwrap();
        assert_same(written, notice);
        assert_paid(&world, row, notice);
    }
    let transitions = app.transitions().await;
    for row in &rows {
        let steps: Vec<_> = transitions
            .iter()
            .filter(|step| step.outbox_id == row.id)
            .map(|step| (&*step.to_status, &*step.source))
            .collect();
        assert_eq!(
            steps,
            [("PENDING", "application"), ("EMITTING", "emit"), ("EMITTED", "emit"), ("PAID", "poll")]
        );
    }
    let attempts = app.attempts().await;
    assert_eq!(attempts.len(), 200);
    for (attempt, row) in attempts.iter().map(|a| (a, rows.iter().find(|row| row.id == a.outbox_id).unwrap()))
    {
        assert_eq!((&*attempt.phase, attempt.http_status), ("answered", Some(200)));
        assert_eq!((attempt.outcome.as_deref(), &attempt.detail), (Some("ok"), &None));
        assert_eq!(attempt.tresorpay_reference, row.tresorpay_reference);
        assert_eq!(attempt.base_url, world.sim.base_url());
        assert_eq!(attempt.code_client.as_deref(), Some("APP-DEMO"));
        assert_eq!(attempt.code_structure.as_deref(), Some("STR-DEMO"));
        assert!(attempt.duration_ms.is_some());
    }
}

#[tokio::test]
async fn the_largest_amount_arrives_to_the_franc() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("MAX").amount(9_007_199_254_740_991), NewRow::new("MIN").amount(1)]).await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    audit(&world, &mut app).await;
    assert_eq!(world.sim.notice("MAX").unwrap().net_total, 9_007_199_254_740_991);
    assert_eq!(world.sim.notice("MAX").unwrap().items[0].unit_price.unwrap().0, 9_007_199_254_740_991);
}

#[tokio::test]
async fn a_notice_of_a_thousand_items_is_emitted_whole() {
    let world = World::new().await;
    let _daemon = world.start().await;
    let mut app = world.application().await;
    let mut row = NewRow::new("LONG");
    let item = |n: usize| {
        json!({"name": format!("Ligne {n} {}", "é".repeat(60)), "quantity": 1, "unitPrice": n,
                                 "codeNatureRecette": "71531"})
    };
    row.items = (1..=1000).map(item).collect();
    row.net_total = (1..=1000).sum();
    app.insert(std::slice::from_ref(&row)).await;
    until("it is emitted", async || app.status("LONG").await == "EMITTED").await;
    assert_eq!(serde_json::to_value(world.sim.notice("LONG").unwrap().items).unwrap(), row.items);
    audit(&world, &mut app).await;
}

/// A number that is no Malian one goes as it came, or not at all; the row's own codes and URLs go before the settings'.
#[tokio::test]
async fn other_phone_numbers_by_setting_and_own_values_before_configured_ones() {
    let by = async |setting: &str, sent: Option<&str>| {
        let other_codes = vec![("APP-2".to_owned(), "STR-DEMO".to_owned())];
        let config = Config { phone_numbers: PhoneNumbers::Any, other_codes, ..Config::default() };
        let mut world = World::with(config).await;
        world
            .set("notice.other_phone_numbers", setting)
            .set("notice.redirect_url", "https://127.0.0.1/configured");
        let _daemon = world.start().await;
        let mut app = world.application().await;
        let mut own = NewRow::new("OWN");
        own.tax_payer = json!({"name": "Keita", "phoneNumber": "+33 6 12 34 56 78"});
        own.code_client = Some("APP-2");
        own.redirect_url = Some("https://127.0.0.1/own".to_owned());
        app.insert(&[own, NewRow::new("CONFIGURED")]).await;
        until("both are emitted", async || app.count("EMITTED").await == 2).await;
        let (own, configured) = (world.sim.notice("OWN").unwrap(), world.sim.notice("CONFIGURED").unwrap());
        assert_eq!(own.tax_payer.phone_number.as_deref(), sent, "{setting}");
        assert_eq!(
            (&*own.code_client, own.redirect_url.as_deref()),
            ("APP-2", Some("https://127.0.0.1/own"))
        );
        assert_eq!(configured.code_client, "APP-DEMO");
        assert_eq!(configured.redirect_url.as_deref(), Some("https://127.0.0.1/configured"));
        audit(&world, &mut app).await;
    };
    let given = Some("+33 6 12 34 56 78");
    each([case("send", by("send", given)), case("omit", by("omit", None))]).await;
}

/// Neither the row nor the settings name the application: only the daemon sees that, and says so.
#[tokio::test]
async fn a_row_without_a_code_is_rejected_and_nothing_leaves() {
    let mut world = World::new().await;
    world.set("notice.code_client", "");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is rejected", async || app.status("A-1").await == "REJECTED").await;
    let row = app.row("A-1").await;
    assert!(row.last_error.as_deref().unwrap().contains("code_client"), "{row:?}");
    assert_eq!((row.attempts, world.emissions()), (0, 0));
    audit(&world, &mut app).await;
}

/// An application's own process commits a row while the daemon has nothing to do and no schedule that would look.
#[tokio::test]
async fn an_insert_of_another_process_is_at_tresorpay_within_a_second() {
    let mut world = World::new().await;
    world.set("emit.schedule", "0 0 0 1 1 *");
    let _daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    let mut slowest = Duration::ZERO;
    for number in 0..3 {
        let reference = format!("OTHER-{number}");
        insert_by_another_process(&world, &reference).await;
        let committed = Instant::now();
        until("it is at TresorPay", async || world.sim.notice(&reference).is_some()).await;
        slowest = slowest.max(committed.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    until("all are emitted", async || app.count("EMITTED").await == 4).await;
    audit(&world, &mut app).await;
}

/// By the sqlite3 program where there is one, else by a connection of its own.
async fn insert_by_another_process(world: &World, reference: &str) {
    let row = NewRow::new(reference);
    let shell =
        Command::new("sqlite3").arg(world.database()).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let Ok(mut shell) = shell else {
        world.application().await.insert(&[row]).await;
        return;
    };
    let sql = format!(
        ".timeout 5000\nINSERT INTO outbox (reference, net_total, tax_payer, items) VALUES ('{reference}', 1000, '{}', '{}');\n",
        row.tax_payer, row.items
    );
    shell.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

/// A notice and the application's own order are one commit, in the same file.
#[tokio::test]
async fn an_applications_own_tables_live_in_the_same_file() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, notice TEXT REFERENCES outbox (reference))")
        .await
        .unwrap();
    app.run("BEGIN IMMEDIATE").await.unwrap();
    app.try_insert(&NewRow::new("A-1")).await.unwrap();
    app.run("INSERT INTO orders (notice) VALUES ('A-1')").await.unwrap();
    app.run("ROLLBACK").await.unwrap();
    app.run("BEGIN IMMEDIATE").await.unwrap();
    app.try_insert(&NewRow::new("A-2")).await.unwrap();
    app.run("INSERT INTO orders (notice) VALUES ('A-2')").await.unwrap();
    app.run("COMMIT").await.unwrap();
    until("it is emitted", async || app.status("A-2").await == "EMITTED").await;
    assert_eq!((app.rows().await.len(), app.number("SELECT count(*) FROM orders").await), (1, 1));
    daemon.stop().await;
    let mut daemon = world.start().await;
    assert_eq!(app.number("SELECT count(*) FROM orders").await, 1);
    assert_eq!(world.sim.counters().outcome(Operation::Emit, "200"), 1);
    daemon.stop().await;
    audit(&world, &mut app).await;
}
