//! One table for a spreadsheet. In French as spreadsheets there expect it: semicolons and a byte-order mark. Numbers are
//! plain digits and days are 2026-10-31 in both languages, which every spreadsheet takes for numbers and dates. A text that a
//! spreadsheet would take for a formula begins with an apostrophe.

use super::{By, Report, ReportError, words};
use crate::lang::Lang;

/// By it a spreadsheet knows UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// What a formula begins with; a tab or a line end before it is passed over by some.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A header, and a line for each row of the table; no totals, so that the columns can be added up.
pub(super) fn render(report: &Report, by: By, lang: Lang) -> Result<String, ReportError> {
    let failed = |error: ::csv::Error| ReportError::Csv(error.to_string());
    let mut writer = ::csv::WriterBuilder::new()
        .delimiter(lang.pick(b',', b';'))
        .terminator(::csv::Terminator::CRLF)
        .from_writer(Vec::new());
    let mut header = vec![words::key_heading(by, lang).to_owned()];
    for (name, _) in report.total.all() {
        let figure = words::figure(name, lang);
        header.push(format!("{figure}{}", lang.pick(" (count)", " (nombre)")));
        header.push(format!("{figure}{}", lang.pick(" (XOF)", " (FCFA)")));
    }
    writer.write_record(&header).map_err(failed)?;
    for entry in report.table(by) {
        let mut cells = vec![guarded(&entry.key)];
        for (_, sum) in entry.figures.all() {
            cells.extend([sum.count.to_string(), sum.amount.to_string()]);
        }
        writer.write_record(&cells).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|error| ReportError::Csv(error.to_string()))?;
    let table = String::from_utf8(bytes).map_err(|error| ReportError::Csv(error.to_string()))?;
    Ok(match lang {
        Lang::En => table,
        Lang::Fr => format!("{BYTE_ORDER_MARK}{table}"),
    })
}

/// A text that is no formula.
fn guarded(text: &str) -> String {
    if text.starts_with(FORMULA) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn no_text_is_a_formula() {
        for (text, cell) in [
            ("71531", "71531"),
            ("=1+1", "'=1+1"),
            ("+223", "'+223"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("", ""),
            ("é=1", "é=1"),
        ] {
            assert_eq!(guarded(text), cell);
        }
    }
}
