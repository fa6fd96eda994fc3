//! The simulator in a process of its own, and its control API. Its ledger is read as plain JSON: the audit shares no type
//! with what it audits.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

/// While the platform refuses connections, so does its control API.
const PATIENCE: Duration = Duration::from_secs(20);
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// How the simulator is started.
pub(crate) struct Start<'a> {
    pub(crate) seed: u64,
    pub(crate) latency: &'a str,
    pub(crate) on_duplicate: &'a str,
}

/// A running simulator; ends when dropped.
pub(crate) struct Platform {
    child: Child,
    http: reqwest::Client,
    addresses: Addresses,
}

/// Where it is.
struct Addresses {
    api: Url,
    token: Url,
    control: String,
}

impl Addresses {
    /// From its one line of JSON.
    fn read(line: &str) -> anyhow::Result<Self> {
        let said: Value = serde_json::from_str(line)?;
        let text = |name: &str| said[name].as_str().context("address");
        Ok(Self {
            api: text("base_url")?.parse()?,
            token: text("token_url")?.parse()?,
            control: text("control_url")?.to_owned(),
        })
    }
}

/// What it holds.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) notices: Vec<Notice>,
    pub(crate) counters: Value,
}

/// One notice that it once created.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Notice {
    pub(crate) reference: String,
    pub(crate) client_reference: String,
    pub(crate) net_total: i64,
    pub(crate) items: Value,
    pub(crate) status: String,
    pub(crate) provider: Option<String>,
    pub(crate) pay_date: Option<String>,
    /// The delivery was confirmed.
    pub(crate) verified: bool,
    pub(crate) history: Vec<Happening>,
}

/// What happened to a notice, and by whom.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Happening {
    pub(crate) what: String,
    pub(crate) by: String,
}

impl Notice {
    /// Whether a taxpayer owes it, or has paid it.
    pub(crate) fn is_live(&self) -> bool {
        self.status != "CANCELED"
    }

    /// Whether the daemon canceled it.
    pub(crate) fn was_canceled_by_api(&self) -> bool {
        self.history.iter().any(|happening| happening.what == "canceled" && happening.by == "api")
    }
}

impl Platform {
    /// Starts one whose taxpayers do nothing of themselves.
    pub(crate) fn start(start: &Start<'_>) -> anyhow::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tresorpayd"))
            .args(["simulator", "--json", "--listen", "127.0.0.1:0", "--pay-share", "0"])
            .args(["--token-lifetime", "20s", "--latency", start.latency])
            .args(["--on-duplicate", start.on_duplicate, "--seed", &start.seed.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
        let addresses = Addresses::read(&line).context("the simulator did not start")?;
        Ok(Self { child, http: reqwest::Client::builder().no_proxy().build()?, addresses })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        self.addresses.api.socket_addrs(|| None)?.pop().context("address")
    }

    /// Path of the API.
    pub(crate) fn base_path(&self) -> &str {
        self.addresses.api.path()
    }

    /// Path of the token endpoint.
    pub(crate) fn token_path(&self) -> &str {
        self.addresses.token.path()
    }

    /// Everything it knows.
    pub(crate) async fn ledger(&self) -> anyhow::Result<Ledger> {
        let (_, body) = self.ask(Method::GET, "ledger", None).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// The notices of one client reference.
    pub(crate) async fn notices_of(&self, reference: &str) -> anyhow::Result<Vec<Notice>> {
        let (_, body) = self.ask(Method::GET, &format!("ledger?reference={reference}"), None).await?;
        Ok(serde_json::from_slice::<Ledger>(&body)?.notices)
    }

    /// It changes its mind about a notice.
    pub(crate) async fn alter(&self, reference: &str, change: &Value) -> anyhow::Result<()> {
        let (status, body) = self.ask(Method::POST, &format!("alter/{reference}"), Some(change)).await?;
        ensure!(status.is_success(), "alter {reference}: {status} {}", String::from_utf8_lossy(&body));
        Ok(())
    }

    /// The receipts of paid notices, as any client is given them.
    pub(crate) async fn receipts(&self, references: &[&str]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let form = "grant_type=client_credentials&client_id=demo-client&client_secret=demo-secret";
        let mut receipts = BTreeMap::new();
        // A token lives for 20 seconds.
        for some in references.chunks(100) {
            let asked = self.http.post(self.addresses.token.clone()).body(form);
            let asked = asked.header("content-type", "application/x-www-form-urlencoded");
            let token: Value = serde_json::from_slice(&asked.send().await?.bytes().await?)?;
            let token = token["access_token"].as_str().context("access_token")?;
            for reference in some {
                let url = format!("{}/documents/receipt/download/{reference}", self.addresses.api);
                let answer = self.http.get(&url).bearer_auth(token).send().await?;
                ensure!(answer.status().is_success(), "{url}: {}", answer.status());
                receipts.insert((*reference).to_owned(), answer.bytes().await?.to_vec());
            }
        }
        Ok(receipts)
    }

    /// Adds a fault rule; its id.
    pub(crate) async fn add_fault(&self, rule: &Value) -> anyhow::Result<u64> {
        let (status, body) = self.ask(Method::POST, "faults", Some(rule)).await?;
        ensure!(status.is_success(), "{rule}: {}", String::from_utf8_lossy(&body));
        let rules: Value = serde_json::from_slice(&body)?;
        rules["rules"].as_array().and_then(|rules| rules.last()?["id"].as_u64()).context("id of the rule")
    }

    /// Takes one rule away.
    pub(crate) async fn remove_fault(&self, id: u64) -> anyhow::Result<()> {
        self.ask(Method::DELETE, &format!("faults/{id}"), None).await.map(drop)
    }

    /// No fault, and in order.
    pub(crate) async fn calm(&self) -> anyhow::Result<()> {
        self.ask(Method::DELETE, "faults", None).await?;
        self.ask(Method::POST, "up", None).await.map(drop)
    }

    /// Out of order for so long.
    pub(crate) async fn down(&self, how: &str, ms: u64) -> anyhow::Result<()> {
        let body = serde_json::json!({"how": how, "for_ms": ms});
        let (status, answer) = self.ask(Method::POST, "down", Some(&body)).await?;
        ensure!(status.is_success(), "{body}: {}", String::from_utf8_lossy(&answer));
        Ok(())
    }

    /// Every token so far is void.
    pub(crate) async fn revoke_tokens(&self) -> anyhow::Result<()> {
        self.ask(Method::POST, "revoke-tokens", None).await.map(drop)
    }

    /// Its taxpayer pays a notice, or it is canceled behind the daemon's back. It may be canceled, or paid, already.
    pub(crate) async fn act(&self, what: &str, reference: &str) -> anyhow::Result<()> {
        let (status, body) = self.ask(Method::POST, &format!("{what}/{reference}"), None).await?;
        let done = status.is_success() || status == StatusCode::CONFLICT;
        ensure!(done, "{what} {reference}: {status} {}", String::from_utf8_lossy(&body));
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        what: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let url = format!("{}/{what}", self.addresses.control);
        let started = Instant::now();
        loop {
            let mut request = self.http.request(method.clone(), &url);
            if let Some(body) = body {
                request = request.body(serde_json::to_vec(body)?);
            }
            let answer = async {
                let answer = request.send().await?;
                Ok::<_, reqwest::Error>((answer.status(), answer.bytes().await?.to_vec()))
            };
            match answer.await {
                Ok(answered) => return Ok(answered),
                Err(error) if started.elapsed() > PATIENCE => return Err(error).context(url),
                Err(_) => tokio::time::sleep(RETRY_EVERY).await,
            }
        }
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
