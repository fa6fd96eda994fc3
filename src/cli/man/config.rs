//! `tresorpayd.toml`(5): the shipped file's comments, which a test keeps complete and true.

use clap_mangen::roff::{Roff, bold, roman};

use super::{
    FILES, Page,
    text::{entry, marked},
};
use crate::settings::DEFAULT_FILE;

const NAME: &str = "tresorpayd.toml";
const SHIPPED_FILE: &str = include_str!("../../../config/tresorpayd.toml");
/// How the shipped file shows a key that has no default.
const EXAMPLE: &str = "# Example: ";

/// A piece of the shipped file.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// A paragraph of the comment at the top.
    Opening(String),
    /// `[section]`, and what is said above it.
    Section(&'a str, String),
    /// A key, its default or an example, and what is said above it.
    Key { name: &'a str, value: &'a str, has_default: bool, comment: String },
}

/// The page.
pub(super) fn page() -> Page {
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]).text([roman(format!("{NAME} - settings of tresorpayd"))]);
    roff.control("SH", ["SYNOPSIS"]).text([bold(DEFAULT_FILE)]);
    roff.control("SH", ["DESCRIPTION"]);
    let (mut section, mut parted) = (String::new(), true);
    for piece in pieces(SHIPPED_FILE) {
        match piece {
            Piece::Opening(paragraph) => {
                if !parted {
                    roff.control("PP", []);
                }
                roff.text(marked(&paragraph));
                parted = false;
            }
            Piece::Section(name, comment) => {
                section = format!("{name}.");
                roff.control("SH", [format!("[{name}]").as_str()]);
                if !comment.is_empty() {
                    roff.text(marked(&comment));
                }
            }
            Piece::Key { name, value, has_default, comment } => {
                let (name, value) = (format!("{section}{name}"), value.trim_matches('"'));
                let shown = if has_default { "Default" } else { "Example" };
                entry(&mut roff, &name, &comment);
                roff.control("RS", []).text([roman(format!("{shown}: {value}"))]).control("RE", []);
            }
        }
    }
    roff.control("SH", ["SEE ALSO"]).text(marked("`tresorpayd`(1), `tresorpayd-check`(1)"));
    Page { name: NAME.to_owned(), section: FILES, roff: Page::title(NAME, FILES) + &roff.render() }
}

/// The shipped file, taken apart. Before the first key a comment that no key follows is an opening.
fn pieces(file: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut comment) = (Vec::new(), String::new());
    for line in file.lines() {
        let section = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        let example = line.strip_prefix(EXAMPLE);
        let shown = example
            .or(line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())));
        if let Some((name, value)) = shown.and_then(|shown| shown.split_once(" = ")) {
            let comment = std::mem::take(&mut comment);
            pieces.push(Piece::Key { name, value, has_default: example.is_none(), comment });
        } else if let Some(name) = section {
            pieces.push(Piece::Section(name, std::mem::take(&mut comment)));
        } else if let Some(said) = line.strip_prefix('#') {
            if said.is_empty() && !comment.is_empty() {
                pieces.push(Piece::Opening(std::mem::take(&mut comment)));
            } else {
                let gap = if comment.is_empty() { "" } else { " " };
                comment = format!("{comment}{gap}{}", said.trim());
            }
        } else if !comment.is_empty() {
            pieces.push(Piece::Opening(std::mem::take(&mut comment)));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_apart() {
        let file = "# One\n# paragraph.\n#\n# Another.\n\n# Which?\n#environment = \"sandbox\"\n\n# Said.\n[api]\n\
                    # Where.\n# Example: proxy = \"http://p\"\n";
        let key = |name, value, has_default, comment: &str| Piece::Key {
            name,
            value,
            has_default,
            comment: comment.to_owned(),
        };
        assert_eq!(
            pieces(file),
            [
                Piece::Opening("One paragraph.".to_owned()),
                Piece::Opening("Another.".to_owned()),
                key("environment", "\"sandbox\"", true, "Which?"),
                Piece::Section("api", "Said.".to_owned()),
                key("proxy", "\"http://p\"", false, "Where."),
            ]
        );
    }

    #[test]
    fn nothing_of_the_shipped_file_is_lost() {
        let openings = pieces(SHIPPED_FILE).iter().filter(|piece| matches!(piece, Piece::Opening(_))).count();
        assert_eq!(openings, 4, "a comment that belongs to no key, in the middle of the file");
    }
}
