//! What the lines of a statement say: a reference, an amount, a day. A line that cannot be read is named with its column and
//! read past; a file that cannot be read is an error.

use std::{fs::File, io, path::Path};

use chrono::NaiveDate;

use super::{
    amount::{AmountError, parse_amount, trimmed},
    date::{DateError, DateForm, parse_date},
    layout::{Given, Layout, LayoutError, Wanted, plain},
    records::{MAX_RECORD, Record, RecordError, Records},
    text::{Encoding, TextError, TextFile, Utf8Reader},
};

/// Most lines of a statement: each is remembered until the end.
pub const MAX_LINES: u64 = 1_000_000;
/// Longest reference, in characters: TresorPay's may be so long.
const MAX_REFERENCE: usize = 128;

/// The columns of a statement.
const WANTED: [Wanted; 3] = [
    Wanted {
        key: "reference",
        required: true,
        names: &[
            "referencetresorpay",
            "reftresorpay",
            "tresorpayreference",
            "tresorpayref",
            "numerotresorpay",
            "tresorpay",
            "referencedelavis",
            "referenceavis",
            "refavis",
            "referenceavisderecette",
            "numeroavis",
            "numerodelavis",
            "noavis",
            "navis",
            "avisderecette",
            "avis",
            "noticereference",
            "noticeref",
            "notice",
            "reference",
            "ref",
            "references",
            "referencenotice",
            "referencepaiement",
            "referencedepaiement",
            "refpaiement",
            "paymentreference",
            "paymentref",
            "referenceclient",
            "refclient",
            "clientreference",
            "customerreference",
            "numeroreference",
            "referencenumber",
            "referenceno",
            "refno",
            "numero",
            "number",
        ],
    },
    Wanted {
        key: "amount",
        required: true,
        names: &[
            "montantpaye",
            "montantpayefcfa",
            "montantpayexof",
            "montantencaisse",
            "montantencaissefcfa",
            "amountpaid",
            "paidamount",
            "montantregle",
            "montantfcfa",
            "montantxof",
            "montantenfcfa",
            "montantenxof",
            "montantcfa",
            "amountxof",
            "amountfcfa",
            "montant",
            "amount",
            "montanttotal",
            "totalamount",
            "montantnet",
            "netamount",
            "nettotal",
            "totalnet",
            "somme",
            "sum",
            "encaissement",
            "credit",
            "total",
            "valeur",
            "value",
        ],
    },
    Wanted {
        key: "date",
        required: false,
        names: &[
            "datedepaiement",
            "datepaiement",
            "datedupaiement",
            "datedepayement",
            "datepayement",
            "paydate",
            "paymentdate",
            "dateofpayment",
            "paidat",
            "paidon",
            "dateencaissement",
            "datedencaissement",
            "datereglement",
            "datedereglement",
            "datetransaction",
            "datedetransaction",
            "transactiondate",
            "dateoperation",
            "datedoperation",
            "operationdate",
            "dateheure",
            "datetime",
            "date",
            "jour",
            "day",
            "datevaleur",
            "datedevaleur",
            "valuedate",
        ],
    },
];

/// A statement that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// No text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Its columns are not known.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It is broken somewhere.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It has too many lines.
    #[error("line {0}: more than {MAX_LINES} lines: split it by period")]
    TooMany(u64),
}

impl From<io::Error> for StatementError {
    fn from(error: io::Error) -> Self {
        Self::Text(error.into())
    }
}

/// What was understood of a file before its lines are read.
#[derive(Debug, Clone)]
pub struct Understood {
    /// Its characters.
    pub encoding: Encoding,
    /// Its columns.
    pub layout: Layout,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// How many.
    pub size: u64,
}

/// One line, as it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadLine {
    /// A payment.
    Payment {
        /// Its line in the file.
        line: u64,
        /// As it stands there, without blanks around it.
        reference: String,
        /// In XOF.
        amount: i64,
        /// `None`: the statement has no dates.
        date: Option<NaiveDate>,
    },
    /// The sum that the statement itself names.
    Total {
        /// Its line.
        line: u64,
        /// In XOF.
        amount: i64,
    },
    /// Neither reference, amount nor date: a note of who made the file.
    PassedOver,
    /// It cannot be read, and so not be compared.
    Unreadable {
        /// Its line.
        line: u64,
        /// If that much can be read.
        reference: Option<String>,
        /// The column's name in the header.
        column: String,
        /// What is wrong.
        why: Trouble,
    },
}

/// Why a line cannot be read; the value itself is never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// A separator within a value that is not quoted, most often.
    #[error("the line has {there} columns and the header {width}: a separator stands within a value")]
    Width {
        /// Columns of the line.
        there: usize,
        /// Columns of the header.
        width: usize,
    },
    /// Blank.
    #[error("there is no reference")]
    NoReference,
    /// Not one that anybody gives.
    #[error("is no reference: longer than {MAX_REFERENCE} characters, or with a line's end in it")]
    BadReference,
    /// The amount.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// The date.
    #[error(transparent)]
    Date(#[from] DateError),
}

/// Reads the lines.
pub struct Lines<'a> {
    records: Records<Utf8Reader<&'a File>>,
    layout: Layout,
    read: u64,
    form: Option<DateForm>,
    mixed: bool,
    /// Beyond the statement's own total come notes of who made it.
    after_total: bool,
}

/// Opens a statement and finds out how it is written.
pub fn open(
    path: &Path,
    given: &Given,
    encoding: Option<Encoding>,
    separator: Option<u8>,
) -> Result<(TextFile, Understood), StatementError> {
    let mut file = TextFile::open(path, encoding)?;
    let (encoding, size) = (file.encoding(), file.size());
    let digest = file.digest()?;
    let head = file.head(MAX_RECORD as u64)?;
    let layout = Layout::find(|| Ok(head.as_slice()), &WANTED, given, separator)??;
    Ok((file, Understood { encoding, layout, digest, size }))
}

impl<'a> Lines<'a> {
    /// From the first line after the header.
    pub fn of(file: &'a mut TextFile, layout: &Layout) -> Result<Self, StatementError> {
        let mut records = Records::new(file.reader()?, layout.separator);
        if let Some(header) = layout.header_line {
            while records.read()?.is_some_and(|record| record.line < header) {}
        }
        Ok(Self { records, layout: layout.clone(), read: 0, form: None, mixed: false, after_total: false })
    }

    /// The order in which dates are written, of the first; and whether others are written otherwise.
    pub fn date_form(&self) -> Option<(DateForm, bool)> {
        self.form.map(|form| (form, self.mixed))
    }

    /// The next line; `None` at the end.
    pub fn read(&mut self) -> Result<Option<ReadLine>, StatementError> {
        let Some(record) = self.records.read()? else { return Ok(None) };
        self.read += 1;
        if self.read > MAX_LINES {
            return Err(StatementError::TooMany(record.line));
        }
        let (line, form) = read(&self.layout, record, self.after_total);
        self.after_total |= matches!(line, ReadLine::Total { .. });
        if let Some(form) = form {
            self.mixed |= *self.form.get_or_insert(form) != form;
        }
        Ok(Some(line))
    }
}

fn read(layout: &Layout, record: Record<'_>, after_total: bool) -> (ReadLine, Option<DateForm>) {
    let line = record.line;
    let cell = |key: &str| layout.place(key).map(|place| trimmed(record.get(place)));
    let reference = cell("reference").unwrap_or_default().trim_start_matches('\'');
    let (amount, date) = (cell("amount").unwrap_or_default(), cell("date"));
    let first = record.fields().map(plain).find(|cell| !cell.is_empty()).unwrap_or_default();
    if first.starts_with("total") && (reference.is_empty() || plain(reference) == first) {
        return match parse_amount(amount) {
            Ok(amount) => (ReadLine::Total { line, amount }, None),
            Err(_) => (ReadLine::PassedOver, None),
        };
    }
    if (reference.is_empty() || after_total) && amount.is_empty() && date.unwrap_or_default().is_empty() {
        return (ReadLine::PassedOver, None);
    }
    let unreadable = |key: &str, why: Trouble| {
        let named = (!reference.is_empty() && reference.chars().count() <= MAX_REFERENCE)
            .then(|| reference.to_owned());
        (ReadLine::Unreadable { line, reference: named, column: layout.title(key), why }, None)
    };
    let (there, width) = (record.len(), layout.width);
    if record.fields().skip(width).any(|field| !trimmed(field).is_empty()) {
        return unreadable("reference", Trouble::Width { there, width });
    }
    if reference.is_empty() {
        return unreadable("reference", Trouble::NoReference);
    }
    if reference.chars().count() > MAX_REFERENCE || reference.chars().any(char::is_control) {
        return unreadable("reference", Trouble::BadReference);
    }
    let amount = match parse_amount(amount) {
        Ok(amount) => amount,
        Err(why) => return unreadable("amount", why.into()),
    };
    let (date, form) = match date.map(parse_date).transpose() {
        Ok(date) => date.unzip(),
        Err(why) => return unreadable("date", why.into()),
    };
    (ReadLine::Payment { line, reference: reference.to_owned(), amount, date }, form)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::io::Write;

    use super::*;

    fn lines(text: &str) -> Vec<ReadLine> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let (mut file, understood) = open(file.path(), &Given::default(), None, None).unwrap();
        let mut lines = Lines::of(&mut file, &understood.layout).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.read().unwrap() {
            all.push(line);
        }
        all
    }

    fn columns(line: &ReadLine) -> &str {
        match line {
            ReadLine::Unreadable { column, .. } => column,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_titles_notes_and_totals_are_told_apart() {
        let all = lines(
            "Trésor public;;\n\nRéférence;Montant;Date\n'A-1;1 000 FCFA;31/10/2026\n;;\nTOTAL GÉNÉRAL;1 000;\nÉdité par;;\n",
        );
        let date = NaiveDate::from_ymd_opt(2026, 10, 31);
        assert_eq!(all[0], ReadLine::Payment { line: 4, reference: "A-1".into(), amount: 1000, date });
        assert_eq!(all[1], ReadLine::PassedOver);
        assert_eq!(all[2], ReadLine::Total { line: 6, amount: 1000 });
        assert_eq!(all[3], ReadLine::PassedOver, "a note below the total");
    }

    #[test]
    fn unreadable_lines_are_named_by_column() {
        let all = lines(
            "Référence,Montant,Date\nA,1,234,31/10/2026\n,5,31/10/2026\nA,x,31/10/2026\nA,5,10/31/2026\n\"A\nB\",5,31/10/2026\nA,5\n",
        );
        let named: Vec<_> = all.iter().map(columns).collect();
        assert_eq!(named, ["Référence", "Référence", "Montant", "Date", "Référence", "Date"]);
        let text = format!("{all:?}");
        assert!(text.contains("Width { there: 4, width: 3 }"), "{text}");
    }
}
