//! The file of notices: JSON if it begins as such, else CSV.

use std::{
    collections::HashMap,
    io::{self, Read},
    path::Path,
};

use super::{Bad, Entry, csv, json};
use crate::statement::records::MAX_RECORD;
use crate::statement::{Encoding, Given, Layout, LayoutError, RecordError, Records, TextError, TextFile};

/// Most notices of a file: all are held in memory.
pub const MAX_ENTRIES: usize = 200_000;
/// Largest JSON, in bytes of UTF-8; largest CSV likewise.
const MAX_TEXT: u64 = 256 * 1024 * 1024;

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// No text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Its columns are not known.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It is broken somewhere.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// No JSON.
    #[error("is not valid JSON: {0}")]
    Json(String),
    /// Too much of it.
    #[error("has more than {MAX_ENTRIES} notices: split it")]
    TooMany,
    /// Too much of it.
    #[error("is larger than {MAX_TEXT} bytes: split it")]
    TooLarge,
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Text(error.into())
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Content {
    /// How it was understood, for people.
    pub understood: String,
    /// Notices that can be read, in the file's order.
    pub entries: Vec<Entry>,
    /// Lines that cannot.
    pub bad: Vec<Bad>,
}

/// Reads all of `path`.
pub fn read(
    path: &Path,
    given: &Given,
    encoding: Option<Encoding>,
    separator: Option<u8>,
) -> Result<Content, FileError> {
    let mut file = TextFile::open(path, encoding)?;
    if file.size() > MAX_TEXT {
        return Err(FileError::TooLarge);
    }
    let encoding = file.encoding();
    let head = file.head(MAX_RECORD as u64)?;
    let mut content = if matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) {
        let mut text = String::new();
        file.reader()?.read_to_string(&mut text)?;
        let content = json::read(&text)?;
        Content { understood: format!("JSON, {encoding}"), ..content }
    } else {
        let layout = Layout::find(|| Ok(head.as_slice()), &csv::WANTED, given, separator)??;
        let mut records = Records::new(file.reader()?, layout.separator);
        let mut content = Content { understood: described(encoding, &layout), ..Content::default() };
        while let Some(record) = records.read()? {
            if layout.header_line.is_some_and(|header| record.line <= header) || csv::is_blank(record) {
                continue;
            }
            match csv::entry(&layout, record) {
                Ok(entry) => content.entries.push(entry),
                Err(bad) => content.bad.push(bad),
            }
            if content.entries.len() + content.bad.len() > MAX_ENTRIES {
                return Err(FileError::TooMany);
            }
        }
        content
    };
    if content.entries.len() + content.bad.len() > MAX_ENTRIES {
        return Err(FileError::TooMany);
    }
    drop_repeated(&mut content);
    Ok(content)
}

fn described(encoding: Encoding, layout: &Layout) -> String {
    let separator = match layout.separator {
        b'\t' => "tab".to_owned(),
        other => format!("\"{}\"", char::from(other)),
    };
    let header = layout.header_line.map_or("no header".to_owned(), |line| format!("header on line {line}"));
    let columns: Vec<String> = layout
        .columns
        .iter()
        .map(|column| {
            let guessed = if column.guessed { " (guessed)" } else { "" };
            format!("{} = \"{}\"{guessed}", column.key, layout.title(column.key))
        })
        .collect();
    format!("CSV, {encoding}, separator {separator}, {header}: {}", columns.join(", "))
}

/// Of two lines with the same reference, own or TresorPay's, the later is bad.
fn drop_repeated(content: &mut Content) {
    let mut own: HashMap<String, u64> = HashMap::new();
    let mut theirs: HashMap<String, u64> = HashMap::new();
    let entries = std::mem::take(&mut content.entries);
    for entry in entries {
        let first = *own.entry(entry.reference().to_owned()).or_insert(entry.line);
        let first_notice = *theirs.entry(entry.notice.as_str().to_owned()).or_insert(entry.line);
        if first != entry.line {
            let why = format!("the reference is on line {first} already");
            content.bad.push(Bad::of(&entry, "reference", why));
        } else if first_notice != entry.line {
            let why = format!("the notice is on line {first_notice} already");
            content.bad.push(Bad::of(&entry, "tresorpay_reference", why));
        } else {
            content.entries.push(entry);
        }
    }
}
