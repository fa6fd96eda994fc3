//! `tresorpayd demo`: the whole job with nothing set up. The built-in TresorPay, the real daemon and an application
//! that only knows SQL, in one process, over one database; at the end the outbox is compared with TresorPay's ledger.
//!
//! Nothing here is staged: what is shown is read from the database's own feed, and what is claimed at the end is
//! computed. `script` and `keep` are the two plays; `stage` is what both need.

mod application; // what an application does: INSERTs, and statements that are refused
mod audit; // the outbox against the ledger, row by row
mod closing; // the tables at the end
mod earlier; // what a kept file holds already, and whether it may be used
mod error; // why there is no picture
mod feed; // the transitions as they come
mod notices; // some notices as an administration in Mali would send them
mod opening; // what is where, and how to insert from another terminal
mod progress; // the bar and the counts below it
mod screen; // a terminal or a pipe
mod script; // the play of `demo`
mod stage; // the simulator, the daemon, the files
mod teller; // prints each transition

use std::{num::NonZeroU16, path::PathBuf};

use tokio_util::sync::CancellationToken;

pub use error::DemoError;

use application::Application;
use audit::Audit;
use closing::Closing;
use screen::Screen;
use stage::Stage;
use teller::{Clock, Teller};

/// Port of the simulator where the database is kept: a file belongs to one origin, so it must not change. Not that of
/// `tresorpayd simulator`, whose users must not find the demo there.
pub const KEPT_PORT: NonZeroU16 = match NonZeroU16::new(8098) {
    Some(port) => port,
    None => NonZeroU16::MIN,
};
/// The file of `demo --keep` where none is named.
pub const KEPT_FILE: &str = "tresorpayd-demo.db";

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Stays up until told to end, and inserts nothing by itself.
    pub keep: bool,
    /// The outbox; `None`: a temporary one, or [`KEPT_FILE`] with `keep`.
    pub database: Option<PathBuf>,
    /// The simulator's port; `None`: [`KEPT_PORT`] where the database is kept, else any that is free.
    pub port: Option<NonZeroU16>,
}

impl Options {
    /// The file that outlives the demo.
    fn kept_file(&self) -> Option<PathBuf> {
        self.database.clone().or_else(|| self.keep.then(|| PathBuf::from(KEPT_FILE)))
    }
}

/// What a demo that ran found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The outbox and TresorPay's ledger agree.
    Agrees,
    /// They do not, or not in time; the picture says where.
    Fails,
}

/// How a play ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Everything that was to happen has happened.
    Settled,
    /// Something was still open after the longest time a play may take.
    OutOfTime,
    /// It was told to end.
    Interrupted,
}

/// Shows the demo on standard output until it is over or `shutdown` says so.
pub async fn run(options: &Options, shutdown: CancellationToken) -> Result<Verdict, DemoError> {
    let screen = Screen::on_stdout();
    let mut stage = Stage::open(options).await?;
    let shown = show(options, &mut stage, &screen, &shutdown).await;
    screen.clear();
    let well = match &shown {
        Ok(verdict) => *verdict == Verdict::Agrees,
        Err(error) => error.is_reader_gone(),
    };
    if !well {
        let log = stage.keep_log();
        // What went wrong matters more than a pipe that nobody reads any more.
        let _ = screen.print(&format!("The daemon's log: {}", log.display()));
    }
    // After an error it still runs, and what is under way must be recorded; the error that came first is the one told.
    let stopped = stage.daemon.stop().await;
    shown.and_then(|verdict| stopped.map(|()| verdict))
}

async fn show(
    options: &Options,
    stage: &mut Stage,
    screen: &Screen,
    shutdown: &CancellationToken,
) -> Result<Verdict, DemoError> {
    let application = Application::open(&stage.database).await?;
    let clock = if options.keep { Clock::OfTheDay } else { Clock::since_now() };
    // The bar has a cell for each row of the outbox: not for a file that may hold many.
    let expected = (!options.keep && stage.earlier.rows == 0).then_some(notices::COUNT);
    let mut teller = Teller::open(&stage.database, screen, clock, expected).await?;
    // From here on nothing is missed: who reads how to insert may do it at once.
    opening::print(screen, options, stage)?;
    let play = async {
        if options.keep {
            std::future::pending().await
        } else {
            script::play(&application, &stage.simulator, screen, clock, &stage.earlier).await
        }
    };
    let ending = tokio::select! {
        ending = play => ending?,
        error = teller.tell() => return Err(error),
        error = stage.daemon.ended() => return Err(error),
        () = shutdown.cancelled() => Ending::Interrupted,
    };
    stage.daemon.stop().await?;
    let tally = teller.finish().await?;
    let rows = application.rows().await?;
    let audit = Audit::new(&rows, &stage.simulator.ledger(), &stage.earlier.sent);
    application.close().await?;
    let reference = rows.last().map(|row| row.reference.as_str());
    let closing = Closing { options, ending, tally, audit: &audit, reference };
    closing.print(screen, stage)?;
    let holds = closing.faults().is_empty() && ending != Ending::OutOfTime;
    Ok(if holds { Verdict::Agrees } else { Verdict::Fails })
}
