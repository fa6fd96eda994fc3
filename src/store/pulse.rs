//! When the workers last looked, where `status` finds it: in the lease's file, not in the database. A daemon with nothing to
//! do commits nothing, so that nobody who watches the database is woken.

use std::{
    fmt::Write as _,
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::lease::{MAX_HOLDER, lock_file};
use crate::clock::Timestamp;

/// However often they look, it is written no more often than this.
const INTERVAL: Duration = Duration::from_secs(60);

/// Who looks for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The emission worker, for rows to emit.
    Emission,
    /// The poll worker, for notices to ask about.
    Polling,
}

impl Look {
    const ALL: [Self; 2] = [Self::Emission, Self::Polling];

    const fn name(self) -> &'static str {
        match self {
            Self::Emission => "emission",
            Self::Polling => "polling",
        }
    }
}

/// Notes when a worker looked; cheap to clone. The default one notes nothing.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    /// The lease's file, for as long as the lease is held, and where what is written begins.
    file: Weak<File>,
    start: u64,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    at: [Option<Timestamp>; Look::ALL.len()],
    written: Option<Instant>,
}

impl Pulse {
    /// Writes into `file` from `start` on.
    pub(super) fn new(file: &Arc<File>, start: u64) -> Self {
        Self { file: Arc::downgrade(file), start, seen: Arc::default() }
    }

    /// A worker has looked, at `now`, and the database answered.
    pub fn beat(&self, look: Look, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let first = seen.at[look as usize].replace(now).is_none();
        if !first && seen.written.is_some_and(|written| written.elapsed() < INTERVAL) {
            return;
        }
        seen.written = Some(Instant::now());
        if let Some(file) = self.file.upgrade()
            && let Err(error) = file.write_all_at(seen.text().as_bytes(), self.start)
        {
            tracing::debug!(%error, "when the workers last looked cannot be written");
        }
    }
}

impl Seen {
    /// Of the same length each time: a name, a time.
    fn text(&self) -> String {
        let mut text = String::new();
        for look in Look::ALL {
            let at = self.at[look as usize].map(|at| at.to_string()).unwrap_or_default();
            let _ = writeln!(text, "{} {at:24}", look.name());
        }
        text
    }
}

/// When the worker of the daemon that holds `database`, or held it last, looked; true to a minute. `None`: nobody knows.
pub fn last_look(database: &Path, look: Look) -> Option<Timestamp> {
    let mut bytes = vec![0; usize::try_from(MAX_HOLDER).ok()?];
    let length = File::open(lock_file(database)).ok()?.read_at(&mut bytes, 0).ok()?;
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(look.name()))?;
    Timestamp::parse(line.trim())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::store::{
        Lease,
        inspect::{DaemonState, daemon_state},
    };

    #[test]
    fn the_last_look_is_seen_and_written_seldom() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("outbox.db");
        let lease = Lease::take(&database).unwrap();
        let pulse = lease.pulse();
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let (first, second) = (at("2026-11-24T09:48:00.000Z"), at("2026-11-24T09:48:05.000Z"));
        assert_eq!(last_look(&database, Look::Emission), None);
        pulse.beat(Look::Emission, first);
        assert_eq!(last_look(&database, Look::Emission), Some(first));
        assert_eq!(last_look(&database, Look::Polling), None);
        pulse.beat(Look::Polling, second);
        assert_eq!(last_look(&database, Look::Polling), Some(second), "the first look is told at once");
        let modified = || std::fs::metadata(lock_file(&database)).unwrap().modified().unwrap();
        let before = modified();
        for _ in 0..1_000 {
            pulse.beat(Look::Emission, second);
        }
        assert_eq!(
            (modified(), last_look(&database, Look::Emission)),
            (before, Some(first)),
            "once a minute"
        );

        let DaemonState::Running(holder) = daemon_state(&database) else { panic!("the lease is held") };
        assert!(holder.starts_with("pid ") && holder.lines().count() == 1, "{holder}");
        drop(lease);
        // The pulse of a lease that is given back holds nothing and writes nothing.
        pulse.beat(Look::Emission, at("2026-11-24T10:48:00.000Z"));
        assert_eq!(daemon_state(&database), DaemonState::Stopped);
        assert_eq!(last_look(&database, Look::Emission), Some(first), "told of a daemon that has ended");
        let lease = Lease::take(&database).unwrap();
        assert_eq!(last_look(&database, Look::Emission), None, "a new daemon has not looked yet");
        drop(lease);
    }
}
