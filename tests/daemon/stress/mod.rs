//! The database under stress: locked by others, on a disk that is full, fails or became read-only, held back by a reader,
//! and guarded by an application's own triggers. Answers are kept, nothing more leaves, and all goes on by itself.

mod disk; // a disk that is full, read-only or fails
mod lock; // another writer holds the lock
mod triggers; // an application's trigger that refuses what the daemon writes
mod wal; // a reader that keeps the WAL from being written back

use std::time::Duration;

use tresorpayd::simulator::Operation;

use crate::{
    harness::{Daemon, World, until},
    rows::{Application, bulk},
};

/// Slots of the daemons here.
const SLOTS: usize = 4;
/// How long TresorPay takes for an answer: long enough to do something meanwhile.
const LATENCY: Duration = Duration::from_millis(400);

/// A daemon with [`SLOTS`] slots, all of them in use, and more rows waiting.
async fn busy(world: &mut World, rows: usize) -> (Daemon, Application) {
    world.set("api.max_concurrency", &SLOTS.to_string());
    let daemon = world.start().await;
    let mut app = world.application().await;
    world.sim.set_latency(LATENCY);
    app.insert(&bulk(rows)).await;
    until("every slot is in use", async || world.emissions() >= SLOTS as u64).await;
    (daemon, app)
}

/// All that had left are answered; how many had.
async fn answered(world: &World) -> u64 {
    until("all are answered", async || world.sim.counters().concurrent == 0).await;
    world.sim.counters().requests(Operation::Emit)
}

/// How often the log tells of `code`.
fn told(daemon: &Daemon, code: &str) -> usize {
    let log = daemon.log();
    log.lines()
        .filter(|line| line.contains(code) && (line.contains("ERROR") || line.contains("WARN")))
        .count()
}
