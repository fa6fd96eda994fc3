//! `tresorpayd migrate`: creates the database, or brings it to this program's schema, and nothing else.

use std::{os::unix::fs::MetadataExt, path::Path, process::ExitCode};

use serde::Serialize;

use crate::{
    app::binding,
    cli::{Failure, database_settings, output::Output, runtime, store_failure},
    settings::Sources,
    store::{
        self,
        inspect::{Inspect, SchemaState, wanted_version},
    },
};

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Created,
    Migrated,
    Current,
}

#[derive(Debug, Serialize)]
struct Migration<'a> {
    outcome: Outcome,
    database: &'a Path,
    /// Before; `None`: there was none.
    from_version: Option<i64>,
    schema_version: i64,
}

pub(super) fn run(sources: &Sources, args: &MigrateArgs) -> Result<ExitCode, Failure> {
    let settings = database_settings(sources)?;
    let path = &settings.database.path;
    let from_version = runtime()?.block_on(async {
        let before = version(path).await;
        store::migrate_only(path, &binding(&settings)).await.map_err(store_failure)?;
        Ok::<_, Failure>(before)
    })?;
    let schema_version = wanted_version();
    let outcome = match from_version {
        None => Outcome::Created,
        Some(version) if version < schema_version => Outcome::Migrated,
        Some(_) => Outcome::Current,
    };
    let mut output = Output::stdout();
    if args.json {
        output.json(&Migration { outcome, database: path, from_version, schema_version })?;
    } else {
        let path = path.display();
        output.line(match outcome {
            Outcome::Created => format!("created {path}, schema version {schema_version}"),
            Outcome::Migrated => format!("brought {path} to schema version {schema_version}"),
            Outcome::Current => format!("{path} is at schema version {schema_version} already"),
        })?;
    }
    output.finish()?;
    warn_of_owner(path);
    Ok(ExitCode::SUCCESS)
}

/// The version of the database that is there; what cannot be read is left to the migration to complain about.
async fn version(path: &Path) -> Option<i64> {
    match Inspect::open(path).await.ok()?.schema().await.ok()? {
        SchemaState::Current(version) => Some(version),
        SchemaState::Older { found, .. } => Some(found),
        SchemaState::Unusable(_) => None,
    }
}

/// Run by root, this makes a file that the daemon may not be able to open.
#[expect(clippy::print_stderr, reason = "a complaint, beside the data on stdout")]
fn warn_of_owner(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let (Ok(file), Ok(folder)) = (path.metadata(), folder.metadata())
        && folder.uid() != 0
        && file.uid() != folder.uid()
    {
        eprintln!(
            "tresorpayd: {} belongs to user {} and its folder to user {}: chown it if the daemon runs as the latter",
            path.display(),
            file.uid(),
            folder.uid()
        );
    }
}
