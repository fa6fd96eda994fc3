//! The first lines of both plays: what is where, and what the application does or how to be one.

use std::path::Path;

use super::{
    DemoError, Options,
    application::json,
    earlier::Earlier,
    notices::{self, Notice},
    screen::{Screen, Tone},
    stage::Stage,
};

/// Columns before the value of a pair.
const KEY_WIDTH: usize = 13;
/// Where a folded aside goes on.
const ASIDE_INDENT: usize = 2;

/// Prints them.
pub(super) fn print(screen: &Screen, options: &Options, stage: &Stage) -> Result<(), DemoError> {
    let pair = |key: &str, value: &str| {
        let key = screen.paint(Tone::Faint, &format!("  {key:<width$}", width = KEY_WIDTH - 2));
        screen.hang(&key, KEY_WIDTH, Tone::Plain, value)
    };
    let path = stage.database.display();
    let origin = stage.simulator.origin();
    let mut lines = if options.keep {
        vec![
            title(screen, "tresorpayd demo --keep", "a TresorPay and the daemon for a program of yours"),
            String::new(),
            pair("TresorPay", &format!("simulated at {origin}; everybody pays within seconds")),
            pair("outbox", &path.to_string()),
            pair("daemon", &format!("the real one, in a hurry; its log: {}", stage.log().display())),
        ]
    } else {
        let fate = if options.kept_file().is_some() { "kept" } else { "temporary" };
        vec![
            title(screen, "tresorpayd demo", "the whole job on this machine; nothing is really billed"),
            String::new(),
            pair("TresorPay", &format!("simulated at {origin}; most pay, some cancel, some wait")),
            pair("outbox", &format!("{path} ({fate})")),
            pair("daemon", "the real one, in a hurry: it polls every second"),
        ]
    };
    lines.extend(earlier_rows(&stage.earlier).map(|aside| {
        format!("\n{}", screen.hang(&" ".repeat(ASIDE_INDENT), ASIDE_INDENT, Tone::Faint, &aside))
    }));
    lines.push(String::new());
    if options.keep {
        let file = for_shell(&stage.database);
        lines.push("Insert a notice from another terminal, by one of these:".to_owned());
        lines.push(format!("\n{}\n\n{}\n", by_sqlite3(&file), by_python(&file)));
        lines.push("Each move of each notice, until Ctrl-C:\n".to_owned());
    } else {
        lines.push(format!("An application bills {} notices by plain SQL. The first one:\n", notices::COUNT));
        if let Some(first) = notices::all(stage.earlier.rows).first() {
            lines.push(format!("{}\n", statement(first)?));
        }
    }
    Ok(screen.print(&lines.join("\n"))?)
}

fn title(screen: &Screen, name: &str, what: &str) -> String {
    format!("{}: {what}", screen.paint(Tone::Strong, name))
}

fn earlier_rows(earlier: &Earlier) -> Option<String> {
    let (rows, sent) = (earlier.rows, earlier.sent.len());
    (rows > 0).then(|| {
        format!(
            "Rows of earlier runs: {rows}, of which {sent} were sent. The simulator begins empty and knows none of \
             those: asked about an unpaid one it answers 404 (see last_error), and the daemon goes on asking."
        )
    })
}

/// The INSERT of a notice, as the application sends it, with its values in place.
fn statement(notice: &Notice) -> Result<String, DemoError> {
    let quoted = |json: String| json.replace('\'', "''");
    let items =
        quoted(json(&notice.items)?).replace(",\"codeNatureRecette\"", ",\n        \"codeNatureRecette\"");
    Ok(format!(
        "  INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES\n    ('{}', {},\n     '{}',\n     '{items}');",
        notice.reference,
        notice.net_total,
        quoted(json(&notice.tax_payer)?),
    ))
}

/// A command for any shell; the breaks are inside its quotes, so that it may be copied whole.
fn by_sqlite3(file: &str) -> String {
    format!(
        r#"  sqlite3 -cmd '.timeout 5000' {file} "
    INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES (
      'SQL-' || strftime('%H%M%f', 'now'), 15000,
      json_object('name', 'Keïta', 'firstName', 'Aïssata'),
      json_array(json_object('name', 'Vignette', 'codeNatureRecette', '71542',
                             'quantity', 1, 'unitPrice', 15000)))""#
    )
}

/// The same in Python; the breaks are inside brackets, so that their indentation means nothing.
fn by_python(file: &str) -> String {
    format!(
        r#"  python3 -c "import json, sqlite3, sys, time; db = sqlite3.connect(
      sys.argv[1], timeout=5); db.execute('INSERT INTO outbox'
      ' (reference, net_total, tax_payer, items) VALUES (?, ?, ?, ?)', (
      f'PY-{{time.time():.3f}}', 25000,
      json.dumps({{'name': 'Coulibaly', 'firstName': 'Moussa'}}),
      json.dumps([{{'name': 'Patente', 'codeNatureRecette': '71531',
                   'quantity': 1, 'unitPrice': 25000}}]))); db.commit()" {file}"#
    )
}

/// A path as one word of a shell.
pub(super) fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@,:=".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(for_shell(Path::new("/tmp/demo-1.db")), "/tmp/demo-1.db");
        assert_eq!(for_shell(Path::new("/tmp/l'été $x")), r"'/tmp/l'\''été $x'");
    }

    #[test]
    fn the_statement_is_sql_with_its_values() {
        let first = &notices::all(0)[0];
        let text = statement(first).unwrap();
        assert!(text.contains("('PATENTE-0101', 1250000,"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 79), "{text}");
    }
}
