//! Reads merged values by the type of their key and collects what is wrong, so that all of it is said at once.
//!
//! Every method answers [`Noted`] after noting a problem; the caller goes on reading and gives up at the end.

use std::ops::RangeInclusive;
use std::time::Duration;

use config::ValueKind;

use super::choice::{self, Choice};
use super::layers::{Entry, Merged};
use super::problem::{NOWHERE, Problem, shown};
use super::quantity;

/// A problem was noted: there is no value to go on with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted;

/// A value, or a problem that was noted.
pub(super) type Read<T> = Result<T, Noted>;

/// Reading under way: the values and the problems so far.
pub(super) struct Reader<'a> {
    merged: &'a Merged,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(merged: &'a Merged, problems: Vec<Problem>) -> Self {
        Self { merged, problems }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Text that `parse` understands. A missing key is a problem.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Read<T> {
        let entry = self.entry(key)?;
        let parsed = match &entry.value {
            ValueKind::String(text) => parse(text),
            // What `parse` says of it tells what the text must be.
            other => Err(match parse(&other.to_string()) {
                Ok(_) => "expected text in quotes".to_owned(),
                Err(reason) => format!("expected text in quotes: {}", reason.trim_start_matches("expected ")),
            }),
        };
        self.note(key, entry, parsed)
    }

    /// Like [`Self::text`], but missing and empty are both `None`.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Read<Option<T>> {
        if self.is_given(key) { self.text(key, parse).map(Some) } else { Ok(None) }
    }

    pub(super) fn choice<T: Choice>(&mut self, key: &'static str) -> Read<T> {
        self.text(key, choice::parse)
    }

    /// A whole number: TOML's, or its digits as text.
    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Read<u32> {
        let entry = self.entry(key)?;
        let number = match &entry.value {
            ValueKind::String(text) => text.parse().ok(),
            ValueKind::I128(number) => u32::try_from(*number).ok(),
            _ => None,
        };
        let expected = || format!("expected a whole number from {} to {}", range.start(), range.end());
        self.note(key, entry, number.filter(|number| range.contains(number)).ok_or_else(expected))
    }

    pub(super) fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Read<Duration> {
        self.text(key, |text| duration(text, &range))
    }

    pub(super) fn optional_duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Read<Option<Duration>> {
        self.optional(key, |text| duration(text, &range))
    }

    /// A number of bytes: TOML's whole number, or text with a unit.
    pub(super) fn size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Read<u64> {
        let entry = self.entry(key)?;
        let size = match &entry.value {
            ValueKind::String(text) => quantity::size(text),
            ValueKind::I128(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        let expected = || {
            let (least, most) = (quantity::size_text(*range.start()), quantity::size_text(*range.end()));
            format!("expected a size such as 512MiB, 1GiB or 1048576 (bytes), from {least} to {most}")
        };
        self.note(key, entry, size.filter(|size| range.contains(size)).ok_or_else(expected))
    }

    /// Whether a source says something about an optional key; the empty text is how one says nothing.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.merged
            .get(key)
            .is_some_and(|entry| !matches!(&entry.value, ValueKind::String(text) if text.is_empty()))
    }

    /// Whether `key` has its built-in default.
    pub(super) fn is_default(&self, key: &str) -> bool {
        self.merged.given().all(|(given, _)| given != key)
    }

    /// The duration of `key` for a comparison with another; none if something is wrong with it already.
    pub(super) fn sound_duration(&self, key: &str) -> Option<Duration> {
        match &self.merged.get(key)?.value {
            ValueKind::String(text) if !self.is_noted(key) => quantity::duration(text),
            _ => None,
        }
    }

    /// Where the value of `key` came from.
    pub(super) fn origin(&self, key: &str) -> &str {
        self.merged.get(key).map_or(NOWHERE, |entry| &entry.origin)
    }

    /// Notes a problem of `key`, such as with another key, without showing its value.
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) -> Noted {
        let origin = self.origin(key).to_owned();
        self.problems.push(Problem::new(key, origin, message));
        Noted
    }

    /// Whether something is known to be wrong with `key` already.
    pub(super) fn is_noted(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }

    fn note<T>(&mut self, key: &str, entry: &Entry, parsed: Result<T, String>) -> Read<T> {
        parsed.map_err(|reason| {
            let message = format!("{}: {reason}", value_shown(key, &entry.value));
            self.problems.push(Problem::new(key, entry.origin.clone(), message));
            Noted
        })
    }

    fn entry(&mut self, key: &str) -> Read<&'a Entry> {
        self.merged.get(key).ok_or_else(|| self.problem(key, "is required"))
    }
}

/// A value as it may be shown under the name of its key.
pub(super) fn value_shown(key: &str, value: &ValueKind) -> String {
    match value {
        ValueKind::Array(_) => "a list, a table or a date".to_owned(),
        ValueKind::String(text) => shown(key, text),
        number => shown(key, &number.to_string()).replace('"', ""),
    }
}

fn duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    quantity::duration(text).filter(|duration| range.contains(duration)).ok_or_else(|| {
        let (least, most) = (quantity::duration_text(*range.start()), quantity::duration_text(*range.end()));
        format!("expected a duration such as 250ms, 30s or 1h30m, from {least} to {most}")
    })
}
