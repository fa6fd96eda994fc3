//! The network between the daemon and the platform: a TCP proxy that delays, cuts in the middle of a body, swallows,
//! refuses, and closes connections that are idle. It knows no HTTP.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// Bytes that pass at once: less than a request or an answer, so that a cut falls into its middle.
const PIECE: usize = 200;
/// A piece is delayed by this at most; together with [`crate::storm::LATEST_MS`] far below `emit.settle_after`.
pub(crate) const MAX_DELAY_MS: u64 = 120;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "weather", rename_all = "snake_case")]
pub(crate) enum Weather {
    /// Everything passes at once.
    Calm,
    /// Each piece is late by up to so many milliseconds.
    Slow { ms: u64 },
    /// A piece in so many is cut, and the connection ends: by RST, or in order.
    Cut { one_in: u32, reset: bool },
    /// From a piece in so many on, nothing passes that way any more, and nobody is told.
    Swallow { one_in: u32 },
    /// New connections are reset at once, the others at their next piece.
    Refuse,
    /// A connection that says nothing one way for so many milliseconds is closed, whatever is under way.
    CloseIdle { ms: u64 },
}

impl Weather {
    /// Anything but calm.
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        let one_in = rng.u32(2..30);
        match rng.u32(0..8) {
            0 | 1 => Self::Slow { ms: rng.u64(5..=MAX_DELAY_MS) },
            2..=4 => Self::Cut { one_in, reset: rng.bool() },
            5 => Self::Swallow { one_in },
            6 => Self::Refuse,
            _ => Self::CloseIdle { ms: rng.u64(5..200) },
        }
    }

    /// For the counts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Slow { .. } => "network delays",
            Self::Cut { .. } => "network cuts",
            Self::Swallow { .. } => "network drops",
            Self::Refuse => "connections refused",
            Self::CloseIdle { .. } => "idle closes",
        }
    }
}

/// A running proxy; ends when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

/// What it did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) cut: AtomicU64,
    pub(crate) swallowed: AtomicU64,
}

impl Proxy {
    /// Passes everything on to `upstream`.
    pub(crate) async fn start(upstream: SocketAddr, seed: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (weather, watched) = watch::channel(Weather::Calm);
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(accept(listener, upstream, seed, watched, Arc::clone(&counts)));
        Ok(Self { address, weather, counts, task })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The weather from now on.
    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// The weather for so long, unless it changes before.
    pub(crate) async fn set_for(&self, weather: Weather, time: Duration) {
        let mut seen = self.weather.subscribe();
        self.set(weather);
        seen.mark_unchanged();
        if tokio::time::timeout(time, seen.changed()).await.is_err() {
            self.set(Weather::Calm);
        }
    }

    /// What it did so far.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    seed: u64,
    weather: watch::Receiver<Weather>,
    counts: Arc<Counts>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let number = counts.connections.fetch_add(1, Ordering::Relaxed);
        let fate = Fate { weather: weather.clone(), counts: Arc::clone(&counts) };
        connections.spawn(connect(client, upstream, seed.wrapping_add(number << 1), fate));
    }
}

/// What may befall a connection.
#[derive(Clone)]
struct Fate {
    weather: watch::Receiver<Weather>,
    counts: Arc<Counts>,
}

/// How one direction of a connection ended.
enum End {
    /// The sender has nothing more to say.
    Finished,
    /// Both directions end: by RST, or in order.
    Broken { reset: bool },
}

async fn connect(client: TcpStream, upstream: SocketAddr, seed: u64, fate: Fate) {
    let refused = *fate.weather.borrow() == Weather::Refuse;
    let server = if refused { None } else { TcpStream::connect(upstream).await.ok() };
    let Some(server) = server else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut up = Pump::new(client_read, server_write, seed, fate.clone());
    let mut down = Pump::new(server_read, client_write, seed | 1, fate);
    let end = {
        let (up, down) = (up.run(), down.run());
        tokio::pin!(up, down);
        tokio::select! {
            end = &mut up => match end {
                End::Finished => down.await,
                broken @ End::Broken { .. } => broken,
            },
            end = &mut down => match end {
                End::Finished => up.await,
                broken @ End::Broken { .. } => broken,
            },
        }
    };
    if let End::Broken { reset: true } = end {
        let _ = up.to.as_ref().set_zero_linger();
        let _ = down.to.as_ref().set_zero_linger();
    }
}

/// One direction of a connection.
struct Pump {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    rng: fastrand::Rng,
    fate: Fate,
    swallows: bool,
}

impl Pump {
    fn new(from: OwnedReadHalf, to: OwnedWriteHalf, seed: u64, fate: Fate) -> Self {
        Self { from, to, rng: fastrand::Rng::with_seed(seed), fate, swallows: false }
    }

    async fn run(&mut self) -> End {
        let mut piece = [0; PIECE];
        loop {
            let length = match self.read(&mut piece).await {
                // Whoever waited for what was swallowed has given up.
                Ok(Some(0)) if self.swallows => return End::Broken { reset: true },
                Ok(Some(0)) => {
                    let _ = self.to.shutdown().await;
                    return End::Finished;
                }
                Ok(Some(length)) => length,
                Ok(None) => return End::Broken { reset: false },
                Err(_) => return End::Broken { reset: true },
            };
            if let Some(end) = self.pass(&piece[..length]).await {
                return end;
            }
        }
    }

    /// The next piece; `None` if the connection was idle for too long.
    async fn read(&mut self, piece: &mut [u8]) -> std::io::Result<Option<usize>> {
        let Weather::CloseIdle { ms } = *self.fate.weather.borrow() else {
            return self.from.read(piece).await.map(Some);
        };
        match tokio::time::timeout(Duration::from_millis(ms), self.from.read(piece)).await {
            Ok(read) => read.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Passes a piece on as the weather allows; how the connection ended, if it did.
    async fn pass(&mut self, piece: &[u8]) -> Option<End> {
        let weather = *self.fate.weather.borrow();
        if self.swallows {
            return None;
        }
        match weather {
            Weather::Calm | Weather::CloseIdle { .. } => {}
            Weather::Slow { ms } => {
                tokio::time::sleep(Duration::from_millis(self.rng.u64(0..=ms))).await;
            }
            Weather::Cut { one_in, reset } if self.rng.u32(0..one_in) == 0 => {
                self.fate.counts.cut.fetch_add(1, Ordering::Relaxed);
                let kept = self.rng.usize(0..piece.len());
                let _ = self.to.write_all(&piece[..kept]).await;
                return Some(End::Broken { reset });
            }
            Weather::Swallow { one_in } if self.rng.u32(0..one_in) == 0 => {
                self.fate.counts.swallowed.fetch_add(1, Ordering::Relaxed);
                self.swallows = true;
                return None;
            }
            Weather::Cut { .. } | Weather::Swallow { .. } => {}
            Weather::Refuse => return Some(End::Broken { reset: true }),
        }
        match self.to.write_all(piece).await {
            Ok(()) => None,
            Err(_) => Some(End::Broken { reset: true }),
        }
    }
}
