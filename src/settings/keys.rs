//! The table of every key: its name, its built-in default and how its value may be shown.
//!
//! This is the one list that the file, the environment, the "did you mean" and the tests of the shipped
//! file go by: a key that is not here is unknown.

/// How an error or a report may show the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// As it was given.
    Plain,
    /// A URL: as it was given, without user and password.
    Url,
    /// A proxy's URL: only if it is one, and without user and password.
    Proxy,
    /// The path of a secret: only if it is absolute, for else it may be the secret itself.
    SecretPath,
    /// Never.
    Secret,
}

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// The dotted name, `emit.max_attempts`.
    pub(super) name: &'static str,
    /// What holds when nobody says anything; none for keys that are optional or follow from others.
    pub(super) default: Option<&'static str>,
    /// How its value may be shown.
    pub(super) show: Show,
}

const fn key(name: &'static str, default: &'static str) -> Key {
    Key { name, default: Some(default), show: Show::Plain }
}

const fn optional(name: &'static str, show: Show) -> Key {
    Key { name, default: None, show }
}

/// Every key there is, in the order of the documentation.
pub(super) const KEYS: &[Key] = &[
    key("environment", "sandbox"),
    optional("api.base_url", Show::Url),
    key("api.connect_timeout", "5s"),
    key("api.request_timeout", "30s"),
    optional("api.proxy", Show::Proxy),
    optional("api.ca_file", Show::Plain),
    key("api.max_concurrency", "8"),
    key("api.requests_per_second", "20"),
    key("api.retry_first_delay", "1s"),
    key("api.retry_max_delay", "60s"),
    key("api.breaker_failures", "5"),
    optional("api.payment_page", Show::Url),
    optional("auth.token_url", Show::Url),
    optional("auth.client_id", Show::Plain),
    optional("auth.client_secret", Show::Secret),
    optional("auth.client_secret_file", Show::SecretPath),
    key("auth.scope", "tresorpay"),
    key("auth.client_authentication", "body"),
    optional("notice.code_client", Show::Plain),
    optional("notice.code_structure", Show::Plain),
    optional("notice.callback", Show::Url),
    optional("notice.redirect_url", Show::Url),
    key("notice.other_phone_numbers", "send"),
    key("database.url", "sqlite:///var/lib/tresorpayd/outbox.db"),
    optional("database.mark", Show::Plain),
    key("database.max_wal", "1GiB"),
    key("emit.schedule", "*/5 * * * * *"),
    key("emit.max_attempts", "20"),
    key("emit.on_uncertain", "hold"),
    key("emit.settle_after", "5m"),
    key("emit.max_uncertain", "50"),
    key("poll.schedule", "*/15 * * * * *"),
    key("poll.batch_size", "100"),
    key("poll.first_delay", "30s"),
    key("poll.max_delay", "6h"),
    key("poll.give_up_after", "365d"),
    key("confirm.delivery", "on_command"),
    optional("receipts.directory", Show::Plain),
    key("reconcile.schedule", "0 30 2 * * *"),
    key("reconcile.window", "30d"),
    optional("retention.anonymise_after", Show::Plain),
    optional("http.listen", Show::Plain),
    optional("http.token", Show::Secret),
    optional("callback.listen", Show::Plain),
    optional("callback.public_url", Show::Url),
    key("log.level", "info"),
    key("log.format", "auto"),
    key("shutdown.grace", "40s"),
];

/// A guess this like the given name is worth making; 1 is the same name.
const ALIKE: f64 = 0.75;

/// The key of this exact name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether `name` is a section: the part before a key's dot.
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| section(key.name) == Some(name))
}

/// The known key that an unknown one was most likely meant to be.
pub(super) fn closest(unknown: &str) -> Option<&'static str> {
    let unknown = unknown.to_lowercase();
    let leaf = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let in_other_section = KEYS.iter().find(|key| leaf(key.name) == leaf(&unknown));
    KEYS.iter()
        .map(|key| (strsim::normalized_levenshtein(key.name, &unknown), key.name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
        .or(in_other_section.map(|key| key.name))
}

fn section(name: &str) -> Option<&str> {
    name.split_once('.').map(|(section, _)| section)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED_FILE: &str = include_str!("../../config/tresorpayd.toml");

    /// The keys that the shipped file shows, each with the line that shows it.
    fn shipped() -> Vec<(String, &'static str)> {
        let mut section = String::new();
        let mut keys = Vec::new();
        for line in SHIPPED_FILE.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = format!("{name}.");
            }
            let shown = line
                .strip_prefix("# Example: ")
                .or(line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')));
            if let Some((key, _)) = shown.and_then(|shown| shown.split_once(" = ")) {
                keys.push((format!("{section}{key}"), line));
            }
        }
        keys
    }

    #[test]
    fn the_shipped_file_shows_every_key_once_in_this_order() {
        let shipped: Vec<_> = shipped().into_iter().map(|(key, _)| key).collect();
        let known: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(shipped, known);
    }

    #[test]
    fn the_shipped_file_shows_the_built_in_defaults() {
        for (key, (_, line)) in KEYS.iter().zip(shipped()) {
            let Some(default) = key.default else { continue };
            let shown = line.split_once(" = ").map(|(_, value)| value.trim_matches('"'));
            assert_eq!(shown, Some(default), "{}", key.name);
            assert!(!line.starts_with("# "), "{} has a default and is shown as an example", key.name);
        }
    }

    #[test]
    fn every_key_is_listed_once() {
        for key in KEYS {
            assert_eq!(KEYS.iter().filter(|other| other.name == key.name).count(), 1, "{}", key.name);
        }
    }

    #[test]
    fn a_misspelt_or_misplaced_key_finds_its_likely_name() {
        assert_eq!(closest("emit.max_attemps"), Some("emit.max_attempts"));
        assert_eq!(closest("Emit.Max_Attempts"), Some("emit.max_attempts"));
        assert_eq!(closest("emit.batch_size"), Some("poll.batch_size"));
        assert_eq!(closest("weather.tomorrow"), None);
    }
}
