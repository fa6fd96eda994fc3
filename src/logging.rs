//! Where log lines go. Only tresorpayd's own events are shown in full: those of libraries may hold what must not show.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::{Log, LogFormat};

/// Installs the subscriber; the first call wins.
pub fn init(log: &Log) {
    let filter = EnvFilter::new(format!("error,tresorpayd={}", log.level.as_str()));
    let json = matches!(log.format, LogFormat::Json);
    // The journal has its own clock; a terminal or a file has not.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some() && matches!(log.format, LogFormat::Auto);
    let text = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let layer = if json {
        tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr).boxed()
    } else if journal {
        text.without_time().boxed()
    } else {
        text.boxed()
    };
    // A second call, as in tests, leaves the first subscriber in place.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    if matches!(log.format, LogFormat::Journald) {
        tracing::warn!("log.format = journald is not in this version; the log is text on stderr");
    }
}
