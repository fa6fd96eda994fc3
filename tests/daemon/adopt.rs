//! `adopt`: notices that an older system emitted become rows that are never emitted, whatever is killed when.

use std::{
    fmt::Write as _,
    os::unix::fs::MetadataExt,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    harness::{SECRET, World, until},
    raw::{Ask, RawPeer, good, ok},
    rows::{Application, NewRow},
};

/// The older system: it knows TresorPay and nothing of the outbox.
struct OldSystem {
    http: reqwest::Client,
    token: String,
    url: String,
}

impl OldSystem {
    async fn of(world: &World) -> Self {
        // Another test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let form =
            [("grant_type", "client_credentials"), ("client_id", "demo-client"), ("client_secret", SECRET)];
        let granted =
            http.post(world.sim.token_url()).form(&form).send().await.unwrap().text().await.unwrap();
        let granted: Value = serde_json::from_str(&granted).unwrap();
        let url = format!("{}/payment/create-notice-recette", world.sim.base_url());
        Self { http, token: granted["access_token"].as_str().unwrap().to_owned(), url }
    }

    /// TresorPay's reference.
    async fn emit(&self, reference: &str, amount: i64) -> String {
        let body = json!({
            "reference": reference, "codeClient": "APP-DEMO", "codeStructure": "STR-DEMO", "netTotal": amount,
            "taxPayer": {"name": "Traoré"},
            "items": [{"name": "Patente", "quantity": 1, "unitPrice": amount, "codeNatureRecette": "71531"}],
        });
        let request =
            self.http.post(&self.url).bearer_auth(&self.token).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["reference"].as_str().unwrap().to_owned()
    }

    /// So many, and the file that it leaves behind.
    async fn emit_all(&self, count: usize) -> (Vec<String>, String) {
        let (mut notices, mut csv) = (Vec::new(), HEADER.to_owned());
        for number in 0..count {
            let notice = self.emit(&format!("OLD-{number}"), 1500).await;
            writeln!(csv, "OLD-{number};{notice};1 500 FCFA;Traoré;71531").unwrap();
            notices.push(notice);
        }
        (notices, csv)
    }
}

const HEADER: &str = "Référence client;Référence TresorPay;Montant;Nom;Code nature recette\n";

async fn world() -> World {
    let mut world = World::new().await;
    world.set("poll.batch_size", "500");
    world
}

fn file(world: &World, content: impl AsRef<[u8]>) -> String {
    let path = world.dir.path().join("old.csv");
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn adopt(world: &World, path: &str, more: &[&str]) -> (i32, Value) {
    let (code, text) = world.run(&[&["adopt", path, "--json"], more].concat()).await;
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_what_tresorpay_says_and_are_followed_from_then_on() {
    let world = world().await;
    let old = OldSystem::of(&world).await;
    let (notices, csv) = old.emit_all(5).await;
    world.sim.pay(&notices[1], Some("WAVE")).unwrap();
    world.sim.cancel(&notices[2]).unwrap();
    assert_eq!(world.run(&["migrate"]).await.0, 0);
    let path = file(&world, &csv);
    let mut app = world.application().await;

    let (code, text) = world.run(&["adopt", &path]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Nothing was changed: 5 notices would be adopted. To do it: --yes"), "{text}");
    assert!(text.contains("reference = \"Référence client\" (guessed)"), "{text}");
    assert_eq!(app.number("SELECT count(*) FROM outbox").await, 0);

    let (code, done) = adopt(&world, &path, &["--yes"]).await;
    assert_eq!((code, &done["adopted"], &done["dry_run"]), (0, &json!(5), &json!(false)));
    assert_eq!(done["statuses"]["EMITTED"], json!({"count": 3, "amount": 4500}));
    for (reference, path) in [
        ("OLD-0", &["PENDING", "EMITTED"][..]),
        ("OLD-1", &["PENDING", "EMITTED", "PAID"]),
        ("OLD-2", &["PENDING", "EMITTED", "CANCELED"]),
    ] {
        assert_eq!(app.path(reference).await, path, "{reference}");
    }
    let row = app.row("OLD-1").await;
    assert_eq!(
        (row.tresorpay_reference.as_deref(), row.provider.as_deref()),
        (Some(&*notices[1]), Some("WAVE"))
    );
    assert!(app.row("OLD-0").await.payment_url.unwrap().ends_with(&format!("?id={}", notices[0])));
    let (code, again) = adopt(&world, &path, &["--yes"]).await;
    assert_eq!((code, &again["adopted"], &again["already_there"]), (0, &json!(0), &json!(5)));

    // The database is as good as before to the mark, and a declared restore leaves them alone.
    let (code, text) = world.run(&["accept-restore", "--declare", "--yes"]).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(app.count("UNCERTAIN").await, 0);
    let mut daemon = world.start().await;
    world.sim.pay(&notices[0], None).unwrap();
    world.sim.cancel(&notices[3]).unwrap();
    until("both are recorded", async || {
        app.status("OLD-0").await == "PAID" && app.status("OLD-3").await == "CANCELED"
    })
    .await;
    assert_eq!(world.emissions(), 5, "only the older system emitted");
    daemon.stop().await;
}

/// Whoever comes next must not make them anew as its own: see `sharing`.
#[tokio::test(flavor = "multi_thread")]
async fn in_place_of_a_daemon_it_leaves_wal_and_shm_as_they_were_and_empty() {
    let world = world().await;
    let (_, csv) = OldSystem::of(&world).await.emit_all(1).await;
    assert_eq!(world.run(&["migrate"]).await.0, 0);
    let left = || {
        ["-wal", "-shm"].map(|suffix| {
            let file = format!("{}{suffix}", world.database().display());
            std::fs::metadata(file).unwrap()
        })
    };
    let before = left();
    assert_eq!(adopt(&world, &file(&world, &csv), &["--yes"]).await.0, 0);
    let after = left();
    assert_eq!(after[0].len(), 0, "they are in the database itself");
    assert_eq!(after.map(|file| file.ino()), before.map(|file| file.ino()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_goes_on_meanwhile_and_follows_them() {
    let world = world().await;
    let old = OldSystem::of(&world).await;
    let (notices, csv) = old.emit_all(3).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("NEW-1")]).await;
    let path = file(&world, &csv);
    let (code, done) = adopt(&world, &path, &["--yes"]).await;
    assert_eq!((code, &done["adopted"]), (0, &json!(3)));
    world.sim.pay(&notices[2], None).unwrap();
    until("it is paid", async || app.status("OLD-2").await == "PAID").await;
    until("the daemon's own is emitted", async || app.status("NEW-1").await == "EMITTED").await;
    assert_eq!(world.emissions(), 4);
    assert_eq!(app.attempts().await.len(), 1, "adoption is no request that could bill");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_named_and_keep_all_of_them_out() {
    let world = world().await;
    let old = OldSystem::of(&world).await;
    let (notices, csv) = old.emit_all(4).await;
    assert_eq!(world.run(&["migrate"]).await.0, 0);
    let mut app = world.application().await;
    app.insert(&[NewRow::new("HERE-1")]).await;
    let more = [
        format!("HERE-1;{};1500;Traoré;71531", old.emit("HERE-1", 1500).await),
        "GONE;TP20200101.0000.AR999999;1500;Traoré;71531".to_owned(),
        format!("OLD-9;{};1500;Traoré;71531", notices[0]),
        "OLD-1;TP1;1500;Traoré;71531".to_owned(),
        "OLD-10;TP2;1,5;Traoré;71531".to_owned(),
        "OLD-11;TP3;1500;;71531".to_owned(),
        "OLD-12;TP4;1500;Traoré;".to_owned(),
        "OLD-13;;1500;Traoré;71531".to_owned(),
        "OLD-14;TP5;1500;Traoré;71531;more".to_owned(),
        format!("{};TP6;1500;Traoré;71531", "x".repeat(65)),
    ];
    let path = file(&world, csv + &more.join("\n"));
    let (code, done) = adopt(&world, &path, &["--yes"]).await;
    assert_eq!((code, &done["adopted"], &done["dry_run"]), (1, &json!(0), &json!(true)));
    let named: Vec<(u64, String, String)> = done["bad"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bad| {
            let text = |field: &str| bad[field].as_str().unwrap().to_owned();
            (bad["line"].as_u64().unwrap(), text("column"), text("why"))
        })
        .collect();
    let expected = [
        (6, "reference", "PENDING, and would be emitted"),
        (7, "tresorpay_reference", "TresorPay does not know the notice"),
        (8, "tresorpay_reference", "the notice is on line 2 already"),
        (9, "reference", "the reference is on line 3 already"),
        (10, "Montant", "has a fraction"),
        (11, "tax_payer", "tax_payer must be text"),
        (12, "items", "there are no items"),
        (13, "Référence TresorPay", "blank"),
        (14, "", "has 6 columns and the header 5"),
        (15, "reference", "reference must be text of 1 to 64 characters"),
    ];
    assert_eq!(named.len(), expected.len(), "{named:#?}");
    for ((line, column, why), (at, of, words)) in named.iter().zip(expected) {
        assert!((*line, column.as_str()) == (at, of) && why.contains(words), "{line} {column}: {why}");
    }
    assert_eq!(app.number("SELECT count(*) FROM outbox").await, 1, "all or none");
    let (code, done) = adopt(&world, &path, &["--yes", "--skip-bad"]).await;
    assert_eq!((code, &done["adopted"]), (0, &json!(4)));
    // Another notice for a reference that is here.
    let other = file(&world, format!("{HEADER}OLD-0;{};1500;Traoré;71531\n", old.emit("OLD-0", 1500).await));
    let (code, done) = adopt(&world, &other, &["--yes"]).await;
    assert_eq!(code, 1);
    assert!(
        done["bad"][0]["why"].as_str().unwrap().contains("the reference is here already, EMITTED as TP"),
        "{done}"
    );
    let taken = file(&world, format!("{HEADER}OLD-77;{};1500;Traoré;71531\n", notices[0]));
    let (_, done) = adopt(&world, &taken, &["--yes"]).await;
    assert!(done["bad"][0]["why"].as_str().unwrap().contains("of the row OLD-0"), "{done}");
    assert_eq!(app.status("HERE-1").await, "PENDING");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_taken_and_tresorpays_amount_believed() {
    let mut world = world().await;
    let paid = |reference: &str, amount: Value| json!({"reference": reference, "status": "PAID", "provider": "WAVE", "payDate": "2025-12-19T15:00:00", "netTotal": amount});
    let _peer = RawPeer::start(&mut world, move |ask| match ask {
        Ask::Batch(references) => ok(&references
            .iter()
            .map(|reference| paid(reference, if reference == "TP-2" { json!("900.00") } else { json!(1000) }))
            .collect()),
        other => good(other),
    })
    .await;
    assert_eq!(world.run(&["migrate"]).await.0, 0);
    let entry = |number: u32| {
        json!({"reference": format!("J-{number}"), "tresorpay_reference": format!("TP-{number}"), "net_total": 1000,
               "emitted_at": "2025-12-01T08:00:00Z", "tax_payer": {"name": "Traoré"},
               "items": [{"quantity": 2, "unitPrice": 500}]})
    };
    let path = file(&world, json!([entry(1), entry(2), entry(3)]).to_string());
    let (code, done) = adopt(&world, &path, &["--yes", "--skip-bad"]).await;
    assert_eq!((code, &done["adopted"]), (0, &json!(2)), "{done}");
    assert!(
        done["bad"][0]["why"].as_str().unwrap().contains("J-2: TresorPay says 900 XOF, the file 1000"),
        "{done}"
    );
    let mut app = world.application().await;
    let emitted = app.text("SELECT emitted_at || ' ' || pay_date FROM outbox WHERE reference = 'J-1'").await;
    assert_eq!(emitted.as_deref(), Some("2025-12-01T08:00:00.000Z 2025-12-19T15:00:00"));
    for (content, words) in [
        ("[{]", "is not valid JSON"),
        ("PK\u{3}\u{4}", "Excel workbook"),
        ("a;b\n1;2\n", "no header was found"),
    ] {
        let path = file(&world, content);
        let (code, text) = world.run(&["adopt", &path, "--yes"]).await;
        assert!(code == 1 && text.contains(words), "{text}");
    }
}

/// Spawned as a person would, to be killed.
fn spawn(world: &World, path: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tresorpayd"))
        .arg("--config")
        .arg(world.dir.path().join("command.toml"))
        .args(["adopt", path, "--yes"])
        .env_clear()
        .env("TRESORPAYD__AUTH__CLIENT_SECRET", SECRET)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Whatever is there was adopted whole.
async fn all_or_nothing(app: &mut Application) -> i64 {
    let rows = app.number("SELECT count(*) FROM outbox").await;
    assert_eq!(
        app.number(
            "SELECT count(*) FROM outbox WHERE status = 'EMITTED' AND tresorpay_reference IS NOT NULL"
        )
        .await,
        rows
    );
    assert_eq!(app.number("SELECT count(*) FROM transition WHERE to_status = 'EMITTED'").await, rows);
    assert_eq!(app.number("SELECT count(*) FROM attempt").await, 0);
    rows
}

async fn killed_at_several_points(with_daemon: bool) {
    const COUNT: usize = 700;
    let world = world().await;
    let old = OldSystem::of(&world).await;
    let (_, csv) = old.emit_all(COUNT).await;
    assert_eq!(world.run(&["migrate"]).await.0, 0);
    let path = file(&world, &csv);
    let mut app = world.application().await;
    let mut daemon = if with_daemon { Some(world.start().await) } else { None };
    let mut in_part = 0;
    // At once, with the first rows, and within a later commit.
    for after in [0, 1, 201, 401] {
        let mut child = spawn(&world, &path);
        until("so many are there, or it has ended", async || {
            after == 0
                || app.number("SELECT count(*) FROM outbox").await >= after
                || child.try_wait().unwrap().is_some()
        })
        .await;
        let _ = child.kill();
        child.wait().unwrap();
        let rows = all_or_nothing(&mut app).await;
        in_part += u32::from((1..i64::try_from(COUNT).unwrap()).contains(&rows));
    }
    assert!(in_part > 0, "every one of them had ended before it was killed");
    let (code, done) = adopt(&world, &path, &["--yes"]).await;
    assert_eq!(code, 0, "{done}");
    assert_eq!(all_or_nothing(&mut app).await, i64::try_from(COUNT).unwrap());
    let mut daemon = match daemon.take() {
        Some(daemon) => daemon,
        None => world.start().await,
    };
    until("they are polled", async || {
        app.number("SELECT count(*) FROM outbox WHERE next_attempt_at > updated_at").await
            == i64::try_from(COUNT).unwrap()
    })
    .await;
    all_or_nothing(&mut app).await;
    assert_eq!(world.emissions(), COUNT as u64, "only the older system emitted");
    assert!(world.sim.ledger().billed_twice().is_empty());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_beside_a_daemon_nothing_is_emitted() {
    killed_at_several_points(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_place_of_a_daemon_nothing_is_emitted() {
    killed_at_several_points(false).await;
}
