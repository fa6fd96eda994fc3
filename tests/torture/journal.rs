//! What an application knows: each order is written down before it is carried out, and once more when it is committed.
//! Read back, that is what the database must hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write,
    path::Path,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One row, as the application thinks of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) reference: String,
    pub(crate) amount: i64,
    pub(crate) priority: u8,
}

impl Entry {
    /// Its one item, whose price is the amount.
    pub(crate) fn items(&self) -> Value {
        items(self.amount)
    }
}

/// One item of this price.
pub(crate) fn items(amount: i64) -> Value {
    json!([{"name": "Patente", "quantity": 1, "unitPrice": amount, "codeNatureRecette": "71531"}])
}

/// One transaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// New rows.
    Insert(Vec<Entry>),
    /// Another amount.
    Correct(Entry),
    /// Withdrawn before it was sent.
    Delete(Entry),
    /// The same row again, by whoever does not know that it is there.
    Repeat(Entry),
}

impl Order {
    /// The rows that it is about.
    pub(crate) fn entries(&self) -> &[Entry] {
        match self {
            Self::Insert(entries) => entries,
            Self::Correct(entry) | Self::Delete(entry) | Self::Repeat(entry) => std::slice::from_ref(entry),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Intend(Order),
    /// Committed, and so many rows were changed.
    Done(u64),
    /// Rolled back.
    Failed(String),
}

/// A journal that is being written.
pub(crate) struct Journal(File);

impl Journal {
    /// A new one.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        Ok(Self(File::create_new(path).with_context(|| path.display().to_string())?))
    }

    /// Before the transaction.
    pub(crate) fn intend(&mut self, order: &Order) -> anyhow::Result<()> {
        self.write(&Line::Intend(order.clone()))
    }

    /// After its commit.
    pub(crate) fn done(&mut self, changed: u64) -> anyhow::Result<()> {
        self.write(&Line::Done(changed))
    }

    /// After its end without one.
    pub(crate) fn failed(&mut self, why: &str) -> anyhow::Result<()> {
        self.write(&Line::Failed(why.to_owned()))
    }

    /// One write a line, so that a kill leaves whole lines.
    fn write(&mut self, line: &Line) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        Ok(self.0.write_all(&text)?)
    }
}

/// What must be in the database of one reference.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// It was committed and not deleted: it must be there.
    pub(crate) surely_there: bool,
    /// The application died before it knew.
    pub(crate) maybe_there: bool,
    /// What the row may say.
    pub(crate) amounts: BTreeSet<i64>,
    /// What it may ever have said.
    pub(crate) ever: BTreeSet<i64>,
}

/// What all journals together say, by reference.
pub(crate) fn read(journals: &[impl AsRef<Path>]) -> anyhow::Result<BTreeMap<String, Expected>> {
    let mut expected = BTreeMap::new();
    for path in journals {
        let text = std::fs::read_to_string(path).with_context(|| path.as_ref().display().to_string())?;
        let mut open = None;
        for line in text.lines() {
            match serde_json::from_str(line)? {
                Line::Intend(order) => open = Some(order),
                Line::Done(changed) => {
                    if let Some(order) = open.take() {
                        commit(&mut expected, &order, changed);
                    }
                }
                Line::Failed(_) => open = None,
            }
        }
        if let Some(order) = open {
            doubt(&mut expected, &order);
        }
    }
    Ok(expected)
}

fn commit(expected: &mut BTreeMap<String, Expected>, order: &Order, changed: u64) {
    if changed == 0 {
        return;
    }
    for entry in order.entries() {
        let known = expected.entry(entry.reference.clone()).or_default();
        known.ever.insert(entry.amount);
        known.surely_there = !matches!(order, Order::Delete(_));
        known.amounts = BTreeSet::from([entry.amount]);
    }
}

fn doubt(expected: &mut BTreeMap<String, Expected>, order: &Order) {
    for entry in order.entries() {
        let known = expected.entry(entry.reference.clone()).or_default();
        known.maybe_there = true;
        match order {
            Order::Insert(_) | Order::Repeat(_) | Order::Correct(_) => {
                known.ever.insert(entry.amount);
                known.amounts.insert(entry.amount);
            }
            Order::Delete(_) => known.surely_there = false,
        }
    }
}
