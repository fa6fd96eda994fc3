//! `tresorpayd run` as a child: its configuration, its start as systemd sees it, its CPU time, its end.

use std::{
    fs::File,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Utc};

use super::{
    machine,
    notices::{CODE_CLIENT, CODE_STRUCTURE},
    peer::{Addresses, CLIENT_ID, CLIENT_SECRET},
};

/// `api.max_concurrency` of every measurement.
pub(crate) const CONCURRENCY: usize = 32;
/// A daemon that is not ready by then, or not gone, never will be.
const DEADLINE: Duration = Duration::from_mins(1);
/// Between looks at a daemon that is starting or ending.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines of the log that an error shows.
const LOG_TAIL: usize = 15;

/// When the daemon asks what became of its notices.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Polling {
    /// Not while anything else is measured.
    Never,
    /// Rows are due at once, and the schedule is far away.
    DueLater,
    /// Whatever is due, every second.
    EverySecond,
    /// By the built-in schedule; rows are due after hours.
    ByDefault,
}

/// A database and its daemon's configuration, in a folder of its own.
#[derive(Clone, Debug)]
pub(crate) struct Installation {
    folder: PathBuf,
}

impl Installation {
    /// Writes the configuration; there is no database yet.
    pub(crate) fn new(folder: &Path, peer: &Addresses, polling: Polling) -> anyhow::Result<Self> {
        let installation = Self { folder: folder.to_owned() };
        installation.configure(peer, polling)?;
        Ok(installation)
    }

    /// Writes the configuration again.
    pub(crate) fn configure(&self, peer: &Addresses, polling: Polling) -> anyhow::Result<()> {
        let (schedule, first_delay) = match polling {
            Polling::Never => ("0 0 0 1 1 *", "6h"),
            Polling::DueLater => ("0 0 0 1 1 *", "1s"),
            Polling::EverySecond => ("* * * * * *", "1s"),
            Polling::ByDefault => ("*/15 * * * * *", "6h"),
        };
        let config = format!(
            r#"
environment = "custom"
[api]
base_url = "{base_url}"
payment_page = "{origin}/public/init-paiement"
max_concurrency = {CONCURRENCY}
requests_per_second = 0
[auth]
token_url = "{token_url}"
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"
[notice]
code_client = "{CODE_CLIENT}"
code_structure = "{CODE_STRUCTURE}"
[database]
url = "sqlite://{database}"
[poll]
schedule = "{schedule}"
first_delay = "{first_delay}"
"#,
            base_url = peer.base_url,
            origin = peer.origin,
            token_url = peer.token_url,
            database = self.database().display(),
        );
        Ok(std::fs::write(self.config(), config)?)
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join("outbox.db")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("daemon.log")
    }

    /// Lets the daemon make its database.
    pub(crate) fn create_database(&self) -> anyhow::Result<()> {
        Daemon::start(self, None)?.stop()
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    /// From its start to READY=1.
    pub(crate) ready_after: Duration,
    /// When it was ready.
    pub(crate) ready_at: DateTime<Utc>,
}

impl Daemon {
    /// Starts `tresorpayd run` and waits until it tells systemd that it is ready.
    pub(crate) fn start(installation: &Installation, core: Option<usize>) -> anyhow::Result<Self> {
        // A socket's path is short by law, and a target directory's is not.
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("notify");
        let told = UnixDatagram::bind(&socket)?;
        told.set_read_timeout(Some(LOOK_EVERY))?;
        let log = installation.log();
        let stderr = File::options().append(true).create(true).open(&log)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_tresorpayd"));
        command
            .args(["run", "--config"])
            .arg(installation.config())
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stderr(stderr);
        let started = Instant::now();
        let child = machine::spawn_on(core, &mut command).context("tresorpayd")?;
        let mut daemon = Self { child, log, ready_after: Duration::ZERO, ready_at: Utc::now() };
        let mut message = [0; 4096];
        loop {
            if let Ok(length) = told.recv(&mut message)
                && String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1")
            {
                daemon.ready_after = started.elapsed();
                daemon.ready_at = Utc::now();
                return Ok(daemon);
            }
            daemon.still_runs()?;
            ensure!(started.elapsed() < DEADLINE, "tresorpayd is not ready{}", daemon.log_tail());
        }
    }

    /// An error, with the log's end, if it has ended.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("tresorpayd ended with {status}{}", self.log_tail()),
        }
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time so far, its start included.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        machine::cpu_time(self.child.id())
    }

    /// Sends SIGTERM and waits for a clean end.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.still_runs()?;
        machine::terminate(self.child.id())?;
        let asked = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("tresorpayd ended with {status}{}", self.log_tail()),
                None => ensure!(asked.elapsed() < DEADLINE, "tresorpayd does not end{}", self.log_tail()),
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The last lines of the log, for an error.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("; its log ends:\n{}", lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Only does something where a measurement failed: `stop` has waited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
