//! Text in the marks of this project's documentation -> roff.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// `text` with what stands between backticks in bold.
pub(super) fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts
        .filter(|(_, part)| !part.is_empty())
        .map(|(place, part)| if place % 2 == 1 { bold(part) } else { roman(part) })
        .collect()
}

/// Finished roff with what stands between two backticks of a line in bold: help texts come in as they are.
pub(super) fn mark(page: &str) -> String {
    let mut marked = String::with_capacity(page.len());
    for line in page.lines() {
        let whole = line.matches('`').count() % 2 == 0;
        for (place, part) in line.split('`').enumerate() {
            match (place, whole) {
                (0, _) => {}
                (_, false) => marked.push('`'),
                (place, true) => marked.push_str(if place % 2 == 1 { "\\fB" } else { "\\fR" }),
            }
            marked.push_str(part);
        }
        marked.push('\n');
    }
    marked
}

/// An entry of a list: a term in bold, and what it means below, indented.
pub(super) fn entry(roff: &mut Roff, term: &str, meaning: &str) {
    roff.control("TP", []).text([bold(term)]).text(marked(meaning));
}

/// Lines as they are meant in `--help`: an empty one parts paragraphs, those that are indented are kept as they stand,
/// and any other is a line of its own.
pub(super) fn lines(roff: &mut Roff, text: &str) {
    let (mut kept, mut parted) = (false, true);
    for line in text.lines() {
        let indented = line.starts_with(' ');
        if indented != kept {
            roff.control(if indented { "nf" } else { "fi" }, []);
            (kept, parted) = (indented, true);
        }
        if line.trim().is_empty() {
            roff.control("PP", []);
            parted = true;
            continue;
        }
        if !parted && !kept {
            roff.control("br", []);
        }
        roff.text(marked(line));
        parted = false;
    }
    if kept {
        roff.control("fi", []);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roff_of(text: &str) -> String {
        let mut roff = Roff::new();
        lines(&mut roff, text);
        roff.to_roff()
    }

    #[test]
    fn code_is_bold() {
        let mut roff = Roff::new();
        roff.text(marked("run `tresorpayd check` now"));
        assert_eq!(roff.to_roff(), "run \\fBtresorpayd check\\fR now\n");
    }

    #[test]
    fn a_help_text_is_marked_line_by_line() {
        assert_eq!(mark("until `resume`, or\na lone ` here"), "until \\fBresume\\fR, or\na lone ` here\n");
    }

    #[test]
    fn examples_keep_their_lines_and_text_flows() {
        assert_eq!(
            roff_of("One.\nTwo.\n\nThree:\n  a\n  b"),
            "One.\n.br\nTwo.\n.PP\nThree:\n.nf\n  a\n  b\n.fi\n"
        );
        assert_eq!(roff_of("  a\nEnd."), ".nf\n  a\n.fi\nEnd.\n");
    }
}
