//! Clock steps: the daemon runs under libfaketime, where there is one, and reads how wrong its clock is from a file. Only
//! wall-clock time is faked; time-outs go by the monotonic clock.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where Debian's package `faketime` puts it.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];
/// After the faults the clock is so far beyond the latest that it ever showed: nothing waits for a time that a step
/// took back.
const BEYOND: i64 = 3600;

/// The clock of the daemons.
#[derive(Debug)]
pub(crate) struct Clock {
    preloaded: Option<&'static str>,
    offset: PathBuf,
    latest: i64,
}

impl Clock {
    /// A clock that is right.
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        let preloaded = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
        let mut clock = Self { preloaded, offset: folder.join("clock"), latest: 0 };
        clock.step(0)?;
        Ok(clock)
    }

    /// Whether it can be stepped.
    pub(crate) fn steps(&self) -> bool {
        self.preloaded.is_some()
    }

    /// Shows so many seconds more than the true time, in running daemons within a second.
    pub(crate) fn step(&mut self, seconds: i64) -> anyhow::Result<()> {
        self.latest = self.latest.max(seconds);
        let new = self.offset.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}s"))?;
        Ok(std::fs::rename(new, &self.offset)?)
    }

    /// Later than it ever showed.
    pub(crate) fn settle(&mut self) -> anyhow::Result<()> {
        if self.latest == 0 { self.step(0) } else { self.step(self.latest + BEYOND) }
    }

    /// Puts a daemon under this clock.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Some(library) = self.preloaded {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", &self.offset)
                .env("FAKETIME_CACHE_DURATION", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("FAKETIME_DISABLE_SHM", "1")
                .env("NO_FAKE_STAT", "1");
        }
    }
}
