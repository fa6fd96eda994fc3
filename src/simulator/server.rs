//! Connections: accepts them, serves HTTP/1.1 on each, and ends each one the way a fault asks for (RST or FIN), which
//! needs the socket back from the HTTP layer.

use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::fault::Ending;
use super::service;
use super::site::{Outage, Site};

/// Pause after a failed accept or bind: no descriptor, or the port is not free yet.
const RETRY: Duration = Duration::from_millis(20);

/// What a request can do to its connection.
#[derive(Default)]
pub(super) struct Wire {
    reset: AtomicBool,
    /// Since when no request has been under way.
    idle_since: Mutex<Option<Instant>>,
    became_idle: Notify,
}

impl Wire {
    /// Says how the connection ends once the request is done with it.
    pub(super) fn end_by(&self, ending: Ending) {
        self.reset.store(ending == Ending::Rst, Ordering::Relaxed);
    }

    /// Keeps the connection from counting as idle for as long as the guard lives.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.set_idle(None);
        Busy(Arc::clone(self))
    }

    fn set_idle(&self, since: Option<Instant>) {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn idle_since(&self) -> Option<Instant> {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way on a connection.
pub(super) struct Busy(Arc<Wire>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set_idle(Some(Instant::now()));
        self.0.became_idle.notify_one();
    }
}

/// Accepts connections until the shutdown; closes the listener while the simulator refuses connections.
pub(super) async fn listen(site: Arc<Site>, listener: TcpListener, address: SocketAddr) {
    let mut listener = Some(listener);
    let mut settings = site.settings.subscribe();
    let mut epoch = CancellationToken::new();
    loop {
        let refuses = settings.borrow_and_update().outage == Some(Outage::Refuse);
        if refuses && listener.take().is_some() {
            epoch.cancel();
            site.listening.send_replace(false);
        } else if !refuses && listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
            if listener.is_none() {
                sleep(RETRY).await;
                continue;
            }
            epoch = CancellationToken::new();
            site.listening.send_replace(true);
        }
        tokio::select! {
            accepted = accept(listener.as_ref()) => match accepted {
                Ok(stream) => {
                    site.counting.connection();
                    site.tasks.spawn(connection(Arc::clone(&site), stream, epoch.clone()));
                }
                Err(_) => sleep(RETRY).await,
            },
            _ = settings.changed() => {}
            () = site.shutdown.cancelled() => return,
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => pending().await,
    }
}

/// Serves one connection until either side ends it.
async fn connection(site: Arc<Site>, stream: TcpStream, epoch: CancellationToken) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let wire = Arc::new(Wire::default());
    wire.set_idle(Some(Instant::now()));
    let service =
        service_fn(|request| Box::pin(service::serve(Arc::clone(&site), Arc::clone(&wire), request)));
    let mut http = http1::Builder::new();
    let mut serving = http.header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
    let reset = tokio::select! {
        biased;
        served = poll_fn(|cx| serving.poll_without_shutdown(cx)) => {
            served.is_err() && wire.reset.load(Ordering::Relaxed)
        }
        () = epoch.cancelled() => true,
        () = idle_too_long(&site, &wire) => false,
        () = site.shutdown.cancelled() => {
            finish(Pin::new(&mut serving)).await;
            false
        }
    };
    let mut stream = serving.into_parts().io.into_inner();
    if reset {
        // The RST goes out when the stream is dropped; without the option it would be an orderly FIN.
        let _ = stream.set_zero_linger();
    } else {
        let _ = stream.shutdown().await;
    }
}

/// At the shutdown, answers that are under way are given this long.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

async fn finish<S>(mut serving: Pin<&mut http1::Connection<TokioIo<TcpStream>, S>>)
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = super::answer::Reply>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Unpin,
    S: Unpin,
{
    serving.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_ANSWERS, poll_fn(|cx| serving.poll_without_shutdown(cx))).await;
}

/// Returns once no request has been under way for as long as the settings allow.
async fn idle_too_long(site: &Site, wire: &Wire) {
    let mut settings = site.settings.subscribe();
    loop {
        let limit = settings.borrow_and_update().idle_close;
        let end = limit.and_then(|limit| wire.idle_since().map(|since| since + limit));
        if end.is_some_and(|end| end <= Instant::now()) {
            return;
        }
        let ends = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = ends => {}
            () = wire.became_idle.notified(), if limit.is_some() => {}
            changed = settings.changed() => if changed.is_err() { return },
        }
    }
}
