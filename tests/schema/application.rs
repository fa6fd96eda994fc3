//! An application's SQL, under every setting that would weaken a rule if a rule leaned on it.

use crate::fixtures::Database;
use crate::steps;

fn keeps_the_rules_under(pragmas: &[&str]) {
    let database = Database::with_fixtures();
    let mut application = database.application(pragmas);
    steps::all(&mut |sql| application.execute(sql));
}

#[test]
fn keeps_the_rules_by_default() {
    keeps_the_rules_under(&[]);
}

#[test]
fn keeps_the_rules_with_recursive_triggers() {
    keeps_the_rules_under(&["recursive_triggers = ON", "foreign_keys = ON"]);
}

#[test]
fn keeps_the_rules_with_an_untrusted_schema() {
    keeps_the_rules_under(&["trusted_schema = OFF", "recursive_triggers = OFF", "foreign_keys = OFF"]);
}

#[test]
fn keeps_the_rules_with_an_untrusted_schema_and_recursive_triggers() {
    keeps_the_rules_under(&[
        "trusted_schema = OFF",
        "recursive_triggers = ON",
        "reverse_unordered_selects = ON",
        "case_sensitive_like = ON",
    ]);
}
