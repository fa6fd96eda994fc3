//! The torture run: carries the plan out, fault by fault, while the application writes and the daemon works.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    holder,
    options::Options,
    plan::{self, Act, Fault},
    world::World,
};

/// Rows that the application would write in a second.
const RATE: u32 = 60;
/// How late the platform's answers are.
const LATENCY: &str = "5ms..40ms";

/// Runs it; fails if a promise was broken.
pub(crate) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let plan = plan::faults(options.seed(), options.duration(), options.policy);
    println!(
        "torture: seed {}, {:.1} minutes, emit.on_uncertain = {}: {} faults, plan {:016x}",
        options.seed(),
        options.duration().as_secs_f64() / 60.0,
        options.policy.as_str(),
        plan.len(),
        plan::fingerprint(&plan)
    );
    let mut world = World::start(options, LATENCY, RATE).await?;
    if !world.clock.steps() {
        println!("clock steps are left out: there is no libfaketime (Debian's package `faketime`)");
    }
    let counts = carry_out(&mut world, &plan).await?;
    let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    world.verdict.figure(format!("faults: {}", counts.join(", ")));
    Ok(world.end().await?.print())
}

/// Makes every fault at its time, or as soon after as the ones before are over.
async fn carry_out(world: &mut World, plan: &[Fault]) -> anyhow::Result<BTreeMap<&'static str, u32>> {
    let started = Instant::now();
    let mut counts = BTreeMap::new();
    let mut background = JoinSet::new();
    for fault in plan {
        tokio::time::sleep_until((started + Duration::from_millis(fault.at_ms)).into()).await;
        world.watch().await?;
        while let Some(ended) = background.try_join_next() {
            ended??;
        }
        if act(world, &fault.act, &mut background).await? {
            *counts.entry(fault.act.name()).or_default() += 1;
        }
    }
    while let Some(ended) = background.join_next().await {
        ended??;
    }
    Ok(counts)
}

/// Makes one fault; those that last go on in the background. False if this machine cannot make it.
async fn act(
    world: &mut World,
    act: &Act,
    background: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<bool> {
    let (platform, proxy) = (Arc::clone(&world.platform), Arc::clone(&world.proxy));
    let database = world.installation.database();
    match act.clone() {
        Act::Kill { pause_ms } => {
            world.kill().await?;
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            world.start_daemon().await?;
        }
        Act::KillStarting { after_ms } => {
            world.kill().await?;
            world.kill_starting(Duration::from_millis(after_ms)).await?;
            world.start_daemon().await?;
        }
        Act::Terminate => {
            world.terminate().await?;
            world.start_daemon().await?;
        }
        Act::Freeze { ms, killed } => {
            world.freeze(Duration::from_millis(ms), killed).await?;
            if killed {
                world.start_daemon().await?;
            }
        }
        Act::Network { weather, ms } => {
            background.spawn(async move {
                proxy.set_for(weather, Duration::from_millis(ms)).await;
                Ok(())
            });
        }
        Act::Storm { rule, ms } => {
            background.spawn(async move {
                let id = platform.add_fault(&rule).await?;
                tokio::time::sleep(Duration::from_millis(ms)).await;
                platform.remove_fault(id).await
            });
        }
        Act::Down { how, ms } => {
            background.spawn(async move { platform.down(how, ms).await });
        }
        Act::RevokeTokens => platform.revoke_tokens().await?,
        Act::Lock { ms } => {
            background.spawn(async move { holder::lock(&database, Duration::from_millis(ms)).await });
        }
        Act::Snapshot { ms } => {
            background.spawn(async move { holder::snapshot(&database, Duration::from_millis(ms)).await });
        }
        Act::KillApplication => world.kill_application()?,
        Act::StepClock { seconds } => {
            if !world.clock.steps() {
                return Ok(false);
            }
            world.clock.step(seconds)?;
        }
    }
    Ok(true)
}
