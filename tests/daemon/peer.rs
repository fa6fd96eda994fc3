//! A platform that answers what the simulator never would: written for one test each, on loopback.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, routing::post};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::harness::World;

/// What its token endpoint grants.
pub(crate) const GRANTED: &str = "tok-0123456789abcdefghijklmnopqrstuvwxyz";

/// A running platform; it ends when dropped.
pub(crate) struct Peer {
    task: JoinHandle<()>,
}

impl Peer {
    /// Serves `api` below `/api` and a token endpoint, and has the daemons of `world` use it.
    pub(crate) async fn start(world: &mut World, api: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let token =
            || async { Json(json!({"access_token": GRANTED, "expires_in": 300, "token_type": "Bearer"})) };
        let router = Router::new().route("/token", post(token)).nest("/api", api);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        world.set("api.base_url", &format!("{origin}/api")).set("auth.token_url", &format!("{origin}/token"));
        Self { task }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a platform was asked, in order.
pub(crate) type Asked = Arc<Mutex<Vec<Value>>>;
