//! The limit: what the machine and the peer allow at most. A bare client sends the daemon's requests in a loop, with
//! the daemon's concurrency, over one pool, with no database and no thought about the answers. If asked to, it makes a
//! page durable before each request, which is the least that any program does that must not forget what it has sent.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context, ensure};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::{
    emission::SERIES,
    flush::Flusher,
    machine, notices,
    options::LimitArgs,
    peer::{Addresses, CLIENT_ID, CLIENT_SECRET},
};

/// What the bare client did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Limit {
    pub(crate) per_second: f64,
    pub(crate) cpu_seconds_per_1000: f64,
}

impl Limit {
    /// Of two runs of the same size.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            per_second: 2.0 / (1.0 / self.per_second + 1.0 / other.per_second),
            cpu_seconds_per_1000: f64::midpoint(self.cpu_seconds_per_1000, other.cpu_seconds_per_1000),
        }
    }
}

/// Runs the bare client in a process of its own; with `flush`, a file that does not exist yet, one that is durable.
pub(crate) fn measure(
    core: Option<usize>,
    peer: &Addresses,
    notices: u32,
    concurrency: usize,
    flush: Option<&Path>,
) -> anyhow::Result<Limit> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["limit", "--base-url", &peer.base_url, "--token-url", &peer.token_url])
        .args(["--notices", &notices.to_string(), "--concurrency", &concurrency.to_string()])
        .stdout(Stdio::piped());
    if let Some(file) = flush {
        command.arg("--flush").arg(file);
    }
    let output = machine::spawn_on(core, &mut command)?.wait_with_output()?;
    ensure!(output.status.success(), "the bare client failed: {}", output.status);
    serde_json::from_slice(&output.stdout).context("the bare client's result")
}

/// The role: sends, counts, writes the result.
pub(crate) async fn run(args: LimitArgs) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        .pool_max_idle_per_host(args.concurrency)
        .build()?;
    let token = token(&http, &args.token_url).await?;
    let url: reqwest::Url = format!("{}/payment/create-notice-recette", args.base_url).parse()?;
    let bodies =
        (1..=args.notices).map(|number| notices::body(SERIES, number)).collect::<Result<Vec<_>, _>>()?;
    let bodies = Arc::new(Mutex::new(bodies.into_iter()));
    let flusher = args.flush.as_deref().map(Flusher::start).transpose()?;

    let (started, cpu) = (Instant::now(), machine::cpu_time(std::process::id())?);
    let mut workers = JoinSet::new();
    for _ in 0..args.concurrency {
        let (http, url, token, bodies) = (http.clone(), url.clone(), token.clone(), Arc::clone(&bodies));
        let flusher = flusher.clone();
        workers.spawn(async move {
            loop {
                let next = bodies.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(body) = next else { return anyhow::Ok(()) };
                if let Some(flusher) = &flusher {
                    flusher.flush().await?;
                }
                let request = http
                    .post(url.clone())
                    .header(AUTHORIZATION, token.clone())
                    .header(CONTENT_TYPE, "application/json");
                let answer = request.body(body).send().await?;
                ensure!(answer.status().is_success(), "the peer answered {}", answer.status());
                answer.bytes().await?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    let cpu = machine::cpu_time(std::process::id())?.saturating_sub(cpu);
    let notices = f64::from(args.notices);
    let limit = Limit {
        per_second: notices / started.elapsed().as_secs_f64(),
        cpu_seconds_per_1000: cpu.as_secs_f64() * 1000.0 / notices,
    };
    println!("{}", serde_json::to_string(&limit)?);
    Ok(())
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

async fn token(http: &reqwest::Client, url: &str) -> anyhow::Result<HeaderValue> {
    let form =
        [("grant_type", "client_credentials"), ("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)];
    let answer = http.post(url).form(&form).send().await?.error_for_status()?.bytes().await?;
    let token: Token = serde_json::from_slice(&answer)?;
    Ok(HeaderValue::from_str(&format!("Bearer {}", token.access_token))?)
}
