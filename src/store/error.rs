//! What can go wrong with the database, and whether waiting helps.

use std::path::PathBuf;

/// A database that cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no file.
    #[error(
        "the database {0} does not exist; the daemon creates it at its first start (`tresorpayd run`), or run `tresorpayd migrate`"
    )]
    Missing(PathBuf),
    /// The folder cannot be used.
    #[error("the database's folder {path}: {why}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// Another daemon has it.
    #[error("the database {path} is in use by another tresorpayd: {holder}; one daemon per database")]
    Held {
        /// The database.
        path: PathBuf,
        /// Who, as the lock file says.
        holder: String,
    },
    /// Made for another environment or API.
    #[error(
        "the database {path} belongs to {key} `{found}` and this daemon is set to `{wanted}`; nothing was sent. \
         Give each environment its own database.url, or set {key} back"
    )]
    Foreign {
        /// The database.
        path: PathBuf,
        /// `environment` or `api_origin`.
        key: &'static str,
        /// In the file.
        found: String,
        /// In the settings.
        wanted: String,
    },
    /// It cannot be used for now: its folder's or its own rights, what is missing in it.
    #[error("the database {path} cannot be used: {why}")]
    Schema {
        /// The database.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// It cannot be written, or one of the files beside it.
    #[error("{path} cannot be written: {why}")]
    Access {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// Made by a newer tresorpayd, or by something else.
    #[error("the database {path} cannot be used: {why}. It was not touched")]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// SQLite cannot read it.
    #[error(
        "the database {path} is damaged ({why}); it was not touched. Keep a copy of it and of the -wal beside it; \
         `tresorpayd check` tells more. Then restore a backup, with no -wal and -shm beside it, and run \
         `tresorpayd accept-restore`"
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        why: String,
    },
    /// Its tables do not fit together.
    #[error(
        "the database {path} is not of one piece ({why}): an older file was put back beside the -wal of a newer one, \
         or it is damaged. Nothing was sent and nothing was changed. Stop every program that has it open, put the copy \
         back with no -wal and -shm beside it, then run `tresorpayd accept-restore`"
    )]
    Pieces {
        /// The database.
        path: PathBuf,
        /// How that is known.
        why: String,
    },
    /// It went back in time.
    #[error(
        "the database {path} went back in time ({why}): notices that were emitted since then would be billed again. \
         Nothing leaves before `tresorpayd accept-restore`, which shows first what it would do; or put the newest \
         copy back"
    )]
    WentBack {
        /// The database.
        path: PathBuf,
        /// How that is known.
        why: String,
    },
    /// Its file is no longer the one that was opened.
    #[error(
        "the database {path} was replaced while the daemon ran ({why}); nothing more is sent. Stop the daemon before \
         you restore a copy, then run `tresorpayd check`"
    )]
    Replaced {
        /// The database.
        path: PathBuf,
        /// How that is known.
        why: &'static str,
    },
    /// The mark beside the database.
    #[error(
        "the mark {path}: {error}; the daemon must be able to read and write it and to create it in its folder"
    )]
    Mark {
        /// The mark's file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// A pragma did not take.
    #[error(
        "the database {path} does not keep `{pragma}`: it says `{found}`; it may be on a network file system"
    )]
    Pragma {
        /// The database.
        path: PathBuf,
        /// As asked.
        pragma: &'static str,
        /// As read back.
        found: String,
    },
    /// A row that is not what the schema promises.
    #[error("outbox row {id}: {why}")]
    Row {
        /// `outbox.id`.
        id: i64,
        /// What is wrong.
        why: String,
    },
    /// A rule of the schema or a trigger of an application's refuses this one write; the database takes others.
    #[error("trigger_refused: {0}")]
    Refused(String),
    /// A write that failed for good, in the words of the error that ended the writer.
    #[error("{0}")]
    Failed(String),
    /// The writer has ended.
    #[error("the daemon is stopping")]
    Stopped,
    /// SQLite's own words.
    #[error("database: {0}{advice}", advice = advice(.0))]
    Sqlite(sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl StoreError {
    /// Waiting may help: the database is locked, full or out of reach, or a trigger refuses what was asked.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Sqlite(error) => is_passing(error),
            _ => false,
        }
    }

    /// A rule of the schema, or a trigger, said no.
    pub(super) fn is_constraint(&self) -> bool {
        matches!(self, Self::Sqlite(error) if is_constraint(error))
    }

    /// Starting again changes nothing: somebody has to act on the settings or the file.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Foreign { .. }
            | Self::Unusable { .. }
            | Self::Damaged { .. }
            | Self::Pieces { .. }
            | Self::WentBack { .. } => true,
            Self::Sqlite(error) => is_damage(error),
            Self::Missing(_)
            | Self::Folder { .. }
            | Self::Held { .. }
            | Self::Schema { .. }
            | Self::Access { .. }
            | Self::Replaced { .. }
            | Self::Mark { .. }
            | Self::Pragma { .. }
            | Self::Row { .. }
            | Self::Refused(_)
            | Self::Failed(_)
            | Self::Stopped => false,
        }
    }

    /// Another connection holds the lock.
    pub(super) fn is_locked(&self) -> bool {
        match self {
            Self::Sqlite(error) => primary_code(error).is_some_and(|code| LOCKED.contains(&code)),
            _ => false,
        }
    }
}

/// SQLite's BUSY and LOCKED.
const LOCKED: [i32; 2] = [5, 6];

/// SQLite's primary result codes after which the same statement may succeed later.
const PASSING: [i32; 11] = [
    5,  // BUSY: another connection writes
    6,  // LOCKED
    7,  // NOMEM
    8,  // READONLY: a file system remounted, a mode changed
    9,  // INTERRUPT
    10, // IOERR
    13, // FULL
    14, // CANTOPEN
    15, // PROTOCOL
    17, // SCHEMA
    23, // AUTH
];
const CONSTRAINT: i32 = 19;
/// SQL that cannot be prepared: a table or a column that is not there.
const ERROR: i32 = 1;
const READONLY: i32 = 8;
/// SQLite's CORRUPT and NOTADB.
const DAMAGED: [i32; 2] = [11, 26];

/// The primary result code of a database error.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Waiting may help: locked, full, out of reach, or the connection broke.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolTimedOut => true,
        error => primary_code(error).is_some_and(|code| PASSING.contains(&code)),
    }
}

/// A rule of the schema was broken.
pub(super) fn is_constraint(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(CONSTRAINT)
}

/// The schema does not fit the statement, or a trigger names what is not there.
pub(super) fn is_schema_error(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(ERROR)
}

/// The file's content is not what SQLite wrote.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    primary_code(error).is_some_and(|code| DAMAGED.contains(&code))
}

/// Something would have to be written first.
pub(super) fn is_readonly(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(READONLY)
}

/// What SQLite's words for a damaged file leave out.
fn advice(error: &sqlx::Error) -> &'static str {
    if is_damage(error) {
        "; the file is damaged. Keep a copy of it and of the -wal beside it; `tresorpayd check` tells more. Then restore \
         a backup and run `tresorpayd accept-restore`"
    } else {
        ""
    }
}

/// What keeps a database from taking writes for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Another connection holds the lock.
    Locked,
    /// No room left on the disk.
    Full,
    /// The file, its folder or its file system is read-only.
    ReadOnly,
    /// The disk fails, the file cannot be opened, memory is short.
    Failing,
}

impl Trouble {
    /// The stable code in the log and in `docs/errors.md`.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Locked => "database_locked",
            Self::Full => "database_full",
            Self::ReadOnly => "database_read_only",
            Self::Failing => "database_failing",
        }
    }

    /// What to do.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Locked => "another program holds the write lock, end its transaction",
            Self::Full => "make room on its disk",
            Self::ReadOnly => "the file, its folder or its file system is read-only, make it writable",
            Self::Failing => "look at the disk, and at the rights on the file and its folder",
        }
    }
}

/// What kind of trouble a passing error is.
pub(super) fn trouble(error: &sqlx::Error) -> Trouble {
    match primary_code(error) {
        Some(5 | 6) => Trouble::Locked,
        Some(13) => Trouble::Full,
        Some(8) => Trouble::ReadOnly,
        Some(_) | None => Trouble::Failing,
    }
}
