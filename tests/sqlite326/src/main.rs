//! Runs an application's rows and statements (`rows.rs`, `refused.rs` and `steps` in `tests/schema`) through SQLite 3.26.0,
//! against databases that the daemon's SQLite created: one argument a file, each under one more set of pragmas.

#[path = "../../schema/refused.rs"]
mod refused;
#[path = "../../schema/rows.rs"]
mod rows;
#[path = "../../schema/steps/mod.rs"]
mod steps;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, NO_PARAMS};

/// 3.26 has no trusted_schema; what it has that could weaken a rule.
const SETTINGS: &[&str] =
    &["", "PRAGMA recursive_triggers = ON; PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys = ON"];

fn main() {
    let version = rusqlite::version();
    assert_eq!(version, "3.26.0");
    let mut files = 0;
    for (file, pragmas) in std::env::args().skip(1).zip(SETTINGS.iter().cycle()) {
        let connection = Connection::open(&file).unwrap();
        connection.execute_batch(pragmas).unwrap();
        steps::all(&mut |sql| execute(&connection, sql));
        files += 1;
    }
    assert!(files >= SETTINGS.len(), "one database for each set of pragmas, please");
    println!("SQLite {version}: {files} databases keep the rules");
}

fn execute(connection: &Connection, sql: &str) -> Result<Vec<String>, String> {
    let first_column = |row: &rusqlite::Row<'_, '_>| match row.get_raw(0) {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => text.to_owned(),
        ValueRef::Blob(bytes) => format!("{bytes:?}"),
    };
    let mut statement = connection.prepare(sql).map_err(message)?;
    if statement.column_count() == 0 {
        return statement.execute(NO_PARAMS).map(|_| Vec::new()).map_err(message);
    }
    statement.query_map(NO_PARAMS, first_column).map_err(message)?.collect::<Result<_, _>>().map_err(message)
}

/// SQLite's own words.
fn message(error: Error) -> String {
    match error {
        Error::SqliteFailure(_, Some(message)) => message,
        other => other.to_string(),
    }
}
