//! The configuration file: TOML text to a fragment in which every value knows its line.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use config::ValueKind;
use nix::unistd::{Gid, Group};
use toml::de::{DeTable, DeValue};

use super::keys;
use super::layers::Fragment;
use super::problem::{Problem, printable};

/// Where the file is looked for when `--config` does not say.
pub const DEFAULT_FILE: &str = "/etc/tresorpayd/config.toml";

/// A larger file is surely not this program's.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The key of problems that concern the whole file.
const WHOLE_FILE: &str = "configuration file";

/// Reads the file at `path`. It must be there.
pub(super) fn read(path: &Path) -> Fragment {
    let name = printable(&path.display().to_string());
    match text(path) {
        Ok(text) => parse(&name, &text),
        Err(message) => Fragment::broken(vec![Problem::new(WHOLE_FILE, name, message)]),
    }
}

fn text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = line(error.as_bytes(), error.utf8_error().valid_up_to());
        format!("is not UTF-8 text (line {line})")
    })
}

/// The first thing that somebody meets who is not in the service's group.
fn unreadable(path: &Path, error: &io::Error) -> String {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    match denied.then(|| group_that_reads(path)).flatten() {
        Some(group) => format!(
            "cannot be read: {error}: only root and the group {group} may, and who has just joined it logs in anew"
        ),
        None => format!("cannot be read: {error}"),
    }
}

fn group_that_reads(path: &Path) -> Option<String> {
    let file = path.metadata().ok().filter(|file| file.mode() & 0o040 != 0)?;
    Some(Group::from_gid(Gid::from_raw(file.gid())).ok()??.name)
}

/// Reads `text` as the content of the file called `name`.
fn parse(name: &str, text: &str) -> Fragment {
    let (table, mut errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        return Fragment::broken(errors.iter().map(|error| syntax_problem(name, text, error)).collect());
    }
    let mut walk = Walk { name, text, fragment: Fragment::default() };
    walk.table(&[], table.get_ref());
    walk.fragment
}

/// Only the parser's own words: the line itself may hold a secret.
fn syntax_problem(name: &str, text: &str, error: &toml::de::Error) -> Problem {
    let place = error.span().map_or_else(String::new, |span| place(text, span.start));
    Problem::new(WHOLE_FILE, format!("{name}{place}"), format!("not valid TOML: {}", error.message()))
}

/// Goes through the file's tables and sorts known keys from unknown ones.
struct Walk<'a> {
    name: &'a str,
    text: &'a str,
    fragment: Fragment,
}

impl Walk<'_> {
    fn table(&mut self, path: &[&str], table: &DeTable<'_>) {
        for (key, value) in table {
            let path = [path, &[key.get_ref().as_ref()]].concat();
            self.item(&path, key.span().start, value.get_ref());
        }
    }

    fn item(&mut self, path: &[&str], at: usize, value: &DeValue<'_>) {
        let name = dotted(path);
        let origin = format!("{}, line {}", self.name, line(self.text.as_bytes(), at));
        if let Some(key) = keys::find(&name) {
            self.fragment.set(key, scalar(value), &origin);
        } else if let Some(table) = value.as_table().filter(|table| !table.is_empty()) {
            self.table(path, table);
        } else if keys::is_section(&name) {
            if !value.is_table() {
                let message = format!("is a section: expected [{name}] with its keys below it");
                self.fragment.problems.push(Problem::new(name, origin, message));
            }
        } else {
            self.fragment.problems.push(Problem::unknown(&name, origin));
        }
    }
}

/// The name of a key, with the parts that hold a dot in quotes: `"emit.schedule"` is not `emit.schedule`.
fn dotted(path: &[&str]) -> String {
    let part = |part: &&str| if part.contains('.') { format!("\"{part}\"") } else { (*part).to_owned() };
    path.iter().map(part).collect::<Vec<_>>().join(".")
}

/// A single value; lists, tables and dates, which no key takes, become an empty list.
fn scalar(value: &DeValue<'_>) -> ValueKind {
    match value {
        DeValue::String(text) => ValueKind::String(text.clone().into_owned()),
        DeValue::Boolean(yes) => ValueKind::Boolean(*yes),
        DeValue::Float(number) => {
            number.as_str().parse().map_or(ValueKind::Array(Vec::new()), ValueKind::Float)
        }
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(ValueKind::Float(f64::INFINITY), ValueKind::I128),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => ValueKind::Array(Vec::new()),
    }
}

/// The line, from 1, in which the byte `at` stands.
fn line(text: &[u8], at: usize) -> usize {
    text[..at.min(text.len())].split(|byte| *byte == b'\n').count()
}

fn place(text: &str, at: usize) -> String {
    let bytes = text.as_bytes();
    let column = 1 + bytes[..at.min(bytes.len())].iter().rev().take_while(|byte| **byte != b'\n').count();
    format!(", line {}, column {column}", line(bytes, at))
}
