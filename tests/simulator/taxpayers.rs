//! Simulated taxpayers: who pays is the seed's decision, and the callback tells the application.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tresorpayd::simulator::{Actor, Config, Happening, NoticeStatus, StartError, Taxpayers, start};

use super::{DEADLINE, Peer, notice, read, until};

fn taxpayers(pay_share: f64, cancel_share: f64) -> Taxpayers {
    let after = Duration::ZERO..=Duration::from_millis(5);
    Taxpayers { pay_share, pay_after: after.clone().into(), cancel_share, cancel_after: after.into() }
}

/// Client reference → status and provider, once everybody who does something has done it.
async fn run(seed: u64, reversed: bool) -> BTreeMap<String, (NoticeStatus, Option<String>)> {
    let config = Config { seed, taxpayers: taxpayers(0.5, 0.25), ..Config::default() };
    let peer = Peer::start(config).await;
    let mut references: Vec<_> = (0..40).map(|number| format!("A-{number}")).collect();
    if reversed {
        references.reverse();
    }
    for (index, reference) in references.iter().enumerate() {
        let given = peer.emitted(reference).await;
        assert_eq!(given.rsplit('.').next().unwrap(), format!("AR{}", index + 1));
    }
    // The last word on each notice is known once a sentinel that acts after them all has acted.
    peer.sim.set_taxpayers(Taxpayers { pay_after: Duration::from_millis(50).into(), ..taxpayers(1.0, 0.0) });
    let sentinel = peer.emitted("sentinel").await;
    until("the sentinel's payment", || peer.sim.notice(&sentinel).unwrap().status == NoticeStatus::Paid)
        .await;
    let ledger = peer.sim.ledger();
    let kept = ledger.notices.into_iter().filter(|notice| notice.reference != sentinel);
    kept.map(|notice| (notice.client_reference, (notice.status, notice.provider))).collect()
}

#[tokio::test]
async fn the_seed_decides() {
    let (first, again, reversed, other) =
        tokio::join!(run(7, false), run(7, false), run(7, true), run(8, false));
    assert_eq!(first, again);
    assert_eq!(first, reversed, "the order of emission changes nothing");
    assert_ne!(first, other);
    let count = |wanted| first.values().filter(|(status, _)| *status == wanted).count();
    assert!((10..=30).contains(&count(NoticeStatus::Paid)), "{first:?}");
    assert!((3..=20).contains(&count(NoticeStatus::Canceled)), "{first:?}");
    assert!(count(NoticeStatus::Emitted) > 0, "{first:?}");
}

#[tokio::test]
async fn pays_through_an_authorised_provider() {
    let peer = Peer::start(Config { taxpayers: taxpayers(1.0, 0.0), ..Config::default() }).await;
    let mut body = notice("A-1");
    body["authorizedPaymentModes"] = json!([{"codeProvider": "SAMA_MONEY", "amount": 1000}]);
    assert_eq!(read(peer.post("/payment/create-notice-recette", &body)).await.unwrap().status, 200);
    until("the payment", || peer.sim.notice("A-1").unwrap().status == NoticeStatus::Paid).await;
    let notice = peer.sim.notice("A-1").unwrap();
    assert_eq!(notice.provider.as_deref(), Some("SAMA_MONEY"));
    let paid = &notice.history[1];
    assert_eq!(
        (paid.what, paid.by, paid.detail.as_deref()),
        (Happening::Paid, Actor::Taxpayer, Some("SAMA_MONEY"))
    );
}

/// The outcome of the callback of a notice paid by hand.
async fn outcome(peer: &Peer, callback: &str) -> String {
    let mut body = notice(callback);
    body["callback"] = json!(callback);
    assert_eq!(read(peer.post("/payment/create-notice-recette", &body)).await.unwrap().status, 200);
    peer.sim.pay(callback, Some("WAVE")).unwrap();
    let event =
        || peer.sim.notice(callback).unwrap().history.into_iter().find(|e| e.what == Happening::Callback);
    until("the callback's outcome", || event().is_some()).await;
    event().unwrap().detail.unwrap()
}

#[tokio::test]
async fn the_callback_is_called() {
    let peer = Peer::default().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}/paid?row=7", listener.local_addr().unwrap().port());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 2048];
        let length = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    assert_eq!(outcome(&peer, &url).await, "204");
    let request = tokio::time::timeout(DEADLINE, served).await.unwrap().unwrap();
    let reference = peer.sim.notice(&url).unwrap().reference;
    let line = format!("GET /paid?row=7&status=PAID&id={reference}&amount=1000&provider=WAVE HTTP/1.1");
    assert_eq!(request.lines().next(), Some(&*line));
}

#[tokio::test]
async fn only_loopback_is_called() {
    let peer = Peer::default().await;
    for url in [
        "http://192.0.2.1/paid",
        "http://paid.invalid/",
        "http://localhost.invalid/",
        "http://[2001:db8::1]/",
    ] {
        assert_eq!(outcome(&peer, url).await, "skipped: not a loopback address", "{url}");
    }
    assert_eq!(outcome(&peer, "https://127.0.0.1/paid").await, "skipped: not http");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    assert!(outcome(&peer, &free).await.starts_with("failed: "));
}

#[tokio::test]
async fn shares_must_make_sense() {
    for (pay, cancel) in [(1.5, 0.0), (-0.1, 0.0), (0.7, 0.4), (f64::NAN, 0.0)] {
        let refused = start(Config { taxpayers: taxpayers(pay, cancel), ..Config::default() }).await;
        assert!(matches!(refused.err(), Some(StartError::Shares { .. })), "{pay} {cancel}");
    }
}
