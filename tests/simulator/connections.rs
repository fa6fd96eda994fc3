//! Connections below HTTP: kept alive, closed when idle, reset on demand, refused.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tresorpayd::simulator::{Config, Ending, Fault, Operation, Outage, Rule};

use super::{DEADLINE, Peer, client, credentials, io_kind, read, token_request};

/// A connection of one's own, with a token request for it.
async fn raw(peer: &Peer) -> TcpStream {
    TcpStream::connect(peer.sim.address()).await.unwrap()
}

const REQUEST: &[u8] = b"GET /api/public/v1/notice-recette/status/TP1 HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Sends a request without a token and reads the head of its answer.
async fn exchange(stream: &mut TcpStream) -> String {
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = timeout(DEADLINE, stream.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn a_reset_is_a_tcp_reset() {
    for (by, expected) in [(Ending::Rst, Err(ErrorKind::ConnectionReset)), (Ending::Close, Ok(0))] {
        let peer = Peer::default().await;
        peer.sim.add_fault(Rule::once(Operation::Status, Fault::ResetBefore { by }));
        let mut stream = raw(&peer).await;
        stream.write_all(REQUEST).await.unwrap();
        let mut byte = [0];
        let seen = timeout(DEADLINE, stream.read(&mut byte)).await.unwrap();
        assert_eq!(seen.map_err(|error| error.kind()), expected);
    }
}

#[tokio::test]
async fn connections_are_kept_alive() {
    let peer = Peer::default().await;
    for number in 0..5 {
        peer.emitted(&format!("A-{number}")).await;
    }
    assert_eq!(peer.sim.counters().connections, 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let idle = Duration::from_millis(150);
    let peer = Peer::start(Config { idle_close: Some(idle), ..Config::default() }).await;
    let mut stream = raw(&peer).await;
    let start = Instant::now();
    assert!(exchange(&mut stream).await.starts_with("HTTP/1.1 401"));
    let mut byte = [0];
    assert_eq!(timeout(DEADLINE, stream.read(&mut byte)).await.unwrap().unwrap(), 0);
    assert!(start.elapsed() >= idle, "closed after {:?}", start.elapsed());
}

#[tokio::test]
async fn a_busy_connection_is_not_idle() {
    let peer = Peer::default().await;
    peer.sim.set_idle_close(Some(Duration::from_millis(40)));
    peer.sim.set_latency(Duration::from_millis(150));
    peer.emitted("A-1").await;
    peer.sim.set_latency(Duration::ZERO);
    peer.sim.add_fault(Rule::once(Operation::Emit, Fault::SlowDrip { ms: 20, bytes: 4 }));
    assert_eq!(read(peer.emit("A-2")).await.unwrap().json()["status"], "EMITTED");
}

#[tokio::test]
async fn idle_closing_can_begin_later() {
    let peer = Peer::default().await;
    let mut stream = raw(&peer).await;
    exchange(&mut stream).await;
    peer.sim.set_idle_close(Some(Duration::from_millis(1)));
    let mut byte = [0];
    assert_eq!(timeout(DEADLINE, stream.read(&mut byte)).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn out_of_order() {
    let peer = Peer::default().await;
    peer.sim.down(Outage::Reset).await;
    let error = read(peer.emit("A-1")).await.err().unwrap();
    assert_eq!(io_kind(&error), Some(ErrorKind::ConnectionReset));
    let error = read(token_request(&peer.http, &peer.sim, &credentials())).await.err().unwrap();
    assert_eq!(io_kind(&error), Some(ErrorKind::ConnectionReset));
    peer.sim.down(Outage::Unavailable).await;
    let got = read(peer.emit("A-1")).await.unwrap();
    assert_eq!((got.status, got.header("content-type")), (503, "text/html"));
    assert!(peer.sim.ledger().notices.is_empty());
    peer.sim.up().await;
    peer.emitted("A-1").await;
    assert_eq!(peer.sim.counters().outcome(Operation::Emit, "down"), 1);
}

#[tokio::test]
async fn refused_connections() {
    let peer = Peer::default().await;
    let mut open = raw(&peer).await;
    exchange(&mut open).await;
    peer.sim.down(Outage::Refuse).await;
    let error = read(peer.emit("A-1")).await.err().unwrap();
    assert!(error.is_connect(), "{error:?}");
    assert_eq!(io_kind(&error), Some(ErrorKind::ConnectionRefused));
    let mut byte = [0];
    let seen = timeout(DEADLINE, open.read(&mut byte)).await.unwrap();
    assert_eq!(seen.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    peer.sim.up().await;
    peer.emitted("A-1").await;
}

#[tokio::test]
async fn shutdown_ends_silence_too() {
    let peer = Peer::default().await;
    peer.sim.add_fault(Rule::always(Operation::Emit, Fault::Lost { processed: true }));
    let silent = tokio::spawn(read(peer.emit("A-1")));
    super::until("the request", || peer.sim.counters().concurrent == 1).await;
    let Peer { sim, .. } = peer;
    timeout(DEADLINE, sim.shutdown()).await.unwrap();
    let error = silent.await.unwrap().err().unwrap();
    assert!(!error.is_timeout(), "{error:?}");
}

#[tokio::test]
async fn counts_what_is_under_way_at_once() {
    let peer = Peer::default().await;
    peer.sim.set_latency(Duration::from_millis(100));
    let http = client(DEADLINE);
    let requests = (0..6).map(|_| read(token_request(&http, &peer.sim, &credentials())));
    for got in futures_util::future::join_all(requests).await {
        assert_eq!(got.unwrap().status, 200);
    }
    assert_eq!((peer.sim.counters().max_concurrent, peer.sim.counters().concurrent), (6, 0));
}
