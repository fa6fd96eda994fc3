//! Where log lines go: the journal with its fields where there is one, else text or JSON on stderr. Only tresorpayd's own
//! events are shown in full: those of libraries may hold what must not show.

use std::{ffi::OsStr, io, io::IsTerminal, os::fd::AsFd};

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::{Log, LogFormat};

/// What systemd sets for a process whose output is the journal's: device and inode of that stream.
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";
/// Before the names of an event's own fields in the journal: `outbox_id` is `TRESORPAYD_OUTBOX_ID`.
const FIELD_PREFIX: &str = "TRESORPAYD";
/// `journalctl -t tresorpayd`, whatever the file is called.
const IDENTIFIER: &str = "tresorpayd";

/// As syslog and every other program in the journal has them.
const PRIORITIES: PriorityMappings = PriorityMappings {
    error: Priority::Error,
    warn: Priority::Warning,
    info: Priority::Informational,
    debug: Priority::Debug,
    trace: Priority::Debug,
};

type Sink = Box<dyn Layer<Registry> + Send + Sync>;

/// Installs the subscriber; the first call wins.
pub fn init(log: &Log) {
    let (sink, fallback) = sink(log.format);
    let filter = EnvFilter::new(format!("error,tresorpayd={}", log.level.as_str()));
    // A second call, as in tests, leaves the first subscriber in place.
    let _ = tracing_subscriber::registry().with(sink.with_filter(filter)).try_init();
    if let Some(error) = fallback {
        tracing::warn!(%error, "the journal cannot be reached; the log is text on stderr");
    }
}

/// Where lines go, and why not to the journal if they should.
fn sink(format: LogFormat) -> (Sink, Option<io::Error>) {
    let under_journal = stderr_is_the_journal();
    match format {
        LogFormat::Json => (tracing_subscriber::fmt::layer().json().with_writer(io::stderr).boxed(), None),
        LogFormat::Text => (text(under_journal), None),
        LogFormat::Auto if !under_journal => (text(false), None),
        LogFormat::Auto | LogFormat::Journald => match tracing_journald::layer() {
            Ok(journal) => {
                let journal = journal
                    .with_field_prefix(Some(FIELD_PREFIX.to_owned()))
                    .with_syslog_identifier(IDENTIFIER.to_owned())
                    .with_priority_mappings(PRIORITIES);
                (journal.boxed(), None)
            }
            Err(error) => (text(under_journal), Some(error)),
        },
    }
}

/// The journal has its own clock; a terminal or a file has not.
fn text(under_journal: bool) -> Sink {
    let text = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal());
    if under_journal { text.without_time().boxed() } else { text.boxed() }
}

/// Whether what is written to stderr goes to the journal. The variable alone does not tell: a child whose output was
/// redirected inherits it.
fn stderr_is_the_journal() -> bool {
    std::env::var_os(JOURNAL_STREAM).is_some_and(|stream| is_stream(&stream, io::stderr()))
}

fn is_stream(stream: &OsStr, file: impl AsFd) -> bool {
    rustix::fs::fstat(file)
        .is_ok_and(|stat| stream.to_str() == Some(&*format!("{}:{}", stat.st_dev, stat.st_ino)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_stream_is_known_by_device_and_inode() {
        let file = tempfile::tempfile().unwrap();
        let meta = file.metadata().unwrap();
        let name = format!("{}:{}", meta.dev(), meta.ino());
        assert!(is_stream(OsStr::new(&name), &file));
        for other in [format!("{}:{}", meta.dev(), meta.ino() + 1), String::new(), "8:".to_owned()] {
            assert!(!is_stream(OsStr::new(&other), &file), "{other}");
        }
    }
}
