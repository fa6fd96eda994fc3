//! Waits until everything is done that was asked for or promised.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    log::{Log, Planted},
    rules::records,
};
use crate::{verdict::Kind, world::World};

/// Without any progress for so long, what is not done is left undone.
const STANDSTILL: Duration = Duration::from_secs(90);
/// All must have been done for so long: payers and the clerk may have more in mind.
const QUIET: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// How far it has come.
#[derive(Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
struct Progress {
    rows: i64,
    /// Rows that wait, are under way, in doubt or refused.
    open: i64,
    /// Paid rows without a confirmation, a receipt, or a call of their callback.
    paid: i64,
    /// Open commands, and all.
    commands: i64,
    asked: i64,
    transitions: i64,
}

const PROGRESS: &str = "
    SELECT count(*) AS rows,
           coalesce(sum(status IN ('PENDING', 'EMITTING', 'UNCERTAIN', 'REJECTED')), 0) AS open,
           coalesce(sum(status = 'PAID' AND (delivery_confirmed_at IS NULL OR receipt_path IS NULL
                               OR callback IS NOT NULL AND callback_called_at IS NULL)), 0) AS paid,
           (SELECT count(*) FROM command WHERE done_at IS NULL) AS commands,
           (SELECT count(*) FROM command) AS asked,
           (SELECT coalesce(max(id), 0) FROM transition) AS transitions
    FROM outbox";

/// Waits; what is not done in the end is found.
pub(crate) async fn rest(world: &mut World, log: &Log, count: u32) -> anyhow::Result<()> {
    let started = Instant::now();
    let (mut last, mut moved) = (Progress::default(), Instant::now());
    loop {
        world.watch().await?;
        let progress: Progress = sqlx::query_as(PROGRESS).fetch_one(world.database.connection()).await?;
        if progress != last {
            (last, moved) = (progress, Instant::now());
        }
        if moved.elapsed() > QUIET {
            let left = left(world, log, count, progress).await?;
            if left.is_empty() {
                world.verdict.figure(format!("at rest after {:.1} s", started.elapsed().as_secs_f64()));
                return Ok(());
            }
            if moved.elapsed() > STANDSTILL {
                let what = format!("nothing has moved for {STANDSTILL:?}: {left}");
                world.verdict.find(Kind::Undone, what);
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is left to do, in words.
async fn left(world: &mut World, log: &Log, count: u32, now: Progress) -> anyhow::Result<String> {
    let unwritten = i64::from(count) - now.rows;
    if unwritten + now.open + now.paid + now.commands > 0 {
        return Ok(format!(
            "{unwritten} rows are not written, {} are open, {} are paid and not done with, {} commands are open",
            now.open, now.paid, now.commands
        ));
    }
    let ledger = world.platform.ledger().await?;
    let known: HashMap<_, _> =
        ledger.notices.iter().map(|notice| (&*notice.reference, &*notice.status)).collect();
    let rows = world.database.rows().await?;
    let behind = rows.iter().filter(|row| {
        let there = row.tresorpay_reference.as_deref().and_then(|reference| known.get(reference));
        there.is_some_and(|status| *status != row.status)
    });
    let behind = behind.count();
    let transitions = world.database.transitions().await?;
    let planted: Vec<Planted> = log.read().planted.clone();
    let unrecorded = planted.iter().filter(|planted| {
        let row = rows.iter().find(|row| row.reference == planted.reference);
        !row.is_some_and(|row| transitions.iter().any(|step| records(step, row, planted)))
    });
    let unrecorded = unrecorded.count();
    Ok(if behind + unrecorded > 0 {
        format!(
            "{behind} rows are not what the platform says, {unrecorded} changes of its mind are not recorded"
        )
    } else {
        String::new()
    })
}
