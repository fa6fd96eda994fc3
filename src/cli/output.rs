//! What commands print on stdout: lines, tables and JSON. Plain when piped; fitted and coloured on a terminal. A reader
//! that leaves (`| head`) is no failure.

use std::{
    io::{self, BufWriter, ErrorKind, IsTerminal, Stdout, Write},
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use owo_colors::{OwoColorize, Style};
use serde::Serialize;

use crate::{cli::Failure, clock::Timestamp, lang::Lang, notice::Status, verdict::words};

/// Tables are not squeezed below this.
const MIN_WIDTH: u16 = 60;
/// Blanks between two columns.
const GAP: u16 = 2;

/// Stdout.
pub(super) struct Output {
    out: BufWriter<Stdout>,
    coloured: bool,
    /// Columns of the terminal; `None`: piped.
    width: Option<u16>,
    closed: bool,
}

/// How a word is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// All is well.
    Good,
    /// Somebody should look.
    Notice,
    /// Somebody must act.
    Bad,
    /// A heading.
    Heading,
    /// Nothing special.
    Plain,
}

impl Output {
    /// Stdout as it is: a terminal or not.
    pub(super) fn stdout() -> Self {
        let stdout = io::stdout();
        let coloured = AutoStream::choice(&stdout) != ColorChoice::Never;
        let width = stdout.is_terminal().then(|| {
            let size = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
            if size == 0 { 80 } else { size.max(MIN_WIDTH) }
        });
        Self { out: BufWriter::new(stdout), coloured, width, closed: false }
    }

    /// One line.
    pub(super) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        let written = writeln!(self.out, "{}", text.as_ref());
        self.note(written)
    }

    /// Text with its own line ends.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.out.write_all(text.as_bytes());
        self.note(written)
    }

    /// One JSON document on one line.
    pub(super) fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        let json = serde_json::to_string(value).map_err(anyhow::Error::new)?;
        self.line(json)
    }

    /// A table without borders: `right` numbers the columns that stand to the right. A status in the first column gets
    /// its colour. Without a header, rows only.
    pub(super) fn table(
        &mut self,
        header: &[&str],
        right: &[usize],
        rows: &[Vec<String>],
    ) -> Result<(), Failure> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        if !header.is_empty() {
            table.set_header(header.to_vec());
        }
        table.add_rows(rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect::<Vec<_>>()));
        let columns = table.column_count();
        for (place, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if place + 1 == columns { 0 } else { GAP }));
            if right.contains(&place) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for (number, line) in table.lines().enumerate() {
            let line = line.trim_end();
            if number == 0 && !header.is_empty() {
                let line = self.paint(line, Tone::Heading);
                self.line(line)?;
            } else {
                let line = self.paint_status(line);
                self.line(line)?;
            }
        }
        Ok(())
    }

    /// `text` in the colour of its tone, where there are colours.
    pub(super) fn paint(&self, text: &str, tone: Tone) -> String {
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            _ if !self.coloured => return text.to_owned(),
            Tone::Good => Style::new().green(),
            Tone::Notice => Style::new().yellow(),
            Tone::Bad => Style::new().red().bold(),
            Tone::Heading => Style::new().bold(),
        };
        text.style(style).to_string()
    }

    /// `line` with its first word in colour if that is a status.
    pub(super) fn paint_status(&self, line: &str) -> String {
        let (word, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
        match word.parse::<Status>() {
            Ok(status) => format!("{}{rest}", self.paint(word, tone(status))),
            Err(_) => line.to_owned(),
        }
    }

    /// The reader has left: more output is for nobody.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a person reads this now.
    pub(super) fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// Waits until all of it is written.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.out.flush();
        self.note(flushed)
    }

    fn note(&mut self, written: io::Result<()>) -> Result<(), Failure> {
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Failure::Other(anyhow::Error::new(error).context("stdout"))),
        }
    }
}

/// How a status is to be taken.
pub(super) fn tone(status: Status) -> Tone {
    match status {
        Status::Pending | Status::Emitting | Status::Emitted | Status::Canceled => Tone::Plain,
        Status::Uncertain => Tone::Bad,
        Status::Rejected => Tone::Notice,
        Status::Paid => Tone::Good,
    }
}

/// `text` on one line, and without what a terminal would obey: it may come from far away.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_bidi_control(c) { ' ' } else { c }).collect()
}

/// Characters that make a line read otherwise than it is.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `2026-11-24 09:48:00`, UTC, of a time as the database writes it; anything else as it is.
pub(super) fn time(text: &str) -> String {
    match Timestamp::parse(text) {
        Some(at) => at.to_chrono().format("%Y-%m-%d %H:%M:%S").to_string(),
        None => text.to_owned(),
    }
}

/// The two largest units that matter: `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.
pub(super) fn duration(duration: Duration) -> String {
    words::duration(Lang::En, duration)
}

/// When `text` is, seen from `now`: `in 12 s`, `3 min ago`.
pub(super) fn from_now(text: &str, now: Timestamp) -> String {
    match Timestamp::parse(text) {
        Some(at) if at > now => format!("in {}", duration(at.since(now))),
        Some(at) => format!("{} ago", duration(now.since(at))),
        None => text.to_owned(),
    }
}

/// `1 row`, `3 rows`.
pub(super) fn counted(number: i64, one: &str, many: &str) -> String {
    words::counted(Lang::En, number, one, many)
}

/// `4.1 MiB`.
pub(super) fn size(bytes: u64) -> String {
    words::size(Lang::En, bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, printable, size, time};

    #[test]
    fn numbers_read_well() {
        let of = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(
            [of(0), of(59), of(60), of(125), of(3_600), of(7_800), of(86_400), of(100_000)],
            ["0 s", "59 s", "1 min", "2 min 5 s", "1 h", "2 h 10 min", "1 d", "1 d 3 h"]
        );
        assert_eq!([size(0), size(1023), size(1536), size(5 << 30)], ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!(time("2026-11-24T09:48:00.123Z"), "2026-11-24 09:48:00");
        assert_eq!(time("soon"), "soon");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\u{9b}c\nd\u{202e}e"), "a [31mb c d e");
    }
}
