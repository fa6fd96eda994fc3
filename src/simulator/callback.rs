//! The callback of a paid notice: one unsigned GET, and only to this machine. A simulator that called addresses out
//! of a notice anywhere on the network would be a nuisance.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Url};

use super::book::Payment;
use super::ledger::NoticeStatus;

/// How long the callback's receiver may take.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// What a callback tells.
pub(super) struct Query {
    id: String,
    amount: i64,
    provider: String,
}

impl Query {
    pub(super) fn of(payment: &Payment) -> Self {
        Self { id: payment.reference.clone(), amount: payment.amount, provider: payment.provider.clone() }
    }
}

/// Calls `url` and says in one line what came of it.
pub(super) async fn call(url: &str, query: &Query) -> String {
    let Ok(mut url) = url.parse::<Url>() else { return "skipped: not a URL".to_owned() };
    if url.scheme() != "http" {
        return "skipped: not http".to_owned();
    }
    let addresses = loopback(&url);
    if addresses.is_empty() {
        return "skipped: not a loopback address".to_owned();
    }
    url.query_pairs_mut()
        .append_pair("status", NoticeStatus::Paid.as_str())
        .append_pair("id", &query.id)
        .append_pair("amount", &query.amount.to_string())
        .append_pair("provider", &query.provider);
    match timeout(TIME_LIMIT, get(&url, &addresses)).await {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => format!("failed: {error}"),
        Err(_) => format!("failed: no answer within {} s", TIME_LIMIT.as_secs()),
    }
}

/// The loopback addresses that a URL's host stands for; none if it is another host.
fn loopback(url: &Url) -> Vec<SocketAddr> {
    let port = url.port_or_known_default().unwrap_or(80);
    let hosts = match url.host() {
        Some(Host::Ipv4(ip)) if ip.is_loopback() => vec![ip.into()],
        Some(Host::Ipv6(ip)) if ip.is_loopback() => vec![ip.into()],
        Some(Host::Domain("localhost")) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        _ => Vec::new(),
    };
    hosts.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

async fn get(url: &Url, addresses: &[SocketAddr]) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(addresses).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(&url[url::Position::BeforePath..url::Position::AfterQuery])
        .header(HOST, url.authority())
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let mut answer = pin!(sender.send_request(request));
    let answered = tokio::select! {
        biased;
        answered = &mut answer => answered,
        ended = connection => {
            ended?;
            answer.await
        }
    };
    Ok(answered?.status().as_u16())
}
