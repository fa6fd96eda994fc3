//! The simulator as a client sees it: over loopback TCP, through reqwest, which shares nothing with it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "simulator/api.rs"]
mod api;
#[path = "simulator/args.rs"]
mod args;
#[path = "simulator/connections.rs"]
mod connections;
#[path = "simulator/control.rs"]
mod control;
#[path = "simulator/faults.rs"]
mod faults;
#[path = "simulator/garbage.rs"]
mod garbage;
#[path = "simulator/page.rs"]
mod page;
#[path = "simulator/rules.rs"]
mod rules;
#[path = "simulator/taxpayers.rs"]
mod taxpayers;
#[path = "simulator/token.rs"]
mod token;

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tresorpayd::simulator::{Config, Simulator, start};

/// Beyond this, something that should have happened did not.
const DEADLINE: Duration = Duration::from_secs(10);

/// A simulator and a client with a token of it.
struct Peer {
    sim: Simulator,
    http: reqwest::Client,
    token: String,
}

/// An answer, read whole.
struct Got {
    status: u16,
    headers: reqwest::header::HeaderMap,
    bytes: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Peer {
    async fn start(config: Config) -> Self {
        let sim = start(config).await.unwrap();
        let http = client(DEADLINE);
        let got = read(token_request(&http, &sim, &credentials())).await.unwrap();
        let token = got.json()["access_token"].as_str().unwrap().to_owned();
        Self { sim, http, token }
    }

    async fn default() -> Self {
        Self::start(Config::default()).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.sim.base_url()))
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).header(CONTENT_TYPE, "application/json").body(body.to_string())
    }

    fn emit(&self, reference: &str) -> RequestBuilder {
        self.post("/payment/create-notice-recette", &notice(reference))
    }

    /// Emits and returns the TresorPay reference.
    async fn emitted(&self, reference: &str) -> String {
        let got = read(self.emit(reference)).await.unwrap();
        assert_eq!(got.status, 200, "{}", got.text());
        got.json()["reference"].as_str().unwrap().to_owned()
    }

    fn cancel(&self, reference: &str) -> RequestBuilder {
        let body =
            json!({"referenceClient": reference, "codeClient": "APP-DEMO", "codeStructure": "STR-DEMO"});
        self.post("/payment/cancel-notice-recette", &body)
    }

    fn verify(&self, tresorpay_reference: &str) -> RequestBuilder {
        let body =
            json!({"reference": tresorpay_reference, "codeClient": "APP-DEMO", "codeStructure": "STR-DEMO"});
        self.post("/payment/verified-notice-recette", &body)
    }

    fn status(&self, tresorpay_reference: &str) -> RequestBuilder {
        self.request(Method::GET, &format!("/notice-recette/status/{tresorpay_reference}"))
    }

    fn batch(&self, references: &[&str]) -> RequestBuilder {
        self.post("/notice-recette/status/references", &json!(references))
    }

    fn receipt(&self, tresorpay_reference: &str) -> RequestBuilder {
        self.request(Method::GET, &format!("/documents/receipt/download/{tresorpay_reference}"))
    }
}

fn client(timeout: Duration) -> reqwest::Client {
    // Fails if it is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .build()
        .unwrap()
}

async fn read(request: RequestBuilder) -> reqwest::Result<Got> {
    let response: Response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Got { status, headers, bytes: response.bytes().await?.to_vec() })
}

fn credentials() -> Vec<(&'static str, &'static str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_id", "demo-client"),
        ("client_secret", "demo-secret"),
        ("client_scope", "tresorpay"),
        ("scope", "tresorpay"),
    ]
}

fn token_request(http: &reqwest::Client, sim: &Simulator, form: &[(&str, &str)]) -> RequestBuilder {
    http.post(sim.token_url()).form(form)
}

/// A valid notice of 1000 XOF.
fn notice(reference: &str) -> Value {
    json!({
        "reference": reference, "codeClient": "APP-DEMO", "codeStructure": "STR-DEMO", "netTotal": 1000,
        "taxPayer": {"id": "T1", "name": "Diarra", "firstName": "Awa", "phoneNumber": "70000001"},
        "items": [{"name": "Timbre", "quantity": 2, "unitPrice": 500, "description": "Timbre fiscal",
                   "codeNatureRecette": "71531"}],
    })
}

/// Everything that an error says, the causes included.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The kind of the I/O error at the bottom, if there is one.
fn io_kind(error: &reqwest::Error) -> Option<std::io::ErrorKind> {
    let mut cause = std::error::Error::source(error);
    let mut kind = None;
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            kind = Some(io.kind());
        }
        cause = error.source();
    }
    kind
}

/// Waits until `condition` holds.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for: {what}");
        tokio::task::yield_now().await;
    }
}
