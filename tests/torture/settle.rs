//! After the storm: waits until nothing moves any more. Who waits in vain has found something.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{verdict::Kind, world::World};

/// Without a single transition for so long, what is not done is lost.
const STANDSTILL: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Waits until no row waits, none is under way, no doubt is being settled, and every payment and cancellation at the
/// platform has reached its row.
pub(crate) async fn settle(world: &mut World) -> anyhow::Result<()> {
    let started = Instant::now();
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        world.watch_daemon().await?;
        let left = unsettled(world).await?;
        if left.is_empty() {
            world.verdict.figure(format!("settled in {:.1} s", started.elapsed().as_secs_f64()));
            return Ok(());
        }
        let newest = world.last_transition().await?;
        if newest != last {
            (last, moved) = (newest, Instant::now());
        }
        if moved.elapsed() > STANDSTILL {
            world.verdict.find(Kind::Lost, format!("nothing has moved for {STANDSTILL:?}: {left}"));
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is left to do, in words.
async fn unsettled(world: &mut World) -> anyhow::Result<String> {
    let waiting =
        world.database.number("SELECT count(*) FROM outbox WHERE status IN ('PENDING', 'EMITTING')").await?;
    // A doubt that the daemon will act on by itself says when.
    let sql = "SELECT count(*) FROM outbox WHERE status = 'UNCERTAIN' AND next_attempt_at IS NOT NULL";
    let doubts = world.database.number(sql).await?;
    if waiting + doubts > 0 {
        return Ok(format!("{waiting} rows wait or are under way, {doubts} doubts are being settled"));
    }
    let ledger = world.platform.ledger().await?;
    let known: HashMap<_, _> =
        ledger.notices.iter().map(|notice| (&*notice.reference, &*notice.status)).collect();
    let behind = world.database.rows().await?.into_iter().filter(|row| {
        let there = row.tresorpay_reference.as_deref().and_then(|reference| known.get(reference));
        row.status == "EMITTED" && there.is_some_and(|status| *status != "EMITTED")
    });
    let behind = behind.count();
    Ok(if behind > 0 {
        format!("{behind} payments or cancellations are not known here")
    } else {
        String::new()
    })
}
