//! The last lines of both plays: how many notices stand where, whether that is what TresorPay's ledger says, and what
//! to do next.

use std::path::Path;

use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::{
    DemoError, Ending, Options,
    audit::{Audit, Sides},
    opening::for_shell,
    progress::Tally,
    screen::{Screen, Tone},
    stage::Stage,
};
use crate::notice::{Amount, Status};

/// Where a folded sentence goes on.
const SENTENCE_INDENT: usize = 2;
/// Faults that are told one by one.
const MOST_FAULTS: usize = 10;

/// From what has come in to what has not begun.
const BY_MONEY: [Status; 7] = [
    Status::Paid,
    Status::Emitted,
    Status::Uncertain,
    Status::Canceled,
    Status::Rejected,
    Status::Pending,
    Status::Emitting,
];

/// What is to be told.
pub(super) struct Closing<'a> {
    pub(super) options: &'a Options,
    pub(super) ending: Ending,
    pub(super) tally: Tally,
    pub(super) audit: &'a Audit,
    /// A notice worth a look.
    pub(super) reference: Option<&'a str>,
}

impl Closing<'_> {
    /// Prints it.
    pub(super) fn print(&self, screen: &Screen, stage: &Stage) -> Result<(), DemoError> {
        let mut blocks = vec![String::new(), self.by_status(screen), self.by_side(screen)];
        let sentence = |(tone, sign, text): &(Tone, &str, String)| {
            screen.hang(&format!("{} ", screen.paint(*tone, sign)), SENTENCE_INDENT, Tone::Plain, text)
        };
        let sentences: Vec<String> = self.sentences().iter().map(sentence).collect();
        if !sentences.is_empty() {
            blocks.push(sentences.join("\n"));
        }
        blocks.push(self.next(screen, stage));
        Ok(screen.print(&blocks.join("\n\n").replacen("\n\n", "\n", 1))?)
    }

    fn by_status(&self, screen: &Screen) -> String {
        let mut table = table(&["Outbox", "notices", "XOF"]);
        for status in BY_MONEY {
            let (count, amount) = self.tally.of(status);
            if count > 0 {
                table.add_row(row(status.as_str(), &[(count, amount)]));
            }
        }
        table.add_row(row("all", &[self.tally.total()]));
        coloured(screen, &table)
    }

    fn by_side(&self, screen: &Screen) -> String {
        let mut table = table(&["This run", "outbox", "XOF", "ledger", "XOF", ""]);
        let audit = self.audit;
        let sides = [
            ("billed", audit.billed()),
            ("- paid", audit.paid),
            ("- outstanding", audit.outstanding),
            ("- in doubt", audit.in_doubt),
            ("canceled", audit.canceled),
        ];
        for (name, Sides { outbox, ledger }) in sides {
            if outbox.notices + ledger.notices == 0 && name != sides[0].0 {
                continue;
            }
            let mut cells = row(name, &[(outbox.notices, outbox.amount), (ledger.notices, ledger.amount)]);
            cells.push(Cell::new(if outbox == ledger { "=" } else { "≠" }));
            table.add_row(cells);
        }
        coloured(screen, &table)
    }

    fn sentences(&self) -> Vec<(Tone, &'static str, String)> {
        let audit = self.audit;
        let mut told = Vec::new();
        let faults = self.faults();
        let n = audit.in_ledger;
        if faults.is_empty() && n > 0 {
            let found = match n {
                1 => "1 notice in TresorPay's ledger, exactly once, its amount equal.".to_owned(),
                n => format!("{n} notices in TresorPay's ledger: each exactly once, each amount equal."),
            };
            told.push((Tone::Good, "✓", found));
        }
        told.extend(faults.iter().take(MOST_FAULTS).map(|fault| (Tone::Bad, "✗", format!("{fault}."))));
        if let Some(more) = faults.len().checked_sub(MOST_FAULTS).filter(|more| *more > 0) {
            told.push((Tone::Bad, "✗", format!("And {more} more of the kind.")));
        }
        if self.options.keep && !audit.strangers.is_empty() {
            let n = audit.strangers.len();
            told.push((
                Tone::Plain,
                "-",
                format!(
                    "References in the ledger that are another client's, which used this simulator too: {n}."
                ),
            ));
        }
        for (reference, notices) in &audit.doubts {
            told.push((Tone::Of(Status::Uncertain), "!", doubt(reference, notices)));
        }
        if self.ending == Ending::OutOfTime {
            told.push((Tone::Bad, "✗", "This took too long: what follows was still open.".to_owned()));
        } else if self.ending == Ending::Interrupted && !self.options.keep {
            told.push((Tone::Plain, "-", "Stopped before the end.".to_owned()));
        }
        if audit.open > 0 {
            told.push((Tone::Plain, "-", format!("Waiting to be sent: {}.", audit.open)));
        }
        if audit.behind > 0 {
            told.push((
                Tone::Plain,
                "-",
                format!("Paid or canceled too lately to have been polled: {}.", audit.behind),
            ));
        }
        told
    }

    /// Three things to do now.
    fn next(&self, screen: &Screen, stage: &Stage) -> String {
        let readme = ("README.md".to_owned(), "how it is installed, and what it guarantees".to_owned());
        let lines = if self.options.kept_file().is_some() {
            let file = for_shell(&stage.database);
            let url = for_shell(Path::new(&format!("sqlite:{}", stage.database.display())));
            let reference = self.reference.unwrap_or("REFERENCE");
            [
                readme,
                ("all history".to_owned(), format!("sqlite3 {file} 'SELECT * FROM transition'")),
                (
                    "one notice".to_owned(),
                    format!("TRESORPAYD__DATABASE__URL={url} tresorpayd show {reference}"),
                ),
            ]
        } else {
            [
                readme,
                ("tresorpayd demo --keep".to_owned(), "stays up: insert your own, see them paid".to_owned()),
                (
                    "tresorpayd demo --database FILE".to_owned(),
                    "keeps the outbox, for any SQLite tool to read".to_owned(),
                ),
            ]
        };
        let width = lines.iter().map(|(left, _)| left.chars().count()).max().unwrap_or_default();
        let lines = lines.iter().map(|(left, right)| format!("  {left:<width$}  {right}"));
        let title = screen.paint(Tone::Strong, "What next");
        std::iter::once(title).chain(lines).collect::<Vec<_>>().join("\n")
    }

    /// What makes the demo fail. A stranger at the port of a kept file may be a program that somebody tries out.
    pub(super) fn faults(&self) -> Vec<String> {
        let strangers = self.audit.strangers.iter().filter(|_| !self.options.keep);
        let strangers =
            strangers.map(|reference| format!("{reference} is in TresorPay's ledger and not in the outbox"));
        self.audit.faults.iter().cloned().chain(strangers).collect()
    }
}

/// What became of a notice in doubt, which only the other side knows.
fn doubt(reference: &str, notices: &[String]) -> String {
    match notices {
        [] => format!(
            "{reference} is in doubt, and never came to TresorPay. Only somebody who asks there can know."
        ),
        [first, ..] => format!(
            "{reference} is in doubt, and TresorPay has it as {first}: sent again, it could have been billed twice. \
             Only somebody who asks there can know."
        ),
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header.iter().enumerate().map(|(column, title)| {
        let alignment = if column == 0 { CellAlignment::Left } else { CellAlignment::Right };
        Cell::new(title).set_alignment(alignment)
    }));
    table
}

/// A name, then counts and amounts.
fn row(name: &str, sums: &[(usize, i64)]) -> Vec<Cell> {
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let numbers = sums
        .iter()
        .flat_map(|(count, amount)| [right(count.to_string()), right(Amount(*amount).to_string())]);
    std::iter::once(Cell::new(name)).chain(numbers).collect()
}

/// The table with its statuses and signs in their tones; coloured last, so that no colour counts as width.
fn coloured(screen: &Screen, table: &Table) -> String {
    let statuses = Status::ALL.map(|status| (status.as_str(), Tone::Of(status)));
    let words = || statuses.into_iter().chain([("=", Tone::Good), ("≠", Tone::Of(Status::Uncertain))]);
    let line = |line: &str| {
        let word = words().find(|(word, _)| line.contains(&format!(" {word} ")));
        word.map_or_else(|| line.to_owned(), |(word, tone)| line.replacen(word, &screen.paint(tone, word), 1))
    };
    table.lines().map(|text| line(&text)).collect::<Vec<_>>().join("\n")
}
