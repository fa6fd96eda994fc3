//! What is wrong with a configuration: every problem at once, each with its key, its origin and what to do.

use std::fmt;

use super::keys::{self, Show};

/// Where a value that nobody gave comes from.
pub(super) const BUILT_IN: &str = "built-in default";

/// Where a value comes from that nobody gave and that has no default.
pub(super) const NOWHERE: &str = "not set";

/// Longer values are cut when shown.
const SHOWN_CHARS: usize = 120;

/// Stands in for what must not be shown.
const HIDDEN: &str = "(value not shown)";

/// One thing that is wrong, in words a person can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, `emit.max_attempts`; `configuration file` when no key of it can be read.
    pub key: String,
    /// Where the value came from: file and line, environment variable, credential, or built-in.
    pub source: String,
    /// What is wrong and what is expected. Never holds a secret.
    pub message: String,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, source: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), source: source.into(), message: message.into() }
    }

    /// Nobody gave what is required.
    pub fn is_missing(&self) -> bool {
        self.source == NOWHERE
    }

    /// A key that does not exist. Its value is never shown: it may be a misspelt secret's.
    pub(super) fn unknown(key: &str, source: impl Into<String>) -> Self {
        let message = match keys::closest(key) {
            Some(known) => format!("unknown key; did you mean {known}?"),
            None => "unknown key".to_owned(),
        };
        Self::new(printable(key), source, message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.key, self.message, self.source)
    }
}

/// Every problem of a configuration that was refused; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The problems, in the order they were found: by layer first, then by key.
    pub problems: Vec<Problem>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => writeln!(f, "the configuration has 1 problem:")?,
            many => writeln!(f, "the configuration has {many} problems:")?,
        }
        for problem in &self.problems {
            writeln!(f, "  {problem}")?;
        }
        write!(f, "Correct every line above, then try the result with `tresorpayd check`.")
    }
}

impl std::error::Error for SettingsError {}

/// `value` of the key `name` as it may stand in an error or a report: quoted, cut, and without secrets.
pub(super) fn shown(name: &str, value: &str) -> String {
    match keys::find(name).map_or(Show::Secret, |key| key.show) {
        Show::Plain => quoted(value),
        Show::Url => quoted(&without_userinfo(value)),
        Show::Proxy if is_web_url(value) => quoted(&without_userinfo(value)),
        Show::SecretPath if value.starts_with('/') => quoted(value),
        Show::Proxy | Show::SecretPath | Show::Secret => HIDDEN.to_owned(),
    }
}

/// `text` on one line and not endless.
pub(super) fn printable(text: &str) -> String {
    let tail = if text.chars().nth(SHOWN_CHARS).is_some() { "..." } else { "" };
    let escaped =
        |c: char| if matches!(c, '"' | '\'') { c.to_string() } else { c.escape_debug().to_string() };
    text.chars().take(SHOWN_CHARS).map(escaped).chain([tail.to_owned()]).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text))
}

/// Hides all before the last `@`, unless this surely is a URL without user and password: what is no URL may
/// hold a password anywhere.
fn without_userinfo(value: &str) -> String {
    let Some(at) = value.rfind('@').filter(|_| !has_no_userinfo(value)) else {
        return value.to_owned();
    };
    let scheme = value.find("://").map_or(0, |found| found + "://".len()).min(at);
    format!("{}***{}", &value[..scheme], &value[at..])
}

fn has_no_userinfo(value: &str) -> bool {
    is_web_url(value)
        && url::Url::parse(value).is_ok_and(|url| url.username().is_empty() && url.password().is_none())
}

fn is_web_url(value: &str) -> bool {
    url::Url::parse(value).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userinfo_is_hidden_wherever_the_url_breaks() {
        for (given, expected) in [
            ("http://u:p@proxy:3128", "\"http://***@proxy:3128\""),
            ("http://u:p/@x@proxy:3128", HIDDEN),
            ("u:p@proxy:3128", HIDDEN),
            ("http://u:secret", HIDDEN),
            ("http://proxy:3128", "\"http://proxy:3128\""),
        ] {
            assert_eq!(shown("api.proxy", given), expected, "{given}");
        }
        assert_eq!(shown("api.base_url", "u:p@host"), "\"***@host\"");
        assert_eq!(shown("notice.callback", "https://host/@x"), "\"https://host/@x\"");
        assert_eq!(shown("auth.client_secret", "0012"), HIDDEN);
    }

    #[test]
    fn a_value_is_shown_on_one_line_and_cut() {
        assert_eq!(shown("auth.scope", "a\nb"), "\"a\\nb\"");
        assert!(shown("auth.scope", &"é".repeat(10_000)).chars().count() < 200);
    }
}
