//! Checks of the database: where it lies, who may read it, what it is, whether it is sound.

use std::time::Duration;

use super::{
    Finding, files, space,
    systemd::{Service, Unit},
    within,
};
use crate::{
    app::binding,
    cli::output::{printable, size},
    settings::Settings,
    store::{
        StoreError,
        inspect::{DaemonState, Inspect, MarkState, SchemaState, daemon_state, foreign_mark, usable_folder},
    },
};

/// How long the whole file may be read for its soundness: the read transaction keeps the WAL from being taken over.
const SOUNDNESS_LIMIT: Duration = Duration::from_secs(60);

/// Every check of the database, as far as it can be opened.
pub(super) async fn check(settings: &Settings, service: &Service) -> Vec<Finding> {
    let (path, mark) = (&settings.database.path, &settings.database.mark);
    if let Err(error) = usable_folder(path) {
        return vec![Finding::error("database", &error)];
    }
    let inspect = match Inspect::open(path).await {
        Ok(inspect) => inspect,
        Err(StoreError::Missing(_)) => return missing(settings),
        Err(error) => return vec![Finding::error("database", &error)],
    };
    let mut findings = vec![sizes(&inspect, settings)];
    findings.extend(files::files(&inspect, settings, service));
    findings.push(space::of_database(settings));
    findings.push(daemon(settings, service));
    findings.push(sqlite(&inspect).await);
    findings.push(schema(&inspect).await);
    findings.push(journal(&inspect).await);
    findings.push(environment(&inspect, settings).await);
    findings.push(match inspect.mark(mark).await {
        Ok(MarkState::Level(last)) => {
            Finding::ok("mark", format!("level with the database (attempt {last})"))
        }
        Ok(MarkState::NotYet) => Finding::ok("mark", "none yet, and nothing was ever sent"),
        Ok(MarkState::WentBack(why)) => went_back(&why),
        Err(error) => Finding::error("mark", &error),
    });
    findings.push(emission(&inspect).await);
    findings.push(history(&inspect).await);
    findings.push(match tokio::time::timeout(SOUNDNESS_LIMIT, soundness(&inspect)).await {
        Ok(finding) => finding,
        Err(_) => Finding::skip(
            "integrity",
            format!(
                "not read to the end {}; try `PRAGMA integrity_check` on a copy",
                within(SOUNDNESS_LIMIT)
            ),
        ),
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

fn sizes(inspect: &Inspect, settings: &Settings) -> Finding {
    let (database, wal) = match inspect.sizes() {
        Ok(sizes) => sizes,
        Err(error) => return Finding::error("database", &error),
    };
    let path = settings.database.path.display();
    let sizes = format!("{path}, {}, WAL {}", size(database), size(wal));
    let max_wal = settings.database.max_wal;
    if wal > max_wal {
        let remedy = format!(
            "above database.max_wal ({}): end the process that keeps a read transaction open",
            size(max_wal)
        );
        return Finding::fail("database", sizes, remedy);
    }
    Finding::ok("database", sizes)
}

/// Who holds the database, and whether that is the service.
fn daemon(settings: &Settings, service: &Service) -> Finding {
    let main_pid = service.unit().and_then(Unit::main_pid);
    match (daemon_state(&settings.database.path), main_pid) {
        (DaemonState::Running(holder), Some(pid)) if !holder.starts_with(&format!("pid {pid},")) => {
            Finding::warn(
                "daemon",
                format!("running, {}, which is not the service (pid {pid})", printable(&holder)),
                "one of the two works on another database, or the service cannot get at this one: stop the one that was started by hand",
            )
        }
        (DaemonState::Running(holder), _) => {
            Finding::ok("daemon", format!("running, {}", printable(&holder)))
        }
        (DaemonState::Stopped, Some(pid)) => Finding::warn(
            "daemon",
            format!("none holds this database, though the service runs (pid {pid})"),
            "its database.url is another than this command's: compare --config and the environment",
        ),
        (DaemonState::Stopped, None) => Finding::ok("daemon", "not running"),
        (DaemonState::Unknown(why), _) => {
            Finding::skip("daemon", format!("{why}; run this as the daemon's user or in its group"))
        }
    }
}

/// The daemon's own; applications bring theirs.
async fn sqlite(inspect: &Inspect) -> Finding {
    match inspect.sqlite_version().await {
        Ok(version) => Finding::ok("sqlite", format!("{version}, built in")),
        Err(error) => Finding::error("sqlite", &error),
    }
}

async fn emission(inspect: &Inspect) -> Finding {
    match inspect.paused().await {
        Ok(None) => Finding::ok("pause", "emission is not paused"),
        Ok(Some(pause)) => {
            let since = pause.since.map_or_else(String::new, |since| format!(" since {since}"));
            let by = pause.by.map_or_else(String::new, |by| format!(", by {}", printable(&by)));
            Finding::warn(
                "pause",
                format!("emission is paused{since}{by}"),
                "`tresorpayd resume` when it may go on",
            )
        }
        Err(error) => Finding::error("pause", &error),
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
