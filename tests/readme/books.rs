//! The examples of the accountants' pages: what the program prints of the rows that a page tells, in the page's language.

use std::fs;

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::{
    pages::Page,
    world::{run, texts, tresorpayd},
};

/// What stands above a block that the program printed.
pub(crate) const OUTPUT_OF: &str = "output of: tresorpayd ";
/// The year of the examples, and one that is over whatever the clock says: a report tells whether its period is closed.
const SHOWN: &str = "2026";
const OVER: &str = "2022";

/// A database whose rows are at the daemon's side already.
struct Books {
    folder: TempDir,
    daemon: SqliteConnection,
}

impl Books {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (_, both) = texts(&run(command(&folder, "migrate")));
        let database = folder.path().join("outbox.db");
        assert!(database.exists(), "{both}");
        let options =
            SqliteConnectOptions::new().filename(database).collation("use_the_command_table", Ord::cmp);
        let daemon = SqliteConnection::connect_with(&options).await.unwrap();
        Self { folder, daemon }
    }

    async fn insert(&mut self, reference: &str, net_total: i64) {
        let sql = "INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES (?1, ?2, '{\"name\":\"Essai\"}',
                       json_array(json_object('quantity', 1, 'unitPrice', ?2)))";
        sqlx::query(sql).bind(reference).bind(net_total).execute(&mut self.daemon).await.unwrap();
    }

    /// Makes what the daemon would have made at that time; `told`: TresorPay's reference or the date of the payment.
    async fn moves(&mut self, reference: &str, status: &str, at: &str, told: &str) {
        let sql = "UPDATE outbox SET status = ?2, status_source = 'poll', updated_at = ?3 || ':00.000Z',
                       tresorpay_reference = CASE ?2 WHEN 'EMITTED' THEN ?4 ELSE tresorpay_reference END,
                       provider = CASE ?2 WHEN 'PAID' THEN 'WAVE' ELSE provider END,
                       pay_date = CASE ?2 WHEN 'PAID' THEN ?4 ELSE pay_date END
                   WHERE reference = ?1";
        let query = sqlx::query(sql).bind(reference).bind(status).bind(at).bind(told);
        assert_eq!(query.execute(&mut self.daemon).await.unwrap().rows_affected(), 1);
    }

    /// Every block of the page that is shown as this command's output is what it prints.
    fn are_told_by(&self, page: &Page, name: &str, adapt: impl Fn(&str) -> String) {
        let mut shown = 0;
        for fence in page.fences() {
            let Some(arguments) = fence.note.as_deref().and_then(|note| note.strip_prefix(OUTPUT_OF)) else {
                continue;
            };
            assert!(arguments.starts_with(name), "{}: {arguments}", page.path);
            let (stdout, both) = texts(&run(command(&self.folder, &adapt(arguments))));
            assert_eq!(
                stdout.replace(OVER, SHOWN).trim_end(),
                fence.text.trim_end(),
                "{}\n{both}",
                page.path
            );
            shown += 1;
        }
        assert_eq!(shown, 1, "{} shows the output of `{name}` so often", page.path);
    }
}

fn command(folder: &TempDir, arguments: &str) -> std::process::Command {
    let mut command = tresorpayd();
    command
        .args(arguments.split(' '))
        .current_dir(folder.path())
        .env("TRESORPAYD__ENVIRONMENT", "production")
        .env("TRESORPAYD__DATABASE__URL", format!("sqlite://{}/outbox.db", folder.path().display()));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statement_of_the_example_differs_as_the_page_shows() {
    for (path, heading) in
        [("docs/statement.md", "### An example"), ("docs/fr/rapprochement.md", "### Un exemple")]
    {
        let page = Page::read(path);
        let mut books = Books::new().await;
        for row in page.rows(heading) {
            let [reference, notice, net_total, status, pay_date] = &row[..] else {
                panic!("{path}: {row:?}")
            };
            books.insert(reference, net_total.parse().unwrap()).await;
            books.moves(reference, "EMITTED", "2026-10-01T08:00", notice).await;
            if status == "PAID" {
                books.moves(reference, "PAID", "2026-10-30T08:00", pay_date).await;
            }
        }
        for fence in page.fences() {
            if let Some(name) = fence.note.as_deref().and_then(|note| note.strip_prefix("file: ")) {
                fs::write(books.folder.path().join(name), fence.text).unwrap();
            }
        }
        books.are_told_by(&page, "match", str::to_owned);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_of_the_example_are_those_that_the_page_shows() {
    let mut books = Books::new().await;
    for (reference, net_total, emitted) in
        [("A", 100, 5), ("B", 200, 5), ("C", 300, 30), ("D", 400, 20), ("E", 500, 20), ("F", 7, 1)]
    {
        books.insert(reference, net_total).await;
        let at = format!("{OVER}-10-{emitted:02}T08:00");
        books.moves(reference, "EMITTED", &at, &format!("TP-{reference}")).await;
    }
    for (reference, status, at, pay_date) in [
        ("A", "PAID", "10-07T10:00", "10-07T09:48:00"),
        ("B", "PAID", "10-07T10:00", "10-07T09:48:00"),
        ("E", "CANCELED", "10-21T10:00", ""),
        ("C", "PAID", "11-02T08:00", "10-31T23:00:00"),
        ("D", "PAID", "11-09T08:00", "10-25T10:00:00"),
        ("B", "CANCELED", "11-12T02:30", ""),
        ("E", "PAID", "11-15T02:30", "10-22T10:00:00"),
    ] {
        let (at, pay_date) = (format!("{OVER}-{at}"), format!("{OVER}-{pay_date}"));
        books.moves(reference, status, &at, &pay_date).await;
    }
    for path in ["docs/report.md", "docs/fr/rapport.md"] {
        books.are_told_by(&Page::read(path), "report", |arguments| arguments.replace(SHOWN, OVER));
    }
}
