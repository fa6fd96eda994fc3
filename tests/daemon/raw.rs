//! A platform written byte by byte, for what no HTTP server would send. It reads requests properly and answers as its
//! script says, over TCP or TLS, on loopback.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::{harness::World, peer::GRANTED};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A token.
    Token,
    /// An emission, with the client's reference.
    Emit(String),
    /// The status of one notice, by TresorPay's reference.
    Status(String),
    /// The status of many.
    Batch(Vec<String>),
    /// Anything else.
    Other,
}

/// What is sent back, byte by byte.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// These bytes, and the connection stays open for the next request.
    Bytes(Vec<u8>),
    /// These bytes, and the connection is closed.
    Last(Vec<u8>),
    /// These bytes, then those, again and again at this interval, until the client has had enough.
    Endless(Vec<u8>, Vec<u8>, Duration),
}

/// `200 OK` with a JSON body.
pub(crate) fn ok(body: &Value) -> Reply {
    answer(&["HTTP/1.1 200 OK", "Content-Type: application/json"], body.to_string().as_bytes())
}

/// A head and a body of its length.
pub(crate) fn answer(head: &[&str], body: &[u8]) -> Reply {
    Reply::Bytes(message(head, &format!("Content-Length: {}", body.len()), body))
}

/// A head, one more header, and what follows.
pub(crate) fn message(head: &[&str], header: &str, body: &[u8]) -> Vec<u8> {
    let lines = [head, &[header, "", ""]].concat();
    [lines.join("\r\n").as_bytes(), body].concat()
}

/// What a platform in good health answers; every notice is paid once it is asked about.
pub(crate) fn good(ask: &Ask) -> Reply {
    let paid = |reference: &str| json!({"reference": reference, "status": "PAID", "provider": "WAVE", "payDate": "2026-11-24T09:48:00"});
    match ask {
        Ask::Token => ok(&json!({"access_token": GRANTED, "expires_in": 300, "token_type": "Bearer"})),
        Ask::Emit(reference) => ok(&json!({"reference": format!("TP-{reference}"), "status": "EMITTED"})),
        Ask::Status(reference) => ok(&paid(reference)),
        Ask::Batch(references) => ok(&references.iter().map(|reference| paid(reference)).collect()),
        Ask::Other => answer(&["HTTP/1.1 404 Not Found"], b""),
    }
}

type Script = dyn Fn(&Ask) -> Reply + Send + Sync;

/// What can change while the platform runs.
struct Inside {
    script: Mutex<Arc<Script>>,
    tls: Mutex<Option<TlsAcceptor>>,
    asked: Mutex<BTreeMap<&'static str, usize>>,
}

/// A running platform; it ends when dropped.
pub(crate) struct RawPeer {
    inside: Arc<Inside>,
    task: JoinHandle<()>,
}

impl RawPeer {
    /// Answers as `script` says, and has the daemons of `world` use it.
    pub(crate) async fn start(
        world: &mut World,
        script: impl Fn(&Ask) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(world, None, script).await
    }

    /// The same over TLS.
    pub(crate) async fn start_tls(
        world: &mut World,
        tls: TlsAcceptor,
        script: impl Fn(&Ask) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(world, Some(tls), script).await
    }

    async fn listen(
        world: &mut World,
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Ask) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{}", listener.local_addr().unwrap());
        world.set("api.base_url", &format!("{origin}/api")).set("auth.token_url", &format!("{origin}/token"));
        let inside = Arc::new(Inside {
            script: Mutex::new(Arc::new(script)),
            tls: Mutex::new(tls),
            asked: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&inside)));
        Self { inside, task }
    }

    /// Answers otherwise from now on.
    pub(crate) fn set(&self, script: impl Fn(&Ask) -> Reply + Send + Sync + 'static) {
        *self.inside.script.lock().unwrap() = Arc::new(script);
    }

    /// Shows another certificate from now on.
    pub(crate) fn set_tls(&self, tls: TlsAcceptor) {
        *self.inside.tls.lock().unwrap() = Some(tls);
    }

    /// How many requests of a kind came: `token`, `emit`, `status`, `batch`, `other`.
    pub(crate) fn asked(&self, kind: &str) -> usize {
        self.inside.asked.lock().unwrap().get(kind).copied().unwrap_or_default()
    }
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, inside: Arc<Inside>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let inside = Arc::clone(&inside);
        let tls = inside.tls.lock().unwrap().clone();
        connections.spawn(async move {
            match tls {
                None => serve(stream, &inside).await,
                Some(tls) => {
                    // A client that refuses the certificate leaves.
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, &inside).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers requests until either side ends the connection.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, inside: &Inside) {
    let mut stream = BufReader::new(stream);
    while let Some(ask) = read(&mut stream).await {
        let kind = match ask {
            Ask::Token => "token",
            Ask::Emit(_) => "emit",
            Ask::Status(_) => "status",
            Ask::Batch(_) => "batch",
            Ask::Other => "other",
        };
        *inside.asked.lock().unwrap().entry(kind).or_default() += 1;
        let script = Arc::clone(&inside.script.lock().unwrap());
        let (head, stays) = match script(&ask) {
            Reply::Bytes(bytes) => (bytes, true),
            Reply::Last(bytes) => (bytes, false),
            Reply::Endless(head, more, every) => {
                if stream.write_all(&head).await.is_err() {
                    return;
                }
                while stream.write_all(&more).await.is_ok() && stream.flush().await.is_ok() {
                    tokio::time::sleep(every).await;
                }
                return;
            }
        };
        if stream.write_all(&head).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        if !stays {
            // The client may have left already.
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// One request; `None` at the end of the connection.
async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Ask> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let length =
        head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    let path = head[0].split(' ').nth(1)?.to_owned();
    let json = || serde_json::from_slice::<Value>(&body).unwrap();
    Some(match path.strip_prefix("/api") {
        None if path == "/token" => Ask::Token,
        Some("/payment/create-notice-recette") => Ask::Emit(json()["reference"].as_str()?.to_owned()),
        Some("/notice-recette/status/references") => {
            Ask::Batch(json().as_array()?.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect())
        }
        Some(path) => match path.strip_prefix("/notice-recette/status/") {
            Some(reference) => Ask::Status(reference.to_owned()),
            None => Ask::Other,
        },
        None => Ask::Other,
    })
}
