//! What every test here uses: the contract's table, and sources made of files and variables of the test's own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tresorpayd::settings::{Need, Problem, Settings, SettingsError, Sources};

/// Every key of the contract, with its default where the contract gives one.
pub(crate) const CONTRACT: &[(&str, Option<&str>)] = &[
    ("environment", Some("sandbox")),
    ("api.base_url", None),
    ("api.connect_timeout", Some("5s")),
    ("api.request_timeout", Some("30s")),
    ("api.proxy", None),
    ("api.ca_file", None),
    ("api.max_concurrency", Some("8")),
    ("api.requests_per_second", Some("20")),
    ("api.retry_first_delay", Some("1s")),
    ("api.retry_max_delay", Some("60s")),
    ("api.breaker_failures", Some("5")),
    ("api.payment_page", None),
    ("auth.token_url", None),
    ("auth.client_id", None),
    ("auth.client_secret", None),
    ("auth.client_secret_file", None),
    ("auth.scope", Some("tresorpay")),
    ("auth.client_authentication", Some("body")),
    ("notice.code_client", None),
    ("notice.code_structure", None),
    ("notice.callback", None),
    ("notice.redirect_url", None),
    ("notice.other_phone_numbers", Some("send")),
    ("database.url", Some("sqlite:///var/lib/tresorpayd/outbox.db")),
    ("database.mark", Some("/var/lib/tresorpayd/outbox.db.mark")),
    ("database.max_wal", Some("1GiB")),
    ("emit.schedule", Some("*/5 * * * * *")),
    ("emit.max_attempts", Some("20")),
    ("emit.on_uncertain", Some("hold")),
    ("emit.settle_after", Some("5m")),
    ("emit.max_uncertain", Some("50")),
    ("poll.schedule", Some("*/15 * * * * *")),
    ("poll.batch_size", Some("100")),
    ("poll.first_delay", Some("30s")),
    ("poll.max_delay", Some("6h")),
    ("poll.give_up_after", Some("365d")),
    ("confirm.delivery", Some("on_command")),
    ("receipts.directory", None),
    ("reconcile.schedule", Some("0 30 2 * * *")),
    ("reconcile.window", Some("30d")),
    ("retention.anonymise_after", None),
    ("http.listen", None),
    ("http.token", None),
    ("callback.listen", None),
    ("callback.public_url", None),
    ("log.level", Some("info")),
    ("log.format", Some("auto")),
    ("shutdown.grace", Some("40s")),
];

/// A place for files, and the sources that use them.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) sources: Sources,
}

impl Bench {
    /// No file, no credentials, and nothing secret needed.
    pub(crate) fn new() -> Self {
        let sources = Sources::default().needing(Need::Database);
        Self { folder: tempfile::tempdir().unwrap(), sources }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn file(mut self, content: &str) -> Self {
        self.sources.file = Some(self.write("config.toml", content));
        self
    }

    /// Sets a key by its environment variable.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.sources.environment.push((variable(key), value.to_owned()));
        self
    }

    pub(crate) fn credential(mut self, name: &str, content: &str) -> Self {
        self.write(&format!("credentials/{name}"), content);
        self.sources.credentials_directory = Some(self.path("credentials"));
        self
    }

    pub(crate) fn everything(mut self) -> Self {
        self.sources.need = Need::Everything;
        self
    }

    pub(crate) fn account(self) -> Self {
        self.everything().set("auth.client_id", "me").set("auth.client_secret", "0012")
    }

    pub(crate) fn load(&self) -> Result<Settings, SettingsError> {
        Settings::load(&self.sources)
    }

    pub(crate) fn good(&self) -> Settings {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.load().unwrap_err().problems
    }

    /// The one problem there is.
    pub(crate) fn problem(&self) -> Problem {
        let mut problems = self.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.remove(0)
    }
}

pub(crate) fn variable(key: &str) -> String {
    format!("TRESORPAYD__{}", key.replace('.', "__").to_uppercase())
}

/// The settings without where they came from.
pub(crate) fn values(settings: &Settings) -> String {
    let text = format!("{settings:#?}");
    text.split("    origins: [").next().unwrap().to_owned()
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
