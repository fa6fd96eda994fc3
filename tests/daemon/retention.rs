//! Retention: personal data leaves finished rows, and with it every byte of the files; what is not finished keeps it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    audit::audit,
    harness::{World, holds_for, until, until_within},
    rows::{Application, NewRow},
};

/// The log is emptied once in a while only.
const LONG: Duration = Duration::from_secs(90);

/// What no file may hold once it is taken out.
const PERSONAL: [&str; 13] = [
    "Zoumanadiarra",
    "Aminatafanta",
    "70 12 34 56",
    "70123456",
    "NIF0817263544",
    "example.ml",
    "Patentekouyate",
    "Exercicedembele",
    "4970109876543210",
    "76998877",
    "rappelprive",
    "retourprive",
    "motifsissoko",
];

const ANONYMISED: &str = "SELECT count(*) FROM outbox WHERE anonymised_at IS NOT NULL";

/// A row with all that is personal in it.
fn personal(reference: impl Into<String>) -> NewRow {
    NewRow {
        items: json!([{"name": "Patentekouyate", "description": "Exercicedembele 2026", "quantity": 2, "unitPrice": 500,
                       "codeNatureRecette": "71531"}]),
        payment_modes: Some(json!([
            {"codeProvider": "CARD", "cardNumber": "4970109876543210", "amount": 400},
            {"codeProvider": "WAVE", "paymentNumber": "76998877", "amount": 600},
        ])),
        callback: Some("http://127.0.0.1:9/rappelprive".to_owned()),
        redirect_url: Some("https://retourprive.ml/".to_owned()),
        ..NewRow::new(reference)
    }
}

/// Those of `words` that the database's files hold. Nobody in this process may have them open.
fn found(database: &Path, words: &[&'static str]) -> Vec<&'static str> {
    let mut bytes = fs::read(database).unwrap();
    bytes.extend(fs::read(format!("{}-wal", database.display())).unwrap_or_default());
    let holds = |word: &&&str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    words.iter().filter(holds).copied().collect()
}

/// Waits until the database's files hold none of `words`.
async fn gone(world: &World, words: &[&'static str]) {
    let (start, mut left) = (Instant::now(), words.to_vec());
    until_within(LONG, "no byte is left", async || {
        left = found(&world.database(), words);
        let wal = fs::metadata(format!("{}-wal", world.database().display())).map_or(0, |wal| wal.len());
        assert!(start.elapsed() < LONG / 2 || left.is_empty(), "left: {left:?}; the -wal has {wal} bytes");
        left.is_empty()
    })
    .await;
}

/// Every file below `folder`.
fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

async fn pay_all(world: &World, app: &mut Application, references: &[String]) {
    until("all are emitted", async || app.waiting().await == 0).await;
    for reference in references {
        world.sim.pay(reference, None).unwrap();
    }
    let done = "SELECT count(*) FROM outbox WHERE status = 'PAID' AND next_attempt_at IS NULL";
    let count = i64::try_from(references.len()).unwrap();
    until("all are paid, with nothing left to do", async || app.number(done).await == count).await;
}

/// One row of each end, with a receipt and commands with reasons, and one that is not finished.
#[tokio::test]
async fn no_byte_of_what_is_finished_is_left() {
    let mut world = World::new().await;
    let receipts = world.dir.path().join("receipts");
    world.set("receipts.directory", receipts.to_str().unwrap());
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let rejected = NewRow { code_client: Some("APP-WRONG"), ..personal("REJECTED") };
    app.insert(&[personal("PAID"), personal("CANCELED"), rejected]).await;
    pay_all(&world, &mut app, &["PAID".to_owned()]).await;
    for (reference, action) in [("CANCELED", "cancel"), ("PAID", "cancel"), ("PAID", "poll")] {
        app.run(&format!(
            "INSERT INTO command (reference, action, requested_by, reason)
             VALUES ('{reference}', '{action}', 'Guichet', 'motifsissoko {action}')"
        ))
        .await
        .unwrap();
    }
    let open = "SELECT count(*) FROM command WHERE done_at IS NULL";
    until("all is carried out", async || app.number(open).await == 0).await;
    assert_eq!((app.count("CANCELED").await, app.count("REJECTED").await, files(&receipts)), (1, 1, 1));
    let amounts = "SELECT group_concat(reference || net_total || (SELECT group_concat(json_extract(value, '$.quantity')
                       * json_extract(value, '$.unitPrice') || json_extract(value, '$.codeNatureRecette'))
                   FROM json_each(items)) || tresorpay_reference || payment_url || coalesce(paid_at, '') || updated_at)
                   FROM outbox WHERE status <> 'REJECTED'";
    let history = "SELECT group_concat(id || to_status || source || coalesce(reason, '')) FROM transition";
    let kept = (app.text(amounts).await.unwrap(), app.text(history).await.unwrap());
    app.close().await;
    daemon.stop().await;
    assert!(
        found(&world.database(), &PERSONAL).len() >= PERSONAL.len() - 2,
        "the search finds what is there"
    );

    world.set("retention.anonymise_after", "1ms");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    until("all three are anonymised", async || app.number(ANONYMISED).await == 3).await;
    app.close().await;
    // Without a commit, a restart or a command of anybody's.
    gone(&world, &PERSONAL).await;
    assert_eq!(files(&receipts), 0, "the receipt is gone");

    let mut app = world.application().await;
    assert_eq!((app.text(amounts).await.unwrap(), app.text(history).await.unwrap()), kept);
    let paid = app.row("PAID").await;
    assert_eq!(paid.tax_payer, r#"{"anonymised":true}"#);
    assert_eq!(paid.items, r#"[{"codeNatureRecette":"71531","quantity":2,"unitPrice":500}]"#);
    let code = app.row("REJECTED").await.last_error.unwrap();
    assert_eq!(code, "refused: what was said is gone with the personal data");
    assert_eq!(app.number("SELECT count(*) FROM outbox WHERE receipt_path IS NOT NULL").await, 0);
    assert_eq!(app.number("SELECT count(*) FROM attempt WHERE detail IS NOT NULL").await, 0);
    let words = "SELECT count(*) FROM command WHERE coalesce(argument, reason, detail) IS NOT NULL";
    assert_eq!(app.number(words).await, 0);
    let asked = "SELECT count(*) FROM command WHERE requested_by = 'Guichet' AND outcome IS NOT NULL";
    assert_eq!(app.number(asked).await, 3, "who asked for what, and its outcome, stay");

    // What needs the data is refused, what does not goes on.
    assert_eq!(app.command("REJECTED", "retry").await.0, "refused");
    let (outcome, detail) = app.command("PAID", "fetch-receipt").await;
    assert!(outcome == "refused" && detail.contains("personal data"), "{detail}");
    assert_eq!(app.command("PAID", "poll").await.0, "done");
    assert_eq!(app.command("PAID", "confirm-delivery").await.0, "done");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Nothing is due a second time: no commit, whatever is finished.
#[tokio::test]
async fn a_second_look_changes_nothing() {
    let mut world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let references: Vec<_> = (1..=60).map(|number| format!("A-{number}")).collect();
    app.insert(&references.iter().map(personal).collect::<Vec<_>>()).await;
    pay_all(&world, &mut app, &references).await;
    daemon.stop().await;
    world.set("retention.anonymise_after", "1ms");
    for _ in 0..2 {
        let mut daemon = world.start().await;
        until("all are anonymised", async || app.number(ANONYMISED).await == 60).await;
        let marks = "SELECT group_concat(anonymised_at || updated_at) FROM outbox";
        let mut seen = (None, 0);
        let mut since = Instant::now();
        until("nobody has committed for three seconds", async || {
            let now = (app.text(marks).await, app.number("PRAGMA data_version").await);
            if seen != now {
                (seen, since) = (now, Instant::now());
            }
            since.elapsed() > Duration::from_secs(3)
        })
        .await;
        assert_eq!(app.number("SELECT sum(net_total) FROM outbox").await, 60_000);
        daemon.stop().await;
    }
    audit(&world, &mut app).await;
}

/// A card number leaves with the emission, by itself, and no other digit with it.
#[tokio::test]
async fn card_numbers_go_once_emitted() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let decoy = NewRow {
        payment_modes: Some(json!([{"codeProvider": "WAVE", "paymentNumber": "cardNumber", "amount": 1000}])),
        ..NewRow::new("WORD")
    };
    let later = NewRow { not_before: Some("2100-01-01T00:00:00Z".to_owned()), ..personal("LATER") };
    app.insert(&[personal("A-1"), decoy, later]).await;
    let modes = |reference: &str| {
        format!("SELECT authorized_payment_modes FROM outbox WHERE reference = '{reference}'")
    };
    let without = r#"[{"amount":400,"codeProvider":"CARD"},{"amount":600,"codeProvider":"WAVE","paymentNumber":"76998877"}]"#;
    until("the card number is gone", async || app.text(&modes("A-1")).await.as_deref() == Some(without))
        .await;
    assert_eq!(app.status("A-1").await, "EMITTED");
    assert!(app.text(&modes("WORD")).await.unwrap().contains("cardNumber"), "a value is no card number");
    assert!(app.text(&modes("LATER")).await.unwrap().contains("4970109876543210"), "it is not sent yet");
    assert_eq!(world.sim.notice("A-1").unwrap().net_total, 1000);
    let (_, detail) = app.command("LATER", "cancel").await;
    until("canceled, it has no card number either", async || {
        !app.text(&modes("LATER")).await.unwrap().contains("4970109876543210")
    })
    .await;
    assert!(detail.contains("CANCELED"), "{detail}");
    app.close().await;
    gone(&world, &["4970109876543210"]).await;
    daemon.stop().await;
}

/// What is not finished, or has something left to do, keeps its data until it is done.
#[tokio::test]
async fn what_has_work_left_keeps_its_data() {
    let mut world = World::new().await;
    world
        .set("retention.anonymise_after", "1ms")
        .set("confirm.delivery", "on_paid")
        .set("poll.max_delay", "1s");
    let receipts = world.dir.path().join("receipts");
    world.set("receipts.directory", receipts.to_str().unwrap());
    fs::write(&receipts, b"a file in its place").unwrap();
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("PAID"), NewRow::new("EMITTED")]).await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    world.sim.pay("PAID", None).unwrap();
    until("its receipt cannot be kept", async || {
        app.row("PAID").await.last_error.is_some_and(|said| said.starts_with("receipt_failed"))
    })
    .await;
    let (outcome, detail) = app.command("EMITTED", "anonymise").await;
    assert_eq!(
        (&*outcome, &*detail),
        ("refused", "it is EMITTED: it is not finished, and its data is still needed")
    );
    let id = app.ask(Some("PAID"), "anonymise", None).await;
    until("it says what it waits for", async || {
        app.asked(id).await.detail.as_deref()
            == Some("waits: its confirmation, its receipt or its callback is not done yet")
    })
    .await;
    daemon.stop().await;
    let mut daemon = world.start().await;
    holds_for(Duration::from_millis(1500), "both have their data", async || {
        app.number(ANONYMISED).await == 0 && app.row("PAID").await.tax_payer.contains("Zoumanadiarra")
    })
    .await;
    fs::remove_file(&receipts).unwrap();
    assert_eq!(app.ended(id).await, ("done".to_owned(), "its personal data was taken out".to_owned()));
    assert_eq!((app.number(ANONYMISED).await, files(&receipts)), (1, 0), "the receipt came, and went");
    assert!(app.row("EMITTED").await.tax_payer.contains("Zoumanadiarra"));
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// `tresorpayd anonymise`, without any age; its own reason goes too.
#[tokio::test]
async fn a_command_takes_one_row_at_once() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let references = ["A-1".to_owned(), "A-2".to_owned()];
    app.insert(&references.iter().map(personal).collect::<Vec<_>>()).await;
    pay_all(&world, &mut app, &references).await;
    let arguments = ["anonymise", "A-1", "--by", "Awa", "--reason", "motifsissoko", "--wait"];
    for _ in 0..2 {
        let (code, said) = world.run(&arguments).await;
        assert_eq!((code, &*said), (0, "A-1  anonymise  done: its personal data was taken out\n"));
    }
    assert!(app.row("A-2").await.tax_payer.contains("Zoumanadiarra"));
    let (code, _) = world.run(&["anonymise", "A-2", "--wait"]).await;
    assert_eq!((code, app.number(ANONYMISED).await), (0, 2));
    app.close().await;
    gone(&world, &PERSONAL).await;
    daemon.stop().await;
    let mut app = world.application().await;
    audit(&world, &mut app).await;
}

/// A reader holds the write-ahead log: it is emptied once the reader ends.
#[tokio::test]
async fn a_reader_delays_the_end_of_the_bytes_and_no_longer() {
    let mut world = World::new().await;
    world.start().await.stop().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[personal("A-1")]).await;
    pay_all(&world, &mut app, &["A-1".to_owned()]).await;
    let mut reader = world.application().await;
    reader.run("BEGIN").await.unwrap();
    assert_eq!(reader.number("SELECT count(*) FROM outbox").await, 1);
    assert_eq!(app.command("A-1", "anonymise").await.0, "done");
    app.close().await;
    let size = async || fs::metadata(format!("{}-wal", world.database().display())).unwrap().len();
    holds_for(Duration::from_millis(1500), "the log is not emptied under a reader", async || {
        size().await > 0
    })
    .await;
    reader.run("COMMIT").await.unwrap();
    reader.close().await;
    gone(&world, &PERSONAL).await;
    daemon.stop().await;
    world.set("retention.anonymise_after", "1ms");
}

/// Many rows of all sizes, emitted and paid in any order: SQLite moves them from page to page meanwhile.
#[tokio::test]
async fn no_byte_is_left_of_many_rows_that_were_moved_about() {
    let mut world = World::new().await;
    world.set("poll.schedule", "* * * * * *").set("api.max_concurrency", "16");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let references: Vec<_> = (1..=600).map(|number| format!("A-{number}")).collect();
    for some in references.chunks(50) {
        let rows = some.iter().map(|reference| {
            let mut row = personal(reference);
            row.items[0]["description"] =
                format!("Exercicedembele {}", "x".repeat(fastrand::usize(..1500))).into();
            row
        });
        app.insert(&rows.collect::<Vec<_>>()).await;
        until("half are emitted", async || app.waiting().await < 25).await;
        for reference in some.iter().step_by(2) {
            // One that is not emitted yet is paid below.
            let _ = world.sim.pay(reference, None);
        }
    }
    until("all are emitted", async || app.waiting().await == 0).await;
    for reference in &references {
        let _ = world.sim.pay(reference, None);
    }
    until_within(LONG, "all are paid", async || app.count("PAID").await == 600).await;
    daemon.stop().await;
    world.set("retention.anonymise_after", "1ms");
    let mut daemon = world.start().await;
    until_within(LONG, "all are anonymised", async || app.number(ANONYMISED).await == 600).await;
    app.close().await;
    gone(&world, &PERSONAL).await;
    daemon.stop().await;
    let mut app = world.application().await;
    assert_eq!(app.number("SELECT sum(net_total) FROM outbox").await, 600_000);
    audit(&world, &mut app).await;
}
