//! Where in a file is what: its separator, the line of its header, and which column is meant. What the user says is taken;
//! the rest is guessed from French and English names, and two columns that could both be meant are an error, not a guess.

use std::{collections::BTreeMap, io::Read, str::FromStr};

use super::{
    amount::trimmed,
    records::{MAX_RECORD, Record, Records},
};

/// Separators that are tried.
const SEPARATORS: [u8; 4] = [b';', b',', b'\t', b'|'];
/// The header is looked for in so many records: what comes before it are titles.
const HEADER_WITHIN: usize = 30;
/// Bytes of UTF-8 in which it is looked for.
const HEAD: u64 = MAX_RECORD as u64;

/// A column that a command needs or can use.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// As `--columns` names it.
    pub key: &'static str,
    /// Without it nothing can be done.
    pub required: bool,
    /// What headers call it, in the form of [`plain`], the likeliest first.
    pub names: &'static [&'static str],
}

/// `--columns reference=…,amount=…`: names in the header, or places from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given(BTreeMap<String, String>);

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut columns = BTreeMap::new();
        for part in text.split(',') {
            let (key, name) = part
                .split_once('=')
                .filter(|(key, name)| !key.trim().is_empty() && !name.trim().is_empty())
                .ok_or_else(|| format!("`{part}` is not KEY=COLUMN"))?;
            let key = key.trim().to_lowercase();
            if columns.insert(key.clone(), name.trim().to_owned()).is_some() {
                return Err(format!("{key} is given twice"));
            }
        }
        Ok(Self(columns))
    }
}

/// One column as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// As `--columns` names it.
    pub key: &'static str,
    /// From 0.
    pub place: usize,
    /// What the header calls it; empty where there is no header.
    pub name: String,
    /// It was not given.
    pub guessed: bool,
}

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Between two fields.
    pub separator: u8,
    /// The line of the header; `None`: all columns were given by their place and the first line is data.
    pub header_line: Option<u64>,
    /// Fields of the header, or of the first line.
    pub width: usize,
    /// Those that were found, in the order in which they are wanted.
    pub columns: Vec<Column>,
}

/// Why a file's columns are not known.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LayoutError {
    /// `--columns` names something that this command has no use for.
    #[error("--columns: there is no `{key}` here; there are {known}")]
    UnknownKey {
        /// As given.
        key: String,
        /// The keys that there are.
        known: String,
    },
    /// No line looks like a header.
    #[error(
        "no header was found in its first {HEADER_WITHIN} lines: none names {missing}.{seen} Say which columns: --columns {example}"
    )]
    NoHeader {
        /// The keys that were not found.
        missing: String,
        /// The line that came nearest.
        seen: String,
        /// How to say it.
        example: String,
    },
    /// Two columns could be meant.
    #[error(
        "line {line}: columns {one} and {other} could both be `{key}`; say which: --columns {key}={one} or {key}={other}"
    )]
    Ambiguous {
        /// The header's line.
        line: u64,
        /// The key.
        key: &'static str,
        /// Its place, from 1.
        one: usize,
        /// The other's.
        other: usize,
    },
}

/// A header's name in the form in which names are compared: small letters and digits, without accents.
pub fn plain(name: &str) -> String {
    let fold = |c: char| match c {
        'à' | 'â' | 'ä' | 'á' => 'a',
        'ç' => 'c',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'î' | 'ï' => 'i',
        'ô' | 'ö' => 'o',
        'ù' | 'û' | 'ü' => 'u',
        c => c,
    };
    name.chars().flat_map(char::to_lowercase).map(fold).filter(char::is_ascii_alphanumeric).collect()
}

impl Layout {
    /// Of the file that `open` gives from its beginning, once a separator. `separator`: only that one.
    pub fn find<R: Read>(
        mut open: impl FnMut() -> std::io::Result<R>,
        wanted: &[Wanted],
        given: &Given,
        separator: Option<u8>,
    ) -> Result<Result<Self, LayoutError>, std::io::Error> {
        if let Some(key) = given.0.keys().find(|key| wanted.iter().all(|column| column.key != key.as_str())) {
            let known = wanted.iter().map(|column| column.key).collect::<Vec<_>>().join(", ");
            return Ok(Err(LayoutError::UnknownKey { key: key.clone(), known }));
        }
        let separators = separator.map_or(SEPARATORS.to_vec(), |separator| vec![separator]);
        let mut best: Option<Candidate> = None;
        for separator in separators {
            let mut records = Records::new(open()?.take(HEAD), separator);
            for _ in 0..HEADER_WITHIN {
                // What is wrong with a record is told when the file is read.
                let Ok(Some(record)) = records.read() else { break };
                let candidate = Candidate::of(record, separator, wanted, given);
                if best.as_ref().is_none_or(|best| candidate.score > best.score) {
                    best = Some(candidate);
                }
            }
        }
        Ok(best.map_or_else(|| Err(no_header(None, wanted)), |best| best.layout(wanted, given)))
    }

    /// Where the column is.
    pub fn place(&self, key: &str) -> Option<usize> {
        self.columns.iter().find(|column| column.key == key).map(|column| column.place)
    }

    /// What the header calls it, else its place: for errors.
    pub fn title(&self, key: &str) -> String {
        match self.columns.iter().find(|column| column.key == key) {
            Some(column) if !column.name.is_empty() => column.name.clone(),
            Some(column) => (column.place + 1).to_string(),
            None => key.to_owned(),
        }
    }
}

/// A record that may be the header.
struct Candidate {
    line: u64,
    separator: u8,
    names: Vec<String>,
    /// The places that fit best, for each wanted column.
    places: Vec<Vec<usize>>,
    /// Required columns found, all columns found, width.
    score: (usize, usize, usize),
    /// Every required column was given by its place.
    by_place: bool,
}

impl Candidate {
    fn of(record: Record<'_>, separator: u8, wanted: &[Wanted], given: &Given) -> Self {
        let names: Vec<String> = record.fields().map(|field| trimmed(field).to_owned()).collect();
        let plain_names: Vec<String> = names.iter().map(|name| plain(name)).collect();
        let places: Vec<_> =
            wanted.iter().map(|column| fitting(column, &names, &plain_names, given)).collect();
        let found = |required: bool| {
            wanted
                .iter()
                .zip(&places)
                .filter(|(column, places)| (column.required || !required) && !places.is_empty())
                .count()
        };
        let is_place =
            |column: &Wanted| given.0.get(column.key).is_some_and(|name| by_number(name).is_some());
        Self {
            line: record.line,
            separator,
            score: (found(true), found(false), names.len()),
            by_place: wanted.iter().filter(|column| column.required).all(is_place),
            names,
            places,
        }
    }

    fn layout(self, wanted: &[Wanted], given: &Given) -> Result<Layout, LayoutError> {
        let unmet = |(column, places): (&Wanted, &Vec<usize>)| {
            places.is_empty() && (column.required || given.0.contains_key(column.key))
        };
        if wanted.iter().zip(&self.places).any(unmet) {
            return Err(no_header(Some(&self), wanted));
        }
        let mut columns = Vec::new();
        for (column, places) in wanted.iter().zip(&self.places) {
            match places[..] {
                [] => {}
                [place] => columns.push(Column {
                    key: column.key,
                    place,
                    name: self.names[place].clone(),
                    guessed: !given.0.contains_key(column.key),
                }),
                [one, other, ..] => {
                    let (line, key) = (self.line, column.key);
                    return Err(LayoutError::Ambiguous { line, key, one: one + 1, other: other + 1 });
                }
            }
        }
        // Who counts columns may mean a file without a header: then its first line has digits where they belong.
        let is_data =
            self.by_place && self.names.iter().any(|name| name.contains(|c: char| c.is_ascii_digit()));
        if is_data {
            for column in &mut columns {
                column.name.clear();
            }
        }
        Ok(Layout {
            separator: self.separator,
            header_line: (!is_data).then_some(self.line),
            width: self.names.len(),
            columns,
        })
    }
}

fn by_number(name: &str) -> Option<usize> {
    name.parse::<usize>().ok()?.checked_sub(1)
}

/// The places where the column may be, all as likely: more than one is a doubt.
fn fitting(column: &Wanted, names: &[String], plain_names: &[String], given: &Given) -> Vec<usize> {
    let at = |test: &dyn Fn(usize) -> bool| (0..names.len()).filter(|place| test(*place)).collect::<Vec<_>>();
    if let Some(name) = given.0.get(column.key) {
        let exactly = at(&|place| names[place] == *name);
        let plainly = at(&|place| !plain(name).is_empty() && plain_names[place] == plain(name));
        return match by_number(name) {
            _ if !exactly.is_empty() => exactly,
            _ if !plainly.is_empty() => plainly,
            Some(place) if place < names.len() => vec![place],
            Some(_) | None => Vec::new(),
        };
    }
    let fits = |name: &str| at(&|place| plain_names[place] == name);
    column.names.iter().map(|name| fits(name)).find(|places| !places.is_empty()).unwrap_or_default()
}

/// The line that came nearest is shown unless it has digits: then it may be somebody's data.
fn no_header(nearest: Option<&Candidate>, wanted: &[Wanted]) -> LayoutError {
    let required: Vec<&str> =
        wanted.iter().filter(|column| column.required).map(|column| column.key).collect();
    let missing: Vec<&str> = match nearest {
        Some(nearest) => wanted
            .iter()
            .zip(&nearest.places)
            .filter(|(column, places)| places.is_empty() && column.required)
            .map(|(column, _)| column.key)
            .collect(),
        None => required.clone(),
    };
    let missing =
        if missing.is_empty() { "the columns that --columns says".to_owned() } else { missing.join(", ") };
    let seen = nearest
        .filter(|nearest| nearest.names.len() > 1)
        .filter(|nearest| !nearest.names.iter().any(|name| name.contains(|c: char| c.is_ascii_digit())))
        .map(|nearest| format!(" Line {} reads: {}.", nearest.line, nearest.names.join(" | ")))
        .unwrap_or_default();
    let example = required.iter().map(|key| format!("{key}=COLUMN")).collect::<Vec<_>>().join(",");
    LayoutError::NoHeader { missing, seen, example }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WANTED: [Wanted; 3] = [
        Wanted { key: "reference", required: true, names: &["referencetresorpay", "reference", "avis"] },
        Wanted { key: "amount", required: true, names: &["montantpaye", "montant", "amount"] },
        Wanted { key: "date", required: false, names: &["datedepaiement", "date"] },
    ];

    fn find(text: &str, given: &str) -> Result<Layout, LayoutError> {
        let given = if given.is_empty() { Given::default() } else { given.parse().unwrap() };
        Layout::find(|| Ok(text.as_bytes()), &WANTED, &given, None).unwrap()
    }

    #[test]
    fn separator_header_and_columns_are_found() {
        for (text, separator, line, places) in [
            ("Référence;Montant;Date\nA;1;2\n", b';', 1, vec![0, 1, 2]),
            ("reference,amount,date\nA,1,2\n", b',', 1, vec![0, 1, 2]),
            ("RÉFÉRENCE\tN°\tMONTANT PAYÉ\n", b'\t', 1, vec![0, 2]),
            (
                "Trésor public;;\nRelevé, octobre 2026\n\nDate de paiement;Avis;Montant\n",
                b';',
                4,
                vec![1, 2, 0],
            ),
            ("avis;référence TresorPay;montant;montant payé\n", b';', 1, vec![1, 3]),
            ("\"Référence\"|\"Montant\"\n", b'|', 1, vec![0, 1]),
        ] {
            let layout = find(text, "").unwrap();
            assert_eq!((layout.separator, layout.header_line), (separator, Some(line)), "{text}");
            assert_eq!(
                layout.columns.iter().map(|column| column.place).collect::<Vec<_>>(),
                places,
                "{text}"
            );
            assert!(layout.columns.iter().all(|column| column.guessed));
        }
    }

    #[test]
    fn what_is_given_is_taken() {
        let text = "Nom;Réf. du Trésor;Somme due;Le\nAwa;A;1;2\n";
        let layout = find(text, "reference=ref du tresor,amount=Somme due,date=4").unwrap();
        assert_eq!(
            (layout.place("reference"), layout.place("amount"), layout.place("date")),
            (Some(1), Some(2), Some(3))
        );
        assert_eq!((layout.title("date"), layout.header_line), ("Le".to_owned(), Some(1)));
        let headless = find("A-1;500\nA-2;600\n", "reference=1,amount=2").unwrap();
        assert_eq!((headless.header_line, headless.title("amount")), (None, "2".to_owned()));
    }

    #[test]
    fn what_is_not_clear_is_an_error() {
        let said = |text: &str, given: &str| find(text, given).unwrap_err().to_string();
        assert!(said("a;b\n1;2\n", "").contains("none names reference, amount. Line 1 reads: a | b."));
        let personal = said("Awa;0022370000001\n", "");
        assert!(!personal.contains("Awa"), "{personal}");
        assert!(said("Montant;Reference;Montant\n", "").contains("columns 1 and 3 could both be `amount`"));
        assert!(said("Reference;Montant\n", "reference=Avis").contains("none names reference"));
        assert!(said("Reference;Montant\n", "date=Le").contains("the columns that --columns says"));
        assert!(said("Reference;Montant\n", "name=1").contains("there is no `name` here"));
        assert!("reference".parse::<Given>().is_err() && "a=1,a=2".parse::<Given>().is_err());
    }
}
