//! The application's own callback: a small HTTP server that notes which payments it was told of. It answers the first call
//! for one notice in ten with an error: the daemon has to call again.

use std::{
    collections::{BTreeMap, HashSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use url::Url;

/// Largest head that is read, in bytes.
const MAX_HEAD: usize = 8 * 1024;

#[derive(Default)]
struct Calls {
    /// Answered with 204, by reference: how often.
    taken: BTreeMap<String, u32>,
    /// Answered with 503, once each.
    refused: HashSet<String>,
}

/// A running server; ends when dropped.
pub(crate) struct Called {
    address: SocketAddr,
    calls: Arc<Mutex<Calls>>,
    server: JoinHandle<()>,
}

impl Called {
    /// Listens.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let calls = Arc::new(Mutex::new(Calls::default()));
        let noted = Arc::clone(&calls);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let calls = Arc::clone(&noted);
                // A daemon that is killed leaves half a call: nothing was told.
                tokio::spawn(async move { answer(stream, &calls).await });
            }
        });
        Ok(Self { address, calls, server })
    }

    /// What rows give as their callback.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/paid?application=life", self.address)
    }

    /// Notices that it was told of, and how often.
    pub(crate) fn taken(&self) -> BTreeMap<String, u32> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).taken.clone()
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(mut stream: TcpStream, calls: &Mutex<Calls>) -> anyhow::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split(' ').nth(1).context("request line")?;
    let url = Url::parse("http://localhost")?.join(target)?;
    let mut query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    let told = query.get("status").is_some_and(|status| status == "PAID");
    let reference = query.remove("reference").filter(|_| told).context("no payment is told")?;
    let takes = {
        let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
        let takes = !reference.ends_with('7') || !calls.refused.insert(reference.clone());
        if takes {
            *calls.taken.entry(reference).or_default() += 1;
        }
        takes
    };
    let status = if takes { "204 No Content" } else { "503 Service Unavailable" };
    stream
        .write_all(format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").as_bytes())
        .await?;
    stream.shutdown().await?;
    Ok(())
}
