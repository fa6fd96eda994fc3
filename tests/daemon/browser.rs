//! The status page in a real browser, where one is installed: what it shows, and that it runs into none of its own rules.

use std::{path::Path, process::Command};

use crate::{
    harness::until,
    http::{get, world},
    rows::{NewRow, bulk},
};
use tresorpayd::simulator::{Ending, Fault, Operation, Rule};

/// As Debian and Ubuntu call it.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What the browser made of the page, and what it complained of; `None`: there is no browser.
async fn seen(profile: &Path, url: String, width: u32) -> Option<(String, String)> {
    let profile = profile.to_owned();
    tokio::task::spawn_blocking(move || {
        BROWSERS.iter().find_map(|browser| {
            let output = Command::new(browser)
                .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"])
                .arg(format!("--user-data-dir={}", profile.display()))
                .arg(format!("--window-size={width},900"))
                .args(["--dump-dom", &url])
                .output()
                .ok()?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((text(&output.stdout), text(&output.stderr)))
        })
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_browser_shows_it_in_both_languages_without_a_complaint() {
    let (world, port) = world().await;
    world
        .sim
        .add_fault(Rule::once(Operation::Emit, Fault::ResetAfter { by: Ending::Rst }).reference("DOUTE-1"));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(4)).await;
    app.insert(&[NewRow::new("DOUTE-1"), NewRow::new("PATENTE-1").amount(1_250_000)]).await;
    until("all are answered", async || app.count("EMITTED").await == 5 && app.count("UNCERTAIN").await == 1)
        .await;
    world.sim.pay("PATENTE-1", Some("ORANGE_MONEY")).unwrap();
    until("one is paid", async || app.count("PAID").await == 1).await;
    until("the page knows", async || get(port, "/?lang=en").await.body.contains("1 notice paid")).await;
    for (lang, words) in [
        (
            "fr",
            [
                "Ce qui attend",
                "En doute",
                "une décision est nécessaire",
                "1 avis payé",
                "ORANGE_MONEY",
                "</svg>",
            ],
        ),
        (
            "en",
            ["What waits", "In doubt", "somebody has to decide", "1 notice paid", "ORANGE_MONEY", "</svg>"],
        ),
    ] {
        for width in [1280, 500] {
            let profile = world.dir.path().join(format!("browser-{lang}-{width}"));
            let url = format!("http://127.0.0.1:{port}/?lang={lang}&reference=DOUTE-1");
            let Some((dom, complaints)) = seen(&profile, url, width).await else {
                eprintln!("no browser is installed: the page is not looked at");
                daemon.stop().await;
                return;
            };
            for word in words {
                assert!(dom.contains(word), "{word} is not in {dom}\n{complaints}");
            }
            // Of the page itself; what the browser says of its own surroundings is nothing to it.
            let console: Vec<&str> = complaints
                .lines()
                .filter(|line| line.contains("CONSOLE") || line.contains("Content Security"))
                .collect();
            assert!(console.is_empty(), "{console:#?}");
        }
    }
    daemon.stop().await;
}
