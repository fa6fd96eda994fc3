//! TresorPay's callback: a hint that is worth a request, and nothing more.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tresorpayd::simulator::{Config, Operation};

use crate::{
    audit::audit,
    harness::{World, holds_for, until},
    rows::{Application, NewRow, bulk},
};

/// Where nobody listens: the simulator's own calls go there, and the test makes its own.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:9/tresorpay";

/// A free port on this machine.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A world in which polling finds nothing for an hour, and callbacks come in; the port they come to.
pub(crate) async fn world() -> (World, u16) {
    let mut world = World::with(Config::default()).await;
    let port = free_port();
    world.set("callback.listen", &format!("127.0.0.1:{port}"));
    world.set("callback.public_url", &format!("http://127.0.0.1:{port}/tresorpay"));
    world.set("poll.first_delay", "1h").set("poll.max_delay", "6h");
    (world, port)
}

/// The same, and the simulator's own calls go nowhere.
pub(crate) async fn deaf_world() -> (World, u16) {
    let (mut world, port) = world().await;
    world.set("callback.public_url", NOWHERE);
    (world, port)
}

/// The path of the callback that TresorPay was told for a row.
pub(crate) fn path(world: &World, reference: &str) -> String {
    let url = world.sim.notice(reference).unwrap().callback.unwrap();
    url.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.split_once('/')).unwrap().1.to_owned()
}

/// One GET; the answer's status line.
pub(crate) async fn get(port: u16, path_and_query: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET /{path_and_query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

/// TresorPay's call, made by the test.
pub(crate) async fn call(port: u16, path: &str, id: &str, amount: &str) {
    let line = get(port, &format!("{path}?status=PAID&id={id}&amount={amount}&provider=WAVE")).await;
    assert_eq!(line, "HTTP/1.1 204 No Content");
}

/// Status requests that TresorPay was sent.
fn asked(world: &World) -> u64 {
    let counters = world.sim.counters();
    counters.requests(Operation::Status) + counters.requests(Operation::Batch)
}

async fn emitted(app: &mut Application, rows: &[NewRow]) {
    app.insert(rows).await;
    until("all are emitted", async || app.count("EMITTED").await == rows.len()).await;
}

#[tokio::test]
async fn a_payment_is_seen_within_a_second_of_its_callback() {
    let (world, _) = world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, &bulk(9)).await;
    let mut times = Vec::new();
    for number in 1..=9 {
        let reference = format!("A-{number}");
        let start = Instant::now();
        world.sim.pay(&reference, Some("WAVE")).unwrap();
        until("the payment is in the database", async || app.status(&reference).await == "PAID").await;
        times.push(start.elapsed());
    }
    times.sort();
    eprintln!("callback to PAID: median {:?}, longest {:?}", times[4], times[8]);
    assert!(times[4] < Duration::from_secs(1), "{times:?}");
    let steps = app.transitions().await;
    let paid: Vec<_> = steps.iter().filter(|step| step.to_status == "PAID").collect();
    assert!(paid.iter().all(|step| step.source == "callback"), "{paid:?}");
    assert_eq!(app.row("A-1").await.provider.as_deref(), Some("WAVE"));
    assert_eq!(asked(&world), 9, "one status request a callback");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Nobody is asked, nothing is written, and the memory stays what it was.
#[tokio::test]
async fn ten_thousand_forged_callbacks_cost_nothing() {
    const FORGED: usize = 10_000;
    let (world, port) = world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, &bulk(3)).await;
    let genuine = path(&world, "A-1");
    let (rows, steps) = (app.rows().await, app.transitions().await.len());
    let notice = app.row("A-1").await.tresorpay_reference.unwrap();
    let memory = resident(daemon.pid());
    let (before, start) = (asked(&world), Instant::now());
    let forged = |number: usize| {
        let mut token: Vec<char> = genuine.chars().collect();
        let last = token.len() - 1 - number % 70;
        token[last] = if token[last] == 'x' { 'y' } else { 'x' };
        let token: String = token.into_iter().collect();
        match number % 4 {
            0 => format!("tresorpay/{number:075}"),
            1 => "favicon.ico".to_owned(),
            _ => token,
        }
    };
    let mut calls = stream::iter(0..FORGED)
        .map(|number| {
            let path = format!("{}?status=PAID&id={notice}&amount=1000&provider=WAVE", forged(number));
            async move { get(port, &path).await }
        })
        .buffer_unordered(32);
    while let Some(line) = calls.next().await {
        assert_eq!(line, "HTTP/1.1 204 No Content");
    }
    let (took, grown) = (start.elapsed(), resident(daemon.pid()).saturating_sub(memory));
    eprintln!(
        "{FORGED} forged callbacks in {took:?}: {} status requests, {grown} KiB more",
        asked(&world) - before
    );
    assert_eq!(asked(&world), before, "TresorPay was asked because of a forged callback");
    assert_eq!((app.rows().await, app.transitions().await.len()), (rows, steps));
    assert!(grown < 32 * 1024, "{grown} KiB");
    // And the genuine one still works.
    world.sim.pay("A-1", None).unwrap();
    until("a payment is seen", async || app.status("A-1").await == "PAID").await;
    assert!(!daemon.log().contains(genuine.rsplit('/').next().unwrap()), "a token is in the log");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Kibibytes that the process has in memory.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Who has a genuine token can have TresorPay asked a few times, and no more.
#[tokio::test]
async fn a_genuine_token_is_worth_few_requests() {
    let (world, port) = deaf_world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, &bulk(1)).await;
    let path = path(&world, "A-1");
    let notice = app.row("A-1").await.tresorpay_reference.unwrap();
    let start = Instant::now();
    for number in 0..1000 {
        // Its own notice, and such as nobody knows.
        let id = if number % 2 == 0 { notice.clone() } else { format!("TP2.{number}") };
        call(port, &path, &id, "1").await;
    }
    let windows = start.elapsed().as_secs() / 10 + 1;
    let asked = asked(&world);
    eprintln!("1000 callbacks with one genuine token in {:?}: {asked} status requests", start.elapsed());
    assert!((1..=4 * windows + 4).contains(&asked), "{asked}");
    let row = app.row("A-1").await;
    assert_eq!((&*row.status, row.last_error), ("EMITTED", None), "what it says is not believed");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A token is its row's alone, and a notice is its row's alone.
#[tokio::test]
async fn a_token_speaks_for_no_other_row() {
    let (world, port) = deaf_world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, &bulk(2)).await;
    world.sim.pay("A-2", None).unwrap();
    let other = app.row("A-2").await.tresorpay_reference.unwrap();
    let before = app.rows().await;
    call(port, &path(&world, "A-1"), &other, "1000").await;
    until("it is told", async || daemon.log().contains("foreign_reference")).await;
    holds_for(Duration::from_secs(1), "nothing changes", async || app.rows().await == before).await;
    call(port, &path(&world, "A-2"), &other, "1000").await;
    until("its own token counts", async || app.status("A-2").await == "PAID").await;
    assert_eq!(app.status("A-1").await, "EMITTED");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// What is paid is what the row says; another amount in the callback is told and not booked.
#[tokio::test]
async fn another_amount_is_told_and_not_booked() {
    let (world, port) = deaf_world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    emitted(&mut app, &bulk(2)).await;
    let notice = app.row("A-1").await.tresorpay_reference.unwrap();
    call(port, &path(&world, "A-1"), &notice, "900").await;
    until("TresorPay is asked", async || asked(&world) == 1).await;
    assert_eq!(app.row("A-1").await.last_error, None, "it is not paid, so the amount says nothing");
    for (reference, seen_before) in [("A-1", false), ("A-2", true)] {
        world.sim.pay(reference, None).unwrap();
        let notice = app.row(reference).await.tresorpay_reference.unwrap();
        if seen_before {
            call(port, &path(&world, reference), &notice, "1000").await;
            until("it is paid", async || app.status(reference).await == "PAID").await;
            assert_eq!(app.row(reference).await.last_error, None);
        }
        call(port, &path(&world, reference), &notice, "900").await;
        let said = "amount_differs: TresorPay's callback names 900 XOF and the notice is for 1000 XOF";
        until("it is told", async || {
            let row = app.row(reference).await;
            row.status == "PAID" && row.last_error.is_some_and(|error| error.starts_with(said))
        })
        .await;
        assert_eq!(app.row(reference).await.net_total, 1000);
    }
    let reason = app.text("SELECT status_reason FROM outbox WHERE reference = 'A-1'").await.unwrap();
    assert!(reason.contains("amount_differs"), "the history keeps it: {reason}");
    assert!(daemon.log().contains("amount_differs"));
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// An address that is taken ends the start, and says so.
#[tokio::test]
async fn an_address_that_is_taken_ends_the_start() {
    let (mut world, _) = world().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    world.set("callback.listen", &taken.local_addr().unwrap().to_string());
    let mut daemon = world.spawn();
    assert_eq!(daemon.ended(Duration::from_secs(30)).await, Ok(1));
    assert!(daemon.log().contains("callback.listen: cannot listen on 127.0.0.1:"), "{}", daemon.log());
}
