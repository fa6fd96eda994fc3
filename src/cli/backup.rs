//! `tresorpayd backup`: a verified copy of the database, taken while everything runs, never over an existing file.

mod place; // the draft, its name, and the older ones that go

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::anyhow;
use serde::Serialize;

use crate::{
    app::binding,
    cli::{
        Failure, database_settings,
        output::{Output, counted, size},
        runtime, store_failure,
    },
    clock::Timestamp,
    settings::{Settings, Sources},
    store::{self, BackupError, Copied, Room, inspect::FileState},
};
use place::Draft;

/// Between two looks for a name: they differ by the second.
const NAME_AGAIN: Duration = Duration::from_millis(100);

/// Arguments of `backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The daemon and the applications go on meanwhile. The copy gets its name once it is whole: sound page by page, of this \
database, with nothing missing. To restore one: docs/backup.md.

Exit status: 0 there is a backup; 1 there is none, and nothing was left behind; 78 the database cannot be used.")]
pub(crate) struct BackupArgs {
    /// The file to write; with --keep the folder, in which it is named outbox-20261124T094800Z.db
    #[arg(value_name = "FILE")]
    target: PathBuf,
    /// Keep so many backups in the folder: older ones that this command made there are removed after this one is whole
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    keep: Option<u16>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    file: &'a Path,
    bytes: u64,
    rows: i64,
    last_transition: i64,
    last_attempt: i64,
    removed: &'a [PathBuf],
}

pub(super) fn run(sources: &Sources, args: &BackupArgs) -> Result<ExitCode, Failure> {
    let settings = database_settings(sources)?;
    let (folder, file) = target(args)?;
    let draft = Draft::open(&folder).map_err(|error| unwritable(&folder, &error))?;
    check_room(&settings, &folder)?;
    let path = &settings.database.path;
    let (binding, max_wal) = (binding(&settings), settings.database.max_wal);
    let copying = store::back_up(path, &binding, draft.path(), max_wal);
    let copied = runtime()?.block_on(copying).map_err(|error| match error {
        BackupError::Store(error) => store_failure(error),
        error => {
            Failure::Other(anyhow::Error::new(error).context(format!("no backup in {}", folder.display())))
        }
    })?;
    let bytes = draft.finish(&file).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => taken(&file),
        _ => unwritable(&folder, &error),
    })?;
    let removed = match args.keep {
        Some(keep) => place::prune(&folder, usize::from(keep)).map_err(|error| {
            anyhow!("{} is there, but older ones could not be removed: {error}", file.display())
        })?,
        None => Vec::new(),
    };
    let mut output = Output::stdout();
    tell(args, &file, bytes, copied, &removed, &mut output)?;
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// The folder and the file to be.
fn target(args: &BackupArgs) -> Result<(PathBuf, PathBuf), Failure> {
    let target = std::path::absolute(&args.target).map_err(anyhow::Error::new)?;
    let shown = target.display();
    if args.keep.is_some() {
        if !target.is_dir() {
            return Err(
                anyhow!("{shown} is no folder: --keep is about the backups of one; make it first").into()
            );
        }
        let file = free_name(&target);
        return Ok((target, file));
    }
    if target.is_dir() {
        return Err(anyhow!("{shown} is a folder: name a file in it, or give --keep N").into());
    }
    if target.symlink_metadata().is_ok() {
        return Err(taken(&target));
    }
    match target.parent() {
        Some(folder) if folder.is_dir() => Ok((folder.to_owned(), target)),
        _ => Err(anyhow!("there is no folder for {shown}: make it first").into()),
    }
}

/// A name that no backup of this folder has: the second of the last one passes first.
fn free_name(folder: &Path) -> PathBuf {
    loop {
        let file = folder.join(place::name(Timestamp::now()));
        if file.symlink_metadata().is_err() {
            return file;
        }
        std::thread::sleep(NAME_AGAIN);
    }
}

fn taken(file: &Path) -> Failure {
    anyhow!("{} is there already, and no backup is written over anything", file.display()).into()
}

fn unwritable(folder: &Path, error: &io::Error) -> Failure {
    anyhow!("no backup in {}: {error}; nothing was left behind", folder.display()).into()
}

/// A disk that a copy fills is most often the daemon's too.
fn check_room(settings: &Settings, folder: &Path) -> Result<(), Failure> {
    let path = &settings.database.path;
    let mut needed = 0;
    for file in [path.clone(), PathBuf::from(format!("{}-wal", path.display()))] {
        needed += FileState::of(&file).ok().flatten().map_or(0, |file| file.size);
    }
    let room = Room::of(folder).map_err(|error| unwritable(folder, &error))?.free;
    if room < needed {
        let (room, needed) = (size(room), size(needed));
        return Err(anyhow!(
            "no room in {}: {room} are free, and the copy may take {needed}",
            folder.display()
        )
        .into());
    }
    Ok(())
}

fn tell(
    args: &BackupArgs,
    file: &Path,
    bytes: u64,
    copied: Copied,
    removed: &[PathBuf],
    output: &mut Output,
) -> Result<(), Failure> {
    let Copied { rows, last_transition, last_attempt } = copied;
    if args.json {
        return output.json(&Report { file, bytes, rows, last_transition, last_attempt, removed });
    }
    let rows = counted(rows, "row", "rows");
    output.line(format!("{}: {rows}, {}, verified", file.display(), size(bytes)))?;
    for old in removed {
        output.line(format!("removed {}", old.display()))?;
    }
    Ok(())
}
