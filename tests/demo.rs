//! `tresorpayd demo` as a person or a pipe sees it: the real binary, its output, its exit status, and its database
//! through connections of another process.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tresorpayd::store::{Binding, migrate_only};

/// Beyond this, something that should have happened did not.
const DEADLINE: Duration = Duration::from_secs(30);

/// The binary at work; what it says comes line by line.
struct Demo {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    errors: Option<JoinHandle<String>>,
    temporary: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tresorpayd"))
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", temporary.path())
            // None of this may reach the demo: the configuration of the machine's own daemon, a proxy that is not there.
            .env("TRESORPAYD__ENVIRONMENT", "production")
            .envs(["HTTP_PROXY", "http_proxy", "HTTPS_PROXY"].map(|name| (name, "http://127.0.0.1:9")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self { child, lines, said: Vec::new(), errors: Some(errors), temporary }
    }

    /// Waits for a line that holds all of `words`.
    fn wait_for(&mut self, words: &[&str]) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(error) => panic!("no line with {words:?}: {error}\n{}", self.said.join("\n")),
            }
            let line = self.said.last().unwrap();
            if words.iter().all(|word| line.contains(word)) {
                return line.clone();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits for the end: exit status, standard output, standard error. Nothing temporary may be left.
    fn end(mut self) -> (ExitStatus, String, String) {
        let deadline = Instant::now() + DEADLINE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.said.push(line);
        }
        let status = self.child.wait().unwrap();
        let errors = self.errors.take().unwrap().join().unwrap();
        let left = std::fs::read_dir(self.temporary.path()).unwrap().count();
        let said = self.said.join("\n");
        assert_eq!(left, 0, "temporary files are left\n{said}\n{errors}");
        (status, said, errors)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It has ended already, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A table of the closing: from the first column to the others, the thousands of amounts put together.
fn table(output: &str, title: &str) -> BTreeMap<String, Vec<String>> {
    let head = format!("│ {title} ");
    output
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .take_while(|line| !line.starts_with('└'))
        .filter(|line| line.starts_with('│'))
        .skip(1)
        .map(|line| {
            let mut cells = line.trim_matches('│').split('┆').map(|cell| cell.trim().replace(' ', ""));
            (cells.next().unwrap(), cells.collect())
        })
        .collect()
}

fn numbers(cells: &[String]) -> Vec<i64> {
    cells.iter().filter_map(|cell| cell.parse().ok()).collect()
}

#[test]
fn the_whole_job_is_shown_and_adds_up() {
    let started = Instant::now();
    let (status, output, errors) = Demo::start(&[]).end();
    assert!(status.success() && errors.is_empty(), "{status}\n{output}\n{errors}");
    assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    assert!(!output.contains(|c: char| c.is_control() && c != '\n'), "{output:?}");

    let inserted: BTreeSet<&str> = output
        .lines()
        .filter(|line| line.contains("  PENDING  "))
        .filter_map(|line| line.split_whitespace().nth(2))
        .collect();
    assert_eq!(inserted.len(), 36, "{inserted:?}");
    for words in [
        "outbox: net_total must equal the sum of quantity * unitPrice over items",
        "no such collation sequence: use_the_command_table",
        "EMITTING → REJECTED   refused: HTTP 400, error.STRUCTURE_NOT_FOUND: La structure n'existe pas",
        "UNCERTAIN             timed_out: ",
        "ON CONFLICT (reference) DO NOTHING\n            0 rows",
        "Établissements Traoré & Frères",
        "✓ 35 notices in TresorPay's ledger: each exactly once, each amount equal.",
    ] {
        assert!(output.contains(words), "{words}\n{output}");
    }
    let providers = ["ORANGE_MONEY", "MOOV_MONEY", "SAMA_MONEY", "WAVE", "CARD"];
    assert!(providers.iter().all(|name| output.contains(name)), "{output}");

    let by_status = table(&output, "Outbox");
    let all = numbers(&by_status["all"]);
    let sums = by_status.iter().filter(|(name, _)| *name != "all").map(|(_, cells)| numbers(cells));
    assert_eq!(sums.fold(vec![0, 0], |sum, row| vec![sum[0] + row[0], sum[1] + row[1]]), all, "{output}");
    assert_eq!(all[0], 36);
    for (status, count) in [("REJECTED", 1), ("UNCERTAIN", 1), ("CANCELED", 2)] {
        assert_eq!(numbers(&by_status[status])[0], count, "{output}");
    }
    assert!(numbers(&by_status["PAID"])[0] >= 20, "{output}");

    let by_side = table(&output, "This run");
    for (name, cells) in &by_side {
        let [outbox, outbox_amount, ledger, ledger_amount] = numbers(cells)[..] else { panic!("{output}") };
        assert_eq!(
            (outbox, outbox_amount, cells[4].as_str()),
            (ledger, ledger_amount, "="),
            "{name}\n{output}"
        );
    }
    assert_eq!(by_side["-paid"][..2], by_status["PAID"][..]);
    assert_eq!(by_side["-outstanding"][..2], by_status["EMITTED"][..]);
    assert_eq!(by_side["-indoubt"][..2], by_status["UNCERTAIN"][..]);
    let billed: i64 =
        ["-paid", "-outstanding", "-indoubt"].iter().map(|name| numbers(&by_side[*name])[1]).sum();
    assert_eq!(billed, numbers(&by_side["billed"])[1]);
}

/// A port that is free now.
fn free_port() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// Runs one statement as another program does: connects, commits, leaves.
async fn elsewhere(database: &Path, statement: &str) {
    let options = SqliteConnectOptions::new().filename(database).busy_timeout(DEADLINE);
    let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

/// Whether another process holds a lock on the database's main file. By that a SQLite before 3.51 knows, as it closes the
/// database, that it is not the last one there. All locks of a process are gone once it closes any descriptor of the file.
fn is_held(database: &Path) -> bool {
    let file = std::fs::File::options().read(true).write(true).open(database).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
}

/// The statement of the sqlite3 command that is printed for copying.
fn printed_insert(said: &[String]) -> String {
    let text = said.join("\n");
    let (_, command) = text.split_once("sqlite3 -cmd").unwrap();
    command.split('"').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn what_another_program_inserts_is_paid_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("l'été.db");
    let port = free_port();
    let arguments = ["--keep", "--database", database.to_str().unwrap(), "--port", &port];
    let mut demo = Demo::start(&arguments);
    demo.wait_for(&["until Ctrl-C"]);
    let insert = printed_insert(&demo.said);
    elsewhere(&database, &insert).await;
    demo.wait_for(&["SQL-", "PENDING", "15 000", "Aïssata Keïta"]);
    elsewhere(&database, &insert.replace("'SQL-' ||", "'TWO-' ||")).await;
    demo.wait_for(&["TWO-", "PENDING"]);
    assert!(
        is_held(&database),
        "a program with an old SQLite would take the WAL away when it closes the database"
    );
    elsewhere(&database, &insert.replace("'SQL-' ||", "'THREE-' ||")).await;
    let mut paid = BTreeSet::new();
    while paid.len() < 3 {
        let line = demo.wait_for(&["  PAID  ", "15 000"]);
        paid.insert(line.split_whitespace().nth(1).unwrap().split_once('-').unwrap().0.to_owned());
    }
    assert_eq!(paid, ["SQL", "THREE", "TWO"].map(str::to_owned).into());
    demo.signal(Signal::TERM);
    let (status, output, errors) = demo.end();
    assert!(status.success() && errors.is_empty(), "{status}\n{output}\n{errors}");
    assert!(output.contains("✓ 3 notices in TresorPay's ledger"), "{output}");

    let options = SqliteConnectOptions::new().filename(&database).read_only(true);
    let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
    let kept: (i64, i64) = sqlx::query_as(
        "SELECT count(*), sum(net_total) FROM outbox WHERE status = 'PAID' AND provider IS NOT NULL",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(kept, (3, 45_000));
    conn.close().await.unwrap();

    let mut again = Demo::start(&arguments);
    again.wait_for(&["Rows of earlier runs: 3, of which 3 were sent."]);
    again.wait_for(&["until Ctrl-C"]);
    elsewhere(&database, &insert.replace("'SQL-' ||", "'FOUR-' ||")).await;
    again.wait_for(&["FOUR-", "EMITTED", ".AR4"]);
    again.signal(Signal::INT);
    let (status, output, errors) = again.end();
    assert!(status.success() && errors.is_empty(), "{status}\n{output}\n{errors}");
    assert!(output.contains("✓ 1 notice in TresorPay's ledger"), "{output}");
}

#[test]
fn control_c_stops_the_script_and_leaves_nothing() {
    let mut demo = Demo::start(&[]);
    demo.wait_for(&["  PAID  "]);
    demo.signal(Signal::INT);
    let (status, output, errors) = demo.end();
    assert!(status.success() && errors.is_empty(), "{status}\n{output}\n{errors}");
    assert!(output.contains("Stopped before the end.") && output.contains("each exactly once"), "{output}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut demo = Demo::start(&[]);
    demo.wait_for(&["PATENTE-0101", "PENDING"]);
    // The receiver gone, the thread that reads standard output ends and closes it.
    demo.lines = channel().1;
    let (status, _, errors) = demo.end();
    assert!(status.success() && errors.is_empty(), "{status}\n{errors}");
}

/// Name and content of everything in a folder, save the marks of who reads.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| !name.ends_with("-shm"))
        .collect()
}

#[tokio::test]
async fn what_is_no_demo_s_file_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = folder.path().join("sandbox.db");
    let binding = Binding {
        environment: "sandbox".to_owned(),
        api_origin: "https://recette.tresorpay.finances.ml".to_owned(),
    };
    migrate_only(&sandbox, &binding).await.unwrap();
    let foreign = folder.path().join("shop.db");
    let options = SqliteConnectOptions::new().filename(&foreign).create_if_missing(true);
    let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("CREATE TABLE sale (id INTEGER PRIMARY KEY)").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "not a database").unwrap();
    let before = content(folder.path());

    let port = free_port();
    for (file, why) in [
        (&sandbox, "environment `sandbox` at https://recette.tresorpay.finances.ml"),
        (&foreign, "it holds no outbox of tresorpayd"),
        (&text, "it is not an SQLite database"),
        (&folder.path().to_owned(), "it is no file"),
    ] {
        let file = file.to_str().unwrap();
        for arguments in
            [vec!["--database", file, "--port", &port], vec!["--keep", "--database", file, "--port", &port]]
        {
            let (status, output, errors) = Demo::start(&arguments).end();
            assert_eq!(status.code(), Some(78), "{output}\n{errors}");
            assert!(errors.contains(why) && output.is_empty(), "{output}\n{errors}");
        }
    }
    assert_eq!(content(folder.path()), before);
}

#[test]
fn a_port_in_use_is_named_and_no_file_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.db");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    let (status, output, errors) =
        Demo::start(&["--keep", "--database", file.to_str().unwrap(), "--port", &port]).end();
    assert_eq!(status.code(), Some(1), "{output}\n{errors}");
    assert!(errors.contains(&format!("{address} is in use")) && errors.contains("--port"), "{errors}");
    assert!(content(folder.path()).is_empty());
}
