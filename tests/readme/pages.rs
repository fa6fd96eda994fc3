//! Pages taken apart: fenced blocks, code spans, tables, headings. As much of Markdown as these pages use.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub(crate) fn file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One page of the documentation.
pub(crate) struct Page {
    /// Below the root.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A fenced block and the comment that stands right above it, if any.
pub(crate) struct Fence {
    pub(crate) note: Option<String>,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn read(path: &str) -> Self {
        Self { path: path.to_owned(), text: file(path) }
    }

    /// Every page that this test answers for.
    pub(crate) fn all() -> Vec<Self> {
        let folders = ["docs", "docs/fr"].map(|folder| root().join(folder));
        let docs = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        let mut paths: Vec<PathBuf> = docs.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
        paths.sort();
        let names = paths.iter().map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap());
        ["README.md", "README.fr.md", "CHANGELOG.md", "examples/README.md"]
            .into_iter()
            .chain(names)
            .map(Self::read)
            .collect()
    }

    pub(crate) fn fences(&self) -> Vec<Fence> {
        let (mut fences, mut open, mut above) = (Vec::new(), None, "");
        for line in self.text.lines() {
            match (&mut open, line.starts_with("```")) {
                (None, true) => {
                    let note = above.strip_prefix("<!-- ").and_then(|note| note.strip_suffix(" -->"));
                    open = Some(Fence { note: note.map(str::to_owned), text: String::new() });
                }
                (Some(_), true) => fences.extend(open.take()),
                (Some(fence), false) => {
                    fence.text.push_str(line);
                    fence.text.push('\n');
                }
                (None, false) => {}
            }
            above = line;
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.path);
        fences
    }

    /// The page without its fenced blocks.
    pub(crate) fn prose(&self) -> String {
        let mut fenced = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        prose
    }

    /// Everything between single backticks.
    pub(crate) fn spans(&self) -> Vec<String> {
        let prose = self.prose();
        let paragraphs = prose.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        paragraphs
            .flat_map(|text| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    /// Everything that is written as code: spans, fenced and indented blocks.
    pub(crate) fn code(&self) -> String {
        let fences = self.fences().into_iter().map(|fence| fence.text);
        let indented = self.text.lines().filter(|line| line.starts_with("    ")).map(str::to_owned);
        self.spans().into_iter().chain(fences).chain(indented).collect::<Vec<_>>().join("\n")
    }

    /// The cells of every table row below the heading that starts so, without the head of the table.
    pub(crate) fn rows(&self, heading: &str) -> Vec<Vec<String>> {
        let mut lines = self.text.lines().skip_while(|line| !line.starts_with(heading));
        assert!(lines.next().is_some(), "{}: no heading {heading}", self.path);
        let section: Vec<&str> = lines.take_while(|line| !line.starts_with('#')).collect();
        section
            .windows(2)
            .filter(|pair| {
                pair[1].starts_with('|') && !pair[1].starts_with("|---") && pair[0].starts_with('|')
            })
            .map(|pair| {
                pair[1].trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
            })
            .collect()
    }

    pub(crate) fn headings(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| line.trim_start_matches('#').trim().to_owned()).collect()
    }
}

/// The code spans of one table cell.
pub(crate) fn cell_spans(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The part of `text` between `start` and `end`.
pub(crate) fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let from = text.find(start).unwrap_or_else(|| panic!("no {start:?}")) + start.len();
    let length = text[from..].find(end).unwrap_or_else(|| panic!("no {end:?} after {start:?}"));
    &text[from..from + length]
}
