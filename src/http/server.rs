//! The server on `http.listen`: its routes, and its restart should it ever fail.

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware, routing::get};
use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{View, gate, gate::Gate, health, metrics, metrics::Metrics, page};
use crate::listen::{self, Bounds};

const BOUNDS: Bounds = Bounds { name: "http.listen", connections: 64, time: Duration::from_secs(15) };
/// After the server has failed.
const RESTART: Duration = Duration::from_secs(1);

/// Answers until `shutdown`. If the server should fail, the log says so and it is started again: the daemon works on.
pub async fn serve(listener: TcpListener, view: View, shutdown: CancellationToken) {
    let (listener, service) = (Arc::new(listener), TowerToHyperService::new(router(view)));
    loop {
        let (listener, service, until) = (Arc::clone(&listener), service.clone(), shutdown.clone());
        // On a task of its own, so that a panic ends there.
        let ended = tokio::spawn(async move { listen::serve(&listener, BOUNDS, service, until).await }).await;
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
