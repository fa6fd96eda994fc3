//! What `http.listen` serves: `/healthz`, `/readyz`, `/metrics` and a read-only status page. It looks at the daemon and
//! never touches it: reads go through a connection of its own, are bounded in time, and are shared by all who ask within a
//! second. If it fails, the daemon works on.

mod gate; // who may read, and what every answer forbids a browser
mod health; // ready, or why not
mod metrics; // the instruments and the outbox in Prometheus's format
mod page; // the status page
mod server; // connections within bounds
mod view; // the daemon and its outbox as they were a moment ago

use std::net::SocketAddr;

use secrecy::SecretString;
use tokio::net::TcpListener;

use crate::{
    auth::Auth,
    pace::Pace,
    settings::{CronSchedule, Settings},
    store::{Writer, inspect::Inspect},
    tresorpay::ServerClock,
};

pub use server::serve;
pub use view::View;

/// What is looked at.
pub struct Sources {
    /// Its instruments, and whether the database takes writes.
    pub writer: Writer,
    /// A connection of its own to the database.
    pub inspect: Inspect,
    /// Where the token stands.
    pub auth: Auth,
    /// What holds requests back, and what became of them.
    pub pace: Pace,
    /// This machine's clock against TresorPay's.
    pub clock: ServerClock,
    /// What of the settings is shown or judged by.
    pub options: HttpOptions,
}

/// What is needed of the settings.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// `http.token`
    pub token: Option<SecretString>,
    /// `environment`
    pub environment: &'static str,
    /// `database.max_wal`, in bytes.
    pub max_wal: u64,
    /// `emit.max_uncertain`
    pub max_uncertain: u32,
    /// `reconcile.schedule`
    pub reconcile: CronSchedule,
}

impl HttpOptions {
    /// As the settings say.
    pub fn new(settings: &Settings) -> Self {
        Self {
            token: settings.http.token.clone(),
            environment: settings.environment.as_str(),
            max_wal: settings.database.max_wal,
            max_uncertain: settings.emit.max_uncertain,
            reconcile: settings.reconcile.schedule.clone(),
        }
    }
}

/// Listens on `http.listen`.
pub async fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(listen).await
}

/// Looks for the first time, so that everything from here on is counted.
pub async fn open(sources: Sources) -> View {
    View::begin(sources).await
}
