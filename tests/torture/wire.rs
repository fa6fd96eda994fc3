//! Mutated answers through a real connection: head and body spoilt, read by the client that the daemon uses. What it makes
//! of them is judged as in memory.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tresorpayd::{
    auth::{Auth, AuthOptions},
    notice::Verdict,
    pace::{Backoff, Pace},
    settings::{ClientAuthentication, OtherPhoneNumbers},
    tresorpay::{
        CancelAddress, Context, Exchange, HttpOptions, ServerClock, TresorPay, http_client, judge_emission,
        send,
    },
};

use crate::{corpus::BODIES, mutation::spoilt};

/// Largest answer that is read, in bytes, as for an emission.
const MAX_BODY: usize = 64 * 1024;
/// A spoilt length lets the client wait for what never comes.
const PATIENCE: Duration = Duration::from_millis(250);
/// Largest request that the server reads.
const MAX_REQUEST: usize = 4_096;

/// Heads of answers; `LENGTH` is replaced by the body's.
const HEADS: [&str; 8] = [
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: LENGTH\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: LENGTH\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nLENGTH\r\n",
    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: LENGTH\r\n\r\n",
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: LENGTH\r\n\r\n",
    "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
];

/// `count` answers; what went wrong.
pub(crate) fn run(seed: u64, count: u64) -> anyhow::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(through(seed, count))
}

/// Made as the daemon makes it. Nothing is ever sent there.
pub(crate) fn cancel_address([client, structure]: [&str; 2]) -> anyhow::Result<CancelAddress> {
    const BASE: &str = "http://127.0.0.1:1/api/public/v1";
    let http = http_client(&options())?;
    let backoff = Backoff { first: PATIENCE, max: PATIENCE };
    let options = AuthOptions {
        token_url: BASE.parse()?,
        client_id: String::new(),
        client_secret: String::new().into(),
        scope: None,
        client_authentication: ClientAuthentication::Body,
    };
    let (auth, _actor) = Auth::new(http.clone(), options, Pace::new(1, None, backoff, 1));
    let api = TresorPay::new(http, auth, BASE.parse()?, OtherPhoneNumbers::Send);
    Ok(api.cancel_address(BASE, "A-1", client, structure)?)
}

fn options() -> HttpOptions {
    HttpOptions {
        connect_timeout: PATIENCE,
        request_timeout: PATIENCE,
        proxy: None,
        ca_file: None,
        loopback: true,
        max_idle: 0,
    }
}

async fn through(seed: u64, count: u64) -> anyhow::Result<Vec<String>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let client = http_client(&options())?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let clock = ServerClock::default();
    let (mut failures, mut answered, mut created) = (Vec::new(), 0_u64, 0_u64);
    for number in 0..count {
        let answer = answer(&mut rng);
        let server = serve(&listener, &answer);
        let request = client.post(url(address)).body("{}");
        let clock = clock.clone();
        let asked = tokio::spawn(async move { send(request, MAX_BODY, &clock).await });
        server.await?;
        let Ok(exchange) = asked.await else {
            failures
                .push(format!("seed {seed}, answer {number}: a panic, see above: {}", answer.escape_ascii()));
            continue;
        };
        answered += u64::from(matches!(exchange, Exchange::Answered(_)));
        let judgement = judge_emission(&exchange, Context { accepted_recently: false });
        created += u64::from(judgement.verdict == Verdict::Created);
        // A connection was made and a request sent: whatever came back, it left.
        if matches!(exchange, Exchange::Unsent(_)) || !said(&judgement, &answer) {
            failures.push(format!("seed {seed}, answer {number}: {judgement:?}: {}", answer.escape_ascii()));
        }
    }
    println!(
        "  {count} answers through a connection: {answered} could be read, {created} accepted the notice"
    );
    Ok(failures)
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/api/public/v1/payment/create-notice-recette")
}

/// A head and a body, each spoilt or not.
fn answer(rng: &mut fastrand::Rng) -> Vec<u8> {
    let (mut body, mut answer) = (Vec::new(), Vec::new());
    spoilt(rng, &BODIES, &mut body);
    let head = HEADS[rng.usize(0..HEADS.len())];
    let length = if head.contains("chunked") { format!("{:x}", body.len()) } else { body.len().to_string() };
    let head = head.replace("LENGTH", &length);
    if rng.bool() {
        answer.extend_from_slice(head.as_bytes());
    } else {
        spoilt(rng, &[head.as_bytes()], &mut answer);
    }
    answer.extend_from_slice(&body);
    if head.contains("chunked") {
        answer.extend_from_slice(b"\r\n0\r\n\r\n");
    }
    answer
}

/// Reads one request and gives the answer, whatever is asked; then closes.
async fn serve(listener: &TcpListener, answer: &[u8]) -> anyhow::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    read_request(&mut stream).await?;
    // A client that has seen enough may be gone.
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
    Ok(())
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.ends_with(b"\r\n\r\n{}") && request.len() < MAX_REQUEST {
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            break;
        }
        request.extend_from_slice(&piece[..length]);
    }
    Ok(())
}

/// A believed reference stands in the answer; it may be escaped there.
fn said(judgement: &tresorpayd::tresorpay::Judgement, answer: &[u8]) -> bool {
    let Some(reference) = judgement.reference.as_ref().filter(|_| judgement.verdict == Verdict::Created)
    else {
        return true;
    };
    let stands = answer.windows(reference.as_str().len()).any(|part| part == reference.as_str().as_bytes());
    stands || answer.contains(&b'\\')
}
