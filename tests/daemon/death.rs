//! A task that dies ends the process, so that its supervisor can start it again; and a daemon that has nothing to do
//! does nothing.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    audit::audit,
    harness::{World, until},
    rows::{NewRow, bulk},
};

/// The outbox is gone: no task can go on, and none may hang.
#[tokio::test]
async fn a_task_that_dies_ends_the_process_with_a_failure() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(3)).await;
    until("all are emitted", async || app.count("EMITTED").await == 3).await;
    app.run("DROP TABLE outbox").await.unwrap();
    assert_eq!(daemon.ended(Duration::from_secs(15)).await, Ok(1), "{}", daemon.log());
    assert!(daemon.log().contains("no such table"), "{}", daemon.log());
    assert!(daemon.log().contains("task"), "it names the task that ended:\n{}", daemon.log());
}

/// The same while requests are under way: their answers have no row to go to.
#[tokio::test]
async fn a_task_that_dies_with_requests_under_way_does_not_hang() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    world.sim.set_latency(Duration::from_millis(800));
    app.insert(&bulk(20)).await;
    until("requests are under way", async || world.emissions() >= 8).await;
    app.run("DROP TABLE outbox").await.unwrap();
    assert_eq!(daemon.ended(Duration::from_secs(15)).await, Ok(1), "{}", daemon.log());
}

/// Jiffies of processor time, and bytes of memory.
pub(crate) fn usage(pid: u32) -> (u64, u64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<u64> =
        stat.rsplit_once(") ").unwrap().1.split(' ').filter_map(|field| field.parse().ok()).collect();
    let rss = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = rss.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    // After the state letter: ppid is the first number, utime and stime the 11th and 12th.
    (fields[10] + fields[11], rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

#[expect(clippy::print_stdout, reason = "a measurement is there to be read")]
fn report(share: f64, memory: u64) {
    println!("idle: {:.2} % of a processor, {} KiB", share * 100.0, memory / 1024);
}

#[tokio::test]
#[ignore = "measures for ten seconds; meant for a quiet machine"]
async fn an_idle_daemon_asks_nothing_and_costs_next_to_nothing() {
    const TIME: Duration = Duration::from_secs(10);
    /// Jiffies of a second.
    const HERTZ: f64 = 100.0;
    let mut world = World::new().await;
    world
        .set("emit.schedule", "*/5 * * * * *")
        .set("poll.schedule", "*/15 * * * * *")
        .set("log.level", "info");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(100)).await;
    let mut later = NewRow::new("LATER");
    later.not_before = Some("2099-01-01T00:00:00Z".to_owned());
    app.insert(&[later]).await;
    until("all are emitted", async || app.count("EMITTED").await == 100).await;
    for number in 1..=100 {
        world.sim.pay(&format!("A-{number}"), None).unwrap();
    }
    until("all are paid", async || app.count("PAID").await == 100).await;
    let (requests, before, start) = (world.sim.counters(), usage(daemon.pid()), Instant::now());
    until("the time has passed", async || start.elapsed() >= TIME).await;
    let after = usage(daemon.pid());
    let share = f64::from(u32::try_from(after.0 - before.0).unwrap()) / HERTZ / start.elapsed().as_secs_f64();
    report(share, after.1);
    assert_eq!(world.sim.counters().outcomes, requests.outcomes, "nothing was asked");
    assert!(share < 0.005, "{share}");
    daemon.stop().await;
    audit(&world, &mut app).await;
}
