//! When to kill: at any moment, or just while something is half done.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use super::RECEIPTS;
use crate::world::World;

/// How long a daemon lives before the moment is looked for, in milliseconds.
const LIFE: std::ops::Range<u64> = 30..700;
/// If the moment does not come by then, any other will do.
const PATIENCE: Duration = Duration::from_millis(800);
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Where the daemon writes what is not whole yet, below the receipts.
const DRAFTS: &str = ".part";

/// What must be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Any,
    /// A receipt is being fetched and written.
    Receipt,
    /// A delivery is being confirmed.
    Confirmation,
    /// A notice is being canceled.
    Cancel,
    /// Finished notices are being checked.
    Reconciliation,
}

/// Moments that a kill can meet, in words.
const MET: [(Moment, &str); 4] = [
    (Moment::Receipt, "receipts half written"),
    (Moment::Confirmation, "confirmations under way"),
    (Moment::Cancel, "cancels under way"),
    (Moment::Reconciliation, "reconciliations under way"),
];

impl Moment {
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        match rng.u32(0..100) {
            0..30 => Self::Any,
            30..55 => Self::Receipt,
            55..80 => Self::Confirmation,
            80..90 => Self::Cancel,
            _ => Self::Reconciliation,
        }
    }

    /// Lets the daemon live, and waits for the moment.
    pub(crate) async fn wait(self, world: &mut World, rng: &mut fastrand::Rng) -> anyhow::Result<()> {
        tokio::time::sleep(Duration::from_millis(rng.u64(LIFE))).await;
        let started = Instant::now();
        while started.elapsed() < PATIENCE && !self.is_now(world).await? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn is_now(self, world: &mut World) -> anyhow::Result<bool> {
        let sql = match self {
            Self::Any => return Ok(true),
            Self::Receipt => return has_draft(&world.installation.folder().join(RECEIPTS)),
            Self::Confirmation => {
                "SELECT EXISTS (SELECT 1 FROM attempt WHERE outcome IS NULL AND operation = 'confirm')"
            }
            Self::Cancel => {
                "SELECT EXISTS (SELECT 1 FROM attempt WHERE outcome IS NULL AND operation = 'cancel')"
            }
            Self::Reconciliation => {
                "SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'reconciliation'
                                                     AND json_extract(value, '$.running') IS NOT NULL)"
            }
        };
        Ok(world.database.number(sql).await? != 0)
    }
}

fn has_draft(receipts: &Path) -> anyhow::Result<bool> {
    match std::fs::read_dir(receipts.join(DRAFTS)) {
        Ok(mut drafts) => Ok(drafts.next().transpose()?.is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What kills met: the daemon is dead when this is looked at, so nothing moves any more.
#[derive(Default)]
pub(crate) struct Caught {
    kills: u32,
    met: BTreeMap<&'static str, u32>,
}

impl Caught {
    /// After a kill.
    pub(crate) async fn look(&mut self, world: &mut World) -> anyhow::Result<()> {
        self.kills += 1;
        for (moment, words) in MET {
            *self.met.entry(words).or_default() += u32::from(moment.is_now(world).await?);
        }
        Ok(())
    }

    /// In words.
    pub(crate) fn figure(&self) -> String {
        let met: Vec<_> = self.met.iter().map(|(words, count)| format!("{count} {words}")).collect();
        format!("of {} kills met: {}", self.kills, met.join(", "))
    }

    /// What no kill met, of what makes a run worth while.
    pub(crate) fn missed(&self) -> Option<&'static str> {
        let wanted = MET.iter().take(if self.kills > 0 { 2 } else { 0 });
        wanted.map(|(_, words)| *words).find(|words| self.met.get(words).is_none_or(|count| *count == 0))
    }
}
