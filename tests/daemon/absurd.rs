//! Absurd answers, each to every kind of request: the outcome has a name, memory stays bounded, nothing is followed, and
//! all goes on once the platform answers as it should.

use std::{
    io::Write as _,
    net::TcpListener,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::{
    harness::{Daemon, World, until, until_within},
    raw::{Ask, RawPeer, Reply, answer, good, message},
    rows::{NewRow, bulk},
};

const OK: &str = "HTTP/1.1 200 OK";
const JSON: &str = "Content-Type: application/json";
const GZIP: &str = "Content-Encoding: gzip";
/// Nothing that a stranger sends may make the daemon larger than this, in KiB; a debug build that idles has 30 MiB.
const MOST_MEMORY: u64 = 120 * 1024;

/// What an absurd answer to an emission comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Means {
    /// It is a proper answer in odd clothes.
    Taken,
    /// Nobody knows.
    Doubt(&'static str),
    /// Surely nothing, by this code; nobody knows, if others are accepted meanwhile.
    NotCreated(&'static str),
}

use Means::{Doubt, NotCreated, Taken};

/// One absurd answer.
struct Absurd {
    name: &'static str,
    means: Means,
    /// From what a platform in good health would answer.
    make: fn(&Ask, &str) -> Reply,
}

/// The body that is right for `ask`.
fn body(ask: &Ask) -> Value {
    let Reply::Bytes(bytes) = good(ask) else { unreachable!() };
    let start = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    serde_json::from_slice(&bytes[start..]).unwrap()
}

/// The right body with one member more, written as it is.
fn with(ask: &Ask, member: &str) -> Vec<u8> {
    let right = body(ask);
    let add = |object: &Value| format!("{{{member},{}", &object.to_string()[1..]);
    match right.as_array() {
        Some(objects) => format!("[{}]", objects.iter().map(add).collect::<Vec<_>>().join(",")),
        None => add(&right),
    }
    .into_bytes()
}

/// The name of the member that matters most.
fn key(ask: &Ask) -> &'static str {
    if matches!(ask, Ask::Token) { "access_token" } else { "reference" }
}

/// The right body with another value, written as it is, in the member that matters most.
fn instead(ask: &Ask, value: &str) -> Vec<u8> {
    let right = body(ask);
    let put = |object: &Value| {
        let mut object = object.clone();
        object[key(ask)] = json!("PUT-HERE");
        object.to_string().replace("\"PUT-HERE\"", value)
    };
    match right.as_array() {
        Some(objects) => format!("[{}]", objects.iter().map(put).collect::<Vec<_>>().join(",")),
        None => put(&right),
    }
    .into_bytes()
}

/// 256 MiB of blanks; made once, since that takes a while.
static GZIP_BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    let blanks = vec![b' '; 1024 * 1024];
    for _ in 0..256 {
        bomb.write_all(&blanks).unwrap();
    }
    bomb.finish().unwrap()
});

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text).unwrap();
    gzip.finish().unwrap()
}

static ABSURD: [Absurd; 23] = [
    Absurd {
        name: "a body without an end",
        means: Doubt("unusable_answer"),
        make: |_, _| {
            let head = message(&[OK, JSON], "Transfer-Encoding: chunked", b"");
            let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
            Reply::Endless(head, chunk, Duration::ZERO)
        },
    },
    Absurd {
        name: "a body that drips",
        means: Doubt("unusable_answer"),
        make: |_, _| {
            let head = message(&[OK, JSON], "Content-Length: 1000000", b"");
            Reply::Endless(head, b" ".to_vec(), Duration::from_millis(50))
        },
    },
    Absurd {
        name: "a head that drips",
        means: Doubt("timed_out"),
        make: |_, _| Reply::Endless(OK.into(), b"x".to_vec(), Duration::from_millis(50)),
    },
    Absurd {
        name: "a gzip bomb",
        means: Doubt("unusable_answer"),
        make: |_, _| answer(&[OK, JSON, GZIP], &GZIP_BOMB),
    },
    Absurd {
        name: "gzip that is none",
        means: Doubt("unusable_answer"),
        make: |_, _| answer(&[OK, JSON, GZIP], b"\x1f\x8b this is not gzip"),
    },
    Absurd {
        name: "gzip that is right",
        means: Taken,
        make: |ask, _| answer(&[OK, JSON, GZIP], &gzip(body(ask).to_string().as_bytes())),
    },
    Absurd {
        name: "a header of megabytes",
        means: Doubt("connection_lost"),
        make: |ask, _| {
            let long = format!("X-Long: {}", "x".repeat(4 * 1024 * 1024));
            answer(&[OK, JSON, &long], body(ask).to_string().as_bytes())
        },
    },
    Absurd {
        name: "ten thousand headers",
        means: Doubt("connection_lost"),
        make: |ask, _| {
            let headers = vec!["X-Many: 1"; 10_000];
            answer(&[&[OK, JSON], headers.as_slice()].concat(), body(ask).to_string().as_bytes())
        },
    },
    Absurd {
        name: "a redirection to another host",
        means: NotCreated("misdirected"),
        make: |_, elsewhere| {
            answer(&["HTTP/1.1 307 Temporary Redirect", &format!("Location: {elsewhere}")], b"")
        },
    },
    Absurd {
        name: "a redirection that asks for a GET elsewhere",
        means: Doubt("server_error"),
        make: |_, elsewhere| answer(&["HTTP/1.1 303 See Other", &format!("Location: {elsewhere}")], b""),
    },
    Absurd {
        name: "another content type",
        means: Taken,
        make: |ask, _| {
            answer(&[OK, "Content-Type: text/html; charset=utf-16"], body(ask).to_string().as_bytes())
        },
    },
    Absurd {
        name: "text that is no UTF-8",
        means: Doubt("unusable_answer"),
        make: |ask, _| answer(&[OK, JSON], &instead(ask, "\"TP\u{1}\"").map_byte(1, 0xff)),
    },
    Absurd {
        name: "half of a surrogate pair",
        means: Doubt("unusable_answer"),
        make: |ask, _| answer(&[OK, JSON], &instead(ask, r#""TP\ud800""#)),
    },
    Absurd {
        name: "each key twice",
        means: Doubt("unusable_answer"),
        make: |ask, _| answer(&[OK, JSON], &with(ask, &format!("\"{}\":\"TP-OTHER\"", key(ask)))),
    },
    Absurd {
        name: "JSON without a floor",
        means: Doubt("unusable_answer"),
        make: |_, _| answer(&[OK, JSON], "[".repeat(60_000).as_bytes()),
    },
    Absurd {
        name: "a member without a floor",
        means: Taken,
        make: |ask, _| {
            let deep = format!("\"x\":{}{}", "[".repeat(20_000), "]".repeat(20_000));
            answer(&[OK, JSON], &with(ask, &deep))
        },
    },
    Absurd {
        name: "a number beyond 2^64",
        means: Doubt("unusable_answer"),
        make: |ask, _| answer(&[OK, JSON], &instead(ask, "18446744073709551616")),
    },
    Absurd {
        name: "a number beyond every float",
        means: Doubt("unusable_answer"),
        make: |ask, _| answer(&[OK, JSON], &instead(ask, "1e999999")),
    },
    Absurd {
        name: "a reference of 20 kB",
        means: Doubt("unusable_answer"),
        make: |ask, _| answer(&[OK, JSON], &instead(ask, &format!("\"{}\"", "T".repeat(20_000)))),
    },
    Absurd {
        name: "the reference of another row",
        means: Doubt("foreign_reference"),
        make: |ask, _| {
            let other = if matches!(ask, Ask::Emit(_)) { "\"TP-FIRST\"" } else { "\"TP-STRANGER\"" };
            answer(&[OK, JSON], &instead(ask, other))
        },
    },
    Absurd {
        name: "not HTTP at all",
        means: Doubt("connection_lost"),
        make: |_, _| Reply::Last(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
    },
    Absurd {
        name: "two lengths",
        means: Doubt("connection_lost"),
        make: |ask, _| answer(&[OK, JSON, "Content-Length: 7"], body(ask).to_string().as_bytes()),
    },
    Absurd {
        name: "interim answers without an end",
        means: Doubt("timed_out"),
        make: |_, _| {
            let interim = b"HTTP/1.1 102 Processing\r\n\r\n".to_vec();
            Reply::Endless(interim.clone(), interim, Duration::from_millis(5))
        },
    },
];

/// Puts bytes where text cannot.
trait MapByte {
    fn map_byte(self, from: u8, to: u8) -> Self;
}

impl MapByte for Vec<u8> {
    fn map_byte(self, from: u8, to: u8) -> Self {
        self.into_iter().map(|byte| if byte == from { to } else { byte }).collect()
    }
}

/// Another host: what comes here would carry the token.
struct Elsewhere(TcpListener);

impl Elsewhere {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        format!("http://{}/stolen", self.0.local_addr().unwrap())
    }

    fn was_not_asked(&self) {
        assert!(self.0.accept().is_err(), "a redirection was followed");
    }
}

/// A world for hostility: nothing is held back, and no request lasts.
async fn world() -> World {
    LazyLock::force(&GZIP_BOMB);
    let mut world = World::new().await;
    world.set("api.request_timeout", "1s").set("api.breaker_failures", "1000");
    world.set("api.retry_first_delay", "50ms").set("api.retry_max_delay", "200ms");
    world
}

/// The most memory that it ever had, in KiB.
fn peak(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn ends_well(mut daemon: Daemon, elsewhere: &Elsewhere) {
    elsewhere.was_not_asked();
    let peak = peak(&daemon);
    assert!(peak < MOST_MEMORY, "{peak} KiB");
    daemon.stop().await;
    assert!(!daemon.log().contains("panicked"));
}

/// Row `A-n` meets the n-th absurd answer.
#[tokio::test]
async fn to_an_emission() {
    let mut world = world().await;
    world.set("poll.first_delay", "1h").set("poll.max_delay", "1h");
    let elsewhere = Elsewhere::new();
    let url = elsewhere.url();
    let _peer = RawPeer::start(&mut world, move |ask| match ask {
        Ask::Emit(reference) => {
            match reference.strip_prefix("A-").and_then(|number| number.parse::<usize>().ok()) {
                Some(number) => (ABSURD[number - 1].make)(ask, &url),
                None => good(ask),
            }
        }
        Ask::Token => good(ask),
        _ => good(&Ask::Other),
    })
    .await;
    let daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    until("the first is emitted", async || app.status("FIRST").await == "EMITTED").await;
    app.insert(&bulk(ABSURD.len())).await;
    let undecided = "SELECT count(*) FROM outbox WHERE status IN ('PENDING', 'EMITTING') AND attempts = 0 AND last_error IS NULL";
    until("each is decided", async || app.number(undecided).await == 0).await;
    for (absurd, number) in ABSURD.iter().zip(1..) {
        let row = app.row(&format!("A-{number}")).await;
        let code = row.last_error.as_deref().and_then(|error| error.split(':').next());
        let attempt = app.attempts_of(&row.reference).await.remove(0);
        match absurd.means {
            Taken => assert_eq!((&*row.status, code), ("EMITTED", None), "{}: {row:?}", absurd.name),
            Doubt(means) => {
                assert_eq!((&*row.status, code), ("UNCERTAIN", Some(means)), "{}: {row:?}", absurd.name);
            }
            // Judged beside others that were accepted: the same words by another name.
            NotCreated(means) => {
                let told = [Some(means), Some("filtered")].contains(&attempt.outcome.as_deref());
                assert!(told && row.status != "EMITTED", "{}: {row:?}", absurd.name);
            }
        }
        assert!(row.last_error.is_none_or(|error| error.len() < 1000), "{}", absurd.name);
    }
    ends_well(daemon, &elsewhere).await;
}

/// The n-th status request of a kind meets the n-th absurd answer; then all is well. Whatever was answered, no notice is
/// taken for paid that was not, and each is in the end.
async fn to_status_requests(batch: bool) {
    let mut world = world().await;
    world.set("poll.first_delay", "100ms").set("poll.max_delay", "100ms");
    let elsewhere = Elsewhere::new();
    let (url, asked) = (elsewhere.url(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let _peer = RawPeer::start(&mut world, move |ask| match ask {
        Ask::Batch(_) if !batch => good(&Ask::Other),
        Ask::Status(_) if batch => good(&Ask::Other),
        Ask::Batch(_) | Ask::Status(_) => {
            let number = count.fetch_add(1, Ordering::Relaxed);
            match ABSURD.get(number).filter(|absurd| absurd.means != Taken) {
                Some(absurd) => (absurd.make)(ask, &url),
                None if number < ABSURD.len() => answer(&["HTTP/1.1 500 Internal Server Error"], b""),
                None => good(ask),
            }
        }
        _ => good(ask),
    })
    .await;
    let daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("FIRST")]).await;
    app.insert(&bulk(4)).await;
    until("all are emitted", async || app.count("EMITTED").await == 5).await;
    let limit = Duration::from_secs(90);
    until_within(limit, "every absurd answer was given", async || {
        let paid = app.count("PAID").await;
        let asked = asked.load(Ordering::Relaxed);
        assert!(
            paid == 0 || asked > ABSURD.len(),
            "paid by absurd answer {asked}: {}",
            ABSURD[asked - 1].name
        );
        asked > ABSURD.len()
    })
    .await;
    until_within(limit, "all are paid", async || app.count("PAID").await == 5).await;
    ends_well(daemon, &elsewhere).await;
}

#[tokio::test]
async fn to_a_status_request() {
    to_status_requests(false).await;
}

/// The batch endpoint is given up for an hour once it seems absent: none of these answers may look like that.
#[tokio::test]
async fn to_a_batch() {
    to_status_requests(true).await;
}

/// The n-th request for a token meets the n-th absurd answer; rows wait, whole, until one is granted.
#[tokio::test]
async fn to_a_request_for_a_token() {
    let mut world = world().await;
    let elsewhere = Elsewhere::new();
    let (url, asked) = (elsewhere.url(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    // A text is a token, whoever it was meant for.
    let absurd: Vec<&Absurd> = ABSURD
        .iter()
        .filter(|absurd| absurd.means != Taken && absurd.name != "the reference of another row")
        .collect();
    let total = absurd.len();
    let _peer = RawPeer::start(&mut world, move |ask| match ask {
        Ask::Token => match absurd.get(count.fetch_add(1, Ordering::Relaxed)) {
            Some(absurd) => (absurd.make)(ask, &url),
            None => good(ask),
        },
        Ask::Batch(_) | Ask::Status(_) => good(&Ask::Other),
        _ => good(ask),
    })
    .await;
    let daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(5)).await;
    let touched =
        "SELECT (SELECT count(*) FROM attempt) + (SELECT count(*) FROM outbox WHERE status <> 'PENDING')";
    until_within(Duration::from_secs(90), "a token is granted", async || {
        let rows = app.number(touched).await;
        let asked = asked.load(Ordering::Relaxed);
        assert!(rows == 0 || asked > total, "a token of answer {asked}");
        asked > total
    })
    .await;
    until("all are emitted", async || app.count("EMITTED").await == 5).await;
    assert!(daemon.log().contains("no_token: "), "its code is in the log");
    ends_well(daemon, &elsewhere).await;
}
