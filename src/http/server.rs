//! Connections to `http.listen`, within bounds of number, bytes and time. One that breaks, hangs or lies costs nobody else
//! anything, and at `shutdown` all end at once.

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware, routing::get};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{View, gate, gate::Gate, health, metrics, metrics::Metrics, page};

/// Connections at once; further ones wait in the system's queue.
const CONNECTIONS: usize = 64;
/// For the head of the request.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// For a whole connection, which carries one request.
const CONNECTION_TIME: Duration = Duration::from_secs(15);
/// Bytes of a request's head, and its headers. Bodies are not read.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// After a connection that could not be accepted: most often, too many files are open.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);
/// After the server has failed.
const RESTART: Duration = Duration::from_secs(1);

/// Answers until `shutdown`. If the server should fail, the log says so and it is started again: the daemon works on.
pub async fn serve(listener: TcpListener, view: View, shutdown: CancellationToken) {
    let (listener, slots) = (Arc::new(listener), Arc::new(Semaphore::new(CONNECTIONS)));
    let router = router(view);
    loop {
        let accept = accept(Arc::clone(&listener), router.clone(), Arc::clone(&slots), shutdown.clone());
        // On a task of its own, so that a panic ends there.
        let ended = tokio::spawn(accept).await;
        if shutdown.is_cancelled() {
            return;
        }
        tracing::error!(
            panicked = ended.is_err(),
            "the server on http.listen has failed; it is started again"
        );
        sleep(RESTART).await;
    }
}

fn router(view: View) -> Router {
    let gate = Gate::new(view.options());
    let view = Arc::new(view);
    let metrics = Arc::new(Metrics::new(&view));
    let guarded = Router::new()
        .route("/", get(page::page).with_state(Arc::clone(&view)))
        .route("/metrics", get(metrics::metrics).with_state((Arc::clone(&view), metrics)))
        .route_layer(middleware::from_fn_with_state(gate.clone(), gate::admit));
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(health::ready).with_state((view, gate)))
        .route("/style.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .merge(guarded)
        .layer(middleware::map_response(gate::forbid))
}

async fn accept(
    listener: Arc<TcpListener>,
    router: Router,
    slots: Arc<Semaphore>,
    shutdown: CancellationToken,
) {
    let accept = async {
        loop {
            // Never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = answer(stream, router.clone(), slot);
                    let shutdown = shutdown.clone();
                    tokio::spawn(async move { shutdown.run_until_cancelled(connection).await });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to http.listen was not accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept).await;
}

/// One connection, one request.
async fn answer(stream: TcpStream, router: Router, _slot: OwnedSemaphorePermit) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // What a reader does to his connection is nothing to tell.
    let _ = timeout(CONNECTION_TIME, connection).await;
}
