//! The service as systemd knows it: whether it is installed, as whom it runs, how it gets its secret. Asked of `systemctl`,
//! so that drop-ins count. A machine without systemd is no fault.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{Finding, within};
use crate::{cli::output::counted, settings::Settings};

/// The service's unit.
const UNIT: &str = "tresorpayd.service";
/// Where systemd puts the credentials of a running service.
const RUNNING_CREDENTIALS: &str = "/run/credentials/tresorpayd.service";
/// Where systemd looks for credentials that are named without a path.
const CREDENTIAL_STORES: [&str; 3] = ["/etc/credstore", "/run/credstore", "/usr/lib/credstore"];
/// What is asked of systemd. `SetCredential` is not: it holds the secret itself.
const PROPERTIES: &str =
    "LoadState,UnitFileState,ActiveState,SubState,MainPID,User,Group,Type,WatchdogUSec,TimeoutStopUSec";
/// How long systemd may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// What systemd says of the service.
#[derive(Debug)]
pub(super) enum Service {
    /// Nobody could be asked; why.
    Unasked(String),
    /// There is no such unit.
    NotInstalled,
    /// There is.
    Installed(Unit),
}

/// The unit with its drop-ins.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    properties: HashMap<String, String>,
    /// (credential, where it is loaded from).
    loads: Vec<(String, String)>,
    /// A secret stands in the unit itself.
    sets_secret: bool,
}

impl Service {
    /// Asks systemd.
    pub(super) async fn look() -> Self {
        let asked = tokio::task::spawn_blocking(|| {
            let properties = systemctl(&["show", UNIT, "--property", PROPERTIES])?;
            // `show` cannot print what it loads in every version.
            let source = systemctl(&["cat", UNIT]).unwrap_or_default();
            Ok(Unit::read(&properties, &source))
        });
        match tokio::time::timeout(LIMIT, asked).await {
            Ok(Ok(Ok(unit))) if unit.property("LoadState") == "not-found" => Self::NotInstalled,
            Ok(Ok(Ok(unit))) => Self::Installed(unit),
            Ok(Ok(Err(why))) => Self::Unasked(why),
            Ok(Err(error)) => Self::Unasked(error.to_string()),
            Err(_) => Self::Unasked(format!("systemctl does not answer {}", within(LIMIT))),
        }
    }

    /// The unit, if it is installed.
    pub(super) fn unit(&self) -> Option<&Unit> {
        match self {
            Self::Installed(unit) => Some(unit),
            Self::NotInstalled | Self::Unasked(_) => None,
        }
    }

    /// The folder of the service's own credentials, where this process may read it: what systemd gave to the running
    /// service, else the files that the unit names, if they are called as the credentials are.
    pub(super) fn credentials_directory(&self) -> Option<PathBuf> {
        let running = Path::new(RUNNING_CREDENTIALS);
        if running.read_dir().is_ok() {
            return Some(running.to_owned());
        }
        self.unit()?.credentials_directory()
    }

    /// Everything that is said of the service itself.
    pub(super) fn findings(&self, settings: &Settings) -> Vec<Finding> {
        match self {
            Self::Unasked(why) => vec![Finding::skip("systemd", format!("not asked: {why}"))],
            Self::NotInstalled => vec![Finding::skip(
                "systemd",
                format!("{UNIT} is not installed: nothing starts the daemon when this machine starts"),
            )],
            Self::Installed(unit) => unit.findings(settings),
        }
    }
}

impl Unit {
    fn read(properties: &str, source: &str) -> Self {
        let pairs = properties.lines().filter_map(|line| line.split_once('='));
        let properties = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut unit = Self { properties, ..Self::default() };
        for (key, value) in source.lines().filter_map(|line| line.trim().split_once('=')) {
            match key.trim() {
                "LoadCredential" | "LoadCredentialEncrypted" => {
                    let (name, path) = value.trim().split_once(':').unwrap_or((value.trim(), ""));
                    unit.loads.push((name.to_owned(), path.to_owned()));
                }
                "SetCredential" => unit.sets_secret |= value.trim().starts_with("client_secret:"),
                _ => {}
            }
        }
        unit
    }

    fn property(&self, name: &str) -> &str {
        self.properties.get(name).map_or("", String::as_str)
    }

    /// As whom the service runs; systemd's own default is root.
    pub(super) fn user(&self) -> &str {
        match self.property("User") {
            "" => "root",
            user => user,
        }
    }

    /// Its main process, while it runs.
    pub(super) fn main_pid(&self) -> Option<u32> {
        self.property("MainPID").parse().ok().filter(|pid| *pid != 0)
    }

    /// Whether the unit hands the secret over, as the documentation advises.
    pub(super) fn loads_secret(&self) -> bool {
        self.loads.iter().any(|(name, _)| name == "client_secret")
    }

    /// The files that the secret may be loaded from, in clear.
    pub(super) fn secret_files(&self) -> impl Iterator<Item = PathBuf> {
        self.loads
            .iter()
            .filter(|(name, _)| name == "client_secret")
            .flat_map(|(name, path)| places(name, path))
    }

    fn credentials_directory(&self) -> Option<PathBuf> {
        let is_ours = |name: &str| name == "client_id" || name == "client_secret";
        let mut folders = self.loads.iter().filter(|(name, _)| is_ours(name)).filter_map(|(name, path)| {
            let file = places(name, path).into_iter().find(|file| std::fs::File::open(file).is_ok())?;
            let ours = [name.clone(), format!("tresorpayd.{name}")];
            ours.iter()
                .any(|ours| file.file_name().is_some_and(|file| file == ours.as_str()))
                .then(|| file.parent().map(Path::to_owned))?
        });
        let first = folders.next()?;
        folders.all(|folder| folder == first).then_some(first)
    }

    fn findings(&self, settings: &Settings) -> Vec<Finding> {
        let mut findings = vec![self.state()];
        if self.sets_secret {
            findings.push(Finding::fail(
                "systemd",
                format!("SetCredential= in {UNIT} holds client_secret, and every user may read the unit"),
                "put the secret into a file that only root reads, and use LoadCredential=",
            ));
        }
        findings.push(self.watchdog());
        findings.extend(self.stop(settings));
        findings
    }

    fn state(&self) -> Finding {
        let (enabled, active) = (self.property("UnitFileState"), self.property("ActiveState"));
        let pid = self.main_pid().map_or(String::new(), |pid| format!(", pid {pid}"));
        let loads = self.loads.len();
        let loads = counted(i64::try_from(loads).unwrap_or(i64::MAX), "credential", "credentials");
        let detail = format!(
            "{UNIT} is {enabled}, {active} ({}){pid}, as {}; it loads {loads}",
            self.property("SubState"),
            self.user()
        );
        let starts_itself = ["enabled", "enabled-runtime", "static", "linked", "alias", "generated"];
        match active {
            "failed" => Finding::fail("systemd", detail, format!("journalctl -u {UNIT} -n 50 tells why")),
            _ if !starts_itself.contains(&enabled) => {
                Finding::warn("systemd", detail, format!("systemctl enable --now {UNIT}"))
            }
            "active" | "activating" | "reloading" => Finding::ok("systemd", detail),
            _ => Finding::warn("systemd", detail, format!("systemctl start {UNIT}")),
        }
    }

    fn watchdog(&self) -> Finding {
        let (kind, every) = (self.property("Type"), self.property("WatchdogUSec"));
        match (kind, time_span(every)) {
            ("notify" | "notify-reload", Some(span)) if !span.is_zero() => Finding::ok(
                "watchdog",
                format!("Type={kind}, WatchdogSec={every}: a daemon that hangs is started again"),
            ),
            _ => Finding::warn(
                "watchdog",
                format!("Type={kind}, WatchdogSec={every}: nobody notices a daemon that hangs"),
                "Type=notify and WatchdogSec=60 in the unit",
            ),
        }
    }

    /// A stop that is cut short leaves requests that nobody knows the end of.
    fn stop(&self, settings: &Settings) -> Option<Finding> {
        let limit = time_span(self.property("TimeoutStopUSec"))?;
        let grace = settings.shutdown.grace;
        (limit <= grace).then(|| {
            Finding::warn(
                "systemd",
                format!(
                    "TimeoutStopSec={} is not longer than shutdown.grace ({} s)",
                    limit.as_secs(),
                    grace.as_secs()
                ),
                format!(
                    "TimeoutStopSec={} in the unit, or a stop may leave UNCERTAIN rows",
                    grace.as_secs() + 20
                ),
            )
        })
    }
}

/// Where systemd looks for the credential `name` that a unit loads from `path`.
fn places(name: &str, path: &str) -> Vec<PathBuf> {
    if path.starts_with('/') {
        return vec![PathBuf::from(path)];
    }
    let file = if path.is_empty() { name } else { path };
    CREDENTIAL_STORES.iter().map(|store| Path::new(store).join(file)).collect()
}

/// What `systemctl` prints, or why it prints nothing.
fn systemctl(args: &[&str]) -> Result<String, String> {
    let mut command = Command::new("systemctl");
    command.args(["--no-pager", "--no-ask-password"]).args(args).stdin(Stdio::null());
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no systemctl on this machine".to_owned(),
        _ => format!("systemctl: {error}"),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let first = words.lines().next().unwrap_or("it failed without a word").trim();
    Err(first.trim_end_matches('.').to_owned())
}

/// `1min 30s` as systemd writes it; `None`: no limit, or unreadable.
fn time_span(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("month", 2_629_800.0),
        ("min", 60.0),
        ("ms", 0.001),
        ("us", 0.000_001),
        ("h", 3600.0),
        ("d", 86_400.0),
        ("s", 1.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    for part in text.split_whitespace() {
        let (number, scale) =
            UNITS.iter().find_map(|(unit, scale)| Some((part.strip_suffix(unit)?, scale)))?;
        seconds += number.parse::<f64>().ok()? * scale;
    }
    (!text.trim().is_empty()).then_some(Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_as_systemd_writes_them() {
        let seconds = |text| time_span(text).map(|span| span.as_secs_f64());
        assert_eq!(seconds("1min 30s"), Some(90.0));
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("1h"), Some(3600.0));
        assert_eq!(seconds("0"), Some(0.0));
        for text in ["infinity", "", "soon"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_that_is_loaded_is_told_from_one_that_stands_in_the_unit() {
        let unit = Unit::read(
            "User=tresorpayd\nMainPID=0\n",
            "[Service]\nLoadCredential=client_secret:/etc/x/client_secret\n",
        );
        assert!(unit.loads_secret() && !unit.sets_secret);
        assert_eq!((unit.user(), unit.main_pid()), ("tresorpayd", None));
        let unit =
            Unit::read("User=\nMainPID=7\n", "SetCredential=client_secret:top\nLoadCredential=client_id\n");
        assert!(unit.sets_secret && !unit.loads_secret());
        assert_eq!((unit.user(), unit.main_pid()), ("root", Some(7)));
        assert!(!format!("{unit:?}").contains("top"));
    }
}
