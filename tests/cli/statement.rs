//! `match`: the Treasury's statement against the outbox, whatever program wrote it, and whatever is wrong with it.

use std::{fmt::Write as _, fs};

use serde_json::{Value, json};

use crate::bench::{Bench, NAME, Ran};

/// Row N is over N thousand XOF and was paid on day N of October 2026, modulo 28.
async fn paid(rows: usize) -> Bench {
    let bench = Bench::new().await;
    let mut daemon = bench.as_daemon().await;
    let insert = format!(
        "INSERT INTO outbox (reference, net_total, tax_payer, items)
         WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         SELECT printf('A-%05d', i), i * 1000, json_object('name', '{NAME}'),
                json_array(json_object('name', 'Patente', 'quantity', 1, 'unitPrice', i * 1000)) FROM n"
    );
    for sql in [
        insert.as_str(),
        "UPDATE outbox SET status = 'EMITTED', status_source = 'emit', updated_at = '2026-10-01T00:00:00.000Z',
             emitted_at = '2026-10-01T00:00:00.000Z', tresorpay_reference = 'TP20261001.0800.AR' || id",
        "UPDATE outbox SET status = 'PAID', status_source = 'poll', updated_at = '2026-10-30T00:00:00.000Z',
             paid_at = '2026-10-30T00:00:00.000Z', pay_date = printf('2026-10-%02dT09:48:00', 1 + id % 28)",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut daemon).await.unwrap();
    }
    bench
}

/// What TresorPay's statement would say of row N: its reference, its amount and its day.
fn payment(number: usize) -> (String, usize, usize) {
    (format!("TP20261001.0800.AR{number}"), number * 1000, 1 + number % 28)
}

fn line((reference, amount, day): (String, usize, usize)) -> String {
    format!("{reference};{amount};{day:02}/10/2026\n")
}

const HEADER: &str = "Référence;Montant;Date de paiement\n";

/// Of all rows up to this.
fn statement(rows: usize) -> String {
    (1..=rows).map(|number| line(payment(number))).fold(HEADER.to_owned(), |all, line| all + &line)
}

fn compare(bench: &Bench, content: impl AsRef<[u8]>, more: &[&str]) -> Ran {
    fs::write(bench.path("releve.csv"), content).unwrap();
    bench.run(&[&["match", "releve.csv"], more].concat())
}

fn findings(json: &Value) -> Vec<(&str, Option<u64>)> {
    let findings = json["findings"].as_array().unwrap();
    findings.iter().map(|finding| (finding["kind"].as_str().unwrap(), finding["line"].as_u64())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_differences_among_ten_thousand_lines_are_found_and_no_other() {
    let bench = paid(10_000).await;
    bench
        .run_sql(
            "INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES ('WAITS', 500,
                   '{\"name\":\"A\"}', '[{\"quantity\":1,\"unitPrice\":500}]')",
        )
        .await;
    let mut text = HEADER.to_owned();
    for number in 1..=10_000 {
        let (reference, amount, day) = payment(number);
        text.push_str(&match number {
            17 => String::new(),
            100 => line((reference, amount + 500, day)),
            200 => line((reference, amount, day % 28 + 1)),
            300 => line((reference, amount, day)).replace(";300000;", ";300 00;"),
            400 => line((reference.clone(), amount, day)) + &line((reference, amount, day)),
            _ => line((reference, amount, day)),
        });
    }
    text.push_str("TP20261001.0800.AR99999;7000;05/10/2026\nWAITS;500;06/10/2026\n");
    let json = compare(&bench, &text, &["--json"]).exits(1).json();
    assert_eq!(
        findings(&json),
        [
            ("missing_here", Some(10_002)),
            ("missing_there", None),
            ("not_paid_here", Some(10_003)),
            ("amount_differs", Some(100)),
            ("date_differs", Some(200)),
            ("duplicate", Some(401)),
            ("unreadable", Some(300)),
        ]
    );
    assert_eq!(json["differences"], 7);
    assert_eq!(json["matched"]["count"], 10_000 - 5 + 1);
    let of = |kind: &str| {
        json["findings"].as_array().unwrap().iter().find(|finding| finding["kind"] == kind).unwrap()
    };
    assert_eq!(of("missing_there")["reference"], "A-00017");
    assert_eq!(
        (&of("amount_differs")["statement_amount"], &of("amount_differs")["outbox_amount"]),
        (&json!(100_500), &json!(100_000))
    );
    assert_eq!(of("duplicate")["first_line"], 400);
    assert_eq!(of("unreadable")["column"], "Montant");
    let sums = &json["sums"];
    let sum = |name: &str| sums[name]["amount"].as_i64().unwrap();
    assert_eq!(
        sum("statement"),
        sum("outbox") - sum("missing_there") - sum("unreadable")
            + sum("amounts")
            + sum("not_paid")
            + sum("missing_here")
            + sum("duplicates")
    );
    let text = bench.run(&["match", "releve.csv", "--lang", "fr"]).exits(1);
    text.prints("✗ Le relevé et la base ne concordent pas : 7 écarts.").prints("ligne 300").prints("A-00017");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_program_wrote_it() {
    let bench = paid(30).await;
    let plain = statement(30);
    let utf16 = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        std::iter::once(0xfeff).chain(plain.encode_utf16()).flat_map(unit).collect()
    };
    let windows: Vec<u8> = plain.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let amounts = |write: fn(usize) -> String, separator: &str| {
        let lines = (1..=30).map(|number| {
            let (reference, amount, day) = payment(number);
            format!("{reference}{separator}{}{separator}2026-10-{day:02}T23:59:59\n", write(amount))
        });
        format!("Référence{separator}Montant{separator}Date de paiement\n") + &lines.collect::<String>()
    };
    let total = (1..=30).sum::<usize>() * 1000;
    let own = (1..=30).fold(plain.clone(), |text, number| {
        text.replace(&format!("AR{number};"), &format!("AR-A-{number:05};"))
    });
    let own = own.replace("TP20261001.0800.AR-", "");
    for (name, content, words) in [
        ("UTF-8", plain.clone().into_bytes(), "UTF-8, separator \";\", header on line 1"),
        ("BOM", [b"\xef\xbb\xbf", plain.as_bytes()].concat(), "UTF-8 (BOM)"),
        ("LE", utf16(u16::to_le_bytes), "UTF-16LE (BOM)"),
        ("BE", utf16(u16::to_be_bytes), "UTF-16BE (BOM)"),
        ("Windows", windows, "Windows-1252"),
        ("CRLF", plain.replace('\n', "\r\n").into_bytes(), "UTF-8"),
        (
            "title",
            format!("Trésor;;\n\n{plain}TOTAL;{total};\nÉdité le;;\n").into_bytes(),
            "header on line 3",
        ),
        (
            "blanks",
            amounts(|amount| format!("{}\u{a0}000 FCFA", amount / 1000), ";").into_bytes(),
            "year-month-day",
        ),
        ("dots", amounts(|amount| format!("{}.000,00", amount / 1000), "\t").into_bytes(), "separator tab"),
        (
            "commas",
            amounts(|amount| format!("\"{},000.00\"", amount / 1000), ",").into_bytes(),
            "separator \",\"",
        ),
        ("own", own.into_bytes(), "0 found by TresorPay's reference, 30 by the application's own"),
    ] {
        let ran = compare(&bench, &content, &["--lang", "en"]);
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        ran.prints(words).prints("✓ The statement and the outbox agree: 30 payments, XOF\u{a0}465,000.");
    }
    assert!(
        bench
            .run_with(&["match", "-", "--lang", "fr"], plain.as_bytes())
            .exits(0)
            .out
            .contains("concordent : 30 paiements")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_says_columns_days_and_period() {
    let bench = paid(30).await;
    let odd: String =
        (1..=30).map(payment).fold("Nom;X;Y;Z\n".to_owned(), |mut all, (reference, amount, day)| {
            writeln!(all, "Awa;{amount};{reference};{day}-10-2026").unwrap();
            all
        });
    compare(&bench, &odd, &[])
        .exits(1)
        .complains("none names reference, amount. Line 1 reads: Nom | X | Y | Z.");
    for columns in ["reference=Y,amount=x,date=4", "reference=3,amount=2,date=Z"] {
        compare(&bench, &odd, &["--columns", columns]).exits(0);
    }
    let headless = odd.split_once('\n').unwrap().1;
    compare(&bench, headless, &["--columns", "reference=3,amount=2,date=4", "--lang", "en"])
        .exits(0)
        .prints("no header");
    compare(&bench, headless, &["--columns", "reference=3,amount=2"])
        .exits(1)
        .complains("--from DATE --to DATE");
    let dated = ["--columns", "reference=3,amount=2", "--from", "2026-10-01", "--to", "31/10/2026"];
    compare(&bench, headless, &dated).exits(0);
    compare(&bench, &odd, &["--columns", "referenz=3"]).exits(1).complains("there is no `referenz`");
    compare(&bench, &odd, &["--columns", "reference"]).exits(2);
    compare(&bench, "Montant;Référence;Montant\n1;2;3\n", &[])
        .exits(1)
        .complains("columns 1 and 3 could both be `amount`");
    // Half of the month: what lies outside is not missed.
    let half = (1..=30).map(payment).filter(|(.., day)| *day <= 14).map(line).collect::<String>();
    compare(&bench, format!("{HEADER}{half}"), &[]).exits(0);
    let whole = compare(&bench, format!("{HEADER}{half}"), &["--to", "2026-10-31", "--json"]).exits(1).json();
    assert_eq!(whole["counts"]["missing_there"], 30 - half.lines().count());
    let late = statement(30).replace("/10/2026", "/10/26").replace("02/10/26", "04/10/26");
    compare(&bench, &late, &[]).exits(1);
    compare(&bench, &late, &["--days", "2"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_contradicts_itself_is_told() {
    let bench = paid(3).await;
    let json = compare(&bench, statement(3) + "Total;7000;\n", &["--json"]).exits(1).json();
    assert_eq!(findings(&json), [("total_differs", Some(5))]);
    compare(&bench, statement(3) + "Total;6 000;\n", &[]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_what_they_say_are_refused_with_the_place() {
    let bench = paid(2).await;
    let said = |content: &[u8], words: &str| {
        let ran = compare(&bench, content, &[]).exits(1).complains("tresorpayd: releve.csv: ");
        ran.complains(words);
    };
    said(b"", "is empty");
    said(b"PK\x03\x04xl/workbook.xml", "is an Excel workbook");
    said(b"R\0e\0f\0;\0", "holds zero bytes");
    said(b"\xef\xbb\xbfReference;Montant;Date\nA;\xe9;1\n", "line ");
    said(
        b"Reference;Montant;Date\nA;1;1/10/2026\nB;\"2;1/10/2026\nC;3;1/10/2026\n",
        "line 3: a quote (\") is opened",
    );
    let mut long = b"Reference;Montant;Date\nA;1;1/10/2026\n".to_vec();
    long.resize(100 << 20, b'x');
    said(&long, "line 3: the record that begins here is longer than 65536 bytes");
    let wide = format!("Reference;Montant;Date\n{}\n", ";".repeat(300));
    said(wide.as_bytes(), "line 2: more than 256 columns");
    bench.run(&["match", "no-such-file"]).exits(1).complains("no-such-file: No such file");
    // Not one line was right, and nothing was compared with nothing.
    let empty = compare(&bench, HEADER, &[]).exits(1);
    empty.complains("no line has a date");
}

/// More than 64 bits.
#[tokio::test(flavor = "multi_thread")]
async fn sums_do_not_overflow() {
    let bench = paid(1).await;
    let lines = (0..1_100).fold(String::new(), |mut all, number| {
        writeln!(all, "X{number};9007199254740991;01/10/2026").unwrap();
        all
    });
    let json = compare(&bench, format!("{HEADER}{lines}Y;9007199254740992;01/10/2026\n"), &["--json"])
        .exits(1)
        .json();
    assert_eq!(json["sums"]["statement"]["amount"], (1_100 * 9_007_199_254_740_991_i128).to_string());
    assert_eq!((&json["counts"]["missing_here"], &json["counts"]["unreadable"]), (&json!(1_100), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_and_html_are_whole_tame_and_in_both_languages() {
    let bench = paid(3).await;
    let hostile = statement(3) + "=HYPERLINK(1);5;05/10/2026\n<script>alert(1)</script>;5;05/10/2026\n";
    let french = compare(&bench, &hostile, &["--format", "csv", "--lang", "fr"]).exits(1).out;
    assert!(french.starts_with("\u{feff}écart;ligne;référence;"), "{french}");
    assert!(french.contains("Absents de la base;5;'=HYPERLINK(1);;;5;;;05/10/2026;;"), "{french}");
    let english = compare(&bench, &hostile, &["--format", "csv", "--lang", "en"]).exits(1).out;
    assert!(english.starts_with("kind,line,reference,"), "{english}");
    assert!(english.contains("missing_here,5,'=HYPERLINK(1),,,5,,,2026-10-05,,\r\n"), "{english}");
    for (lang, title, date) in
        [("fr", "État de rapprochement", "05/10/2026"), ("en", "Statement and outbox compared", "5 Oct 2026")]
    {
        let name = format!("{lang}.html");
        let ran = compare(&bench, &hostile, &["--lang", lang, "--output", &name]).exits(1);
        assert!(ran.out.contains("✗"), "{}", ran.out);
        let page = fs::read_to_string(bench.path(&name)).unwrap();
        assert!(
            page.contains(title) && page.contains(date) && page.contains(&format!("lang=\"{lang}\"")),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
        assert!(
            !page.contains("http") && !page.contains("src=") && !page.contains("@import"),
            "it fetches something"
        );
        assert!(!page.contains(NAME));
    }
    let missing = compare(&bench, &hostile, &["--format", "html", "--output", "no/such/folder.html"]);
    missing.exits(1).complains("no/such/folder.html: No such file");
    compare(&bench, &hostile, &["--output", "fr.html"]).exits(1).complains("fr.html: File exists");
    assert_eq!(bench.number("SELECT count(*) FROM transition").await, 9, "it only reads");
}
