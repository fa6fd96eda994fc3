//! Tables, columns, statuses and messages, against the migration.

use std::collections::BTreeSet;

use crate::pages::{Page, between, cell_spans, file};

const TABLES: [&str; 5] = ["outbox", "transition", "attempt", "command", "meta"];

fn migration() -> String {
    file("migrations/0001_outbox.sql")
}

/// The columns of a table, as the migration creates them.
fn columns(table: &str) -> Vec<String> {
    let migration = migration();
    let body = between(&migration, &format!("CREATE TABLE {table} (\n"), "\n)");
    body.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .map(str::to_owned)
        .collect()
}

/// Every message that the migration raises, in the trigger of that name, or in all.
fn messages(trigger: Option<&str>) -> BTreeSet<String> {
    let migration = migration();
    let text = match trigger {
        Some(name) => between(&migration, &format!("CREATE TRIGGER {name} "), "\nEND;"),
        None => &migration,
    };
    let starts = text.match_indices("RAISE(ABORT, '").map(|(at, start)| at + start.len());
    starts.map(|at| text[at..].split("')").next().unwrap().replace("''", "'")).collect()
}

#[test]
fn the_reference_tells_every_column_and_no_other() {
    let page = Page::read("docs/outbox.md");
    for table in TABLES {
        let rows = page.rows(&format!("## `{table}`"));
        let told: BTreeSet<String> = match table {
            // Its keys are the rows.
            "meta" => ["key", "value"].map(str::to_owned).into(),
            _ => rows.iter().flat_map(|row| cell_spans(&row[0])).map(str::to_owned).collect(),
        };
        let there: BTreeSet<String> = columns(table).into_iter().collect();
        assert_eq!(told, there, "{table}");
    }
}

#[test]
fn columns_that_are_named_with_their_table_exist() {
    let mut named = 0;
    for page in Page::all() {
        for span in page.spans() {
            let Some((table, column)) = span.split_once('.') else { continue };
            // `outbox.db` is the file.
            if TABLES.contains(&table)
                && column != "db"
                && column.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            {
                assert!(columns(table).iter().any(|one| one == column), "{}: {span}", page.path);
                named += 1;
            }
        }
    }
    assert!(named >= 3);
}

#[test]
fn the_tables_of_statuses_have_every_status() {
    let migration = migration();
    let known = between(&migration, "CONSTRAINT known_status CHECK (", ")");
    let there: BTreeSet<String> = known.split('\'').skip(1).step_by(2).map(str::to_owned).collect();
    for (path, heading) in [("README.md", "## Know when it is paid"), ("docs/outbox.md", "## The statuses")] {
        let rows = Page::read(path).rows(heading);
        let told: BTreeSet<String> = rows.iter().map(|row| cell_spans(&row[0])[0].to_owned()).collect();
        assert_eq!(told, there, "{path}");
        assert_eq!(rows.len(), there.len(), "{path}");
    }
}

/// What the pages show as a message of the database.
fn told(page: &Page) -> BTreeSet<String> {
    let lines: Vec<String> = page
        .fences()
        .iter()
        .flat_map(|fence| fence.text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines
        .iter()
        .map(|line| line.trim())
        .filter(|line| line.starts_with("outbox: "))
        .map(str::to_owned)
        .collect()
}

/// Stands for the nineteen messages that differ only in the column.
const BY_THE_DAEMON: &str = "outbox: COLUMN is written by the daemon";

#[test]
fn every_message_that_is_shown_is_raised() {
    let raised = messages(None);
    for page in Page::all() {
        for message in told(&page).iter().filter(|message| *message != BY_THE_DAEMON) {
            assert!(raised.contains(message), "{}: nothing raises {message:?}", page.path);
        }
    }
}

#[test]
fn every_message_that_an_application_can_meet_in_outbox_is_told() {
    let told = told(&Page::read("docs/outbox.md"));
    assert!(told.contains(BY_THE_DAEMON));
    let triggers = [
        "outbox_rules_check",
        "outbox_insert",
        "outbox_insert_null",
        "outbox_inserted",
        "outbox_reference_probe_delete",
        "outbox_correct",
        "outbox_id_fixed",
        "outbox_delete",
    ];
    for trigger in triggers {
        let messages = messages(Some(trigger));
        assert!(!messages.is_empty(), "{trigger}");
        for message in messages.iter().filter(|message| !message.ends_with(" is written by the daemon")) {
            assert!(told.contains(message), "docs/outbox.md does not tell {message:?}");
        }
    }
}
