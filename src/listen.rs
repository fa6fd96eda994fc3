//! The daemon's own listeners: one request a connection, within bounds of number, bytes and time. A connection that breaks,
//! hangs or lies costs nobody else anything, and at `shutdown` all end at once.

use std::{error::Error, sync::Arc, time::Duration};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::Service,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// For the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Bytes of a request's head, and its headers.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// After a connection that could not be accepted: most often, too many files are open.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// What one listener allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The setting that names it, for the log.
    pub(crate) name: &'static str,
    /// Connections at once; further ones wait in the system's queue.
    pub(crate) connections: usize,
    /// For a whole connection, which carries one request.
    pub(crate) time: Duration,
}

/// Answers by `service` until `shutdown`.
pub(crate) async fn serve<S, B>(
    listener: &TcpListener,
    bounds: Bounds,
    service: S,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let accept = async {
        loop {
            // Never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (service, shutdown) = (service.clone(), shutdown.clone());
                    tokio::spawn(async move {
                        shutdown.run_until_cancelled(answer(stream, bounds.time, service)).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to {} was not accepted", bounds.name);
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept).await;
}

/// One connection, one request.
async fn answer<S, B>(stream: TcpStream, time: Duration, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // What a stranger does to his connection is nothing to tell.
    let _ = timeout(time, connection).await;
}
