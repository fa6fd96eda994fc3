//! What both plays need: the simulator, the real daemon on a database, and a place for its log. The daemon is opened
//! and run as `tresorpayd run` does, its settings read and validated the same way; they are only shorter.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{DemoError, KEPT_PORT, Options, earlier::Earlier};
use crate::{
    app::{App, AppError, binding},
    settings::{Settings, Sources},
    simulator::{Config, Simulator, StartError, Taxpayers, start},
};

/// What the demo sets; everything else is as it comes. Seconds where an administration would have minutes.
const SETTINGS: [(&str, &str); 11] = [
    ("ENVIRONMENT", "custom"),
    ("API__CONNECT_TIMEOUT", "1s"),
    // An answer that is lost is seen to be lost while somebody watches.
    ("API__REQUEST_TIMEOUT", "3s"),
    ("API__RETRY_FIRST_DELAY", "250ms"),
    ("API__RETRY_MAX_DELAY", "2s"),
    ("EMIT__SCHEDULE", "* * * * * *"),
    ("POLL__SCHEDULE", "* * * * * *"),
    ("POLL__FIRST_DELAY", "800ms"),
    ("POLL__MAX_DELAY", "10s"),
    ("LOG__LEVEL", "info"),
    ("SHUTDOWN__GRACE", "5s"),
];
/// Name of each variable of the configuration.
const PREFIX: &str = "TRESORPAYD__";
/// What is logged: libraries only when they fail, and without their data.
const LOG_FILTER: &str = "error,tresorpayd=info";
/// Name of the log in the temporary directory.
const LOG_FILE: &str = "daemon.log";
/// Name of the temporary outbox.
const TEMPORARY_FILE: &str = "outbox.db";
/// As far away as a server in the same town.
const LATENCY: [Duration; 2] = [Duration::from_millis(15), Duration::from_millis(60)];
/// Decides who pays, who cancels and who does nothing: the same in every demo.
const SEED: u64 = 2580;

/// Who pays in the play of `demo`: most, some cancel, some wait.
const TAXPAYERS_OF_THE_SCRIPT: Crowd = Crowd { pay: 0.8, cancel: 0.08, after: [1_500, 4_000] };
/// Who pays in `demo --keep`: everybody, because a developer waits for it.
const TAXPAYERS_OF_KEEP: Crowd = Crowd { pay: 1.0, cancel: 0.0, after: [2_000, 6_000] };

struct Crowd {
    pay: f64,
    cancel: f64,
    /// Milliseconds between the emission and what they do.
    after: [u64; 2],
}

impl Crowd {
    fn taxpayers(&self) -> Taxpayers {
        let [min, max] = self.after.map(Duration::from_millis);
        let after = (min..=max).into();
        Taxpayers { pay_share: self.pay, pay_after: after, cancel_share: self.cancel, cancel_after: after }
    }
}

/// How long after its emission a notice of the script may still be paid or canceled by its taxpayer.
pub(super) fn last_act() -> Duration {
    Duration::from_millis(TAXPAYERS_OF_THE_SCRIPT.after[1])
}

/// The simulator, the daemon, the files.
pub(super) struct Stage {
    pub(super) simulator: Simulator,
    pub(super) daemon: Daemon,
    pub(super) database: PathBuf,
    pub(super) earlier: Earlier,
    folder: TempDir,
}

impl Stage {
    /// Starts everything. A kept file is looked at before anything listens or writes.
    pub(super) async fn open(options: &Options) -> Result<Self, DemoError> {
        let folder =
            tempfile::Builder::new().prefix("tresorpayd-demo-").tempdir().map_err(DemoError::Folder)?;
        log_to(&folder.path().join(LOG_FILE)).map_err(DemoError::Folder)?;
        let kept = options.kept_file();
        let database = match &kept {
            Some(file) => whole_path(file)?,
            None => folder.path().join(TEMPORARY_FILE),
        };
        let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port.map_or(0, NonZeroU16::get)));
        let mut earlier = Earlier::default();
        if kept.is_some() {
            address.set_port(options.port.unwrap_or(KEPT_PORT).get());
            earlier = Earlier::at(&database, &binding(&settings(address, &database)?)).await?;
        }
        let crowd = if options.keep { &TAXPAYERS_OF_KEEP } else { &TAXPAYERS_OF_THE_SCRIPT };
        let simulator = start(Config {
            listen: address,
            seed: SEED,
            // Never again a reference that the file may hold.
            first_number: earlier.attempts + 1,
            latency: (LATENCY[0]..=LATENCY[1]).into(),
            taxpayers: crowd.taxpayers(),
            ..Config::default()
        })
        .await
        .map_err(not_started)?;
        let app = App::open(settings(simulator.address(), &database)?).await?;
        Ok(Self { simulator, daemon: Daemon::start(app), database, earlier, folder })
    }

    /// Where the daemon logs.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.path().join(LOG_FILE)
    }

    /// Leaves the temporary directory where it is; the log in it.
    pub(super) fn keep_log(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.log()
    }
}

/// The path from the root, as `database.url` takes it.
fn whole_path(file: &Path) -> Result<PathBuf, DemoError> {
    let wrong = |why: String| DemoError::Path { path: file.to_owned(), why };
    let name = file.file_name().ok_or_else(|| wrong("it names no file".to_owned()))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|error| wrong(format!("its folder: {error}")))?;
    let whole = folder.join(name);
    match whole.to_str() {
        Some(text) if !text.contains(|c: char| c.is_control() || "?#%".contains(c)) => Ok(whole),
        _ => Err(wrong("its path must be UTF-8 without ?, #, % and control characters".to_owned())),
    }
}

fn not_started(error: StartError) -> DemoError {
    match error {
        StartError::Bind { address, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
            DemoError::PortTaken { address }
        }
        error => DemoError::Simulator(error),
    }
}

/// Settings of the daemon, read as those of a real one, and from nowhere else: a demo on a production machine must not
/// meet that machine's configuration.
fn settings(simulator: SocketAddr, database: &Path) -> Result<Settings, DemoError> {
    let origin = format!("http://{simulator}");
    let defaults = Config::default();
    let own = [
        ("API__BASE_URL", format!("{origin}/api/public/v1")),
        ("AUTH__TOKEN_URL", format!("{origin}/realms/tresorpay/protocol/openid-connect/token")),
        // Else HTTP_PROXY would be asked for a loopback address. A proxy may be the server itself: then there is none.
        ("API__PROXY", origin),
        ("AUTH__CLIENT_ID", defaults.client_id),
        ("AUTH__CLIENT_SECRET", defaults.client_secret),
        ("NOTICE__CODE_CLIENT", defaults.code_client),
        ("NOTICE__CODE_STRUCTURE", defaults.code_structure),
        ("DATABASE__URL", format!("sqlite:{}", database.display())),
    ];
    let fixed = SETTINGS.map(|(key, value)| (key, value.to_owned()));
    let environment =
        fixed.into_iter().chain(own).map(|(key, value)| (format!("{PREFIX}{key}"), value)).collect();
    Ok(Settings::load(&Sources { environment, ..Sources::default() })?)
}

/// The log goes to a file: on the screen it would disturb the picture, and only a failure makes it worth reading.
fn log_to(path: &Path) -> std::io::Result<()> {
    let log = tracing_subscriber::fmt()
        .with_writer(Mutex::new(File::create_new(path)?))
        .with_ansi(false)
        .with_target(false)
        .with_env_filter(EnvFilter::new(LOG_FILTER));
    // A second demo in one process, as in tests, goes on with the first one's log.
    let _ = log.try_init();
    Ok(())
}

/// The daemon's task.
pub(super) struct Daemon {
    task: Option<JoinHandle<Result<(), AppError>>>,
    shutdown: CancellationToken,
}

impl Daemon {
    fn start(app: App) -> Self {
        let shutdown = CancellationToken::new();
        Self { task: Some(tokio::spawn(app.run(shutdown.clone()))), shutdown }
    }

    /// Returns only if the daemon ends, which it must not.
    pub(super) async fn ended(&mut self) -> DemoError {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        let ended = task.await;
        self.task = None;
        match ended {
            Ok(Ok(())) => DemoError::DaemonEnded("nobody asked for it".to_owned()),
            Ok(Err(error)) => DemoError::Daemon(error),
            Err(error) => DemoError::DaemonEnded(error.to_string()),
        }
    }

    /// Ends it as SIGTERM does: nothing more is claimed, what is under way is finished and recorded.
    pub(super) async fn stop(&mut self) -> Result<(), DemoError> {
        self.shutdown.cancel();
        match self.task.take() {
            Some(task) => Ok(task.await.map_err(|error| DemoError::DaemonEnded(error.to_string()))??),
            None => Ok(()),
        }
    }
}
