//! Checks of the database: where it lies, who may read it, what it is, whether it is sound.

use super::Finding;
use crate::{
    app::binding,
    cli::output::{printable, size},
    settings::Settings,
    store::{
        StoreError,
        inspect::{
            DaemonState, FileState, Inspect, MarkState, SchemaState, daemon_state, foreign_mark,
            usable_folder,
        },
    },
};

/// Every check of the database, as far as it can be opened.
pub(super) async fn check(settings: &Settings) -> Vec<Finding> {
    let (path, mark) = (&settings.database.path, &settings.database.mark);
    if let Err(error) = usable_folder(path) {
        return vec![Finding::error("database", &error)];
    }
    let inspect = match Inspect::open(path).await {
        Ok(inspect) => inspect,
        Err(StoreError::Missing(_)) => return missing(settings),
        Err(error) => return vec![Finding::error("database", &error)],
    };
    let mut findings = files(&inspect, settings);
    findings.push(daemon(settings));
    findings.push(schema(&inspect).await);
    findings.push(journal(&inspect).await);
    findings.push(environment(&inspect, settings).await);
    findings.push(soundness(&inspect).await);
    findings.push(history(&inspect).await);
    findings.push(match inspect.mark(mark).await {
        Ok(MarkState::Level(last)) => {
            Finding::ok("mark", format!("level with the database (attempt {last})"))
        }
        Ok(MarkState::NotYet) => Finding::ok("mark", "none yet, and nothing was ever sent"),
        Ok(MarkState::WentBack(why)) => went_back(&why),
        Err(error) => Finding::error("mark", &error),
    });
    findings
}

fn went_back(why: &str) -> Finding {
    Finding::fail(
        "mark",
        format!("the database went back in time: {why}"),
        "the daemon does not start: put the newest copy back, or run `tresorpayd accept-restore`, which shows first what \
         it would do",
    )
}

fn missing(settings: &Settings) -> Vec<Finding> {
    let path = settings.database.path.display();
    let mut findings = vec![Finding::warn(
        "database",
        format!("{path} does not exist yet"),
        "the daemon creates it at its first start; `tresorpayd migrate` does it now",
    )];
    findings.extend(match foreign_mark(&settings.database.mark) {
        Ok(MarkState::WentBack(why)) => Some(went_back(&why)),
        Ok(MarkState::Level(_) | MarkState::NotYet) => None,
        Err(error) => Some(Finding::error("mark", &error)),
    });
    findings
}

fn files(inspect: &Inspect, settings: &Settings) -> Vec<Finding> {
    let files = match inspect.files() {
        Ok(files) => files,
        Err(error) => return vec![Finding::error("database", &error)],
    };
    let Some((database, others)) = files.split_first() else { return missing(settings) };
    let wal = others.iter().find(|file| file.path.as_os_str().as_encoded_bytes().ends_with(b"-wal"));
    let wal_size = wal.map_or(0, |file| file.size);
    let sizes = format!("{}, {}, WAL {}", database.path.display(), size(database.size), size(wal_size));
    let max_wal = settings.database.max_wal;
    let first = if wal_size > max_wal {
        let remedy = format!(
            "above database.max_wal ({}): end the process that keeps a read transaction open",
            size(max_wal)
        );
        Finding::fail("database", sizes, remedy)
    } else {
        Finding::ok("database", sizes)
    };
    let mut findings = vec![first];
    findings.extend(files.iter().filter(|file| file.open_to_others()).map(open_to_others));
    findings.extend(
        others.iter().filter(|file| shuts_out_owner(file, database)).map(|file| other_owner(file, database)),
    );
    if findings.len() == 1 {
        let (mode, owner, group) = (database.mode, database.owner, database.group);
        findings.push(Finding::ok(
            "access",
            format!("mode {mode:04o}, user {owner}, group {group}; closed to others"),
        ));
    }
    findings
}

fn open_to_others(file: &FileState) -> Finding {
    let path = file.path.display();
    let detail = format!("{path} has mode {:04o}: every user of this machine may get at it", file.mode);
    Finding::fail("access", detail, format!("chmod o= {path}"))
}

/// Whoever opens the database first makes the files beside it; the daemon may then be locked out.
fn shuts_out_owner(file: &FileState, database: &FileState) -> bool {
    let by_group = file.group == database.group && file.mode & 0o060 == 0o060;
    file.owner != database.owner && !by_group
}

fn other_owner(file: &FileState, database: &FileState) -> Finding {
    let path = file.path.display();
    let (owner, group) = (database.owner, database.group);
    let detail = format!("{path} belongs to user {}, the database to user {owner}", file.owner);
    Finding::warn("access", detail, format!("chown {owner}:{group} {path}, and chmod g+s its folder"))
}

fn daemon(settings: &Settings) -> Finding {
    match daemon_state(&settings.database.path) {
        DaemonState::Running(holder) => Finding::ok("daemon", format!("running, {}", printable(&holder))),
        DaemonState::Stopped => Finding::ok("daemon", "not running"),
        DaemonState::Unknown(why) => {
            Finding::warn("daemon", why, "run this as the daemon's user or in its group")
        }
    }
}

async fn schema(inspect: &Inspect) -> Finding {
    match inspect.schema().await {
        Ok(SchemaState::Current(version)) => Finding::ok("schema", format!("version {version}")),
        Ok(SchemaState::Older { found, wanted }) => Finding::warn(
            "schema",
            format!("version {found}; this program's is {wanted}"),
            "the daemon's next start brings it up; `tresorpayd migrate` does it now",
        ),
        Ok(SchemaState::Unusable(why)) => Finding::new(super::Level::Fail, "schema", why, None),
        Err(error) => Finding::error("schema", &error),
    }
}

async fn journal(inspect: &Inspect) -> Finding {
    match inspect.journal_mode().await {
        Ok(mode) if mode == "wal" => Finding::ok("journal", "WAL"),
        Ok(mode) => Finding::warn(
            "journal",
            format!("{mode}, not WAL: readers and the daemon would stop each other"),
            "the daemon's next start sets it; find out which program changed it",
        ),
        Err(error) => Finding::error("journal", &error),
    }
}

async fn environment(inspect: &Inspect, settings: &Settings) -> Finding {
    let binding = binding(settings);
    match inspect.belongs_to(&binding).await {
        Ok(()) => Finding::ok("environment", format!("{}, {}", binding.environment, binding.api_origin)),
        Err(error @ StoreError::Foreign { .. }) => Finding::error("environment", &error).of_configuration(),
        Err(error) => Finding::error("environment", &error),
    }
}

async fn soundness(inspect: &Inspect) -> Finding {
    match inspect.faults().await {
        Ok(faults) if faults.is_empty() => {
            Finding::ok("integrity", "PRAGMA integrity_check finds nothing wrong in the whole file")
        }
        Ok(faults) => {
            Finding::fail("integrity", format!("the file is damaged: {}", faults.join("; ")), RESTORE)
        }
        Err(error) => Finding::error("integrity", &error),
    }
}

async fn history(inspect: &Inspect) -> Finding {
    match inspect.history_faults().await {
        Ok(faults) if faults.is_empty() => {
            Finding::ok("history", "complete, and no row that waits contradicts it")
        }
        Ok(faults) => {
            let detail = format!("the database is not of one piece: {}", faults.join("; "));
            Finding::fail("history", detail, RESTORE)
        }
        Err(error) => Finding::error("history", &error),
    }
}

/// What to do about a file that cannot be trusted.
const RESTORE: &str = "stop the daemon, keep a copy of all its files, restore a backup with no -wal and -shm beside it, \
     then run `tresorpayd accept-restore`";
