//! The process environment: variables `TRESORPAYD__SECTION__KEY` to a fragment.
//!
//! Values stay text and are later read by their key's own type; guessing types from the text, as the `config`
//! crate offers, would turn the secret `0012` into the number 12.

use config::ValueKind;

use super::keys;
use super::layers::Fragment;
use super::problem::{Problem, printable};

/// What the name of every variable for this program starts with, in capitals or not.
pub(super) const PREFIX: &str = "TRESORPAYD__";

/// Parts the section from the key.
const SEPARATOR: &str = "__";

/// What a mistyped prefix still starts with: `TRESORPAYD_API__BASE_URL`.
const NEAR_PREFIX: &str = "TRESORPAYD_";

/// The variables of this process that concern the configuration. What is not Unicode is kept, marked, so that
/// [`read`] can refuse it by name instead of passing it over.
pub(super) fn of_process() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| strip(name, NEAR_PREFIX).is_some())
        .collect()
}

/// Takes those of `variables` that are meant for this program.
pub(super) fn read(variables: &[(String, String)]) -> Fragment {
    let mut fragment = Fragment::default();
    for (name, value) in variables {
        let origin = origin(name);
        let Some(rest) = strip(name, PREFIX) else {
            fragment.problems.extend(mistyped(name));
            continue;
        };
        let dotted = rest.to_ascii_lowercase().replace(SEPARATOR, ".");
        let Some(key) = keys::find(&dotted) else {
            fragment.problems.push(Problem::unknown(&dotted, origin));
            continue;
        };
        if value.contains(char::REPLACEMENT_CHARACTER) {
            fragment.problems.push(Problem::new(key.name, origin.clone(), "is not valid UTF-8"));
        }
        if let Some(earlier) = fragment.set(key, ValueKind::String(value.clone()), &origin) {
            let message = format!("is given twice, here and by {earlier}: keep one");
            fragment.problems.push(Problem::new(key.name, origin, message));
        }
    }
    fragment
}

/// `TRESORPAYD_API__BASE_URL` would be passed over in silence; `TRESORPAYD_PORT` is somebody else's.
fn mistyped(name: &str) -> Option<Problem> {
    let rest = strip(name, NEAR_PREFIX).filter(|rest| rest.contains(SEPARATOR))?;
    let message = format!("is not read: did you mean {PREFIX}{}?", printable(rest));
    Some(Problem::new(rest.to_ascii_lowercase().replace(SEPARATOR, "."), origin(name), message))
}

fn origin(name: &str) -> String {
    format!("environment variable {}", printable(name))
}

fn strip<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(variables: &[(&str, &str)]) -> Vec<String> {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read(&variables).problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_read_in_any_case_and_given_twice_only_once() {
        assert!(problems(&[("tresorpayd__api__base_url", "x"), ("PATH", "/bin")]).is_empty());
        let twice = problems(&[("TRESORPAYD__LOG__LEVEL", "info"), ("TRESORPAYD__log__level", "warn")]);
        assert_eq!(
            twice,
            ["log.level: is given twice, here and by environment variable TRESORPAYD__LOG__LEVEL: keep one \
              [environment variable TRESORPAYD__log__level]"]
        );
    }

    #[test]
    fn unknown_and_mistyped_names_are_reported_without_their_value() {
        let found = problems(&[
            ("TRESORPAYD__AUTH__CLIENT_SECRT", "0012"),
            ("TRESORPAYD__X[99999999999]__Y", "0012"),
            ("TRESORPAYD_API__BASE_URL", "0012"),
            ("TRESORPAYD_PORT", "tcp://10.0.0.1:80"),
        ]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("auth.client_secrt: unknown key; did you mean auth.client_secret?"));
        assert!(found[2].contains("did you mean TRESORPAYD__API__BASE_URL?"));
        assert!(!found.concat().contains("0012"));
    }

    #[test]
    fn what_is_not_unicode_is_refused() {
        assert_eq!(problems(&[("TRESORPAYD__LOG__LEVEL", "in\u{FFFD}fo")]).len(), 1);
    }
}
