//! Files, anchors, versions and the code map.

use std::path::{Path, PathBuf};

use crate::pages::{Page, between, file, root};

/// The targets of `[text](target)`.
fn links(page: &Page) -> Vec<String> {
    let prose = page.prose();
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

/// A heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for page in Page::all() {
        let folder = Path::new(&page.path).parent().unwrap().to_owned();
        for link in links(&page).into_iter().filter(|link| !link.starts_with("https://")) {
            let (target, section) = link.split_once('#').unwrap_or((&link, ""));
            let path: PathBuf =
                if target.is_empty() { page.path.clone().into() } else { folder.join(target) };
            assert!(root().join(&path).exists(), "{}: {link} leads nowhere", page.path);
            if !section.is_empty() {
                let there = fs_page(&path).headings().iter().any(|heading| anchor(heading) == section);
                assert!(there, "{}: {link} names no heading", page.path);
            }
            followed += 1;
        }
    }
    assert!(followed > 15, "{followed}");
}

fn fs_page(path: &Path) -> Page {
    let absolute = root().join(path).canonicalize().unwrap();
    Page::read(absolute.strip_prefix(root().canonicalize().unwrap()).unwrap().to_str().unwrap())
}

#[test]
fn every_file_that_is_named_exists() {
    let folders = ["src/", "docs/", "examples/", "config/", "migrations/", "tests/", "benches/"];
    for page in Page::all() {
        for span in page.spans() {
            if folders.iter().any(|folder| span.starts_with(folder)) && !span.contains(' ') {
                assert!(root().join(&span).exists(), "{}: there is no {span}", page.path);
            }
        }
    }
}

#[test]
fn the_code_map_has_every_module() {
    let spans = Page::read("docs/architecture.md").spans();
    let code = file("src/lib.rs");
    let modules =
        code.lines().filter_map(|line| line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod "));
    for module in modules.filter_map(|line| line.split(';').next()) {
        let names = [format!("src/{module}.rs"), format!("src/{module}/")];
        assert!(names.iter().any(|name| spans.contains(name)), "{module} is not in the code map");
    }
}

#[test]
fn versions_are_those_of_the_package() {
    let cargo = file("Cargo.toml");
    let rust = between(&cargo, "rust-version = \"", "\"");
    assert!(file("README.md").contains(&format!("Rust {rust} or later")), "the README wants another Rust");
    let version = between(&cargo, "\nversion = \"", "\"");
    let changelog = file("CHANGELOG.md");
    assert!(changelog.contains(&format!("\n## [{version}]")), "CHANGELOG.md has no {version}");
    assert!(changelog.find("## [Unreleased]") < changelog.find(&format!("## [{version}]")));
}
