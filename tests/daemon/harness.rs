//! The world of one test: a folder, a simulator, settings, daemons, and the application's connection to the database.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write,
    fs::File,
    os::unix::process::ExitStatusExt,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{LocalBoxFuture, join_all},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tresorpayd::simulator::{self, Config, OnDuplicate, Simulator};

use crate::rows::Application;

/// Beyond this, something that should have happened did not; generous, since tests share two cores.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// What the simulated token endpoint knows.
pub(crate) const SECRET: &str = "demo-secret";

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    until_within(DEADLINE, what, condition).await;
}

/// Waits until `condition` holds, at most this long.
pub(crate) async fn until_within(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain until {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Watches `condition` hold for all of `time`: for what must not happen.
pub(crate) async fn holds_for(time: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(condition().await, "after {:?} it is no longer so that {what}", start.elapsed());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// One case of a table: its name, and what is done.
pub(crate) type Case<'a> = (String, LocalBoxFuture<'a, ()>);

/// Runs the cases of a table side by side, each in a world of its own, and names those that fail.
pub(crate) async fn each<'a>(cases: impl IntoIterator<Item = Case<'a>>) {
    let run = async |(name, case): Case<'a>| (name, AssertUnwindSafe(case).catch_unwind().await.is_ok());
    let ended = join_all(cases.into_iter().map(run)).await;
    let failed: Vec<_> = ended.into_iter().filter(|(_, well)| !well).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "failed, see above: {failed:#?}");
}

/// A case for [`each`].
pub(crate) fn case<'a>(name: impl Into<String>, case: impl Future<Output = ()> + 'a) -> Case<'a> {
    (name.into(), case.boxed_local())
}

/// Everything that a daemon meets.
pub(crate) struct World {
    pub(crate) sim: Simulator,
    pub(crate) dir: TempDir,
    settings: BTreeMap<String, String>,
    /// A shell command before the program, such as `umask 000;`.
    pub(crate) before: &'static str,
    /// More of the program's environment.
    pub(crate) environment: BTreeMap<&'static str, OsString>,
    /// Where the database lies, if not in the world's own folder.
    pub(crate) folder: Option<PathBuf>,
}

impl World {
    /// With a simulator that answers at once and would bill a repeated reference a second time.
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    /// With a simulator of this configuration; a repeated reference makes a second notice, so that none goes unseen.
    pub(crate) async fn with(config: Config) -> Self {
        Self::on(Config { on_duplicate: OnDuplicate::Create, ..config }).await
    }

    /// With a simulator of exactly this configuration.
    pub(crate) async fn on(config: Config) -> Self {
        let sim = simulator::start(config).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (settings, environment) = (BTreeMap::new(), BTreeMap::new());
        let mut world = Self { settings, sim, dir, before: "", environment, folder: None };
        let (base_url, token_url) = (world.sim.base_url(), world.sim.token_url());
        let database = format!("sqlite://{}", world.database().display());
        for (key, value) in [
            ("environment", "custom"),
            ("api.base_url", &base_url),
            ("auth.token_url", &token_url),
            ("auth.client_id", "demo-client"),
            ("auth.client_secret", SECRET),
            ("notice.code_client", "APP-DEMO"),
            ("notice.code_structure", "STR-DEMO"),
            ("database.url", &database),
            ("api.request_timeout", "10s"),
            ("api.requests_per_second", "0"),
            ("api.retry_first_delay", "200ms"),
            ("api.retry_max_delay", "1s"),
            ("emit.schedule", "* * * * * *"),
            ("poll.schedule", "* * * * * *"),
            ("poll.first_delay", "1s"),
            ("poll.max_delay", "1s"),
            ("log.level", "debug"),
            ("shutdown.grace", "20s"),
        ] {
            world.set(key, value);
        }
        world
    }

    /// Changes one setting for the daemons to come.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> &mut Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Leaves a setting to its default.
    pub(crate) fn unset(&mut self, key: &str) -> &mut Self {
        self.settings.remove(key);
        self
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.as_deref().unwrap_or(self.dir.path()).join("outbox.db")
    }

    /// Starts a daemon and waits until it says that it is ready.
    pub(crate) async fn start(&self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.ready().await;
        daemon
    }

    /// Starts a daemon that may refuse to run.
    pub(crate) fn spawn(&self) -> Daemon {
        let number = fastrand::u64(..);
        let file = |kind: &str| self.dir.path().join(format!("{kind}.{number:016x}"));
        let socket = UnixDatagram::bind(file("notify")).unwrap();
        let config = file("config.toml");
        // The secret comes by the environment, the rest by the file.
        std::fs::write(&config, self.toml()).unwrap();
        let mut command = if self.before.is_empty() {
            Command::new(env!("CARGO_BIN_EXE_tresorpayd"))
        } else {
            let mut shell = Command::new("/bin/sh");
            let line = format!("{} exec \"$0\" \"$@\"", self.before);
            shell.arg("-c").arg(line).arg(env!("CARGO_BIN_EXE_tresorpayd"));
            shell
        };
        command
            .args(["run", "--config"])
            .arg(&config)
            .env_clear()
            .env("NOTIFY_SOCKET", file("notify"))
            .envs(&self.environment)
            .envs(
                self.settings
                    .get("auth.client_secret")
                    .map(|secret| ("TRESORPAYD__AUTH__CLIENT_SECRET", secret)),
            )
            .stdin(Stdio::null())
            .stdout(File::create(file("stdout")).unwrap())
            .stderr(File::create(file("stderr")).unwrap());
        let child = command.spawn().unwrap();
        Daemon { child, socket, output: vec![file("stdout"), file("stderr")] }
    }

    /// Another command of the program, with the daemons' settings: its exit status and all that it printed.
    pub(crate) async fn run(&self, args: &[&str]) -> (i32, String) {
        let config = self.dir.path().join("command.toml");
        std::fs::write(&config, self.toml()).unwrap();
        let secret = self.settings.get("auth.client_secret");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tresorpayd"));
        command
            .arg("--config")
            .arg(&config)
            .args(args)
            .env_clear()
            .envs(secret.map(|secret| ("TRESORPAYD__AUTH__CLIENT_SECRET", secret)))
            .stdin(Stdio::null());
        // The simulators of this thread go on meanwhile.
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code().unwrap(), text.concat())
    }

    fn toml(&self) -> String {
        let mut sections = BTreeMap::<&str, String>::new();
        for (name, value) in self.settings.iter().filter(|(name, _)| *name != "auth.client_secret") {
            let (section, key) = name.split_once('.').unwrap_or(("", name));
            let value = toml_value(value);
            writeln!(sections.entry(section).or_default(), "{key} = {value}").unwrap();
        }
        let mut toml = sections.remove("").unwrap_or_default();
        for (section, lines) in sections {
            write!(toml, "[{section}]\n{lines}").unwrap();
        }
        toml
    }

    /// The application's connection; the database must be there.
    pub(crate) async fn application(&self) -> Application {
        Application::open(&self.database()).await
    }

    /// How many requests TresorPay was sent for cancels.
    pub(crate) fn cancels(&self) -> u64 {
        self.sim.counters().requests(simulator::Operation::Cancel)
    }

    /// How many requests TresorPay was sent for emissions.
    pub(crate) fn emissions(&self) -> u64 {
        self.sim.counters().requests(simulator::Operation::Emit)
    }
}

/// Whole numbers stay numbers, all else is text.
fn toml_value(value: &str) -> String {
    if value.parse::<u64>().is_ok() { value.to_owned() } else { serde_json::Value::from(value).to_string() }
}

/// One process of the real program.
pub(crate) struct Daemon {
    child: Child,
    socket: UnixDatagram,
    output: Vec<PathBuf>,
}

impl Daemon {
    /// Waits for `READY=1`, as systemd does.
    pub(crate) async fn ready(&mut self) {
        let mut message = [0; 1024];
        let start = Instant::now();
        loop {
            if let Ok(length) = self.socket.try_recv(&mut message) {
                if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1") {
                    return;
                }
                continue;
            }
            assert_eq!(
                self.child.try_wait().unwrap(),
                None,
                "it ended instead of being ready:\n{}",
                self.log()
            );
            assert!(start.elapsed() < DEADLINE, "it is not ready after {DEADLINE:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What it told systemd since the last look, line by line.
    pub(crate) fn told(&self) -> Vec<String> {
        let mut message = [0; 1024];
        let mut lines = Vec::new();
        while let Ok(length) = self.socket.try_recv(&mut message) {
            lines.extend(String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned));
        }
        lines
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Whether the process is still there.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`, and its end.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.ended(DEADLINE).await, Err(9), "killed by another signal");
    }

    /// SIGTERM, and an orderly end, not only once `shutdown.grace` is over.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended(DEADLINE).await, Ok(0), "it did not end in order:\n{}", self.log());
        assert!(!self.log().contains("shutdown.grace is over"), "{}", self.log());
    }

    /// Waits for its end: the exit status, or the signal that ended it.
    pub(crate) async fn ended(&mut self, within: Duration) -> Result<i32, i32> {
        until_within(within, "the daemon ends", async || !self.runs()).await;
        let status = self.child.wait().unwrap();
        status.code().ok_or_else(|| status.signal().unwrap())
    }

    /// Everything it wrote to stdout and stderr so far.
    pub(crate) fn log(&self) -> String {
        self.output.iter().map(|path| read_lossy(path)).collect()
    }
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon {} said:\n{}---", self.child.id(), self.log());
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
