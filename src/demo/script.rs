//! The play of `demo`: an application bills, makes every mistake that the database is there to stop, and the network
//! loses an answer. Then the taxpayers pay.

use std::time::{Duration, Instant};

use chrono::Utc;

use super::{
    DemoError, Ending,
    application::{Application, FORGERY, Inserted},
    audit::Audit,
    earlier::Earlier,
    notices::{self, Notice},
    screen::{Screen, Tone},
    stage,
    teller::Clock,
};
use crate::{
    clock::Timestamp,
    simulator::{Fault, Operation, Rule, Simulator},
};

/// Between two INSERTs: slow enough to be read.
const PACE: Duration = Duration::from_millis(180);
/// Between two looks whether everything is settled.
const LOOK: Duration = Duration::from_millis(200);
/// A play that is not over by then is not going to be.
const LONGEST: Duration = Duration::from_secs(24);
/// The simulated network and the last poll may be this late.
const SLACK: Duration = Duration::from_millis(200);

/// Columns before what the application tried: the time and a sign.
const ASIDE_INDENT: usize = 12;

/// After how many notices the application does something else.
const SAME_AGAIN: usize = 3;
const BAD_ROW: usize = 6;
const FORGED_PAYMENT: usize = 24;

/// Plays it all; says whether everything was settled in the end.
pub(super) async fn play(
    application: &Application,
    simulator: &Simulator,
    screen: &Screen,
    clock: Clock,
    earlier: &Earlier,
) -> Result<Ending, DemoError> {
    let started = Instant::now();
    let notices = notices::all(earlier.rows);
    lose_answer(simulator, &notices[notices::LOST_ANSWER].reference);
    let aside = Aside { screen, clock };
    for (place, notice) in notices.iter().enumerate() {
        match place {
            SAME_AGAIN => aside.same_again(application, &notices[0]).await?,
            BAD_ROW => aside.bad_row(application, notice).await?,
            FORGED_PAYMENT => aside.forged_payment(application, &notices[1]).await?,
            _ => {}
        }
        if let Inserted::Refused(why) = application.insert(notice).await? {
            return Err(DemoError::Sqlite(sqlx::Error::Protocol(why)));
        }
        tokio::time::sleep(PACE).await;
    }
    while started.elapsed() < LONGEST {
        if is_settled(application, simulator, earlier).await? {
            return Ok(Ending::Settled);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(Ending::OutOfTime)
}

/// TresorPay creates the notice and its answer never arrives.
fn lose_answer(simulator: &Simulator, reference: &str) {
    simulator.add_fault(Rule::once(Operation::Emit, Fault::Lost { processed: true }).reference(reference));
}

/// No notice waits or is under way, no taxpayer is going to act any more, and the outbox knows what they did.
async fn is_settled(
    application: &Application,
    simulator: &Simulator,
    earlier: &Earlier,
) -> Result<bool, DemoError> {
    let ledger = simulator.ledger();
    let last_act =
        ledger.notices.iter().map(|notice| notice.emitted_at).max().map(|at| at + stage::last_act() + SLACK);
    if last_act.is_some_and(|at| Utc::now() < at) {
        return Ok(false);
    }
    let audit = Audit::new(&application.rows().await?, &ledger, &earlier.sent);
    Ok(audit.open == 0 && audit.behind == 0)
}

/// What the application does beside billing.
struct Aside<'a> {
    screen: &'a Screen,
    clock: Clock,
}

impl Aside<'_> {
    /// The same INSERT twice.
    async fn same_again(&self, application: &Application, notice: &Notice) -> Result<(), DemoError> {
        if application.insert(notice).await? != Inserted::Known {
            return Err(DemoError::Accepted(format!("{} twice", notice.reference)));
        }
        let tried = format!("INSERT {} again, ON CONFLICT (reference) DO NOTHING", notice.reference);
        self.tell(Tone::Good, "=", &tried, "0 rows")?;
        self.explain("A program that crashed before it knew inserts again: a reference is billed once.")
    }

    /// An amount that is not the sum of its items.
    async fn bad_row(&self, application: &Application, notice: &Notice) -> Result<(), DemoError> {
        let mut bad = notice.clone();
        bad.net_total += 500;
        match application.insert(&bad).await? {
            Inserted::Refused(why) => {
                let tried = format!("INSERT {} with net_total {}", bad.reference, bad.net_total);
                self.tell(Tone::Bad, "✗", &tried, &why)?;
                self.explain("Bad input never enters, whatever language it comes from.")
            }
            Inserted::Yes | Inserted::Known => {
                Err(DemoError::Accepted(format!("{} with a wrong total", bad.reference)))
            }
        }
    }

    /// A hand at the database at 3 a.m.
    async fn forged_payment(&self, application: &Application, notice: &Notice) -> Result<(), DemoError> {
        let why = application.forge_payment(&notice.reference).await?;
        self.tell(Tone::Bad, "✗", &FORGERY.replace("?1", &format!("'{}'", notice.reference)), &why)?;
        self.explain("Only the daemon moves a row; ask it through the table `command`.")
    }

    fn tell(&self, tone: Tone, sign: &str, tried: &str, answer: &str) -> Result<(), DemoError> {
        let time = self.screen.paint(Tone::Faint, &self.clock.tell(Timestamp::now()));
        let lead = format!("{time}  {} ", self.screen.paint(tone, sign));
        let tried = self.screen.hang(&lead, ASIDE_INDENT, Tone::Plain, tried);
        let answer = self.screen.hang(&" ".repeat(ASIDE_INDENT), ASIDE_INDENT, tone, answer);
        Ok(self.screen.print(&format!("{tried}\n{answer}"))?)
    }

    fn explain(&self, why: &str) -> Result<(), DemoError> {
        Ok(self.screen.print(&self.screen.hang(&" ".repeat(ASIDE_INDENT), ASIDE_INDENT, Tone::Faint, why))?)
    }
}
