//! The French pages follow the English ones: the same code, the same codes and statuses, and each names its original.

use std::collections::BTreeSet;

use crate::pages::{Page, cell_spans, file};

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

fn blocks(page: &Page) -> Vec<String> {
    page.fences().into_iter().map(|fence| fence.text).collect()
}

#[test]
fn every_block_of_a_french_page_stands_in_its_original_in_the_same_order() {
    for (page, original) in french() {
        let theirs = blocks(&original);
        let mut rest = theirs.iter();
        for block in blocks(&page) {
            assert!(
                rest.any(|one| *one == block),
                "{}: {} does not have this block, or not in this place:\n{block}",
                page.path,
                original.path
            );
        }
    }
}

#[test]
fn the_french_readme_has_every_block_of_the_readme() {
    let (english, french) = (Page::read("README.md"), Page::read("README.fr.md"));
    let translated = blocks(&french);
    for block in blocks(&english) {
        assert!(translated.contains(&block), "README.fr.md lacks this block of README.md:\n{block}");
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

#[test]
fn the_french_tables_have_every_status_column_and_answer() {
    let (english, french) = (Page::read("docs/outbox.md"), Page::read("docs/fr/outbox.md"));
    let spans = |page: &Page, heading: &str, cell: usize| -> Vec<String> {
        let rows = page.rows(heading);
        rows.iter().map(|row| cell_spans(&row[cell])[0].to_owned()).collect()
    };
    for (theirs, ours, cell) in [
        ("## The statuses", "## Les statuts", 0),
        ("## What an answer means", "## Ce que signifie une réponse", 1),
        ("## `outbox`", "## `outbox`", 0),
    ] {
        assert_eq!(spans(&french, ours, cell), spans(&english, theirs, cell), "{ours}");
    }
    let french = Page::read("README.fr.md");
    let readme = Page::read("README.md");
    assert_eq!(spans(&french, "## Savoir quand c'est payé", 0), spans(&readme, "## Know when it is paid", 0));
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
