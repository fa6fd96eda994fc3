//! The French pages follow the English ones: every page has its sibling, and both the same sections, code and tables.

use std::collections::BTreeSet;

use crate::{
    books::OUTPUT_OF,
    pages::{Page, cell_spans, file},
};

/// For who works on the program, not with it: in English only.
const IN_ENGLISH_ONLY: [&str; 4] =
    ["docs/architecture.md", "docs/guarantees.md", "docs/performance.md", "docs/proof.md"];
/// Lists of pages; the French one has a glossary, too.
const INDEX: &str = "docs/fr/README.md";

/// Every French page, with the English one that it follows.
fn french() -> Vec<(Page, Page)> {
    let pages: Vec<Page> = Page::all()
        .into_iter()
        .filter(|page| page.path.starts_with("docs/fr/") || page.path == "README.fr.md")
        .collect();
    assert!(pages.len() >= 6, "only {} French pages", pages.len());
    pages
        .into_iter()
        .map(|page| {
            // It stands in the first sentence.
            let top: String = page.text.lines().take(6).collect::<Vec<_>>().join(" ");
            let original = top.split("](").nth(1).and_then(|rest| rest.split(')').next());
            let original = original.unwrap_or_else(|| panic!("{} names no original", page.path));
            let original = match original.strip_prefix("../") {
                Some(name) => format!("docs/{name}"),
                None => original.to_owned(),
            };
            (page, Page::read(&original))
        })
        .collect()
}

/// All code, but for what the program itself prints in the page's language.
fn blocks(page: &Page) -> Vec<String> {
    let own_language = |note: &str| note.starts_with(OUTPUT_OF) && note.contains(" --lang ");
    let fences = page.fences().into_iter().filter(|fence| !fence.note.as_deref().is_some_and(own_language));
    fences.map(|fence| fence.text).collect()
}

#[test]
fn the_french_pages_have_the_same_code() {
    for (page, original) in french() {
        let (ours, theirs) = (blocks(&page), blocks(&original));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{} and {}", page.path, original.path);
        }
        assert_eq!(ours.len(), theirs.len(), "{} and {} end otherwise", page.path, original.path);
    }
}

/// `##` of each heading, in order.
fn levels(page: &Page) -> Vec<String> {
    let prose = page.prose();
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The code spans of each row of each table; within a row, two languages have an order of their own.
fn rows(page: &Page) -> Vec<Vec<String>> {
    let prose = page.prose();
    let rows = prose.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    rows.map(|row| {
        let mut spans: Vec<String> = cell_spans(row).into_iter().map(str::to_owned).collect();
        spans.sort_unstable();
        spans
    })
    .collect()
}

#[test]
fn the_french_pages_have_the_same_sections_and_tables() {
    for (page, original) in french().into_iter().filter(|(page, _)| page.path != INDEX) {
        let (ours, theirs) = (levels(&page), levels(&original));
        assert_eq!(ours, theirs, "{}: {:#?}", page.path, page.headings());
        let (ours, theirs) = (rows(&page), rows(&original));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{} and {}", page.path, original.path);
        }
        assert_eq!(ours.len(), theirs.len(), "{} and {} end otherwise", page.path, original.path);
    }
}

/// Whether the page leads to `target`, or to a section of it.
fn links(page: &Page, target: &str) -> bool {
    [')', '#'].iter().any(|end| page.text.contains(&format!("]({target}{end}")))
}

#[test]
fn every_page_for_users_has_a_french_sibling_and_the_french_pages_lead_there() {
    let french = french();
    let index = Page::read(INDEX);
    let english = Page::all().into_iter().filter(|page| {
        page.path.starts_with("docs/")
            && !page.path.starts_with("docs/fr/")
            && !IN_ENGLISH_ONLY.contains(&page.path.as_str())
    });
    for original in english {
        let sibling = french.iter().find(|(_, followed)| followed.path == original.path);
        let (sibling, _) = sibling.unwrap_or_else(|| panic!("{} has no French page", original.path));
        let (theirs, ours) =
            (original.path.strip_prefix("docs/").unwrap(), sibling.path.strip_prefix("docs/").unwrap());
        assert!(links(&original, ours), "{} does not lead to {}", original.path, sibling.path);
        let name = ours.strip_prefix("fr/").unwrap();
        assert!(name == "README.md" || links(&index, name), "{INDEX} does not lead to {name}");
        for (page, _) in french.iter().filter(|(_, followed)| followed.path != original.path) {
            let to_english =
                if page.path == "README.fr.md" { original.path.clone() } else { format!("../{theirs}") };
            assert!(!links(page, &to_english), "{} leads to {to_english} and not to {name}", page.path);
        }
    }
}

fn codes(path: &str) -> Vec<String> {
    let headings = Page::read(path).headings();
    headings.iter().filter_map(|one| one.strip_prefix('`')).map(|rest| rest.replace('`', "")).collect()
}

#[test]
fn every_error_code_is_explained_in_french() {
    let told: BTreeSet<String> = codes("docs/fr/erreurs.md").into_iter().collect();
    let known: BTreeSet<String> = codes("docs/errors.md").into_iter().collect();
    assert_eq!(told, known);
}

#[test]
fn the_runbook_has_every_code_once_and_every_status() {
    let known: BTreeSet<String> = codes("docs/errors.md").into_iter().collect();
    let statuses = Page::read("docs/outbox.md").rows("## The statuses");
    let statuses: Vec<&str> = statuses.iter().map(|row| cell_spans(&row[0])[0]).collect();
    for (path, by_code, by_status) in [
        ("docs/operate.md", "## Every code", "## Every status"),
        ("docs/fr/exploitation.md", "## Chaque code", "## Chaque statut"),
    ] {
        let page = Page::read(path);
        let rows = page.rows(by_code);
        let told: Vec<String> = rows.iter().flat_map(|row| cell_spans(&row[0])).map(str::to_owned).collect();
        let once: BTreeSet<String> = told.iter().cloned().collect();
        assert_eq!(once, known, "{path}");
        assert_eq!(told.len(), once.len(), "{path}: a code stands twice");
        let rows = page.rows(by_status);
        assert_eq!(rows.iter().map(|row| cell_spans(&row[0])[0]).collect::<Vec<_>>(), statuses, "{path}");
    }
}

/// A page that was typed without accents, or that an editor spoilt.
#[test]
fn french_is_written_with_its_accents() {
    for (page, _) in french() {
        let accents = page.prose().chars().filter(|c| "éèêàçùîôâû".contains(*c)).count();
        assert!(accents > 20, "{}: {accents} accents", page.path);
        assert!(!page.text.contains('\u{fffd}') && !page.text.contains("Ã©"), "{} is spoilt", page.path);
    }
    assert!(file("README.md").contains("README.fr.md"), "README.md does not lead to README.fr.md");
}
