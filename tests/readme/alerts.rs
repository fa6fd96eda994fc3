//! The alert rules: each leads to a page that there is, and asks for metrics that there are.

use std::path::Path;

use tresorpayd::store::Room;

use crate::pages::{Page, file};

/// A heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_alert_leads_to_a_page_and_is_tested() {
    let rules = file("docs/alerts/tresorpayd.rules.yml");
    let tests = file("docs/alerts/tresorpayd.rules.test.yml");
    let runbooks: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")).collect();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(runbooks.len(), alerts.len());
    assert!(alerts.len() > 10, "{alerts:?}");
    for runbook in runbooks {
        let (path, section) = runbook.split_once('#').unwrap();
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{runbook}");
        let headings = Page::read(path).headings();
        assert!(headings.iter().any(|heading| anchor(heading) == section), "{runbook} names no heading");
    }
    for alert in alerts {
        assert!(tests.contains(alert), "{alert} has no test");
    }
}

#[test]
fn the_disk_is_full_where_status_says_so() {
    let rules = file("docs/alerts/tresorpayd.rules.yml");
    for bytes in [Room::NEEDED, Room::LITTLE] {
        assert!(rules.contains(&format!("expr: tresorpayd_database_free_bytes < {bytes}")), "{bytes}");
    }
}

#[test]
fn every_metric_that_a_rule_asks_for_is_documented() {
    let page = file("docs/observe.md");
    let rules = file("docs/alerts/tresorpayd.rules.yml");
    let words = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let metrics: Vec<&str> = words.filter(|word| word.starts_with("tresorpayd_")).collect();
    assert!(metrics.len() > 15, "{metrics:?}");
    for metric in metrics {
        assert!(page.contains(&format!("`{metric}`")), "{metric} is not in docs/observe.md");
    }
}
