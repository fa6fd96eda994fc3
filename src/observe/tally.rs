//! A counter for each word of a list.

use prometheus_client::metrics::{counter::Counter, family::Family};

/// Name and value of one label; both are known when this is compiled.
pub type Label = (&'static str, &'static str);

/// Counters that differ in one label. Each is looked up among a few words and is one atomic: nothing is allocated, nothing
/// locked.
#[derive(Debug, Clone)]
pub struct Tally {
    counters: Vec<(&'static str, Counter)>,
    /// What is no word of the list.
    other: Counter,
}

/// The word for what is none of the list.
pub(super) const OTHER: &str = "other";

impl Tally {
    /// A counter in `family` for each of `words`, from zero; `labels` makes the labels of a word.
    pub(super) fn new<const N: usize>(
        family: &Family<[Label; N], Counter>,
        words: &[&'static str],
        labels: impl Fn(&'static str) -> [Label; N],
    ) -> Self {
        let counter = |word: &'static str| family.get_or_create_owned(&labels(word));
        Self { counters: words.iter().map(|word| (*word, counter(word))).collect(), other: counter(OTHER) }
    }

    /// One more of `word`.
    pub fn count(&self, word: &str) {
        self.counters
            .iter()
            .find(|(known, _)| *known == word)
            .map_or(&self.other, |(_, counter)| counter)
            .inc();
    }

    /// How many there were of `word`.
    pub fn total(&self, word: &str) -> u64 {
        self.counters
            .iter()
            .find(|(known, _)| *known == word)
            .map_or(&self.other, |(_, counter)| counter)
            .get()
    }
}
