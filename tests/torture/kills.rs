//! Nothing but SIGKILL, again and again, with as many requests under way as there may be.

use std::{process::ExitCode, time::Duration};

use crate::{
    options::{KillsArgs, Options},
    world::World,
};

/// How long a daemon lives, in milliseconds from READY=1.
const LIFE: std::ops::RangeInclusive<u64> = 20..=700;
/// Rows that the application would write in a second: more than are emitted, so that every slot is taken.
const RATE: u32 = 2_000;

/// Runs it; fails if a promise was broken.
pub(crate) async fn run(options: &Options, args: &KillsArgs) -> anyhow::Result<ExitCode> {
    println!(
        "kills: seed {}, {} SIGKILLs, answers after {} ms, emit.on_uncertain = {}",
        options.seed(),
        args.count,
        args.latency_ms,
        options.policy.as_str()
    );
    let mut world = World::start(options, &format!("{}ms", args.latency_ms), RATE).await?;
    let mut rng = fastrand::Rng::with_seed(options.seed());
    for _ in 0..args.count {
        tokio::time::sleep(Duration::from_millis(rng.u64(LIFE))).await;
        world.watch().await?;
        world.kill().await?;
        world.start_daemon().await?;
    }
    Ok(world.end().await?.print())
}
