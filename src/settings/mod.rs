//! Layers of configuration -> validated `Settings`.
//!
//! Three types, in one direction: a `layers::Fragment` is what one source says (`file`, `environment`, `secrets`),
//! `layers::Merged` is what holds for each key and where it came from, [`Settings`] is that, understood. Weak to
//! strong: built-in defaults, file, environment, systemd credentials. All problems are reported at once.

mod choice; // keys that take one word of a few
mod cron; // cron expressions with seconds
mod environment; // TRESORPAYD__SECTION__KEY -> fragment
mod file; // TOML with line numbers -> fragment
mod keys; // the table of every key and its default
mod layers; // fragments and their merge
mod location; // database URL, paths, listen addresses
mod model; // the validated settings
mod problem; // what is wrong, and how values are shown
mod quantity; // durations and sizes
mod reader; // reads merged values by their key's type
mod remote; // validates environment, [api] and [auth]
mod secrets; // systemd credentials and secret files -> fragment
mod validate; // validates the rest and what keys are to each other
mod web; // rules for URLs

use std::fmt;
use std::path::{Path, PathBuf};

pub use choice::{
    ClientAuthentication, Delivery, Environment, LogFormat, LogLevel, OnUncertain, OtherPhoneNumbers,
};
pub use cron::CronSchedule;
pub use file::DEFAULT_FILE;
pub use model::{
    Api, Auth, Callback, Confirm, Credentials, Database, Emit, Http, KeyOrigin, Log, NoticeDefaults, Poll,
    Receipts, Reconcile, Retention, Settings, Shutdown,
};
pub use problem::{Problem, SettingsError};
pub use remote::is_production;
pub use web::is_loopback;

use layers::{Fragment, Merged};

/// What the caller is going to do, and so what must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// Only the database is opened: nothing secret is read, and none is missed.
    Database,
    /// The platform is talked to.
    #[default]
    Everything,
}

/// Where settings are read from. Tests give their own; the process gives [`Sources::from_process`].
#[derive(Clone, Default)]
pub struct Sources {
    /// The configuration file; it must be there. `None`: there is no file.
    pub file: Option<PathBuf>,
    /// Environment variables, name and value; those of others are passed over.
    pub environment: Vec<(String, String)>,
    /// Where systemd put credentials.
    pub credentials_directory: Option<PathBuf>,
    /// What must be there.
    pub need: Need,
}

impl Sources {
    /// The real sources of this process. `config` is the file that the command line names; otherwise
    /// [`DEFAULT_FILE`], if it is there.
    pub fn from_process(config: Option<PathBuf>) -> Self {
        let default = Path::new(DEFAULT_FILE);
        // A file that cannot be looked at is there: reading it then says why not.
        let file = config.or_else(|| default.try_exists().unwrap_or(true).then(|| default.to_owned()));
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|path| !path.is_empty());
        Self {
            file,
            environment: environment::of_process(),
            credentials_directory: credentials.map(PathBuf::from),
            need: Need::Everything,
        }
    }

    /// The same sources for another need.
    #[must_use]
    pub fn needing(self, need: Need) -> Self {
        Self { need, ..self }
    }

    /// What each source says, the weakest first.
    fn fragments(&self) -> Vec<Fragment> {
        let file = self.file.as_deref().map(file::read);
        let environment = environment::read(&self.environment);
        let credentials = match self.need {
            Need::Everything => self.credentials_directory.as_deref().map(secrets::credentials),
            Need::Database => None,
        };
        file.into_iter().chain([environment]).chain(credentials).collect()
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("environment", &names)
            .field("credentials_directory", &self.credentials_directory)
            .field("need", &self.need)
            .finish()
    }
}

impl Settings {
    /// Reads, merges and validates; the error lists every problem found.
    pub fn load(sources: &Sources) -> Result<Self, SettingsError> {
        let fragments = sources.fragments();
        let problems: Vec<_> = fragments.iter().flat_map(|fragment| fragment.problems.clone()).collect();
        if fragments.iter().any(|fragment| fragment.broken) {
            // What a source that cannot be read would have said is unknown: nothing can be called missing.
            return Err(SettingsError { problems });
        }
        let merged = Merged::new(fragments).map_err(|error| {
            let problem = Problem::new("configuration", problem::BUILT_IN, error.to_string());
            SettingsError { problems: vec![problem] }
        })?;
        validate::settings(&merged, problems, sources.need)
    }
}
