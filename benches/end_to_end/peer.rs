//! The built-in simulator in a process of its own, so that its CPU time is not the daemon's.
//!
//! The child writes one line of JSON with its addresses, then ends with its stdin. What a measurement wants to know
//! it asks through the simulator's control API.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tresorpayd::simulator::{Config, Counters, Ledger, start};

use super::{
    machine,
    notices::{CODE_CLIENT, CODE_STRUCTURE},
    options::PeerArgs,
};

/// The account that the peer knows.
pub(crate) const CLIENT_ID: &str = "bench-client";
pub(crate) const CLIENT_SECRET: &str = "bench-secret";
/// Longer than any measurement, so that no round has a token more than another.
const TOKEN_LIFETIME: Duration = Duration::from_hours(6);

/// Payments under way at once.
const PAYMENTS_AT_ONCE: usize = 16;

/// Where the peer is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) origin: String,
    pub(crate) base_url: String,
    pub(crate) token_url: String,
    pub(crate) control_url: String,
}

/// The role: serves until stdin ends.
pub(crate) async fn serve(args: PeerArgs) -> anyhow::Result<()> {
    let simulator = start(Config {
        listen: args.listen,
        client_id: CLIENT_ID.to_owned(),
        client_secret: CLIENT_SECRET.to_owned(),
        code_client: CODE_CLIENT.to_owned(),
        code_structure: CODE_STRUCTURE.to_owned(),
        latency: Duration::from_millis(args.latency_ms).into(),
        token_lifetime: TOKEN_LIFETIME,
        ..Config::default()
    })
    .await?;
    let addresses = Addresses {
        origin: simulator.origin().to_owned(),
        base_url: simulator.base_url(),
        token_url: simulator.token_url(),
        control_url: simulator.control_url(),
    };
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", serde_json::to_string(&addresses)?)?;
    stdout.flush()?;
    let (ended, stdin) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        ended.send(())
    });
    let _ = stdin.await;
    simulator.shutdown().await;
    Ok(())
}

/// A running peer; ends when dropped.
pub(crate) struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    http: reqwest::Client,
    pub(crate) addresses: Addresses,
}

impl Peer {
    /// Starts one that answers after `latency`.
    pub(crate) fn start(core: Option<usize>, latency: Duration) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["peer", "--latency-ms", &latency.as_millis().to_string()]);
        let mut child =
            machine::spawn_on(core, command.stdin(Stdio::piped()).stdout(Stdio::piped())).context("peer")?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
        let addresses = serde_json::from_str(&line).context("the peer did not start")?;
        Ok(Self { child, stdin, http: reqwest::Client::builder().no_proxy().build()?, addresses })
    }

    /// Everything it knows.
    pub(crate) async fn ledger(&self) -> anyhow::Result<Ledger> {
        self.read("ledger").await
    }

    /// How often it was asked for what.
    pub(crate) async fn counters(&self) -> anyhow::Result<Counters> {
        self.read("counters").await
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, what: &str) -> anyhow::Result<T> {
        let url = format!("{}/{what}", self.addresses.control_url);
        let answer = self.http.get(url).send().await?;
        ensure!(answer.status().is_success(), "{what}: {}", answer.status());
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    /// Every taxpayer pays.
    pub(crate) async fn pay_all(&self) -> anyhow::Result<()> {
        let notices = self.ledger().await?.notices;
        let payments = notices.into_iter().map(|notice| async move {
            let url = format!("{}/pay/{}", self.addresses.control_url, notice.reference);
            let answer = self.http.post(url).send().await?;
            ensure!(answer.status().is_success(), "pay: {}", answer.status());
            answer.bytes().await?;
            Ok(())
        });
        stream::iter(payments).buffer_unordered(PAYMENTS_AT_ONCE).try_collect().await
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
