//! Each endpoint of the API: what it takes, what it answers, what it refuses and in which words.

use std::net::SocketAddr;

use reqwest::Method;
use serde_json::{Value, json};
use tresorpayd::simulator::{
    Config, NoticeStatus, OnDuplicate, OnRepeatedCancel, Operation, StartError, start,
};

use super::{Got, Peer, client, notice, read};

fn problem(got: &Got, status: u16, message: &str) -> Value {
    assert_eq!(got.status, status, "{}", got.text());
    assert_eq!(got.header("content-type"), "application/problem+json");
    let problem = got.json();
    assert_eq!(problem["message"], message, "{problem}");
    assert_eq!(problem["status"], status);
    for key in ["type", "title", "instance"] {
        assert!(problem[key].is_string(), "{key} is missing in {problem}");
    }
    problem
}

#[tokio::test]
async fn listens_on_loopback_only() {
    let listen: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let refused = start(Config { listen, ..Config::default() }).await.err().unwrap();
    assert!(matches!(refused, StartError::NotLoopback(_)), "{refused}");
    assert!(refused.to_string().contains("loopback"));
}

#[tokio::test]
async fn an_emission_makes_a_notice() {
    let peer = Peer::default().await;
    let got = read(peer.emit("A-1")).await.unwrap();
    assert_eq!((got.status, got.header("content-type")), (200, "application/json"));
    let answer = got.json();
    assert_eq!(answer["status"], "EMITTED");
    let reference = answer["reference"].as_str().unwrap();
    let date = chrono::Utc::now().format("TP%Y%m%d.").to_string();
    assert!(reference.starts_with(&date), "{reference}");
    assert_eq!(reference.rsplit('.').next(), Some("AR1"));
    let ledger = peer.sim.ledger();
    let kept = ledger.notice(reference).unwrap();
    assert_eq!((kept.client_reference.as_str(), kept.net_total), ("A-1", 1000));
    assert_eq!(kept.tax_payer.name.as_deref(), Some("Diarra"));
    assert_eq!(kept.items[0].quantity.unwrap().0, 2);
    assert_eq!(ledger.counters.outcome(Operation::Emit, "200"), 1);
}

#[tokio::test]
async fn status_of_one_and_of_many() {
    let peer = Peer::default().await;
    let (first, second) = (peer.emitted("A-1").await, peer.emitted("A-2").await);
    let open = read(peer.status(&first)).await.unwrap().json();
    assert_eq!(open, json!({"reference": first, "provider": null, "payDate": null, "status": "EMITTED"}));
    peer.sim.pay(&first, Some("WAVE")).unwrap();
    let paid = read(peer.status(&first)).await.unwrap().json();
    assert_eq!((&paid["status"], &paid["provider"]), (&json!("PAID"), &json!("WAVE")));
    let date = paid["payDate"].as_str().unwrap();
    assert!(chrono::NaiveDateTime::parse_from_str(date, "%Y-%m-%dT%H:%M:%S").is_ok(), "{date}");
    let many = read(peer.batch(&[&second, "TP20200101.0000.AR999", &first, &first])).await.unwrap().json();
    let statuses: Vec<_> = many.as_array().unwrap().iter().map(|n| (&n["reference"], &n["status"])).collect();
    assert_eq!(statuses, [(&json!(first), &json!("PAID")), (&json!(second), &json!("EMITTED"))]);
    problem(&read(peer.status("TP20200101.0000.AR999")).await.unwrap(), 404, "error.NOTICE_NOT_FOUND");
}

#[tokio::test]
async fn cancel_by_client_reference() {
    let peer = Peer::default().await;
    let reference = peer.emitted("A-1").await;
    let canceled = read(peer.cancel("A-1")).await.unwrap();
    assert_eq!(
        (canceled.status, canceled.json()),
        (200, json!({"reference": reference, "status": "CANCELED"}))
    );
    assert_eq!(read(peer.cancel("A-1")).await.unwrap().json()["status"], "CANCELED", "again, as by default");
    problem(&read(peer.cancel("A-2")).await.unwrap(), 404, "error.NOTICE_NOT_FOUND");
    let again = peer.emitted("A-1").await;
    assert_ne!(again, reference, "a canceled notice's reference may be emitted again");
    peer.sim.pay("A-1", None).unwrap();
    problem(&read(peer.cancel("A-1")).await.unwrap(), 400, "error.NOTICE_ALREADY_PAID");
    assert_eq!(peer.sim.notice(&again).unwrap().status, NoticeStatus::Paid);
}

#[tokio::test]
async fn a_repeated_cancel_by_policy() {
    for (policy, status, message) in [
        (OnRepeatedCancel::Refuse, 400, "error.NOTICE_ALREADY_CANCELED"),
        (OnRepeatedCancel::NotFound, 404, "error.NOTICE_NOT_FOUND"),
    ] {
        let peer = Peer::start(Config { on_repeated_cancel: policy, ..Config::default() }).await;
        peer.emitted("A-1").await;
        assert_eq!(read(peer.cancel("A-1")).await.unwrap().status, 200);
        problem(&read(peer.cancel("A-1")).await.unwrap(), status, message);
    }
}

#[tokio::test]
async fn a_duplicate_reference_by_policy() {
    let peer = Peer::default().await;
    peer.emitted("A-1").await;
    problem(&read(peer.emit("A-1")).await.unwrap(), 400, "error.REFERENCE_ALREADY_EXISTS");

    let peer = Peer::start(Config { on_duplicate: OnDuplicate::Same, ..Config::default() }).await;
    assert_eq!(peer.emitted("A-1").await, peer.emitted("A-1").await);
    assert_eq!(peer.sim.ledger().notices.len(), 1);

    let peer = Peer::start(Config { on_duplicate: OnDuplicate::Create, ..Config::default() }).await;
    assert_ne!(peer.emitted("A-1").await, peer.emitted("A-1").await);
    let ledger = peer.sim.ledger();
    assert_eq!((ledger.live("A-1"), ledger.billed_twice()), (2, vec!["A-1"]));
}

#[tokio::test]
async fn delivery_is_confirmed_only_after_payment() {
    let peer = Peer::default().await;
    let reference = peer.emitted("A-1").await;
    problem(&read(peer.verify(&reference)).await.unwrap(), 400, "error.NOTICE_NOT_PAID");
    peer.sim.pay(&reference, None).unwrap();
    let got = read(peer.verify(&reference)).await.unwrap();
    assert_eq!((got.status, got.json()), (200, json!({"reference": reference, "status": "PAID"})));
    assert!(peer.sim.notice(&reference).unwrap().verified);
    problem(&read(peer.verify("TP20200101.0000.AR999")).await.unwrap(), 404, "error.NOTICE_NOT_FOUND");
}

#[tokio::test]
async fn a_receipt_is_a_pdf_of_a_paid_notice() {
    let peer = Peer::default().await;
    let reference = peer.emitted("A-1").await;
    problem(&read(peer.receipt(&reference)).await.unwrap(), 400, "error.NOTICE_NOT_PAID");
    peer.sim.pay(&reference, None).unwrap();
    let got = read(peer.receipt(&reference)).await.unwrap();
    assert_eq!((got.status, got.header("content-type")), (200, "application/pdf"));
    check_pdf(&got.bytes, &reference);
    assert_eq!(peer.sim.notice(&reference).unwrap().receipt_downloads, 1);
}

/// Follows `startxref` to the table and the table to each object, as a reader does.
fn check_pdf(pdf: &[u8], reference: &str) {
    let find = |needle: &str| pdf.windows(needle.len()).position(|window| window == needle.as_bytes());
    assert!(pdf.starts_with(b"%PDF-1.4\n") && pdf.ends_with(b"%%EOF\n"));
    assert!(find(reference).is_some(), "the receipt names the notice");
    let after = find("startxref\n").unwrap() + 10;
    let start: usize = String::from_utf8_lossy(&pdf[after..]).lines().next().unwrap().parse().unwrap();
    let table = String::from_utf8_lossy(&pdf[start..]).into_owned();
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("xref"));
    let objects: usize = lines.next().unwrap().strip_prefix("0 ").unwrap().parse().unwrap();
    for (number, line) in lines.take(objects).enumerate().skip(1) {
        let offset: usize = line[..10].parse().unwrap();
        assert!(pdf[offset..].starts_with(format!("{number} 0 obj\n").as_bytes()), "object {number}");
    }
}

#[tokio::test]
async fn what_an_emission_must_hold() {
    let peer = Peer::default().await;
    let cases: [(&str, Value, &str); 12] = [
        ("/reference", json!(null), "reference"),
        ("/reference", json!(" "), "reference"),
        ("/codeClient", json!(null), "codeClient"),
        ("/netTotal", json!(0), "netTotal"),
        ("/taxPayer", json!(null), "taxPayer"),
        ("/taxPayer/name", json!(null), "taxPayer.name"),
        ("/taxPayer/phoneNumber", json!("+22370000001"), "taxPayer.phoneNumber"),
        ("/items", json!([]), "items"),
        ("/items/0/quantity", json!(0), "items[0].quantity"),
        ("/items/0/unitPrice", json!(-1), "items[0].unitPrice"),
        ("/items/0/codeNatureRecette", json!(null), "items[0].codeNatureRecette"),
        ("/callback", json!("nowhere"), "callback"),
    ];
    for (pointer, value, field) in cases {
        let mut body = notice("A-1");
        body["callback"] = json!("http://127.0.0.1:9/paid");
        *body.pointer_mut(pointer).unwrap() = value;
        let got = read(peer.post("/payment/create-notice-recette", &body)).await.unwrap();
        let problem = problem(&got, 400, "error.validation");
        let errors = problem["fieldErrors"].as_array().unwrap();
        assert!(
            errors.iter().any(|e| e["field"] == field && e["objectName"] == "noticeRecette"),
            "{problem}"
        );
    }
    assert!(peer.sim.ledger().notices.is_empty());
}

#[tokio::test]
async fn refusals_of_the_platform_itself() {
    let peer = Peer::default().await;
    for (pointer, value, message) in [
        ("/codeClient", json!("APP-OTHER"), "error.SERVICE_CLIENT_NOT_FOUND"),
        ("/codeStructure", json!("STR-OTHER"), "error.STRUCTURE_NOT_FOUND"),
        ("/netTotal", json!(999), "error.NET_TOTAL_MISMATCH"),
        ("/netTotal", json!(1000.5), "error.http.400"),
        ("/netTotal", json!("mille"), "error.http.400"),
        ("/items", json!("none"), "error.http.400"),
    ] {
        let mut body = notice("A-1");
        *body.pointer_mut(pointer).unwrap() = value;
        let got = read(peer.post("/payment/create-notice-recette", &body)).await.unwrap();
        problem(&got, 400, message);
    }
    let mut body = notice("A-1");
    body["netTotal"] = json!("1000");
    let got = read(peer.post("/payment/create-notice-recette", &body)).await.unwrap();
    assert_eq!(got.status, 200, "the specification calls netTotal a string");
    let mut body = notice("A-2");
    body["codeClient"] = json!("APP-OTHER");
    let got = read(peer.post("/payment/create-notice-recette", &body)).await.unwrap();
    let problem = problem(&got, 400, "error.SERVICE_CLIENT_NOT_FOUND");
    assert_eq!(problem["title"], "La service client n'est pas dans cette structure");
    assert_eq!(problem["params"], "appTransaction");
    assert_eq!(problem["instance"], "/api/public/v1/payment/create-notice-recette");
}

#[tokio::test]
async fn another_registration_keeps_its_own_references() {
    let other_codes = vec![("APP-B".to_owned(), "STR-B".to_owned())];
    let peer = Peer::start(Config { other_codes, ..Config::default() }).await;
    let first = peer.emitted("A-1").await;
    let mut body = notice("A-1");
    body["codeClient"] = json!("APP-B");
    let mixed = read(peer.post("/payment/create-notice-recette", &body)).await.unwrap();
    problem(&mixed, 400, "error.SERVICE_CLIENT_NOT_FOUND");
    body["codeStructure"] = json!("STR-B");
    let got = read(peer.post("/payment/create-notice-recette", &body)).await.unwrap();
    assert_eq!(got.status, 200, "{}", got.text());
    let second = got.json()["reference"].as_str().unwrap().to_owned();
    assert!(peer.sim.ledger().billed_twice().is_empty(), "two applications, two debts");
    assert_eq!(read(peer.cancel("A-1")).await.unwrap().json()["reference"], first);
    assert_eq!(peer.sim.notice(&second).unwrap().status, NoticeStatus::Emitted, "not that application's");
    peer.sim.pay(&second, None).unwrap();
    problem(&read(peer.verify(&second)).await.unwrap(), 404, "error.NOTICE_NOT_FOUND");
}

#[tokio::test]
async fn what_the_framework_refuses() {
    let peer = Peer::default().await;
    problem(&read(peer.request(Method::GET, "/no/such/path")).await.unwrap(), 404, "error.http.404");
    let emit = "/payment/create-notice-recette";
    problem(&read(peer.request(Method::GET, emit)).await.unwrap(), 405, "error.http.405");
    let text = peer.request(Method::POST, emit).header("content-type", "text/plain").body("{}");
    problem(&read(text).await.unwrap(), 415, "error.http.415");
    let broken = peer.request(Method::POST, emit).header("content-type", "application/json").body("{\"ref");
    problem(&read(broken).await.unwrap(), 400, "error.http.400");
    let huge = peer.post(emit, &json!("x".repeat(2 << 20)));
    let got = read(huge).await.unwrap();
    assert_eq!((got.status, got.header("content-type")), (413, "text/html"));
}

#[tokio::test]
async fn no_token_no_answer() {
    let peer = Peer::default().await;
    let url = format!("{}/payment/create-notice-recette", peer.sim.base_url());
    let bare = || client(super::DEADLINE).post(&url).header("content-type", "application/json").body("{}");
    let got = read(bare()).await.unwrap();
    problem(&got, 401, "error.http.401");
    assert_eq!(got.header("www-authenticate"), "Bearer");
    let got = read(bare().header("authorization", "Bearer made-up")).await.unwrap();
    problem(&got, 401, "error.http.401");
    assert!(got.header("www-authenticate").contains("invalid_token"));
    peer.sim.revoke_tokens();
    problem(&read(peer.emit("A-1")).await.unwrap(), 401, "error.http.401");
}
