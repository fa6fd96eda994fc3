//! PDF receipts: whole or not there, in their folder and nowhere else, fetched until they are.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::Path as Segment,
    routing::{get, post},
};
use serde_json::{Value, json};
use tresorpayd::simulator::{Alteration, Fault, Garbage, NoticeStatus, Operation, Rule};

use crate::{
    audit::audit,
    harness::{World, holds_for, until},
    http,
    peer::Peer,
    rows::{Application, NewRow, bulk},
};

const PDF: &[u8] = b"%PDF-1.4\n1 0 obj\nendobj\n%%EOF\n";

async fn world() -> (World, PathBuf) {
    let mut world = World::new().await;
    let directory = world.dir.path().join("receipts");
    world.set("receipts.directory", directory.to_str().unwrap());
    (world, directory)
}

/// Every file below the directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let (mut found, mut folders) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { &mut folders } else { &mut found }.push(path);
    }
    for folder in &folders {
        found.extend(files(folder));
    }
    found
}

async fn receipt_path(app: &mut Application, reference: &str) -> Option<String> {
    app.text(&format!(
        "SELECT receipt_path FROM outbox WHERE reference = '{reference}' AND receipt_path IS NOT NULL"
    ))
    .await
}

async fn paid(world: &World, app: &mut Application, rows: &[NewRow]) {
    app.insert(rows).await;
    until("all are emitted", async || app.count("EMITTED").await == rows.len()).await;
    for row in rows {
        world.sim.pay(&row.reference, None).unwrap();
    }
    until("all are paid", async || app.count("PAID").await == rows.len()).await;
}

/// Downloads of receipts that ended so, by the metrics.
async fn counted(port: u16, outcome: &str) -> u64 {
    let name = format!(r#"tresorpayd_requests_total{{operation="receipt",outcome="{outcome}"}}"#);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few")]
    let number = http::value(&http::get(port, "/metrics").await.body, &name) as u64;
    number
}

fn is_whole(bytes: &[u8]) -> bool {
    bytes.starts_with(b"%PDF-") && bytes.trim_ascii_end().ends_with(b"%%EOF")
}

#[tokio::test]
async fn a_receipt_is_fetched_after_the_payment_and_again_by_command() {
    let (world, directory) = world().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    assert_eq!(files(&directory).len(), 0);
    paid(&world, &mut app, &bulk(1)).await;
    until("its receipt is there", async || receipt_path(&mut app, "A-1").await.is_some()).await;
    let row = app.row("A-1").await;
    let path = receipt_path(&mut app, "A-1").await.unwrap();
    let month = row.paid_at.unwrap()[..7].replace('-', "/");
    assert_eq!(path, format!("{month}/{}.pdf", row.tresorpay_reference.unwrap()));
    let file = directory.join(&path);
    assert!(is_whole(&std::fs::read(&file).unwrap()));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(files(&directory), std::slice::from_ref(&file));
    std::fs::write(&file, b"spoilt").unwrap();
    let (outcome, detail) = app.command("A-1", "fetch-receipt").await;
    assert_eq!((&*outcome, detail), ("done", format!("its receipt is {path}")));
    assert!(is_whole(&std::fs::read(&file).unwrap()));
    // What is no receipt takes the place of none.
    world
        .sim
        .add_fault(Rule::once(Operation::Receipt, Fault::Garbage { body: Garbage::Html, processed: true }));
    let (outcome, detail) = app.command("A-1", "fetch-receipt").await;
    assert_eq!(outcome, "refused", "{detail}");
    assert!(detail.contains("receipt_failed") && is_whole(&std::fs::read(&file).unwrap()), "{detail}");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A page of HTML, half a file, an error, silence: told on the row, and fetched in the end.
#[tokio::test]
async fn what_is_no_whole_pdf_is_refused_and_asked_for_again() {
    let (mut world, directory) = world().await;
    let port = http::watch(&mut world);
    world.set("api.request_timeout", "1s");
    for fault in [
        Fault::Garbage { body: Garbage::Html, processed: true },
        Fault::Garbage { body: Garbage::Empty, processed: true },
        Fault::Truncated { keep: None },
        Fault::Lost { processed: true },
        Fault::NoEndpoint,
    ] {
        world.sim.add_fault(Rule::once(Operation::Receipt, fault));
    }
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    paid(&world, &mut app, &bulk(1)).await;
    let mut told = false;
    until("its receipt is there", async || {
        told |= app.row("A-1").await.last_error.is_some_and(|said| said.starts_with("receipt_failed: "));
        assert!(
            files(&directory).iter().all(|file| file.extension().is_none_or(|end| end != "pdf")
                || is_whole(&std::fs::read(file).unwrap()))
        );
        receipt_path(&mut app, "A-1").await.is_some()
    })
    .await;
    assert!(told);
    assert_eq!(files(&directory).len(), 1);
    until("all is well", async || {
        let row = app.row("A-1").await;
        row.last_error.is_none() && row.next_attempt_at.is_none()
    })
    .await;
    // By what became of each; none twice.
    for (outcome, times) in [("ok", 1), ("unusable_answer", 3), ("timed_out", 1), ("misdirected", 1)] {
        assert_eq!(counted(port, outcome).await, times, "{outcome}");
    }
    assert_eq!(world.sim.counters().requests(Operation::Receipt), 6);
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Killed again and again while receipts come in slowly.
#[tokio::test]
async fn receipts_are_whole_after_kills() {
    let (world, directory) = world().await;
    world.sim.add_fault(Rule::always(Operation::Receipt, Fault::SlowDrip { ms: 2, bytes: 40 }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    paid(&world, &mut app, &bulk(20)).await;
    let kept = "SELECT count(*) FROM outbox WHERE receipt_path IS NOT NULL";
    for kill in 1..=5 {
        until("some are there", async || app.number(kept).await >= kill * 2).await;
        daemon.kill().await;
        let pdfs =
            files(&directory).into_iter().filter(|file| file.extension().is_some_and(|end| end == "pdf"));
        for file in pdfs {
            assert!(is_whole(&std::fs::read(&file).unwrap()), "{}", file.display());
        }
        daemon = world.start().await;
    }
    until("all are there", async || app.number(kept).await == 20).await;
    let files = files(&directory);
    assert_eq!(files.len(), 20, "nothing is left behind: {files:?}");
    assert!(files.iter().all(|file| is_whole(&std::fs::read(file).unwrap())));
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// Killed while a receipt is written, and then the notice is paid no longer: what was half written does not stay.
#[tokio::test]
async fn a_draft_that_nobody_goes_on_with_is_swept() {
    let (mut world, directory) = world().await;
    world.set("reconcile.schedule", "* * * * * *");
    world.sim.add_fault(Rule::always(Operation::Receipt, Fault::Lost { processed: true }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    paid(&world, &mut app, &bulk(1)).await;
    until("its receipt is being fetched", async || files(&directory).len() == 1).await;
    daemon.kill().await;
    let drafts = files(&directory);
    assert!(drafts.len() == 1 && drafts[0].extension().is_none(), "{drafts:?}");
    let canceled = Alteration { status: Some(NoticeStatus::Canceled), ..Alteration::default() };
    world.sim.alter("A-1", canceled).unwrap();
    // Reconciled without receipts, so that nobody begins it anew.
    world.unset("receipts.directory");
    daemon = world.start().await;
    until("it is canceled here too", async || app.status("A-1").await == "CANCELED").await;
    daemon.stop().await;
    assert_eq!(files(&directory), drafts);
    world.set("receipts.directory", directory.to_str().unwrap());
    daemon = world.start().await;
    assert_eq!(files(&directory).len(), 0, "swept before it is ready");
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// No request is made in vain, the log says it once, and it is tried until it works.
#[tokio::test]
async fn a_directory_that_cannot_be_written_is_told_once() {
    let (mut world, directory) = world().await;
    let port = http::watch(&mut world);
    std::fs::write(&directory, b"a file in its place").unwrap();
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    paid(&world, &mut app, &bulk(3)).await;
    until("it is told on every row", async || {
        app.rows().await.iter().all(|row| {
            row.last_error
                .as_ref()
                .is_some_and(|said| said.starts_with("receipt_failed: receipts.directory cannot be written"))
        })
    })
    .await;
    holds_for(Duration::from_secs(2), "it is tried quietly", async || {
        daemon.log().matches("receipts cannot be written below receipts.directory").count() == 1
    })
    .await;
    assert_eq!(world.sim.counters().requests(Operation::Receipt), 0);
    assert!(counted(port, "receipt_failed").await >= 3);
    std::fs::remove_file(&directory).unwrap();
    let well = "SELECT count(*) FROM outbox WHERE receipt_path IS NOT NULL AND last_error IS NULL";
    until("all are there", async || app.number(well).await == 3).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A platform that sends too much, and calls its notices by names that lead elsewhere.
#[tokio::test]
async fn a_name_leads_nowhere_else_and_a_size_is_bounded() {
    let (mut world, directory) = world().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let receipt = move |Segment(_): Segment<String>| async move {
        if count.fetch_add(1, Ordering::SeqCst) > 0 {
            return Body::from(PDF);
        }
        Body::from([b"%PDF-1.4\n".as_slice(), &vec![b' '; 11 << 20], b"%%EOF"].concat())
    };
    let emit =
        async |Json(_): Json<Value>| Json(json!({"reference": "../../../../evil", "status": "EMITTED"}));
    let status =
        async |Segment(reference): Segment<String>| Json(json!({"reference": reference, "status": "PAID"}));
    let api = Router::new()
        .route("/payment/create-notice-recette", post(emit))
        .route("/notice-recette/status/{reference}", get(status))
        .route("/documents/receipt/download/{reference}", get(receipt));
    let _peer = Peer::start(&mut world, api).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("A-1")]).await;
    until("the large one is refused", async || {
        app.row("A-1").await.last_error.is_some_and(|said| {
            said.starts_with("receipt_failed: ") && said.contains("larger than 10485760 bytes")
        })
    })
    .await;
    until("its receipt is there", async || receipt_path(&mut app, "A-1").await.is_some()).await;
    let path = receipt_path(&mut app, "A-1").await.unwrap();
    assert!(path.ends_with("/receipt~1.pdf") && !path.contains(".."), "{path}");
    assert_eq!(files(&directory), [directory.join(&path)]);
    assert_eq!(std::fs::read(directory.join(&path)).unwrap(), PDF);
    daemon.stop().await;
}
