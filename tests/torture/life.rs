//! The whole life of notices: written, emitted, paid, confirmed, receipted, called back and reconciled, with commands of
//! every kind in between and TresorPay changing its mind, while the daemon is killed at random and at the worst moments.
//! At the end each notice is done with, and what was kept of it is what the platform has.

mod books; // everything that is audited
mod called; // the application's own callback
mod clerk; // the application and the operator: rows, commands, doubts
mod damage; // books spoilt on purpose, which the audit must find out
mod log; // what the clerk did
mod moments; // when to kill
mod rest; // waits until everything is done
mod rules; // what the books must say

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::bail;
use serde_json::json;
use tokio::sync::watch;

use crate::{
    audit,
    options::{LifeArgs, Options},
    platform::Platform,
    verdict::Kind,
    world::World,
};
use books::Life;
use called::Called;
use clerk::{Clerk, Orders};
use log::Log;
use moments::{Caught, Moment};

/// How late the platform's answers are.
const LATENCY: &str = "5ms..40ms";
/// From one kill to the next, about: rows are written over the time that the kills take.
const KILL_EVERY: Duration = Duration::from_millis(800);
/// Rows are written over this time at least.
const WRITES_AT_LEAST: Duration = Duration::from_secs(2);
/// One kill in so many is followed by another while the next daemon starts.
const STARTING: u32 = 8;
/// A daemon that is killed while it starts lives at most so long, in milliseconds.
const STARTING_MS: u64 = 250;
/// Below the installation's folder.
const RECEIPTS: &str = "receipts";

/// Runs it; fails if a promise was broken, or if the audit does not see that.
pub(crate) async fn run(options: &Options, args: &LifeArgs) -> anyhow::Result<ExitCode> {
    println!(
        "life: seed {}, {} notices, {} SIGKILLs, emit.on_uncertain = {}",
        options.seed(),
        args.count,
        args.kills,
        options.policy.as_str()
    );
    let called = Called::start().await?;
    let port = free_port()?;
    let mut world = World::without_application(options, LATENCY, |folder| settings(folder, port)).await?;
    go_wrong(&world.platform).await?;
    let log = Log::default();
    let (calm, weather) = watch::channel(false);
    let orders = Orders {
        seed: options.seed(),
        count: args.count,
        over: (KILL_EVERY * args.kills).max(WRITES_AT_LEAST),
        callback: called.url(),
    };
    let database = world.installation.database();
    let clerk = Clerk::open(&database, Arc::clone(&world.platform), orders, log.clone(), weather).await?;
    let mut clerk = tokio::spawn(clerk.work());
    let caught = kill(&mut world, options.seed(), args.kills).await?;
    calm.send_replace(true);
    world.calm().await?;
    tokio::select! {
        rested = rest::rest(&mut world, &log, args.count) => rested?,
        failed = &mut clerk => bail!("the clerk failed: {failed:?}"),
    }
    clerk.abort();
    world.stop_taxpayers();
    world.terminate().await?;
    let life = Life::read(&mut world, &log, &called).await?;
    audit::check_file(&mut world).await?;
    let found = rules::judge(&life);
    for (kind, what) in &found {
        world.verdict.find(*kind, what.clone());
    }
    audit::figures(&mut world, &life.books.rows, &life.books.attempts, &life.ledger).await?;
    for figure in life.figures().into_iter().chain([caught.figure()]) {
        world.verdict.figure(figure);
    }
    if let Some(missed) = caught.missed() {
        world
            .verdict
            .find(Kind::Undone, format!("no kill met {missed}: this run proves less than it should"));
    }
    // Damage is only seen in books that are whole.
    if found.is_empty() {
        world.verdict.figure(damage::find_out(&life)?);
    }
    Ok(world.close()?.print())
}

/// Kills and starts the daemon, again and again; what the kills met.
async fn kill(world: &mut World, seed: u64, kills: u32) -> anyhow::Result<Caught> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut caught = Caught::default();
    for _ in 0..kills {
        world.watch().await?;
        Moment::draw(&mut rng).wait(world, &mut rng).await?;
        world.kill().await?;
        caught.look(world).await?;
        if rng.u32(0..STARTING) == 0 {
            world.kill_starting(Duration::from_millis(rng.u64(0..STARTING_MS))).await?;
        }
        world.start_daemon().await?;
    }
    Ok(caught)
}

/// What this run sets beside what every run does.
fn settings(folder: &Path, port: u16) -> String {
    format!(
        r#"
callback.listen = "127.0.0.1:{port}"
callback.public_url = "http://127.0.0.1:{port}/tresorpay"
confirm.delivery = "on_paid"
receipts.directory = "{}"
reconcile.schedule = "*/2 * * * * *"
"#,
        folder.join(RECEIPTS).display()
    )
}

/// A port that nobody has now: every daemon of this run listens there.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Some notices are refused, and what follows a payment goes wrong now and then.
async fn go_wrong(platform: &Platform) -> anyhow::Result<()> {
    for rule in [
        json!({"operation": "emit", "fault": "status", "code": 400, "probability": 0.04}),
        json!({"operation": "verify", "fault": "reset_after", "probability": 0.05}),
        json!({"operation": "verify", "fault": "status", "code": 503, "probability": 0.05}),
        json!({"operation": "receipt", "fault": "truncated", "probability": 0.05}),
        json!({"operation": "receipt", "fault": "slow_drip", "ms": 3, "bytes": 100, "probability": 0.5}),
    ] {
        platform.add_fault(&rule).await?;
    }
    Ok(())
}
