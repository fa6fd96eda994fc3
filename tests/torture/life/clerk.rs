//! The application and the operator in one: writes rows, asks for everything that can be asked for (sensible or not),
//! follows the feed, decides doubts by a look at the platform, and has the platform change its mind. What becomes of a row
//! is decided by the seed and its reference.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use sqlx::FromRow;
use tokio::sync::watch;

use super::log::{Drift, Log, Planted};
use crate::{
    application::PAYER,
    database::Database,
    journal::{Entry, Expected},
    platform::Platform,
};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Transitions taken in at once.
const AT_ONCE: i64 = 200;
/// Largest amount, in XOF.
const LARGEST: i64 = 5_000_000;
/// A doubt is looked at no earlier than this after it was seen: what was under way has arrived by then.
const DOUBT_AGE: Duration = Duration::from_secs(2);
/// One look in so many pauses emission, and for at most so many milliseconds.
const PAUSES: u32 = 100;
const PAUSED_MS: std::ops::Range<u64> = 200..1_200;
/// A payment that is told otherwise.
const OTHER_PAY_DATE: &str = "2025-01-02T03:04:05";

/// What the clerk is told to do.
pub(crate) struct Orders {
    pub(crate) seed: u64,
    /// Rows,
    pub(crate) count: u32,
    /// written over this time.
    pub(crate) over: Duration,
    /// The application's own callback.
    pub(crate) callback: String,
}

/// At work.
pub(crate) struct Clerk {
    database: Database,
    platform: Arc<Platform>,
    orders: Orders,
    log: Log,
    calm: watch::Receiver<bool>,
    rng: fastrand::Rng,
    started: Instant,
    written: u32,
    /// The last transition that was taken in.
    seen: i64,
    /// Rows in doubt, and since when they are known.
    doubts: HashMap<String, Instant>,
    planted: HashSet<String>,
    resume_at: Option<Instant>,
}

/// A line of the feed.
#[derive(FromRow)]
struct Step {
    id: i64,
    from_status: Option<String>,
    to_status: String,
    reference: String,
    tresorpay_reference: Option<String>,
    provider: Option<String>,
}

impl Clerk {
    /// A clerk who has not begun.
    pub(crate) async fn open(
        database: &Path,
        platform: Arc<Platform>,
        orders: Orders,
        log: Log,
        calm: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            database: Database::open(database).await?,
            platform,
            rng: fastrand::Rng::with_seed(orders.seed),
            orders,
            log,
            calm,
            started: Instant::now(),
            written: 0,
            seen: 0,
            doubts: HashMap::new(),
            planted: HashSet::new(),
            resume_at: None,
        })
    }

    /// Works until it is aborted.
    pub(crate) async fn work(mut self) -> anyhow::Result<()> {
        loop {
            self.write_rows().await?;
            self.follow().await?;
            self.decide_doubts().await?;
            self.pause_or_resume().await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Writes the rows that are due, some of them canceled in the same commit.
    async fn write_rows(&mut self) -> anyhow::Result<()> {
        let share = self.started.elapsed().as_secs_f64() / self.orders.over.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a u32")]
        let due = (f64::from(self.orders.count) * share.min(1.0)) as u32;
        if due <= self.written {
            return Ok(());
        }
        let mut commands = Vec::new();
        let mut rows = Vec::new();
        self.database.run("BEGIN IMMEDIATE").await?;
        for number in self.written + 1..=due {
            let reference = format!("L-{number}");
            let mut mind = self.mind(&reference, "written");
            let entry = Entry {
                reference: reference.clone(),
                amount: mind.i64(1..LARGEST),
                priority: mind.u8(0..10),
            };
            self.insert(&entry, mind.u32(0..10) < 3).await?;
            if mind.u32(0..100) < 3 {
                commands.push((Some(reference), "cancel"));
            }
            rows.push(entry);
        }
        self.insert_commands(&commands).await?;
        self.database.run("COMMIT").await?;
        self.written = due;
        let mut log = self.log.read();
        log.commands.extend(commands);
        log.rows.extend(rows.into_iter().map(|entry| {
            let amounts = BTreeSet::from([entry.amount]);
            let expected =
                Expected { surely_there: true, maybe_there: false, ever: amounts.clone(), amounts };
            (entry.reference, expected)
        }));
        Ok(())
    }

    async fn insert(&mut self, entry: &Entry, called_back: bool) -> anyhow::Result<()> {
        let payer = json!({"name": PAYER, "firstName": "Aminata", "phoneNumber": "+223 70 12 34 56"});
        sqlx::query(
            "INSERT INTO outbox (reference, net_total, tax_payer, items, priority, callback)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(&entry.reference)
        .bind(entry.amount)
        .bind(payer.to_string())
        .bind(entry.items().to_string())
        .bind(entry.priority)
        .bind(called_back.then(|| self.orders.callback.clone()))
        .execute(self.database.connection())
        .await?;
        Ok(())
    }

    /// Takes in what has happened, and asks for what comes to its mind.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let steps: Vec<Step> = sqlx::query_as(
            "SELECT t.id, t.from_status, t.to_status, o.reference, o.tresorpay_reference, o.provider
             FROM transition AS t JOIN outbox AS o ON o.id = t.outbox_id
             WHERE t.id > ?1 ORDER BY t.id LIMIT ?2 + 0",
        )
        .bind(self.seen)
        .bind(AT_ONCE)
        .fetch_all(self.database.connection())
        .await?;
        let mut commands = Vec::new();
        for step in steps {
            self.seen = step.id;
            let wish = wish(&step, &mut self.mind(&step.reference, &step.to_status));
            commands.extend(wish.map(|action| (Some(step.reference.clone()), action)));
            self.plant(&step).await?;
        }
        self.ask(commands).await
    }

    /// Has the platform change its mind about a finished notice, once.
    async fn plant(&mut self, step: &Step) -> anyhow::Result<()> {
        let Some(tresorpay_reference) = &step.tresorpay_reference else { return Ok(()) };
        let drift = match (&*step.to_status, self.mind(&step.reference, "drift").u32(0..100)) {
            ("PAID", 0..4) => Drift::Canceled,
            ("PAID", 4..8) => Drift::Payment,
            ("CANCELED", 0..20) => Drift::Paid,
            _ => return Ok(()),
        };
        if !self.planted.insert(step.reference.clone()) {
            return Ok(());
        }
        let provider = if step.provider.as_deref() == Some("WAVE") { "CARD" } else { "WAVE" };
        let change = match drift {
            Drift::Canceled => json!({"status": "CANCELED"}),
            Drift::Paid => json!({"status": "PAID", "provider": provider, "pay_date": OTHER_PAY_DATE}),
            Drift::Payment => json!({"provider": provider, "pay_date": OTHER_PAY_DATE}),
        };
        self.platform.alter(tresorpay_reference, &change).await?;
        let planted = Planted { reference: step.reference.clone(), drift, after: step.id };
        self.log.read().planted.push(planted);
        Ok(())
    }

    /// As an operator does: looks whether the platform has it, and says so. What the daemon settles by itself is left to it.
    async fn decide_doubts(&mut self) -> anyhow::Result<()> {
        let held: Vec<(String,)> = sqlx::query_as(
            "SELECT reference FROM outbox WHERE status = 'UNCERTAIN' AND next_attempt_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM command WHERE done_at IS NULL AND reference = outbox.reference)",
        )
        .fetch_all(self.database.connection())
        .await?;
        self.doubts.retain(|reference, _| held.iter().any(|(other,)| other == reference));
        let mut commands = Vec::new();
        for (reference,) in held {
            let since = *self.doubts.entry(reference.clone()).or_insert_with(Instant::now);
            if since.elapsed() > DOUBT_AGE {
                commands.push(reference);
            }
        }
        for reference in commands {
            self.doubts.remove(&reference);
            let notices = self.platform.notices_of(&reference).await?;
            let live = notices.iter().find(|notice| notice.is_live());
            let (action, argument) = match live {
                Some(notice) => ("resolve-emitted", Some(notice.reference.clone())),
                None => ("resolve-not-emitted", None),
            };
            sqlx::query("INSERT INTO command (reference, action, argument) VALUES (?1, ?2, ?3)")
                .bind(&reference)
                .bind(action)
                .bind(argument)
                .execute(self.database.connection())
                .await?;
            self.log.read().commands.push((Some(reference), action));
        }
        Ok(())
    }

    /// Pauses emission now and then, and never for good.
    async fn pause_or_resume(&mut self) -> anyhow::Result<()> {
        let calm = *self.calm.borrow();
        match self.resume_at {
            None if !calm && self.rng.u32(0..PAUSES) == 0 => {
                self.resume_at = Some(Instant::now() + Duration::from_millis(self.rng.u64(PAUSED_MS)));
                self.ask(vec![(None, "pause")]).await
            }
            Some(at) if Instant::now() >= at => {
                self.resume_at = None;
                self.ask(vec![(None, "resume")]).await
            }
            None | Some(_) => Ok(()),
        }
    }

    /// One commit.
    async fn ask(&mut self, commands: Vec<(Option<String>, &'static str)>) -> anyhow::Result<()> {
        if commands.is_empty() {
            return Ok(());
        }
        self.database.run("BEGIN IMMEDIATE").await?;
        self.insert_commands(&commands).await?;
        self.database.run("COMMIT").await?;
        self.log.read().commands.extend(commands);
        Ok(())
    }

    async fn insert_commands(&mut self, commands: &[(Option<String>, &'static str)]) -> anyhow::Result<()> {
        for (reference, action) in commands {
            sqlx::query("INSERT INTO command (reference, action, requested_by) VALUES (?1, ?2, 'clerk')")
                .bind(reference)
                .bind(action)
                .execute(self.database.connection())
                .await?;
        }
        Ok(())
    }

    /// What a row's fate is drawn from.
    fn mind(&self, reference: &str, what: &str) -> fastrand::Rng {
        let sum = |sum: u64, byte: u8| sum.wrapping_mul(31).wrapping_add(byte.into());
        fastrand::Rng::with_seed(reference.bytes().chain(what.bytes()).fold(self.orders.seed, sum))
    }
}

/// What is asked for a row that has just come to a status; much of it makes no sense, and must be refused.
fn wish(step: &Step, mind: &mut fastrand::Rng) -> Option<&'static str> {
    // A payment that is told otherwise has another receipt; what was refused is sent again.
    match (step.from_status.as_deref(), &*step.to_status) {
        (Some("PAID"), "PAID") => return Some("fetch-receipt"),
        (_, "REJECTED") => return Some("retry"),
        _ => {}
    }
    match (&*step.to_status, mind.u32(0..100)) {
        ("PENDING" | "EMITTING", 0..2) | ("EMITTED", 0..4) | ("PAID" | "CANCELED", 0..3) => Some("cancel"),
        ("EMITTED", 4..10) | ("PAID", 3..7) | ("CANCELED", 3..20) => Some("poll"),
        ("EMITTED", 10..12) | ("PAID", 7..20) => Some("confirm-delivery"),
        ("EMITTED", 12..14) | ("PAID", 20..35) => Some("fetch-receipt"),
        ("EMITTED", 14..16) | ("PAID", 35..37) => Some("retry"),
        _ => None,
    }
}
