//! A simulator, a folder, and what a daemon needs to know, as the README tells a reader to set them up.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Beyond this, something that should have happened did not; generous, since tests share two cores.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What `examples/sandbox.sh` says of the account.
const CLIENT_ID: &str = "my-application";
const SECRET: &str = "only-in-this-test";
const CODE_CLIENT: &str = "APP-001";
const CODE_STRUCTURE: &str = "DGI-01";

/// The program.
pub(crate) fn tresorpayd() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_tresorpayd")))
}

/// Without anything of this machine's own settings or proxies.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let upper = name.to_string_lossy().to_ascii_uppercase();
        if upper.starts_with("TRESORPAYD_") || upper.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A child that does not outlive its test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs to the end, or fails at the deadline.
pub(crate) fn run(mut command: Command) -> Output {
    let shown = format!("{command:?}");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Running(child);
    let (stdout, stderr) = (child.0.stdout.take().unwrap(), child.0.stderr.take().unwrap());
    let (stdout, stderr) = (reader(stdout), reader(stderr));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < DEADLINE, "after {DEADLINE:?} this still runs: {shown}");
        sleep(LOOK_EVERY);
    };
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn reader(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Standard output, and both for a failure.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let both = format!("{}\n{stdout}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    (stdout, both)
}

/// A simulated TresorPay and an empty folder.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    addresses: Value,
    _simulator: Running,
}

impl World {
    /// With taxpayers who pay this share of the notices, at once.
    pub(crate) fn new(pay_share: &str) -> Self {
        let mut simulator = tresorpayd();
        simulator
            .args(["simulator", "--json", "--listen", "127.0.0.1:0", "--pay-share", pay_share])
            .args(["--pay-after", "300ms", "--latency", "5ms", "--client-id", CLIENT_ID])
            .args(["--code-client", CODE_CLIENT, "--code-structure", CODE_STRUCTURE])
            .env("TRESORPAYD_SIMULATOR_SECRET", SECRET)
            .stdout(Stdio::piped());
        let mut simulator = Running(simulator.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(simulator.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addresses = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        Self { folder, addresses, _simulator: simulator }
    }

    fn address(&self, key: &str) -> &str {
        self.addresses[key].as_str().unwrap_or_else(|| panic!("no {key} in {}", self.addresses))
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("outbox.db")
    }

    /// What differs from the sandbox: the addresses, and haste.
    pub(crate) fn in_place_of_the_sandbox(&self, command: &mut Command) {
        command.current_dir(self.folder.path()).envs([
            ("TRESORPAYD__ENVIRONMENT", "custom"),
            ("TRESORPAYD__API__BASE_URL", self.address("base_url")),
            ("TRESORPAYD__AUTH__TOKEN_URL", self.address("token_url")),
            ("TRESORPAYD__POLL__SCHEDULE", "* * * * * *"),
            ("TRESORPAYD__POLL__FIRST_DELAY", "1s"),
        ]);
    }

    fn configure(&self, command: &mut Command) {
        self.in_place_of_the_sandbox(command);
        command
            .env("TRESORPAYD__AUTH__CLIENT_ID", CLIENT_ID)
            .env("TRESORPAYD__AUTH__CLIENT_SECRET_FILE", self.folder.path().join("secret"))
            .env("TRESORPAYD__NOTICE__CODE_CLIENT", CODE_CLIENT)
            .env("TRESORPAYD__NOTICE__CODE_STRUCTURE", CODE_STRUCTURE)
            .env("TRESORPAYD__DATABASE__URL", format!("sqlite://{}", self.database().display()));
    }

    /// A daemon, after the database was made.
    pub(crate) fn daemon(&self) -> Running {
        let mut migrate = tresorpayd();
        self.configure(migrate.arg("migrate"));
        let (_, both) = texts(&run(migrate));
        assert!(self.database().exists(), "{both}");
        let mut daemon = tresorpayd();
        self.configure(daemon.arg("run"));
        let log = std::fs::File::create(self.folder.path().join("daemon.log")).unwrap();
        Running(daemon.stderr(log).spawn().unwrap())
    }

    /// How many notices TresorPay has for this client reference.
    pub(crate) fn billed(&self, reference: &str) -> usize {
        let base = self.address("base_url");
        let host = base.strip_prefix("http://").unwrap().split('/').next().unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET /_simulator/ledger HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}")).1;
        let ledger: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
        let notices = ledger["notices"].as_array().unwrap_or_else(|| panic!("no notices in {ledger}"));
        assert!(!notices.is_empty());
        let key = "client_reference";
        assert!(notices[0][key].is_string(), "no {key} in {}", notices[0]);
        notices.iter().filter(|notice| notice[key] == reference).count()
    }
}

/// Whether a program is there and does this.
pub(crate) fn can(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// `PATH` with the program's own folder first.
pub(crate) fn path() -> std::ffi::OsString {
    let folder = Path::new(env!("CARGO_BIN_EXE_tresorpayd")).parent().unwrap().to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&others))).unwrap()
}
