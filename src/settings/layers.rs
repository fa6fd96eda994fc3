//! Layers and their merge: what each source says, and what holds in the end, each value with its origin.
//!
//! Only known keys reach the `config` crate. It reads a key as a path with indexes, so a strange unknown key
//! (`x[999999999]`) could otherwise make it build a list of that length.

use std::collections::BTreeMap;
use std::fmt;

use config::{Config, ConfigError, Map, Source, Value, ValueKind};

use super::keys::{KEYS, Key};
use super::problem::{BUILT_IN, Problem};

/// The known keys that one source gives, as it gives them, and what is wrong with the source itself.
#[derive(Clone, Default)]
pub(super) struct Fragment {
    values: BTreeMap<&'static str, Value>,
    /// What is wrong with the source, such as its unknown keys.
    pub(super) problems: Vec<Problem>,
    /// The source could not be read as a whole, so nothing can be said about the keys it does not give.
    pub(super) broken: bool,
}

impl Fragment {
    /// A source that cannot be read.
    pub(super) fn broken(problems: Vec<Problem>) -> Self {
        Self { problems, broken: true, ..Self::default() }
    }

    /// Takes the value of `key`; answers the origin of the value it had already, if any.
    pub(super) fn set(&mut self, key: &Key, value: ValueKind, origin: &str) -> Option<String> {
        let earlier = self.values.insert(key.name, Value::new(Some(&origin.to_owned()), value));
        earlier.and_then(|value| value.origin().map(str::to_owned))
    }
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragment").field("keys", &self.values.keys()).finish_non_exhaustive()
    }
}

impl Source for Fragment {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    }
}

/// The value that holds for a key, not yet understood.
pub(super) struct Entry {
    /// As the source gave it.
    pub(super) value: ValueKind,
    /// Where it came from.
    pub(super) origin: String,
}

/// What holds for every key that has a default or was given, before validation.
pub(super) struct Merged {
    entries: BTreeMap<&'static str, Entry>,
}

impl Merged {
    /// Lays `fragments`, the weakest first, over the built-in defaults.
    pub(super) fn new(fragments: Vec<Fragment>) -> Result<Self, ConfigError> {
        let mut builder = Config::builder();
        for key in KEYS {
            if let Some(default) = key.default {
                builder = builder.set_default(key.name, default)?;
            }
        }
        for fragment in fragments {
            builder = builder.add_source(fragment);
        }
        let merged = builder.build()?.collect()?;
        let entries = KEYS.iter().filter_map(|key| {
            let value = look_up(&merged, key.name)?;
            let origin = value.origin().unwrap_or(BUILT_IN).to_owned();
            Some((key.name, Entry { value: value.kind.clone(), origin }))
        });
        Ok(Self { entries: entries.collect() })
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Every key that a source gave, in the order of the documentation.
    pub(super) fn given(&self) -> impl Iterator<Item = (&'static str, &Entry)> {
        KEYS.iter()
            .filter_map(|key| self.entries.get(key.name).map(|entry| (key.name, entry)))
            .filter(|(_, entry)| entry.origin != BUILT_IN)
    }
}

fn look_up<'a>(root: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some((section, leaf)) = name.split_once('.') else {
        return root.get(name);
    };
    match &root.get(section)?.kind {
        ValueKind::Table(table) => table.get(leaf),
        _ => None,
    }
}
