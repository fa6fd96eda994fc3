//! Health, readiness, metrics and the status page of a running daemon, and that none of it gets in its way.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tresorpayd::simulator::{Ending, ErrorBody, Fault, NoticeStatus, Operation, Outage, Rule};

use crate::{
    audit::audit,
    callback::free_port,
    harness::{DEADLINE, SECRET, World, until},
    rows::{NewRow, bulk},
};

/// A person's name and number as rows have them.
const PERSONAL: [&str; 2] = ["Zoumanadiarra", "70998877"];

/// An answer: its status, its head and its body.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends `request` as it stands and reads to the end of the connection.
async fn raw(port: u16, request: &[u8]) -> Option<Page> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Page { status, head: head.to_lowercase(), body: body.to_owned() })
}

/// One GET with more headers, each ended by a line break.
pub(crate) async fn get_with(port: u16, path: &str, headers: &str) -> Page {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n");
    raw(port, request.as_bytes()).await.unwrap()
}

/// One GET.
pub(crate) async fn get(port: u16, path: &str) -> Page {
    get_with(port, path, "").await
}

/// A world that is watched, and the port.
pub(crate) async fn world() -> (World, u16) {
    let mut world = World::new().await;
    let port = watch(&mut world);
    (world, port)
}

/// The daemons to come are watched; the port.
pub(crate) fn watch(world: &mut World) -> u16 {
    let port = free_port();
    world.set("http.listen", &format!("127.0.0.1:{port}"));
    port
}

/// A row about somebody.
fn personal(reference: &str) -> NewRow {
    let mut row = NewRow::new(reference);
    row.tax_payer = serde_json::json!({"id": "1", "name": PERSONAL[0], "phoneNumber": PERSONAL[1]});
    row
}

/// The value of a metric, with its labels as they are written.
pub(crate) fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{metrics}")).parse().unwrap()
}

/// What Prometheus's own tool says of metrics, where it is installed.
fn check_by_promtool(metrics: &str) {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else { return };
    tool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn what_is_counted_is_what_the_ledger_holds() {
    let (world, port) = world().await;
    world
        .sim
        .add_fault(Rule::once(Operation::Emit, Fault::ResetAfter { by: Ending::Rst }).reference("DOUBT"));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(30)).await;
    app.insert(&[personal("DOUBT"), personal("PAID").amount(4500)]).await;
    let mut refused = personal("REFUSED");
    refused.code_client = Some("APP-WRONG");
    app.insert(&[refused]).await;
    until("all are answered", async || app.count("EMITTED").await == 31).await;
    until("one is in doubt", async || app.count("UNCERTAIN").await == 1).await;
    world.sim.pay("PAID", Some("WAVE")).unwrap();
    until("it is paid", async || app.count("PAID").await == 1).await;
    let mut metrics = String::new();
    until("the metrics know it", async || {
        metrics = get(port, "/metrics").await.body;
        value(&metrics, r#"tresorpayd_notices{status="PAID"}"#) > 0.0
    })
    .await;
    let ledger = world.sim.ledger();
    let in_ledger = |status| ledger.notices.iter().filter(|notice| notice.status == status).count();
    let sum = |status| {
        let notices = ledger.notices.iter().filter(|notice| notice.status == status);
        notices.map(|notice| notice.net_total).sum::<i64>()
    };
    let number = |count: usize| f64::from(u32::try_from(count).unwrap());
    // The one in doubt was created too, and nobody was told.
    let emitted = number(in_ledger(NoticeStatus::Emitted) + in_ledger(NoticeStatus::Paid) - 1);
    for (name, wanted) in [
        (r#"tresorpayd_requests_total{operation="emit",outcome="ok"}"#, emitted),
        (r#"tresorpayd_requests_total{operation="emit",outcome="refused"}"#, 1.0),
        (r#"tresorpayd_requests_total{operation="emit",outcome="connection_lost"}"#, 1.0),
        (r#"tresorpayd_requests_total{operation="emit",outcome="other"}"#, 0.0),
        (r#"tresorpayd_request_duration_seconds_count{operation="emit"}"#, emitted + 2.0),
        (r#"tresorpayd_transitions_total{to="EMITTED",source="emit"}"#, emitted),
        (r#"tresorpayd_transitions_total{to="REJECTED",source="emit"}"#, 1.0),
        (r#"tresorpayd_transitions_total{to="UNCERTAIN",source="emit"}"#, 1.0),
        (r#"tresorpayd_transitions_total{to="PAID",source="poll"}"#, number(in_ledger(NoticeStatus::Paid))),
        (r#"tresorpayd_transition_amount_xof_total{to="PAID",source="poll"}"#, 4500.0),
        (r#"tresorpayd_notices{status="EMITTED"}"#, 30.0),
        (r#"tresorpayd_notices{status="UNCERTAIN"}"#, 1.0),
        (r#"tresorpayd_notices{status="REJECTED"}"#, 1.0),
        ("tresorpayd_rejected_last_day", 1.0),
        ("tresorpayd_database_readable", 1.0),
        (r#"tresorpayd_breaker_open{side="emit"}"#, 0.0),
        ("tresorpayd_token_failing", 0.0),
        (r#"tresorpayd_requests_total{operation="token",outcome="ok"}"#, 1.0),
    ] {
        assert!((value(&metrics, name) - wanted).abs() < 0.5, "{name} is not {wanted}:\n{metrics}");
    }
    assert_eq!(sum(NoticeStatus::Paid), 4500);
    let polls =
        world.sim.counters().requests(Operation::Batch) + world.sim.counters().requests(Operation::Status);
    let counted = value(&metrics, r#"tresorpayd_requests_total{operation="status",outcome="ok"}"#);
    assert!(counted > 0.0 && counted <= number(usize::try_from(polls).unwrap()), "{counted} of {polls}");
    assert!(value(&metrics, "tresorpayd_commit_duration_seconds_count") > 2.0);
    assert!(value(&metrics, "tresorpayd_token_expires_seconds") > 1.0);
    check_by_promtool(&metrics);
    let page = include_str!("../../docs/observe.md");
    for name in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/observe.md");
    }
    for hidden in ["DOUBT", "REFUSED", "TP20", SECRET, "eyJ", PERSONAL[0], PERSONAL[1]] {
        assert!(!metrics.contains(hidden), "{hidden} is in the metrics");
    }
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// What an application deletes leaves no transition, and is no longer counted all the same.
#[tokio::test]
async fn rows_that_are_deleted_are_no_longer_counted() {
    let (world, port) = world().await;
    let mut daemon = world.start().await;
    assert_eq!(world.run(&["pause"]).await.0, 0);
    let mut app = world.application().await;
    app.insert(&bulk(5)).await;
    let pending = async |rows: f64| {
        let metrics = get(port, "/metrics").await.body;
        (value(&metrics, r#"tresorpayd_notices{status="PENDING"}"#) - rows).abs() < 0.5
    };
    until("all are counted", async || pending(5.0).await).await;
    app.run("DELETE FROM outbox WHERE reference = 'A-1'").await.unwrap();
    until("one is gone", async || pending(4.0).await).await;
    daemon.stop().await;
}

/// A restart begins the counters anew, and knows how many rows are paid all the same.
#[tokio::test]
async fn finished_rows_are_counted_over_restarts() {
    let (world, port) = world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(5)).await;
    until("all are emitted", async || app.count("EMITTED").await == 5).await;
    for row in app.rows().await.iter().take(3) {
        world.sim.pay(&row.reference, None).unwrap();
    }
    until("three are paid", async || app.count("PAID").await == 3).await;
    daemon.stop().await;
    let mut daemon = world.start().await;
    let metrics = get(port, "/metrics").await.body;
    assert!((value(&metrics, r#"tresorpayd_notices{status="PAID"}"#) - 3.0).abs() < 0.5, "{metrics}");
    assert!(value(&metrics, r#"tresorpayd_transitions_total{to="PAID",source="poll"}"#) < 0.5, "{metrics}");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn ready_says_why_not() {
    let (mut world, port) = world().await;
    world
        .set("api.breaker_failures", "1")
        .set("api.retry_max_delay", "60s")
        .set("api.retry_first_delay", "30s");
    let mut daemon = world.start().await;
    let ready = get(port, "/readyz").await;
    // It asked for a token to say so.
    assert_eq!((ready.status, &*ready.body), (200, "ready\n"), "{ready:?}");
    let mut app = world.application().await;
    let mut other = world.application().await;
    other.run("BEGIN IMMEDIATE").await.unwrap();
    let mut locked = get(port, "/readyz").await;
    until("it waits for the lock", async || {
        locked = get(port, "/readyz").await;
        locked.status == 503
    })
    .await;
    assert!(locked.body.starts_with("database_locked: "), "{locked:?}");
    assert_eq!(get(port, "/healthz").await.body, "alive\n");
    other.run("COMMIT").await.unwrap();
    until("it is ready again", async || get(port, "/readyz").await.status == 200).await;
    let fault = Fault::Status {
        code: 500,
        processed: false,
        retry_after: None,
        body: ErrorBody::Html,
        message: None,
        title: None,
    };
    world.sim.add_fault(Rule::always(Operation::Emit, fault));
    app.insert(&[NewRow::new("A-1")]).await;
    until("the breaker is told", async || {
        get(port, "/readyz").await.body.starts_with("breaker_emit: server_error")
    })
    .await;
    let metrics = get(port, "/metrics").await.body;
    assert!(value(&metrics, r#"tresorpayd_breaker_open{side="emit"}"#) > 0.5, "{metrics}");
    let page = get(port, "/?lang=fr").await.body;
    assert!(page.contains("ATTENTION") && page.contains("les requêtes sont retenues (emit)"), "{page}");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn without_a_token_it_is_not_ready() {
    let (mut world, port) = world().await;
    world.set("auth.client_secret", "wr0ng-s3cret");
    let mut daemon = world.start().await;
    let mut unready = get(port, "/readyz").await;
    until("the refusal is told", async || {
        unready = get(port, "/readyz").await;
        unready.body.contains("breaker_token: ")
    })
    .await;
    assert_eq!(unready.status, 503);
    assert!(unready.body.starts_with("no_token: credentials_refused\n"), "{unready:?}");
    assert!(!unready.body.contains("wr0ng"), "{unready:?}");
    let metrics = get(port, "/metrics").await.body;
    assert!(value(&metrics, "tresorpayd_token_failing") > 0.5, "{metrics}");
    daemon.stop().await;
}

#[tokio::test]
async fn the_token_is_needed_where_something_is_told() {
    let (mut world, port) = world().await;
    let token = "t0ken-of-the-readers";
    world.set("http.token", token).set("api.breaker_failures", "1");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    world.sim.down(Outage::Reset).await;
    app.insert(&[personal("A-1")]).await;
    let basic = base64(&format!("anyone:{token}"));
    for path in ["/metrics", "/", "/?reference=A-1"] {
        for headers in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic Zm9vOmJhcg==\r\n"] {
            let refused = get_with(port, path, headers).await;
            assert_eq!((refused.status, &*refused.body), (401, "show http.token\n"), "{path} {headers}");
            assert!(refused.head.contains(r#"www-authenticate: basic realm="tresorpayd""#), "{refused:?}");
        }
        for scheme in [format!("Bearer {token}"), format!("Basic {basic}")] {
            let admitted = get_with(port, path, &format!("Authorization: {scheme}\r\n")).await;
            assert_eq!(admitted.status, 200, "{path} {scheme}");
            assert!(!admitted.body.contains(token), "the token is shown");
        }
    }
    assert_eq!(get(port, "/healthz").await.status, 200);
    // Everybody is told a word, and who shows the token what was said.
    let mut open = get(port, "/readyz").await;
    until("something is wrong", async || {
        open = get(port, "/readyz").await;
        open.status == 503
    })
    .await;
    assert!(open.body.lines().all(|line| !line.contains(' ') && !line.contains(':')), "{open:?}");
    let told = get_with(port, "/readyz", &format!("Authorization: Bearer {token}\r\n")).await;
    assert!(told.body.contains(": "), "{told:?}");
    assert!(!daemon.log().contains(token), "the token is in the log");
    world.sim.up().await;
    daemon.stop().await;
}

fn base64(text: &str) -> String {
    use ::base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}

#[tokio::test]
async fn the_page_shows_a_life_and_no_person() {
    let (world, port) = world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let odd = r#"A "<b>&' 1"#;
    app.insert(&[personal("PATENTE-1").amount(1_250_000), personal(odd)]).await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    world.sim.pay("PATENTE-1", Some("ORANGE_MONEY")).unwrap();
    until("one is paid", async || app.count("PAID").await == 1).await;
    let own = app.row("PATENTE-1").await.tresorpay_reference.unwrap();
    for reference in ["PATENTE-1", &own] {
        let page = get(port, &format!("/?lang=fr&reference={reference}")).await;
        assert_eq!(page.status, 200);
        for word in [
            "lang=\"fr\"",
            "PATENTE-1",
            &own,
            "payé",
            "1\u{202f}250\u{202f}000",
            "Historique",
            "ORANGE_MONEY",
            "<svg",
        ] {
            assert!(page.body.contains(word), "{word} is not in {}", page.body);
        }
        for hidden in PERSONAL {
            assert!(!page.body.contains(hidden), "{hidden} is shown");
        }
        for header in [
            "content-security-policy: default-src 'none'; style-src 'self'; img-src 'self';",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "content-type: text/html; charset=utf-8",
        ] {
            assert!(page.head.contains(header), "{header} is not in {}", page.head);
        }
        assert!(!page.body.contains("<script") && !page.body.contains(" style="), "{}", page.body);
    }
    let escaped = get(port, "/?lang=en&reference=A+%22%3Cb%3E%26%27+1").await;
    assert_eq!(escaped.status, 200);
    assert!(
        escaped.body.contains("A &quot;&lt;b&gt;&amp;' 1") && !escaped.body.contains("\"<b>"),
        "{}",
        escaped.body
    );
    let stranger = get(port, "/?lang=en&reference=%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert_eq!(stranger.status, 404);
    assert!(stranger.body.contains("No notice has this reference") && !stranger.body.contains("<script"));
    for (headers, lang) in [
        ("Accept-Language: en-GB,en;q=0.9\r\n", "en"),
        ("Accept-Language: fr-ML\r\n", "fr"),
        ("", "fr"),
        ("Accept-Language: \u{e9}\r\n", "fr"),
    ] {
        let page = get_with(port, "/", headers).await;
        assert!(page.body.contains(&format!("<html lang=\"{lang}\">")), "{headers}: {}", page.body);
    }
    assert!(get(port, "/?refresh=on").await.body.contains("http-equiv=\"refresh\""));
    assert!(get(port, "/style.css").await.body.contains("prefers-color-scheme: dark"));
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn odd_requests_are_refused_and_the_daemon_works_on() {
    let (world, port) = world().await;
    let mut daemon = world.start().await;
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    for (request, status) in [
        (format!("GET /metrics HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"), 403),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n".to_owned(), 403),
        (format!("POST / HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\nabc"), 405),
        (format!("DELETE /metrics HTTP/1.1\r\n{host}\r\n"), 405),
        (format!("GET /nothing HTTP/1.1\r\n{host}\r\n"), 404),
        (format!("GET /../../etc/passwd HTTP/1.1\r\n{host}\r\n"), 404),
        (format!("HEAD /healthz HTTP/1.1\r\n{host}\r\n"), 200),
        (format!("GET /?lang=fr&lang=en&reference=%FF%00 HTTP/1.1\r\n{host}\r\n"), 200),
        (format!("GET /healthz HTTP/1.1\r\n{host}X: {}\r\n\r\n", "y".repeat(100_000)), 431),
        (format!("GET /?reference={} HTTP/1.1\r\n{host}\r\n", "x".repeat(9_000)), 404),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ] {
        let told = &request[..request.len().min(60)];
        match raw(port, request.as_bytes()).await {
            Some(page) => assert_eq!(page.status, status, "{told}"),
            // The rest of what was sent may reset the connection before the answer is read.
            None => assert_eq!(status, 431, "{told}"),
        }
    }
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("it is emitted", async || app.count("EMITTED").await == 1).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Connections that say nothing, or a byte at a time, hold their place for a bounded time, and the daemon emits meanwhile.
#[tokio::test]
async fn slow_readers_and_a_flood_are_bounded_and_hold_up_no_emission() {
    let (world, port) = world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ").await.unwrap();
        idle.push(stream);
    }
    app.insert(&bulk(50)).await;
    until("all are emitted", async || app.count("EMITTED").await == 50).await;
    // All who waited behind them have their turn.
    let start = Instant::now();
    assert_eq!(get(port, "/healthz").await.body, "alive\n");
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    drop(idle);
    let flood = join_all((0..300).map(|number| async move {
        let path = ["/", "/metrics", "/readyz", "/?reference=A-1"][number % 4];
        get(port, path).await.status
    }))
    .await;
    assert!(flood.iter().all(|status| matches!(status, 200 | 404)), "{flood:?}");
    app.insert(&[NewRow::new("LAST")]).await;
    until("it is emitted", async || app.status("LAST").await == "EMITTED").await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

#[tokio::test]
async fn a_stop_waits_for_no_reader() {
    let (world, port) = world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    let mut open = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    open.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
    app.run("BEGIN IMMEDIATE").await.unwrap();
    let mut waiting = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    waiting
        .write_all(format!("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    until("it is connected to", async || get(port, "/healthz").await.status == 200).await;
    app.run("COMMIT").await.unwrap();
    let start = Instant::now();
    daemon.stop().await;
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_setting() {
    let (world, port) = world().await;
    let _other = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut daemon = world.spawn();
    assert_eq!(daemon.ended(DEADLINE).await, Ok(1));
    let log = daemon.log();
    assert!(log.contains(&format!("http.listen: cannot listen on 127.0.0.1:{port}")), "{log}");
}

#[tokio::test]
async fn other_hosts_need_a_token() {
    let (mut world, port) = world().await;
    world.set("http.listen", &format!("0.0.0.0:{port}"));
    let mut daemon = world.spawn();
    assert_eq!(daemon.ended(DEADLINE).await, Ok(78));
    assert!(daemon.log().contains("set http.token"), "{}", daemon.log());
}
