//! The application: a process of its own that inserts, corrects, deletes and repeats itself, and notes in its journal what
//! it is about to do and what came of it. It may be killed at any moment.

use std::{
    path::Path,
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::json;
use sqlx::SqliteConnection;

use crate::{
    database::Database,
    journal::{Entry, Journal, Order},
    options::ApplicationArgs,
};

/// A name that no log may hold.
pub(crate) const PAYER: &str = "Zoumanadiarra";
/// It inserts no more while so many rows wait: an outage must not make a run endless.
const MOST_WAITING: i64 = 250;
/// Rows that it still thinks of correcting, deleting or repeating.
const MEMORY: usize = 100;
/// Largest amount, in XOF.
const LARGEST: i64 = 5_000_000;
const WHILE_TOO_MANY_WAIT: Duration = Duration::from_millis(50);

/// The role: writes until stdin ends.
pub(crate) async fn run(args: &ApplicationArgs) -> anyhow::Result<ExitCode> {
    let mut writer = Writer {
        database: Database::open(&args.database).await?,
        journal: Journal::create(&args.journal)?,
        // What it does is decided by its own name, which the seed gave it.
        rng: fastrand::Rng::with_seed(
            args.series.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte)),
        ),
        series: args.series.clone(),
        next: 1,
        recent: Vec::new(),
    };
    let (ended, mut stdin) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        ended.send(())
    });
    while stdin.try_recv().is_err() {
        let rows = writer.step().await?;
        let pause = Duration::from_secs(1) * rows / args.rate.max(1);
        tokio::time::sleep(if rows == 0 { WHILE_TOO_MANY_WAIT } else { pause }).await;
    }
    Ok(ExitCode::SUCCESS)
}

struct Writer {
    database: Database,
    journal: Journal,
    rng: fastrand::Rng,
    series: String,
    next: u32,
    recent: Vec<Entry>,
}

impl Writer {
    /// One transaction; how many rows it was about.
    async fn step(&mut self) -> anyhow::Result<u32> {
        let waiting = "SELECT count(*) FROM (SELECT 1 FROM outbox WHERE status = 'PENDING' LIMIT 1000)";
        let full = self.database.number(waiting).await? >= MOST_WAITING;
        let order = match self.rng.u32(0..20) {
            0 | 1 => {
                self.recent().map(|entry| Order::Correct(Entry { amount: self.rng.i64(1..LARGEST), ..entry }))
            }
            2 => self.recent().map(Order::Delete),
            3 => self.recent().map(Order::Repeat),
            _ if full => return Ok(0),
            _ => None,
        };
        let order = order.unwrap_or_else(|| self.new_rows());
        let rows = u32::try_from(order.entries().len())?;
        self.journal.intend(&order)?;
        let held = Duration::from_millis(if self.rng.u32(0..40) == 0 { self.rng.u64(50..500) } else { 0 });
        let outcome = carry_out(self.database.connection(), &order, held).await;
        match &outcome {
            Ok(changed) => self.journal.done(*changed)?,
            Err(error) => {
                let rule = error.to_string();
                self.journal.failed(&rule)?;
                let expected = rule.contains("outbox: ") || rule.contains("database is locked");
                ensure!(expected, "{order:?}: {rule}");
            }
        }
        if let (Order::Insert(entries), Ok(_)) = (&order, &outcome) {
            self.recent.extend(entries.iter().cloned());
            let forgotten = self.recent.len().saturating_sub(MEMORY);
            self.recent.drain(..forgotten);
        }
        Ok(rows)
    }

    fn recent(&mut self) -> Option<Entry> {
        (!self.recent.is_empty()).then(|| self.recent[self.rng.usize(0..self.recent.len())].clone())
    }

    fn new_rows(&mut self) -> Order {
        let many = if self.rng.u32(0..3) == 0 { self.rng.u32(2..20) } else { 1 };
        let first = self.next;
        self.next += many;
        let entry = |number| Entry {
            reference: format!("{}-{number}", self.series),
            amount: self.rng.i64(1..LARGEST),
            priority: self.rng.u8(0..10),
        };
        Order::Insert((first..self.next).map(entry).collect())
    }
}

/// One commit; how many rows it changed.
async fn carry_out(conn: &mut SqliteConnection, order: &Order, held: Duration) -> sqlx::Result<u64> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
    let changed = change(conn, order).await;
    tokio::time::sleep(held).await;
    match changed {
        Ok(changed) => {
            sqlx::query("COMMIT").execute(conn).await?;
            Ok(changed)
        }
        Err(error) => {
            sqlx::query("ROLLBACK").execute(conn).await?;
            Err(error)
        }
    }
}

async fn change(conn: &mut SqliteConnection, order: &Order) -> sqlx::Result<u64> {
    const INSERT: &str =
        "INSERT INTO outbox (reference, net_total, tax_payer, items, priority) VALUES (?1, ?2, ?3, ?4, ?5)";
    const AGAIN: &str =
        "INSERT INTO outbox (reference, net_total, tax_payer, items, priority) VALUES (?1, ?2, ?3, ?4, ?5)
                         ON CONFLICT (reference) DO NOTHING";
    let payer = json!({"name": PAYER, "firstName": "Aminata", "phoneNumber": "+223 70 12 34 56"}).to_string();
    let mut changed = 0;
    for entry in order.entries() {
        let items = entry.items().to_string();
        let query = match order {
            Order::Insert(_) | Order::Repeat(_) => {
                let sql = if matches!(order, Order::Repeat(_)) { AGAIN } else { INSERT };
                sqlx::query(sql)
                    .bind(&entry.reference)
                    .bind(entry.amount)
                    .bind(&payer)
                    .bind(items)
                    .bind(entry.priority)
            }
            Order::Correct(_) => {
                sqlx::query("UPDATE outbox SET net_total = ?2, items = ?3 WHERE reference = ?1")
                    .bind(&entry.reference)
                    .bind(entry.amount)
                    .bind(items)
            }
            Order::Delete(_) => sqlx::query("DELETE FROM outbox WHERE reference = ?1").bind(&entry.reference),
        };
        changed += query.execute(&mut *conn).await?.rows_affected();
    }
    Ok(changed)
}

/// A running application, as its parent holds it; killed when dropped.
pub(crate) struct Application {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Application {
    /// Starts one.
    pub(crate) fn start(database: &Path, journal: &Path, series: &str, rate: u32) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["application", "--series", series, "--rate", &rate.to_string(), "--database"])
            .arg(database)
            .arg("--journal")
            .arg(journal)
            .stdin(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin })
    }

    /// Lets it finish what it writes.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        drop(self.stdin.take());
        let status = self.child.wait().context("application")?;
        ensure!(status.success(), "the application failed: {status}");
        Ok(())
    }

    /// Kills it in the middle of whatever it does.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the application failed");
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
