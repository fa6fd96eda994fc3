//! `report`: its figures against SQL, against the simulator's ledger and against an addition by hand; its four forms; a
//! closed period that never changes; and what it refuses.

use std::collections::BTreeMap;

use chrono::{Days, Utc};
use serde_json::{Value, json};
use tresorpayd::simulator::{Alteration, NoticeStatus};

use crate::bench::{Bench, entry};

/// A notice of two natures; every third names the structure that is configured for the others.
fn order(number: i64) -> Value {
    let (fee, stamp) = (number * 1_000, 500);
    json!({
        "reference": format!("R-{number}"),
        "code_structure": if number % 3 == 0 { Some("STR-DEMO") } else { None },
        "net_total": fee + 2 * stamp,
        "tax_payer": {"name": "Diarra"},
        "items": [
            {"name": "Patente", "quantity": 1, "unitPrice": fee, "codeNatureRecette": format!("7153{}", number % 2)},
            {"name": "Timbre", "quantity": 2, "unitPrice": stamp, "codeNatureRecette": "71905"},
        ],
    })
}

/// From yesterday to tomorrow, so that midnight may pass.
fn these_days() -> [String; 2] {
    let today = Utc::now().date_naive();
    [(today - Days::new(1)).to_string(), (today + Days::new(1)).to_string()]
}

fn sum(value: &Value) -> (i64, i64) {
    (value["count"].as_i64().unwrap(), value["amount"].as_i64().unwrap())
}

/// Amounts of one figure by the table's key.
fn split(table: &Value, figure: &str) -> BTreeMap<Option<String>, i64> {
    let amounts = table
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["key"].as_str().map(str::to_owned), row[figure]["amount"].as_i64().unwrap()));
    amounts.filter(|(_, amount)| *amount != 0).collect()
}

async fn grouped(bench: &Bench, sql: &'static str) -> BTreeMap<Option<String>, i64> {
    let rows: Vec<(Option<String>, i64)> =
        sqlx::query_as(sql).fetch_all(&mut bench.application().await).await.unwrap();
    rows.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_equals_the_rows_and_the_ledger_to_the_last_franc() {
    let bench = Bench::new().await;
    let _daemon = bench.daemon();
    bench.add(&json!((1..=24).map(order).collect::<Vec<_>>())).exits(0);
    for number in 1..=24 {
        bench.until(&format!("R-{number}"), "EMITTED").await;
    }
    let reference = |number: i64| {
        let ledger = bench.sim.ledger();
        ledger.of_client(&format!("R-{number}")).next().unwrap().reference.clone()
    };
    for number in 1..=12 {
        let provider = if number % 4 == 0 { "WAVE" } else { "MOOV_MONEY" };
        bench.sim.pay(&reference(number), Some(provider)).unwrap();
    }
    for number in 13..=15 {
        bench.sim.cancel(&reference(number)).unwrap();
    }
    for number in 1..=15 {
        bench.until(&format!("R-{number}"), if number <= 12 { "PAID" } else { "CANCELED" }).await;
    }
    let drift = Alteration { status: Some(NoticeStatus::Canceled), ..Alteration::default() };
    bench.sim.alter(&reference(12), drift).unwrap();
    bench.run(&["poll", "R-12", "--wait"]).exits(0);
    bench.until("R-12", "CANCELED").await;

    let [from, to] = these_days();
    let args = ["report", "--json", "--by", "day,nature,provider,structure", "--from", &from, "--to", &to];
    let report = bench.run(&args).exits(0).json();
    let total = &report["total"];
    let ledger = bench.sim.ledger();
    let of = |status: NoticeStatus| {
        let notices = ledger.notices.iter().filter(|notice| notice.status == status);
        notices.fold((0, 0), |(count, amount), notice| (count + 1, amount + notice.net_total))
    };
    assert_eq!(sum(&total["revenue"]), of(NoticeStatus::Paid));
    assert_eq!(sum(&total["outstanding"]), of(NoticeStatus::Emitted));
    assert_eq!(sum(&total["canceled"]), of(NoticeStatus::Canceled));
    let all = ledger.notices.iter().map(|notice| notice.net_total).sum::<i64>();
    assert_eq!(sum(&total["emitted"]), (24, all));
    assert_eq!((sum(&total["paid"]), sum(&total["corrections"])), ((12, 90_000), (-1, -13_000)));
    assert_eq!(sum(&total["in_doubt"]), (0, 0));
    assert_eq!(report["corrections"][0]["reference"], "R-12");
    assert_eq!(report["corrections"][0]["kind"], "reversed");
    assert_eq!((report["closed"].clone(), report["environment"].clone()), (json!(false), json!("custom")));

    let natures = "SELECT value->>'codeNatureRecette', sum((value->>'quantity') * (value->>'unitPrice'))
                   FROM outbox, json_each(items) WHERE status = 'PAID' GROUP BY 1";
    assert_eq!(split(&report["by_nature"], "revenue"), grouped(&bench, natures).await);
    let providers = "SELECT provider, sum(net_total) FROM outbox WHERE status = 'PAID' GROUP BY 1";
    assert_eq!(split(&report["by_provider"], "revenue"), grouped(&bench, providers).await);
    let structures = "SELECT coalesce(code_structure, 'STR-DEMO'), sum(net_total) FROM outbox
                      WHERE status = 'EMITTED' GROUP BY 1";
    assert_eq!(split(&report["by_structure"], "outstanding"), grouped(&bench, structures).await);
    let days =
        "SELECT substr(pay_date, 1, 10), sum(net_total) FROM outbox WHERE pay_date IS NOT NULL GROUP BY 1";
    assert_eq!(split(&report["by_day"], "paid"), grouped(&bench, days).await);
}

/// Makes what the daemon would have made, at times of our choice.
async fn moves(bench: &Bench, reference: &str, path: &[(&str, &str, Option<&str>)]) {
    let mut daemon = bench.as_daemon().await;
    for (status, at, pay_date) in path {
        sqlx::query(
            "UPDATE outbox SET status = ?1, status_source = 'poll', updated_at = ?2 || '.000Z',
                 tresorpay_reference = CASE WHEN ?1 IN ('EMITTED', 'PAID') THEN 'TP-' || reference END,
                 provider = CASE WHEN ?3 IS NULL THEN provider ELSE 'WAVE' END, pay_date = coalesce(?3, pay_date)
             WHERE reference = ?4",
        )
        .bind(status)
        .bind(at)
        .bind(pay_date)
        .bind(reference)
        .execute(&mut daemon)
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_period_is_the_same_to_the_last_byte() {
    let bench = Bench::new().await;
    bench.add(&json!([order(1), order(2), order(3), order(4)])).exits(0);
    let emitted = |at| [("EMITTING", at, None), ("EMITTED", at, None)];
    for reference in ["R-1", "R-2", "R-3", "R-4"] {
        moves(&bench, reference, &emitted("2026-01-10T08:00:00")).await;
    }
    moves(&bench, "R-1", &[("PAID", "2026-01-12T09:00:00", Some("2026-01-12T08:59:00"))]).await;
    moves(&bench, "R-2", &[("PAID", "2026-02-02T09:00:00", Some("2026-01-31T23:59:00"))]).await;
    let form = |format: &str| {
        let args =
            ["report", "--from", "2026-01-01", "--to", "2026-01-31", "--lang", "fr", "--format", format];
        bench.run(&args).exits(0).out
    };
    let forms = ["text", "csv", "json", "html"];
    let printed = forms.map(form);
    assert!(printed[0].contains("Clos le 4 février 2026"), "{}", printed[0]);
    let january: Value = serde_json::from_str(&printed[2]).unwrap();
    assert_eq!(
        (sum(&january["total"]["paid"]), sum(&january["total"]["outstanding"])),
        ((2, 5_000), (2, 9_000))
    );

    moves(&bench, "R-1", &[("CANCELED", "2026-02-12T02:30:00", None)]).await;
    moves(&bench, "R-3", &[("PAID", "2026-02-13T09:00:00", Some("2026-01-20T12:00:00"))]).await;
    moves(&bench, "R-4", &[("CANCELED", "2026-02-14T09:00:00", None)]).await;
    assert_eq!(forms.map(form), printed);
    let february =
        bench.run(&["report", "--json", "--from", "2026-02-01", "--to", "2026-02-28"]).exits(0).json();
    assert_eq!(sum(&february["total"]["paid"]), (0, 0));
    assert_eq!(sum(&february["total"]["corrections"]), (0, 4_000 - 2_000));
    assert_eq!(sum(&february["total"]["canceled"]), (2, 2_000 + 5_000));
    assert_eq!(february["opening"]["outstanding"], january["total"]["outstanding"]);
    assert_eq!(sum(&february["total"]["outstanding"]), (0, 0));
    let kinds: Vec<_> =
        february["corrections"].as_array().unwrap().iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, ["reversed", "late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_no_formulas_and_no_markup() {
    let bench = Bench::new().await;
    let hostile = "=1+1|\"é;<script>alert(1)</script>";
    let item = |nature: &str, price| json!({"name": "x", "quantity": 1, "unitPrice": price, "codeNatureRecette": nature});
    let mut order = entry("+A");
    order["items"] = json!([item(hostile, 400), item("-2", 600)]);
    bench.add(&order).exits(0);
    moves(
        &bench,
        "+A",
        &[
            ("EMITTING", "2026-01-10T08:00:00", None),
            ("EMITTED", "2026-01-10T08:00:00", None),
            ("PAID", "2026-01-20T08:00:00", Some("2026-01-11T08:00:00")),
        ],
    )
    .await;
    let form = |lang: &str, format: &str| {
        let args = ["report", "--from", "2026-01-01", "--to", "2026-01-31", "--by", "nature", "--lang", lang];
        bench.run(&[&args[..], &["--format", format]].concat()).exits(0).out
    };
    let french = form("fr", "csv");
    let table = french.strip_prefix('\u{feff}').expect("a byte-order mark");
    let mut reader = csv::ReaderBuilder::new().delimiter(b';').from_reader(table.as_bytes());
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(header[..3], ["Code nature", "Émis (nombre)", "Émis (FCFA)"]);
    let rows: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    assert_eq!(rows[0][..3], ["'-2", "1", "600"]);
    assert_eq!(rows[1][..3], [format!("'{hostile}"), "1".to_owned(), "400".to_owned()]);
    assert!(rows.iter().all(|row| row.len() == header.len()), "{rows:?}");
    assert!(form("en", "csv").starts_with("Nature code,Emitted (count),"));

    for lang in ["fr", "en"] {
        let page = form(lang, "html");
        assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script"), "{page}");
        // The name of SVG's format is the only address, and nothing is fetched from it.
        let addresses = page.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "//", "@import", "url(", "<img", "<link"] {
            assert!(!addresses.contains(outside), "{outside} in {page}");
        }
        assert!(page.contains(&format!("<html lang=\"{lang}\">")) && page.contains("<svg class=\"chart\""));
    }
    assert!(form("fr", "html").contains("1\u{202f}000\u{a0}FCFA"));
    assert!(form("en", "html").contains("XOF\u{a0}1,000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_outbox_and_an_anonymised_row_have_a_report() {
    let bench = Bench::new().await;
    let january = ["report", "--from", "2026-01-01", "--to", "2026-01-31"];
    for format in ["text", "csv", "json", "html"] {
        let ran = bench.run(&[&january[..], &["--format", format]].concat()).exits(0);
        assert!(ran.err.is_empty() && !ran.out.is_empty(), "{ran:?}");
    }
    bench.add(&order(1)).exits(0);
    let path = [
        ("EMITTING", "2026-01-10T08:00:00", None),
        ("EMITTED", "2026-01-10T08:00:00", None),
        ("PAID", "2026-01-11T08:00:00", Some("2026-01-11T08:00:00")),
    ];
    moves(&bench, "R-1", &path).await;
    let args = [&january[..], &["--json", "--by", "nature,day"]].concat();
    let before = bench.run(&args).exits(0).out;
    sqlx::query(
        r#"UPDATE outbox SET anonymised_at = '2026-02-01T00:00:00.000Z', tax_payer = '{"anonymised":true}', items = (
               SELECT json_group_array(json(json_remove(value, '$.name', '$.description'))) FROM json_each(items))"#,
    )
    .execute(&mut bench.as_daemon().await)
    .await
    .unwrap();
    assert_eq!(bench.run(&args).exits(0).out, before);
    assert!(before.contains(r#"{"key":"71531","#), "{before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_one_clear_error() {
    let bench = Bench::new().await;
    for day in [
        "yesterday",
        "2026-02-30",
        "2026-1-1",
        "26-01-01",
        "2026-01-01T00:00:00Z",
        "",
        "+2026-01-01",
        "９999-01-01",
    ] {
        bench.run(&["report", "--from", day]).exits(2).complains("a day that exists, written 2026-10-31");
    }
    for (args, words) in [
        (
            &["--from", "2026-02-02", "--to", "2026-02-01"][..],
            "--from 2026-02-02 comes after --to 2026-02-01",
        ),
        (&["--from", "1900-01-01", "--to", "2026-02-01"], "a report is of at most 3660"),
        (&["--format", "csv", "--by", "day,nature"], "CSV is one table"),
        (&["--by", "month"], "invalid value 'month'"),
        (&["--lang", "de"], "invalid value 'de'"),
        (&["--json", "--format", "csv"], "cannot be used with"),
        (&["--force"], "--output"),
    ] {
        bench.run(&[&["report"], args].concat()).exits(2).complains(words);
    }
    let nowhere = bench.path("no/such/report.html").display().to_string();
    bench.run(&["report", "--output", &nowhere]).exits(1).complains("cannot write");
    Bench::bare().await.run(&["report"]).exits(1).complains("does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_never_written_over_unless_asked() {
    let bench = Bench::new().await;
    let path = bench.path("report.csv");
    let name = path.display().to_string();
    let write = |more: &[&str]| bench.run(&[&["report", "--lang", "fr", "--output", &name], more].concat());
    write(&[]).exits(0);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("\u{feff}Jour;"), "the form is told by the name: {text}");
    std::fs::write(&path, "mine").unwrap();
    write(&[]).exits(1).complains("is there already; --force writes over it");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    write(&["--force"]).exits(0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_that_no_program_could_read_back_is_an_error() {
    let bench = Bench::new().await;
    bench.add(&entry("A")).exits(0);
    moves(
        &bench,
        "A",
        &[("EMITTING", "2026-01-10T08:00:00", None), ("EMITTED", "2026-01-10T08:00:00", None)],
    )
    .await;
    // The schema lets no row in whose items do not come to its total; without its triggers there is one.
    let mut daemon = bench.as_daemon().await;
    for trigger in ["outbox_correct", "outbox_corrected", "outbox_card_numbers"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("DROP TRIGGER {trigger}")))
            .execute(&mut daemon)
            .await
            .unwrap();
    }
    sqlx::query("UPDATE outbox SET net_total = 999").execute(&mut daemon).await.unwrap();
    let january = ["report", "--from", "2026-01-01", "--to", "2026-01-31"];
    bench.run(&january).exits(1).complains("the items of A come to 1000 XOF and its net_total is 999");
    // More rows than 64 bits can hold, as copies of the first.
    for sql in [
        "DROP TRIGGER outbox_insert", "DROP TRIGGER outbox_inserted", "DROP TRIGGER transition_insert",
        "UPDATE outbox SET net_total = 9007199254740991, items = '[{\"quantity\":1,\"unitPrice\":9007199254740991}]'",
        "INSERT INTO outbox (reference, net_total, tax_payer, items, status, tresorpay_reference)
         WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
         SELECT 'B-' || i, net_total, tax_payer, items, 'EMITTED', 'TP-B-' || i FROM outbox, n",
        "INSERT INTO transition (outbox_id, at, from_status, to_status, source)
         SELECT id, '2026-01-10T08:00:00.000Z', 'EMITTING', 'EMITTED', 'emit' FROM outbox WHERE reference GLOB 'B-*'",
    ] {
        sqlx::query(sql).execute(&mut daemon).await.unwrap();
    }
    bench.run(&january).exits(1).complains("emitted come to more than 9223372036854775807 XOF");
}
