//! Where things lie on this host: the database behind its URL, its mark, other files, and listen addresses.

use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What a database URL must look like.
const DATABASE: &str = "expected sqlite:///absolute/path.db or sqlite:relative/path.db";

/// What lies beside a database while it is open: the mark may not take one of these names.
const DATABASE_SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Appended to the database's file name for the mark, unless `database.mark` says otherwise.
const MARK_SUFFIX: &str = ".mark";

/// The file behind `sqlite:///abs/path`, `sqlite://relative` or `sqlite:relative`. No query, no memory database, no
/// percent-encoding.
pub(super) fn database(url: &str) -> Result<PathBuf, String> {
    let rest = url.strip_prefix("sqlite:").ok_or(DATABASE)?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.starts_with("//") || path.contains(['?', '#', '%']) {
        return Err(format!("{DATABASE}, taken as it stands: no query, no fragment, no percent-encoding"));
    }
    if path.contains(":memory:") || path.starts_with("file:") {
        return Err(format!("{DATABASE}: the outbox is shared by processes and must be a file"));
    }
    let path = plain_path(path).map_err(|_| DATABASE)?;
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.file_name().is_none() {
        return Err(format!("{DATABASE}: this names a directory"));
    }
    Ok(path)
}

/// The mark of `database` when nothing is set: beside it, its name and `.mark`.
pub(super) fn default_mark(database: &Path) -> PathBuf {
    with_suffix(database, MARK_SUFFIX)
}

/// The mark at `text`; a relative path is beside the database.
pub(super) fn mark(text: &str, database: &Path) -> Result<PathBuf, String> {
    let given = plain_path(text)?;
    let path = database.parent().unwrap_or(Path::new("")).join(given);
    if path.file_name().is_none() {
        return Err("expected the path of a file".to_owned());
    }
    if DATABASE_SUFFIXES.iter().any(|suffix| with_suffix(database, suffix) == path) {
        return Err("expected a file of its own, not one of the database's".to_owned());
    }
    Ok(path)
}

/// An absolute path, whatever is there.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    plain_path(text)?.is_absolute().then(|| PathBuf::from(text)).ok_or("expected an absolute path".to_owned())
}

/// An absolute path of a file that can be read now.
pub(super) fn readable(text: &str) -> Result<PathBuf, String> {
    let path = absolute(text)?;
    let file = File::open(&path).map_err(|error| format!("cannot be read: {error}"))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => Err("is a directory: expected a file".to_owned()),
        Ok(_) => Ok(path),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// An IP address and a port to listen on; port 0 lets the system choose one.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address and a port such as 127.0.0.1:9464 or [::1]:9464".to_owned())
}

fn plain_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("expected a path without control characters".to_owned());
    }
    Ok(PathBuf::from(text))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_names_a_file() {
        for (url, path) in [
            ("sqlite:///var/lib/tresorpayd/outbox.db", "/var/lib/tresorpayd/outbox.db"),
            ("sqlite:/var/lib/o.db", "/var/lib/o.db"),
            ("sqlite://outbox.db", "outbox.db"),
            ("sqlite:dir/with blank/o.db", "dir/with blank/o.db"),
        ] {
            assert_eq!(database(url), Ok(PathBuf::from(path)), "{url}");
        }
    }

    #[test]
    fn memory_directories_and_queries_are_no_database() {
        for url in [
            "",
            "sqlite:",
            "sqlite://",
            "sqlite:///",
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite://file::memory:",
            "sqlite:///a.db?mode=memory",
            "sqlite:///a%20b.db",
            "sqlite:////a.db",
            "sqlite:///dir/",
            "sqlite:///dir/..",
            "sqlite:///a\0b",
            "postgres://host/db",
            "/var/lib/o.db",
        ] {
            assert!(database(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_mark_is_beside_the_database_and_none_of_its_files() {
        let outbox = Path::new("/var/lib/o.db");
        assert_eq!(default_mark(outbox), Path::new("/var/lib/o.db.mark"));
        assert_eq!(mark("m", outbox), Ok(PathBuf::from("/var/lib/m")));
        assert_eq!(mark("/mnt/m", outbox), Ok(PathBuf::from("/mnt/m")));
        for text in ["o.db", "/var/lib/o.db-wal", "o.db-shm", "", ".."] {
            assert!(mark(text, outbox).is_err(), "{text}");
        }
    }
}
