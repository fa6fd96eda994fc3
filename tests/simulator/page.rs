//! The payment page, as a taxpayer's browser uses it.

use serde_json::json;
use tresorpayd::simulator::{Actor, Happening, NoticeStatus};

use super::{Got, Peer, notice, read};

async fn press(peer: &Peer, reference: &str, form: &[(&str, &str)]) -> Got {
    read(peer.http.post(format!("{}?id={reference}", peer.sim.payment_page())).form(form)).await.unwrap()
}

#[tokio::test]
async fn shows_a_notice_and_pays_it() {
    let peer = Peer::default().await;
    let reference = peer.emitted("<A&1>").await;
    let page = peer.http.get(format!("{}?id={reference}", peer.sim.payment_page()));
    let got = read(page).await.unwrap();
    assert_eq!((got.status, got.header("content-type")), (200, "text/html; charset=UTF-8"));
    let text = got.text();
    assert!(
        text.contains(&reference) && text.contains("1000 XOF") && text.contains("&lt;A&amp;1&gt;"),
        "{text}"
    );
    assert!(text.contains("value=\"pay\"") && text.contains("value=\"cancel\""));
    let paid = press(&peer, &reference, &[("action", "pay"), ("provider", "CARD")]).await;
    assert!(paid.text().contains("Payé") && !paid.text().contains("<form"), "{}", paid.text());
    let kept = peer.sim.notice(&reference).unwrap();
    assert_eq!((kept.status, kept.provider.as_deref()), (NoticeStatus::Paid, Some("CARD")));
    assert_eq!((kept.history[1].what, kept.history[1].by), (Happening::Paid, Actor::Page));
    assert_eq!(press(&peer, &reference, &[("action", "cancel")]).await.status, 409);
    assert_eq!(peer.sim.notice(&reference).unwrap().status, NoticeStatus::Paid);
}

#[tokio::test]
async fn cancels() {
    let peer = Peer::default().await;
    let reference = peer.emitted("A-1").await;
    assert!(press(&peer, &reference, &[("action", "cancel")]).await.text().contains("Annulé"));
    assert_eq!(peer.sim.notice(&reference).unwrap().status, NoticeStatus::Canceled);
}

#[tokio::test]
async fn sends_the_browser_back_to_the_application() {
    let peer = Peer::default().await;
    let mut body = notice("A-1");
    body["redirectUrl"] = json!("https://application.invalid/merci");
    body["authorizedPaymentModes"] = json!([{"codeProvider": "WAVE"}]);
    let got = read(peer.post("/payment/create-notice-recette", &body)).await.unwrap();
    let reference = got.json()["reference"].as_str().unwrap().to_owned();
    let refused = press(&peer, &reference, &[("action", "pay"), ("provider", "CARD")]).await;
    assert_eq!(refused.status, 400, "only what is authorised");
    let paid = press(&peer, &reference, &[("action", "pay"), ("provider", "WAVE")]).await;
    assert_eq!((paid.status, paid.header("location")), (303, "https://application.invalid/merci"));
}

#[tokio::test]
async fn knows_no_other_notice_and_no_other_button() {
    let peer = Peer::default().await;
    let unknown = peer.http.get(format!("{}?id=TP20200101.0000.AR999", peer.sim.payment_page()));
    assert_eq!(read(unknown).await.unwrap().status, 404);
    let reference = peer.emitted("A-1").await;
    assert_eq!(press(&peer, &reference, &[("action", "burn")]).await.status, 400);
    let put = peer.http.put(format!("{}?id={reference}", peer.sim.payment_page()));
    assert_eq!(read(put).await.unwrap().status, 405);
}
