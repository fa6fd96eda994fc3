//! A folder with a configuration and a database, the binary to run there, and a simulator to run it against.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tresorpayd::simulator::{Config, Simulator, start};

/// Beyond this, something that should have happened did not.
const DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// What the taxpayer of every row is called: it must show nowhere by itself.
pub(crate) const NAME: &str = "Diarra-Secrète";

pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) sim: Simulator,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The exit status must be `code`.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Stdout holds `text`.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.out.contains(text), "`{text}` is not in {self:#?}");
        self
    }

    /// Stderr holds `text`, and stdout nothing.
    #[track_caller]
    pub(crate) fn complains(self, text: &str) -> Self {
        assert!(self.err.contains(text), "`{text}` is not in {self:#?}");
        assert_eq!(self.out, "", "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.err, "", "{self:#?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        assert_eq!(self.err, "", "{self:#?}");
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A `tresorpayd run` that is killed at the end.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    /// A configuration and no database.
    pub(crate) async fn bare() -> Self {
        Self::against(Config::default()).await
    }

    /// The same, with a TresorPay that behaves so.
    pub(crate) async fn against(config: Config) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap(), sim: start(config).await.unwrap() };
        bench.configure(&[]);
        bench
    }

    /// With an empty database.
    pub(crate) async fn new() -> Self {
        let bench = Self::bare().await;
        bench.run(&["migrate"]).exits(0);
        bench
    }

    /// Writes the configuration: the simulator's, and `more` as (`section.key`, TOML value), which may replace it.
    pub(crate) fn configure(&self, more: &[(&str, &str)]) {
        let text = |text: String| format!("{text:?}");
        let mut keys = vec![
            ("environment", text("custom".to_owned())),
            ("api.base_url", text(self.sim.base_url())),
            ("api.retry_first_delay", text("50ms".to_owned())),
            ("auth.token_url", text(self.sim.token_url())),
            ("auth.client_id", text("demo-client".to_owned())),
            ("auth.client_secret", text("demo-secret".to_owned())),
            ("notice.code_client", text("APP-DEMO".to_owned())),
            ("notice.code_structure", text("STR-DEMO".to_owned())),
            ("database.url", text(format!("sqlite://{}", self.database().display()))),
            ("poll.first_delay", text("50ms".to_owned())),
            ("poll.schedule", text("* * * * * *".to_owned())),
        ];
        for (key, value) in more {
            keys.retain(|(known, _)| known != key);
            keys.push((key, (*value).to_owned()));
        }
        let mut toml = String::new();
        for (key, value) in keys {
            writeln!(toml, "{key} = {value}").unwrap();
        }
        std::fs::write(self.config(), toml).unwrap();
        // It holds the secret.
        set_mode(&self.config(), 0o600);
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("outbox.db")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The binary with nothing of this process's environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tresorpayd"));
        command.env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.arg("--config").arg(self.config()).args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not read its input closes it.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// `add -`.
    pub(crate) fn add(&self, entries: &Value) -> Ran {
        self.run_with(&["add", "-"], entries.to_string().as_bytes())
    }

    pub(crate) fn daemon(&self) -> Daemon {
        let log = std::fs::File::create(self.path("daemon.log")).unwrap();
        Daemon(self.command(&["run"]).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// An application's connection.
    pub(crate) async fn application(&self) -> SqliteConnection {
        SqliteConnection::connect_with(&self.options()).await.unwrap()
    }

    /// A connection that may do what the daemon does.
    pub(crate) async fn as_daemon(&self) -> SqliteConnection {
        let options = self.options().collation("use_the_command_table", Ord::cmp);
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(self.database()).busy_timeout(Duration::from_secs(5))
    }

    /// As an application does.
    pub(crate) async fn run_sql(&self, sql: &'static str) {
        sqlx::query(sql).execute(&mut self.application().await).await.unwrap();
    }

    /// The one number that `sql` gives.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        let row: (i64,) = sqlx::query_as(sql).fetch_one(&mut self.application().await).await.unwrap();
        row.0
    }

    /// Waits until the row has this status.
    pub(crate) async fn until(&self, reference: &str, status: &str) {
        let start = Instant::now();
        let mut conn = self.application().await;
        loop {
            let row: Option<(String,)> = sqlx::query_as("SELECT status FROM outbox WHERE reference = ?1")
                .bind(reference)
                .fetch_optional(&mut conn)
                .await
                .unwrap();
            if row.as_ref().is_some_and(|row| row.0 == status) {
                return;
            }
            let log = std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default();
            assert!(start.elapsed() < DEADLINE, "{reference} is {row:?}, not {status}\n{log}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until a daemon holds the database.
    pub(crate) async fn until_running(&self) {
        let start = Instant::now();
        loop {
            let status = self.run(&["status", "--json"]);
            if status.code == 0 && status.json()["daemon"]["running"] == true {
                return;
            }
            let log = std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default();
            assert!(start.elapsed() < DEADLINE, "{status:?}\n{log}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// A valid entry of 1000 XOF.
pub(crate) fn entry(reference: &str) -> Value {
    json!({
        "reference": reference,
        "net_total": 1000,
        "tax_payer": {"name": NAME, "phoneNumber": "+223 70 00 00 01"},
        "items": [{"name": "Timbre", "quantity": 2, "unitPrice": 500, "codeNatureRecette": "71531"}],
    })
}

/// `entry(reference)` with one field set.
pub(crate) fn with(reference: &str, field: &str, value: Value) -> Value {
    let mut entry = entry(reference);
    entry[field] = value;
    entry
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
