//! Quoted code is the code that runs: a block under `<!-- FILE: REGION… -->` is those regions of the file.

use crate::pages::{Page, file};

/// The lines between `[name]` and `[/name]` in comments, without the markers and without their common indentation.
fn region(source: &str, name: &str) -> String {
    let marker = |line: &str| {
        let comment = line.trim().strip_prefix("# ").or(line.trim().strip_prefix("// "))?;
        comment.strip_prefix('[')?.strip_suffix(']').map(str::to_owned)
    };
    let lines: Vec<&str> = source
        .lines()
        .skip_while(|line| marker(line).as_deref() != Some(name))
        .take_while(|line| marker(line).as_deref() != Some(&format!("/{name}")))
        .filter(|line| marker(line).is_none())
        .collect();
    assert!(!lines.is_empty(), "no region [{name}]");
    let indent =
        lines.iter().filter(|line| !line.is_empty()).map(|line| line.len() - line.trim_start().len());
    let indent = indent.min().unwrap_or_default();
    let lines: Vec<&str> = lines.iter().map(|line| line.get(indent..).unwrap_or_default()).collect();
    lines.join("\n") + "\n"
}

#[test]
fn quoted_code_is_the_code_of_the_examples() {
    let mut quoted = 0;
    for page in Page::all() {
        for fence in page.fences() {
            let Some((path, regions)) = fence.note.as_deref().and_then(|note| note.split_once(": ")) else {
                continue;
            };
            if !path.starts_with("examples/") {
                continue;
            }
            let source = file(path);
            let regions: Vec<String> = regions.split(' ').map(|name| region(&source, name)).collect();
            assert_eq!(fence.text, regions.join("\n"), "{} quotes {path}", page.path);
            quoted += 1;
        }
    }
    assert!(quoted >= 6, "only {quoted} blocks quote an example");
}

#[test]
fn every_block_of_a_language_quotes_an_example() {
    for page in Page::all().into_iter().filter(|page| page.path == "README.md") {
        for fence in page.fences().into_iter().filter(|fence| fence.note.is_none()) {
            let is_code = ["import ", "def ", "function ", "new PDO", "sqlite3 "];
            assert!(
                !is_code.iter().any(|sign| fence.text.contains(sign)),
                "this block of the README quotes no example, so nothing runs it:\n{}",
                fence.text
            );
        }
    }
}

/// `.ci/run` reads its commands from the README: alone on a line, in a fenced block.
#[test]
fn the_commands_that_ci_runs_stand_in_the_readme() {
    let fences = Page::read("README.md").fences();
    for command in ["cargo run --release -- demo", "cargo test"] {
        let alone = |text: &str| text.lines().any(|line| line == command);
        assert!(fences.iter().any(|fence| alone(&fence.text)), "no line `{command}` in a fenced block");
    }
    let readme = file("README.md");
    let first = |start: &str| readme.lines().find(|line| line.starts_with(start));
    assert_eq!(first("cargo run --release -- demo"), Some("cargo run --release -- demo"));
    assert_eq!(first("cargo test"), Some("cargo test"));
}
