//! Why the demo could not be shown, in words that say what to do.

use std::{net::SocketAddr, path::PathBuf};

use crate::{app::AppError, settings::SettingsError, simulator::StartError, store::StoreError};

/// Why the demo ended without its closing picture.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No temporary directory, or no log in it.
    #[error("temporary directory")]
    Folder(#[source] std::io::Error),
    /// The file's path cannot stand in a database URL, or its folder is not there.
    #[error("--database {path}: {why}")]
    Path {
        /// As it was given.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What the demo sets is refused.
    #[error("the demo's own settings")]
    Settings(#[from] SettingsError),
    /// The file is there and holds something else.
    #[error(
        "--database {path}: {why}; it was not touched. Give the demo a file of its own; it is created if missing"
    )]
    NotAnOutbox {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// An outbox that belongs to another TresorPay.
    #[error(
        "--database {path}: it belongs to environment `{environment}` at {origin}, and this demo is `custom` at {wanted}; \
         it was not touched. {advice}"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Of the file.
        environment: String,
        /// Of the file.
        origin: String,
        /// Of this demo.
        wanted: String,
        /// What to do.
        advice: String,
    },
    /// Another program listens there.
    #[error(
        "{address} is in use by another program (another demo, or `tresorpayd simulator`?): end it, or choose another --port"
    )]
    PortTaken {
        /// Where the simulator was to listen.
        address: SocketAddr,
    },
    /// The simulator did not start.
    #[error(transparent)]
    Simulator(StartError),
    /// The daemon did not start, or did not end well.
    #[error(transparent)]
    Daemon(#[from] AppError),
    /// The daemon ended while it was needed.
    #[error("the daemon ended: {0}")]
    DaemonEnded(String),
    /// The database of the demo.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A statement of the demo's own.
    #[error("database")]
    Sqlite(#[from] sqlx::Error),
    /// A statement that must be refused was carried out.
    #[error("the database took what it must refuse: {0}")]
    Accepted(String),
    /// Standard output is gone or full.
    #[error("standard output")]
    Output(#[from] std::io::Error),
}

impl DemoError {
    /// Starting again changes nothing: exit status 78.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Settings(_) | Self::Path { .. } | Self::NotAnOutbox { .. } | Self::Foreign { .. } => true,
            Self::Daemon(error) => error.is_configuration(),
            Self::Folder(_)
            | Self::PortTaken { .. }
            | Self::Simulator(_)
            | Self::DaemonEnded(_)
            | Self::Store(_)
            | Self::Sqlite(_)
            | Self::Accepted(_)
            | Self::Output(_) => false,
        }
    }

    /// Whoever read the output has gone, as in `tresorpayd demo | head`: no fault of anybody.
    pub fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}
